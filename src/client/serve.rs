//! The round of a client: idle, [waiting](super::waiting), leased.

use super::Client;
use super::orders::Obeyed;
use super::requests::unexpected;
use crate::end::{End, EndReason};
use crate::wire::encode;
use crate::wire::tags::from_client as tags;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A request this long gets a server before it is whole: it would not fit our memory.
const START_AT: usize = 16_384;

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
                    self.heard(n);
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
    pub(super) fn poll_take_results(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let before = self.down.len();
        let flushed = self.down.poll_flush(&mut self.stream, &self.worker, cx);
        if self.down.len() < before {
            self.times.activity = self.worker.now();
        }
        match flushed {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => self.takes_nothing().map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// The client's socket takes nothing any more. If it has said goodbye behind requests that have not gone to
    /// a server so far, they are done all the same.
    #[cold]
    pub(super) fn takes_nothing(&mut self) -> Result<(), End> {
        self.is_leaving |= self.said_goodbye();
        if !self.is_leaving {
            return Err(EndReason::ClientGone.into());
        }
        self.down.drop_pending(&self.worker);
        Ok(())
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
}
