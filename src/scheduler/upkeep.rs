//! What time and new limits bring about.

use super::Pool;
use super::Scheduler;
use super::class::or_unlimited;
use super::grow::Victims;
use super::terms::{CloseReason, HostLimits, PoolLimits, Refusal, Site, SlotRef};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::ClassLimits;
use std::time::Instant;

impl<S: Site> Scheduler<S> {
    /// To be called about every 100 ms: everything that only time brings about is late by that much
    /// at most.
    pub fn tick(&mut self, now: Instant) {
        // First: whoever leaves the queue may let others go on, but not before those whom time does.
        self.pace(now);
        self.refuse_late(now);
        for pool in self.slots.pools() {
            self.reap(now, pool);
        }
        self.judge(now);
        for source in self.classes.forget_sources(now) {
            self.queue.parties.forget(source);
        }
        self.grow(now);
        self.probe(now);
        for pool in self.slots.pools() {
            self.fill(now, pool);
        }
        // Those above have closed servers for others, of pools whose waiters had no use for them.
        self.refuse_all_hopeless(now);
        self.look(now);
    }

    /// A pool that is larger than its new size shrinks: idle servers are closed now, the others as
    /// their leases end.
    pub fn set_limits(&mut self, now: Instant, pool: PoolId, limits: PoolLimits) {
        let [database, user, _] = self.slots.groups_of(pool);
        self.slots.groups.of_mut(database).limit(or_unlimited(limits.database_max));
        self.slots.groups.of_mut(user).limit(or_unlimited(limits.user_max));
        let slots: Vec<SlotRef> = self.slots.open_slots(pool).collect();
        for slot in slots {
            self.slots.at_mut(slot.index).set_lifetime(limits.lifetime);
        }
        self.of_mut(pool).limits = limits;
        self.shrink(now);
    }

    pub fn set_host_limits(&mut self, now: Instant, limits: HostLimits) {
        if limits.login_retry != self.limits.login_retry {
            self.host.set_login_retry(limits.login_retry);
            for pool in &mut self.pools {
                pool.login.set_login_retry(limits.login_retry);
            }
        }
        self.limits = limits;
        self.limit_host();
        self.shrink(now);
    }

    /// Changes what a class may have. What it has already stays; the rest holds from now on, and it
    /// starts level with the others.
    pub fn set_class(&mut self, now: Instant, class: ClassId, limits: ClassLimits) {
        self.classes.set_limits(now, class, limits);
        self.level_class(now, class);
        self.pace(now);
        self.grow(now);
    }

    /// Lets those go on who waited for time to pass. To be called every few milliseconds while
    /// [`is_pacing`](Self::is_pacing).
    pub fn pace(&mut self, now: Instant) {
        self.paced_at = now;
        if self.queue.is_empty() {
            return;
        }
        if self.queue.has_aside() {
            for source in 0..self.queue.parties.sources() {
                self.call_in(now, source);
                self.shed_aside(now, source);
            }
        }
        // Lists that are kept: this is done often while somebody waits.
        let (mut hungry, mut lines) = std::mem::take(&mut self.lists);
        hungry.clear();
        hungry.extend(self.queue.hungry());
        // A class may wait for several of them, and has no more for the last than it is allowed.
        hungry.sort_by_key(|pool| self.first_ready(now, *pool).map(|first| first.arrival));
        for pool in &hungry {
            self.serve(now, *pool);
        }
        for pool in &hungry {
            lines.clear();
            lines.extend(self.queue.hungry_lines(*pool));
            for line in &lines {
                self.shed_old(now, *line);
            }
            // Those may have been next who could not ride.
            self.board(now, *pool);
        }
        self.lists = (hungry, lines);
        self.grow(now);
    }

    /// Whether somebody waits for whom time alone decides: for a rate, or for being told that it is
    /// no use to wait.
    pub fn is_pacing(&self) -> bool {
        !self.queue.is_empty()
            && (self.queue.has_aside()
                || self.queue.hungry().iter().any(|pool| {
                    if self.is_paused(*pool) {
                        return false;
                    }
                    if self.may_keep(*pool) {
                        return true;
                    }
                    let mut lines = self.queue.hungry_lines(*pool).iter();
                    lines.any(|line| {
                        let class = self.classes.of(self.queue.line(*line).class);
                        class.is_limited() || self.bounds(*line).is_some()
                    })
                }))
    }

    /// Shows each idle server to `keep`; one that it does not keep is closed. For the caller to read
    /// what servers said unasked, and to find those that died.
    pub fn with_idle(&mut self, now: Instant, keep: impl FnMut(SlotRef, &mut S::Conn) -> bool) {
        self.keep_idle(now, CloseReason::Dead, keep);
    }

    /// Closes each idle server: the process ends.
    pub fn close_all_idle(&mut self, now: Instant) {
        self.keep_idle(now, CloseReason::Shutdown, |_, _| false);
    }

    fn keep_idle(
        &mut self,
        now: Instant,
        why: CloseReason,
        mut keep: impl FnMut(SlotRef, &mut S::Conn) -> bool,
    ) {
        for pool in self.slots.pools() {
            let mut next = self.slots.idle(pool).next();
            while let Some(index) = next {
                next = self.slots.next_idle(index);
                let slot = self.slots.slot_ref(index);
                let conn = self.slots.conn_mut(index).expect("an idle slot has its server");
                if !keep(slot, conn) {
                    self.close_idle(now, index, why);
                }
            }
        }
        self.refuse_all_hopeless(now);
        self.grow(now);
    }

    /// Opens one more server for a pool, if there is room and none is being opened: for the caller, who
    /// has one at hand that nobody has waited for.
    pub fn open_one(&mut self, now: Instant, pool: PoolId) {
        if self.slots.counts(pool).connecting == 0 && self.may_add(now, pool) {
            self.connect(now, pool);
        }
    }

    /// Takes every idle server out: for another process to use.
    pub fn take_idle(&mut self, now: Instant) -> Vec<(PoolId, S::Conn)> {
        let mut taken = Vec::new();
        for pool in self.slots.pools() {
            while let Some(index) = self.slots.longest_idle(pool) {
                taken.extend(self.slots.vacate(now, index).map(|conn| (pool, conn)));
            }
        }
        self.grow(now);
        taken
    }

    /// More is open than a limit allows.
    #[inline]
    pub(super) fn has_surplus(&self, pool: PoolId) -> bool {
        let limits = &self.of(pool).limits;
        self.slots.counts(pool).open() > limits.size.saturating_add(limits.reserve)
            || self
                .slots
                .groups_of(pool)
                .into_iter()
                .any(|group| self.slots.groups.of(group).is_over())
    }

    fn refuse_late(&mut self, now: Instant) {
        for waiter in self.queue.late(now) {
            let member = waiter.request.member;
            let pool = self.queue.line(member.line).pool;
            let mut counts = self.counts(pool);
            counts.waiting += 1;
            let waited = now.saturating_duration_since(waiter.since);
            // With no server and none to be had, that is why it waited.
            let refusal = self.trouble(pool).unwrap_or_else(|| Refusal::WaitTimeout {
                waited,
                counts,
                cause: self.wait_cause(now, member),
            });
            self.refuse(now, waiter, refusal);
        }
    }

    /// Closes what was idle for too long, the longest idle first, and what is too old.
    fn reap(&mut self, now: Instant, pool: PoolId) {
        let limits = &self.of(pool).limits;
        let (min, idle_timeout) = (limits.min.min(limits.size), limits.idle_timeout);
        let mut next = self.slots.idle(pool).next();
        while let Some(index) = next {
            next = self.slots.next_idle(index);
            let slot = self.slots.at(index);
            let is_idle = |timeout| now.saturating_duration_since(slot.since) >= timeout;
            let why = if slot.expires.is_some_and(|expires| expires <= now) {
                CloseReason::Lifetime
            } else if idle_timeout.is_some_and(is_idle) && self.slots.counts(pool).open() > min {
                CloseReason::IdleTimeout
            } else {
                continue;
            };
            self.close_idle(now, index, why);
        }
    }

    /// Closes idle servers until the limits hold, and uses what limits now allow.
    fn shrink(&mut self, now: Instant) {
        for pool in self.slots.pools() {
            while self.has_surplus(pool)
                && let Some(index) = self.slots.longest_idle(pool)
            {
                self.close_idle(now, index, CloseReason::Shrunk);
            }
            self.settle(now, pool);
        }
    }

    /// Tries the host, or a login, for a pool that nobody waits for because waiters are refused: so
    /// that it recovers without anybody being kept waiting for that. Only where somebody asked
    /// lately; a place under a shared cap is made for them as it would be for a waiter, or a host
    /// full of other pools' idle servers could never be tried.
    fn probe(&mut self, now: Instant) {
        while let Some((pool, victims)) = self.next_probe(now) {
            self.replace(now, victims, pool);
        }
    }

    fn next_probe(&self, now: Instant) -> Option<(PoolId, Victims)> {
        if !self.may_connect(now) {
            return None;
        }
        let troubled = self.slots.pools().filter(|pool| {
            let Pool { login, wanted_at, .. } = self.of(*pool);
            let is_news =
                self.host.is_troubled() || (login.is_troubled() && !login.is_definitive());
            let is_wanted = wanted_at.is_some_and(|wanted_at| {
                now.saturating_duration_since(wanted_at) <= self.limits.login_retry
            });
            let is_empty = self.slots.counts(*pool).open() == 0;
            is_news && is_wanted && is_empty && self.may_open(now, *pool)
        });
        let possible = troubled.filter_map(|pool| Some((pool, self.room_for(now, pool).ok()?)));
        possible.max_by_key(|(pool, _)| self.of(*pool).wanted_at)
    }

    /// Opens servers up to `min`, where there is room: nobody is evicted for somebody who may come. Not
    /// for a process that ends, or hands its servers over as they come.
    fn fill(&mut self, now: Instant, pool: PoolId) {
        let limits = &self.of(pool).limits;
        let min = limits.min.min(limits.size);
        while self.of(pool).wanted_at.is_some()
            && !self.is_draining
            && self.slots.counts(pool).open() < min
            && self.may_add(now, pool)
        {
            self.connect(now, pool);
        }
    }
}
