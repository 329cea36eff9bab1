//! LISTEN for clients that have no server: one connection for all clients of a pool.
//!
//! ```text
//!   client ── listen, ask ──▶ Board ── LISTEN, UNLISTEN ──▶ the listener connection ──▶ Postgres
//!     ▲                         │                                      │
//!     └───── Post ◀─────────────┴──────────── NotificationResponse ◀───┘
//! ```
//!
//! The connection is opened when the first client listens and closed when the last has stopped; and while
//! the pool is paused, as soon as nobody has a server. It is in no pool, but counts under its host's
//! `max_connections`. [`board`] is who listens to what;
//! [`post`] is where a client finds what is for it; [`mod@line`] drives the connection.
//!
//! # Invariants
//!
//! - What Postgres sends while the connection is up, each subscriber gets once and in order.
//! - Who may have missed something because the connection was lost is told so.
//! - A client that does not read delays nobody.

mod board;
mod line;
mod post;

pub use self::board::Channel;
pub use self::post::{Answer, News, Notification, Post, Ticket};

use self::board::Board;
use self::post::Asker;
use super::Pool;
use crate::base::shared::Shared;
use crate::net::worker::Worker;
use crate::server::BackendKey;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Its `application_name`.
pub const LISTENER: &str = "pgweir listener";

/// The listener connection of a pool, and everybody who listens.
#[derive(Debug, Default)]
pub struct Hub(Shared<State>);

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is told by itself")]
struct State {
    board: Board<Arc<Post>, Asker>,
    /// There is a task.
    is_running: bool,
    /// There is no connection, and it is not tried again at once: who asks is told so.
    is_down: bool,
    /// The task's.
    waker: Option<Waker>,
    connection: Option<Listener>,
    /// There is a connection, or is about to be, or is about to be closed.
    is_open: bool,
    /// The pool is.
    is_paused: bool,
    /// Another connection is to take the place of this one.
    is_retired: bool,
}

/// The listener connection, for those who look.
#[derive(Clone, Debug)]
pub struct Listener {
    pub key: BackendKey,
    pub since: Instant,
}

impl Hub {
    /// `None`: nobody listens, or the connection is lost.
    pub fn listener(&self) -> Option<Listener> {
        self.0.with(|state| state.connection.clone())
    }

    /// Whether there is no connection, nor will be as long as nothing changes.
    pub fn is_out(&self) -> bool {
        self.0.with(|state| !state.is_open)
    }

    /// Whether a connection is still to be closed that another takes the place of.
    pub fn is_retiring(&self) -> bool {
        self.0.with(|state| state.is_open && state.is_retired)
    }

    /// The pool was paused, or may go on.
    pub fn set_paused(&self, is_paused: bool) {
        self.0.with(|state| state.is_paused = is_paused);
        self.wake();
    }

    /// Has the connection replaced, if there is one.
    pub fn retire(&self) {
        self.0.with(|state| state.is_retired = state.is_open);
        self.wake();
    }

    /// Has its task look at what has changed.
    pub fn wake(&self) {
        if let Some(waker) = self.0.with(|state| state.waker.take()) {
            waker.wake();
        }
    }

    /// Somebody does not want what is sent to these channels any more.
    pub fn unlisten<'a>(&self, post: &Arc<Post>, channels: impl IntoIterator<Item = &'a Channel>) {
        self.0.with(|state| {
            for channel in channels {
                state.board.unsubscribe(channel, post);
            }
        });
        self.wake();
    }

    /// Answers how many have got it.
    fn deliver(&self, notification: &Notification) -> u64 {
        let subscribers = self.0.with(|state| state.board.subscribers(notification.channel()));
        subscribers.values().map(|post| u64::from(post.put(notification))).sum()
    }
}

impl Pool {
    /// Somebody wants what is sent to these channels. It is [answered](Post::answer_to) when that holds,
    /// and everything that was sent before has come.
    pub fn listen<'a>(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        (post, ticket): (&Arc<Post>, Ticket),
        channels: impl IntoIterator<Item = &'a Channel>,
    ) {
        self.ask_hub(worker, (post, ticket), |board| {
            for channel in channels {
                board.subscribe(channel, post);
            }
        });
    }

    /// The same for somebody who has listened to them elsewhere so far: it is told that something may have
    /// been lost.
    pub fn listen_again<'a>(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        (post, ticket): (&Arc<Post>, Ticket),
        channels: impl IntoIterator<Item = &'a Channel>,
    ) {
        self.ask_hub(worker, (post, ticket), |board| {
            for channel in channels {
                board.subscribe(channel, post);
            }
            board.bereave(post);
        });
    }

    fn ask_hub(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        (post, ticket): (&Arc<Post>, Ticket),
        change: impl FnOnce(&mut Board<Arc<Post>, Asker>),
    ) {
        let asker = Asker { post: Arc::clone(post), ticket };
        let (is_new, refused) = self.hub.0.with(|state| {
            change(&mut state.board);
            let refused = if state.is_down {
                Some(asker)
            } else {
                state.board.ask(asker);
                None
            };
            (!std::mem::replace(&mut state.is_running, true), refused)
        });
        if let Some(Asker { post, ticket }) = refused {
            post.answer(ticket, Answer::Failed);
        }
        if is_new {
            self.host.spawn(line::run(Arc::clone(self), Rc::clone(worker)));
        } else {
            self.hub.wake();
        }
    }
}
