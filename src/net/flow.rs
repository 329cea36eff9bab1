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
const HEADROOM: usize = 64;

/// So much of what may go already is moved for a message that gets longer or shorter. More goes out as
/// the proxy's own, and what follows it is appended there: a long pipeline is copied once, and not once
/// for each of its messages.
const SHIFT_MAX: usize = 1_024;

/// No message is so long.
const DROPPED: u32 = 1 << 31;

/// One direction of a client's traffic.
#[derive(Debug, Default)]
pub struct Flow {
    buffer: Bytes,
    sent: u32,
    seen: u32,
    filled: u32,
    /// Bytes of the current message that have still to come and need no look. With [`DROPPED`] they are not
    /// passed on.
    to_come: u32,
    own: Vec<u8>,
}

#[derive(Debug, Default)]
enum Bytes {
    #[default]
    None,
    Lent(Buffer),
    /// The beginning of a message whose rest takes its time: no larger than it has to be.
    Shelved(Box<[u8]>),
}

fn index(at: u32) -> usize {
    at as usize
}

impl Flow {
    /// A flow in which these bytes have come already. No more than a buffer's worth.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let filled = u32::try_from(bytes.len()).expect("no more than a login's bytes");
        let buffer =
            if bytes.is_empty() { Bytes::None } else { Bytes::Shelved(bytes.into_boxed_slice()) };
        Self { buffer, filled, ..Self::default() }
    }

    /// Reads once. `Ok(0)`: the peer has closed. Must not be called while the buffer is full.
    #[inline]
    pub fn poll_fill(
        &mut self,
        from: &mut impl Link,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(from.poll_readable(cx))?;
        let mut buffer = match std::mem::take(&mut self.buffer) {
            Bytes::Lent(buffer) => buffer,
            Bytes::None => {
                self.begin_at(HEADROOM);
                worker.lend()
            }
            Bytes::Shelved(bytes) => {
                let mut buffer = worker.lend();
                let start = if bytes.len() + HEADROOM < buffer.len() { HEADROOM } else { 0 };
                buffer[start..start + bytes.len()].copy_from_slice(&bytes);
                let start = u32::try_from(start).expect("less than a buffer");
                (self.sent, self.seen) = (self.sent + start, self.seen + start);
                self.filled += start;
                buffer
            }
        };
        if index(self.filled) == buffer.len() && self.sent > 0 {
            buffer.copy_within(index(self.sent)..index(self.filled), 0);
            self.seen -= self.sent;
            self.filled -= self.sent;
            self.sent = 0;
        }
        let read = from.poll_read(cx, &mut buffer[index(self.filled)..]);
        if let Poll::Ready(Ok(n)) = read {
            self.filled += u32::try_from(n).expect("no more than a buffer");
        }
        self.buffer = Bytes::Lent(buffer);
        self.tidy(worker);
        read
    }

    #[inline]
    fn begin_at(&mut self, start: usize) {
        let start = u32::try_from(start).expect("less than a buffer");
        (self.sent, self.seen, self.filled) = (start, start, start);
    }

    /// Gives an empty buffer back.
    #[inline]
    pub fn tidy(&mut self, worker: &Worker) {
        if self.sent == self.filled {
            self.begin_at(0);
            if let Bytes::Lent(buffer) = std::mem::take(&mut self.buffer) {
                worker.take_back(buffer);
            }
        }
    }

    /// Keeps the beginning of a message in as little memory as it needs, until the rest comes.
    pub fn shelve(&mut self, worker: &Worker) {
        self.tidy(worker);
        if self.seen == self.sent
            && let Bytes::Lent(buffer) = &self.buffer
        {
            let rest: Box<[u8]> = buffer[index(self.sent)..index(self.filled)].into();
            (self.sent, self.seen) = (0, 0);
            self.filled = u32::try_from(rest.len()).expect("no more than a buffer");
            if let Bytes::Lent(buffer) = std::mem::replace(&mut self.buffer, Bytes::Shelved(rest)) {
                worker.take_back(buffer);
            }
        }
    }

    /// What was not looked at so far.
    #[inline]
    pub fn unseen(&self) -> &[u8] {
        match &self.buffer {
            Bytes::None => &[],
            Bytes::Lent(bytes) | Bytes::Shelved(bytes) => {
                &bytes[index(self.seen)..index(self.filled)]
            }
        }
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
        if let Bytes::Lent(bytes) | Bytes::Shelved(bytes) = &mut self.buffer
            && self.sent < self.seen
        {
            bytes.copy_within(index(self.sent)..index(self.seen), index(self.sent + n));
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
            && let Bytes::Lent(buffer) | Bytes::Shelved(buffer) = &mut self.buffer
        {
            buffer.copy_within(index(self.sent)..index(self.seen), start);
            buffer[start + pending..start + pending + bytes.len()].copy_from_slice(bytes);
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
        if let Bytes::Lent(bytes) | Bytes::Shelved(bytes) = &mut self.buffer {
            bytes[index(self.seen) + at] = byte;
        }
    }

    /// Slips messages of the proxy's own in, behind everything that may go already.
    pub fn slip_in(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.gather();
        write(&mut self.own);
    }

    /// Moves what may go behind the proxy's own bytes.
    fn gather(&mut self) {
        if self.sent < self.seen
            && let Bytes::Lent(bytes) | Bytes::Shelved(bytes) = &self.buffer
        {
            self.own.extend_from_slice(&bytes[index(self.sent)..index(self.seen)]);
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
            let (Bytes::Lent(bytes) | Bytes::Shelved(bytes)) = &self.buffer else {
                unreachable!("bytes to send are in a buffer")
            };
            let pending = &bytes[index(self.sent)..index(self.seen)];
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
