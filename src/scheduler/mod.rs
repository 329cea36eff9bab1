//! Who gets which server, and when: a value, without sockets, clock or lock.
//!
//! One [`Scheduler`] knows the slots of all pools of one host, so that a cap over several pools is
//! exact and fair. Every input is an argument; consequences are returned, or queued as [`Action`]s
//! that the caller drains after every call. Chance comes from a seed.
//!
//! # A slot
//!
//! ```text
//!           connect              connected                    lend
//!  Vacant ----------> Connecting ---------> Idle ----------------------------------> Leased
//!    ^                    |     check due  | | ^ ^      given back, tidied, passed    | |
//!    |                    |   +------------+ | | +------------------------------------+ | tidy
//!    |                    |   v              | |            ^               ^           v
//!    |                    | Checking --------|-|------------+               +------- Tidying
//!    |                    |   |              | | all cancels done                       |
//!    |                    |   |              | +------------- BeingCanceled <-----------+
//!    |  failed            |   | dead         | reap, evict    (instead of Idle, while   |
//!    +--------------------+---+--------------+                cancels are in flight)    |
//!    +----------------------------------------------------------------------------------+ lost
//! ```
//!
//! [`slots`] has the one function that changes a state.
//!
//! # Invariants
//!
//! - A slot counts against every cap (pool, database, user, host) until it is vacant, and no cap is
//!   ever exceeded, unless it was lowered: then nothing is opened under it until it holds again.
//! - Work conserving: no server that may be lent is idle while somebody waits for its pool, and
//!   none is idle at all while its place is what somebody waits for in another pool.
//! - First come, first served within a pool; a free place under a shared cap goes to the pool whose
//!   waiter came first.
//! - A server is in the scheduler or in exactly one lease. One that a cancel request may still hit
//!   is lent to nobody.
//! - Nobody waits past the first tick after their deadline, or for a host that is known to be down.
//!
//! # Map
//!
//! [`lend`]: leases, in and out. [`grow`]: opening servers, and closing some for others. [`upkeep`]:
//! what time and new limits bring about. Below these: [`slots`], [`caps`], [`queue`], [`health`].

mod caps;
mod grow;
mod health;
mod lend;
mod list;
mod queue;
mod random;
mod slots;
mod terms;
#[cfg(test)]
mod tests;
mod upkeep;

pub use self::terms::{
    Action, Cancel, CloseReason, ConnectFailure, Counts, FailureScope, Health, Holder, HostLimits,
    Lease, PoolLimits, PoolSpec, Refusal, Request, Site, SlotRef, Ticket,
};

use self::caps::{Groups, Kind};
use self::health::{Ramp, Reach};
use self::queue::Queue;
use self::random::Random;
use self::slots::Slots;
use crate::base::ids::PoolId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Everything about a pool that is not its slots or its queue.
struct Pool<E> {
    limits: PoolLimits,
    /// When somebody last had to wait here, or was expected to.
    wanted_at: Option<Instant>,
    login: Reach<E>,
}

/// Decides which client gets which server, for all pools of one host.
pub struct Scheduler<S: Site> {
    actions: VecDeque<Action<S>>,
    host: Reach<S::Error>,
    limits: HostLimits,
    pools: Vec<Pool<S::Error>>,
    queue: Queue<S::Handle>,
    ramp: Ramp,
    random: Random,
    slots: Slots<S>,
}

impl<S: Site> Scheduler<S> {
    pub fn new(limits: HostLimits, seed: u64) -> Self {
        let mut slots = Slots::new();
        slots.groups.of_mut(Groups::HOST).max = limits.max_connections.unwrap_or(u32::MAX);
        Self {
            actions: VecDeque::new(),
            host: Reach::new(limits.login_retry),
            limits,
            pools: Vec::new(),
            queue: Queue::new(),
            ramp: Ramp::new(),
            random: Random::new(seed),
            slots,
        }
    }

    pub fn add_pool(&mut self, now: Instant, spec: PoolSpec) -> PoolId {
        let groups = &mut self.slots.groups;
        let database = groups.find_or_add(Kind::Database, spec.database);
        let user = groups.find_or_add(Kind::User, spec.user);
        let pool = self.slots.add_pool([database, user, Groups::HOST]);
        self.queue.add_pool();
        let login = Reach::new(self.limits.login_retry);
        self.pools.push(Pool { limits: spec.limits.clone(), wanted_at: None, login });
        self.set_limits(now, pool, spec.limits);
        pool
    }

    /// What to do next. Drain this after every call, in order: a server is closed before the one
    /// that takes its place is opened.
    pub fn next_action(&mut self) -> Option<Action<S>> {
        self.actions.pop_front()
    }

    pub fn counts(&self, pool: PoolId) -> Counts {
        Counts { waiting: self.queue.waiting(pool), ..*self.slots.counts(pool) }
    }

    pub fn host_counts(&self) -> Counts {
        Counts { waiting: self.queue.len(), ..*self.slots.host_counts() }
    }

    pub fn waiting(&self, pool: PoolId) -> usize {
        self.queue.waiting(pool) as usize
    }

    pub fn longest_wait(&self, now: Instant, pool: PoolId) -> Duration {
        self.queue.longest_wait(now, pool)
    }

    /// Whether the host can be reached.
    pub fn health(&self) -> Health<S::Error> {
        self.host.health()
    }

    /// Whether the host lets this pool in.
    pub fn login_health(&self, pool: PoolId) -> Health<S::Error> {
        self.of(pool).login.health()
    }

    /// Who has a server of this pool.
    pub fn holders(&self, pool: PoolId) -> impl Iterator<Item = Holder> + '_ {
        self.slots.open_slots(pool).filter_map(|slot| {
            let of = self.slots.at(slot.index);
            Some(Holder { client: of.client?, since: of.since, slot })
        })
    }

    fn of(&self, pool: PoolId) -> &Pool<S::Error> {
        &self.pools[pool.0 as usize]
    }

    fn of_mut(&mut self, pool: PoolId) -> &mut Pool<S::Error> {
        &mut self.pools[pool.0 as usize]
    }
}
