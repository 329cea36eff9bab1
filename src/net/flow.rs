//! Bytes on their way from one peer to the other, with the proxy's own messages slipped in.
//!
//! ```text
//!   own (first)        buffer:   | sent | to be sent | not looked at | free |
//!                                0      sent         seen            filled  capacity
//! ```
//!
//! What was read is looked at where it lies and sent from there: nothing is copied unless a message
//! of the proxy's own has to go in between. An empty flow holds no buffer.
//!
//! # Invariants
//!
//! - `sent <= seen <= filled`.
//! - `own` goes out before the buffer's bytes.
//! - At most one buffer, and the proxy's own messages, are held for a peer that does not read.

use super::stream::Link;
use super::worker::{BUFFER_SIZE, Buffer, Worker};
use std::io;
use std::task::{Context, Poll, ready};

/// Room that is left in front of what is read, for a message to begin with a longer name than it
/// came with.
const HEADROOM: u32 = 64;

/// So much of what may go already is moved for a message that gets longer or shorter. More goes out as
/// the proxy's own, and what follows it is appended there: a long pipeline is copied once, and not once
/// for each of its messages.
const SHIFT_MAX: usize = 1_024;

/// No message is so long.
const DROPPED: u32 = 1 << 31;

/// One direction of a client's traffic.
#[derive(Debug, Default)]
pub struct Flow {
    /// The worker's, if it is as long as those are. Else the beginning of a message whose rest takes its time,
    /// in no more memory than it needs; or empty, if nothing is here.
    bytes: Buffer,
    sent: u32,
    seen: u32,
    filled: u32,
    /// Bytes of the current message that have still to come and need no look. With [`DROPPED`] they are not
    /// passed on.
    to_come: u32,
    own: Vec<u8>,
}

fn index(at: u32) -> usize {
    at as usize
}

impl Flow {
    /// A flow in which these bytes have come already. Less than a buffer's worth.
    pub fn holding(bytes: Vec<u8>) -> Self {
        debug_assert!(bytes.len() < BUFFER_SIZE);
        let filled = u32::try_from(bytes.len()).expect("no more than a login's bytes");
        Self { bytes: bytes.into(), filled, ..Self::default() }
    }

    /// Reads once. `Ok(0)`: the peer has closed. Must not be called while the buffer is full.
    #[inline]
    pub fn poll_fill(
        &mut self,
        from: &mut impl Link,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Mostly there is nothing, and no more is done.
        ready!(from.poll_readable(cx))?;
        self.poll_fill_now(from, worker, cx)
    }

    fn poll_fill_now(
        &mut self,
        from: &mut impl Link,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() {
            self.bytes = worker.lend();
            (self.sent, self.seen, self.filled) = (HEADROOM, HEADROOM, HEADROOM);
        } else if !self.is_lent() {
            self.unshelve(worker);
        }
        if index(self.filled) == self.bytes.len() && self.sent > 0 {
            self.bytes.copy_within(index(self.sent)..index(self.filled), 0);
            self.seen -= self.sent;
            self.filled -= self.sent;
            self.sent = 0;
        }
        let read = from.poll_read(cx, &mut self.bytes[index(self.filled)..]);
        match read {
            Poll::Ready(Ok(n @ 1..)) => {
                self.filled += u32::try_from(n).expect("no more than a buffer");
            }
            _ => self.tidy(worker),
        }
        read
    }

    /// Takes what is here to a buffer of the worker's.
    #[cold]
    fn unshelve(&mut self, worker: &Worker) {
        let shelved = std::mem::replace(&mut self.bytes, worker.lend());
        let has_room = shelved.len() + index(HEADROOM) < self.bytes.len();
        let start = if has_room { HEADROOM } else { 0 };
        self.bytes[index(start)..index(start) + shelved.len()].copy_from_slice(&shelved);
        (self.sent, self.seen) = (self.sent + start, self.seen + start);
        self.filled += start;
    }

    /// Gives an empty buffer back.
    #[inline]
    pub fn tidy(&mut self, worker: &Worker) {
        if self.sent == self.filled && !self.bytes.is_empty() {
            (self.sent, self.seen, self.filled) = (0, 0, 0);
            self.keep(Buffer::default(), worker);
        }
    }

    /// Keeps these bytes in the place of those that are here.
    #[inline]
    fn keep(&mut self, bytes: Buffer, worker: &Worker) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if before.len() == BUFFER_SIZE {
            worker.take_back(before);
        }
    }

    #[inline]
    fn is_lent(&self) -> bool {
        self.bytes.len() == BUFFER_SIZE
    }

    /// Keeps the beginning of a message in as little memory as it needs, until the rest comes.
    pub fn shelve(&mut self, worker: &Worker) {
        self.tidy(worker);
        let is_whole = index(self.filled - self.sent) == BUFFER_SIZE;
        if self.seen == self.sent && self.is_lent() && !is_whole {
            let rest: Buffer = self.bytes[index(self.sent)..index(self.filled)].into();
            (self.sent, self.seen) = (0, 0);
            self.filled = u32::try_from(rest.len()).expect("no more than a buffer");
            self.keep(rest, worker);
        }
    }

    /// What was not looked at so far.
    #[inline]
    pub fn unseen(&self) -> &[u8] {
        &self.bytes[index(self.seen)..index(self.filled)]
    }

    /// Whether the buffer can take no more until something is sent or looked at.
    pub fn is_full(&self) -> bool {
        index(self.filled) == BUFFER_SIZE && self.sent == 0
    }

    /// The first `here` bytes not looked at may go, and the next `to_come` that arrive.
    #[inline]
    pub fn forward(&mut self, here: usize, to_come: usize) {
        self.seen += u32::try_from(here).expect("no more than a buffer");
        self.to_come = u32::try_from(to_come).expect("no longer than a message");
        debug_assert!(self.seen <= self.filled);
    }

    /// Forwards what has come of a message that needs no look. Answers whether it is through.
    #[inline]
    pub fn forward_rest(&mut self) -> bool {
        if self.to_come > 0 {
            self.forward_more();
        }
        self.to_come == 0
    }

    fn forward_more(&mut self) {
        let left = self.to_come & !DROPPED;
        let here = left.min(self.filled - self.seen);
        if self.to_come == left {
            self.seen += here;
        } else {
            self.swallow(index(here));
        }
        self.to_come = if here == left { 0 } else { self.to_come - here };
    }

    /// Drops the first `here` bytes not looked at, and the next `to_come` that arrive.
    pub fn swallow_message(&mut self, here: usize, to_come: usize) {
        self.swallow(here);
        self.forward(0, to_come);
        if to_come > 0 {
            self.to_come |= DROPPED;
        }
    }

    /// Drops the first `n` bytes not looked at.
    pub fn swallow(&mut self, n: usize) {
        let n = u32::try_from(n).expect("no more than a buffer");
        if self.sent < self.seen {
            self.bytes.copy_within(index(self.sent)..index(self.seen), index(self.sent + n));
        }
        self.sent += n;
        self.seen += n;
    }

    /// Puts `bytes` in the place of the first `n` that were not looked at. They may go, and so may the
    /// next `here`, and the next `to_come` that arrive.
    #[inline]
    pub fn rewrite(&mut self, n: usize, bytes: &[u8], here: usize, to_come: usize) {
        let pending = index(self.seen - self.sent);
        // Where what may go begins, if it is moved next to the new bytes.
        let start = (index(self.sent) + n).checked_sub(bytes.len());
        if let Some(start) = start
            && self.own.is_empty()
            && pending <= SHIFT_MAX
        {
            self.bytes.copy_within(index(self.sent)..index(self.seen), start);
            self.bytes[start + pending..start + pending + bytes.len()].copy_from_slice(bytes);
            self.sent = u32::try_from(start).expect("within the buffer");
            self.seen += u32::try_from(n).expect("no more than a buffer");
            self.forward(here, to_come);
        } else {
            self.gather();
            self.own.extend_from_slice(bytes);
            self.swallow(n);
            self.forward(here, to_come);
            self.gather();
        }
    }

    /// Changes one byte that was not looked at.
    pub fn put(&mut self, at: usize, byte: u8) {
        self.bytes[index(self.seen) + at] = byte;
    }

    /// Slips messages of the proxy's own in, behind everything that may go already.
    pub fn slip_in(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.gather();
        write(&mut self.own);
    }

    /// Moves what may go behind the proxy's own bytes.
    fn gather(&mut self) {
        if self.sent < self.seen {
            self.own.extend_from_slice(&self.bytes[index(self.sent)..index(self.seen)]);
            self.sent = self.seen;
        }
    }

    /// Whether something may go and has not gone.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.sent < self.seen || !self.own.is_empty()
    }

    /// Whether a message has gone in part, so that its rest must follow.
    #[inline]
    pub fn is_mid_message(&self) -> bool {
        self.to_come > 0
    }

    /// Bytes of the current message that have still to come.
    pub fn rest_to_come(&self) -> usize {
        index(self.to_come & !DROPPED)
    }

    /// Whether nothing is here at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sent == self.filled && self.own.is_empty()
    }

    /// Sends all that may go. `Pending`: the peer does not take it.
    #[inline]
    pub fn poll_flush(
        &mut self,
        to: &mut impl Link,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.own.is_empty() {
            self.gather();
            ready!(self.poll_flush_own(to, cx))?;
        }
        while self.sent < self.seen {
            let pending = &self.bytes[index(self.sent)..index(self.seen)];
            match ready!(to.poll_write(cx, pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += u32::try_from(n).expect("no more than was given"),
            }
        }
        self.tidy(worker);
        Poll::Ready(Ok(()))
    }

    fn poll_flush_own(&mut self, to: &mut impl Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            match ready!(to.poll_write(cx, &self.own))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => drop(self.own.drain(..n)),
            }
        }
        // Rare, so its memory is not kept: an idle client holds no buffer.
        self.own = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// What was not looked at can never be: its sender is gone.
    pub fn drop_unseen(&mut self) {
        self.filled = self.seen;
    }

    /// What may go can go nowhere any more. Answers how much of the message under way has still to
    /// come, and is of no use either.
    pub fn cut_short(&mut self) -> u32 {
        self.sent = self.seen;
        self.own = Vec::new();
        std::mem::take(&mut self.to_come) & !DROPPED
    }

    /// What may go is of no use to anybody: its peer takes nothing any more.
    pub fn drop_pending(&mut self, worker: &Worker) {
        self.sent = self.seen;
        self.own = Vec::new();
        self.tidy(worker);
    }

    /// Forgets everything: the peer it was for is gone.
    pub fn clear(&mut self, worker: &Worker) {
        self.sent = self.filled;
        self.to_come = 0;
        self.own = Vec::new();
        self.tidy(worker);
    }

    /// How much is kept that did not come, or was moved for what did not.
    #[inline]
    pub fn own_len(&self) -> usize {
        self.own.len()
    }

    /// Bytes that came and have not gone.
    pub fn len(&self) -> usize {
        index(self.filled - self.sent) + self.own.len()
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
