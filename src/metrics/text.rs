//! The metrics as `OpenMetrics` text, which Prometheus reads.

use super::names::{BUILD_INFO, CLASS, HOST, LOGINS, Metric, POOL, PROCESS, Process, Values};
use crate::config::Config;
use crate::pool::snapshot::{ClassOfHost, HostView, PoolView, Snapshot};
use crate::scheduler::RefusedFor;
use crate::stats::durations::Durations;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values, such as `("database", "app")`.
type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Upper bounds of the buckets of histograms.
const BOUNDS: [Duration; 12] = {
    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    let half = Duration::from_micros(500);
    let [a, b, c, d, e] = [ms(1), ms(2), ms(5), ms(10), ms(20)];
    [half, a, b, c, d, e, ms(50), ms(100), ms(200), ms(500), ms(1_000), ms(5_000)]
};

/// Classes of a host that have series of their own, at most: each has some fifty. Those that came
/// later are one together.
const CLASSES_MAX: usize = 256;

/// The name of those that came later.
const LATER: &str = "(others)";

/// One look at everything.
#[derive(Debug)]
struct Scrape {
    process: Process,
    snapshot: Snapshot,
    classes: Vec<ClassOfHost>,
}

/// `classes`: those of each host together, in the order that they came to be.
pub(super) fn exposition(
    snapshot: Snapshot,
    classes: Vec<ClassOfHost>,
    config: &Config,
) -> Result<String, fmt::Error> {
    let process = Process {
        clients: snapshot.clients,
        consoles: snapshot.consoles,
        max_client_conn: config.clients.max_client_conn,
        workers: config.process.workers,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { process, snapshot, classes: bounded(classes) }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = BUILD_INFO;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let version: Labels<'_> = vec![("version", env!("CARGO_PKG_VERSION").into())];
        ConstGauge::new(1_i64).encode(family.encode_family(&version)?)?;
        for (name, help, value) in PROCESS {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value(&self.process)).encode(metric)?;
        }
        for metric in LOGINS {
            write(&mut encoder, metric, &[self.snapshot.logins], |_| vec![])?;
        }
        for metric in HOST {
            write(&mut encoder, metric, &self.snapshot.hosts, host_labels)?;
        }
        for metric in POOL {
            write(&mut encoder, metric, &self.snapshot.pools, pool_labels)?;
        }
        for metric in CLASS {
            write(&mut encoder, metric, &self.classes, class_labels)?;
        }
        Ok(())
    }
}

fn host_labels(host: &HostView) -> Labels<'_> {
    vec![("host", escaped(&host.name))]
}

fn pool_labels(pool: &PoolView) -> Labels<'_> {
    vec![("database", escaped(&pool.database)), ("user", escaped(&pool.user))]
}

fn class_labels(class: &ClassOfHost) -> Labels<'_> {
    vec![("host", escaped(&class.host)), ("class", escaped(&class.class.name))]
}

/// At most so many of each host; the rest added up.
fn bounded(classes: Vec<ClassOfHost>) -> Vec<ClassOfHost> {
    let mut shown: Vec<ClassOfHost> = Vec::new();
    let mut of_host = 0;
    for mut class in classes {
        if shown.last().is_none_or(|last| last.host != class.host) {
            of_host = 0;
        }
        of_host += 1;
        if of_host > CLASSES_MAX + 1
            && let Some(later) = shown.last_mut()
        {
            later.class.add(&class.class);
            continue;
        }
        if of_host > CLASSES_MAX {
            LATER.clone_into(&mut class.class.name);
        }
        shown.push(class);
    }
    shown
}

/// `prometheus-client` writes values as they are; clients choose names, and could end the line.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
}

fn write<T>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric<T>,
    of: &[T],
    labels: fn(&T) -> Labels<'_>,
) -> fmt::Result {
    let kind = match metric.values {
        Values::Count(_) | Values::Reasons(_) | Values::Seconds(_) | Values::Time(_) => {
            MetricType::Counter
        }
        Values::Gauge(_) | Values::States(_) => MetricType::Gauge,
        Values::Histogram(_) => MetricType::Histogram,
    };
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for one in of {
        let labels = labels(one);
        match metric.values {
            // Of the process: there is one.
            Values::Count(value) if labels.is_empty() => {
                return ConstCounter::new(value(one)).encode(family);
            }
            Values::Gauge(value) if labels.is_empty() => {
                return ConstGauge::new(value(one)).encode(family);
            }
            _ => encode_one(&mut family, metric, one, labels)?,
        }
    }
    Ok(())
}

fn encode_one<T>(
    family: &mut MetricEncoder<'_>,
    metric: &Metric<T>,
    one: &T,
    mut labels: Labels<'_>,
) -> fmt::Result {
    let seconds = |time: Duration| ConstCounter::new(time.as_secs_f64());
    match metric.values {
        Values::Count(value) => {
            ConstCounter::new(value(one)).encode(family.encode_family(&labels)?)
        }
        Values::Seconds(time) => seconds(time(one)).encode(family.encode_family(&labels)?),
        Values::Time(micros) => {
            seconds(Duration::from_micros(micros(one))).encode(family.encode_family(&labels)?)
        }
        Values::Gauge(value) => ConstGauge::new(value(one)).encode(family.encode_family(&labels)?),
        Values::Histogram(times) => {
            encode_histogram(&mut family.encode_family(&labels)?, times(one))
        }
        Values::Reasons(value) => RefusedFor::ALL.into_iter().try_for_each(|reason| {
            labels.push(("reason", reason.label().into()));
            ConstCounter::new(value(one, reason)).encode(family.encode_family(&labels)?)?;
            labels.pop();
            Ok(())
        }),
        Values::States(states) => states.iter().try_for_each(|(state, value)| {
            labels.push(("state", (*state).into()));
            ConstGauge::new(value(one)).encode(family.encode_family(&labels)?)?;
            labels.pop();
            Ok(())
        }),
    }
}

fn encode_histogram(encoder: &mut MetricEncoder<'_>, times: &Durations) -> fmt::Result {
    let mut below = 0;
    let bounded = BOUNDS.map(|bound| {
        let before = std::mem::replace(&mut below, times.below(bound));
        (bound.as_secs_f64(), below - before)
    });
    // The library's way to write +Inf.
    let rest = (f64::MAX, times.count() - below);
    let buckets: Vec<_> = bounded.into_iter().chain([rest]).collect();
    let sum = times.sum().as_secs_f64();
    encoder.encode_histogram::<NoLabelSet>(sum, times.count(), &buckets, None)
}

#[cfg(test)]
mod tests;
