//! The servers of one database and user, and what their clients do.

use super::Values::{Count, Counts, Gauge, Gauges, Histogram};
use super::{Metric, Split, Subject, metric, split, unix_time};
use crate::pool::snapshot::{LATER, PoolView};
use crate::scheduler::{CloseReason, Rides, State, WaitCause};
use crate::session::fare::Stays;
use crate::session::pins::Cause;
use crate::session::traces::Trace;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

/// A pool, or those together that are too many to have series of their own.
#[derive(Debug)]
pub(in crate::metrics) struct Pool {
    view: PoolView,
    since: SystemTime,
    /// How many are in each state, of those in it.
    states: [u32; State::ALL.len()],
    /// And how many wait for what.
    causes: [u32; WaitCause::LABELS.len()],
}

impl Pool {
    fn new(view: PoolView, calendar: &dyn Fn(Instant) -> SystemTime) -> Self {
        let condition = view.condition;
        let waits_for = condition.cause.map(WaitCause::label);
        Self {
            since: calendar(condition.since),
            states: State::ALL.map(|state| u32::from(state == condition.state)),
            causes: WaitCause::LABELS.map(|label| u32::from(waits_for == Some(label))),
            view,
        }
    }

    fn add(&mut self, other: &Self) {
        self.view.add(&other.view);
        self.since = self.since.max(other.since);
        for (count, more) in self.states.iter_mut().zip(other.states) {
            *count += more;
        }
        for (count, more) in self.causes.iter_mut().zip(other.causes) {
            *count += more;
        }
    }

    /// The first so many pools of each host; those that came later, of all hosts, are one together.
    pub(in crate::metrics) fn rows(
        views: Vec<PoolView>,
        most: usize,
        calendar: &dyn Fn(Instant) -> SystemTime,
    ) -> Vec<Self> {
        let mut ids = BTreeMap::<String, Vec<_>>::new();
        for view in &views {
            ids.entry(view.host.clone()).or_default().push(view.id);
        }
        // With fewer, all are before the first that is one too many.
        let first_later = ids.into_iter().filter_map(|(host, mut ids)| {
            ids.sort_unstable();
            Some((host, *ids.get(most)?))
        });
        let first_later: BTreeMap<_, _> = first_later.collect();
        let mut rows = Vec::new();
        let mut together: Option<Self> = None;
        for view in views {
            let is_later = first_later.get(&view.host).is_some_and(|first| view.id >= *first);
            let pool = Self::new(view, calendar);
            match &mut together {
                _ if !is_later => rows.push(pool),
                Some(together) => together.add(&pool),
                None => together = Some(pool),
            }
        }
        rows.extend(together.map(|mut pool| {
            (pool.view.database, pool.view.user) = (LATER.to_owned(), LATER.to_owned());
            pool
        }));
        rows
    }
}

/// A state's name, and how many are in it.
type InState = (&'static str, fn(&PoolView) -> u32);

const SERVERS: [InState; 5] = [
    ("active", |pool| pool.counts.leased),
    ("idle", |pool| pool.counts.idle),
    ("tested", |pool| pool.counts.checking + pool.counts.tidying),
    ("login", |pool| pool.counts.connecting),
    ("being_canceled", |pool| pool.counts.being_canceled),
];

const CLIENTS: [InState; 2] =
    [("active", PoolView::active_clients), ("waiting", |pool| pool.counts.waiting)];

const STATE: Split = split("state", |at| Some(State::ALL.get(at)?.label()));
const WAIT_CAUSE: Split = split("cause", |at| WaitCause::LABELS.get(at).copied());
const PIN_CAUSE: Split = split("cause", |at| Some(Cause::ALL.get(at)?.label()));
const TRACE: Split = split("cause", |at| Some(Trace::ALL.get(at)?.label()));
const DEPTH: Split = split("depth", |at| Rides::DEPTHS.get(at).copied());
const STAYS: Split = split("reason", |at| Some(Stays::ALL.get(at)?.label()));
const CLOSE_REASON: Split = split("reason", |at| Some(CloseReason::ALL.get(at)?.label()));

impl Subject for Pool {
    const LABELS: &'static [&'static str] = &["database", "user"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_pool_servers",
            "Connections to Postgres. active: lent to a client; idle; tested: being checked or \
             cleaned; login: being opened; being_canceled: kept until a cancel request is delivered.",
            Gauges(split("state", |at| Some(SERVERS.get(at)?.0)), |pool, state| {
                SERVERS[state].1(&pool.view).into()
            }),
        ),
        metric(
            "pgweir_pool_servers_max",
            "How many servers the pool may have: pool_size, without the reserve.",
            Gauge(|pool| pool.view.size.into()),
        ),
        metric(
            "pgweir_pool_servers_reserve",
            "How many more it may have once somebody has waited for long: reserve_pool_size.",
            Gauge(|pool| pool.view.reserve.into()),
        ),
        metric(
            "pgweir_pool_clients",
            "Clients that are in. waiting: for a server; active: all others.",
            Gauges(split("state", |at| Some(CLIENTS.get(at)?.0)), |pool, state| {
                CLIENTS[state].1(&pool.view).into()
            }),
        ),
        metric(
            "pgweir_pool_longest_wait_seconds",
            "How long the client has waited that waits longest.",
            Gauge(|pool| pool.view.longest_wait.as_secs_f64()),
        ),
        metric(
            "pgweir_pool_state",
            "How the pool does: 1 for its state, 0 for the others. healthy: whoever asks is served at \
             once; busy: some wait; shedding: some are refused, because they would be served too late; \
             server_down: there is no server and none to be had; paused: by an operator; draining: the \
             process stops.",
            Gauges(STATE, |pool, state| pool.states[state].into()),
        ),
        metric(
            "pgweir_pool_state_since_timestamp_seconds",
            "Since when the pool is in its state, in seconds since 1970.",
            Gauge(|pool| unix_time(pool.since)),
        ),
        metric(
            "pgweir_pool_wait_cause",
            "What the client waits for that waits longest, or did while the pool was last in its state: \
             1 for that, 0 for the others. pool_full: pool_size; shared_full: max_connections, \
             max_db_connections or max_user_connections; opening: a server is being opened; \
             server_down; paused: by an operator; and what a class or an address in it may have: in_flight, rate, server_time.",
            Gauges(WAIT_CAUSE, |pool, cause| pool.causes[cause].into()),
        ),
        metric(
            "pgweir_pool_logins",
            "Clients that were let in.",
            Count(|pool| pool.view.totals.logins),
        ),
        metric(
            "pgweir_pool_assignments",
            "Servers lent to clients.",
            Count(|pool| pool.view.totals.assignments),
        ),
        metric(
            "pgweir_pool_transactions",
            "Transactions that ended.",
            Count(|pool| pool.view.totals.xacts),
        ),
        metric(
            "pgweir_pool_queries",
            "Queries that were answered.",
            Count(|pool| pool.view.totals.queries),
        ),
        metric(
            "pgweir_pool_shortcuts",
            "Requests that were answered without a server: pings, and what a deferred `BEGIN` saved.",
            Count(|pool| pool.view.totals.shortcuts),
        ),
        metric(
            "pgweir_pool_servers_shared",
            "Servers that clients share just now.",
            Gauge(|pool| pool.view.rides.shared.into()),
        ),
        metric(
            "pgweir_pool_clients_sharing",
            "Clients whose statements are under way on shared servers, or behind others there.",
            Gauge(|pool| (pool.view.rides.shared + pool.view.rides.followers).into()),
        ),
        metric(
            "pgweir_pool_shared_statements",
            "Statements that were answered by servers that others shared.",
            Count(|pool| pool.view.totals.rides),
        ),
        metric(
            "pgweir_pool_shared_depth",
            "Clients that came behind others on a shared server, by how many were there then, they included.",
            Counts(DEPTH, |pool, depth| pool.view.rides.depths[depth]),
        ),
        metric(
            "pgweir_pool_sharing_refusals",
            "Requests that had to wait for a server of their own where servers are shared, by reason. unknown: \
             how long it takes is not known yet; slow: too long, or its answer is; kind: no read; several \
             statements; function: of unknown effects; barred: it mentions what is in multiplex_except; writes; \
             locks; unclear: its meaning depends on settings; request: of another form; session: its client has \
             something that the server would have to know; missed: the server was lost, could not prepare its \
             statement as it was, did not take settings, or its head took long.",
            Counts(STAYS, |pool, reason| pool.view.totals.stays[reason]),
        ),
        metric(
            "pgweir_pool_sharing_stalls",
            "Statements that held others up, on a server that they shared, for ten times as long as was \
             expected and 50 ms at least, or whose client did not read.",
            Count(|pool| pool.view.totals.stalls),
        ),
        metric(
            "pgweir_pool_notifications",
            "Notifications that clients without a server got, one for each of them.",
            Count(|pool| pool.view.totals.notifications),
        ),
        metric(
            "pgweir_pool_listeners_lost",
            "Connections that listened for clients and were lost: notifications may be lost with them.",
            Count(|pool| pool.view.totals.listeners_lost),
        ),
        metric(
            "pgweir_pool_parses",
            "Statements that clients prepared.",
            Count(|pool| pool.view.totals.parses),
        ),
        metric(
            "pgweir_pool_parses_saved",
            "Statements that a server had already, prepared for another client.",
            Count(|pool| pool.view.totals.parses_saved),
        ),
        metric(
            "pgweir_pool_parses_added",
            "Statements that were prepared again, because the client had got a server without them.",
            Count(|pool| pool.view.totals.parses_added),
        ),
        metric(
            "pgweir_pool_statements_evicted",
            "Statements that made room for others, on servers that had `max_prepared_statements`.",
            Count(|pool| pool.view.totals.statements_evicted),
        ),
        metric(
            "pgweir_pool_binds",
            "Statements that clients bound.",
            Count(|pool| pool.view.totals.binds),
        ),
        metric(
            "pgweir_pool_received_bytes",
            "Bytes from clients.",
            Count(|pool| pool.view.totals.received),
        ),
        metric("pgweir_pool_sent_bytes", "Bytes to clients.", Count(|pool| pool.view.totals.sent)),
        metric(
            "pgweir_pool_pins",
            "Clients that began to keep their server beyond their transaction, by cause.",
            Counts(PIN_CAUSE, |pool, cause| pool.view.totals.pins[cause]),
        ),
        metric(
            "pgweir_pool_resets",
            "Servers that had to be cleaned before the next client.",
            Count(|pool| pool.view.totals.resets),
        ),
        metric(
            "pgweir_pool_traces_removed",
            "What clients had left on servers and was removed before the next client, by what it was.",
            Counts(TRACE, |pool, cause| pool.view.totals.traces[cause]),
        ),
        metric(
            "pgweir_pool_server_connects",
            "Servers that were connected to.",
            Count(|pool| pool.view.totals.opened),
        ),
        metric(
            "pgweir_pool_server_connect_failures",
            "Attempts to connect to a server that failed.",
            Count(|pool| pool.view.totals.open_failed),
        ),
        metric(
            "pgweir_pool_server_closes",
            "Servers that were idle and were closed. dead: Postgres had closed it; evicted: another \
             pool needed its place; idle_timeout; lifetime; shrunk: a limit was lowered; shutdown: this process ends; paused and \
             retired: by an operator.",
            Counts(CLOSE_REASON, |pool, reason| pool.view.totals.closed[reason]),
        ),
        metric(
            "pgweir_pool_server_losses",
            "Servers that were lost in use, or could not be made fit for the next client.",
            Count(|pool| pool.view.totals.lost),
        ),
        metric(
            "pgweir_pool_wait_seconds",
            "How long those who got a server had waited for it, at once included.",
            Histogram(|pool| pool.view.times.wait),
        ),
        metric(
            "pgweir_pool_transaction_seconds",
            "How long transactions took, from the lease of a server to the last answer.",
            Histogram(|pool| pool.view.times.xact),
        ),
        metric(
            "pgweir_pool_query_seconds",
            "How long queries took, from when a server was there to the answer.",
            Histogram(|pool| pool.view.times.query),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.view.database, &self.view.user]
    }
}
