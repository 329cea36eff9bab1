//! What a server still owes a client, by what was sent and what has come: so that a script knows when
//! its answer is whole, without knowing what it will be.

use std::collections::VecDeque;

use super::message::{Copy, CopyEnd, Message};

/// A message on its way, as far as its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// `Query` and `FunctionCall`: the answer ends with a `ReadyForQuery` of their own.
    Alone,
    CopyEnd,
    /// The answer ends with a description, or with the news that there is none.
    Describe,
    Execute,
    Flush,
    /// Answered by one message.
    Short,
    Sync,
}

#[derive(Default)]
pub(super) struct Owed {
    /// With the number of the step that each belongs to.
    sent: VecDeque<(Sent, usize)>,
    is_copying: bool,
    /// After an error, everything is skipped up to the next Sync.
    is_skipping: bool,
    /// Something was sent that no Sync has ended, answered or not.
    is_open: bool,
}

impl Owed {
    pub(super) fn sent(&mut self, message: &Message, step: usize) {
        match message {
            Message::Bind { .. }
            | Message::ClosePortal(_)
            | Message::CloseStatement(_)
            | Message::Parse { .. } => self.push(Sent::Short, step),
            Message::Call(_) | Message::Query(_) => self.push(Sent::Alone, step),
            Message::CopyIn(copy) => self.sent_copy(copy, step),
            Message::DescribePortal(_) | Message::DescribeStatement(_) => {
                self.push(Sent::Describe, step);
            }
            Message::Execute { .. } => self.push(Sent::Execute, step),
            Message::Flush => self.push(Sent::Flush, step),
            Message::Sync => self.push(Sent::Sync, step),
            Message::Wait => {}
        }
    }

    fn sent_copy(&mut self, copy: &Copy, step: usize) {
        let (before, after): (&[Sent], &[Sent]) = if copy.is_extended {
            (&[Sent::Short, Sent::Short, Sent::Execute], &[Sent::Sync, Sent::Short, Sent::Sync])
        } else {
            (&[Sent::Alone], &[])
        };
        let sync: &[Sent] = if copy.end == CopyEnd::DoneBehindSync { &[Sent::Sync] } else { &[] };
        for sent in before.iter().chain(sync).chain(&[Sent::CopyEnd]).chain(after) {
            self.push(*sent, step);
        }
    }

    fn push(&mut self, sent: Sent, step: usize) {
        self.is_open = true;
        if self.is_skipping && sent != Sent::Sync {
            return;
        }
        self.is_skipping = false;
        self.sent.push_back((sent, step));
    }

    /// The step that a message with this tag answers, if any.
    pub(super) fn came(&mut self, tag: u8) -> Option<usize> {
        while let Some((Sent::CopyEnd | Sent::Flush, _)) = self.sent.front() {
            self.sent.pop_front();
        }
        let (front, step) = self.sent.front().copied()?;
        match (tag, front) {
            (b'E', Sent::Alone | Sent::Sync) => self.is_copying = false,
            (b'E', _) => self.skip(),
            (b'G', _) => self.is_copying = true,
            (b'Z', _) => self.ready(),
            (b'C', _) if self.is_copying => self.copied(),
            (b'1' | b'2' | b'3', Sent::Short)
            | (b'n' | b'T', Sent::Describe)
            | (b'C' | b'I' | b's', Sent::Execute) => {
                self.sent.pop_front();
            }
            _ => {}
        }
        Some(step)
    }

    fn skip(&mut self) {
        self.is_copying = false;
        let sync = self.sent.iter().position(|(sent, _)| *sent == Sent::Sync);
        self.is_skipping = sync.is_none();
        self.sent.drain(..sync.unwrap_or(self.sent.len()));
    }

    fn ready(&mut self) {
        self.is_copying = false;
        while let Some((sent, _)) = self.sent.pop_front() {
            if matches!(sent, Sent::Alone | Sent::Sync) {
                break;
            }
        }
        self.is_open = self.sent.iter().any(|(sent, _)| *sent != Sent::CopyEnd);
    }

    /// A Sync amid the data has gone with it.
    fn copied(&mut self) {
        self.is_copying = false;
        let Some(front) = self.sent.pop_front() else { return };
        if let Some(end) = self.sent.iter().position(|(sent, _)| *sent == Sent::CopyEnd) {
            self.sent.drain(..=end);
        }
        if front.0 == Sent::Alone {
            self.sent.push_front(front);
        }
    }

    /// Something will come without anything more being sent.
    pub(super) fn is_awaited(&self) -> bool {
        let asks = |sent: &Sent| matches!(sent, Sent::Alone | Sent::Sync | Sent::Flush);
        let last = self.sent.iter().rposition(|(sent, _)| asks(sent));
        let asked = self.sent.iter().take(last.map_or(0, |last| last + 1));
        asked.into_iter().any(|(sent, _)| !matches!(sent, Sent::CopyEnd | Sent::Flush))
    }

    /// Nothing is under way, and nothing is left open.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_open
    }
}
