//! A class of clients on one host.

use super::Values::{Count, Counts, Gauge, Histogram, Seconds};
use super::{Metric, Split, Subject, flag, limit, metric, split};
use crate::pool::snapshot::ClassOfHost;
use crate::scheduler::{DelayedFor, RefusedFor};
use crate::stats::times::Times;

const REASON: Split = split("reason", |at| Some(RefusedFor::ALL.get(at)?.label()));

const LIMIT: Split = split("reason", |at| Some(DelayedFor::ALL.get(at)?.label()));

impl Subject for ClassOfHost {
    const LABELS: &'static [&'static str] = &["host", "class"];
    const METRICS: &'static [Metric<Self>] = &[
        metric("pgweir_class_clients", "Clients that are in.", Gauge(|of| of.class.clients.into())),
        metric(
            "pgweir_class_clients_max",
            "How many clients it may have: max_clients. +Inf: no limit.",
            Gauge(|of| limit(of.class.limits.quota.max_clients)),
        ),
        metric(
            "pgweir_class_in_flight",
            "Servers held, those that are being cleaned after a client included.",
            Gauge(|of| of.class.in_flight.into()),
        ),
        metric(
            "pgweir_class_in_flight_max",
            "How many servers it may hold: max_in_flight. +Inf: no limit.",
            Gauge(|of| limit(of.class.limits.quota.max_in_flight)),
        ),
        metric(
            "pgweir_class_waiting",
            "Requests that wait for a server.",
            Gauge(|of| of.class.queued.into()),
        ),
        metric(
            "pgweir_class_waiting_max",
            "How many requests may wait: max_queued. +Inf: no limit.",
            Gauge(|of| limit(of.class.limits.quota.max_queued)),
        ),
        metric(
            "pgweir_class_transactions_per_second_max",
            "How many transactions it may begin: transactions_per_second. +Inf: no limit.",
            Gauge(|of| {
                let rate = of.class.limits.quota.rate;
                rate.map_or(f64::INFINITY, |rate| rate.per_second)
            }),
        ),
        metric(
            "pgweir_class_patience_seconds",
            "How long its clients wait before they give up, as learned. +Inf: they do not, as far as is \
             known.",
            Gauge(|of| of.class.patience.map_or(f64::INFINITY, |patience| patience.as_secs_f64())),
        ),
        metric(
            "pgweir_class_shedding",
            "1 while requests are refused because they would be served too late, or were within the \
             last second.",
            Gauge(|of| flag(of.class.is_shedding)),
        ),
        metric(
            "pgweir_class_granted",
            "Requests that got a server.",
            Count(|of| of.class.counters.granted),
        ),
        metric(
            "pgweir_class_queued",
            "Requests that had to wait, whatever became of them.",
            Count(|of| of.class.counters.queued),
        ),
        metric(
            "pgweir_class_delayed",
            "Of these, those that a quota kept waiting, the class' or the address': in_flight, \
             max_in_flight; rate, transactions_per_second; server_time, server_seconds_per_second.",
            Counts(LIMIT, |of, limit| of.class.counters.delayed_for(DelayedFor::ALL[limit])),
        ),
        metric(
            "pgweir_class_abandoned",
            "Requests whose client left or cancelled while they waited.",
            Count(|of| of.class.counters.abandoned),
        ),
        metric(
            "pgweir_class_refused",
            "Requests that were refused. client_limit: a login beyond max_clients; queue_full: max_queued; rate: transactions_per_second; \
             shed_on_arrival: would have waited too long; shed_in_queue: has waited too long; \
             throttled: nearly all of its class are refused; wait_timeout: query_wait_timeout; \
             server_down and login_failed: no server to be had.",
            Counts(REASON, |of, reason| of.class.counters.refused_for(RefusedFor::ALL[reason])),
        ),
        metric(
            "pgweir_class_wait_seconds",
            "How long those who got a server had waited for it, at once included. To within an eighth.",
            Histogram(|of| Times::from(&of.class.counters.waits)),
        ),
        metric(
            "pgweir_class_service_seconds",
            "How long servers were held, by those who have given them back. To within an eighth.",
            Histogram(|of| Times::from(&of.class.counters.service)),
        ),
        metric(
            "pgweir_class_server_seconds",
            "Time for which servers were held, by those who have given them back. Fair shares are \
             shares of this.",
            Seconds(|of| of.class.counters.service.sum()),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.host, &self.class.name]
    }
}
