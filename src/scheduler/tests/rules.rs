//! What must be true of every action of a scheduler, and of its state after every step.

use super::accounts::{Seat, Sure};
use super::model::{Model, Server, State, Waiter};
use crate::base::ids::{ClientId, PoolId, WorkerId};
use crate::config::classes::Priority;
use crate::config::overload::Shed;
use crate::scheduler::CloseReason;
use crate::scheduler::Refusal;
use crate::scheduler::Scope;
use crate::scheduler::Shedding;
use crate::scheduler::SlotRef;
use std::time::{Duration, Instant};

/// A priority is passed over so often before it is served out of turn.
const FLOOR: u32 = 19;

impl Model {
    pub(super) fn on_grant(&mut self, now: Instant, client: ClientId, slot: SlotRef, conn: u64) {
        let pool = slot.pool;
        let waiters = self.line(pool).iter();
        let next = waiters.clone().find(|waiter| waiter.client == client).expect("it waits");
        let next = next.clone();
        self.next_is(now, pool, &next);
        let worth = self.is_worth_sharing(pool, next.ride, |other| self.was_there(now, other));
        assert!(worth.is_none() || self.has_place(pool), "lent to one alone");
        self.on_lend(now, (client, next.seat), slot, conn);
    }

    /// Somebody waits no more: whose turn it must be.
    pub(super) fn next_is(&mut self, now: Instant, pool: PoolId, next: &Waiter) {
        self.check_order(now, pool, next);
        self.check_turn(now, pool, next.seat);
        self.unqueue(next.client);
    }

    /// Who may certainly have a server and waited already when others were served in this step.
    fn stays(&self, now: Instant, pool: PoolId) -> impl Iterator<Item = &Waiter> {
        let eligible = self.eligible(now, pool, Sure::Certainly);
        eligible.filter(move |waiter| self.was_there(now, waiter))
    }

    /// Within a class: who came first, of those whose address may have one.
    fn check_order(&self, now: Instant, pool: PoolId, next: &Waiter) {
        let class = next.seat.class;
        let came_before = |other: &&Waiter| other.seat.class == class && other.order < next.order;
        if !self.reversed.contains(&(pool, class)) {
            let first = self.stays(now, pool).find(came_before);
            assert!(first.is_none(), "served out of turn: {next:?} before {first:?}");
        }
    }

    /// Between classes: whose guarantee is not met, then by priority, with a floor; unless it was
    /// kept for one that comes back.
    fn check_turn(&mut self, now: Instant, pool: PoolId, next: Seat) {
        let may_be_kept = self.kept[pool.0 as usize] > 0;
        let level = |seat: Seat| self.accounts.of(seat.class).priority as usize;
        let served = level(next);
        let is_guaranteed = self.accounts.is_guaranteed(next.class);
        let mut waits = [false; 3];
        for waiter in self.stays(now, pool) {
            let is_owed = self.accounts.is_guaranteed(waiter.seat.class);
            assert!(
                is_guaranteed || !is_owed || may_be_kept,
                "lent what is kept back for {waiter:?}"
            );
            waits[level(waiter.seat)] = true;
        }
        // What is idle and kept for some is not for those below them, who are passed over by nobody.
        let is_passed = !may_be_kept && self.returned != Some((pool, next.class, now));
        let passed = &mut self.passed_over[pool.0 as usize];
        if waits[..served].contains(&true) && !is_guaranteed && !may_be_kept {
            assert!(passed.perhaps[served] >= FLOOR, "served before a higher priority");
        }
        for (lower, waits) in waits.into_iter().enumerate().skip(served + 1) {
            let is_due = waits && passed.certainly[lower] >= FLOOR;
            assert!(is_guaranteed || !is_due || may_be_kept, "passed over too often");
            passed.perhaps[lower] += 1;
            passed.certainly[lower] += u32::from(waits && is_passed);
        }
        (passed.perhaps[served], passed.certainly[served]) = (0, 0);
    }

    pub(super) fn on_lend(
        &mut self,
        now: Instant,
        (client, seat): (ClientId, Seat),
        slot: SlotRef,
        conn: u64,
    ) {
        let check_delay = self.spec(slot.pool).limits.check_delay;
        assert!(!self.is_paused(slot.pool), "lent in a pause");
        let server = self.server(slot);
        assert!(!server.is_retired, "lent a retired server");
        assert_eq!((server.state, server.conn), (State::Idle, conn));
        assert_eq!(server.cancels, 0, "a late cancel would hit somebody else");
        assert!(check_delay.is_none_or(|delay| now - server.since <= delay), "lent unchecked");
        (server.state, server.since) = (State::Leased(client), now);
        server.hold = Some((seat, now));
        self.accounts.begin(now, seat);
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
            CloseReason::Dead | CloseReason::Shutdown => {}
            CloseReason::Evicted => self.evicted.push(server.clone()),
            CloseReason::IdleTimeout => {
                assert!(now - server.since >= limits.idle_timeout.expect("there is one"));
                assert!(self.open_of(pool) > limits.min.min(limits.size), "below the least");
            }
            CloseReason::Lifetime => {
                let age = now - server.connected_at;
                assert!(age >= limits.lifetime.expect("there is one").mul_f64(0.9), "too young");
            }
            CloseReason::Paused => assert!(self.is_paused(pool), "closed for no pause"),
            CloseReason::Retired => assert!(server.is_retired, "it was not retired"),
            CloseReason::Shrunk => {
                let over = self.open_of(pool) > limits.size + limits.reserve;
                let over_group =
                    self.groups(pool).iter().any(|(group, max)| self.open_in(*group) > *max);
                assert!(over || over_group, "nothing was too large");
            }
        }
        self.remove(now, slot);
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
        let wanted = self.ready(now, pool, Sure::Perhaps) + self.following(pool);
        let is_wanted = wanted > self.under_way(pool);
        assert!(is_wanted || in_tick, "nobody waits for it");
        assert!(!self.is_paused(pool), "opened in a pause");
        let evicted = std::mem::take(&mut self.evicted);
        if evicted.is_empty() && !in_tick && self.is_clear(now, pool) {
            let first = self.unprovided(now, pool);
            let comes_first = |other: &PoolId| {
                is_well(*other)
                    && self.is_clear(now, *other)
                    && self.unprovided(now, *other).is_some_and(|rank| Some(rank) < first)
                    && self.open_of(*other) < self.spec(*other).limits.size
                    && self.groups(*other).iter().all(|(group, max)| self.open_in(*group) < *max)
            };
            assert_eq!(self.pool_ids().find(comes_first), None, "connects out of turn");
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
            hold: None,
            is_retired: false,
            share: None,
        };
        self.servers.push(server);
        assert!(self.open_of(pool) <= self.cap(now, pool, Sure::Perhaps), "{pool:?} is too large");
        for (group, max) in self.groups(pool) {
            assert!(self.open_in(group) <= max, "{group:?} is over its cap");
        }
        let connecting = self.servers.iter().filter(|server| server.state == State::Connecting);
        assert!(connecting.count() <= self.ramp as usize, "too many connects at once");
    }

    /// Which pool is next to get a server, of those in which somebody waits for whom none is under
    /// way: the least is.
    fn unprovided(&self, now: Instant, pool: PoolId) -> Option<(bool, Priority, u32, i64)> {
        let under_way = self.under_way(pool);
        let hungry = self.hungry(now, pool)?;
        let is_wanted = self.ready(now, pool, Sure::Certainly) > under_way;
        is_wanted.then_some((!hungry.is_owed, hungry.priority, under_way, hungry.order))
    }

    /// Before `pool` opens its server in this one's place.
    fn check_evicted(&self, now: Instant, pool: PoolId, victim: &Server) {
        let from = victim.slot.pool;
        assert_ne!(from, pool, "evicted for itself");
        let groups = self.groups(pool);
        let shared = || groups.iter().filter(|(group, _)| self.in_group(from, *group));
        let was_full = shared().any(|(group, max)| self.open_in(*group) + 1 == *max);
        assert!(was_full, "evicted for nothing");
        // A tick takes out all whose time is up, and then says so one by one.
        let is_late = |waiter: &Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now);
        let is_told = !self.line(from).iter().any(is_late);
        if !is_told || !self.is_clear(now, pool) || !self.is_clear(now, from) {
            return;
        }
        if let Some(own) = self.hungry(now, from) {
            let first = self.hungry(now, pool).expect("somebody waits for it");
            let (open, had) = (self.open_of(pool), self.open_of(from) + 1);
            let is_share = (open + 1) * own.weight <= (had - 1) * first.weight;
            let is_turn = open == 0 && first.order < own.order;
            let is_better = (!first.is_owed, first.priority) < (!own.is_owed, own.priority);
            let is_fair = (is_share || is_turn) && !own.is_owed;
            assert!(is_better || is_fair, "took one from waiters");
            assert!(now - first.since >= Duration::from_millis(100), "thrashes");
            let stayed = now - victim.connected_at;
            assert!(stayed >= Duration::from_millis(100), "moves on after {stayed:?}");
            return;
        }
        let would_do = |other: &&Server| {
            other.state == State::Idle
                && other.slot.pool != pool
                && self.ready(now, other.slot.pool, Sure::Perhaps) == 0
                && shared().all(|(group, _)| self.in_group(other.slot.pool, *group))
        };
        let longest = self.servers.iter().filter(would_do).map(|other| other.since).min();
        assert!(longest.is_none_or(|longest| longest >= victim.since), "not the longest idle");
    }

    pub(super) fn on_refuse(&mut self, now: Instant, client: ClientId, refusal: &Refusal<u32>) {
        let (pool, waiter) = self.unqueue(client);
        let is_late = waiter.deadline.is_some_and(|deadline| deadline <= now);
        self.check_refusal(now, (pool, waiter.seat), refusal, is_late);
        match refusal {
            Refusal::WaitTimeout { waited, .. } => {
                assert!(is_late, "refused too early");
                assert_eq!(*waited, now - waiter.since);
            }
            Refusal::QueueFull { scope: Scope::Host, .. } => {
                // Its place went to somebody who has just come, with a higher priority.
                let priority = |waiter: &Waiter| self.accounts.of(waiter.seat.class).priority;
                let own = priority(&waiter);
                let mut others = self.lines.iter().flatten();
                assert!(others.any(|other| priority(other) < own), "it had been let in");
            }
            Refusal::QueueFull { .. } | Refusal::RateLimited { .. } => panic!("it had been let in"),
            Refusal::Shed { .. } => {
                let resumed_at = self.resumed_at[pool.0 as usize];
                assert!(resumed_at.is_none_or(|at| waiter.since >= at), "shed for a pause");
                // What is served after this, in the same step, may be the newest first.
                self.reversed.insert((pool, waiter.seat.class));
            }
            _ => {}
        }
    }

    /// `is_late`: the waiter's time was up, so that it is told at once what the trouble is.
    pub(super) fn check_refusal(
        &mut self,
        now: Instant,
        (pool, seat): (PoolId, Seat),
        refusal: &Refusal<u32>,
        is_late: bool,
    ) {
        self.accounts.tally(seat.class).refused += 1;
        self.accounts.check_refusal(now, seat, refusal);
        let is_by_limit = matches!(
            refusal,
            Refusal::QueueFull { .. } | Refusal::RateLimited { .. } | Refusal::WaitTimeout { .. }
        );
        assert!(is_by_limit || !self.is_paused(pool), "refused in a pause");
        match refusal {
            Refusal::LoginFailed { .. } => assert_eq!(self.live(pool), 0),
            Refusal::QueueFull { scope: Scope::Host, limit } => {
                let waiting: usize = self.lines.iter().map(Vec::len).sum();
                assert_eq!(*limit, self.host.max_queued);
                assert!(waiting >= *limit as usize, "there was room");
            }
            Refusal::ServerDown { since, .. } => {
                assert_eq!(self.live(pool), 0);
                let held = now - *since >= self.host.down_hold;
                assert!(held || is_late, "gave up too early");
            }
            Refusal::Shed { why, limit, .. } => {
                self.check_shed(now, seat, *why, *limit);
                self.accounts.tally(seat.class).shed(now);
                self.accounts.tally(seat.class).decide(false);
            }
            Refusal::WaitTimeout { .. } => self.accounts.tally(seat.class).decide(false),
            _ => {}
        }
    }

    /// For each of the reasons it would wait for longer than it may, or has.
    fn check_shed(&mut self, now: Instant, seat: Seat, why: Shedding, limit: Duration) {
        let priority = self.accounts.of(seat.class).priority;
        match self.host.shed {
            Shed::Off => panic!("shed though that is off"),
            Shed::Auto => {
                let gave_up = self.accounts.tally(seat.class).gave_up;
                assert!(gave_up >= 3, "shed though {gave_up} gave up");
            }
            Shed::Within(longest) => {
                // Of what a normal one may wait for: while the line stands, and otherwise.
                let least = match priority {
                    Priority::Critical => 1.0,
                    Priority::Normal => 0.625,
                    Priority::Sheddable => 0.3125,
                };
                assert!(limit >= longest.mul_f64(least * 0.999), "only {limit:?} of {longest:?}");
            }
        }
        let (Shedding::Predicted(wait) | Shedding::Throttled(wait) | Shedding::Waited(wait)) = why;
        assert!(wait > limit, "refused for {wait:?}, and may wait {limit:?}");
        if matches!(why, Shedding::Throttled(_)) {
            assert_ne!(priority, Priority::Critical, "refused with others");
            let are_refused = self.accounts.tally(seat.class).are_nearly_all_refused(now);
            assert!(are_refused, "refused with others who are not");
        }
    }

    /// After every step. `may_try`: whether a connection may be opened, as far as health goes.
    pub(super) fn check(&self, now: Instant, ticked: bool, may_try: impl Fn(PoolId) -> bool) {
        assert!(self.evicted.is_empty(), "evicted for nobody");
        for pool in self.pool_ids() {
            self.check_idle(now, pool);
            self.check_room(now, pool);
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
        assert!(!self.is_paused(pool) || idle().count() == 0, "idle in a pause");
        assert!(idle().all(|server| !server.is_retired), "retired, and still there");
        let ready = self.ready(now, pool, Sure::Certainly);
        if ready > 0 {
            let kept = self.kept[pool.0 as usize] as usize;
            let fresh = idle().filter(|server| is_fresh(server)).count();
            assert!(fresh <= kept, "idle while somebody waits in {pool:?}");
            let is_new =
                |(of, at): &&(PoolId, Instant)| *of == pool && now - *at < Duration::from_millis(2);
            let returned = self.returns.iter().filter(is_new).count();
            assert!(!self.is_told || kept <= returned, "kept for too long in {pool:?}");
            let checking = self.count(pool, State::Checking);
            assert!(idle().count() <= kept || checking >= ready, "not even checked");
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
        for waiter in self.line(pool) {
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
        let connecting = self.servers.iter().filter(|server| server.state == State::Connecting);
        let size = self.spec(pool).limits.size;
        let cap = if ticked { self.cap(now, pool, Sure::Certainly) } else { size };
        if self.ready(now, pool, Sure::Certainly) <= self.under_way(pool)
            || self.open_of(pool) >= cap
            || connecting.count() >= self.ramp as usize
        {
            return;
        }
        // Any choice of other pools' spare servers, one of each, that would make room.
        let spare: Vec<_> = self
            .pool_ids()
            .filter(|other| {
                *other != pool
                    && self.ready(now, *other, Sure::Perhaps) == 0
                    && (self.is_told || !self.accounts.has_clock(self.line(*other)))
                    && self.count(*other, State::Idle) > 0
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
