//! One figure of both proxies, beside what is possible and what is wanted.

use crate::grid::{self, thousands};

const HEADINGS: [&str; 7] = ["load", "figure", "pgweir", "PgBouncer", "possible", "bar", ""];
const TEXT_COLUMNS: usize = 2;

/// Something of each proxy's; `None` of one that was not measured.
#[derive(Clone, Copy)]
pub(super) struct Pair<T> {
    pub(super) pgweir: Option<T>,
    pub(super) pgbouncer: Option<T>,
}

impl<T> Pair<T> {
    pub(super) fn map<U>(&self, each: impl Fn(&T) -> U) -> Pair<U> {
        Pair {
            pgweir: self.pgweir.as_ref().map(&each),
            pgbouncer: self.pgbouncer.as_ref().map(&each),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Count,
    Microseconds,
    Milliseconds,
    PerSecond,
    Percent,
    Ratio,
    Seconds,
    Servers,
    Times,
}

/// What pgweir's figure has to be.
#[derive(Clone, Copy)]
pub(super) struct Bar {
    least: f64,
    most: f64,
}

impl Bar {
    pub(super) fn at_least(least: f64) -> Self {
        Self { least, most: f64::INFINITY }
    }

    pub(super) fn at_most(most: f64) -> Self {
        Self { least: f64::NEG_INFINITY, most }
    }

    /// Off by at most this part of it.
    pub(super) fn within(part: f64, of: f64) -> Self {
        Self { least: of * (1.0 - part), most: of * (1.0 + part) }
    }
}

pub(super) struct Line {
    figure: &'static str,
    unit: Unit,
    of: Pair<f64>,
    possible: Option<f64>,
    /// Has a bar; that it is not known is as bad as missing it.
    is_judged: bool,
    bar: Option<Bar>,
}

impl Line {
    pub(super) fn new(figure: &'static str, unit: Unit, of: Pair<f64>) -> Self {
        Self { figure, unit, of, possible: None, is_judged: false, bar: None }
    }

    pub(super) fn possible(self, possible: f64) -> Self {
        Self { possible: Some(possible), ..self }
    }

    /// `None` if it depends on something that could not be measured.
    pub(super) fn bar(self, bar: Option<Bar>) -> Self {
        Self { is_judged: true, bar, ..self }
    }

    /// A line without a bar always is.
    pub(super) fn is_met(&self) -> bool {
        !self.is_judged || self.met() == Some(true)
    }

    fn met(&self) -> Option<bool> {
        let (Bar { least, most }, figure) = (self.bar?, self.of.pgweir?);
        // An endless wait is never right, whatever it may be at most.
        Some(figure.is_finite() && (least..=most).contains(&figure))
    }

    fn wanted(&self) -> String {
        match self.bar {
            Some(Bar { least, most }) if most.is_infinite() => format!(">= {}", self.shown(least)),
            Some(Bar { least, most }) if least.is_infinite() => format!("<= {}", self.shown(most)),
            Some(Bar { least, most }) => format!("{}..{}", self.shown(least), self.shown(most)),
            None if self.is_judged => "not known".to_owned(),
            None => String::new(),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.met() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None if self.is_judged => "NOT MEASURED",
            None => "",
        }
    }

    /// In one line, for those who watch.
    pub(super) fn summary(&self) -> String {
        let (pgweir, pgbouncer) = (self.cell(self.of.pgweir), self.cell(self.of.pgbouncer));
        let verdict = if self.is_judged {
            format!(" ({}: {})", self.wanted(), self.verdict())
        } else {
            String::new()
        };
        format!("{}: pgweir {pgweir}, PgBouncer {pgbouncer}{verdict}", self.figure)
    }

    fn cells(&self, load: &str) -> Vec<String> {
        vec![
            load.to_owned(),
            self.figure.to_owned(),
            self.cell(self.of.pgweir),
            self.cell(self.of.pgbouncer),
            self.cell(self.possible),
            self.wanted(),
            self.verdict().to_owned(),
        ]
    }

    fn cell(&self, value: Option<f64>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| self.shown(value))
    }

    fn shown(&self, value: f64) -> String {
        if value.is_infinite() {
            return "never".to_owned();
        }
        match self.unit {
            Unit::Count => thousands(value),
            Unit::Microseconds => format!("{value:.1} us"),
            Unit::Milliseconds if value < 1000.0 => format!("{value:.1} ms"),
            Unit::Milliseconds => format!("{} ms", thousands(value)),
            Unit::PerSecond => format!("{}/s", thousands(value)),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Ratio => format!("{value:.2}:1"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Servers => format!("{value:.2}"),
            Unit::Times if value < 100.0 => format!("{value:.2}x"),
            Unit::Times => format!("{}x", thousands(value)),
        }
    }
}

/// All lines on standard output.
pub(super) fn print(method: &str, lines: &[(&'static str, Line)], notes: &[String]) {
    println!("{method}\n\n{}", grid::aligned(&HEADINGS, TEXT_COLUMNS, &rows(lines)));
    for note in notes {
        println!("{note}");
    }
}

pub(super) fn markdown(method: &str, lines: &[(&'static str, Line)], notes: &[String]) -> String {
    let mut rows = rows(lines);
    for verdict in rows.iter_mut().filter_map(|row| row.last_mut()) {
        if verdict.chars().next().is_some_and(char::is_uppercase) {
            *verdict = format!("**{verdict}**");
        }
    }
    let table = grid::markdown(&HEADINGS, TEXT_COLUMNS, &rows);
    let mut parts = vec![method.to_owned(), table];
    parts.extend_from_slice(notes);
    parts.join("\n\n") + "\n"
}

/// The load is named in the first of its lines.
fn rows(lines: &[(&'static str, Line)]) -> Vec<Vec<String>> {
    let mut last = "";
    let row = |(load, line): &(&'static str, Line)| {
        let is_first = *load != last;
        last = load;
        line.cells(if is_first { load } else { "" })
    };
    lines.iter().map(row).collect()
}
