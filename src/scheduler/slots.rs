//! The slots of all pools of a host, and the one place where a slot changes state.
//!
//! # Invariants
//!
//! - A slot is in exactly one state; the counts of its pool, of its caps and of the host agree.
//! - A slot has its server exactly while it is idle or being canceled. Otherwise somebody else has
//!   it, alone: a lease, a check, a connecting task.
//! - An idle slot is in its pool's list and in that of its home, longest idle first.

use super::caps::{GroupId, Groups};
use super::held::Moment;
use super::list::{Linked, Links, List};
use super::terms::{Counts, Lease, Member, Site, SlotRef};
use crate::base::ids::ClientId;
use crate::base::ids::PoolId;
use crate::base::ids::WorkerId;
use std::time::{Duration, Instant};

/// The list of a pool's idle slots.
const POOL: usize = 0;
/// The list of those of them that one worker used last.
const HOME: usize = 1;

/// Who is charged for a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) member: Member,
    pub(super) began: Moment,
    /// How long it was expected to take, in seconds.
    pub(super) expected: f64,
    /// It counts as at the head of a server that others share.
    pub(super) leads: bool,
}

/// What is going on with a slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    BeingCanceled,
    Checking,
    Connecting,
    Idle,
    Leased,
    Tidying,
    Vacant,
}

pub(super) struct Slot<S: Site> {
    pub(super) state: State,
    /// Since when it is in this state.
    pub(super) since: Instant,
    pub(super) pool: PoolId,
    /// Who has it, while it is leased.
    pub(super) client: Option<ClientId>,
    /// On whose account it is: from the grant until it is clean again.
    pub(super) hold: Option<Hold>,
    /// Since when its client has been idle in a transaction, as far as it has said so.
    pub(super) idle_since: Option<Instant>,
    /// Its client was told to let go.
    pub(super) yields: bool,
    /// Another is to take its place: it closes as soon as nobody has it.
    pub(super) is_retired: bool,
    /// Cancel requests on their way to this server.
    pub(super) cancels: u32,
    pub(super) key: Option<S::Key>,
    pub(super) expires: Option<Instant>,
    pub(super) connected_at: Instant,
    /// By how much this server's lifetime differs, so that servers opened together do not close
    /// together.
    stretch: f64,
    pub(super) conn: Option<S::Conn>,
    home: WorkerId,
    generation: u32,
    links: [Links; 2],
}

impl<S: Site> Slot<S> {
    fn vacant(now: Instant) -> Self {
        Self {
            state: State::Vacant,
            since: now,
            pool: PoolId(0),
            client: None,
            hold: None,
            idle_since: None,
            yields: false,
            is_retired: false,
            cancels: 0,
            key: None,
            expires: None,
            connected_at: now,
            stretch: 1.0,
            conn: None,
            home: WorkerId::MAIN,
            generation: 0,
            links: [Links::UNLINKED; 2],
        }
    }

    /// Its client has it no more.
    fn let_go(&mut self) {
        (self.client, self.idle_since, self.yields) = (None, None, false);
    }

    /// `lifetime` may change while the server lives; its stretch stays.
    pub(super) fn set_lifetime(&mut self, lifetime: Option<Duration>) {
        self.expires = lifetime
            .and_then(|life| Duration::try_from_secs_f64(life.as_secs_f64() * self.stretch).ok())
            .and_then(|life| self.connected_at.checked_add(life));
    }
}

impl<S: Site, const WHICH: usize> Linked<WHICH> for Slot<S> {
    fn links(&self) -> Links {
        self.links[WHICH]
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links[WHICH]
    }
}

/// What the slots of one pool have in common.
#[derive(Debug)]
struct Books {
    /// Database, user, host: the narrow ones first, see `room_for`.
    groups: [GroupId; 3],
    counts: Counts,
    idle: List<POOL>,
    /// By worker.
    idle_at_home: Vec<List<HOME>>,
}

pub(super) struct Slots<S: Site> {
    slots: Vec<Slot<S>>,
    vacant: Vec<u32>,
    books: Vec<Books>,
    counts: Counts,
    pub(super) groups: Groups,
}

impl<S: Site> Slots<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            books: Vec::new(),
            counts: Counts::default(),
            groups: Groups::new(),
        }
    }

    pub(super) fn add_pool(&mut self, groups: [GroupId; 3]) -> PoolId {
        self.books.push(Books {
            groups,
            counts: Counts::default(),
            idle: List::new(),
            idle_at_home: Vec::new(),
        });
        PoolId(u32::try_from(self.books.len() - 1).expect("fewer pools than memory"))
    }

    /// Vacant to Connecting.
    pub(super) fn open(&mut self, now: Instant, pool: PoolId) -> SlotRef {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::vacant(now));
            u32::try_from(self.slots.len() - 1).expect("fewer slots than sockets")
        });
        self.slots[index as usize].pool = pool;
        self.change(now, index, State::Connecting);
        self.slot_ref(index)
    }

    /// The server of a slot that is Connecting has arrived.
    pub(super) fn arrived(&mut self, now: Instant, slot: SlotRef, key: S::Key, stretch: f64) {
        let slot = self.of_mut(slot);
        slot.key = Some(key);
        slot.connected_at = now;
        slot.stretch = stretch;
    }

    /// Idle to Leased (to a client) or to Checking (for nobody).
    pub(super) fn take(
        &mut self,
        now: Instant,
        index: u32,
        client: Option<ClientId>,
    ) -> Lease<S::Conn> {
        self.change(now, index, if client.is_some() { State::Leased } else { State::Checking });
        let slot = &mut self.slots[index as usize];
        slot.client = client;
        let conn = slot.conn.take().expect("an idle slot has its server");
        Lease { slot: self.slot_ref(index), conn }
    }

    /// Anything but Vacant to Idle, or to `BeingCanceled` while a cancel may still hit the server.
    pub(super) fn put(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        let slot = self.of_mut(lease.slot);
        slot.conn = Some(lease.conn);
        slot.let_go();
        slot.home = home;
        let to = if slot.cancels > 0 { State::BeingCanceled } else { State::Idle };
        self.change(now, lease.slot.index, to);
    }

    /// `BeingCanceled`: takes the server out for it to be put back as what it is by now.
    pub(super) fn take_canceled(&mut self, slot: SlotRef) -> (Lease<S::Conn>, WorkerId) {
        let of = self.of_mut(slot);
        let conn = of.conn.take().expect("a slot being canceled has its server");
        (Lease { slot, conn }, of.home)
    }

    /// Leased to Tidying.
    pub(super) fn tidy(&mut self, now: Instant, slot: SlotRef) {
        self.of_mut(slot).let_go();
        self.change(now, slot.index, State::Tidying);
    }

    /// Anything to Vacant. Answers with the server, if the slot had it.
    pub(super) fn vacate(&mut self, now: Instant, index: u32) -> Option<S::Conn> {
        self.change(now, index, State::Vacant);
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.let_go();
        slot.cancels = 0;
        slot.is_retired = false;
        slot.key = None;
        slot.expires = None;
        self.vacant.push(index);
        slot.conn.take()
    }

    fn change(&mut self, now: Instant, index: u32, to: State) {
        let slot = &mut self.slots[index as usize];
        let from = slot.state;
        assert!(may_follow(from, to), "slot {index}: {from:?} to {to:?}");
        slot.state = to;
        slot.since = now;
        let (pool, home) = (slot.pool, slot.home);
        let books = &mut self.books[pool.0 as usize];
        for counts in [&mut books.counts, &mut self.counts] {
            if let Some(count) = count_of(counts, from) {
                *count -= 1;
            }
            if let Some(count) = count_of(counts, to) {
                *count += 1;
            }
        }
        for group in books.groups {
            self.groups.of_mut(group).moved(from, to);
        }
        let home = usize::from(home.0);
        if from == State::Idle {
            books.idle.remove(&mut self.slots, index);
            books.idle_at_home[home].remove(&mut self.slots, index);
        }
        if to == State::Idle {
            if books.idle_at_home.len() <= home {
                books.idle_at_home.resize(home + 1, List::new());
            }
            books.idle.push_back(&mut self.slots, index);
            books.idle_at_home[home].push_back(&mut self.slots, index);
        }
    }

    /// The idle server to lend to somebody on `worker`, and whether it was used since `fresh_since`.
    ///
    /// The own worker's first: taking a socket over from another costs two system calls. Fresh ones
    /// first of all. Most recently used first: its backend has the warmest caches, and the others
    /// are left to be reaped.
    pub(super) fn choose(
        &self,
        pool: PoolId,
        worker: WorkerId,
        round_robin: bool,
        fresh_since: Option<Instant>,
    ) -> Option<(u32, bool)> {
        let books = &self.books[pool.0 as usize];
        let newest = books.idle.back()?;
        let own = books
            .idle_at_home
            .get(usize::from(worker.0))
            .and_then(|own| if round_robin { own.front() } else { own.back() });
        let oldest = if round_robin { books.idle.front() } else { None };
        let is_fresh = |index: &u32| {
            fresh_since.is_none_or(|fresh_since| self.at(*index).since >= fresh_since)
        };
        let fresh = own.into_iter().chain(oldest).chain([newest]).find(is_fresh);
        fresh.map(|index| (index, true)).or(Some((newest, false)))
    }

    /// The longest idle servers first.
    pub(super) fn idle(&self, pool: PoolId) -> impl Iterator<Item = u32> + '_ {
        self.books[pool.0 as usize].idle.iter(&self.slots)
    }

    pub(super) fn longest_idle(&self, pool: PoolId) -> Option<u32> {
        self.books[pool.0 as usize].idle.front()
    }

    /// The idle slot after this one.
    pub(super) fn next_idle(&self, index: u32) -> Option<u32> {
        List::<POOL>::after(&self.slots, index)
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = PoolId> + use<S> {
        (0..u32::try_from(self.books.len()).expect("counted when added")).map(PoolId)
    }

    pub(super) fn groups_of(&self, pool: PoolId) -> [GroupId; 3] {
        self.books[pool.0 as usize].groups
    }

    pub(super) fn counts(&self, pool: PoolId) -> &Counts {
        &self.books[pool.0 as usize].counts
    }

    pub(super) fn host_counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn at(&self, index: u32) -> &Slot<S> {
        &self.slots[index as usize]
    }

    pub(super) fn at_mut(&mut self, index: u32) -> &mut Slot<S> {
        &mut self.slots[index as usize]
    }

    pub(super) fn conn_mut(&mut self, index: u32) -> Option<&mut S::Conn> {
        self.slots[index as usize].conn.as_mut()
    }

    pub(super) fn is_current(&self, slot: SlotRef) -> bool {
        self.at(slot.index).generation == slot.generation
            && self.at(slot.index).state != State::Vacant
    }

    pub(super) fn slot_ref(&self, index: u32) -> SlotRef {
        let Slot { pool, generation, .. } = *self.at(index);
        SlotRef { pool, index, generation }
    }

    /// The slots of one pool that are not vacant.
    pub(super) fn open_slots(&self, pool: PoolId) -> impl Iterator<Item = SlotRef> + '_ {
        let is_open = move |slot: &Slot<S>| slot.pool == pool && slot.state != State::Vacant;
        let indices = 0..u32::try_from(self.slots.len()).expect("counted when added");
        indices.filter(move |index| is_open(self.at(*index))).map(|index| self.slot_ref(index))
    }

    fn of_mut(&mut self, slot: SlotRef) -> &mut Slot<S> {
        // Whoever has a server in hand has its slot. If that is not so the books are wrong, and two
        // clients could be told that they have the same server: stop here.
        assert!(self.is_current(slot), "{slot:?} is out of date");
        self.at_mut(slot.index)
    }
}

/// The arrows of the drawing in the module's documentation.
fn may_follow(from: State, to: State) -> bool {
    use State::{BeingCanceled, Checking, Connecting, Idle, Leased, Tidying, Vacant};
    match to {
        BeingCanceled => matches!(from, Checking | Leased | Tidying),
        Checking | Leased => from == Idle,
        Connecting => from == Vacant,
        Idle => matches!(from, BeingCanceled | Checking | Connecting | Leased | Tidying),
        Tidying => from == Leased,
        Vacant => from != Vacant,
    }
}

/// Vacant slots are not counted: there are as many as one likes.
fn count_of(counts: &mut Counts, state: State) -> Option<&mut u32> {
    match state {
        State::BeingCanceled => Some(&mut counts.being_canceled),
        State::Checking => Some(&mut counts.checking),
        State::Connecting => Some(&mut counts.connecting),
        State::Idle => Some(&mut counts.idle),
        State::Leased => Some(&mut counts.leased),
        State::Tidying => Some(&mut counts.tidying),
        State::Vacant => None,
    }
}
