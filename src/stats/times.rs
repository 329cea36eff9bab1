//! How often something took how long, in few buckets: for what each query is counted in.
//!
//! [`Durations`] is finer, and larger: it is had once for each class. This is had for each pool by each
//! worker, and its buckets are those that metrics show, so a scrape tells exactly what was counted.

use super::counter::Counter;
use super::durations::Durations;
use std::time::Duration;

pub const BUCKETS: usize = 16;

/// Upper bounds of all buckets but the last, which has none. A bound is in the bucket below it. Each is
/// at least twice the one before: see [`bucket_of`].
pub const BOUNDS: [Duration; BUCKETS - 1] = [
    // What Postgres takes for a small query.
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    // What people notice, and what they give up after.
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Nanoseconds. The last bucket ends with the number itself.
const ENDS: [u64; BUCKETS] = {
    let mut ends = [u64::MAX; BUCKETS];
    let mut bucket = 0;
    while bucket < BOUNDS.len() {
        let bound = BOUNDS[bucket];
        ends[bucket] = bound.as_secs() * 1_000_000_000 + bound.subsec_nanos() as u64;
        assert!(bucket == 0 || ends[bucket] >= 2 * ends[bucket - 1], "two bounds in an octave");
        bucket += 1;
    }
    ends
};

/// By the leading zeros of a number of nanoseconds: the first bucket that it may be in.
const FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut zeros = 0;
    while zeros < 64 {
        // The least number with so many leading zeros.
        let least = 1 << (63 - zeros);
        while ENDS[first[zeros] as usize] < least {
            first[zeros] += 1;
        }
        zeros += 1;
    }
    first
};

/// The bucket that so many nanoseconds are in. No more than one bound is within an octave, so a look at
/// a table and one comparison find it.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    let first = usize::from(FIRST[nanos.leading_zeros() as usize]);
    // The last has no end to be beyond.
    first + usize::from(nanos > ENDS[first])
}

/// What one worker counted.
#[derive(Debug, Default)]
pub struct TimeCells {
    counts: [Counter; BUCKETS],
    /// Nanoseconds.
    sum: Counter,
}

impl TimeCells {
    #[inline]
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos)].add(1);
        self.sum.add(nanos);
    }

    /// It took no time at all.
    #[inline]
    pub fn record_none(&self) {
        self.counts[0].add(1);
    }

    /// Adds what was counted so far.
    pub(super) fn add_to(&self, times: &mut Times) {
        for (count, cell) in times.counts.iter_mut().zip(&self.counts) {
            *count += cell.value();
        }
        times.nanos = times.nanos.wrapping_add(self.sum.value());
    }

    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum.value())
    }
}

/// What was counted, in each bucket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Times {
    pub counts: [u64; BUCKETS],
    nanos: u64,
}

impl Times {
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time below which the share `q` of all is: to within a bucket, in which all are taken to be
    /// spread evenly. What is beyond the last bound is taken to be there. Zero if there is none.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52")]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = q.clamp(0.0, 1.0) * self.count() as f64;
        let (mut below, mut start) = (0.0, Duration::ZERO);
        for (count, bound) in self.counts.into_iter().map(|count| count as f64).zip(BOUNDS) {
            if count > 0.0 && below + count >= rank {
                let within = ((rank - below) / count).clamp(0.0, 1.0);
                return start + bound.saturating_sub(start).mul_f64(within);
            }
            below += count;
            start = bound;
        }
        if self.count() > 0 { start } else { Duration::ZERO }
    }

    /// The bound of the bucket that this time is in: no more is known of it. A share of one long and many short
    /// ones would otherwise seem to be where nothing was.
    pub fn bound(&self, q: f64) -> Duration {
        let quantile = self.quantile(q);
        if quantile.is_zero() {
            return quantile;
        }
        BOUNDS.into_iter().find(|bound| *bound >= quantile).unwrap_or(quantile)
    }

    /// Adds what others counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }

    /// What was counted since they were `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let count = |bucket: usize| self.counts[bucket].saturating_sub(before.counts[bucket]);
        let nanos = self.nanos.wrapping_sub(before.nanos);
        Self { counts: std::array::from_fn(count), nanos }
    }
}

/// To within what `times` tells of: an eighth.
impl From<&Durations> for Times {
    fn from(times: &Durations) -> Self {
        let mut counts = [0; BUCKETS];
        let mut below = 0;
        for (count, bound) in counts.iter_mut().zip(BOUNDS) {
            *count = times.below(bound) - below;
            below += *count;
        }
        counts[BUCKETS - 1] = times.count() - below;
        let nanos = u64::try_from(times.sum().as_nanos()).unwrap_or(u64::MAX);
        Self { counts, nanos }
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS, BUCKETS, ENDS, TimeCells, Times, bucket_of};
    use crate::stats::durations::Durations;
    use proptest::prelude::*;
    use std::time::Duration;

    fn slowly(nanos: u64) -> usize {
        ENDS.iter().position(|end| nanos <= *end).unwrap()
    }

    #[test]
    fn a_bound_is_in_the_bucket_below_it() {
        for (bucket, bound) in BOUNDS.into_iter().enumerate() {
            let nanos = u64::try_from(bound.as_nanos()).unwrap();
            assert_eq!((bucket_of(nanos), bucket_of(nanos + 1)), (bucket, bucket + 1));
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    proptest! {
        #[test]
        fn the_table_finds_what_a_search_finds(nanos: u64, shift in 0_u32..64) {
            let nanos = nanos >> shift;
            prop_assert_eq!(bucket_of(nanos), slowly(nanos));
        }
    }

    #[test]
    fn times_add_up() {
        let (cells, others) = (TimeCells::default(), TimeCells::default());
        cells.record(Duration::from_millis(3));
        cells.record_none();
        others.record(Duration::from_secs(100));
        let mut times = Times::default();
        cells.add_to(&mut times);
        others.add_to(&mut times);
        assert_eq!((times.counts[0], times.counts[5], times.counts[BUCKETS - 1]), (1, 1, 1));
        assert_eq!((times.counts.iter().sum::<u64>(), times.sum().as_millis()), (3, 100_003));
        let before = times;
        others.add_to(&mut times);
        let since = times.since(&before);
        assert_eq!((since.count(), since.sum()), (1, Duration::from_secs(100)));
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        let cells = TimeCells::default();
        let quantiles = |cells: &TimeCells| {
            let mut times = Times::default();
            cells.add_to(&mut times);
            [0.5, 0.9, 0.99, 1.0].map(|q| times.quantile(q).as_micros())
        };
        assert_eq!(quantiles(&cells), [0; 4]);
        (0..90).for_each(|_| cells.record(Duration::from_micros(150)));
        (0..9).for_each(|_| cells.record(Duration::from_millis(15)));
        cells.record(Duration::from_millis(150));
        assert_eq!(quantiles(&cells), [155, 200, 20_000, 200_000]);
        cells.record(Duration::from_mins(1));
        assert_eq!(quantiles(&cells)[3], 30_000_000, "as far as is known");
    }

    #[test]
    fn a_bound_is_that_of_a_bucket() {
        let cells = TimeCells::default();
        let bounds = |cells: &TimeCells| {
            let mut times = Times::default();
            cells.add_to(&mut times);
            [0.5, 0.99, 1.0].map(|q| times.bound(q).as_micros())
        };
        assert_eq!(bounds(&cells), [0; 3]);
        (0..10).for_each(|_| cells.record(Duration::from_micros(30)));
        assert_eq!(bounds(&cells), [100; 3], "not a part of it");
        cells.record(Duration::from_millis(15));
        assert_eq!(bounds(&cells), [100, 20_000, 20_000]);
    }

    #[test]
    fn fine_buckets_become_coarse_ones() {
        let mut fine = Durations::default();
        let mut coarse = Times::default();
        let cells = TimeCells::default();
        for micros in [0, 30, 150, 1_500, 7_000, 600_000, 90_000_000] {
            fine.record(Duration::from_micros(micros));
            cells.record(Duration::from_micros(micros));
        }
        cells.add_to(&mut coarse);
        assert_eq!(Times::from(&fine), coarse);
    }
}
