//! What happened lately: counts over a minute, and time that fades.

use super::held::Moment;
use std::time::{Duration, Instant};

/// A minute is counted in so many slices: it ends up to one of them too early.
const SLICES: usize = 12;
const SLICE: Duration = Duration::from_secs(60 / SLICES as u64);

/// How often something happened in the last minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    counts: [u32; SLICES],
    /// The one that is under way, from the start of the scheduler on.
    slice: u64,
}

impl Recent {
    pub(super) fn add(&mut self, now: Moment) {
        self.turn(now);
        let count = &mut self.counts[place(self.slice)];
        *count = count.saturating_add(1);
    }

    pub(super) fn sum(&self, now: Moment) -> u32 {
        let mut recent = self.clone();
        recent.turn(now);
        recent.counts.into_iter().fold(0, u32::saturating_add)
    }

    /// Forgets what is older than a minute. The clocks of workers differ a little: never goes back.
    fn turn(&mut self, now: Moment) {
        let slice = now.seconds() / SLICE.as_secs();
        for passed in self.slice + 1..=slice.min(self.slice + SLICES as u64) {
            self.counts[place(passed)] = 0;
        }
        self.slice = self.slice.max(slice);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than twelve")]
fn place(slice: u64) -> usize {
    (slice % SLICES as u64) as usize
}

/// Half of what was used counts no more after this time.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// Seconds that were used, of which the older count for less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lately {
    seconds: f64,
    /// All that had been used when this was last told.
    told: f64,
    at: Instant,
}

impl Lately {
    pub(super) fn new(now: Instant) -> Self {
        Self { seconds: 0.0, told: 0.0, at: now }
    }

    /// So many have been used in all. To be told often: it looks once in a second.
    pub(super) fn follow(&mut self, now: Instant, all: impl FnOnce() -> f64) {
        let passed = now.saturating_duration_since(self.at);
        if passed < HALF_LIFE / 10 {
            return;
        }
        let all = all();
        let left = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
        // A lease of a server that was dead is taken back.
        self.seconds = self.seconds * left + (all - self.told).max(0.0);
        (self.told, self.at) = (all, now);
    }

    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::{Lately, Recent};
    use crate::scheduler::held::Moment;
    use crate::scheduler::tests::{epoch, ms};

    fn at(seconds: u64) -> Moment {
        Moment::new(epoch(), epoch() + ms(1_000 * seconds))
    }

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let mut recent = Recent::default();
        (0..120).for_each(|second| recent.add(at(second)));
        assert_eq!(recent.sum(at(119)), 60);
        assert!((55..=60).contains(&recent.sum(at(120))));
        assert!((25..=30).contains(&recent.sum(at(150))));
        assert_eq!(recent.sum(at(180)), 0);
        assert_eq!(recent.sum(at(1_000_000)), 0);
        recent.add(at(1_000_000));
        assert_eq!(recent.sum(at(1_000_000)), 1);
    }

    #[test]
    fn a_clock_that_is_behind_loses_nothing() {
        let mut recent = Recent::default();
        recent.add(at(100));
        recent.add(at(94));
        assert_eq!(recent.sum(at(93)), 2);
    }

    #[test]
    fn what_was_used_fades_by_half_in_ten_seconds() {
        let mut lately = Lately::new(epoch());
        let mut used = 0.0;
        for second in 1..=200 {
            used += if second <= 100 { 2.0 } else { 0.0 };
            lately.follow(epoch() + ms(1_000 * second), || used);
            if second == 100 {
                // Two in a second, for about the fourteen seconds that count.
                assert!((28.0..31.0).contains(&lately.seconds()), "{lately:?}");
            }
            if second == 110 {
                assert!((14.0..15.5).contains(&lately.seconds()), "{lately:?}");
            }
        }
        assert!(lately.seconds() < 0.1);
    }
}
