//! What waits for one client: notifications, and answers to what it has asked.
//!
//! Written by the hub's task, on its thread; read by the client's. What waits is bounded in bytes: a
//! client that lets more than that wait is told to end, and delays nobody.

use super::board::Subscriber;
use crate::base::shared::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// What a notification costs beside its bytes, which others share.
const OVERHEAD: usize = 32;

/// A notification, as the message that Postgres sends. Shared by all who get it.
#[derive(Clone, Debug)]
pub struct Notification {
    message: Arc<[u8]>,
    channel_len: u32,
    /// Not the client's own, whichever process it came from.
    pub is_others: bool,
}

/// Where what is for one client waits for it.
#[derive(Debug)]
pub struct Post {
    waker: Waker,
    /// Something waits: one load, for a client that looks at each wake-up.
    has_news: AtomicBool,
    state: Shared<State>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Notification>,
    bytes: usize,
    most: usize,
    is_overrun: bool,
    is_bereft: bool,
    answered: Option<(Ticket, Answer)>,
}

/// Which of its questions an answer is for. Each is larger than the one before.
pub type Ticket = u64;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Done,
    /// There is no connection.
    Failed,
}

/// Somebody who has asked.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) post: Arc<Post>,
    pub(super) ticket: Ticket,
}

/// What has come for a client.
#[derive(Debug)]
pub struct News {
    pub notifications: VecDeque<Notification>,
    /// Something else may have been lost before.
    pub is_bereft: bool,
    /// More than may wait: what came then is lost.
    pub is_overrun: bool,
}

impl Notification {
    /// From the body of a message. `None`: it is none.
    pub fn of(body: &[u8]) -> Option<Self> {
        let channel_len = memchr::memchr(0, body.get(4..)?)?;
        let mut message = Vec::with_capacity(body.len() + 5);
        crate::wire::encode::message(
            &mut message,
            crate::wire::tags::from_server::NOTIFICATION,
            |out| {
                out.extend(body);
            },
        );
        let channel_len = u32::try_from(channel_len).ok()?;
        let notification = Self { message: message.into(), channel_len, is_others: false };
        str::from_utf8(notification.channel_bytes()).is_ok().then_some(notification)
    }

    fn channel_bytes(&self) -> &[u8] {
        &self.message[9..9 + self.channel_len as usize]
    }

    pub fn channel(&self) -> &str {
        str::from_utf8(self.channel_bytes()).unwrap_or_default()
    }

    /// The process that has sent it.
    pub fn pid(&self) -> u32 {
        self.message[5..].first_chunk().map_or(0, |pid| u32::from_be_bytes(*pid))
    }

    /// Writes the message, as from this process.
    pub fn write(&self, out: &mut Vec<u8>, pid: u32) {
        out.extend(&self.message[..5]);
        out.extend(pid.to_be_bytes());
        out.extend(&self.message[9..]);
    }
}

impl Subscriber for Arc<Post> {
    fn key(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl Post {
    /// For the client whose task this wakes; so many bytes may wait for it.
    pub fn new(waker: Waker, most: usize) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            bytes: 0,
            most,
            is_overrun: false,
            is_bereft: false,
            answered: None,
        };
        Arc::new(Self { waker, has_news: AtomicBool::new(false), state: Shared::new(state) })
    }

    /// Changes something, and wakes the client if it has not been woken for what is there already.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.with(change);
        if !self.has_news.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    /// Something has come for it. Answers whether there was room.
    pub fn put(&self, notification: &Notification) -> bool {
        let cost = notification.message.len() + OVERHEAD;
        let mut is_taken = true;
        self.change(|state| {
            is_taken = !state.is_overrun && state.bytes + cost <= state.most;
            if is_taken {
                state.bytes += cost;
                state.waiting.push_back(notification.clone());
            } else {
                state.is_overrun = true;
                (state.waiting, state.bytes) = (VecDeque::new(), 0);
            }
        });
        is_taken
    }

    /// Something that was for it may be lost.
    pub fn is_bereft(&self) {
        self.change(|state| state.is_bereft = true);
    }

    /// What it has asked is done, or cannot be.
    pub fn answer(&self, ticket: Ticket, answer: Answer) {
        self.state.with(|state| state.answered = Some((ticket, answer)));
        // Whatever it was woken for before: it waits for this.
        self.waker.wake_by_ref();
    }

    /// What it was answered. `None`: nothing so far.
    pub fn answer_to(&self, asked: Ticket) -> Option<Answer> {
        let answered = self.state.with(|state| state.answered)?;
        (answered.0 >= asked).then_some(answered.1)
    }

    #[inline]
    pub fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// Takes all that waits.
    pub fn take(&self) -> News {
        self.has_news.store(false, Ordering::Release);
        self.state.with(|state| {
            state.bytes = 0;
            News {
                notifications: std::mem::take(&mut state.waiting),
                is_bereft: std::mem::take(&mut state.is_bereft),
                is_overrun: state.is_overrun,
            }
        })
    }

    /// What waits, and has come from this process, is not the client's own.
    pub fn disown(&self, pid: u32) {
        self.state.with(|state| {
            for notification in &mut state.waiting {
                notification.is_others |= notification.pid() == pid;
            }
        });
    }

    /// Forgets what waits and is not for one of these channels.
    pub fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.state.with(|state| {
            state.waiting.retain(|notification| is_kept(notification.channel()));
            let cost = |notification: &Notification| notification.message.len() + OVERHEAD;
            state.bytes = state.waiting.iter().map(cost).sum();
        });
    }
}
