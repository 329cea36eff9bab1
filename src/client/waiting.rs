//! A client that waits: in the queue for a server, or on one that others share for its answer.

use super::Client;
use super::orders::Obeyed;
use crate::base::expiry::TICK;
use crate::end::{End, EndReason, ErrorFields};
use crate::pool::mailbox::{Part, Ridden};
use crate::pool::waiting::{Waited, Waiting};
use crate::pool::words::waits_for;
use crate::wire::encode;
use crate::wire::frame::Head;
use crate::wire::tags::from_client as tags;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A goodbye that comes with a request asks for it to be done all the same, as Postgres would do it. One that comes
/// later, while its client waits, says that it has given up, as the end of the connection does: drivers say
/// goodbye before they close, also in the middle of a request.
pub(super) const GOODBYE_WITHIN: Duration = Duration::from_millis(50);

/// A wait for a server or an answer.
struct Wait {
    since: Instant,
    notify_at: Option<Instant>,
    /// The goodbye came with the request: there is nothing more to hear.
    is_farewell: bool,
}

impl Wait {
    /// Whether what has come came with the request.
    fn has_just_begun(&self, now: Instant, within: Duration) -> bool {
        now.saturating_duration_since(self.since) < within
    }
}

/// How a wait in the queue ended.
enum Turn {
    /// By the answer.
    Answered,
    /// It is to wait in another pool.
    Elsewhere,
    /// There is no server for the request.
    Nothing(End),
    Server,
}

impl From<Result<(), End>> for Turn {
    fn from(found: Result<(), End>) -> Self {
        found.map_or_else(Self::Nothing, |()| Self::Server)
    }
}

impl Client {
    /// Waits in the queue. `false`: there is no server for this request; the client was told, or has its
    /// answer.
    pub(super) async fn wait(&mut self) -> Result<bool, End> {
        let since = self.worker.now();
        let notify_at = self.terms.timeouts.query_wait_notify.map(|after| since + after);
        let mut wait = Wait { since, notify_at, is_farewell: self.said_goodbye() };
        loop {
            match self.queue(&mut wait).await? {
                Turn::Server => return Ok(true),
                Turn::Answered => return Ok(false),
                // To the end of the queue there: those who wait have come before.
                Turn::Elsewhere => self.take_up_terms(),
                // Nobody would read it, and nobody waits for what is behind it.
                Turn::Nothing(_) if self.is_leaving => {
                    return Err(EndReason::ClientTerminated.into());
                }
                Turn::Nothing(end) => {
                    self.refuse(&end);
                    return Ok(false);
                }
            }
        }
    }

    /// Waits in one queue for a server, or for the answer of one that others share.
    async fn queue(&mut self, wait: &mut Wait) -> Result<Turn, End> {
        let deadline = self.terms.timeouts.query_wait_timeout.map(|limit| wait.since + limit);
        let mailbox = Arc::clone(self.mailbox.get_or_insert_default());
        let client = (self.here.id, self.member);
        let ride = self.offer_ride(&mailbox);
        match self.pool.wait(&self.worker, client, &mailbox, deadline, ride) {
            Ok(mut waiting) => {
                std::future::poll_fn(|cx| self.poll_wait(&mut waiting, wait, cx)).await
            }
            Err(refusal) => self.refused(refusal).map(Turn::from),
        }
    }

    /// `None`: the wait goes on, until the rest of its answer has come.
    fn take_turn(&mut self, waited: Waited, cx: &mut Context<'_>) -> Result<Option<Turn>, End> {
        Ok(Some(match waited {
            Waited::Canceled => Turn::Nothing(EndReason::CanceledInQueue.into()),
            Waited::Granted { lease, waited } => {
                self.pool.stats.of(self.worker.id).wait_time.record(waited);
                self.lease = Some(lease);
                Turn::Server
            }
            Waited::Moved => Turn::Elsewhere,
            Waited::Refused(refusal) => self.refused(refusal)?.into(),
            Waited::Ridden(ridden) => return self.take_ride(ridden, cx),
        }))
    }

    fn take_ride(&mut self, ridden: Ridden, cx: &mut Context<'_>) -> Result<Option<Turn>, End> {
        match ridden {
            Ridden::Answered(fare) => self.take_answer(fare, cx),
            Ridden::Ended(reason) => return Err(reason.into()),
            Ridden::Lost { fare, last_words, is_cut } => {
                self.lost_ride(&fare, last_words, is_cut)?;
            }
            Ridden::Part(Part { bytes, to_come }) => {
                self.times.activity = self.worker.now();
                self.down.slip_in(|out| out.extend(bytes));
                // Whatever ends the session before that has come must say nothing behind it.
                self.down.forward(0, to_come);
                return Ok(None);
            }
        }
        Ok(Some(Turn::Answered))
    }

    fn poll_wait(
        &mut self,
        waiting: &mut Waiting,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Turn, End>> {
        if waiting.is_aboard() {
            return self.poll_ride(waiting, wait, cx);
        }
        let rests = self.obey()? == Obeyed::Rests;
        self.leave_if_paused()?;
        let now = self.worker.now();
        if let Poll::Ready(waited) = waiting.poll(cx) {
            return match self.take_turn(waited, cx)? {
                Some(turn) => Poll::Ready(Ok(turn)),
                None => self.poll_ride(waiting, wait, cx),
            };
        }
        if let Some(at) = wait.notify_at {
            if at <= now {
                wait.notify_at = None;
                let cause = waiting.cause().map(waits_for);
                self.down.slip_in(|out| encode::notice(out, &queued_notice(cause)));
            } else {
                self.deadline.watch(&self.worker, cx, at);
            }
        }
        if self.down.is_pending() && !self.is_leaving {
            self.poll_take_results(cx)?;
        }
        if rests && !self.down.is_pending() {
            self.here.halts();
        }
        if !rests {
            self.hear_meanwhile(wait, cx)?;
        }
        Poll::Pending
    }

    /// What goes on while a driver has the request: it may have begun, so nothing but the end of the session
    /// keeps it from being answered.
    fn poll_ride(
        &mut self,
        waiting: &mut Waiting,
        wait: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Turn, End>> {
        self.quit_if_told()?;
        loop {
            if self.down.is_pending() && !self.poll_take_results(cx)? {
                // The driver waits, too, when enough has come.
                self.watch_writing(cx)?;
                return Poll::Pending;
            }
            match waiting.poll(cx) {
                Poll::Ready(waited) => {
                    if let Some(turn) = self.take_turn(waited, cx)? {
                        return Poll::Ready(Ok(turn));
                    }
                }
                Poll::Pending => break,
            }
        }
        self.hear_meanwhile(wait, cx)?;
        Poll::Pending
    }

    fn watch_writing(&mut self, cx: &Context<'_>) -> Result<(), End> {
        let Some(limit) = self.terms.timeouts.client_write_timeout else { return Ok(()) };
        let due = self.times.activity + limit;
        if due <= self.worker.now() {
            return Err(EndReason::WriteTimeout.into());
        }
        self.deadline.watch(&self.worker, cx, due);
        Ok(())
    }

    /// Reads what a client sends that waits. One that goes away leaves the queue at once, unless it has said
    /// goodbye [with its request](GOODBYE_WITHIN).
    fn hear_meanwhile(&mut self, wait: &mut Wait, cx: &mut Context<'_>) -> Result<(), End> {
        let now = self.worker.now();
        while !self.is_leaving && !self.up.is_full() {
            match self.up.poll_fill(&mut self.stream, &self.worker, cx) {
                Poll::Pending => {
                    self.up.shelve(&self.worker);
                    break;
                }
                Poll::Ready(Ok(n @ 1..)) => {
                    self.pool.stats.of(self.worker.id).received.add(n as u64);
                }
                Poll::Ready(Ok(0) | Err(_))
                    if self.said_goodbye()
                        && (wait.is_farewell || wait.has_just_begun(now, GOODBYE_WITHIN)) =>
                {
                    self.is_leaving = true;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Err(EndReason::ClientGone.into()),
            }
        }
        if self.up.is_full() && !wait.is_farewell {
            self.look_for_end(wait, cx)?;
        }
        Ok(())
    }

    /// No more can be read of a client, and so no end: it is looked for now and then. What is behind all that is
    /// unread, nobody knows; it may be a goodbye.
    #[cold]
    fn look_for_end(&mut self, wait: &mut Wait, cx: &Context<'_>) -> Result<(), End> {
        let now = self.worker.now();
        if !self.stream.is_hung_up() {
            self.deadline.watch(&self.worker, cx, now + TICK);
        } else if wait.has_just_begun(now, 2 * TICK) {
            wait.is_farewell = true;
        } else {
            return Err(EndReason::ClientGone.into());
        }
        Ok(())
    }

    /// Whether there is a whole `Terminate` behind whole requests.
    pub(super) fn said_goodbye(&self) -> bool {
        let mut rest = self.up.unseen();
        while let Ok(Some(head)) = Head::parse(rest, self.terms.max_packet_size)
            && let Some((_, behind)) = rest.split_at_checked(head.total)
        {
            if head.tag == tags::TERMINATE {
                return true;
            }
            rest = behind;
        }
        false
    }
}

/// PgBouncer's words, which people look for in their logs.
fn queued_notice(cause: Option<String>) -> ErrorFields {
    ErrorFields {
        severity: "NOTICE".to_owned(),
        code: "00000".to_owned(),
        message: "No server connection available in postgres backend, client being queued"
            .to_owned(),
        detail: cause.map(|cause| format!("It waits for {cause}.")),
        routine: Some("pooler_queued".to_owned()),
        ..ErrorFields::default()
    }
}
