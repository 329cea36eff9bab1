//! Shared servers, and who is aboard each of them.
//!
//! A shared server belongs to its head, whose statement it works on: the head is the slot's client, and
//! its hold the slot's. Behind it are followers, who were granted it in advance. What each of them
//! counts for is in the accounts already; its server time begins when it is at the head.
//!
//! # Invariants
//!
//! - A slot is shared only while it is leased, and is in its pool's list exactly then.
//! - Only a shared slot has followers, each client once.
//! - `followers` and `behind` are the number of them, and what they are expected to take.

use super::ride::CHANGE;
use super::terms::{Member, Ride};
use crate::base::ids::{ClientId, PoolId, WorkerId};
use std::collections::VecDeque;
use std::time::Duration;

/// Beyond so many aboard, how many they are is not told apart.
pub(super) const DEPTHS: usize = 16;

/// Who comes after a head that was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Nobody: the server is its driver's alone, to give back.
    Empty,
    /// This client is at the head.
    Rider(ClientId),
}

/// What was shared in a pool. Counts only grow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rides {
    /// Servers shared now.
    pub shared: u32,
    /// Clients behind their heads now.
    pub followers: u32,
    /// Clients that got aboard.
    pub boarded: u64,
    /// How many were aboard then, the head and the newcomer included: two, three, and so on; the last
    /// stands for more, too.
    pub depths: [u64; DEPTHS],
}

impl Rides {
    /// The name of each count of `depths`.
    pub const DEPTHS: [&'static str; DEPTHS] =
        ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "more"];

    /// Adds those of others.
    pub fn add(&mut self, other: &Self) {
        self.shared += other.shared;
        self.followers += other.followers;
        self.boarded += other.boarded;
        for (depth, more) in self.depths.iter_mut().zip(other.depths) {
            *depth += more;
        }
    }
}

/// One request of a client's, among all that are ever aboard a server while it is shared; the default is the
/// first head's. Its client's next request has another: a cancel request is for one of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Berth(u32);

/// A follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rider {
    pub(super) client: ClientId,
    pub(super) berth: Berth,
    pub(super) member: Member,
    pub(super) expected: Duration,
}

/// A follower whom the driver of its server has not taken up so far.
#[derive(Debug)]
pub struct Newcomer<H> {
    pub client: ClientId,
    pub berth: Berth,
    /// How to reach it.
    pub to: H,
    pub waited: Duration,
}

/// What is known of one shared slot.
#[derive(Debug)]
pub(super) struct Aboard<H> {
    /// Of who boarded it last.
    settings: u64,
    /// Where its driver is: with its first head.
    pub(super) worker: WorkerId,
    /// Whose the head is.
    pub(super) berth: Berth,
    /// How long the head was expected to take.
    pub(super) head: Duration,
    /// How long its followers are expected to take.
    pub(super) behind: Duration,
    pub(super) is_stalled: bool,
    /// The last that somebody got.
    last: Berth,
    followers: VecDeque<Rider>,
    newcomers: VecDeque<Newcomer<H>>,
    /// Where in its pool's list it is. `None`: the slot is not shared.
    place: Option<usize>,
}

impl<H> Aboard<H> {
    /// What it takes to give it the settings of one who boards.
    pub(super) fn change_to(&self, ride: Ride) -> Duration {
        if self.settings == ride.settings { Duration::ZERO } else { CHANGE }
    }

    pub(super) fn followers(&self) -> u32 {
        u32::try_from(self.followers.len()).expect("bounded by the depth")
    }
}

#[derive(Debug, Default)]
struct OfPool {
    slots: Vec<u32>,
    rides: Rides,
}

/// Of all pools of a host.
#[derive(Debug)]
pub(super) struct Shared<H> {
    /// By slot; what was made for one is kept for its next use.
    aboard: Vec<Aboard<H>>,
    pools: Vec<OfPool>,
    shared: u32,
}

impl<H> Shared<H> {
    pub(super) fn new() -> Self {
        Self { aboard: Vec::new(), pools: Vec::new(), shared: 0 }
    }

    pub(super) fn add_pool(&mut self) {
        self.pools.push(OfPool::default());
    }

    /// A slot that is leased is shared from now on; its client is the head.
    pub(super) fn begin(&mut self, pool: PoolId, slot: u32, head: Ride, worker: WorkerId) {
        let vacant = || Aboard {
            settings: 0,
            worker: WorkerId(0),
            berth: Berth::default(),
            last: Berth::default(),
            head: Duration::ZERO,
            behind: Duration::ZERO,
            is_stalled: false,
            followers: VecDeque::new(),
            newcomers: VecDeque::new(),
            place: None,
        };
        if self.aboard.len() <= slot as usize {
            self.aboard.resize_with(slot as usize + 1, vacant);
        }
        let of_pool = &mut self.pools[pool.0 as usize];
        let of = &mut self.aboard[slot as usize];
        assert!(of.place.is_none(), "shared twice");
        of.place = Some(of_pool.slots.len());
        (of.settings, of.head, of.is_stalled) = (head.settings, head.expected, false);
        (of.worker, of.berth, of.last) = (worker, Berth::default(), Berth::default());
        of_pool.slots.push(slot);
        of_pool.rides.shared += 1;
        self.shared += 1;
    }

    /// The slot is its client's alone, or nobody's. Nothing if it was not shared.
    #[inline]
    pub(super) fn end(&mut self, pool: PoolId, slot: u32) {
        if self.shared > 0 {
            self.end_of(pool, slot);
        }
    }

    #[cold]
    fn end_of(&mut self, pool: PoolId, slot: u32) {
        let Some(of) = self.aboard.get_mut(slot as usize) else { return };
        let Some(place) = of.place.take() else { return };
        // A follower that the books forget would wait for ever, or have somebody else's answer.
        let is_empty = of.followers.is_empty() && of.newcomers.is_empty();
        assert!(is_empty, "slot {slot} is given up with clients aboard");
        let of_pool = &mut self.pools[pool.0 as usize];
        of_pool.slots.swap_remove(place);
        if let Some(moved) = of_pool.slots.get(place) {
            self.aboard[*moved as usize].place = Some(place);
        }
        of_pool.rides.shared -= 1;
        self.shared -= 1;
    }

    /// `None`: it is not shared.
    pub(super) fn of(&self, slot: u32) -> Option<&Aboard<H>> {
        self.aboard.get(slot as usize).filter(|of| of.place.is_some())
    }

    pub(super) fn stall(&mut self, slot: u32) {
        if let Some(of) = self.aboard.get_mut(slot as usize) {
            of.is_stalled = true;
        }
    }

    /// It has the settings of one who boards from then on. Answers with all that this one is expected to take.
    pub(super) fn boards(&mut self, slot: u32, ride: Ride) -> Duration {
        let of = &mut self.aboard[slot as usize];
        let expected = ride.expected.saturating_add(of.change_to(ride));
        of.settings = ride.settings;
        expected
    }

    /// A client gets aboard, of whom the driver is to know how to reach it and how long it waited.
    pub(super) fn board(
        &mut self,
        pool: PoolId,
        slot: u32,
        (client, member, expected): (ClientId, Member, Duration),
        (to, waited): (H, Duration),
    ) {
        let of = &mut self.aboard[slot as usize];
        of.last = Berth(of.last.0.wrapping_add(1));
        let berth = of.last;
        of.newcomers.push_back(Newcomer { client, berth, to, waited });
        of.behind += expected;
        of.followers.push_back(Rider { client, berth, member, expected });
        let totals = &mut self.pools[pool.0 as usize].rides;
        totals.followers += 1;
        totals.boarded += 1;
        // One follower makes two, and that is the first count.
        totals.depths[(of.followers.len() - 1).min(DEPTHS - 1)] += 1;
    }

    /// The first of those whom the driver has not taken up so far.
    pub(super) fn newcomer(&mut self, slot: u32) -> Option<Newcomer<H>> {
        let of = self.aboard.get_mut(slot as usize).filter(|of| of.place.is_some())?;
        of.newcomers.pop_front()
    }

    /// The first follower leaves the others to be the head.
    pub(super) fn next(&mut self, pool: PoolId, slot: u32) -> Option<Rider> {
        let of = &mut self.aboard[slot as usize];
        let next = of.followers.pop_front()?;
        of.behind -= next.expected;
        (of.head, of.berth, of.is_stalled) = (next.expected, next.berth, false);
        self.pools[pool.0 as usize].rides.followers -= 1;
        Some(next)
    }

    /// A follower leaves; `client` is whose.
    pub(super) fn remove(&mut self, pool: PoolId, slot: u32, client: ClientId) -> Option<Rider> {
        let of = &mut self.aboard[slot as usize];
        let at = of.followers.iter().position(|rider| rider.client == client)?;
        let rider = of.followers.remove(at)?;
        of.newcomers.retain(|newcomer| newcomer.client != client);
        of.behind -= rider.expected;
        self.pools[pool.0 as usize].rides.followers -= 1;
        Some(rider)
    }

    /// Which request of a client's is aboard; of the head, if it is no follower's. `None`: it is not shared.
    pub(super) fn berth(&self, slot: u32, client: ClientId) -> Option<Berth> {
        let of = self.of(slot)?;
        let follower = of.followers.iter().find(|rider| rider.client == client);
        Some(follower.map_or(of.berth, |rider| rider.berth))
    }

    /// Everybody but the head.
    pub(super) fn followers(&self, slot: u32) -> impl Iterator<Item = &Rider> {
        self.of(slot).into_iter().flat_map(|of| &of.followers)
    }

    #[inline]
    pub(super) fn slots(&self, pool: PoolId) -> &[u32] {
        &self.pools[pool.0 as usize].slots
    }

    pub(super) fn rides(&self, pool: PoolId) -> &Rides {
        &self.pools[pool.0 as usize].rides
    }

    /// How many slots are shared over all pools.
    pub(super) fn len(&self) -> u32 {
        self.shared
    }
}
