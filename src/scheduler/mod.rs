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
//! - Work conserving: no server that may be lent is idle while somebody waits who may have it, and
//!   none is idle at all while its place is what such a one waits for in another pool. What is
//!   [kept](keep) for a class that comes back within 2 ms, others may not have.
//! - First come, first served within a class; between classes as [`turn`] says; and no class, and no
//!   address in it, holds more than its quota.
//! - Nobody gets aboard a [shared] server whose turn it is not, who could have an idle one, or
//!   beyond depth and work ahead; each pays for the time in which it is at the head.
//! - A server is in the scheduler or in exactly one lease. One that a cancel request may still hit
//!   is lent to nobody.
//! - Nobody waits past the first tick after their deadline, or for a host that is known to be down.
//! - A pool that is [paused](pause) has no idle server and opens none; its waiters wait, whatever is known
//!   of the host. A retired server is never idle.
//!
//! # Map
//!
//! [`lend`]: leases, in and out. [`ride`]: those who share one. [`turn`]: who is next; [`keep`]: and who is waited for. [`refuse`]: who
//! is not served at all. [`grow`]: opening servers, and closing some for others. [`upkeep`]: what time and
//! new limits bring about; [`pause`] and [`renew`]: and what operators do. [`look`], [`strain`] and
//! [`census`]: what others may see of it, and the state of a pool. Below these: [`slots`], [`shared`] and [`caps`]; [`queue`] with the
//! [`flow`] of each line, what it had of [late](recent), the [`fronts`] of each class, and who is [`overdue`]; [`class`] with
//! its buckets, its [`patience`] and its [`throttle`]; [`contention`], which those who have servers look at; [`health`]. Beside all of it: [`logins`].

mod apart;
mod budget;
mod cancels;
mod caps;
mod census;
mod class;
mod contention;
mod counters;
mod flow;
mod fronts;
mod grow;
mod health;
mod held;
mod keep;
mod lend;
mod list;
pub mod logins;
mod look;
mod overdue;
mod parties;
mod patience;
mod pause;
mod queue;
mod random;
mod recent;
mod refuse;
mod renew;
mod ride;
mod shared;
mod slots;
mod standing;
mod strain;
mod terms;
#[cfg(test)]
mod tests;
mod throttle;
mod turn;
mod upkeep;

pub use self::census::{SlotView, WaiterView};
pub use self::contention::Contention;
pub use self::counters::{ClassCounters, DelayedFor, RefusedFor};
pub use self::look::{ClassView, Condition, State};
pub use self::ride::CHANGE;
pub use self::shared::{Berth, Newcomer, Next, Rides};
pub use self::slots::State as SlotState;
pub use self::strain::{Room, Shares, Strain, WaitLimit};
pub use self::terms::{
    Action, Cancel, ClassFull, CloseReason, ConnectFailure, Counts, FailureScope, Health, Holder,
    HostLimits, Lease, Member, PoolLimits, PoolSpec, Refusal, Request, Ride, Scope, ShareLimits,
    SharedCap, SharedFull, Shedding, Site, SlotRef, Ticket, WaitCause,
};

use self::caps::{Groups, Kind};
use self::class::Classes;
use self::contention::Crowd;
use self::health::{Ramp, Reach};
use self::held::Moment;
use self::keep::Keeps;
use self::pause::Halt;
use self::queue::Queue;
use self::random::Random;
use self::recent::Recent;
use self::shared::Shared;
use self::slots::Slots;
use self::turn::PassedOver;
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::ClassLimits;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Everything about a pool that is not its slots or its queue.
struct Pool<E> {
    limits: PoolLimits,
    /// When somebody last had to wait here, or was expected to.
    wanted_at: Option<Instant>,
    /// When a server of it was last lent.
    lent_at: Option<Instant>,
    /// When a server came back with everything answered that its client had asked.
    answered_at: Option<Instant>,
    login: Reach<E>,
    /// By priority, where the last line that was served in turn stood: see [`flow::Share`].
    virtual_time: [f64; 3],
    passed_over: PassedOver,
    keeps: Keeps,
    condition: Condition,
    refused: Recent,
    abandoned: Recent,
    halt: Halt,
}

/// Decides which client gets which server, for all pools of one host.
pub struct Scheduler<S: Site> {
    actions: VecDeque<Action<S>>,
    /// Connections that are in no pool.
    apart: u32,
    classes: Classes,
    epoch: Instant,
    /// The last `now`, and what it is since `epoch`.
    moment: Cell<(Instant, Moment)>,
    host: Reach<S::Error>,
    is_draining: bool,
    limits: HostLimits,
    /// Memory of [`Self::pace`]: pools, and lines of one of them.
    lists: (Vec<PoolId>, Vec<u32>),
    /// When the time was last told.
    paced_at: Instant,
    pools: Vec<Pool<S::Error>>,
    queue: Queue<S::Handle>,
    ramp: Ramp,
    random: Random,
    shared: Shared<S::Handle>,
    slots: Slots<S>,
}

impl<S: Site> Scheduler<S> {
    pub fn new(now: Instant, limits: HostLimits, seed: u64) -> Self {
        let mut slots = Slots::new();
        slots.groups.of_mut(Groups::HOST).limit(limits.max_connections.unwrap_or(u32::MAX));
        Self {
            actions: VecDeque::new(),
            apart: 0,
            classes: Classes::new(now),
            epoch: now,
            moment: Cell::new((now, Moment::new(now, now))),
            is_draining: false,
            host: Reach::new(limits.login_retry),
            limits,
            lists: (Vec::new(), Vec::new()),
            paced_at: now,
            pools: Vec::new(),
            queue: Queue::new(),
            ramp: Ramp::new(),
            random: Random::new(seed),
            shared: Shared::new(),
            slots,
        }
    }

    pub fn add_pool(&mut self, now: Instant, spec: PoolSpec) -> PoolId {
        let groups = &mut self.slots.groups;
        let database = groups.find_or_add(Kind::Database, spec.database);
        let user = groups.find_or_add(Kind::User, spec.user);
        let pool = self.slots.add_pool([database, user, Groups::HOST]);
        let groups = &self.slots.groups;
        let [database, user, host] =
            [database, user, Groups::HOST].map(|group| Arc::clone(&groups.of(group).crowd));
        self.queue.add_pool([Arc::new(Crowd::of_pool()), database, user, host]);
        self.shared.add_pool();
        let login = Reach::new(self.limits.login_retry);
        self.pools.push(Pool {
            limits: spec.limits.clone(),
            wanted_at: None,
            lent_at: None,
            answered_at: None,
            login,
            virtual_time: [0.0; 3],
            passed_over: PassedOver::default(),
            keeps: Keeps::default(),
            condition: Condition::new(now),
            refused: Recent::default(),
            abandoned: Recent::default(),
            halt: Halt::default(),
        });
        self.set_limits(now, pool, spec.limits);
        pool
    }

    /// Makes a class. Its clients [`join`](Self::join) it.
    pub fn add_class(&mut self, now: Instant, name: String, limits: ClassLimits) -> ClassId {
        self.classes.add(now, name, limits)
    }

    /// A client comes into a class, to use a pool. `address`: `None` for the unix socket.
    ///
    /// # Errors
    ///
    /// When the class, or the address within it, has as many clients as it may.
    pub fn join(
        &mut self,
        now: Instant,
        pool: PoolId,
        class: ClassId,
        address: Option<IpAddr>,
    ) -> Result<Member, ClassFull> {
        let address = address.map(|address| address.to_canonical());
        if let Err((scope, limit)) = self.classes.has_room(class, address) {
            self.classes.of_mut(class).counters.refused_client();
            return Err(ClassFull { scope, limit });
        }
        Ok(self.join_again(now, pool, class, address))
    }

    /// The same for a client that was in before: limit or not.
    pub fn join_again(
        &mut self,
        now: Instant,
        pool: PoolId,
        class: ClassId,
        address: Option<IpAddr>,
    ) -> Member {
        let address = address.map(|address| address.to_canonical());
        let source = self.classes.join(now, class, address);
        self.queue.parties.fit(self.classes.sources());
        let lines = &self.classes.of(class).lines;
        let known = lines.iter().copied().find(|line| self.queue.line(*line).pool == pool);
        let line = known.unwrap_or_else(|| {
            let of_class = Arc::clone(&self.classes.of(class).is_contended);
            let line = self.queue.add_line(now, (pool, class), of_class);
            self.classes.of_mut(class).lines.push(line);
            line
        });
        self.queue.join(line);
        Member { class, line, source }
    }

    /// What it looks at while it has a server.
    pub fn contention(&self, member: Member) -> Arc<Contention> {
        Arc::clone(&self.queue.line(member.line).contention)
    }

    /// A client has gone: once for each that joined, when it neither waits nor holds anything.
    pub fn part(&mut self, member: Member) {
        self.queue.part(member.line);
        self.classes.part(member);
    }

    /// What to do next. Drain this after every call, in order: a server is closed before the one
    /// that takes its place is opened.
    pub fn next_action(&mut self) -> Option<Action<S>> {
        self.actions.pop_front()
    }

    /// Asked several times of one `now` by each lease: working it out is what is dear.
    #[inline]
    fn moment(&self, now: Instant) -> Moment {
        let (known, moment) = self.moment.get();
        if known == now {
            return moment;
        }
        let moment = Moment::new(self.epoch, now);
        self.moment.set((now, moment));
        moment
    }

    fn of(&self, pool: PoolId) -> &Pool<S::Error> {
        &self.pools[pool.0 as usize]
    }

    fn of_mut(&mut self, pool: PoolId) -> &mut Pool<S::Error> {
        &mut self.pools[pool.0 as usize]
    }
}
