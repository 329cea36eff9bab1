//! What others may see: counts, holders, classes, why somebody waits, and the state of a pool.

use super::Scheduler;
use super::class::Usage;
use super::counters::{ClassCounters, DelayedFor};
use super::slots::{Hold, State as SlotState};
use super::strain::{Room, Shares};
use super::terms::{
    Action, Counts, Health, Holder, HostLimits, Member, PoolLimits, Scope, Site, SlotRef, Ticket,
    WaitCause,
};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::{ClassLimits, Quota};
use std::time::{Duration, Instant};

/// How a pool does. Ordered: later is worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Whoever asks is served at once.
    Healthy,
    /// Some wait.
    Busy,
    /// Some are refused, because they would be served too late.
    Shedding,
    /// There is no server, and none to be had.
    ServerDown,
    /// An operator has paused it: whoever asks waits.
    Paused,
    /// Nobody new is let in: the process stops.
    Draining,
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Busy, Self::Shedding, Self::ServerDown, Self::Paused, Self::Draining];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Busy => "busy",
            Self::Shedding => "shedding",
            Self::ServerDown => "server_down",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// The state of a pool, since when, and what those in it wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Condition {
    pub state: State,
    pub since: Instant,
    /// Of the one who has waited longest. `None` where nobody waits.
    pub cause: Option<WaitCause>,
    /// When it was last as bad as `state` says.
    seen: Instant,
}

/// A state is kept for so long after it was last seen: a pool that is at its limit would change it a
/// thousand times a second.
const CALM_AFTER: Duration = Duration::from_secs(1);

impl Condition {
    /// As it is before anybody has asked.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Healthy, since: now, cause: None, seen: now }
    }

    /// Follows what is seen: at once if it is worse, after a while if it is better. Answers with the
    /// state before, if it has changed.
    fn see(&mut self, now: Instant, state: State, cause: Option<WaitCause>) -> Option<State> {
        if state == self.state {
            (self.seen, self.cause) = (now, cause.or(self.cause));
            return None;
        }
        // What an operator has ended is over at once.
        let is_calm = now.saturating_duration_since(self.seen) >= CALM_AFTER;
        if state < self.state && !is_calm && self.state != State::Paused {
            return None;
        }
        let before = self.state;
        *self = Self { state, since: now, cause, seen: now };
        Some(before)
    }
}

/// One class, at one moment.
#[derive(Clone, Debug)]
pub struct ClassView {
    pub name: String,
    pub limits: ClassLimits,
    pub clients: u32,
    /// Servers held.
    pub in_flight: u32,
    /// Requests that wait.
    pub queued: u32,
    /// How long its clients wait before they give up. `None`: not known that they do.
    pub patience: Option<Duration>,
    pub is_shedding: bool,
    /// Seconds for which servers have been held, those that still are included.
    pub server_time: Duration,
    /// `None`: nobody had any of its pools' server time lately.
    pub shares: Option<Shares>,
    pub room: Room,
    pub counters: ClassCounters,
}

impl ClassView {
    /// Adds what others have and did; the name and what is no number stay.
    pub fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.in_flight += other.in_flight;
        self.queued += other.queued;
        self.is_shedding |= other.is_shedding;
        self.server_time += other.server_time;
        self.patience = match (self.patience, other.patience) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.counters.add(&other.counters);
    }
}

impl<S: Site> Scheduler<S> {
    pub fn counts(&self, pool: PoolId) -> Counts {
        Counts { waiting: self.queue.waiting(pool), ..*self.slots.counts(pool) }
    }

    pub fn host_counts(&self) -> Counts {
        Counts { waiting: self.queue.len(), ..*self.slots.host_counts() }
    }

    /// How long the one has waited who is in line for longest.
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

    /// Whether a client of this pool had all its answers no longer ago than `within`.
    pub fn has_answered(&self, pool: PoolId, now: Instant, within: Duration) -> bool {
        let answered = self.of(pool).answered_at;
        answered.is_some_and(|at| now.saturating_duration_since(at) <= within)
    }

    pub fn condition(&self, pool: PoolId) -> Condition {
        self.of(pool).condition
    }

    /// Who has a server of this pool.
    pub fn holders(&self, pool: PoolId) -> impl Iterator<Item = Holder> + '_ {
        self.slots.open_slots(pool).filter_map(|slot| {
            let of = self.slots.at(slot.index);
            let (since, is_retired) = (of.since, of.is_retired);
            Some(Holder { client: of.client?, since, slot, is_retired })
        })
    }

    pub fn classes(&self) -> impl Iterator<Item = ClassId> + use<S> {
        self.classes.ids()
    }

    /// Whether a class has clients, or had any that asked for something.
    pub fn is_class_used(&self, class: ClassId) -> bool {
        let of = self.classes.of(class);
        of.usage.clients > 0 || of.counters.is_used()
    }

    pub fn class_name(&self, class: ClassId) -> &str {
        &self.classes.of(class).name
    }

    pub fn host_limits(&self) -> &HostLimits {
        &self.limits
    }

    pub fn pool_limits(&self, pool: PoolId) -> &PoolLimits {
        &self.of(pool).limits
    }

    pub fn class_limits(&self, class: ClassId) -> &ClassLimits {
        &self.classes.of(class).limits
    }

    pub fn class(&self, now: Instant, class: ClassId) -> ClassView {
        let of = self.classes.of(class);
        let held = of.usage.held.seconds(self.moment(now));
        let is_shedding = |line: &u32| self.queue.line(*line).flow.shed_at.is_some();
        ClassView {
            name: of.name.clone(),
            limits: of.limits.clone(),
            clients: of.usage.clients,
            in_flight: of.usage.in_flight(),
            queued: of.usage.queued,
            patience: of.patience.known(),
            is_shedding: of.lines.iter().any(is_shedding),
            server_time: of.counters.service.sum() + Duration::from_secs_f64(held),
            shares: self.shares(class),
            room: self.room(now, class),
            counters: of.counters.clone(),
        }
    }

    /// What somebody waits for. `None`: it does not wait any more.
    pub fn why_waits(&self, now: Instant, ticket: Ticket) -> Option<WaitCause> {
        Some(self.wait_cause(now, self.queue.holder(ticket)?.request.member))
    }

    pub(super) fn wait_cause(&self, now: Instant, member: Member) -> WaitCause {
        if self.is_paused(self.queue.line(member.line).pool) {
            return WaitCause::Paused;
        }
        let class = self.classes.of(member.class);
        let source = self.classes.source(member.source);
        let (quota, per_address) = (&class.limits.quota, &class.limits.per_address);
        let by_class = self.class_allowance(now, member.class) == 0;
        let by_address = self.source_allowance(now, member.class, member.source) == 0;
        let limited = if by_class {
            Some((Scope::Class, class.usage.limit(now, quota, 0), quota.max_in_flight))
        } else if by_address {
            let limit = source.usage.limit(now, per_address, 0);
            Some((Scope::Address, limit, per_address.max_in_flight))
        } else {
            None
        };
        match limited {
            Some((scope, Some(DelayedFor::InFlight), limit)) => {
                WaitCause::InFlight { scope, limit }
            }
            Some((scope, Some(DelayedFor::Rate), _)) => WaitCause::Rate { scope },
            Some((scope, ..)) => WaitCause::ServerTime { scope },
            None => self.pool_cause(now, self.queue.line(member.line).pool),
        }
    }

    /// Why a pool has no server for somebody who may have one.
    fn pool_cause(&self, now: Instant, pool: PoolId) -> WaitCause {
        let counts = self.slots.counts(pool);
        if self.trouble(pool).is_some() {
            WaitCause::ServerDown
        } else if counts.connecting + counts.checking > 0 {
            WaitCause::Opening
        } else if let Err(full) = self.room_for(now, pool) {
            WaitCause::SharedFull(full)
        } else if self.may_open(now, pool) {
            WaitCause::Opening
        } else {
            WaitCause::PoolFull
        }
    }

    /// From now on, every pool is draining, or not any more: nothing is opened for nobody.
    pub fn set_draining(&mut self, now: Instant, is_draining: bool) {
        self.is_draining = is_draining;
        self.look(now);
    }

    /// Looks at how each pool does, and says so where that has changed.
    pub(super) fn look(&mut self, now: Instant) {
        for pool in self.slots.pools() {
            self.look_at(now, pool);
        }
    }

    pub(super) fn look_at(&mut self, now: Instant, pool: PoolId) {
        let (state, cause) = self.seen(now, pool);
        if let Some(before) = self.of_mut(pool).condition.see(now, state, cause) {
            let condition = self.of(pool).condition;
            self.actions.push_back(Action::Changed { pool, before, condition });
        }
    }

    fn seen(&self, now: Instant, pool: PoolId) -> (State, Option<WaitCause>) {
        let cause = self.longest_waiting(pool).map(|member| self.wait_cause(now, member));
        let is_shedding = |line: &u32| self.queue.line(*line).flow.shed_at.is_some();
        let state = if self.is_draining {
            State::Draining
        } else if self.is_paused(pool) {
            State::Paused
        } else if self.hopeless(now, pool).is_some() || self.is_refused(pool) {
            State::ServerDown
        } else if self.queue.lines_of(pool).iter().any(is_shedding) {
            State::Shedding
        } else if cause.is_some() {
            State::Busy
        } else {
            State::Healthy
        };
        (state, cause)
    }

    fn longest_waiting(&self, pool: PoolId) -> Option<Member> {
        let lines = self.queue.hungry_lines(pool).iter();
        let firsts = lines.filter_map(|line| self.queue.ends(*line));
        let first = firsts.map(|(first, _)| self.queue.at(first)).min_by_key(|it| it.arrival)?;
        Some(first.request.member)
    }

    /// Whether a client that has been idle in a transaction since `idle_since` has to let go of its
    /// server for those who wait: asked again now and then, while it stays idle. The longest idle
    /// first of those who have what is waited for, and no more of them than somebody waits for.
    pub fn must_yield(&mut self, now: Instant, slot: SlotRef, idle_since: Instant) -> bool {
        if !self.slots.is_current(slot) {
            return false;
        }
        self.slots.at_mut(slot.index).idle_since = Some(idle_since);
        let yields = self.must_yield_server(now, slot) || self.must_yield_quota(now, slot);
        self.slots.at_mut(slot.index).yields = yields;
        yields
    }

    /// For those who could use any server of its pool, or its place.
    fn must_yield_server(&self, now: Instant, slot: SlotRef) -> bool {
        let pool = slot.pool;
        let mut others = self.queue.hungry().iter().copied().filter(|other| *other != pool);
        let elsewhere = others.any(|other| {
            self.ready(now, other) > 0
                && self.slots.counts(other).connecting == 0
                && self.is_blocked_by(other, pool)
        });
        let counts = self.slots.counts(pool);
        let opening = counts.connecting + counts.checking;
        let wanted = self.ready(now, pool).saturating_add(u32::from(elsewhere));
        self.coming_before(slot, self.slots.open_slots(pool))
            .is_some_and(|coming| wanted > opening + coming)
    }

    /// For those of the same class, or of the same address in it, who wait because of the servers that
    /// these have already, of whichever pool. Who is not of them has nothing that they wait for.
    fn must_yield_quota(&self, now: Instant, slot: SlotRef) -> bool {
        let Some(Hold { member, .. }) = self.slots.at(slot.index).hold else { return false };
        let (class, source) = (self.classes.of(member.class), self.classes.source(member.source));
        let is_full = |usage: &Usage, quota: &Quota| {
            usage.queued > 0 && usage.limit(now, quota, 0) == Some(DelayedFor::InFlight)
        };
        let is_next = |wanted: u32, counts: &dyn Fn(&Hold) -> bool| {
            let pools = class.lines.iter().map(|line| self.queue.line(*line).pool);
            let slots = pools.flat_map(|pool| self.slots.open_slots(pool));
            let has_it =
                |other: SlotRef| self.slots.at(other.index).hold.as_ref().is_some_and(counts);
            self.coming_before(slot, slots.filter(|other| has_it(*other)))
                .is_some_and(|coming| wanted > coming)
        };
        let is_paused = |line: u32| self.is_paused(self.queue.line(line).pool);
        if is_full(&class.usage, &class.limits.quota) {
            let lines = class.lines.iter().filter(|line| !is_paused(**line));
            let wanted: u32 = lines.map(|line| self.queue.length(*line)).sum();
            if is_next(wanted, &|other| other.member.class == member.class) {
                return true;
            }
        }
        let mut parties = self.queue.parties.of_source(member.source).iter();
        is_full(&source.usage, &class.limits.per_address)
            && parties.any(|party| !is_paused(party.line))
            && is_next(source.usage.queued, &|other| other.member.source == member.source)
    }

    /// How many of these servers are on their way back. `None`: one has been idle for longer than this
    /// one, and stays so far.
    fn coming_before(&self, slot: SlotRef, others: impl Iterator<Item = SlotRef>) -> Option<u32> {
        let idle_since = self.slots.at(slot.index).idle_since?;
        let mut coming = 0;
        for other in others.filter(|other| *other != slot) {
            let other = self.slots.at(other.index);
            if other.yields || other.state == SlotState::Tidying {
                coming += 1;
            } else if other.idle_since.is_some_and(|since| since < idle_since) {
                return None;
            }
        }
        Some(coming)
    }

    /// A client that was idle in its transaction goes on.
    pub fn is_active(&mut self, slot: SlotRef) {
        if self.slots.is_current(slot) {
            self.slots.at_mut(slot.index).idle_since = None;
        }
    }
}
