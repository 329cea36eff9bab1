//! Every metric, as data: its name, its meaning, where its value comes from.

use crate::pool::snapshot::{ClassOfHost, HostView, PoolView};
use crate::scheduler::logins::LoginsView;
use crate::scheduler::{RefusedFor, State as PoolState};
use crate::stats::durations::Durations;
use std::time::Duration;

/// One metric, of each `T` there is.
pub(super) struct Metric<T: 'static> {
    /// Without the `_total` of counters, which the exposition appends.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) values: Values<T>,
}

pub(super) enum Values<T: 'static> {
    /// Only grows.
    Count(fn(&T) -> u64),
    /// Only grows; microseconds, shown as seconds.
    Time(fn(&T) -> u64),
    /// Goes up and down.
    Gauge(fn(&T) -> f64),
    /// How often something took how long.
    Histogram(fn(&T) -> &Durations),
    /// Only grows; one for each reason, which is a label.
    Reasons(fn(&T, RefusedFor) -> u64),
    /// Only grows; a time.
    Seconds(fn(&T) -> Duration),
    /// One gauge for each state, which is a label.
    States(&'static [State<T>]),
}

/// A state's name, and how many are in it.
pub(super) type State<T> = (&'static str, fn(&T) -> f64);

/// What is known of the whole process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) clients: u32,
    pub(super) consoles: u32,
    pub(super) max_client_conn: u32,
    pub(super) workers: u16,
}

const fn metric<T>(name: &'static str, help: &'static str, values: Values<T>) -> Metric<T> {
    Metric { name, help, values }
}

/// Labels: `version`. Its value is always 1.
pub(super) const BUILD_INFO: (&str, &str) = ("pgweir_build_info", "The version that runs.");

/// A gauge without labels: its name, its meaning, its value.
type ProcessGauge = (&'static str, &'static str, fn(&Process) -> f64);

pub(super) const PROCESS: &[ProcessGauge] = &[
    ("pgweir_clients", "Connections of clients, those that log in included.", |process| {
        process.clients.into()
    }),
    ("pgweir_clients_max", "How many clients may connect: max_client_conn.", |process| {
        process.max_client_conn.into()
    }),
    ("pgweir_console_sessions", "Sessions of the console.", |process| process.consoles.into()),
    ("pgweir_workers", "Threads that serve clients.", |process| process.workers.into()),
];

pub(super) const LOGINS: &[Metric<LoginsView>] = &[
    metric(
        "pgweir_logins_under_way",
        "Logins that hold one of max_logins places.",
        Values::Gauge(|logins| logins.under_way.into()),
    ),
    metric(
        "pgweir_logins_waiting",
        "Logins that wait for their turn.",
        Values::Gauge(|logins| logins.waiting.into()),
    ),
    metric(
        "pgweir_logins_begun",
        "Logins that were let begin, whether they succeeded or not.",
        Values::Count(|logins| logins.counters.begun),
    ),
    metric(
        "pgweir_logins_delayed",
        "Logins that had to wait for their turn.",
        Values::Count(|logins| logins.counters.delayed),
    ),
    metric(
        "pgweir_logins_refused",
        "Logins that waited for login_wait in vain: 53300.",
        Values::Count(|logins| logins.counters.refused),
    ),
    metric(
        "pgweir_logins_abandoned",
        "Logins that left while they waited for their turn.",
        Values::Count(|logins| logins.counters.abandoned),
    ),
];

pub(super) const HOST: &[Metric<HostView>] = &[
    metric(
        "pgweir_host_up",
        "Whether Postgres can be reached, as far as is known: 1, or 0 while connecting fails.",
        Values::Gauge(|host| if host.failure.is_none() { 1.0 } else { 0.0 }),
    ),
    metric(
        "pgweir_host_servers",
        "Connections to Postgres, over all pools, those that are being opened included.",
        Values::Gauge(|host| host.counts.open().into()),
    ),
    metric(
        "pgweir_host_servers_max",
        "How many connections this host may have: max_connections. +Inf: only the pools limit it.",
        Values::Gauge(|host| host.max_connections.map_or(f64::INFINITY, f64::from)),
    ),
    metric(
        "pgweir_host_clients_waiting",
        "Clients that wait for a server, over all pools.",
        Values::Gauge(|host| host.counts.waiting.into()),
    ),
];

pub(super) const POOL: &[Metric<PoolView>] = &[
    metric(
        "pgweir_pool_servers",
        "Connections to Postgres. active: lent to a client; idle; tested: being checked or cleaned; \
         login: being opened; being_canceled: kept until a cancel request is delivered.",
        Values::States(&[
            ("active", |pool| pool.counts.leased.into()),
            ("idle", |pool| pool.counts.idle.into()),
            ("tested", |pool| (pool.counts.checking + pool.counts.tidying).into()),
            ("login", |pool| pool.counts.connecting.into()),
            ("being_canceled", |pool| pool.counts.being_canceled.into()),
        ]),
    ),
    metric(
        "pgweir_pool_servers_max",
        "How many servers the pool may have: pool_size, without the reserve.",
        Values::Gauge(|pool| pool.size.into()),
    ),
    metric(
        "pgweir_pool_clients",
        "Clients that are in. waiting: for a server; active: all others.",
        Values::States(&[
            ("active", |pool| pool.active_clients().into()),
            ("waiting", |pool| pool.counts.waiting.into()),
        ]),
    ),
    metric(
        "pgweir_pool_longest_wait_seconds",
        "How long the client has waited that waits longest.",
        Values::Gauge(|pool| pool.longest_wait.as_secs_f64()),
    ),
    metric(
        "pgweir_pool_state",
        "How the pool does: 1 for its state, 0 for the others. healthy: whoever asks is served at \
         once; busy: some wait; shedding: some are refused, because they would be served too late; \
         server_down: there is no server and none to be had; paused: by an operator; draining: the \
         process stops.",
        Values::States(&[
            (PoolState::Healthy.label(), |pool| is(pool, PoolState::Healthy)),
            (PoolState::Busy.label(), |pool| is(pool, PoolState::Busy)),
            (PoolState::Shedding.label(), |pool| is(pool, PoolState::Shedding)),
            (PoolState::ServerDown.label(), |pool| is(pool, PoolState::ServerDown)),
            (PoolState::Paused.label(), |pool| is(pool, PoolState::Paused)),
            (PoolState::Draining.label(), |pool| is(pool, PoolState::Draining)),
        ]),
    ),
    metric(
        "pgweir_pool_logins",
        "Clients that were let in.",
        Values::Count(|pool| pool.totals.logins),
    ),
    metric(
        "pgweir_pool_assignments",
        "Servers lent to clients.",
        Values::Count(|pool| pool.totals.assignments),
    ),
    metric(
        "pgweir_pool_transactions",
        "Transactions that ended.",
        Values::Count(|pool| pool.totals.xacts),
    ),
    metric(
        "pgweir_pool_queries",
        "Queries that were answered.",
        Values::Count(|pool| pool.totals.queries),
    ),
    metric(
        "pgweir_pool_parses",
        "Statements that clients prepared.",
        Values::Count(|pool| pool.totals.parses),
    ),
    metric(
        "pgweir_pool_binds",
        "Statements that clients bound.",
        Values::Count(|pool| pool.totals.binds),
    ),
    metric(
        "pgweir_pool_received_bytes",
        "Bytes from clients.",
        Values::Count(|pool| pool.totals.received),
    ),
    metric("pgweir_pool_sent_bytes", "Bytes to clients.", Values::Count(|pool| pool.totals.sent)),
    metric(
        "pgweir_pool_pins",
        "Times that a client kept its server beyond its transaction.",
        Values::Count(|pool| pool.totals.pins),
    ),
    metric(
        "pgweir_pool_resets",
        "Servers that had to be cleaned before the next client.",
        Values::Count(|pool| pool.totals.resets),
    ),
    metric(
        "pgweir_pool_transaction_seconds",
        "Time in transactions.",
        Values::Time(|pool| pool.totals.xact_time),
    ),
    metric(
        "pgweir_pool_query_seconds",
        "Time in queries.",
        Values::Time(|pool| pool.totals.query_time),
    ),
    metric(
        "pgweir_pool_wait_seconds",
        "Time that clients waited for servers.",
        Values::Time(|pool| pool.totals.wait_time),
    ),
];

fn is(pool: &PoolView, state: PoolState) -> f64 {
    if pool.condition.state == state { 1.0 } else { 0.0 }
}

pub(super) const CLASS: &[Metric<ClassOfHost>] = &[
    metric(
        "pgweir_class_clients",
        "Clients that are in.",
        Values::Gauge(|of| of.class.clients.into()),
    ),
    metric(
        "pgweir_class_in_flight",
        "Servers held, those that are being cleaned after a client included.",
        Values::Gauge(|of| of.class.in_flight.into()),
    ),
    metric(
        "pgweir_class_waiting",
        "Requests that wait for a server.",
        Values::Gauge(|of| of.class.queued.into()),
    ),
    metric(
        "pgweir_class_patience_seconds",
        "How long its clients wait before they give up, as learned. +Inf: they do not, as far as is \
         known.",
        Values::Gauge(|of| {
            of.class.patience.map_or(f64::INFINITY, |patience| patience.as_secs_f64())
        }),
    ),
    metric(
        "pgweir_class_shedding",
        "1 while requests are refused because they would be served too late, or were within the last \
         second.",
        Values::Gauge(|of| if of.class.is_shedding { 1.0 } else { 0.0 }),
    ),
    metric(
        "pgweir_class_granted",
        "Requests that got a server.",
        Values::Count(|of| of.class.counters.granted),
    ),
    metric(
        "pgweir_class_queued",
        "Requests that had to wait, whatever became of them.",
        Values::Count(|of| of.class.counters.queued),
    ),
    metric(
        "pgweir_class_delayed",
        "Of these, those that a quota kept waiting.",
        Values::Count(|of| of.class.counters.delayed),
    ),
    metric(
        "pgweir_class_abandoned",
        "Requests whose client left or cancelled while they waited.",
        Values::Count(|of| of.class.counters.abandoned),
    ),
    metric(
        "pgweir_class_refused",
        "Requests that were refused. queue_full: max_queued; rate: transactions_per_second; \
         shed_on_arrival: would have waited too long; shed_in_queue: has waited too long; throttled: \
         nearly all of its class are refused; wait_timeout: query_wait_timeout; server_down and \
         login_failed: no server to be had.",
        Values::Reasons(|of, reason| of.class.counters.refused_for(reason)),
    ),
    metric(
        "pgweir_class_wait_seconds",
        "How long those who got a server had waited for it, at once included.",
        Values::Histogram(|of| &of.class.counters.waits),
    ),
    metric(
        "pgweir_class_service_seconds",
        "How long servers were held, by those who have given them back.",
        Values::Histogram(|of| &of.class.counters.service),
    ),
    metric(
        "pgweir_class_server_seconds",
        "Time for which servers were held, by those who have given them back. Fair shares are shares \
         of this.",
        Values::Seconds(|of| of.class.counters.service.sum()),
    ),
];
