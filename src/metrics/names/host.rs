//! A Postgres instance.

use super::Values::Gauge;
use super::{Metric, Subject, flag, metric};
use crate::pool::snapshot::HostView;

impl Subject for HostView {
    const LABELS: &'static [&'static str] = &["host"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_host_up",
            "Whether Postgres can be reached, as far as is known: 1, or 0 while connecting fails.",
            Gauge(|host| flag(host.failure.is_none())),
        ),
        metric(
            "pgweir_host_servers",
            "Connections to Postgres, over all pools, those that are being opened included.",
            Gauge(|host| host.counts.open().into()),
        ),
        metric(
            "pgweir_host_servers_max",
            "How many connections this host may have: max_connections. +Inf: only the pools limit it.",
            Gauge(|host| host.max_connections.map_or(f64::INFINITY, f64::from)),
        ),
        metric(
            "pgweir_host_clients_waiting",
            "Clients that wait for a server, over all pools.",
            Gauge(|host| host.counts.waiting.into()),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.name]
    }
}
