//! Every metric, as data: its name, its meaning, where its value comes from.
//!
//! Each kind of thing that is measured has a file with its table. `docs/metrics.md` is made from the
//! tables, and the alerts and the dashboard in `deploy/` are compared with them.

pub(super) mod class;
pub(super) mod host;
pub(super) mod pool;
pub(super) mod process;
pub(super) mod system;

use crate::stats::times::Times;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What has a value of each metric in a table, told apart from others of its kind by labels.
pub(super) trait Subject: Sized + 'static {
    const LABELS: &'static [&'static str];
    const METRICS: &'static [Metric<Self>];

    /// One value for each of [`LABELS`](Self::LABELS).
    fn labels(&self) -> Vec<&str>;
}

pub(super) struct Metric<T: 'static> {
    /// Without the `_total` of counters, which the exposition appends.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) values: Values<T>,
}

pub(super) enum Values<T: 'static> {
    /// Only grows.
    Count(fn(&T) -> u64),
    /// Only grows; one for each value of a further label.
    Counts(Split, fn(&T, usize) -> u64),
    /// Only grows; a time.
    Seconds(fn(&T) -> Duration),
    /// Goes up and down.
    Gauge(fn(&T) -> f64),
    /// Go up and down; one for each value of a further label.
    Gauges(Split, fn(&T, usize) -> f64),
    /// How often something took how long.
    Histogram(fn(&T) -> Times),
}

/// A label, and the values that it may have.
pub(super) struct Split {
    pub(super) label: &'static str,
    /// `None` behind the last.
    pub(super) value: fn(usize) -> Option<&'static str>,
}

impl Split {
    pub(super) fn values(&self) -> impl Iterator<Item = &'static str> {
        (0..).map_while(self.value)
    }
}

impl<T> Values<T> {
    /// As Prometheus calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Count(_) | Self::Counts(..) | Self::Seconds(_) => "counter",
            Self::Gauge(_) | Self::Gauges(..) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

const fn metric<T>(name: &'static str, help: &'static str, values: Values<T>) -> Metric<T> {
    Metric { name, help, values }
}

const fn split(label: &'static str, value: fn(usize) -> Option<&'static str>) -> Split {
    Split { label, value }
}

/// A limit; 0 is none.
fn limit(most: u32) -> f64 {
    if most == 0 { f64::INFINITY } else { most.into() }
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Bytes, or a number of things that are no more than some billions.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and metrics are this type")]
fn number(number: u64) -> f64 {
    number as f64
}

/// A metric as it is documented.
#[cfg(test)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) labels: Vec<&'static str>,
    pub(super) help: &'static str,
}

/// Every metric there is, in the order of a scrape.
#[cfg(test)]
pub(super) fn all() -> Vec<Row> {
    fn of<T: Subject>() -> impl Iterator<Item = Row> {
        T::METRICS.iter().map(|metric| {
            let kind = metric.values.kind();
            let mut labels = T::LABELS.to_vec();
            match &metric.values {
                Values::Counts(split, _) | Values::Gauges(split, _) => labels.push(split.label),
                Values::Histogram(_) => labels.push("le"),
                _ => {}
            }
            let suffix = if kind == "counter" { "_total" } else { "" };
            Row { name: format!("{}{suffix}", metric.name), kind, labels, help: metric.help }
        })
    }
    use crate::pool::halts::DatabaseHalts;
    use crate::pool::process::{ConfigView, WorkerView};
    use crate::pool::snapshot::{ClassOfHost, HostView};
    let rows = of::<system::Build>().chain(of::<system::System>()).chain(of::<ConfigView>());
    let rows = rows.chain(of::<system::LastLoad>());
    let rows = rows.chain(of::<process::Process>()).chain(of::<WorkerView>());
    let rows = rows.chain(of::<process::DatabaseLimit>()).chain(of::<process::UserLimit>());
    let rows = rows.chain(of::<DatabaseHalts>());
    rows.chain(of::<HostView>()).chain(of::<pool::Pool>()).chain(of::<ClassOfHost>()).collect()
}

#[cfg(test)]
mod deployed;
#[cfg(test)]
mod tests;
