//! Those who move to the process that takes over: each is sent, and kept until it is taken.

use super::takeover::settle_in;
use super::worker::Seat;
use crate::control::takeover::{Parcel, ToNew, ToOld};
use crate::net::passing::{Passage, Passed};
use crate::net::worker::within;
use std::collections::VecDeque;
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long the new process may take to read what it is sent, and to take a client. It has nothing else
/// to do; and the client waits meanwhile.
const READ_MAX: Duration = Duration::from_secs(5);

/// When it is told first who is left here, and how often at least: most have moved by the first.
const TELL_FIRST: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Those who move, and the process they go to.
pub(super) struct Others {
    pub(super) passage: Rc<Passage>,
    /// When it was told to go on.
    since: Instant,
    /// When it is told who is left.
    pub(super) tell: Telling,
    /// Where they are to go once it is there.
    pub(super) way: Option<UnboundedSender<Parcel>>,
    /// What the other process asks for.
    pub(super) requests: UnboundedReceiver<ToOld>,
    /// Who is to be sent.
    pub(super) parcels: UnboundedReceiver<Parcel>,
    /// Who was sent, when, and may not have arrived: in order.
    sent: VecDeque<(Instant, Parcel)>,
    /// Where it is said that this process goes on; closed, that it is gone.
    fate: PipeWriter,
}

impl Others {
    pub(super) fn new(now: Instant, passage: Passage, fate: PipeWriter) -> Self {
        let passage = Rc::new(passage);
        let requests = requests(&passage);
        let (way, parcels) = unbounded_channel();
        let (way, sent, tell) = (Some(way), VecDeque::new(), Telling::from(now));
        Self { passage, since: now, tell, way, requests, parcels, sent, fate }
    }

    pub(super) fn are_on_their_way(&self) -> bool {
        self.way.is_some() || !self.parcels.is_empty() || !self.sent.is_empty()
    }

    /// Whether the other process has taken too long.
    pub(super) fn are_late(&self, now: Instant) -> bool {
        let first = self.sent.front().map(|(at, _)| *at);
        let since = first.or_else(|| self.way.as_ref().map(|_| self.since));
        since.is_some_and(|at| now.saturating_duration_since(at) > READ_MAX)
    }

    /// The first that was sent is served there: here its socket is closed.
    pub(super) fn is_taken(&mut self) {
        self.sent.pop_front();
    }

    /// Sends a client, and keeps it until it is taken.
    pub(super) async fn send(&mut self, now: Instant, parcel: Parcel) -> io::Result<()> {
        let Parcel { moved, sent, socket } = parcel;
        let message = ToNew::Client(moved);
        let result = send(&self.passage, &message, &sent, &[socket.as_fd()]).await;
        let ToNew::Client(moved) = message else { unreachable!("it was made above") };
        if let Err(error) = &result {
            tracing::warn!(client = moved.id, "a client could not be handed over: {error}");
        }
        self.sent.push_back((now, Parcel { moved, sent, socket }));
        result
    }

    /// Says that this process goes on, and with whom: nobody else is taken there from here on.
    pub(super) async fn give_up(mut self) -> Returning {
        // Fails when the other one has gone.
        drop(self.passage.stop_receiving());
        while let Some(request) = self.requests.recv().await {
            if matches!(request, ToOld::Taken) {
                self.is_taken();
            }
        }
        // The same. Before the connection is closed: whoever finds it closed looks here.
        drop(self.fate.write(b"!"));
        let unsent = self.sent.into_iter().map(|(_, parcel)| parcel).collect();
        Returning { unsent, parcels: self.parcels }
    }
}

/// When something is told that goes on: soon, and then ever more seldom.
pub(super) struct Telling {
    next: Instant,
    after: Duration,
}

impl Telling {
    fn from(now: Instant) -> Self {
        Self { next: now + TELL_FIRST, after: TELL_FIRST }
    }

    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.after = (self.after * 2).min(TELL_EVERY);
            self.next = now + self.after;
        }
        is_due
    }
}

/// Those who were to move, and stay.
pub(super) struct Returning {
    pub(super) unsent: Vec<Parcel>,
    parcels: UnboundedReceiver<Parcel>,
}

impl Returning {
    /// Serves them here.
    pub(super) async fn bring_back(mut self, seats: Arc<[Seat]>) {
        let bring = |parcel: Parcel| {
            let settings = Arc::new(parcel.moved.settings());
            settle_in(&seats, parcel, settings);
        };
        self.unsent.into_iter().for_each(bring);
        while let Some(parcel) = self.parcels.recv().await {
            bring(parcel);
        }
    }
}

/// Sends, but does not wait for ever for the other process to read.
pub(super) async fn send(
    passage: &Passage,
    message: &ToNew,
    body: &[u8],
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = within(Some(READ_MAX), passage.send(message, body, files)).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What the other one asks for. It ends when that one does.
fn requests(passage: &Rc<Passage>) -> UnboundedReceiver<ToOld> {
    let (sender, receiver) = unbounded_channel();
    let passage = Rc::clone(passage);
    tokio::task::spawn_local(async move {
        while let Ok(Some(Passed { head: request, .. })) = passage.receive().await {
            if sender.send(request).is_err() {
                break;
            }
        }
    });
    receiver
}
