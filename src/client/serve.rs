//! The round of a client: idle, waiting, leased.

use super::Client;
use super::orders::Obeyed;
use super::requests::unexpected;
use crate::end::ErrorFields;
use crate::end::{End, EndReason};
use crate::pool::mailbox::Outcome;
use crate::pool::waiting::Waiting;
use crate::pool::words::waits_for;
use crate::wire::encode;
use crate::wire::frame::Head;
use crate::wire::tags::from_client as tags;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A request this long gets a server before it is whole: it would not fit our memory.
const START_AT: usize = 16_384;

/// How a wait in the queue ended.
enum Turn {
    /// By the answer.
    Answered,
    /// There is no server for the request.
    Nothing(End),
    Server,
}

impl From<Result<(), End>> for Turn {
    fn from(found: Result<(), End>) -> Self {
        found.map_or_else(Self::Nothing, |()| Self::Server)
    }
}

/// What an idle client wants.
enum Wish {
    /// A server, for the request at the front.
    Server,
    /// Nothing so far.
    More,
}

impl Client {
    /// Serves the client until it ends.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the client twice, as its argument and as its variable"
    )]
    pub fn serve(mut self) -> impl Future<Output = ()> {
        async move {
            let end = {
                let worker = Rc::clone(&self.worker);
                let mut rounds = pin!(self.rounds());
                // The clock is read once for each wake-up, here and nowhere below.
                std::future::poll_fn(|cx| {
                    worker.wake();
                    rounds.as_mut().poll(cx)
                })
                .await
            };
            // Boxed: it is short, and its state need not be part of every idle client.
            Box::pin(self.finish(end)).await;
        }
    }

    async fn rounds(&mut self) -> End {
        std::future::poll_fn(|cx| {
            self.here.is_served_by(cx.waker());
            Poll::Ready(())
        })
        .await;
        if let Some(channels) = self.about.inherited.take() {
            self.listen_again(&channels);
        }
        loop {
            if let Err(end) = self.round().await {
                return end;
            }
        }
    }

    async fn round(&mut self) -> Result<(), End> {
        std::future::poll_fn(|cx| self.poll_idle(cx)).await?;
        // Boxed: whoever waits can afford it, and those who are idle are many.
        if self.lease.is_none() && !Box::pin(self.wait()).await? {
            return Ok(());
        }
        self.begin_lease();
        self.relay().await
    }

    /// Waits for a request, and takes a server at once if one is free.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.begun.is_some() {
            // A transaction ends under the terms that it has begun under.
            self.take_up_timeouts();
        } else {
            self.take_up_terms();
        }
        loop {
            if self.down.is_pending() && !self.poll_take_results(cx)? {
                self.quit_if_told()?;
                break;
            }
            if self.obey()? == Obeyed::Rests {
                self.here.halts();
                return Poll::Pending;
            }
            if self.begun.is_none() && self.aborted.is_none() {
                self.take_notifications()?;
            }
            match self.wish()? {
                Wish::Server => {
                    self.lease = self.pool.try_lease(&self.worker, self.here.id, self.member);
                    if self.lease.is_some() {
                        self.pool.stats.of(self.worker.id).wait_time.record_none();
                    }
                    return Poll::Ready(Ok(()));
                }
                // An answer of the proxy's own must go first.
                Wish::More if self.down.is_pending() => continue,
                Wish::More => {}
            }
            match self.up.poll_fill(&mut self.stream, &self.worker, cx) {
                Poll::Pending => {
                    self.up.shelve(&self.worker);
                    self.leave_if_told()?;
                    break;
                }
                Poll::Ready(Ok(n @ 1..)) => {
                    self.pool.stats.of(self.worker.id).received.add(n as u64);
                    self.times.activity = self.worker.now();
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(EndReason::ClientGone.into()));
                }
            }
        }
        self.watch_idle(cx)?;
        Poll::Pending
    }

    /// Sends what the client has not taken yet. Answers whether it has taken all of it.
    fn poll_take_results(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        match self.down.poll_flush(&mut self.stream, &self.worker, cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(EndReason::ClientGone.into()),
            Poll::Pending => Ok(false),
        }
    }

    fn watch_idle(&mut self, cx: &Context<'_>) -> Result<(), End> {
        let (limit, reason) = if self.down.is_pending() {
            (self.terms.timeouts.client_write_timeout, EndReason::WriteTimeout)
        } else if self.begun.is_some() {
            (self.terms.timeouts.idle_transaction_timeout, EndReason::IdleInTransaction)
        } else {
            (self.terms.timeouts.client_idle_timeout, EndReason::ClientIdle)
        };
        let Some(limit) = limit else { return Ok(()) };
        let due = self.times.activity + limit;
        if due <= self.worker.now() {
            return Err(reason.into());
        }
        self.deadline.watch(&self.worker, cx, due);
        Ok(())
    }

    /// What the client wants, by the messages at the front. Those that need no server are dealt
    /// with here.
    fn wish(&mut self) -> Result<Wish, End> {
        loop {
            if self.to_swallow > 0 && !self.swallow_front() {
                return Ok(Wish::More);
            }
            let Some(head) = self.front()? else { return Ok(Wish::More) };
            if self.aborted.is_some() && head.tag != tags::TERMINATE {
                if !self.answer_aborted(head) {
                    return Ok(Wish::More);
                }
                continue;
            }
            match head.tag {
                // Whatever it was for has failed before, and the client was told; or it comes too
                // late, after its COPY had failed. Postgres ignores it, too. And there is nothing to
                // flush.
                tags::COPY_DATA | tags::COPY_DONE | tags::COPY_FAIL | tags::FLUSH => {
                    self.swallow_front();
                }
                tags::SYNC => {
                    self.swallow_front();
                    self.is_skipping = false;
                    let status = self.idle_status();
                    self.down.slip_in(|out| encode::ready(out, status));
                }
                tags::TERMINATE => return Err(EndReason::ClientTerminated.into()),
                _ if self.is_skipping => {
                    self.swallow_front();
                }
                tags::QUERY if self.answer_query(head) => {}
                tags::PARSE if self.answer_batch() => {}
                tags::QUERY
                | tags::PARSE
                | tags::BIND
                | tags::DESCRIBE
                | tags::EXECUTE
                | tags::CLOSE
                | tags::FUNCTION_CALL => {
                    let here = self.up.unseen().len();
                    let is_enough = here >= head.total || here >= START_AT;
                    return Ok(if is_enough { Wish::Server } else { Wish::More });
                }
                tag => return Err(unexpected(tag)),
            }
        }
    }

    /// Waits in the queue. `false`: there is no server for this request; the client was told, or has its
    /// answer.
    async fn wait(&mut self) -> Result<bool, End> {
        match self.queue().await? {
            Turn::Server => Ok(true),
            Turn::Answered => Ok(false),
            // Nobody would read it, and nobody waits for what is behind it.
            Turn::Nothing(_) if self.is_leaving => Err(EndReason::ClientTerminated.into()),
            Turn::Nothing(end) => {
                self.refuse(&end);
                Ok(false)
            }
        }
    }

    /// Waits in the queue for a server, or for the answer of one that others share.
    async fn queue(&mut self) -> Result<Turn, End> {
        let since = self.worker.now();
        let mut notify_at = self.terms.timeouts.query_wait_notify.map(|after| since + after);
        let outcome = loop {
            let deadline = self.terms.timeouts.query_wait_timeout.map(|limit| since + limit);
            let mailbox = Arc::clone(self.mailbox.get_or_insert_default());
            let client = (self.here.id, self.member);
            let ride = self.offer_ride(&mailbox);
            let waiting = self.pool.wait(&self.worker, client, &mailbox, deadline, ride);
            let mut waiting = match waiting {
                Ok(waiting) => waiting,
                Err(refusal) => return self.refused(refusal).map(Turn::from),
            };
            let wait = std::future::poll_fn(|cx| self.poll_wait(&mut waiting, &mut notify_at, cx));
            match wait.await? {
                None => return Ok(Turn::Answered),
                // To the end of the queue there: those who wait have come before.
                Some(Outcome::Moved) => self.take_up_terms(),
                Some(outcome) => break outcome,
            }
        };
        match outcome {
            Outcome::Answered(_) | Outcome::Missed | Outcome::Moved | Outcome::Part(_) => {
                unreachable!("the wait went on, or the answer was taken")
            }
            Outcome::Ended(reason) => Err(reason.into()),
            Outcome::Granted { lease, waited, .. } => {
                self.pool.stats.of(self.worker.id).wait_time.record(waited);
                self.lease = Some(lease);
                Ok(Turn::Server)
            }
            Outcome::Lost { fare, last_words, is_cut } => {
                self.lost_ride(&fare, last_words, is_cut)?;
                Ok(Turn::Answered)
            }
            Outcome::Refused(refusal) => self.refused(refusal).map(Turn::from),
            Outcome::Canceled => Ok(Turn::Nothing(EndReason::CanceledInQueue.into())),
        }
    }

    /// `None`: the request was answered.
    fn poll_wait(
        &mut self,
        waiting: &mut Waiting,
        notify_at: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Outcome>, End>> {
        if waiting.is_aboard() {
            return self.poll_ride(waiting, cx);
        }
        let rests = self.obey()? == Obeyed::Rests;
        self.leave_if_paused()?;
        let now = self.worker.now();
        match waiting.poll(cx) {
            Poll::Ready(Outcome::Answered(fare)) => {
                self.take_answer(fare, cx);
                return Poll::Ready(Ok(None));
            }
            Poll::Ready(Outcome::Part(part)) => {
                self.down.slip_in(|out| out.extend(part));
                return self.poll_ride(waiting, cx);
            }
            Poll::Ready(outcome) => return Poll::Ready(Ok(Some(outcome))),
            Poll::Pending => {}
        }
        if let Some(at) = *notify_at {
            if at <= now {
                *notify_at = None;
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
            self.hear_meanwhile(cx)?;
        }
        Poll::Pending
    }

    /// What goes on while a driver has the request: it may have begun, so nothing but the end of the session
    /// keeps it from being answered.
    fn poll_ride(
        &mut self,
        waiting: &mut Waiting,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Outcome>, End>> {
        self.quit_if_told()?;
        loop {
            if self.down.is_pending() && !self.poll_take_results(cx)? {
                // The driver waits, too, when enough has come.
                self.watch_writing(cx)?;
                return Poll::Pending;
            }
            match waiting.poll(cx) {
                Poll::Ready(Outcome::Answered(fare)) => {
                    self.take_answer(fare, cx);
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Outcome::Part(part)) => {
                    self.times.activity = self.worker.now();
                    self.down.slip_in(|out| out.extend(part));
                }
                Poll::Ready(outcome) => return Poll::Ready(Ok(Some(outcome))),
                Poll::Pending => break,
            }
        }
        self.hear_meanwhile(cx)?;
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
    /// goodbye: then it wants what it has asked for before to be done, as Postgres would do it.
    fn hear_meanwhile(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.is_leaving && !self.up.is_full() {
            match self.up.poll_fill(&mut self.stream, &self.worker, cx) {
                Poll::Pending => {
                    self.up.shelve(&self.worker);
                    break;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) if self.said_goodbye() => self.is_leaving = true,
                Poll::Ready(Ok(0) | Err(_)) => return Err(EndReason::ClientGone.into()),
            }
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
