//! Whose turn it is: which of the lines of a pool is served next.
//!
//! A class whose guaranteed servers others have borrowed comes first; then the highest priority, but
//! for the floor below; then whoever has had the least server time for its weight. A class at its
//! quota is passed over, so that it stops nobody.

use super::Scheduler;
use super::counters::DelayedFor;
use super::queue::Waiter;
use super::terms::{Member, Site};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::Priority;
use std::time::{Duration, Instant};

/// A priority that has been passed over so often is served once, whatever else waits: one server in
/// twenty keeps it moving, and costs those above it 5 %.
const FLOOR: u8 = 19;

/// A pool that lends nothing for so long stands still. Many take a few milliseconds for a transaction;
/// where all take more than this, somebody waits for longer than seems fair.
const MOVES_WITHIN: Duration = Duration::from_secs(1);

/// How often each priority was passed over since it was last served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassedOver([u8; 3]);

/// The line that is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) line: u32,
    /// Its class has fewer servers than are kept back for it.
    pub(super) is_guaranteed: bool,
    /// What will have been passed over once it is served.
    pub(super) passed_over: PassedOver,
}

/// A line that may be served. Ordered by who goes first within a priority.
#[derive(Clone, Copy)]
struct Candidate {
    line: u32,
    is_guaranteed: bool,
    /// Its class, or address, is allowed no more than as many as come before it and wait in other pools.
    is_early: bool,
    used: f64,
    arrival: u64,
}

impl Candidate {
    fn goes_before(&self, other: &Self) -> bool {
        let by_use = self.used.total_cmp(&other.used);
        let by_arrival = self.arrival.cmp(&other.arrival);
        let by_claim = other.is_guaranteed.cmp(&self.is_guaranteed);
        by_claim.then(self.is_early.cmp(&other.is_early)).then(by_use).then(by_arrival).is_lt()
    }
}

/// Where a priority is in what is kept for each.
pub(super) fn level(priority: Priority) -> usize {
    match priority {
        Priority::Critical => 0,
        Priority::Normal => 1,
        Priority::Sheddable => 2,
    }
}

impl<S: Site> Scheduler<S> {
    /// The next line of a pool that may be served, of those for whom there is an idle server.
    pub(super) fn next_turn(&self, now: Instant, pool: PoolId) -> Option<Turn> {
        self.next_turn_of(now, pool, false)
    }

    /// The same; `rides`: of those, too, for whom there is none. (One function: whatever it calls is
    /// inlined only once, and half of the time that serving somebody takes may be spent here.)
    pub(super) fn next_turn_of(&self, now: Instant, pool: PoolId, rides: bool) -> Option<Turn> {
        let mut best: [Option<Candidate>; 3] = [None; 3];
        for &line in self.queue.hungry_lines(pool) {
            let class = self.queue.line(line).class;
            let allowance = self.class_allowance(now, class);
            if allowance > 0 && (rides || self.idle_for(line) > 0) {
                let candidate = self.candidate(now, line, allowance);
                let best = &mut best[level(self.classes.of(class).limits.priority)];
                if best.is_none_or(|best| candidate.goes_before(&best)) {
                    *best = Some(candidate);
                }
            }
        }
        let mut passed = self.of(pool).passed_over;
        let guaranteed = best.iter().position(|best| best.is_some_and(|best| best.is_guaranteed));
        // The lowest first: it is the one that the others starve.
        let starved =
            (0..3).rev().find(|level| best[*level].is_some() && passed.0[*level] >= FLOOR);
        let served = guaranteed.or(starved).or_else(|| best.iter().position(Option::is_some))?;
        for (level, best) in best.iter().enumerate().skip(served + 1) {
            passed.0[level] += u8::from(best.is_some() && passed.0[level] < FLOOR);
        }
        passed.0[served] = 0;
        let Candidate { line, is_guaranteed, .. } = best[served]?;
        Some(Turn { line, is_guaranteed, passed_over: passed })
    }

    /// The pool is where the line is that is served, which `had` so much before.
    #[inline]
    pub(super) fn advance(&mut self, now: Instant, member: Member, had: f64) {
        let class = self.classes.of(member.class);
        // Who is served because that is guaranteed may have had more than anybody who waits.
        let is_guaranteed = class.usage.in_flight() <= class.limits.reserved;
        let level = level(class.limits.priority);
        let pool = self.queue.line(member.line).pool;
        let mut others = self.queue.hungry_lines(pool).iter().filter(|line| **line != member.line);
        let counts = !is_guaranteed || others.next().is_none();
        let of = self.of_mut(pool);
        if counts {
            of.virtual_time[level] = of.virtual_time[level].max(had);
        }
        of.lent_at = Some(now);
    }

    /// A line with nobody in it, and nobody aboard, starts where its pool is.
    pub(super) fn arrive(&mut self, now: Instant, member: Member) {
        let pool = self.queue.line(member.line).pool;
        // A line that is alone in its pool has nobody to be level with.
        let is_absent = self.queue.length(member.line) == 0
            && !self.queue.line(member.line).flow.share.is_aboard();
        if is_absent && self.queue.lines_of(pool).len() > 1 {
            let moment = self.moment(now);
            let weight = self.classes.of(member.class).weight();
            let virtual_time = self.virtual_time(member.line);
            self.queue.line_mut(member.line).flow.share.lift(moment, weight, virtual_time);
        }
    }

    fn virtual_time(&self, line: u32) -> f64 {
        let of = self.queue.line(line);
        let priority = self.classes.of(of.class).limits.priority;
        self.of(of.pool).virtual_time[level(priority)]
    }

    /// A class starts anew, level with the others: what it had and missed was under other limits.
    pub(super) fn level_class(&mut self, now: Instant, class: ClassId) {
        let moment = self.moment(now);
        let weight = self.classes.of(class).weight();
        for at in 0..self.classes.of(class).lines.len() {
            let line = self.classes.of(class).lines[at];
            let virtual_time = self.virtual_time(line);
            self.queue.line_mut(line).flow.share.set(moment, weight, virtual_time);
        }
    }

    fn candidate(&self, now: Instant, line: u32, allowance: u32) -> Candidate {
        let of = self.queue.line(line);
        let class = self.classes.of(of.class);
        let (first, _) = self.queue.ends(line).expect("a hungry line has somebody in it");
        let first = self.queue.at(first);
        Candidate {
            line,
            is_guaranteed: class.usage.in_flight() < class.limits.reserved,
            is_early: self.is_early(now, first, allowance),
            used: of.flow.share.used(self.moment(now), class.weight()),
            arrival: first.arrival,
        }
    }

    /// Whether others of the class came before, in other pools, and may need all that it is allowed; or of
    /// the address, whose turn it is.
    ///
    /// A server that comes back allows its class one more, at a moment at which only its own pool
    /// has a server: others there go first then, or the other pools would never see the allowance.
    fn is_early(&self, now: Instant, first: &Waiter<S::Handle>, allowance: u32) -> bool {
        let Member { class, line, source } = first.request.member;
        let of = self.classes.of(class);
        if of.lines.len() < 2 {
            return false;
        }
        let are = |count: usize, allowance: u32| count >= allowance.max(1) as usize;
        let is_moving = |line: &u32| self.is_moving(now, self.queue.line(*line).pool);
        if of.lines.len() > allowance as usize {
            let before = self.queue.fronts.before(class, first.arrival).filter(is_moving);
            if are(before.take(allowance as usize).count(), allowance) {
                return true;
            }
        }
        if !of.limits_addresses() {
            return false;
        }
        let parties = self.queue.parties.of_source(source).iter();
        let own = self.queue.parties.find(first.request.member).and_then(|own| own.served_at);
        let others = parties.filter(|party| {
            party.line != line
                && party.in_line > 0
                && party.served_at < own
                && is_moving(&party.line)
        });
        are(others.count(), self.source_allowance(now, class, source))
    }

    /// Whether servers of a pool come back. Those who wait where none does have nothing of a turn that they
    /// are left, and it may be long.
    fn is_moving(&self, now: Instant, pool: PoolId) -> bool {
        let moved = |lent_at| now.saturating_duration_since(lent_at) < MOVES_WITHIN;
        !self.is_paused(pool) && self.of(pool).lent_at.is_some_and(moved)
    }

    /// Who of a line is served: the first, but the last while it sheds. Those who came first have
    /// waited for so long by then that they are about to leave, and so would everybody after them.
    pub(super) fn next_in(&self, line: u32) -> u32 {
        let (first, last) = self.queue.ends(line).expect("it has somebody in it");
        if self.queue.line(line).flow.is_reversed() { last } else { first }
    }

    /// How many transactions of a class may begin now.
    #[inline]
    pub(super) fn class_allowance(&self, now: Instant, class: ClassId) -> u32 {
        let class = self.classes.of(class);
        class.usage.allowance(now, || self.moment(now), &class.limits.quota)
    }

    /// The same for one address in it.
    #[inline]
    pub(super) fn source_allowance(&self, now: Instant, class: ClassId, source: u32) -> u32 {
        let quota = &self.classes.of(class).limits.per_address;
        self.classes.source(source).usage.allowance(now, || self.moment(now), quota)
    }

    /// Which part of a quota keeps back who comes now. `aside`: it is its address'.
    pub(super) fn delayed_for(
        &self,
        now: Instant,
        member: Member,
        aside: bool,
    ) -> Option<DelayedFor> {
        let class = self.classes.of(member.class);
        if self.class_allowance(now, member.class) == 0 {
            return class.usage.limit(now, &class.limits.quota, 0);
        }
        let (source, (ahead, _)) =
            (self.classes.source(member.source), self.queue.party_of(member));
        aside.then(|| source.usage.limit(now, &class.limits.per_address, ahead))?
    }

    /// How many of those who wait for a pool could use a server now.
    pub(super) fn ready(&self, now: Instant, pool: PoolId) -> u32 {
        if self.is_paused(pool) {
            return 0;
        }
        let lines = self.queue.hungry_lines(pool).iter();
        let ready = lines.map(|line| {
            let class = self.queue.line(*line).class;
            self.queue.length(*line).min(self.class_allowance(now, class))
        });
        ready.fold(0, u32::saturating_add)
    }

    /// Of those who could use a server now: the highest priority, and who came first.
    pub(super) fn first_ready(&self, now: Instant, pool: PoolId) -> Option<FirstReady> {
        if self.is_paused(pool) {
            return None;
        }
        let lines = self.queue.hungry_lines(pool).iter().copied();
        let ready =
            lines.filter(|line| self.class_allowance(now, self.queue.line(*line).class) > 0);
        ready
            .map(|line| {
                let (first, _) = self.queue.ends(line).expect("a hungry line has somebody in it");
                let class = self.classes.of(self.queue.line(line).class);
                let waiter = self.queue.at(first);
                FirstReady {
                    is_owed: class.usage.in_flight() < class.limits.reserved,
                    priority: class.limits.priority,
                    arrival: waiter.arrival,
                    since: waiter.since,
                    weight: class.weight(),
                }
            })
            .reduce(|one, other| FirstReady {
                is_owed: one.is_owed || other.is_owed,
                priority: one.priority.min(other.priority),
                weight: one.weight + other.weight,
                ..if one.arrival < other.arrival { one } else { other }
            })
    }
}

/// What is known of those who wait for a pool and could use a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstReady {
    /// A class of theirs has less than is reserved for it.
    pub(super) is_owed: bool,
    /// The highest of them all.
    pub(super) priority: Priority,
    /// Of the one who came first.
    pub(super) arrival: u64,
    pub(super) since: Instant,
    /// Of all their classes together.
    pub(super) weight: f64,
}
