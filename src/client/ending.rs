//! How things end: a request that is refused, a server that is lost, a client that leaves.

use super::Client;
use super::aborted::Aborted;
use crate::config::overload::ErrorCompat;
use crate::config::{PoolMode, SessionState};
use crate::end::{End, EndReason, Phase};
use crate::pool::words::{counted, shed_because, waits_for, whose};
use crate::pool::{Lease, Refusal, Rest};
use crate::server::exchange::Inbox;
use crate::session::ledger::{Abandoned, Status};
use crate::wire::encode;
use crate::wire::frame::Head;
use crate::wire::tags::from_client;
use std::time::Duration;

/// How long a client gets to take its last message. Most have room for it in their socket.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

impl Client {
    /// Refuses the request at the front of what the client sent; the session stays open.
    ///
    /// One error, and one `ReadyForQuery` where the client expects it: at once after a simple
    /// query, at the `Sync` after anything else.
    pub(super) fn refuse(&mut self, end: &End) {
        // What comes next is of another kind than what waited.
        self.learns = None;
        let fields = end.fields(Phase::Session);
        self.log_refusal(end);
        let front = Head::parse(self.up.unseen(), u32::MAX);
        let is_simple = matches!(front, Ok(Some(head))
            if matches!(head.tag, from_client::QUERY | from_client::FUNCTION_CALL));
        let status = self.fail_begun();
        self.down.slip_in(|out| {
            encode::error(out, &fields);
            if is_simple {
                encode::ready(out, status);
            }
        });
        if is_simple {
            self.swallow_front();
        } else {
            self.is_skipping = true;
        }
    }

    /// There is no server for a request. `Ok`: the session goes on. `Err`: it ends, because the
    /// client is to be told what PgBouncer would tell it.
    pub(super) fn refused(&self, refusal: Refusal) -> Result<Result<(), End>, End> {
        let told = match self.terms.error_compat {
            ErrorCompat::PgBouncer => pgbouncer_says(&refusal),
            ErrorCompat::Postgres => None,
        };
        let end = self.ending_of(refusal);
        let Some(message) = told else { return Ok(Err(end)) };
        self.log_refusal(&end);
        Err(end.in_pgbouncers_words(message))
    }

    /// What became of the wait, as an ending.
    fn ending_of(&self, refusal: Refusal) -> End {
        match refusal {
            Refusal::LoginFailed { error } => {
                End::from(EndReason::ServerRefused).verbatim((*error).clone())
            }
            Refusal::ServerDown { error, since } => {
                let down = self.worker.now().saturating_duration_since(since);
                End::from(EndReason::ServerDown).with_detail(format!(
                    "no connection for {} ms; last error: {} ({})",
                    down.as_millis(),
                    error.message,
                    error.code
                ))
            }
            Refusal::QueueFull { scope, limit } => End::from(EndReason::QueueFull).with_detail(
                format!("as many requests of {} wait as may: {limit} (max_queued)", whose(scope)),
            ),
            Refusal::RateLimited { scope, retry_after } => End::from(EndReason::RateLimited)
                .with_detail(format!(
                    "{} may begin another transaction in {} ms (transactions_per_second)",
                    whose(scope),
                    retry_after.as_millis()
                )),
            Refusal::Shed { why, limit, patience, waiting } => {
                let because = shed_because(why, limit, patience);
                End::from(EndReason::Shed).with_detail(format!(
                    "{because}; {}",
                    counted(waiting, "request waits", "requests wait")
                ))
            }
            Refusal::WaitTimeout { waited, counts, cause } => {
                // Who has them shows in what their own tasks say of themselves: that costs nothing
                // until somebody asks.
                let holders = self.here.roster().holders(&self.pool, self.worker.now());
                End::from(EndReason::WaitTimeout).with_detail(format!(
                    "waited {} ms for {}; {}/{} servers busy: {holders}; {} connecting, {}",
                    waited.as_millis(),
                    waits_for(cause),
                    holders.all(),
                    self.pool.setup().settings.pool_size,
                    counts.connecting,
                    counted(counts.waiting, "client waiting", "clients waiting")
                ))
            }
        }
    }

    /// The server is gone. The session goes on if nothing on it is lost but the requests under way.
    pub(super) fn server_lost(&mut self, why: &str) -> Result<(), End> {
        let Some(mut lease) = self.lease.take() else { return Ok(()) };
        let mut in_transaction = lease.conn.ledger.status() != Status::Idle;
        let was_idle = !in_transaction;
        let abandoned = lease.conn.ledger.abandon();
        tracing::warn!(
            database = self.pool.database,
            user = self.pool.user,
            pid = lease.conn.key.pid,
            server = %lease.conn.key.place.address,
            "server was lost in use: {why}"
        );
        self.pool.discard(&self.worker, lease);
        let outlook = std::mem::take(&mut self.outlook);
        let last_words = self.last_words.take();
        let mut end = End::from(EndReason::ServerLost);
        if outlook.commits {
            end = End::from(EndReason::CommitUnknown);
            // That transaction is over; one that would have followed is lost.
            in_transaction = outlook.begins_another;
        } else if let Some(fields) = last_words {
            end = end.verbatim(*fields);
        }
        let is_over = self.pin().is_some()
            || self.terms.pool_mode == PoolMode::Session
            // Nobody knows any more what was set there, or left.
            || self.script.inquiry().is_some()
            // Half a message has gone to the client: nothing can follow it.
            || self.down.is_mid_message();
        if is_over {
            return Err(end);
        }
        // Half a message of the server's that was not passed on: nothing follows it, either.
        self.down.drop_unseen();
        // The rest of a request whose beginning went to the server goes to nobody.
        self.to_swallow = self.up.cut_short();
        self.listen_no_more_than_committed();
        self.forget_server();
        if self.preparing > 0 && was_idle {
            // Not with the next server: settings may be what this one died of.
            self.refuse(&end);
        } else {
            self.tell_of_loss(&end, abandoned, in_transaction);
        }
        Ok(())
    }

    /// The server could not be given the client's settings in time. Nothing of the client's has gone
    /// to it, so the request at the front is refused as if it had waited for a server.
    pub(super) fn give_up_preparing(&mut self, end: &End) {
        let lease = self.lease.take().expect("a lease that has just begun");
        let left = Inbox::after(self.down.rest_to_come(), self.down.unseen());
        self.down.drop_unseen();
        self.pool.clean(&self.worker, lease, left, Rest::Ends(Some(Duration::ZERO)));
        self.refuse(end);
    }

    /// Tells the client that its requests are lost: one error for each `ReadyForQuery` it waits
    /// for. With a transaction open it is in a failed one from now on.
    pub(super) fn tell_of_loss(&mut self, end: &End, abandoned: Abandoned, in_transaction: bool) {
        self.log_refusal(end);
        let fields = end.fields(Phase::Session);
        let is_told = abandoned.readies > 0 || abandoned.open;
        let later = if in_transaction {
            self.aborted = Some(Box::new(Aborted::new((!is_told).then(|| fields.clone()))));
            End::from(EndReason::TransactionAborted).fields(Phase::Session)
        } else {
            fields.clone()
        };
        let status = if in_transaction { b'E' } else { b'I' };
        self.down.slip_in(|out| {
            let mut fields = &fields;
            for _ in 0..abandoned.readies {
                encode::error(out, fields);
                encode::ready(out, status);
                fields = &later;
            }
            if abandoned.open {
                encode::error(out, fields);
            }
        });
        self.is_skipping = abandoned.open;
    }

    /// Gives a lease up whatever state it is in: to the pool if it is settled, to be cleaned if it
    /// can be, and closed if not.
    pub(super) fn release(&mut self, mut lease: Lease) {
        // What the client has prepared or listens to would meet the next one.
        lease.conn.traces.add_all(self.traces());
        lease.conn.last_client = Some(self.here.id);
        let minds = self.terms.sessions.state != SessionState::Ignore
            || self.terms.pool_mode == PoolMode::Session;
        if self.pins.kept().library || minds && self.script.may_have_loaded() {
            // Nothing takes it out of the process again.
            return self.pool.abort(&self.worker, lease);
        }
        let half_sent = self.up.is_mid_message() || self.up.is_pending();
        if half_sent {
            // The rest of a request will never come.
            self.pool.abort(&self.worker, lease);
        } else {
            let left = Inbox::after(self.down.rest_to_come(), self.down.unseen());
            // Whoever says goodbye wants what it has asked for before to be done.
            let rest = if self.is_leaving {
                Rest::Ends(self.terms.timeouts.query_timeout)
            } else {
                Rest::Canceled
            };
            self.pool.clean(&self.worker, lease, left, rest);
        }
    }

    /// Tells the client why, if it can still be told, and lets everything go.
    pub(super) async fn finish(mut self, end: End) {
        if end.reason == EndReason::Moved {
            return self.move_on();
        }
        // Whoever pauses the pool waits for the connection that listens.
        self.listening = None;
        if let Some(lease) = self.lease.take() {
            // First the server: others may be waiting for it.
            self.release(lease);
        }
        if end.is_told() && !self.down.is_mid_message() {
            let fields = end.fields(Phase::Closing);
            self.down.slip_in(|out| encode::error(out, &fields));
            let (down, stream, worker) = (&mut self.down, &mut self.stream, &self.worker);
            let told = std::future::poll_fn(|cx| down.poll_flush(stream, worker, cx));
            // A client that does not listen is not waited for.
            let _late = worker.within(Some(LAST_WORDS_MAX), told).await;
        }
        self.worker.cells.closes.count(end.reason);
        if self.terms.log_disconnections {
            tracing::info!(
                client = self.here.id.0, database = self.pool.database, user = self.here.user,
                address = %self.here.peer, reason = end.reason.account().label,
                age_s = self.worker.wake().saturating_duration_since(self.here.connected_at).as_secs(),
                "client closed{}{}", if end.message().is_some() { ": " } else { "" },
                end.message().unwrap_or_default()
            );
        }
    }

    fn log_refusal(&self, end: &End) {
        self.worker.cells.refusals.count(end.reason);
        if !self.terms.log_pooler_errors {
            return;
        }
        // An overloaded pool refuses thousands in a second.
        let Some(untold) = self.pool.refusals.with(|muffle| muffle.tell(self.worker.now())) else {
            return;
        };
        tracing::warn!(
            client = self.here.id.0,
            database = self.pool.database,
            user = self.here.user,
            reason = end.reason.account().label,
            detail = end.detail().unwrap_or_default(),
            untold,
            "request refused"
        );
    }
}

/// What PgBouncer tells a client whose request it cannot serve. It knows no reason but that the wait
/// was too long, or that logging in to Postgres fails. `None`: Postgres' own words will do.
fn pgbouncer_says(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::LoginFailed { .. } => None,
        Refusal::ServerDown { error, .. } => Some(format!(
            "server login has been failing, cached error: {} (server_login_retry)",
            error.message
        )),
        Refusal::QueueFull { .. }
        | Refusal::RateLimited { .. }
        | Refusal::Shed { .. }
        | Refusal::WaitTimeout { .. } => Some("query_wait_timeout".to_owned()),
    }
}
