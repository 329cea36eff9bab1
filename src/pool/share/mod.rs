//! Servers that several clients share, each with one statement at a time.
//!
//! A client that has to wait offers its request, if it [may share](crate::session::fare) a server and is
//! known to be [short](profiles). The scheduler decides who gets aboard of what; a [driver] has the server,
//! sends what comes aboard, and gives each client its answer. To a client it is a wait in the queue that
//! ends with an answer.
//!
//! # Invariants
//!
//! - Nothing of a client's stays on a shared server but what is under way, and its settings.
//! - Whoever is aboard is answered, or told that it was lost, or missed and sent back to the queue: once.
//! - What was not sent, not a byte of it, or was hit by a cancel request that was meant for another, or is not prepared
//!   as it was, or came behind settings that were refused or a head that stalls, is missed; whatever else might have
//!   run on a server that was lost is never sent again.
//! - Whoever has the beginning of a message gets its rest, or nothing any more.

mod answers;
mod driver;
mod outbox;
pub mod profiles;
mod riders;

use self::driver::Driver;
use self::profiles::Profiles;
use super::mailbox::Mailbox;
use super::{Lease, Pool};
use crate::base::ids::{ClientId, Numbered};
use crate::base::shared::Shared;
use crate::config::Multiplex;
use crate::net::worker::Worker;
use crate::scheduler::{Berth, ShareLimits, SlotRef};
use crate::sql::read::Recall;
use arc_swap::ArcSwap;
use std::hash::RandomState;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

/// What a pool shares, and how.
#[derive(Debug)]
pub struct Share {
    is_on: AtomicBool,
    rules: ArcSwap<Rules>,
    bells: Shared<Numbered<Arc<Bell>, SlotRef>>,
    pub profiles: Profiles,
    /// Makes fingerprints.
    pub hasher: RandomState,
}

/// By what a pool shares.
#[derive(Debug)]
pub struct Rules {
    pub given: Multiplex,
    /// What was said of texts by them.
    pub recall: Recall,
}

impl From<Multiplex> for Rules {
    fn from(given: Multiplex) -> Self {
        Self { given, recall: Recall::default() }
    }
}

/// What the scheduler has to know of it.
pub(super) fn limits(rules: &Multiplex) -> Option<ShareLimits> {
    let limits = ShareLimits { ahead: rules.max_service_time, depth: rules.depth };
    rules.is_on.then_some(limits)
}

impl Share {
    pub(super) fn new(rules: Multiplex) -> Self {
        Self {
            is_on: AtomicBool::new(rules.is_on),
            rules: ArcSwap::from_pointee(rules.into()),
            bells: Shared::default(),
            profiles: Profiles::default(),
            hasher: RandomState::new(),
        }
    }

    /// Others hold from now on.
    pub(super) fn take_up(&self, rules: Multiplex) {
        self.is_on.store(rules.is_on, Ordering::Relaxed);
        self.rules.store(Arc::new(rules.into()));
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// That of the driver of this server, if it has one, or will.
    pub(super) fn bell(&self, slot: SlotRef) -> Arc<Bell> {
        self.bells.with(|bells| Arc::clone(bells.entry(slot).or_default()))
    }

    /// Somebody got aboard.
    pub(super) fn boarded(&self, slot: SlotRef) {
        // Without a driver there is nobody to tell: it looks when it has begun.
        let bell = self.bells.with(|bells| bells.get(&slot).map(Arc::clone));
        if let Some(bell) = bell {
            bell.ring(|news| news.is_boarded = true);
        }
    }

    /// The server is not shared any more, for the scheduler either: nobody rings.
    pub(super) fn is_over(&self, slot: SlotRef) {
        self.bells.with(|bells| bells.remove(&slot));
    }
}

/// Wakes a driver.
#[derive(Debug, Default)]
pub(super) struct Bell(Shared<News>);

#[derive(Debug, Default)]
struct News {
    waker: Option<Waker>,
    is_boarded: bool,
    canceled: Vec<Berth>,
    /// A cancel request of the driver's is over.
    is_cancel_over: bool,
}

impl Bell {
    /// What is in this berth is to be cancelled.
    pub(super) fn cancel(&self, berth: Berth) {
        self.ring(|news| news.canceled.push(berth));
    }

    fn ring(&self, tell: impl FnOnce(&mut News)) {
        let waker = self.0.with(|news| {
            tell(news);
            news.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What there is to hear. `waker` is woken by the next.
    fn hear(&self, waker: &Waker) -> News {
        self.0.with(|news| News { waker: None, ..std::mem::replace(news, News::waiting(waker)) })
    }
}

impl News {
    fn waiting(waker: &Waker) -> Self {
        Self { waker: Some(waker.clone()), ..Self::default() }
    }
}

/// Where the client is to be found that is at the head when a server begins to be shared, and how long it
/// waited. `None`: it has gone meanwhile.
pub type FirstHead = Option<(Arc<Mailbox>, Duration)>;

impl Pool {
    /// A server was lent to be shared: drives it.
    pub fn drive(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        lease: Lease,
        client: ClientId,
        head: FirstHead,
    ) {
        let driver = Driver::new(self, worker, lease);
        self.host.tasks.spawn_local(driver.drive(client, head));
    }
}
