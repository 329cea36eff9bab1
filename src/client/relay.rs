//! THE HOT PATH: moves bytes between a client and its server, for as long as it has one.
//!
//! A small query is: read the client, write the server, read the server, write the client. Nothing
//! else is a system call, nothing allocates, no timer is made.

use super::Client;
use super::orders::Obeyed;
use super::replies::Fault;
use super::requests::UNDER_WAY_MAX;
use crate::config::PoolMode;
use crate::end::{End, EndReason};
use crate::session::ledger::{Origin, Request, Status};
use crate::session::settings::same;
use crate::wire::encode;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How often a client that is idle in its transaction for too long looks whether others wait.
const PRESSURE_LOOK: Duration = Duration::from_millis(100);

impl Client {
    /// Prepares the server for this client. If that takes a query, it is answered before anything of
    /// the client's goes: Postgres would run what is behind it whether it succeeded or not, and it can
    /// always fail, for instance by a cancel request that was meant for the client's.
    #[inline]
    pub(super) fn begin_lease(&mut self) {
        self.fence();
        let lease = self.lease.as_mut().expect("a lease has just begun");
        let server = &mut lease.conn;
        self.preparing = 0;
        server.is_to_be_reset = self.terms.resets_always;
        if !same(&server.applied, &self.settings)
            && let Some(sql) = server.take_on(&self.settings)
        {
            server.ledger.sent(Request::Query, Origin::Proxy);
            self.up.slip_in(|out| encode::query(out, &sql));
            self.preparing = 1;
        }
        if let Some(begun) = &self.begun {
            server.ledger.sent(Request::Query, Origin::Proxy);
            self.up.slip_in(|out| encode::query(out, &begun.sql));
            self.preparing += 1;
        }
        let now = self.worker.now();
        (self.times.request, self.times.xact) = (now, now);
        self.here.requests(now);
        self.pool.stats.of(self.worker.id).assignments.add(1);
    }

    /// Relays until the lease is over: nothing is owed, no transaction is open, nothing pinned.
    #[inline]
    pub(super) async fn relay(&mut self) -> Result<(), End> {
        std::future::poll_fn(|cx| self.poll_relay(cx)).await
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            let rests = self.obey()? == Obeyed::Rests;
            self.take_notifications_if_quiet()?;
            self.take_requests()?;
            self.poll_to_server(cx);
            if std::mem::take(&mut self.is_held_back) && !self.up.is_pending() {
                continue;
            }
            let is_held_up = self.preparing > 0 || self.is_waiting;
            if self.is_leaving && !self.up.is_pending() && !is_held_up {
                return Poll::Ready(Err(EndReason::ClientTerminated.into()));
            }
            if rests && self.is_flushed() {
                self.show_idleness();
                self.here.halts();
                return Poll::Pending;
            }
            // Behind a question the lease may be over as soon as it is answered.
            let was_preparing = self.preparing > 0 && self.script.inquiry().is_none();
            match self.poll_from_server(cx)? {
                Moved::Lost => return Poll::Ready(Ok(())),
                Moved::Some => {
                    self.flush_to_client(cx)?;
                    if !was_preparing && self.is_lease_over() {
                        self.end_lease();
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                Moved::Nothing => {}
            }
            if self.down.is_pending() {
                self.flush_to_client(cx)?;
                if !self.down.is_pending() {
                    continue;
                }
            }
            if rests {
                break;
            }
            if !self.poll_from_client(cx)? {
                self.leave_if_told()?;
                break;
            }
        }
        self.watch_deadlines(cx)?;
        Poll::Pending
    }

    /// Sends what may go to the server. That it takes no more shows when it is read: it may have
    /// said why.
    #[inline]
    fn poll_to_server(&mut self, cx: &mut Context<'_>) {
        let Self { up, lease, worker, .. } = self;
        let lease = lease.as_mut().expect("a relay has a lease");
        drop(up.poll_flush(lease.conn.stream(), worker, cx));
    }

    /// Reads the server, unless the client has not taken yet what came before.
    #[inline]
    fn poll_from_server(&mut self, cx: &mut Context<'_>) -> Result<Moved, End> {
        if self.down.is_pending() {
            return Ok(Moved::Nothing);
        }
        if self.is_holding() {
            // What it waits for has come, or not: there is no more to read before.
            return if self.is_held() { Ok(Moved::Nothing) } else { self.look_at_replies() };
        }
        let Self { down, lease, worker, .. } = self;
        let lease = lease.as_mut().expect("a relay has a lease");
        match down.poll_fill(lease.conn.stream(), worker, cx) {
            Poll::Pending => Ok(Moved::Nothing),
            Poll::Ready(Ok(n @ 1..)) => {
                self.pool.stats.of(self.worker.id).sent.add(n as u64);
                self.look_at_replies()
            }
            Poll::Ready(Ok(0)) => {
                self.server_lost("it closed the connection").map(|()| Moved::Lost)
            }
            Poll::Ready(Err(error)) => self.server_lost(&error.to_string()).map(|()| Moved::Lost),
        }
    }

    #[inline]
    fn look_at_replies(&mut self) -> Result<Moved, End> {
        match self.take_replies() {
            Ok(()) => Ok(Moved::Some),
            Err(Fault::Client(end)) => Err(end),
            Err(Fault::Unprepared(end)) => {
                self.give_up_preparing(&end);
                Ok(Moved::Lost)
            }
            Err(Fault::Server(why)) => self.server_lost(why).map(|()| Moved::Lost),
        }
    }

    #[inline]
    fn flush_to_client(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let before = self.down.len();
        if let Poll::Ready(Err(_)) = self.down.poll_flush(&mut self.stream, &self.worker, cx) {
            self.takes_nothing()?;
        }
        if self.down.len() < before {
            self.times.activity = self.worker.now();
        }
        Ok(())
    }

    /// Reads the client, unless the server has not taken yet what came before. Answers whether
    /// there is something new.
    #[inline]
    fn poll_from_client(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let lease = self.lease.as_ref().expect("a relay has a lease");
        if self.up.is_pending() || self.up.is_full() || lease.conn.ledger.len() >= UNDER_WAY_MAX {
            return Ok(false);
        }
        let slot = lease.slot;
        match self.up.poll_fill(&mut self.stream, &self.worker, cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(n @ 1..)) => {
                self.pool.stats.of(self.worker.id).received.add(n as u64);
                self.heard(n);
                if std::mem::take(&mut self.is_known_idle) {
                    self.pool.is_active(slot);
                }
                Ok(true)
            }
            Poll::Ready(Ok(0) | Err(_))
                if (self.preparing > 0 || self.is_waiting)
                    && self.said_goodbye()
                    && !self.gives_up =>
            {
                self.is_leaving = true;
                Ok(false)
            }
            Poll::Ready(Ok(0) | Err(_)) => Err(EndReason::ClientGone.into()),
        }
    }

    #[inline]
    fn is_lease_over(&mut self) -> bool {
        let lease = self.lease.as_ref().expect("a relay has a lease");
        if !lease.conn.ledger.is_settled()
            || self.up.is_pending()
            || self.up.is_mid_message()
            || !self.down.unseen().is_empty()
            || self.down.is_mid_message()
            || self.last_words.is_some()
        {
            return false;
        }
        if self.terms.pool_mode == PoolMode::Session {
            self.keep();
            return false;
        }
        if lease.conn.ledger.wants_probe() {
            self.probe();
            return false;
        }
        if !self.script.is_blank() && self.inquire() {
            return false;
        }
        let is_over = self.pin().is_none_or(|cause| {
            if !self.about.pinned {
                self.about.pinned = true;
                self.pool.stats.of(self.worker.id).pins[cause as usize].add(1);
                tracing::info!(
                    client = self.here.id.0,
                    database = self.pool.database,
                    user = self.here.user,
                    cause = cause.label(),
                    "client keeps its server"
                );
            }
            false
        });
        if !is_over {
            self.keep();
        }
        is_over
    }

    /// The client keeps its server: see to it that it has the client's settings.
    #[inline]
    fn keep(&mut self) {
        let lease = self.lease.as_ref().expect("a relay has a lease");
        if !same(&lease.conn.applied, &self.settings) {
            self.restore();
        }
    }

    /// Asks the server something that shows whether more is to come than is owed.
    fn probe(&mut self) {
        let lease = self.lease.as_mut().expect("a relay has a lease");
        lease.conn.ledger.sent(Request::Query, Origin::Proxy);
        self.up.slip_in(|out| encode::query(out, ""));
    }

    #[inline]
    fn end_lease(&mut self) {
        let mut lease = self.lease.take().expect("a relay has a lease");
        // What pins is a trace, and nothing pins any more.
        if !self.script.is_blank() || self.statements.is_some() {
            lease.conn.traces.add_all(self.traces());
        }
        lease.conn.last_client = Some(self.here.id);
        self.listen_no_more_than_committed();
        self.forget_server();
        self.here.idles_in_transaction(None);
        self.here.set_keeps_idle(false);
        self.times.activity = self.worker.now();
        self.pool.give_back(&self.worker, lease);
    }

    /// Tells others whether it uses the server that it has. Answers whether it is idle in a transaction.
    #[inline]
    fn show_idleness(&self) -> bool {
        let lease = self.lease.as_ref().expect("a relay has a lease");
        let ledger = &lease.conn.ledger;
        let in_transaction = ledger.status() != Status::Idle;
        let is_idle_in_transaction = in_transaction && ledger.is_quiet();
        self.here.idles_in_transaction(is_idle_in_transaction.then_some(self.times.request));
        self.here.set_keeps_idle(!in_transaction && ledger.is_quiet());
        is_idle_in_transaction
    }

    /// Ends what takes too long, and sees to it that the task wakes when the next thing might.
    fn watch_deadlines(&mut self, cx: &Context<'_>) -> Result<(), End> {
        self.take_up_timeouts();
        let is_idle_in_transaction = self.show_idleness();
        let lease = self.lease.as_ref().expect("a relay has a lease");
        let ledger = &lease.conn.ledger;
        let in_transaction = ledger.status() != Status::Idle;
        let timeouts = &self.terms.timeouts;
        let mut due: Option<(Instant, EndReason)> = None;
        let mut watch = |since: Instant, limit: Option<Duration>, reason| {
            if let Some(limit) = limit
                && due.is_none_or(|(at, _)| since + limit < at)
            {
                due = Some((since + limit, reason));
            }
        };
        if self.down.is_pending() {
            watch(self.times.activity, timeouts.client_write_timeout, EndReason::WriteTimeout);
        } else if !ledger.is_quiet() {
            watch(self.times.request, timeouts.query_timeout, EndReason::QueryTimeout);
        } else if in_transaction {
            watch(
                self.times.request,
                timeouts.idle_transaction_timeout,
                EndReason::IdleInTransaction,
            );
        } else {
            watch(self.times.request, timeouts.client_idle_timeout, EndReason::ClientIdle);
        }
        if in_transaction || !ledger.is_quiet() {
            watch(self.times.xact, timeouts.transaction_timeout, EndReason::TransactionTimeout);
        }
        if is_idle_in_transaction && let Some(at) = self.watch_pressure()? {
            self.deadline.watch(&self.worker, cx, at);
        }
        match due {
            Some((at, reason)) if at <= self.worker.now() => Err(reason.into()),
            Some((at, _)) => {
                self.deadline.watch(&self.worker, cx, at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Lets go of the server if others wait for it while this client is idle in its transaction for
    /// too long. Answers when to look again.
    fn watch_pressure(&mut self) -> Result<Option<Instant>, End> {
        let Some(limit) = self.terms.timeouts.idle_transaction_pressure_timeout else {
            return Ok(None);
        };
        let (now, since) = (self.worker.now(), self.times.request);
        if now < since + limit {
            return Ok(Some(since + limit));
        }
        let lease = self.lease.as_ref().expect("a relay has a lease");
        if self.pool.must_yield(now, lease.slot, since) {
            return Err(EndReason::IdleUnderPressure.into());
        }
        self.is_known_idle = true;
        Ok(Some(now + PRESSURE_LOOK))
    }
}

/// What reading the server brought.
enum Moved {
    /// There is no server any more; the client was told.
    Lost,
    Nothing,
    Some,
}
