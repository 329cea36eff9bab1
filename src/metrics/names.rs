//! Every metric, as data: its name, its meaning, where its value comes from.

use crate::pool::snapshot::{HostView, PoolView};

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
