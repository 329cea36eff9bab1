//! What a quota has left of server time.

use super::held::Moment;
use crate::config::classes::ServerTime;
use std::time::Duration;

/// What is owed is paid back within an hour: a transaction that somebody left open over the weekend does
/// not keep its class from working until Wednesday.
const OWED_FOR: f64 = 3_600.0;

/// Seconds that are left as of a moment. From then on, each second brings so many, and takes one for each
/// server that is held, as long as it is: who holds no more than that never runs out, however long it
/// takes, and a pause brings no more than the burst.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Moment,
    /// What was held before there was a quota is not charged.
    since: Moment,
}

impl Budget {
    /// A full one.
    pub(super) fn new(now: Moment, quota: ServerTime) -> Self {
        let (per_second, burst) = (quota.per_second, quota.burst.as_secs_f64());
        Self { per_second, burst, left: burst, at: now, since: now }
    }

    /// Goes on with another quota, while so many servers are held. What is left stays, and so does what
    /// is owed.
    pub(super) fn change(&mut self, now: Moment, held: u32, quota: ServerTime) {
        self.settle(now, held);
        (self.per_second, self.burst) = (quota.per_second, quota.burst.as_secs_f64());
        self.left = self.bounded(self.left);
    }

    /// What is left now, if so many servers were held since it was last told.
    #[inline]
    pub(super) fn left(&self, now: Moment, held: u32) -> f64 {
        let passed = now.since(self.at).as_secs_f64();
        self.bounded(self.left + (self.per_second - f64::from(held)) * passed)
    }

    pub(super) fn is_full(&self, now: Moment, held: u32) -> bool {
        self.left(now, held) >= self.burst
    }

    /// One more is held than `held`, since `at`: now, or somewhat before.
    #[inline]
    pub(super) fn begin(&mut self, now: Moment, held: u32, at: Moment) {
        self.settle(now, held);
        self.left = self.bounded(self.left - self.charged(at).as_secs_f64());
    }

    /// One of those `held` is not any more, since `at`. What it has been charged for since then is given
    /// back, as far as it would have been kept.
    #[inline]
    pub(super) fn end(&mut self, now: Moment, held: u32, at: Moment) {
        self.settle(now, held);
        self.left = self.bounded(self.left + self.charged(at).as_secs_f64());
    }

    fn settle(&mut self, now: Moment, held: u32) {
        self.left = self.left(now, held);
        // The clocks of workers differ a little: no time counts twice.
        self.at = self.at.max(now);
    }

    /// For how long one has been charged that is held since then.
    fn charged(&self, at: Moment) -> Duration {
        self.at.since(at.max(self.since))
    }

    fn bounded(&self, left: f64) -> f64 {
        left.min(self.burst).max(-self.per_second * OWED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use crate::config::classes::ServerTime;
    use crate::scheduler::held::Moment;
    use crate::scheduler::tests::{epoch, ms};
    use std::time::Duration;

    fn at(millis: u64) -> Moment {
        Moment::new(epoch(), epoch() + ms(millis))
    }

    fn quota(per_second: f64) -> ServerTime {
        ServerTime { per_second, burst: Duration::from_secs_f64(per_second) }
    }

    #[track_caller]
    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found} where {wanted} is left");
    }

    #[test]
    fn what_is_held_takes_what_time_brings() {
        let mut budget = Budget::new(at(0), quota(1.5));
        budget.begin(at(0), 0, at(0));
        near(budget.left(at(60_000), 1), 1.5);
        budget.begin(at(60_000), 1, at(60_000));
        near(budget.left(at(61_000), 2), 1.0);
        near(budget.left(at(65_000), 2), -1.0);
        budget.end(at(65_000), 2, at(65_000));
        near(budget.left(at(67_000), 1), 0.0);
        assert!(!budget.is_full(at(69_999), 1) && budget.is_full(at(70_000), 1));
    }

    #[test]
    fn what_is_told_late_is_made_good() {
        let mut budget = Budget::new(at(0), quota(1.0));
        budget.begin(at(1_000), 0, at(400));
        near(budget.left(at(1_000), 1), 0.4);
        budget.begin(at(1_000), 1, at(1_000));
        budget.end(at(2_000), 2, at(1_900));
        near(budget.left(at(2_000), 1), -0.5);
        // As if it had not been, but for what would not have been kept.
        budget.end(at(3_000), 1, at(400));
        near(budget.left(at(3_000), 0), 1.0);
        // Nor does a clock that is late bring anything.
        budget.begin(at(2_500), 0, at(2_500));
        near(budget.left(at(2_900), 1), 0.5);
    }

    #[test]
    fn who_was_there_before_the_quota_is_charged_from_then_on() {
        let mut budget = Budget::new(at(50_000), quota(1.0));
        near(budget.left(at(90_000), 1), 1.0);
        budget.begin(at(90_000), 1, at(90_000));
        near(budget.left(at(92_000), 2), -1.0);
        // Since before there was one.
        budget.end(at(92_000), 2, at(49_000));
        near(budget.left(at(92_000), 1), 1.0);
        let mut budget = Budget::new(at(50_000), quota(1.0));
        budget.begin(at(50_000), 0, at(10_000));
        near(budget.left(at(50_000), 1), 1.0);
    }

    #[test]
    fn another_quota_holds_from_now_on() {
        let mut budget = Budget::new(at(0), quota(1.0));
        budget.begin(at(0), 0, at(0));
        budget.begin(at(0), 1, at(0));
        budget.change(at(3_000), 2, quota(4.0));
        near(budget.left(at(3_000), 2), -2.0);
        near(budget.left(at(5_000), 2), 2.0);
        budget.change(at(6_000), 2, quota(0.5));
        near(budget.left(at(6_000), 2), 0.5);
    }

    #[test]
    fn a_debt_is_paid_back_within_an_hour() {
        const HOUR: u64 = 3_600_000;
        let mut budget = Budget::new(at(0), quota(0.5));
        budget.begin(at(0), 0, at(0));
        budget.end(at(60 * HOUR), 1, at(60 * HOUR));
        assert!(budget.left(at(61 * HOUR - 1), 0) < 0.0);
        near(budget.left(at(61 * HOUR), 0), 0.0);
        // What takes less is owed in full.
        budget.begin(at(61 * HOUR), 0, at(61 * HOUR));
        budget.end(at(62 * HOUR), 1, at(62 * HOUR));
        near(budget.left(at(63 * HOUR), 0), 0.0);
    }
}
