//! Who is refused, and why: because nobody can be served, because a limit is reached, or because it
//! would be served too late to be of use.
//!
//! # Overload
//!
//! Nothing is refused for overload while nobody gives up and no longest delay is configured. Once it
//! is known how long the clients of a class wait ([`Patience`](super::patience::Patience)), or how
//! long they shall, a request is refused when it arrives and would wait too long
//! ([`Pace`](super::flow::Pace)), and when it has waited too long all the same. While a line stands
//! ([`Standing`]), too long is sooner, and the newest are served first. While nearly all of a class are
//! refused ([`Throttle`](super::throttle::Throttle)), one that would wait too long is not given the benefit of
//! the doubt that a burst is.
//! As many as the pool has servers are always let in: whatever is predicted, no server runs dry.

use super::Scheduler;
use super::class::or_unlimited;
use super::queue::Waiter;
use super::standing::Standing;
use super::strain::WaitLimit;
use super::terms::{Action, Member, Refusal, Scope, Shedding, Site, Ticket};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::Priority;
use crate::config::overload::Shed;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long after the last refusal a line is said to be shedding.
const SHEDDING_FOR: Duration = Duration::from_secs(1);

/// How long somebody may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    /// Longer is of no use to anybody.
    pub(super) longest: Duration,
    /// The most while the line stands.
    standing: Duration,
    /// A line whose delay stays above this stands.
    target: Duration,
    /// What was learned, if that is what this follows from.
    patience: Option<Duration>,
}

impl Bounds {
    /// Shares of the patience, and never so much that a transaction which takes `hold` would come too
    /// late. Who waits for four fifths of it leaves the last fifth to be served in; while a line
    /// stands, half is enough to bridge any pause between two servers. Sheddable requests are refused
    /// long before the others, critical ones last: only when they would have gone by themselves. The
    /// target is `CoDel`'s for a delay of ten times as much.
    fn of(patience: Duration, hold: Duration, priority: Priority) -> Self {
        let (longest, standing) = match priority {
            Priority::Critical => (1.0, 0.8),
            Priority::Normal => (0.8, 0.5),
            Priority::Sheddable => (0.4, 0.25),
        };
        // Where a transaction takes nearly as long as clients wait, some are served in vain; to refuse
        // everybody would serve nobody.
        let latest = patience.saturating_sub(hold).max(patience.mul_f64(0.25));
        Self {
            longest: patience.mul_f64(longest).min(latest),
            standing: patience.mul_f64(standing).min(latest),
            target: patience.mul_f64(0.1),
            patience: Some(patience),
        }
    }

    /// `longest` is for a request of normal priority.
    fn within(longest: Duration, priority: Priority) -> Self {
        Self { patience: None, ..Self::of(longest.mul_f64(1.25), Duration::ZERO, priority) }
    }
}

impl<S: Site> Scheduler<S> {
    /// Whether a request is refused at once, though somebody may be served.
    pub(super) fn turned_away(
        &mut self,
        now: Instant,
        member: Member,
    ) -> Option<Refusal<S::Error>> {
        self.over_quota(now, member)
            .or_else(|| self.too_late(now, member))
            // Last: somebody else may lose a place for it.
            .or_else(|| self.no_room(now, member))
    }

    /// As many wait for the host as may, and nobody of a lower priority makes room.
    fn no_room(&mut self, now: Instant, member: Member) -> Option<Refusal<S::Error>> {
        let (scope, limit) = (Scope::Host, self.limits.max_queued);
        let is_full = self.queue.len() >= or_unlimited(limit);
        (is_full && !self.make_room(now, member, limit))
            .then_some(Refusal::QueueFull { scope, limit })
    }

    /// Refuses the one who came last of those with the lowest priority, if that is lower.
    fn make_room(&mut self, now: Instant, member: Member, limit: u32) -> bool {
        let own = self.classes.of(member.class).limits.priority;
        let lines = (0..self.queue.lines()).filter_map(|line| {
            let (_, last) = self.queue.ends(line)?;
            let priority = self.classes.of(self.queue.line(line).class).limits.priority;
            Some((priority, self.queue.at(last).arrival, last))
        });
        let Some((_, _, last)) = lines.filter(|(priority, ..)| *priority > own).max() else {
            return false;
        };
        let waiter = self.queue.take(last);
        self.refuse(now, waiter, Refusal::QueueFull { scope: Scope::Host, limit });
        true
    }

    fn over_quota(&self, now: Instant, member: Member) -> Option<Refusal<S::Error>> {
        let class = self.classes.of(member.class);
        let source = self.classes.source(member.source);
        let (quota, per_address) = (&class.limits.quota, &class.limits.per_address);
        let queues = [
            (Scope::Class, class.usage.queued, quota.max_queued),
            (Scope::Address, source.usage.queued, per_address.max_queued),
        ];
        let full = queues.into_iter().find(|(_, queued, max)| *queued >= or_unlimited(*max));
        if let Some((scope, _, limit)) = full {
            return Some(Refusal::QueueFull { scope, limit });
        }
        let by_class = class.usage.too_soon(now, quota).map(|after| (Scope::Class, after));
        let too_soon = by_class.or_else(|| {
            source.usage.too_soon(now, per_address).map(|after| (Scope::Address, after))
        });
        let (scope, retry_after) = too_soon?;
        Some(Refusal::RateLimited { scope, retry_after })
    }

    fn too_late(&mut self, now: Instant, member: Member) -> Option<Refusal<S::Error>> {
        let bounds = self.bounds(member.line)?;
        let length = self.queue.length(member.line);
        let pool = self.queue.line(member.line).pool;
        let servers = self.slots.counts(pool).live();
        if length < servers.max(1) {
            return None;
        }
        let limit = self.limit(member.line, bounds);
        let predicted = self.queue.line(member.line).flow.pace.predict(now, length, servers);
        if predicted <= limit {
            return None;
        }
        let why = if self.is_throttled(now, member) {
            Shedding::Throttled(predicted)
        } else if self.queue.oldest(now, member.line) > bounds.target {
            // Not where a burst has only just begun: how fast it will go shows then.
            Shedding::Predicted(predicted)
        } else {
            return None;
        };
        self.queue.line_mut(member.line).flow.turn_away(now);
        Some(Refusal::Shed { why, limit, patience: bounds.patience, waiting: length })
    }

    /// Whether this one goes with nearly all others of its class, who are refused, and were just now in its
    /// line. Not one that is critical: it is refused for what is known of itself alone.
    fn is_throttled(&mut self, now: Instant, member: Member) -> bool {
        let class = self.classes.of(member.class);
        let turned_away_at = self.queue.line(member.line).flow.turned_away_at;
        class.limits.priority != Priority::Critical
            && turned_away_at.is_some_and(|at| now.saturating_duration_since(at) < SHEDDING_FOR)
            && class.throttle.refuses(self.random.unit())
    }

    /// How long somebody in this line may wait. `None`: as long as it likes.
    pub(super) fn bounds(&self, line: u32) -> Option<Bounds> {
        if self.is_halted(line) {
            return None;
        }
        let class = self.classes.of(self.queue.line(line).class);
        let priority = class.limits.priority;
        match self.limits.shed {
            Shed::Auto => Some(Bounds::of(class.patience.known()?, class.long_hold(), priority)),
            Shed::Off => None,
            Shed::Within(longest) => Some(Bounds::within(longest, priority)),
        }
    }

    fn limit(&self, line: u32, bounds: Bounds) -> Duration {
        let is_standing = self.queue.line(line).flow.standing.is_standing();
        if is_standing { bounds.standing } else { bounds.longest }
    }

    /// The longest that somebody in this line may wait just now, and why.
    pub(super) fn limit_of(&self, line: u32) -> Option<WaitLimit> {
        let bounds = self.bounds(line)?;
        Some(WaitLimit { longest: self.limit(line, bounds), patience: bounds.patience })
    }

    /// Refuses those in line who have waited for too long.
    pub(super) fn shed_old(&mut self, now: Instant, line: u32) {
        let Some(bounds) = self.bounds(line) else { return };
        let limit = self.limit(line, bounds);
        for ticket in self.too_old(now, line, bounds, limit) {
            self.shed(now, ticket, bounds, limit);
        }
    }

    /// The same for those who stand aside because their address is at its quota.
    pub(super) fn shed_aside(&mut self, now: Instant, source: u32) {
        for ticket in self.queue.aside(source) {
            let Some(waiter) = self.queue.holder(ticket) else { continue };
            let delay = now.saturating_duration_since(waiter.since);
            let line = waiter.request.member.line;
            let was_halted = self.was_halted(self.queue.line(line).pool, waiter);
            let Some(bounds) = self.bounds(line).filter(|_| !was_halted) else { continue };
            let is_probe = waiter.is_probe && delay <= bounds.longest * 2;
            if delay > bounds.longest && !is_probe {
                self.shed(now, ticket, bounds, bounds.longest);
            }
        }
    }

    /// Refuses one who has waited for too long; now and then one is kept, to see how long it would.
    fn shed(&mut self, now: Instant, ticket: Ticket, bounds: Bounds, limit: Duration) {
        let Some(waiter) = self.queue.holder(ticket) else { return };
        let delay = now.saturating_duration_since(waiter.since);
        let Member { class, line, .. } = waiter.request.member;
        let is_news = bounds.patience.is_some() && !waiter.is_probe;
        if is_news && self.classes.of_mut(class).patience.probes(now) {
            self.queue.make_probe(ticket);
            return;
        }
        self.queue.line_mut(line).flow.shed_at = Some(now);
        let waiting = self.classes.of(class).usage.queued;
        let why = Shedding::Waited(delay);
        let waiter = self.queue.remove(ticket).expect("it still waits");
        let refusal = Refusal::Shed { why, limit, patience: bounds.patience, waiting };
        self.refuse(now, waiter, refusal);
    }

    fn too_old(&self, now: Instant, line: u32, bounds: Bounds, limit: Duration) -> Vec<Ticket> {
        let servers = self.slots.counts(self.queue.line(line).pool).live();
        let mut left = self.queue.length(line);
        let mut old = Vec::new();
        for index in self.queue.in_line(line) {
            let waiter = self.queue.at(index);
            let delay = now.saturating_duration_since(waiter.since);
            // Those who came back to the front may have come after some behind them.
            if delay <= limit && waiter.request.again.is_none() {
                break;
            }
            let is_probe = waiter.is_probe && delay <= bounds.longest * 2;
            let is_useful = delay <= bounds.longest && left <= servers;
            if delay > limit && !is_probe && !is_useful {
                left -= 1;
                old.push(self.queue.ticket(index));
            }
        }
        old
    }

    /// What is to be concluded now and then: how patient clients are, and whether lines stand.
    pub(super) fn judge(&mut self, now: Instant) {
        let mut waits = BTreeMap::new();
        for (id, class) in self.classes.iter_mut() {
            class.throttle.fade(now);
            class.patience.fade(now);
            if class.patience.has_evidence() {
                waits.insert(id, Vec::new());
            }
        }
        if !waits.is_empty() {
            self.queue.waits(now, &mut waits);
        }
        for (id, waits) in waits {
            self.classes.of_mut(id).patience.learn(waits.into_iter());
        }
        for line in 0..self.queue.lines() {
            let oldest = self.queue.oldest(now, line);
            let bounds = self.bounds(line);
            let moment = self.moment(now);
            let flow = &mut self.queue.line_mut(line).flow;
            let share = &flow.share;
            flow.lately.follow(now, || share.seconds(moment));
            let is_recent = |at: &Instant| now.saturating_duration_since(*at) < SHEDDING_FOR;
            flow.shed_at = flow.shed_at.filter(is_recent);
            flow.turned_away_at = flow.turned_away_at.filter(is_recent);
            match bounds {
                Some(bounds) => flow.standing.judge(now, bounds.target, oldest),
                // Nobody gives up: there is nothing to judge by.
                None => flow.standing = Standing::new(now),
            }
        }
    }

    /// Tells somebody who waited that it will not be served.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        waiter: Waiter<S::Handle>,
        refusal: Refusal<S::Error>,
    ) {
        let member = waiter.request.member;
        self.count_refusal(member.class, &refusal);
        let class = self.classes.of_mut(member.class);
        class.patience.was_there(now.saturating_duration_since(waiter.since));
        let (moment, pool) = (self.moment(now), self.queue.line(member.line).pool);
        self.of_mut(pool).refused.add(moment);
        self.actions.push_back(Action::Refuse { to: waiter.request.handle, refusal });
        self.left(now, member);
    }

    pub(super) fn count_refusal(&mut self, class: ClassId, refusal: &Refusal<S::Error>) {
        let class = self.classes.of_mut(class);
        class.counters.refused(refusal);
        // Of those who are at a quota, or whose server is down, nobody is too late.
        if matches!(refusal, Refusal::Shed { .. } | Refusal::WaitTimeout { .. }) {
            class.throttle.refused();
        }
    }

    /// Whether waiting is pointless in a pool: it has no server and will not get one.
    pub(super) fn hopeless(&self, now: Instant, pool: PoolId) -> Option<Refusal<S::Error>> {
        if self.slots.counts(pool).live() > 0 || self.is_paused(pool) {
            return None;
        }
        let (login, hold) = (&self.of(pool).login, self.limits.down_hold);
        if let Some(trouble) = login.refused(now) {
            return Some(Refusal::LoginFailed { error: trouble.error.clone() });
        }
        let trouble = self.host.down(now, hold).or_else(|| login.down(now, hold))?;
        Some(Refusal::ServerDown { error: trouble.error.clone(), since: trouble.since })
    }

    /// Whether a pool has no server because its last login was refused: also once another may be tried, which
    /// nobody does unless somebody asks.
    pub(super) fn is_refused(&self, pool: PoolId) -> bool {
        let has_servers = self.slots.counts(pool).live() > 0;
        !has_servers && self.of(pool).login.is_definitive()
    }

    /// Why a pool without a server gets none just now, whether for long or not.
    pub(super) fn trouble(&self, pool: PoolId) -> Option<Refusal<S::Error>> {
        if self.slots.counts(pool).live() > 0 || self.is_paused(pool) {
            return None;
        }
        let trouble = self.host.trouble().or_else(|| self.of(pool).login.trouble())?;
        Some(Refusal::ServerDown { error: trouble.error.clone(), since: trouble.since })
    }

    pub(super) fn refuse_if_hopeless(&mut self, now: Instant, pool: PoolId) {
        let Some(refusal) = self.hopeless(now, pool) else { return };
        for waiter in self.queue.take_all(pool) {
            self.refuse(now, waiter, refusal.clone());
        }
    }

    pub(super) fn refuse_all_hopeless(&mut self, now: Instant) {
        for pool in self.slots.pools() {
            if self.queue.waiting(pool) > 0 {
                self.refuse_if_hopeless(now, pool);
            }
        }
    }
}
