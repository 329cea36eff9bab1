//! Servers that somebody holds, and for how long altogether: known at any moment without asking
//! each of them.

use std::time::{Duration, Instant};

/// A count of holdings, and the sum of the moments at which they began.
///
/// From these two the time that has passed for all of them together follows: the count times now,
/// less the sum. Moments are nanoseconds since the scheduler began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Held {
    count: u32,
    begins: u128,
}

/// A moment, for [`Held`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn new(epoch: Instant, now: Instant) -> Self {
        let nanos = now.saturating_duration_since(epoch).as_nanos();
        Self(u64::try_from(nanos).expect("five hundred years"))
    }

    /// Whole ones.
    pub(super) fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    pub(super) fn since(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(other.0))
    }
}

impl Held {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn begin(&mut self, at: Moment) {
        self.count += 1;
        self.begins += u128::from(at.0);
    }

    /// Ends one that began at `began`.
    pub(super) fn end(&mut self, began: Moment) {
        self.count -= 1;
        self.begins -= u128::from(began.0);
    }

    /// The time that all have been held so far, in seconds.
    pub(super) fn seconds(&self, now: Moment) -> f64 {
        let all = (u128::from(self.count) * u128::from(now.0)).saturating_sub(self.begins);
        Duration::from_nanos(u64::try_from(all).unwrap_or(u64::MAX)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Moment};
    use crate::scheduler::tests::{epoch, ms};

    #[test]
    fn time_adds_up_over_all_that_are_held() {
        let start = epoch();
        let at = |millis| Moment::new(start, start + ms(millis));
        let mut held = Held::default();
        held.begin(at(0));
        held.begin(at(100));
        assert!((held.seconds(at(300)) - 0.5).abs() < 1e-9);
        held.end(at(0));
        assert!((held.seconds(at(300)) - 0.2).abs() < 1e-9);
        held.end(at(100));
        assert_eq!(held, Held::default());
    }
}
