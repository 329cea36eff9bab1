//! What must be true of a scheduler, told from its actions alone: plain lists, no cleverness.

use crate::base::ids::ClientId;
use crate::base::ids::PoolId;
use crate::base::ids::WorkerId;
use crate::scheduler::CloseReason;
use crate::scheduler::Counts;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolSpec;
use crate::scheduler::Refusal;
use crate::scheduler::SlotRef;
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
}

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) client: ClientId,
    pub(super) deadline: Option<Instant>,
    pub(super) since: Instant,
    /// Lower came first.
    pub(super) order: i64,
    pub(super) again: bool,
}

pub(super) struct Model {
    pub(super) host: HostLimits,
    pub(super) pools: Vec<PoolSpec>,
    pub(super) servers: Vec<Server>,
    pub(super) lines: Vec<Vec<Waiter>>,
    pub(super) ramp: u32,
    /// Servers that were evicted and have not been replaced yet.
    evicted: Vec<Server>,
    orders: (i64, i64),
}

impl Model {
    pub(super) fn new(host: HostLimits) -> Self {
        let (pools, servers, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { host, pools, servers, lines, ramp: 4, evicted: Vec::new(), orders: (0, 0) }
    }

    pub(super) fn spec(&self, pool: PoolId) -> &PoolSpec {
        &self.pools[pool.0 as usize]
    }

    pub(super) fn line(&mut self, pool: PoolId) -> &mut Vec<Waiter> {
        &mut self.lines[pool.0 as usize]
    }

    pub(super) fn waiting(&self, pool: PoolId) -> usize {
        self.lines[pool.0 as usize].len()
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

    pub(super) fn count(&self, pool: PoolId, state: State) -> usize {
        self.of(pool).filter(|server| server.state == state).count()
    }

    pub(super) fn live(&self, pool: PoolId) -> usize {
        self.of(pool).filter(|server| server.state != State::Connecting).count()
    }

    pub(super) fn enqueue(&mut self, pool: PoolId, mut waiter: Waiter) {
        if waiter.again {
            self.orders.0 -= 1;
            waiter.order = self.orders.0;
            self.line(pool).insert(0, waiter);
        } else {
            self.orders.1 += 1;
            waiter.order = self.orders.1;
            self.line(pool).push(waiter);
        }
    }

    /// Removes a client from wherever it waits.
    pub(super) fn unqueue(&mut self, client: ClientId) -> (PoolId, Waiter) {
        for pool in self.pool_ids() {
            if let Some(at) = self.line(pool).iter().position(|waiter| waiter.client == client) {
                return (pool, self.line(pool).remove(at));
            }
        }
        panic!("{client:?} does not wait");
    }

    /// A server goes back, before any action says otherwise.
    pub(super) fn put_back(&mut self, now: Instant, slot: SlotRef, home: WorkerId) {
        let server = self.server(slot);
        server.state = if server.cancels > 0 { State::BeingCanceled } else { State::Idle };
        (server.since, server.home) = (now, home);
    }

    pub(super) fn remove(&mut self, slot: SlotRef) {
        let before = self.servers.len();
        self.servers.retain(|server| server.slot != slot);
        assert_eq!(self.servers.len(), before - 1, "vacated twice");
    }

    fn in_group(&self, pool: PoolId, group: (u8, &str)) -> bool {
        let spec = self.spec(pool);
        match group.0 {
            0 => spec.database == group.1,
            1 => spec.user == group.1,
            _ => true,
        }
    }

    fn groups(&self, pool: PoolId) -> [((u8, &str), u32); 3] {
        let spec = self.spec(pool);
        let unlimited = |max: u32| if max == 0 { u32::MAX } else { max };
        [
            ((0, spec.database.as_str()), unlimited(spec.limits.database_max)),
            ((1, spec.user.as_str()), unlimited(spec.limits.user_max)),
            ((2, ""), self.host.max_connections.unwrap_or(u32::MAX)),
        ]
    }

    fn open_in(&self, group: (u8, &str)) -> u32 {
        let open = self.servers.iter().filter(|server| self.in_group(server.slot.pool, group));
        u32::try_from(open.count()).expect("few")
    }

    fn longest_wait(&self, now: Instant, pool: PoolId) -> Duration {
        let waits = self.lines[pool.0 as usize].iter().map(|waiter| now - waiter.since);
        waits.max().unwrap_or_default()
    }

    fn cap(&self, now: Instant, pool: PoolId) -> usize {
        let limits = &self.spec(pool).limits;
        let waited = self.longest_wait(now, pool);
        let reserve = limits.reserve_timeout.is_some_and(|timeout| waited > timeout);
        (limits.size + if reserve { limits.reserve } else { 0 }) as usize
    }

    pub(super) fn on_grant(&mut self, now: Instant, client: ClientId, slot: SlotRef, conn: u64) {
        let first = self.line(slot.pool).remove(0);
        assert_eq!(first.client, client, "served out of turn");
        self.on_lend(now, client, slot, conn);
    }

    pub(super) fn on_lend(&mut self, now: Instant, client: ClientId, slot: SlotRef, conn: u64) {
        let check_delay = self.spec(slot.pool).limits.check_delay;
        let server = self.server(slot);
        assert_eq!((server.state, server.conn), (State::Idle, conn));
        assert_eq!(server.cancels, 0, "a late cancel would hit somebody else");
        assert!(check_delay.is_none_or(|delay| now - server.since <= delay), "lent unchecked");
        (server.state, server.since) = (State::Leased(client), now);
    }

    pub(super) fn on_check(&mut self, now: Instant, slot: SlotRef) {
        let delay = self.spec(slot.pool).limits.check_delay.expect("checks are on");
        let server = self.server(slot);
        assert_eq!(server.state, State::Idle);
        assert!(now - server.since > delay, "checked for nothing");
        (server.state, server.since) = (State::Checking, now);
    }

    pub(super) fn on_close(&mut self, now: Instant, pool: PoolId, conn: u64, why: CloseReason) {
        let server = self.servers.iter().find(|server| server.conn == conn).expect("it is open");
        assert_eq!((server.slot.pool, server.state), (pool, State::Idle));
        let limits = &self.spec(pool).limits;
        let slot = server.slot;
        match why {
            CloseReason::Dead => {}
            CloseReason::Evicted => self.evicted.push(server.clone()),
            CloseReason::IdleTimeout => {
                assert!(now - server.since >= limits.idle_timeout.expect("there is one"));
                assert!(self.open_of(pool) > limits.min.min(limits.size), "below the least");
            }
            CloseReason::Lifetime => {
                let age = now - server.connected_at;
                assert!(age >= limits.lifetime.expect("there is one").mul_f64(0.9), "too young");
            }
            CloseReason::Shrunk => {
                let over = self.open_of(pool) > limits.size + limits.reserve;
                let over_group =
                    self.groups(pool).iter().any(|(group, max)| self.open_in(*group) > *max);
                assert!(over || over_group, "nothing was too large");
            }
        }
        self.remove(slot);
    }

    fn open_of(&self, pool: PoolId) -> u32 {
        u32::try_from(self.of(pool).count()).expect("few")
    }

    /// `in_tick`: also for nobody, to keep the least size or to try again. `is_well`: the pools that
    /// can log in, as far as is known.
    pub(super) fn on_connect(
        &mut self,
        now: Instant,
        slot: SlotRef,
        in_tick: bool,
        is_well: impl Fn(PoolId) -> bool,
    ) {
        let pool = slot.pool;
        let first = self.unprovided(pool);
        assert!(first.is_some() || in_tick, "nobody waits for it");
        let evicted = std::mem::take(&mut self.evicted);
        if evicted.is_empty() && !in_tick {
            let came_first = |other: &PoolId| {
                is_well(*other)
                    && self.unprovided(*other).is_some_and(|order| Some(order) < first)
                    && self.of(*other).count() < self.spec(*other).limits.size as usize
                    && self.groups(*other).iter().all(|(group, max)| self.open_in(*group) < *max)
            };
            assert_eq!(self.pool_ids().find(came_first), None, "connects out of turn");
        }
        for victim in evicted {
            self.check_evicted(now, pool, &victim);
        }
        let server = Server {
            slot,
            state: State::Connecting,
            conn: 0,
            cancels: 0,
            home: WorkerId::MAIN,
            since: now,
            connected_at: now,
        };
        self.servers.push(server);
        assert!(self.of(pool).count() <= self.cap(now, pool), "{pool:?} is over its size");
        for (group, max) in self.groups(pool) {
            assert!(self.open_in(group) <= max, "{group:?} is over its cap");
        }
        let connecting = self.servers.iter().filter(|server| server.state == State::Connecting);
        assert!(connecting.count() <= self.ramp as usize, "too many connects at once");
    }

    /// The order of the first waiter for whom no server is under way.
    fn unprovided(&self, pool: PoolId) -> Option<i64> {
        let under_way = self.count(pool, State::Connecting) + self.count(pool, State::Checking);
        self.lines[pool.0 as usize].get(under_way).map(|waiter| waiter.order)
    }

    /// Before `pool` opens its server in this one's place.
    fn check_evicted(&self, now: Instant, pool: PoolId, victim: &Server) {
        let from = victim.slot.pool;
        assert_ne!(from, pool, "evicted for itself");
        let groups = self.groups(pool);
        let shared = || groups.iter().filter(|(group, _)| self.in_group(from, *group));
        let was_full = shared().any(|(group, max)| self.open_in(*group) + 1 == *max);
        assert!(was_full, "evicted for nothing");
        if let Some(next) = self.lines[from.0 as usize].first() {
            let first = &self.lines[pool.0 as usize][0];
            assert_eq!(self.of(pool).count(), 0, "took a server from waiters");
            assert!(first.order < next.order, "took a server out of turn");
            assert!(now - first.since >= Duration::from_millis(100), "thrashes");
            return;
        }
        let would_do = |other: &&Server| {
            other.state == State::Idle
                && other.slot.pool != pool
                && self.waiting(other.slot.pool) == 0
                && shared().all(|(group, _)| self.in_group(other.slot.pool, *group))
        };
        let longest = self.servers.iter().filter(would_do).map(|other| other.since).min();
        assert!(longest.is_none_or(|longest| longest >= victim.since), "not the longest idle");
    }

    pub(super) fn on_refuse(&mut self, now: Instant, client: ClientId, refusal: &Refusal<u32>) {
        let (pool, waiter) = self.unqueue(client);
        let is_late = waiter.deadline.is_some_and(|deadline| deadline <= now);
        self.check_refusal(now, pool, refusal, is_late);
        if let Refusal::WaitTimeout { waited, .. } = refusal {
            assert!(is_late, "refused too early");
            assert_eq!(*waited, now - waiter.since);
        }
    }

    /// `is_late`: the waiter's time was up, so that it is told at once what the trouble is.
    pub(super) fn check_refusal(
        &self,
        now: Instant,
        pool: PoolId,
        refusal: &Refusal<u32>,
        is_late: bool,
    ) {
        match refusal {
            Refusal::LoginFailed { .. } => assert_eq!(self.live(pool), 0),
            Refusal::ServerDown { since, .. } => {
                assert_eq!(self.live(pool), 0);
                let held = now - *since >= self.host.down_hold;
                assert!(held || is_late, "gave up too early");
            }
            Refusal::WaitTimeout { .. } => {}
        }
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

    /// After every step. `may_try`: whether a connection may be opened, as far as health goes;
    /// `None` if that changed since the scheduler last looked.
    pub(super) fn check(&self, now: Instant, ticked: bool, may_try: impl Fn(PoolId) -> bool) {
        assert!(self.evicted.is_empty(), "evicted for nobody");
        for pool in self.pool_ids() {
            self.check_idle(now, pool);
            if ticked {
                self.check_times(now, pool);
            }
            if may_try(pool) {
                self.check_grown(now, pool, ticked);
            }
        }
    }

    fn check_idle(&self, now: Instant, pool: PoolId) {
        let delay = self.spec(pool).limits.check_delay;
        let idle = || self.of(pool).filter(|server| server.state == State::Idle);
        let is_fresh = |server: &Server| delay.is_none_or(|delay| now - server.since <= delay);
        if self.waiting(pool) > 0 {
            assert!(!idle().any(is_fresh), "idle while somebody waits in {pool:?}");
            let checking = self.count(pool, State::Checking);
            assert!(idle().count() == 0 || checking >= self.waiting(pool), "not even checked");
        }
        let limits = &self.spec(pool).limits;
        if idle().count() > 0 {
            assert!(self.open_of(pool) <= limits.size + limits.reserve, "did not shrink");
            for (group, max) in self.groups(pool) {
                assert!(self.open_in(group) <= max, "{group:?} did not shrink");
            }
        }
        assert!(idle().all(|server| server.cancels == 0));
    }

    fn check_times(&self, now: Instant, pool: PoolId) {
        for waiter in &self.lines[pool.0 as usize] {
            assert!(waiter.deadline.is_none_or(|deadline| deadline > now), "waits too long");
        }
        let limits = &self.spec(pool).limits;
        for server in self.of(pool).filter(|server| server.state == State::Idle) {
            let idle = limits.idle_timeout.is_some_and(|timeout| now - server.since >= timeout);
            let spare = self.open_of(pool) > limits.min.min(limits.size);
            assert!(!(idle && spare), "idle for too long");
            let age = now - server.connected_at;
            assert!(limits.lifetime.is_none_or(|life| age < life.mul_f64(1.1)), "too old");
        }
    }

    /// Nobody waits for a server that could be opened.
    fn check_grown(&self, now: Instant, pool: PoolId, ticked: bool) {
        let under_way = self.count(pool, State::Connecting) + self.count(pool, State::Checking);
        let connecting = self.servers.iter().filter(|server| server.state == State::Connecting);
        let size = self.spec(pool).limits.size as usize;
        let cap = if ticked { self.cap(now, pool) } else { size };
        if self.waiting(pool) <= under_way
            || self.of(pool).count() >= cap
            || connecting.count() >= self.ramp as usize
        {
            return;
        }
        // Any choice of other pools' spare servers, one of each, that would make room.
        let spare: Vec<_> = self
            .pool_ids()
            .filter(|other| {
                *other != pool && self.waiting(*other) == 0 && self.count(*other, State::Idle) > 0
            })
            .collect();
        for choice in 0..1_u32 << spare.len() {
            let chosen =
                || (0..spare.len()).filter(|at| choice & (1 << at) != 0).map(|at| spare[at]);
            let has_room = self.groups(pool).iter().all(|(group, max)| {
                let freed = chosen().filter(|victim| self.in_group(*victim, *group)).count();
                (self.open_in(*group) as usize) < (*max as usize) + freed
            });
            assert!(!has_room, "{pool:?} could have another server");
        }
    }
}
