//! The metrics as text, in either of the two formats that scrapers ask for.
//!
//! Written here and not by a library: those that there are write one of the two, and know nothing of
//! labels that clients choose.

use super::names::pool::Pool;
use super::names::process::{DatabaseLimit, Process, UserLimit};
use super::names::system::{Build, LastLoad, System};
use super::names::{Metric, Subject, Values};
use crate::pool::halts::DatabaseHalts;
use crate::pool::process::{ConfigView, LimitView, WorkerView};
use crate::pool::snapshot::{ClassOfHost, HostView};
use crate::stats::times::{BOUNDS, BUCKETS, Times};
use std::fmt::{Arguments, Write};

/// Pools and classes of a host that have series of their own, at most: each has some fifty to a
/// hundred. Those that came later are one together. And databases and users that are limited: of these,
/// the fullest are shown.
pub(super) const SERIES_MAX: usize = 256;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// One look at everything.
pub(super) struct Scrape {
    pub(super) system: System,
    pub(super) config: ConfigView,
    pub(super) process: Process,
    pub(super) workers: Vec<WorkerView>,
    /// Of databases and of users.
    pub(super) limits: [Vec<LimitView>; 2],
    /// What operators have said of databases.
    pub(super) halts: Vec<DatabaseHalts>,
    pub(super) hosts: Vec<HostView>,
    pub(super) pools: Vec<Pool>,
    pub(super) classes: Vec<ClassOfHost>,
}

/// All of it, as text. `size` is how long it may become, as far as is known.
pub(super) fn exposition(scrape: Scrape, format: Format, size: usize) -> String {
    let Scrape { system, config, process, workers, limits, mut halts, hosts, pools, classes } =
        scrape;
    // Those that are stopped, of very many.
    halts.sort_by_key(|it| !(it.is_paused || it.is_disabled));
    halts.truncate(SERIES_MAX);
    let [databases, users] = limits.map(fullest);
    let mut page = Page::new(format, size);
    page.write(&[Build]);
    page.write(&[system]);
    page.write(std::slice::from_ref(&config));
    page.write(&[LastLoad(config)]);
    page.write(&[process]);
    page.write(&workers);
    page.write(&databases.into_iter().map(DatabaseLimit).collect::<Vec<_>>());
    page.write(&users.into_iter().map(UserLimit).collect::<Vec<_>>());
    page.write(&halts);
    page.write(&hosts);
    page.write(&pools);
    page.write(&classes);
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn fullest(mut limits: Vec<LimitView>) -> Vec<LimitView> {
    if limits.len() > SERIES_MAX {
        limits.sort_by_key(|limit| limit.max.saturating_sub(limit.used));
        limits.truncate(SERIES_MAX);
    }
    limits
}

struct Page {
    format: Format,
    text: String,
    /// The bounds of histograms, as they are written.
    bounds: [String; BUCKETS],
}

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

impl Page {
    fn new(format: Format, size: usize) -> Self {
        let bound = |at: usize| match BOUNDS.get(at) {
            Some(bound) => format!("{:?}", bound.as_secs_f64()),
            None => "+Inf".to_owned(),
        };
        Self { format, text: String::with_capacity(size), bounds: std::array::from_fn(bound) }
    }

    /// Every metric of these.
    fn write<T: Subject>(&mut self, of: &[T]) {
        if of.is_empty() {
            return;
        }
        // Once for all metrics: it is the most of each line.
        let labels: Vec<String> = of.iter().map(rendered).collect();
        for metric in T::METRICS {
            self.head(metric);
            for (one, labels) in of.iter().zip(&labels) {
                self.values(metric, one, labels);
            }
        }
    }

    fn head<T>(&mut self, metric: &Metric<T>) {
        let Metric { name, help, values } = metric;
        let kind = values.kind();
        let shown = match (self.format, kind) {
            (Format::Prometheus, "counter") => "_total",
            _ => "",
        };
        self.push(format_args!("# HELP {name}{shown} {help}\n# TYPE {name}{shown} {kind}\n"));
        let units = ["seconds", "bytes"];
        let unit = units.into_iter().find(|unit| name.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.push(format_args!("# UNIT {name} {unit}\n"));
        }
    }

    fn values<T>(&mut self, metric: &Metric<T>, one: &T, labels: &str) {
        let name = metric.name;
        match &metric.values {
            Values::Count(value) => self.count((name, "_total"), labels, None, value(one)),
            Values::Counts(split, value) => {
                for (at, label) in split.values().enumerate() {
                    let label = Some((split.label, label));
                    self.count((name, "_total"), labels, label, value(one, at));
                }
            }
            Values::Seconds(time) => {
                self.number((name, "_total"), labels, None, time(one).as_secs_f64());
            }
            Values::Gauge(value) => self.number((name, ""), labels, None, value(one)),
            Values::Gauges(split, value) => {
                for (at, label) in split.values().enumerate() {
                    let label = Some((split.label, label));
                    self.number((name, ""), labels, label, value(one, at));
                }
            }
            Values::Histogram(times) => self.histogram(name, labels, &times(one)),
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, times: &Times) {
        let mut below = 0;
        for (at, count) in times.counts.iter().enumerate() {
            below += count;
            let bound = std::mem::take(&mut self.bounds[at]);
            self.count((name, "_bucket"), labels, Some(("le", &bound)), below);
            self.bounds[at] = bound;
        }
        self.number((name, "_sum"), labels, None, times.sum().as_secs_f64());
        self.count((name, "_count"), labels, None, below);
    }

    fn count(&mut self, name: (&str, &str), labels: &str, more: Option<Label<'_>>, value: u64) {
        self.name(name, labels, more);
        self.text.push_str(itoa::Buffer::new().format(value));
        self.text.push('\n');
    }

    fn number(&mut self, name: (&str, &str), labels: &str, more: Option<Label<'_>>, value: f64) {
        self.name(name, labels, more);
        if value.fract() == 0.0 && value.abs() < 1e15 {
            // Most are whole; and one that may have a point takes long to write.
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and no larger")]
            self.text.push_str(itoa::Buffer::new().format(value as i64));
            self.text.push('\n');
        } else if value == f64::INFINITY {
            self.text.push_str("+Inf\n");
        } else {
            self.push(format_args!("{value}\n"));
        }
    }

    fn name(&mut self, (name, suffix): (&str, &str), labels: &str, more: Option<Label<'_>>) {
        let text = &mut self.text;
        text.push_str(name);
        text.push_str(suffix);
        if labels.is_empty() && more.is_none() {
            text.push(' ');
            return;
        }
        text.push('{');
        text.push_str(labels);
        if let Some((label, value)) = more {
            if !labels.is_empty() {
                text.push(',');
            }
            for part in [label, "=\"", value, "\""] {
                text.push_str(part);
            }
        }
        text.push_str("} ");
    }

    fn push(&mut self, what: Arguments<'_>) {
        self.text.write_fmt(what).expect("a string takes everything");
    }
}

/// `database="app",user="app"`. Clients choose names, which could end the line.
fn rendered<T: Subject>(one: &T) -> String {
    let mut text = String::new();
    for (label, value) in T::LABELS.iter().zip(one.labels()) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(label);
        text.push_str("=\"");
        for char in value.chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                char => text.push(char),
            }
        }
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests;
