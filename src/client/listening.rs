//! What a client listens to, while it has no server of its own: see [`crate::pool::hub`].
//!
//! ```text
//!   client: LISTEN a     gate: the hub listens to `a`     server: LISTEN a, and it commits
//!   ───────────────────▶ ────────────────────────────────▶ ───────────┐
//!   client: ReadyForQuery ◀── notifications ◀── hold: all that was sent before has come
//! ```
//!
//! `LISTEN` goes to the leased server as well: whether it fails or is rolled back is Postgres' to say. What
//! that server then sends is dropped, as the hub sends the same.
//!
//! # Invariants
//!
//! - Nothing that may commit a `LISTEN` goes before the hub listens: nothing is missed. What came for the
//!   channel before that is forgotten: nothing is heard too early.
//! - Nothing goes while a `ReadyForQuery` is owed: else what a request sends could come before the end of
//!   the one in front of it, whose channels are not known by then.
//! - Notifications go between messages, and not while a transaction is open.
//! - At the `ReadyForQuery` that ends a transaction, everything that was sent before has been delivered.
//! - What others have sent from the server that the client has now does not look like its own.
//! - Where the hub cannot do it, the client keeps its server instead.

use super::Client;
use crate::config::{self, PoolMode};
use crate::control::roster::pid_of;
use crate::end::{End, EndReason, ErrorFields};
use crate::pool::Pool;
use crate::pool::hub::{Answer, Channel, News, Post, Ticket};
use crate::session::ledger::Status;
use crate::session::script::Change;
use crate::session::text::Text;
use crate::sql::statement::{Kind, identifier};
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head};
use crate::wire::tags::from_client as tags;
use std::collections::HashSet;
use std::sync::Arc;
use std::task::Waker;

/// Channels of one client at most; with more it keeps its server. Bounds what a client costs.
const CHANNELS_MAX: usize = 1_000;

/// What one client listens to.
pub(super) struct Listening {
    /// Whose hub it is.
    pool: Arc<Pool>,
    post: Arc<Post>,
    last_ticket: Ticket,
    channels: HashSet<Channel>,
    /// Named by a `LISTEN` that has not committed, as far as is known.
    tentative: Vec<Tentative>,
    /// What the request at the front waits for.
    gate: Option<Ticket>,
    /// What the `ReadyForQuery` at the front waits for.
    hold: Option<Ticket>,
    /// What the first request of a lease waits for.
    fence: Fence,
}

/// Whether all has come that others have sent from the leased server: it must not be taken for the
/// client's own.
#[derive(Clone, Copy)]
enum Fence {
    Asked(Ticket),
    Past,
    Unasked,
}

struct Tentative {
    channel: Channel,
    /// The `LISTEN` has gone to the server: for all that is known, it is done.
    is_sent: bool,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let tentative = self.tentative.iter().map(|tentative| &tentative.channel);
        self.pool.hub.unlisten(&self.post, self.channels.iter().chain(tentative));
    }
}

impl Listening {
    pub(super) fn new(pool: &Arc<Pool>, waker: &Waker, buffer: u32) -> Self {
        Self {
            pool: Arc::clone(pool),
            post: Post::new(waker.clone(), buffer as usize),
            last_ticket: 0,
            channels: HashSet::new(),
            tentative: Vec::new(),
            gate: None,
            hold: None,
            fence: Fence::Past,
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Takes a channel up until its `LISTEN` commits. Answers whether it is new.
    fn try_channel(&mut self, channel: &Channel) -> bool {
        let is_new = !self.channels.contains(channel) && !self.tries(channel);
        if is_new {
            self.tentative.push(Tentative { channel: Arc::clone(channel), is_sent: false });
        }
        is_new
    }

    fn tries(&self, channel: &str) -> bool {
        self.tentative.iter().any(|tentative| *tentative.channel == *channel)
    }

    /// The hub hears what is tried. What came for it before is not for the client: nothing of it has
    /// committed so far.
    fn begin_to_hear(&mut self) {
        let Self { post, channels, tentative, .. } = self;
        post.keep(|channel| channels.contains(channel));
        for tentative in tentative {
            tentative.is_sent = true;
        }
    }

    /// These will not commit: all, or those that have not gone to the server.
    fn forget_tentative(&mut self, is_all: bool) {
        let (kept, gone) = std::mem::take(&mut self.tentative)
            .into_iter()
            .partition(|tentative| tentative.is_sent && !is_all);
        self.tentative = kept;
        let gone: Vec<Tentative> = gone;
        let gone = gone.iter().map(|tentative| &tentative.channel);
        let gone = gone.filter(|channel| !self.channels.contains(*channel));
        self.pool.hub.unlisten(&self.post, gone);
    }

    /// A transaction has done this, in this order.
    fn change(&mut self, changes: &[Change]) {
        let before = self.channels.clone();
        for change in changes {
            match change {
                Change::Listen(name) => {
                    // Also one that was given up by the same transaction.
                    let tried = self.tentative.iter().map(|tentative| &tentative.channel);
                    let mut known = tried.chain(&before);
                    if let Some(channel) = known.find(|it| it.as_bytes() == name.as_slice()) {
                        self.channels.insert(Arc::clone(channel));
                    }
                }
                Change::Unlisten(name) => {
                    self.channels.remove(&*String::from_utf8_lossy(name));
                }
                Change::UnlistenAll | Change::DiscardAll => self.channels.clear(),
                Change::Reset(_) | Change::ResetAll | Change::Set { .. } => {}
            }
        }
        self.pool.hub.unlisten(&self.post, before.difference(&self.channels));
    }

    fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.tentative.is_empty()
    }
}

/// The channels that a text listens to. `None` in it: one that only Postgres can read.
pub(super) fn channels_of(text: &Text) -> Vec<Option<Channel>> {
    let listens = text.kinds().filter_map(|kind| match kind {
        Kind::Listen(name) => Some(channel_of(name)),
        _ => None,
    });
    listens.collect()
}

fn channel_of(name: &[u8]) -> Option<Channel> {
    let name = identifier(name)?;
    // Others are written differently in another encoding.
    str::from_utf8(&name).ok().filter(|name| name.is_ascii()).map(Channel::from)
}

impl Client {
    /// Whether the request at the front may be looked at: see the module. For a client that listens.
    pub(super) fn may_follow(&mut self, tag: u8) -> bool {
        let lease = self.lease.as_ref().expect("requests are looked at during a lease");
        let ledger = &lease.conn.ledger;
        match tag {
            tags::COPY_DATA | tags::COPY_DONE | tags::COPY_FAIL | tags::TERMINATE => true,
            _ if ledger.is_copying_in() => true,
            _ if ledger.awaits_ready() || !self.is_past_fence() => false,
            tags::SYNC | tags::FUNCTION_CALL => self.may_go(&[]),
            _ => true,
        }
    }

    /// A lease begins, of a server that this client may have had last.
    #[inline]
    pub(super) fn fence(&mut self) {
        if let (Some(listening), Some(lease)) = (&mut self.listening, &self.lease) {
            let had_it = lease.conn.last_client == Some(self.here.id);
            listening.fence = if had_it { Fence::Past } else { Fence::Unasked };
        }
    }

    fn is_past_fence(&mut self) -> bool {
        let (Some(listening), Some(lease)) = (&mut self.listening, &self.lease) else {
            return true;
        };
        match listening.fence {
            Fence::Past => return true,
            Fence::Unasked => {
                let ticket = listening.next_ticket();
                listening.fence = Fence::Asked(ticket);
                listening.pool.listen(&self.worker, (&listening.post, ticket), []);
            }
            Fence::Asked(asked) if listening.post.answer_to(asked).is_some() => {
                listening.post.disown(lease.conn.key.pid);
                listening.fence = Fence::Past;
            }
            Fence::Asked(_) => {}
        }
        matches!(listening.fence, Fence::Past)
    }

    /// The same for a request that runs this text.
    pub(super) fn may_run(&mut self, text: Option<&Text>) -> bool {
        let channels = text.map(channels_of).unwrap_or_default();
        self.may_go(&channels)
    }

    /// Whether a request may go to the server, that listens to `channels`, or may commit what listens.
    /// `false`: it is to be asked again when the client's task is woken.
    pub(super) fn may_go(&mut self, channels: &[Option<Channel>]) -> bool {
        let is_tentative =
            self.listening.as_ref().is_some_and(|listening| !listening.tentative.is_empty());
        if channels.is_empty() && !is_tentative || !self.is_shared_listener() {
            return true;
        }
        let Some(channels) = self.heard_by_the_hub(channels) else {
            // Its server will hear them, and it keeps that.
            self.about.listens_itself = true;
            return true;
        };
        let listening = self.listening.get_or_insert_with(|| {
            let waker = self.here.waker();
            Box::new(Listening::new(&self.pool, &waker, self.terms.notification_buffer))
        });
        // Those before it count first: see `may_follow`.
        if self.lease.as_ref().is_some_and(|lease| lease.conn.ledger.is_ready_owed()) {
            return false;
        }
        let mut is_new = false;
        for channel in &channels {
            is_new |= listening.try_channel(channel);
        }
        match listening.gate {
            Some(asked) if !is_new => match listening.post.answer_to(asked) {
                None => return false,
                Some(Answer::Done) => listening.begin_to_hear(),
                Some(Answer::Failed) => {
                    listening.forget_tentative(false);
                    self.about.listens_itself = true;
                }
            },
            _ => {
                let ticket = listening.next_ticket();
                listening.gate = Some(ticket);
                let asker = (&listening.post, ticket);
                let channels = listening.tentative.iter().map(|tentative| &tentative.channel);
                listening.pool.listen(&self.worker, asker, channels);
                return false;
            }
        }
        listening.gate = None;
        true
    }

    /// The channels, if the hub may listen to them for this client.
    fn heard_by_the_hub(&self, channels: &[Option<Channel>]) -> Option<Vec<Channel>> {
        let has = self.listening.as_ref().map_or(0, |listening| listening.channels.len());
        if self.about.listens_itself
            || has + channels.len() > CHANNELS_MAX
            || !self.pool.catalog.speaks(self.settings.value("client_encoding"))
        {
            return None;
        }
        channels.iter().cloned().collect()
    }

    fn is_shared_listener(&self) -> bool {
        self.terms.pool_mode != PoolMode::Session && self.terms.listen == config::Listening::Shared
    }

    /// Whether the `ReadyForQuery` that ends a transaction may be looked at: everything that was sent
    /// before has come.
    pub(super) fn has_heard_all(&mut self) -> bool {
        let Some(listening) = &mut self.listening else { return true };
        match listening.hold {
            _ if listening.is_empty() => true,
            None => {
                let ticket = listening.next_ticket();
                listening.hold = Some(ticket);
                listening.pool.listen(&self.worker, (&listening.post, ticket), []);
                false
            }
            Some(asked) => listening.post.answer_to(asked).is_some(),
        }
    }

    /// Whether the server is not to be read because of that.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| {
            listening.hold.is_some_and(|asked| listening.post.answer_to(asked).is_none())
        })
    }

    /// Whether a `ReadyForQuery` waits for that, or is to be looked at again.
    #[inline]
    pub(super) fn is_holding(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| listening.hold.is_some())
    }

    /// What a transaction has done to what the client listens to holds from now on. `is_idle`: another has
    /// not begun with its end.
    #[cold]
    pub(super) fn listen_as_committed(&mut self, changes: &[Change], is_idle: bool) {
        let Some(listening) = &mut self.listening else { return };
        listening.change(changes);
        if is_idle {
            listening.hold = None;
            listening.forget_tentative(true);
            if listening.is_empty() {
                self.listening = None;
            }
        }
    }

    /// The lease is over, however: what was not committed never will be.
    #[inline]
    pub(super) fn listen_no_more_than_committed(&mut self) {
        self.about.listens_itself = false;
        if let Some(listening) = &mut self.listening {
            listening.forget_tentative(true);
            listening.hold = None;
        }
    }

    /// Puts what has come behind what may go to the client. Must not be called in the middle of a
    /// message, or of a transaction.
    #[inline]
    pub(super) fn take_notifications(&mut self) -> Result<(), End> {
        match &self.listening {
            Some(listening) if listening.post.has_news() => self.take_news(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn take_news(&mut self) -> Result<(), End> {
        let listening = self.listening.as_ref().expect("it has news");
        let News { notifications, is_bereft, is_overrun } = listening.post.take();
        if is_overrun {
            return Err(EndReason::NotificationsUnread.into());
        }
        if !is_bereft && notifications.is_empty() {
            return Ok(());
        }
        let is_past = matches!(listening.fence, Fence::Past);
        let lease = self.lease.as_ref().filter(|_| is_past);
        let (own, server) = (pid_of(self.here.id), lease.map(|lease| lease.conn.key.pid));
        let Self { down, listening, .. } = self;
        let channels = &listening.as_ref().expect("it has news").channels;
        down.slip_in(|out| {
            if is_bereft {
                encode::notice(out, &bereft());
            }
            for notification in notifications.iter().filter(|it| channels.contains(it.channel())) {
                let pid = match notification.pid() {
                    pid if Some(pid) == server && !notification.is_others => own,
                    // Another's, which must not look like its own.
                    pid if pid == own => 0,
                    pid => pid,
                };
                notification.write(out, pid);
            }
        });
        Ok(())
    }

    /// The same during a lease, if nothing is under way and no transaction is open.
    #[inline]
    pub(super) fn take_notifications_if_quiet(&mut self) -> Result<(), End> {
        if self.listening.is_none() || !self.down.unseen().is_empty() || self.down.is_mid_message()
        {
            return Ok(());
        }
        let ledger = self.lease.as_ref().map(|lease| &lease.conn.ledger);
        let is_quiet = |ledger: &crate::session::ledger::Ledger| {
            ledger.is_quiet() && ledger.status() == Status::Idle
        };
        if ledger.is_none_or(is_quiet) && !self.down.is_pending() {
            self.take_notifications()?;
        }
        Ok(())
    }

    /// Whether a notification from the client's own server is for it.
    pub(super) fn is_notified_by_server(&self, head: Head) -> bool {
        if self.terms.pool_mode == PoolMode::Session {
            return true;
        }
        let Some(listening) = &self.listening else { return self.hears_itself() };
        let body = self.down.unseen().get(HEAD_LEN..head.total).unwrap_or_default();
        let channel = body.get(4..).and_then(|rest| rest.split(|byte| *byte == 0).next());
        let channel = channel.and_then(|channel| str::from_utf8(channel).ok());
        // Those that the hub hears come from there.
        self.hears_itself()
            && channel.is_some_and(|channel| {
                !listening.channels.contains(channel) && !listening.tries(channel)
            })
    }

    /// Whether its server is known to listen for it, or may do so since a text that does not tell.
    fn hears_itself(&self) -> bool {
        self.about.listens_itself || self.script.asks().is_some_and(|asks| asks.listens)
    }

    /// It uses another pool from now on.
    pub(super) fn listen_there(&mut self) {
        if let Some(listening) = self.listening.take() {
            let channels: Vec<_> = listening.channels.iter().cloned().collect();
            self.listen_again(&channels);
        }
    }

    /// Listens to what it has listened to elsewhere: meanwhile, something may have been sent.
    pub(super) fn listen_again(&mut self, channels: &[Channel]) {
        if channels.is_empty() || !self.is_shared_listener() {
            return;
        }
        let waker = self.here.waker();
        let mut listening = Listening::new(&self.pool, &waker, self.terms.notification_buffer);
        listening.channels.extend(channels.iter().cloned());
        let ticket = listening.next_ticket();
        self.pool.listen_again(&self.worker, (&listening.post, ticket), channels);
        self.listening = Some(Box::new(listening));
    }

    /// What it listens to, for the process that it moves to.
    pub(super) fn channels(&self) -> Vec<String> {
        let channels = self.listening.iter().flat_map(|listening| &listening.channels);
        channels.map(ToString::to_string).collect()
    }

    /// Whether something has come for it that it has not got so far.
    pub(super) fn has_news(&self) -> bool {
        self.listening.as_ref().is_some_and(|listening| listening.post.has_news())
    }
}

/// What a client reads that may have missed something.
fn bereft() -> ErrorFields {
    ErrorFields {
        severity: "WARNING".to_owned(),
        code: "01000".to_owned(),
        message: "notifications may have been lost".to_owned(),
        detail: Some("The connection on which the pooler listens was lost for a while.".to_owned()),
        hint: Some("Look for yourself whether something has changed meanwhile.".to_owned()),
        routine: Some("pooler_notifications_lost".to_owned()),
    }
}
