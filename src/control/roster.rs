//! Who is in: what others may know of a client, and how it is reached.
//!
//! A client's own task writes its [`Presence`]; anybody reads it. Who has an [`Order`] for a client
//! leaves it there and wakes the task, which obeys when it can. A client that nobody calls pays one
//! relaxed load for each wake-up.

pub use super::cancel_key::Key;

use super::operator::Operator;
use super::suspend::Elsewhere;
use crate::base::ids::{ClassId, ClientId};
use crate::base::shared::Shared;
use crate::control::takeover::{Parcel, ToOld};
use crate::end::EndReason;
use crate::net::stream::{Near, Peer};
use crate::pool::Pool;
use crate::session::settings::Settings;
use dashmap::DashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

/// What a client is told to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Rest: read nothing that is sent, from either side, once nothing is left that was read before.
    Halt,
    /// Go to the process that takes over, when it has no server.
    Move,
    /// End when no transaction is open and nothing is under way.
    Leave(EndReason),
    /// End at once.
    Quit(EndReason),
}

impl Order {
    /// A later order does not take back one that weighs more.
    const fn weight(self) -> u8 {
        match self {
            Self::Halt => 0,
            Self::Move => 1,
            Self::Leave(_) => 2,
            Self::Quit(_) => 3,
        }
    }
}

/// Whom a cancel request means.
#[derive(Clone)]
pub enum Who {
    Client(Arc<Presence>),
    /// Somebody at the console, who may be waiting for a command to be done.
    Console(Arc<Operator>),
}

/// What a client's connection replicates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replication {
    Logical,
    Physical,
}

impl Replication {
    /// As it is asked for.
    pub fn label(self) -> &'static str {
        match self {
            Self::Logical => "database",
            Self::Physical => "yes",
        }
    }
}

/// A client, as others see it.
pub struct Presence {
    pub id: ClientId,
    pub user: Box<str>,
    pub peer: Peer,
    pub near: Near,
    /// Where it is: a reload may give its database and user another pool.
    place: Shared<(Arc<Pool>, ClassId)>,
    pub connected_at: Instant,
    /// What the client has set, its `application_name` among it.
    settings: Shared<Arc<Settings>>,
    /// Microseconds from `connected_at` to its last request.
    requested: AtomicU64,
    /// The same until it began to idle in its transaction; 0: it does not.
    idles: AtomicU64,
    keeps_idle: AtomicBool,
    prepared: AtomicU32,
    is_called: AtomicBool,
    is_halted: AtomicBool,
    order: Shared<Option<Order>>,
    waker: OnceLock<Waker>,
    replication: Option<Replication>,
}

impl Presence {
    pub fn new(
        (id, user): (ClientId, &str),
        (peer, near): (Peer, Near),
        (pool, class): (&Arc<Pool>, ClassId),
        settings: &Arc<Settings>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            user: user.into(),
            peer,
            near,
            place: Shared::new((Arc::clone(pool), class)),
            connected_at: now,
            settings: Shared::new(Arc::clone(settings)),
            requested: AtomicU64::new(0),
            idles: AtomicU64::new(0),
            keeps_idle: AtomicBool::new(false),
            prepared: AtomicU32::new(0),
            is_called: AtomicBool::new(false),
            is_halted: AtomicBool::new(false),
            order: Shared::default(),
            waker: OnceLock::new(),
            replication: None,
        }
    }

    #[must_use]
    pub fn replicating(self, replication: Replication) -> Self {
        Self { replication: Some(replication), ..self }
    }

    /// `None`: it does not, as nearly all.
    pub fn replication(&self) -> Option<Replication> {
        self.replication
    }

    pub fn pool(&self) -> Arc<Pool> {
        self.place.with(|(pool, _)| Arc::clone(pool))
    }

    pub fn class(&self) -> ClassId {
        self.place.with(|(_, class)| *class)
    }

    /// It uses another pool from now on.
    pub fn moves(&self, pool: &Arc<Pool>, class: ClassId) {
        self.place.with(|place| *place = (Arc::clone(pool), class));
    }

    fn micros(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.connected_at);
        u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
    }

    /// Its last request began now.
    #[inline]
    pub fn requests(&self, now: Instant) {
        self.requested.store(self.micros(now), Ordering::Relaxed);
    }

    /// When its last request began; when it came in, if it has sent none.
    pub fn requested_at(&self) -> Instant {
        self.connected_at + Duration::from_micros(self.requested.load(Ordering::Relaxed))
    }

    /// It has a transaction open and asks for nothing, since `since`; or is busy again.
    #[inline]
    pub fn idles_in_transaction(&self, since: Option<Instant>) {
        // 0 is "it does not".
        let micros = since.map_or(0, |since| self.micros(since).max(1));
        if self.idles.load(Ordering::Relaxed) != micros {
            self.idles.store(micros, Ordering::Relaxed);
        }
    }

    /// Since when it has been idle in a transaction.
    pub fn idle_in_transaction_since(&self) -> Option<Instant> {
        let micros = self.idles.load(Ordering::Relaxed);
        (micros > 0).then(|| self.connected_at + Duration::from_micros(micros))
    }

    /// It has a server, no transaction open, and asks for nothing; or that is over.
    #[inline]
    pub fn set_keeps_idle(&self, keeps_idle: bool) {
        if self.keeps_idle() != keeps_idle {
            self.keeps_idle.store(keeps_idle, Ordering::Relaxed);
        }
    }

    /// How many statements with a name it has.
    #[inline]
    pub fn has_prepared(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if self.prepared() != count {
            self.prepared.store(count, Ordering::Relaxed);
        }
    }

    pub fn prepared(&self) -> u32 {
        self.prepared.load(Ordering::Relaxed)
    }

    /// Whether it keeps a server that it does not use. Of one that has none it says nothing.
    pub fn keeps_idle(&self) -> bool {
        self.keeps_idle.load(Ordering::Relaxed)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.with(|settings| Arc::clone(settings))
    }

    pub fn set_settings(&self, settings: &Arc<Settings>) {
        self.settings.with(|known| *known = Arc::clone(settings));
    }

    /// The task that serves it, from now on.
    pub fn is_served_by(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// What wakes the task that serves it. One that is not served so far is woken by nothing.
    pub fn waker(&self) -> Waker {
        self.waker.get().cloned().unwrap_or_else(|| Waker::noop().clone())
    }

    /// What it was told. For its own task, at each wake-up.
    #[inline]
    pub fn order(&self) -> Option<Order> {
        if self.is_called.load(Ordering::Acquire) { self.order.with(|order| *order) } else { None }
    }

    /// Tells it something.
    pub fn call(&self, order: Order) {
        if order == Order::Halt {
            self.is_halted.store(false, Ordering::Relaxed);
        }
        self.order.with(|known| {
            if known.is_none_or(|known| known.weight() <= order.weight()) {
                *known = Some(order);
            }
            self.is_called.store(true, Ordering::Release);
        });
        self.wake();
    }

    /// Whether it was told to end.
    pub fn is_leaving(&self) -> bool {
        matches!(self.order(), Some(Order::Leave(_) | Order::Quit(_)))
    }

    /// Takes back what it was told, unless it was told something else since.
    pub fn take_back(&self, given: Order) {
        self.order.with(|order| {
            if *order == Some(given) {
                *order = None;
                self.is_called.store(false, Ordering::Release);
            }
        });
        self.is_halted.store(false, Ordering::Relaxed);
        self.wake();
    }

    /// It rests, as it was told.
    pub fn halts(&self) {
        self.is_halted.store(true, Ordering::Relaxed);
    }

    pub fn is_halted(&self) -> bool {
        self.is_halted.load(Ordering::Relaxed)
    }

    /// Has it look at what holds for it now.
    pub fn wake(&self) {
        // A task that was never polled sees its order when it is.
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// Everybody who is in.
#[derive(Default)]
pub struct Roster {
    /// By the number that stands for a process id.
    known: DashMap<u32, (Key, Who)>,
    /// Those who are in rest, and those who come in.
    pub(super) suspended: watch::Sender<bool>,
    /// The number of the last `SUSPEND`, and what other processes have said of it.
    pub(super) suspension: AtomicU64,
    pub(super) elsewhere: Shared<Elsewhere>,
    /// What those who come in from now on are told besides.
    pub(super) standing: watch::Sender<Option<Order>>,
    pub(super) gives_way: AtomicBool,
    /// Where those go who move to another process.
    pub(super) removal: Shared<Option<UnboundedSender<Parcel>>>,
    /// The process that was here before, while it has clients: it gets the cancel requests that are for
    /// nobody here.
    pub(super) before: Shared<Option<UnboundedSender<ToOld>>>,
}

/// A client's entry, until this is dropped.
pub struct Here {
    presence: Arc<Presence>,
    roster: Arc<Roster>,
}

/// A console session's entry, until this is dropped.
pub struct AtConsole {
    pub operator: Arc<Operator>,
    roster: Arc<Roster>,
}

impl Here {
    /// Where it is entered, with all others.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }
}

impl std::ops::Deref for Here {
    type Target = Presence;

    #[inline]
    fn deref(&self) -> &Presence {
        &self.presence
    }
}

impl Here {
    /// What a cancel request for it must show.
    pub fn secret(&self) -> Vec<u8> {
        let entry = self.roster.known.get(&pid_of(self.presence.id));
        entry.map(|entry| entry.value().0.shown().to_vec()).unwrap_or_default()
    }

    /// Gives a parcel with all there is of it to the process that takes over.
    pub fn hand_over(&self, parcel: Parcel) {
        self.roster.removal.with(|removal| {
            if let Some(removal) = removal {
                // Fails when that process has gone: its clients have, too.
                drop(removal.send(parcel));
            }
        });
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // One that could not move may be back already, with the same id.
        self.roster.known.remove_if(&pid_of(self.presence.id), |_, (_, who)| {
            matches!(who, Who::Client(presence) if Arc::ptr_eq(presence, &self.presence))
        });
    }
}

impl Drop for AtConsole {
    fn drop(&mut self) {
        self.roster.known.remove(&pid_of(self.operator.id));
    }
}

/// What a client is told is its process id. Drivers read it as a positive number; ids of clients that
/// live at the same time differ in these bits.
pub fn pid_of(client: ClientId) -> u32 {
    u32::try_from(client.0 & 0x7fff_ffff).expect("31 bits fit")
}

impl Roster {
    /// Enters a client, with the key by which it may be cancelled.
    pub fn enter(self: &Arc<Self>, presence: Presence, key: Key) -> Here {
        let presence = Arc::new(presence);
        let pid = pid_of(presence.id);
        self.known.insert(pid, (key, Who::Client(Arc::clone(&presence))));
        // After it was entered: whoever calls everybody meanwhile finds it.
        let standing = *self.standing.borrow();
        for order in self.is_suspended().then_some(Order::Halt).into_iter().chain(standing) {
            presence.call(order);
        }
        Here { presence, roster: Arc::clone(self) }
    }

    /// Enters somebody at the console.
    pub fn enter_console(self: &Arc<Self>, operator: Operator, key: Key) -> AtConsole {
        let operator = Arc::new(operator);
        self.known.insert(pid_of(operator.id), (key, Who::Console(Arc::clone(&operator))));
        AtConsole { operator, roster: Arc::clone(self) }
    }

    /// Whom a cancel request with this key means.
    pub fn find(&self, pid: u32, secret: &[u8]) -> Option<Who> {
        let entry = self.known.get(&pid)?;
        let (key, who) = entry.value();
        key.is(secret).then(|| who.clone())
    }

    /// All clients, in the order they came.
    pub fn clients(&self) -> Vec<Arc<Presence>> {
        let mut clients = self.all(|who| match who {
            Who::Client(presence) => Some(Arc::clone(presence)),
            Who::Console(_) => None,
        });
        clients.sort_unstable_by_key(|presence| presence.id);
        clients
    }

    fn all<T>(&self, which: impl Fn(&Who) -> Option<T>) -> Vec<T> {
        self.known.iter().filter_map(|entry| which(&entry.value().1)).collect()
    }

    /// All who are at the console, in the order they came.
    pub fn operators(&self) -> Vec<Arc<Operator>> {
        let mut operators = self.all(|who| match who {
            Who::Console(operator) => Some(Arc::clone(operator)),
            Who::Client(_) => None,
        });
        operators.sort_unstable_by_key(|operator| operator.id);
        operators
    }

    /// The client that an operator means by this number: its id, or what its driver was told.
    pub fn named(&self, number: u64) -> Option<Arc<Presence>> {
        let pid = pid_of(ClientId(number));
        match &self.known.get(&pid)?.value().1 {
            Who::Client(presence) if [presence.id.0, u64::from(pid)].contains(&number) => {
                Some(Arc::clone(presence))
            }
            _ => None,
        }
    }

    /// The client with this id.
    pub fn client(&self, id: ClientId) -> Option<Arc<Presence>> {
        match &self.known.get(&pid_of(id))?.value().1 {
            Who::Client(presence) if presence.id == id => Some(Arc::clone(presence)),
            _ => None,
        }
    }

    /// Tells everybody who is in, and who comes in later.
    pub fn call_all(&self, order: Order) {
        self.expect(Some(order));
        for client in self.clients() {
            client.call(order);
        }
    }

    /// What those who come in from now on are told. Who is to end does not rest.
    pub fn expect(&self, order: Option<Order>) {
        self.standing.send_replace(order);
        if self.is_closing() {
            self.suspended.send_replace(false);
        }
    }

    /// Whether nobody may come in any more.
    pub fn is_closing(&self) -> bool {
        matches!(*self.standing.borrow(), Some(Order::Leave(_) | Order::Quit(_)))
    }

    /// Has those who were told to leave look again: what they wait for may not come any more.
    pub fn wake_leaving(&self) {
        for client in self.clients().iter().filter(|client| client.is_leaving()) {
            client.wake();
        }
    }
}
