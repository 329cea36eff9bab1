//! Opening servers for those who wait, as fast as caps, ramp and health allow, and closing those of
//! other pools whose place under a shared cap is needed.

use super::Scheduler;
use super::caps::{GroupId, Groups};
use super::terms::{
    Action, CloseReason, ConnectFailure, FailureScope, Lease, SharedCap, SharedFull, Site, SlotRef,
};
use super::turn::FirstReady;
use crate::base::ids::{PoolId, WorkerId};
use crate::config::classes::Priority;
use std::time::{Duration, Instant};

/// How long somebody waits in a pool that has too few servers before a busy pool loses one for it.
///
/// A pool with waiters of its own makes good use of the server, and opening another costs Postgres
/// a fork and a login, about 10 ms.
const STARVED_AFTER: Duration = Duration::from_millis(100);

/// How long a server works before its place moves on. In a standing queue everybody has waited for long, so that
/// without this more pools than places would mean a connection per transaction.
const STAYS: Duration = Duration::from_millis(100);

/// By how much a lifetime differs either way.
const LIFETIME_JITTER: f64 = 0.1;

/// Which pool is next to get a connection: the least is.
type Rank = (bool, Priority, u32, u64);

/// Which pool is next to get the place of another's server: the least is.
type Urgency = (bool, Priority, u64, PoolId);

/// The servers to close for another: at most one per shared cap.
pub(super) type Victims = [Option<u32>; 3];

impl<S: Site> Scheduler<S> {
    pub fn connected(&mut self, now: Instant, lease: Lease<S::Conn>, key: S::Key, home: WorkerId) {
        let (slot, stretch) =
            (lease.slot, 1.0 + LIFETIME_JITTER * (2.0 * self.random.unit() - 1.0));
        self.slots.arrived(now, slot, key, stretch);
        let lifetime = self.of(slot.pool).limits.lifetime;
        self.slots.at_mut(slot.index).set_lifetime(lifetime);
        if !self.slots.at(slot.index).is_retired {
            self.ramp.worked();
            self.host.worked();
            self.of_mut(slot.pool).login.worked();
        }
        self.shelve(now, lease, home);
        // The ramp has widened and the host may be known to be well again: not only for this pool.
        self.grow(now);
    }

    pub fn connect_failed(
        &mut self,
        now: Instant,
        slot: SlotRef,
        failure: ConnectFailure<S::Error>,
    ) {
        if !self.slots.is_current(slot) {
            return;
        }
        let started = self.slots.at(slot.index).since;
        let was_retired = self.slots.at(slot.index).is_retired;
        self.slots.vacate(now, slot.index);
        self.gone(slot.pool);
        if was_retired {
            // It says nothing of where the pool leads now.
            return self.settle(now, slot.pool);
        }
        let draw = self.random.unit();
        let ConnectFailure { definitive, error, scope } = failure;
        match scope {
            FailureScope::Host => {
                self.host.failed(now, started, (error, false), draw);
                // Not for a pool's failures: one wrong password must not slow the others down.
                self.ramp.failed();
            }
            FailureScope::Pool => {
                self.host.worked();
                self.of_mut(slot.pool).login.failed(now, started, (error, definitive), draw);
            }
        }
        self.refuse_all_hopeless(now);
        self.grow(now);
    }

    /// Opens a connection for every waiter that none is under way for, in order of arrival.
    pub(super) fn grow(&mut self, now: Instant) {
        while let Some((pool, victims)) = self.next_connect(now) {
            self.replace(now, victims, pool);
        }
    }

    pub(super) fn replace(&mut self, now: Instant, victims: Victims, pool: PoolId) {
        for victim in victims.into_iter().flatten() {
            self.close_idle(now, victim, CloseReason::Evicted);
        }
        self.connect(now, pool);
    }

    pub(super) fn connect(&mut self, now: Instant, pool: PoolId) {
        let slot = self.slots.open(now, pool);
        self.actions.push_back(Action::Connect { slot });
    }

    /// Vacates an idle slot.
    pub(super) fn close_idle(&mut self, now: Instant, index: u32, why: CloseReason) {
        let pool = self.slots.at(index).pool;
        let conn = self.slots.vacate(now, index).expect("an idle slot has its server");
        self.actions.push_back(Action::Close { conn, pool, why });
        self.gone(pool);
    }

    /// The pool that a connection is opened for next: of those in which somebody waits for whom none
    /// is under way, one that is owed what is reserved, then the highest priority, then the one that has the fewest under way,
    /// then the one whose waiter came first.
    fn next_connect(&self, now: Instant) -> Option<(PoolId, Victims)> {
        if self.queue.is_empty() || !self.may_connect(now) {
            return None;
        }
        let host = self.slots.groups.of(Groups::HOST);
        // The usual state under load, and then nothing below could find anything.
        if host.is_full() && host.idle == 0 {
            return None;
        }
        // So is this, where classes are at their quota in many pools.
        if !self.queue.fronts.hungry().iter().any(|class| self.class_allowance(now, *class) > 0) {
            return None;
        }
        let mut first: Option<(Rank, PoolId, Victims)> = None;
        for &pool in self.queue.hungry() {
            let Some(rank) = self.unprovided(now, pool) else { continue };
            if first.as_ref().is_none_or(|(other, ..)| rank < *other)
                && let Ok(victims) = self.room_for(now, pool)
            {
                first = Some((rank, pool, victims));
            }
        }
        first.map(|(_, pool, victims)| (pool, victims))
    }

    pub(super) fn may_connect(&self, now: Instant) -> bool {
        self.slots.host_counts().connecting < self.ramp.limit() && self.host.may_try(now)
    }

    /// Whether another server can be opened without closing any.
    pub(super) fn may_add(&self, now: Instant, pool: PoolId) -> bool {
        let mut groups = self.slots.groups_of(pool).into_iter();
        self.may_connect(now)
            && self.may_open(now, pool)
            && groups.all(|group| !self.slots.groups.of(group).is_full())
    }

    /// Whether the pool itself, by its cap and its login, allows another connection.
    pub(super) fn may_open(&self, now: Instant, pool: PoolId) -> bool {
        let login = &self.of(pool).login;
        let counts = self.slots.counts(pool);
        let is_probing = login.is_troubled() && counts.connecting > 0;
        !self.is_paused(pool)
            && login.may_try(now)
            && !is_probing
            && counts.open() < self.cap(now, pool)
    }

    /// Where a pool stands that needs another connection and may have one.
    fn unprovided(&self, now: Instant, pool: PoolId) -> Option<Rank> {
        if !self.may_open(now, pool) {
            return None;
        }
        let counts = self.slots.counts(pool);
        let under_way = counts.connecting + counts.checking;
        // Who is aboard a server behind others waits, too, but need not.
        let followers = self.shared.rides(pool).followers;
        if self.ready(now, pool).saturating_add(followers) <= under_way {
            return None;
        }
        let first = self.first_ready(now, pool)?;
        Some((!first.is_owed, first.priority, under_way, first.arrival))
    }

    fn cap(&self, now: Instant, pool: PoolId) -> u32 {
        let limits = &self.of(pool).limits;
        // The reserve is looked at only where it matters.
        let is_short = self.slots.counts(pool).open() >= limits.size && limits.reserve > 0;
        let may_use_reserve = is_short
            && limits
                .reserve_timeout
                .is_some_and(|timeout| self.queue.longest_wait(now, pool) > timeout);
        if may_use_reserve { limits.size.saturating_add(limits.reserve) } else { limits.size }
    }

    /// Which servers to close so that `pool` can open one under the shared caps; `None` if that
    /// cannot be had.
    ///
    /// All or nothing: a server closed for one cap is lost for nothing if another cap stays full.
    /// The host comes last, because whatever makes room in a database or a user does so there too.
    ///
    /// # Errors
    ///
    /// The first cap that stays full.
    pub(super) fn room_for(&self, now: Instant, pool: PoolId) -> Result<Victims, SharedFull> {
        let mut victims = Victims::default();
        for (at, group) in self.slots.groups_of(pool).into_iter().enumerate() {
            let chosen = victims.iter().flatten().filter(|victim| self.counts_in(**victim, group));
            let open = self.slots.groups.of(group).open
                - u32::try_from(chosen.count()).expect("three at most");
            if self.slots.groups.of(group).is_over() {
                // A lowered limit: closing one does not help.
                return Err(self.full(at, group));
            }
            let max = self.slots.groups.of(group).max;
            if open == max {
                let idle = self.longest_idle(now, group, pool);
                victims[at] = Some(idle.ok_or_else(|| self.full(at, group))?);
            }
        }
        Ok(victims)
    }

    /// The cap at this place of those that a pool counts in.
    fn full(&self, at: usize, group: GroupId) -> SharedFull {
        let cap = [SharedCap::Database, SharedCap::User, SharedCap::Host][at];
        let limit = self.slots.groups.of(group).max;
        // Connections that are set apart are taken off what the host may have.
        let limit = if cap == SharedCap::Host { limit.saturating_add(self.apart) } else { limit };
        SharedFull { cap, limit }
    }

    /// The longest idle server that counts in `group`, of a pool that can spare it.
    fn longest_idle(&self, now: Instant, group: GroupId, except: PoolId) -> Option<u32> {
        if self.slots.groups.of(group).idle == 0 {
            return None;
        }
        let others = self.slots.pools().filter(|pool| {
            *pool != except
                && self.slots.groups_of(*pool).contains(&group)
                && self.ready(now, *pool) == 0
        });
        let fronts = others.filter_map(|pool| self.slots.longest_idle(pool));
        fronts.min_by_key(|index| self.slots.at(*index).since)
    }

    fn counts_in(&self, index: u32, group: GroupId) -> bool {
        self.slots.groups_of(self.slots.at(index).pool).contains(&group)
    }

    /// The pool that a server of `busy`, which has waiters of its own, is closed for.
    ///
    /// Pools that fill a shared cap with servers that are never idle would keep them for ever: the
    /// waiters of another see no lease end. So places move, one at a time, to a pool whose waiters
    /// have a higher priority, or that has fewer than its share of them, by the weight of those who
    /// wait; and a pool without any takes turns by arrival, where there are more pools than places.
    #[inline]
    pub(super) fn starving(&mut self, now: Instant, busy: PoolId) -> Option<PoolId> {
        let own = self.may_be_closed_for_others(now, busy)?;
        self.most_urgent(now, busy, own)
    }

    /// Whether a server has been there for so long that its place may move on.
    #[inline]
    pub(super) fn has_stayed(&self, now: Instant, index: u32) -> bool {
        now.saturating_duration_since(self.slots.at(index).connected_at) >= STAYS
    }

    fn most_urgent(&mut self, now: Instant, busy: PoolId, own: FirstReady) -> Option<PoolId> {
        let mut first = None;
        let mut at = 0;
        while let Some(pool) = self.queue.overdue(now, STARVED_AFTER, at) {
            at += 1;
            let urgency = self.urgency(now, pool, busy, own);
            first = [first, urgency].into_iter().flatten().min();
        }
        debug_assert_eq!(
            first,
            self.queue.hungry().iter().filter_map(|pool| self.urgency(now, *pool, busy, own)).min(),
            "not all who wait for long are known"
        );
        first.map(|(.., pool)| pool)
    }

    /// Who wait for this pool, if it may lose a server that works to another at all.
    #[inline]
    fn may_be_closed_for_others(&self, now: Instant, busy: PoolId) -> Option<FirstReady> {
        // Never trade a server that works for one that may not be had.
        let is_safe = !self.host.is_troubled() && !self.of(busy).login.is_troubled();
        if !is_safe || !self.may_connect(now) {
            return None;
        }
        // Its place must be what others lack.
        let is_full = |group| self.slots.groups.of(group).is_full();
        if !self.slots.groups_of(busy).into_iter().any(is_full) {
            return None;
        }
        if self.queue.hungry().iter().all(|pool| *pool == busy) {
            return None;
        }
        self.first_ready(now, busy)
    }

    /// How urgently a pool needs the place of a server of `busy`, for which `own` wait: the least goes
    /// first. `None`: not at all.
    fn urgency(
        &self,
        now: Instant,
        pool: PoolId,
        busy: PoolId,
        own: FirstReady,
    ) -> Option<Urgency> {
        if pool == busy {
            return None;
        }
        let first = self.first_ready(now, pool)?;
        let open = self.slots.counts(pool).open();
        let has = f64::from(self.slots.counts(busy).open());
        let would_be_fair = (f64::from(open) + 1.0) * own.weight <= (has - 1.0) * first.weight;
        let is_turn = open == 0 && first.arrival < own.arrival;
        // What is reserved comes first, and is taken from nobody.
        let is_better = (!first.is_owed, first.priority) < (!own.is_owed, own.priority);
        let is_fair = (would_be_fair || is_turn) && !own.is_owed;
        let is_due =
            now.saturating_duration_since(first.since) >= STARVED_AFTER && (is_better || is_fair);
        let is_starved = is_due
            && self.unprovided(now, pool).is_some()
            && !self.of(pool).login.is_troubled()
            && self.is_blocked_by(pool, busy);
        is_starved.then_some((!first.is_owed, first.priority, first.arrival, pool))
    }

    /// Whether closing one server of `other` is what `pool` needs to open one.
    pub(super) fn is_blocked_by(&self, pool: PoolId, other: PoolId) -> bool {
        let others = self.slots.groups_of(other);
        let mut full = self
            .slots
            .groups_of(pool)
            .into_iter()
            .filter(|group| self.slots.groups.of(*group).is_full())
            .peekable();
        full.peek().is_some()
            && full.all(|group| others.contains(&group) && !self.slots.groups.of(group).is_over())
    }
}
