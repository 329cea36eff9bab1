//! Keeping a server for a class that is about to come back.
//!
//! A class of a few clients that ask again at once, beside one with hundreds that wait and hold servers
//! for long, would lose its server in every moment between two of its requests, and wait for the next
//! one for as long as the others hold theirs. So a class that has had less than the others keeps what
//! it gives back for as long as its clients are usually away: idle for a millisecond, instead of lent
//! for fifty. Disk schedulers do the same for the same reason (Iyer and Druschel, "Anticipatory
//! scheduling", 2001).
//!
//! It is counted, not attached to a server: of the idle ones, so many are not for others.

use super::Scheduler;
use super::terms::{Member, Site};
use crate::base::ids::PoolId;
use std::time::{Duration, Instant};

/// Nothing is kept for longer.
const KEEP_MAX: Duration = Duration::from_millis(2);

/// And nothing for less: who asks for the next of several transactions that it has sent at once comes back at
/// the very moment at which it left, and would find that others have what was kept for no time.
const KEEP_MIN: Duration = Duration::from_micros(10);

/// So many times as long as its clients are away in the mean: most are back by then.
const TIMES_MEAN: u32 = 3;

/// Whoever waits would hold the server for so many times as long as it is kept. For less it is not
/// worth anybody's waiting.
const WORTH: u32 = 4;

/// What is kept is given up in time only while somebody tells the time every few milliseconds.
const TOLD_WITHIN: Duration = Duration::from_millis(20);

/// Who has not been back for longer is not about to come back.
const GONE_AFTER: Duration = Duration::from_millis(100);

/// How much a new absence counts in the mean: the last eight decide.
const NEWS: f64 = 1.0 / 8.0;

/// How long the clients of a line are away between two requests, and what is kept for them.
#[derive(Debug, Default)]
pub(super) struct Absence {
    left_at: Option<Instant>,
    /// Seconds. `None`: nobody was away so far.
    mean: Option<f64>,
    /// Who comes back uses the newest, so that of those who do not what was kept for them runs out,
    /// whatever the others do.
    kept: Vec<Kept>,
}

/// A server that is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    since: Instant,
    until: Instant,
}

impl Absence {
    fn left(&mut self, now: Instant) {
        self.left_at.get_or_insert(now);
    }

    fn came_back(&mut self, now: Instant) {
        if let Some(left_at) = self.left_at.take() {
            let away = now.saturating_duration_since(left_at).as_secs_f64();
            self.mean = Some(self.mean.map_or(away, |mean| mean + (away - mean) * NEWS));
        }
    }

    /// Uses the newest, if anything is kept. Answers with how long it was.
    fn use_kept(&mut self, now: Instant) -> Option<Duration> {
        self.kept.pop().map(|kept| now.saturating_duration_since(kept.since))
    }

    /// Lets go of what was kept for too long. Answers with how long that was.
    fn let_go(&mut self, now: Instant) -> Duration {
        let is_over = |kept: &Kept| kept.until <= now;
        let over = self.kept.iter().filter(|kept| is_over(kept));
        let idle = over.map(|kept| now.saturating_duration_since(kept.since)).sum();
        self.kept.retain(|kept| !is_over(kept));
        idle
    }

    /// For tests: as if nobody ever let go of anything.
    #[cfg(test)]
    pub(super) fn keep_for_ever(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.until += Duration::from_hours(1));
    }

    /// Whether something may be kept for them soon.
    fn is_brief(&self, now: Instant) -> bool {
        let is_gone = |left_at: Instant| now.saturating_duration_since(left_at) >= GONE_AFTER;
        self.window().is_some() && !self.left_at.is_some_and(is_gone)
    }

    fn kept(&self) -> u32 {
        u32::try_from(self.kept.len()).expect("fewer than servers")
    }

    /// For how long it is worth to keep a server. `None`: they are away for too long.
    fn window(&self) -> Option<Duration> {
        let window = Duration::try_from_secs_f64(self.mean?).ok()? * TIMES_MEAN;
        (window <= KEEP_MAX).then_some(window.max(KEEP_MIN))
    }
}

/// The lines of a pool that servers are kept for.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    lines: Vec<u32>,
    servers: u32,
}

impl<S: Site> Scheduler<S> {
    /// How many idle servers of a pool are kept for somebody.
    pub fn kept(&self, pool: PoolId) -> u32 {
        self.of(pool).keeps.servers
    }

    /// Whether the time has to be told more often, for a pool that somebody waits for.
    pub(super) fn may_keep(&self, pool: PoolId) -> bool {
        let lines = self.queue.lines_of(pool);
        let mut absences = lines.iter().map(|line| &self.queue.line(*line).flow.absence);
        self.queue.peopled(pool) > 1 && absences.any(|absence| absence.is_brief(self.paced_at))
    }

    /// How many idle servers this line may have.
    pub(super) fn idle_for(&self, line: u32) -> u32 {
        let of = self.queue.line(line);
        let for_others = self.kept(of.pool) - of.flow.absence.kept();
        self.slots.counts(of.pool).idle.saturating_sub(for_others)
    }

    /// A client asks for a server, whether there is one or not.
    pub(super) fn came_back(&mut self, now: Instant, member: Member) {
        self.queue.line_mut(member.line).flow.absence.came_back(now);
    }

    /// A client has given a server back that may be lent again.
    pub(super) fn keep(&mut self, now: Instant, member: Member) {
        let Member { class, line, .. } = member;
        let pool = self.queue.line(line).pool;
        if self.queue.peopled(pool) < 2 {
            // There is nobody to keep it from.
            return;
        }
        self.queue.line_mut(line).flow.absence.left(now);
        let Some(window) = self.queue.line(line).flow.absence.window() else { return };
        let is_wanted = self.next_turn(now, pool).is_some_and(|turn| {
            let (own, other) = (self.classes.of(class), self.queue.line(turn.line));
            let others = self.classes.of(other.class);
            let moment = self.moment(now);
            let share = &self.queue.line(line).flow.share;
            turn.line != line
                && !turn.is_guaranteed
                // Another of the class may wait elsewhere for what this one had of its quota.
                && !(own.usage.queued > 0 && own.is_limited())
                // Each priority has its own account of what was had; and a higher one that kept
                // servers would starve those below it of their floor.
                && own.limits.priority == others.limits.priority
                && share.used(moment, own.weight()) < other.flow.share.used(moment, others.weight())
                && others.mean_hold >= (window * WORTH).as_secs_f64()
        });
        let is_told = now.saturating_duration_since(self.paced_at) <= TOLD_WITHIN;
        if is_told && is_wanted && self.class_allowance(now, class) > 0 {
            let absence = &mut self.queue.line_mut(line).flow.absence;
            absence.kept.push(Kept { since: now, until: now + window });
            let is_first = absence.kept() == 1;
            let keeps = &mut self.of_mut(pool).keeps;
            keeps.servers += 1;
            if is_first {
                keeps.lines.push(line);
            }
        }
    }

    /// Somebody of this line has a server: it was kept for that. The time that it was idle is on the
    /// account of the line, or a class could have servers idle all the time and seem to have had none.
    pub(super) fn use_kept(&mut self, now: Instant, line: u32) {
        let of = self.queue.line_mut(line);
        if let Some(idle) = of.flow.absence.use_kept(now) {
            let weight = self.classes.of(of.class).weight();
            of.flow.share.charge(idle, weight);
            let (pool, is_last) = (of.pool, of.flow.absence.kept() == 0);
            let keeps = &mut self.of_mut(pool).keeps;
            keeps.servers -= 1;
            if is_last {
                keeps.lines.retain(|other| *other != line);
            }
        }
    }

    /// What was kept for too long is kept no more.
    pub(super) fn let_go(&mut self, now: Instant, pool: PoolId) {
        for at in (0..self.of(pool).keeps.lines.len()).rev() {
            let line = self.of(pool).keeps.lines[at];
            let of = self.queue.line_mut(line);
            let before = of.flow.absence.kept();
            let idle = of.flow.absence.let_go(now);
            let left = of.flow.absence.kept();
            of.flow.share.charge(idle, self.classes.of(of.class).weight());
            let keeps = &mut self.of_mut(pool).keeps;
            keeps.servers -= before - left;
            if left == 0 {
                keeps.lines.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Absence, KEEP_MAX, Kept};
    use crate::scheduler::tests::{epoch, ms};
    use std::time::Duration;

    #[test]
    fn nothing_is_kept_for_those_who_stay_away() {
        let mut absence = Absence::default();
        assert_eq!(absence.window(), None, "nobody was away so far");
        absence.left(epoch());
        absence.came_back(epoch() + Duration::from_micros(300));
        assert!(absence.window().is_some_and(|window| window <= KEEP_MAX));
        absence.left(epoch() + ms(1));
        absence.came_back(epoch() + ms(100));
        assert_eq!(absence.window(), None);
    }

    #[test]
    fn who_comes_back_at_once_finds_what_was_kept() {
        let mut absence = Absence::default();
        absence.left(epoch());
        absence.came_back(epoch());
        let window = absence.window().expect("it was away for no time");
        absence.kept.push(Kept { since: epoch(), until: epoch() + window });
        assert_eq!(absence.let_go(epoch()), Duration::ZERO);
        assert_eq!(absence.kept(), 1);
    }

    /// Two left, and one of them comes and goes.
    #[test]
    fn what_was_kept_for_one_runs_out_whatever_another_does() {
        let mut absence = Absence::default();
        absence.kept.push(Kept { since: epoch(), until: epoch() + ms(1) });
        absence.kept.push(Kept { since: epoch(), until: epoch() + ms(2) });
        assert_eq!(absence.use_kept(epoch() + ms(1)), Some(ms(1)));
        assert_eq!(absence.let_go(epoch() + ms(1)), ms(1));
        assert_eq!(absence.kept(), 0);
    }
}
