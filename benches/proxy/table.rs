//! The results as rows of text.

use crate::contest::{Entry, Outcome};
use crate::contestants::Contestant;
use crate::grid::{self, thousands};
use crate::rows::{Bar, Limit, RELAY, Unit};
use crate::stats::{Spread, user_share};

const HEADINGS: [&str; 8] =
    ["work", "proxy", "cost", "range", "of it user", "throughput", "of PgBouncer", "of the relay"];
const TEXT_COLUMNS: usize = 2;

/// A bar with what became of it.
pub(crate) struct Verdict {
    pub(crate) row: &'static str,
    pub(crate) text: String,
    pub(crate) met: bool,
}

/// One line of cells per contestant; the work is named in the first.
pub(crate) fn lines(outcome: &Outcome) -> Vec<Vec<String>> {
    let mut work = outcome.row.title;
    outcome
        .entries
        .iter()
        .map(|entry| {
            let mut line = vec![std::mem::take(&mut work).to_owned(), entry.contestant.to_string()];
            line.extend(cells(outcome, entry));
            line
        })
        .collect()
}

fn cells(outcome: &Outcome, entry: &Entry) -> [String; 6] {
    let dash = || "-".to_owned();
    let Some(costs) = Spread::of_costs(entry).filter(|_| entry.failure.is_none()) else {
        return ["not measured".to_owned(), dash(), dash(), dash(), dash(), dash()];
    };
    let unit = outcome.row.unit;
    let rate = Spread::of_rates(entry);
    let user = user_share(entry).map(|share| share * costs.median);
    let ratio = |base: Contestant| {
        outcome
            .entry(base)
            .filter(|_| entry.contestant != base)
            .and_then(|base| Spread::of_ratios(entry, base))
            .map_or_else(dash, |ratio| ratio.to_string())
    };
    [
        format!("{} {}", quantity(unit, costs.median), unit_name(unit)),
        format!("{}..{}", quantity(unit, costs.min), quantity(unit, costs.max)),
        user.map_or_else(dash, |user| quantity(unit, user)),
        rate.map_or_else(dash, |rate| format!("{}/s", thousands(rate.median))),
        ratio(outcome.row.yardstick),
        ratio(RELAY),
    ]
}

pub(crate) fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    outcome.row.bars.iter().map(|bar| verdict(outcome, bar)).collect()
}

fn verdict(outcome: &Outcome, bar: &Bar) -> Verdict {
    let unit = outcome.row.unit;
    let (limit, is_rate) = match bar.limit {
        Limit::CostAtMost(limit) => (limit, false),
        Limit::RateAtLeast(limit) => (limit, true),
    };
    let alone = if is_rate { Spread::of_rates } else { Spread::of_costs };
    let compared = if is_rate { Spread::of_rate_ratios } else { Spread::of_ratios };
    let entry = outcome.entry(bar.whose);
    let measured = match bar.of {
        None => entry.and_then(alone),
        Some(base) => entry.zip(outcome.entry(base)).and_then(|(a, b)| compared(a, b)),
    };
    let amount = |value: f64| match bar.of {
        None if is_rate => format!("{}/s", thousands(value)),
        None => format!("{} {}", quantity(unit, value), unit_name(unit)),
        Some(base) => format!("{value:.2} of {base}"),
    };
    let is_met =
        |found: Spread| if is_rate { found.median >= limit } else { found.median <= limit };
    let result = match measured {
        None => "NOT MEASURED".to_owned(),
        Some(found) if is_met(found) => format!("{} ok", amount(found.median)),
        Some(found) => format!("{} MISSED", amount(found.median)),
    };
    let (what, least) = if is_rate { (", rate", ", at least") } else { ("", "") };
    Verdict {
        row: outcome.row.title,
        text: format!("{}{what}: {result} (bar{least}: {})", bar.whose, amount(limit)),
        met: measured.is_some_and(is_met),
    }
}

/// The costs of a row in one line, for those who watch.
pub(crate) fn summary(outcome: &Outcome) -> String {
    let unit = outcome.row.unit;
    let costs = outcome.entries.iter().map(|entry| match Spread::of_costs(entry) {
        Some(costs) if entry.failure.is_none() => {
            let cost = quantity(unit, costs.median);
            format!("{} {cost} {}", entry.contestant, unit_name(unit))
        }
        _ => format!("{} not measured", entry.contestant),
    });
    format!("{}: {}", outcome.row.name, costs.collect::<Vec<_>>().join("; "))
}

/// Who did not take part, why in the words of whatever failed, and in which rows.
pub(crate) fn notes(outcomes: &[Outcome]) -> Vec<String> {
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for outcome in outcomes {
        for entry in &outcome.entries {
            let Some(failure) = &entry.failure else { continue };
            let note = format!("{} not measured ({failure})", entry.contestant);
            match notes.iter_mut().find(|(known, _)| *known == note) {
                Some((_, rows)) => rows.push(outcome.row.name),
                None => notes.push((note, vec![outcome.row.name])),
            }
        }
    }
    notes.into_iter().map(|(note, rows)| format!("{note}: {}", rows.join(", "))).collect()
}

/// What others noticed of what was measured, by the medians of the rounds.
pub(crate) fn besides(outcome: &Outcome) -> Vec<String> {
    let told = |entry: &Entry| {
        let besides = || entry.samples.iter().filter_map(|sample| sample.beside);
        let without = Spread::of(besides().map(|beside| beside.without))?;
        let with = Spread::of(besides().map(|beside| beside.with))?;
        Some(format!(
            "{}, {}: queries beside it take {without} ms at p99 without, {with} ms with one after the other",
            outcome.row.title, entry.contestant
        ))
    };
    outcome.entries.iter().filter_map(told).collect()
}

fn quantity(unit: Unit, value: f64) -> String {
    match unit {
        Unit::BytesPerClient => thousands(value),
        Unit::MicrosecondsOfCpu | Unit::Milliseconds => format!("{value:.1}"),
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::BytesPerClient => "B",
        Unit::MicrosecondsOfCpu => "us",
        Unit::Milliseconds => "ms",
    }
}

pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    grid::aligned(&HEADINGS, TEXT_COLUMNS, lines)
}

pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    grid::markdown(&HEADINGS, TEXT_COLUMNS, lines)
}
