//! The metrics as `OpenMetrics` text, which Prometheus reads.

use super::names::{BUILD_INFO, HOST, Metric, POOL, PROCESS, Process, Values};
use crate::config::Config;
use crate::pool::snapshot::{HostView, PoolView, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
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

/// One look at everything.
#[derive(Debug)]
struct Scrape {
    process: Process,
    snapshot: Snapshot,
}

pub(super) fn exposition(snapshot: Snapshot, config: &Config) -> Result<String, fmt::Error> {
    let process = Process {
        clients: snapshot.clients,
        consoles: snapshot.consoles,
        max_client_conn: config.clients.max_client_conn,
        workers: config.process.workers,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { process, snapshot }));
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
        for metric in HOST {
            write(&mut encoder, metric, &self.snapshot.hosts, host_labels)?;
        }
        for metric in POOL {
            write(&mut encoder, metric, &self.snapshot.pools, pool_labels)?;
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
        Values::Count(_) | Values::Time(_) => MetricType::Counter,
        Values::Gauge(_) | Values::States(_) => MetricType::Gauge,
    };
    let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for one in of {
        let mut labels = labels(one);
        match metric.values {
            Values::Count(value) => {
                ConstCounter::new(value(one)).encode(family.encode_family(&labels)?)?;
            }
            Values::Time(micros) => {
                let seconds = Duration::from_micros(micros(one)).as_secs_f64();
                ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
            }
            Values::Gauge(value) => {
                ConstGauge::new(value(one)).encode(family.encode_family(&labels)?)?;
            }
            Values::States(states) => {
                for (state, value) in states {
                    labels.push(("state", (*state).into()));
                    ConstGauge::new(value(one)).encode(family.encode_family(&labels)?)?;
                    labels.pop();
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
