//! What is there, told from a scheduler's actions alone: plain lists, no cleverness.

use super::accounts::{Accounts, Seat, Sure};
use super::riding::Sharing;
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::config::classes::Priority;
use crate::scheduler::Counts;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolSpec;
use crate::scheduler::Ride;
use crate::scheduler::SlotRef;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    BeingCanceled,
    Checking,
    Connecting,
    Idle,
    Leased(ClientId),
    Tidying,
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) slot: SlotRef,
    pub(super) state: State,
    /// 0 while connecting.
    pub(super) conn: u64,
    pub(super) cancels: u32,
    pub(super) home: WorkerId,
    pub(super) since: Instant,
    pub(super) connected_at: Instant,
    /// On whose account it is, and since when.
    pub(super) hold: Option<(Seat, Instant)>,
    pub(super) is_retired: bool,
    pub(super) share: Option<Sharing>,
}

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) client: ClientId,
    pub(super) seat: Seat,
    pub(super) deadline: Option<Instant>,
    pub(super) since: Instant,
    /// Lower came first.
    pub(super) order: i64,
    pub(super) again: bool,
    pub(super) ride: Option<Ride>,
}

/// How often each priority was passed over in a pool since it was last served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassedOver {
    /// By anybody of a higher one.
    pub(super) perhaps: [u32; 3],
    /// While it could have been served.
    pub(super) certainly: [u32; 3],
}

/// Those of a pool who could be served: see `grow` of the scheduler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hungry {
    /// One of them has less than is reserved for it.
    pub(super) is_owed: bool,
    pub(super) priority: Priority,
    pub(super) order: i64,
    pub(super) since: Instant,
    pub(super) weight: u32,
}

pub(super) struct Model {
    pub(super) host: HostLimits,
    pub(super) accounts: Accounts,
    pub(super) pools: Vec<PoolSpec>,
    pub(super) servers: Vec<Server>,
    /// By pool, in order of arrival.
    pub(super) lines: Vec<Vec<Waiter>>,
    pub(super) passed_over: Vec<PassedOver>,
    pub(super) ramp: u32,
    /// By pool: whether it is paused, and when it last was allowed to go on.
    pub(super) paused: Vec<bool>,
    pub(super) resumed_at: Vec<Option<Instant>>,
    /// By pool, how many idle servers are kept for a class that is about to come back.
    pub(super) kept: Vec<u32>,
    /// Where clients gave servers back of late, and when.
    pub(super) returns: Vec<(PoolId, Instant)>,
    /// Whose server came back last: it may have been kept for others of the class who wait.
    pub(super) returned: Option<(PoolId, ClassId, Instant)>,
    /// The scheduler was told the time in this step.
    pub(super) is_told: bool,
    /// And nothing else was done.
    pub(super) is_paced: bool,
    /// Who has just come: others may be served before it waits.
    pub(super) newcomer: Option<ClientId>,
    /// Where the newest is served first, as far as the scheduler says.
    pub(super) reversed: BTreeSet<(PoolId, ClassId)>,
    /// Servers that were evicted and have not been replaced yet.
    pub(super) evicted: Vec<Server>,
    orders: (i64, i64),
}

impl Model {
    pub(super) fn new(host: HostLimits) -> Self {
        Self {
            host,
            accounts: Accounts::default(),
            pools: Vec::new(),
            servers: Vec::new(),
            lines: Vec::new(),
            passed_over: Vec::new(),
            ramp: 4,
            paused: Vec::new(),
            resumed_at: Vec::new(),
            kept: Vec::new(),
            returns: Vec::new(),
            returned: None,
            is_told: false,
            is_paced: false,
            newcomer: None,
            reversed: BTreeSet::new(),
            evicted: Vec::new(),
            orders: (0, 0),
        }
    }

    pub(super) fn add_pool(&mut self, spec: PoolSpec) {
        self.pools.push(spec);
        self.lines.push(Vec::new());
        self.passed_over.push(PassedOver::default());
        self.paused.push(false);
        self.resumed_at.push(None);
    }

    pub(super) fn spec(&self, pool: PoolId) -> &PoolSpec {
        &self.pools[pool.0 as usize]
    }

    pub(super) fn is_paused(&self, pool: PoolId) -> bool {
        self.paused[pool.0 as usize]
    }

    pub(super) fn retired(&self, pool: PoolId) -> usize {
        self.of(pool).filter(|server| server.is_retired).count()
    }

    pub(super) fn line(&self, pool: PoolId) -> &[Waiter] {
        &self.lines[pool.0 as usize]
    }

    pub(super) fn waiting(&self, pool: PoolId) -> usize {
        self.line(pool).len()
    }

    pub(super) fn server(&mut self, slot: SlotRef) -> &mut Server {
        self.servers.iter_mut().find(|server| server.slot == slot).expect("a slot in use")
    }

    pub(super) fn pool_ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        (0..u32::try_from(self.pools.len()).expect("few")).map(PoolId)
    }

    pub(super) fn of(&self, pool: PoolId) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(move |server| server.slot.pool == pool)
    }

    pub(super) fn open_of(&self, pool: PoolId) -> u32 {
        u32::try_from(self.of(pool).count()).expect("few")
    }

    pub(super) fn count(&self, pool: PoolId, state: State) -> u32 {
        u32::try_from(self.of(pool).filter(|server| server.state == state).count()).expect("few")
    }

    pub(super) fn live(&self, pool: PoolId) -> u32 {
        self.open_of(pool) - self.count(pool, State::Connecting)
    }

    /// Connecting, or being checked.
    pub(super) fn under_way(&self, pool: PoolId) -> u32 {
        self.count(pool, State::Connecting) + self.count(pool, State::Checking)
    }

    pub(super) fn enqueue(&mut self, now: Instant, pool: PoolId, mut waiter: Waiter) {
        self.newcomer = Some(waiter.client);
        self.accounts.queue(now, waiter.seat, waiter.again);
        let line = &mut self.lines[pool.0 as usize];
        if waiter.again {
            self.orders.0 -= 1;
            waiter.order = self.orders.0;
            line.insert(0, waiter);
        } else {
            self.orders.1 += 1;
            waiter.order = self.orders.1;
            line.push(waiter);
        }
    }

    /// Removes a client from wherever it waits.
    pub(super) fn unqueue(&mut self, client: ClientId) -> (PoolId, Waiter) {
        for (pool, line) in self.pool_ids().zip(&mut self.lines) {
            if let Some(at) = line.iter().position(|waiter| waiter.client == client) {
                let waiter = line.remove(at);
                self.accounts.unqueue(waiter.seat);
                return (pool, waiter);
            }
        }
        panic!("{client:?} does not wait");
    }

    /// A client is made to leave.
    pub(super) fn dismiss(&mut self, client: ClientId) {
        let (_, waiter) = self.unqueue(client);
        self.accounts.tally(waiter.seat.class).abandoned += 1;
    }

    /// A client leaves, and may have given up.
    pub(super) fn leave(&mut self, now: Instant, client: ClientId) -> PoolId {
        let (pool, waiter) = self.unqueue(client);
        let tally = self.accounts.tally(waiter.seat.class);
        tally.abandoned += 1;
        tally.decide(false);
        tally.gave_up += u64::from(now - waiter.since >= Duration::from_millis(50));
        pool
    }

    /// A server goes back, before any action says otherwise.
    pub(super) fn put_back(&mut self, now: Instant, slot: SlotRef, home: WorkerId) {
        let server = self.server(slot);
        assert!(server.share.take().is_none_or(|share| share.followers.is_empty()));
        server.state = if server.cancels > 0 { State::BeingCanceled } else { State::Idle };
        (server.since, server.home) = (now, home);
        if let Some(hold) = server.hold.take() {
            self.returns.retain(|(_, at)| now - *at < Duration::from_millis(2));
            self.returns.push((slot.pool, now));
            self.returned = Some((slot.pool, hold.0.class, now));
            self.accounts.end(now, now, hold);
        }
    }

    pub(super) fn remove(&mut self, now: Instant, slot: SlotRef) {
        let at = self.servers.iter().position(|server| server.slot == slot);
        let server = self.servers.swap_remove(at.expect("not vacated twice"));
        for follower in server.share.into_iter().flat_map(|share| share.followers) {
            self.accounts.alight(now, follower.seat, false);
        }
        if let Some(hold) = server.hold {
            self.accounts.end(now, now, hold);
        }
    }

    /// A server that was lent is gone, as if it had not been lent.
    pub(super) fn undo(&mut self, now: Instant, slot: SlotRef) {
        if let Some(hold) = self.server(slot).hold.take() {
            self.accounts.undo(now, hold);
        }
        if let Some(share) = self.server(slot).share.take() {
            let followers = share.followers.into_iter();
            followers.for_each(|follower| self.accounts.alight(now, follower.seat, true));
        }
        self.remove(now, slot);
    }

    pub(super) fn in_group(&self, pool: PoolId, group: (u8, &str)) -> bool {
        let spec = self.spec(pool);
        match group.0 {
            0 => spec.database == group.1,
            1 => spec.user == group.1,
            _ => true,
        }
    }

    pub(super) fn groups(&self, pool: PoolId) -> [((u8, &str), u32); 3] {
        let spec = self.spec(pool);
        let unlimited = |max: u32| if max == 0 { u32::MAX } else { max };
        [
            ((0, spec.database.as_str()), unlimited(spec.limits.database_max)),
            ((1, spec.user.as_str()), unlimited(spec.limits.user_max)),
            ((2, ""), self.host.max_connections.unwrap_or(u32::MAX)),
        ]
    }

    pub(super) fn open_in(&self, group: (u8, &str)) -> u32 {
        let open = self.servers.iter().filter(|server| self.in_group(server.slot.pool, group));
        u32::try_from(open.count()).expect("few")
    }

    fn longest_wait(&self, now: Instant, pool: PoolId) -> Duration {
        self.line(pool).iter().map(|waiter| now - waiter.since).max().unwrap_or_default()
    }

    /// Who of those that could be served has waited for longest decides about the reserve.
    pub(super) fn cap(&self, now: Instant, pool: PoolId, sure: Sure) -> u32 {
        let limits = &self.spec(pool).limits;
        let waited = match sure {
            Sure::Perhaps => self.longest_wait(now, pool),
            Sure::Certainly => self
                .eligible(now, pool, sure)
                .map(|waiter| now - waiter.since)
                .max()
                .unwrap_or_default(),
        };
        let reserve = limits.reserve_timeout.is_some_and(|timeout| waited > timeout);
        limits.size + if reserve { limits.reserve } else { 0 }
    }

    /// Who may have a server of this pool.
    pub(super) fn eligible(
        &self,
        now: Instant,
        pool: PoolId,
        sure: Sure,
    ) -> impl Iterator<Item = &Waiter> {
        let may = move |waiter: &&Waiter| {
            !self.is_paused(pool) && self.accounts.may_begin(now, waiter.seat, sure)
        };
        self.line(pool).iter().filter(may)
    }

    /// How many of those who wait could use a server: at least, or at most. The scheduler need not
    /// know which of those in a line are from addresses that are at their quota.
    pub(super) fn ready(&self, now: Instant, pool: PoolId, sure: Sure) -> u32 {
        if self.is_paused(pool) {
            return 0;
        }
        let mut by_seat: BTreeMap<Seat, u32> = BTreeMap::new();
        for waiter in self.line(pool) {
            *by_seat.entry(waiter.seat).or_default() += 1;
        }
        let mut by_class: BTreeMap<ClassId, u32> = BTreeMap::new();
        for (seat, count) in by_seat {
            let most = match sure {
                Sure::Certainly => self.accounts.seat_allowance(now, seat, sure),
                Sure::Perhaps => u32::MAX,
            };
            *by_class.entry(seat.class).or_default() += count.min(most);
        }
        let ready = by_class
            .into_iter()
            .map(|(class, count)| count.min(self.accounts.class_allowance(now, class, sure)));
        ready.sum()
    }

    /// Whether it is clear who of a pool could be served: no allowance is doubtful.
    pub(super) fn is_clear(&self, now: Instant, pool: PoolId) -> bool {
        self.line(pool).iter().all(|waiter| {
            let may = |sure| self.accounts.may_begin(now, waiter.seat, sure);
            let class = waiter.seat.class;
            let class_may = self.accounts.class_allowance(now, class, Sure::Perhaps) > 0;
            may(Sure::Certainly) == class_may
        })
    }

    pub(super) fn hungry(&self, now: Instant, pool: PoolId) -> Option<Hungry> {
        let eligible = || self.eligible(now, pool, Sure::Certainly);
        let first = eligible().min_by_key(|waiter| waiter.order)?;
        let classes: BTreeSet<ClassId> = eligible().map(|waiter| waiter.seat.class).collect();
        let limits = || classes.iter().map(|class| self.accounts.of(*class));
        let is_owed = |class: &ClassId| self.accounts.is_guaranteed(*class);
        Some(Hungry {
            is_owed: classes.iter().any(is_owed),
            priority: limits().map(|limits| limits.priority).min()?,
            order: first.order,
            since: first.since,
            weight: limits().map(|limits| limits.weight).sum(),
        })
    }

    pub(super) fn counts(&self, pool: PoolId) -> Counts {
        let mut counts = Counts {
            waiting: u32::try_from(self.waiting(pool)).expect("few"),
            ..Counts::default()
        };
        for server in self.of(pool) {
            *match server.state {
                State::BeingCanceled => &mut counts.being_canceled,
                State::Checking => &mut counts.checking,
                State::Connecting => &mut counts.connecting,
                State::Idle => &mut counts.idle,
                State::Leased(_) => &mut counts.leased,
                State::Tidying => &mut counts.tidying,
            } += 1;
        }
        counts
    }
}
