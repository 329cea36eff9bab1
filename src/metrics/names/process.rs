//! The proxy as a whole: clients, logins, cancel requests, how things ended, workers.

use super::Values::{Count, Counts, Gauge, Seconds};
use super::{Metric, Split, Subject, flag, limit, metric, number, split};
use crate::config::Config;
use crate::end::EndReason;
use crate::pool::halts::DatabaseHalts;
use crate::pool::process::{Ends, LimitView, ProcessView, WorkerView};
use crate::pool::registry::CONSOLES_MAX;
use crate::pool::snapshot::Snapshot;
use crate::scheduler::logins::LoginsView;
use crate::stats::worker::CancelOutcome;

/// What is had once.
#[derive(Debug)]
pub(in crate::metrics) struct Process {
    clients: u32,
    consoles: u32,
    cancels: u32,
    statement_bytes: u64,
    workers: u16,
    max_client_conn: u32,
    max_logins: u32,
    max_cancels: u32,
    max_queued: u32,
    is_suspended: bool,
    has_taken_over: bool,
    logins: LoginsView,
    ends: Ends,
}

impl Process {
    pub(in crate::metrics) fn new(
        config: &Config,
        snapshot: &Snapshot,
        process: &ProcessView,
    ) -> Self {
        Self {
            clients: snapshot.clients,
            consoles: snapshot.consoles,
            cancels: process.cancels,
            statement_bytes: process.statement_bytes as u64,
            workers: config.process.workers,
            max_client_conn: config.clients.max_client_conn,
            max_logins: config.overload.logins.max_at_once,
            max_cancels: config.clients.max_cancels,
            max_queued: config.overload.max_queued,
            is_suspended: process.halts.is_suspended,
            has_taken_over: process.has_taken_over,
            logins: snapshot.logins,
            ends: process.ends.clone(),
        }
    }
}

const REASON: Split = split("reason", |at| Some(EndReason::ALL.get(at)?.account().label));
const OUTCOME: Split = split("outcome", |at| Some(CancelOutcome::ALL.get(at)?.label()));

impl Subject for Process {
    const LABELS: &'static [&'static str] = &[];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_clients",
            "Connections of clients, those that log in included.",
            Gauge(|process| process.clients.into()),
        ),
        metric(
            "pgweir_clients_max",
            "How many clients may connect: max_client_conn.",
            Gauge(|process| limit(process.max_client_conn)),
        ),
        metric(
            "pgweir_clients_waiting_max",
            "How many requests may wait for servers of one host: max_queued. +Inf: no limit.",
            Gauge(|process| limit(process.max_queued)),
        ),
        metric(
            "pgweir_client_closes",
            "Clients that were in, by why they left; docs/protocol.md has the reasons.",
            Counts(REASON, |process, reason| process.ends.closes[reason]),
        ),
        metric(
            "pgweir_request_refusals",
            "Requests that got an error of the proxy's own, or of a lost server, by reason.",
            Counts(REASON, |process, reason| process.ends.refusals[reason]),
        ),
        metric(
            "pgweir_login_failures",
            "Connections that did not become clients or sessions of the console, by reason.",
            Counts(REASON, |process, reason| process.ends.failed_logins[reason]),
        ),
        metric(
            "pgweir_logins_under_way",
            "Logins that hold one of max_logins places.",
            Gauge(|process| process.logins.under_way.into()),
        ),
        metric(
            "pgweir_logins_under_way_max",
            "How many logins may be under way: max_logins.",
            Gauge(|process| process.max_logins.into()),
        ),
        metric(
            "pgweir_logins_waiting",
            "Logins that wait for their turn.",
            Gauge(|process| process.logins.waiting.into()),
        ),
        metric(
            "pgweir_logins_begun",
            "Logins that were let begin, whether they succeeded or not.",
            Count(|process| process.logins.counters.begun),
        ),
        metric(
            "pgweir_logins_delayed",
            "Logins that had to wait for their turn.",
            Count(|process| process.logins.counters.delayed),
        ),
        metric(
            "pgweir_logins_refused",
            "Logins that waited for login_wait in vain: 53300.",
            Count(|process| process.logins.counters.refused),
        ),
        metric(
            "pgweir_logins_abandoned",
            "Logins that left while they waited for their turn.",
            Count(|process| process.logins.counters.abandoned),
        ),
        metric(
            "pgweir_cancels_under_way",
            "Cancel requests on their way to Postgres.",
            Gauge(|process| process.cancels.into()),
        ),
        metric(
            "pgweir_cancels_under_way_max",
            "How many cancel requests may be under way: max_cancels. +Inf: no limit.",
            Gauge(|process| limit(process.max_cancels)),
        ),
        metric(
            "pgweir_prepared_statement_bytes",
            "Memory for the texts of prepared statements; prepared_statement_memory bounds it.",
            Gauge(|process| number(process.statement_bytes)),
        ),
        metric(
            "pgweir_cancels",
            "Cancel requests. running: sent on to Postgres; queued: ended a wait; idle: nothing to \
             cancel; unknown_key: nobody's; over_limit: dropped because of max_cancels.",
            Counts(OUTCOME, |process, outcome| process.ends.cancels[outcome]),
        ),
        metric(
            "pgweir_console_sessions",
            "Sessions of the console.",
            Gauge(|process| process.consoles.into()),
        ),
        metric(
            "pgweir_console_sessions_max",
            "How many sessions of the console there may be.",
            Gauge(|_| CONSOLES_MAX.into()),
        ),
        metric(
            "pgweir_has_taken_over",
            "Whether the process took over from another one (1), or was started by itself (0).",
            Gauge(|process| flag(process.has_taken_over)),
        ),
        metric(
            "pgweir_suspended",
            "Whether an operator has suspended all clients: 1 from SUSPEND to RESUME, else 0.",
            Gauge(|process| flag(process.is_suspended)),
        ),
        metric(
            "pgweir_workers",
            "Threads that serve clients.",
            Gauge(|process| process.workers.into()),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![]
    }
}

impl Subject for WorkerView {
    const LABELS: &'static [&'static str] = &["worker"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_worker_connections",
            "Connections that a worker serves: clients, logins, sessions of the console. Worker 0 is the \
             main thread, which serves none.",
            Gauge(|worker| worker.connections.into()),
        ),
        metric(
            "pgweir_worker_busy_seconds",
            "Time for which a worker did not wait for anything. At one second per second, it is its \
             clients that wait for it.",
            Seconds(|worker| worker.busy),
        ),
        metric(
            "pgweir_worker_buffer_bytes",
            "Memory of a worker's buffers for bytes on their way, in use and spare.",
            Gauge(|worker| number(worker.buffer_bytes)),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.name]
    }
}

/// A database whose clients are limited.
pub(in crate::metrics) struct DatabaseLimit(pub(in crate::metrics) LimitView);

impl Subject for DatabaseLimit {
    const LABELS: &'static [&'static str] = &["database"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_database_clients",
            "Clients of a database that has a limit.",
            Gauge(|limit| limit.0.used.into()),
        ),
        metric(
            "pgweir_database_clients_max",
            "How many clients a database may have: max_db_client_connections.",
            Gauge(|limit| limit.0.max.into()),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.0.name]
    }
}

impl Subject for DatabaseHalts {
    const LABELS: &'static [&'static str] = &["database"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_database_paused",
            "Whether an operator has paused a database, by its name or with all others: 1 from PAUSE or \
             KILL to RESUME, else 0.",
            Gauge(|database| flag(database.is_paused)),
        ),
        metric(
            "pgweir_database_disabled",
            "Whether nobody new is let in to a database: 1 from DISABLE to ENABLE, else 0.",
            Gauge(|database| flag(database.is_disabled)),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.name]
    }
}

/// A user whose clients are limited.
pub(in crate::metrics) struct UserLimit(pub(in crate::metrics) LimitView);

impl Subject for UserLimit {
    const LABELS: &'static [&'static str] = &["user"];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_user_clients",
            "Clients of a user that has a limit.",
            Gauge(|limit| limit.0.used.into()),
        ),
        metric(
            "pgweir_user_clients_max",
            "How many clients a user may have: max_user_client_connections.",
            Gauge(|limit| limit.0.max.into()),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![&self.0.name]
    }
}
