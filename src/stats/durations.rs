//! How often something took how long.
//!
//! Buckets are an eighth of an octave wide, so whatever is read from them is off by 9 % at most
//! (the layout of `HdrHistogram` with three significant bits). Recording is a shift and an addition.

use std::time::Duration;

/// Below this many units each has a bucket of its own; above, each octave has so many.
const PER_OCTAVE: usize = 8;
const SUB_BITS: u32 = 3;

/// A unit is 2^10 ns: as good as a microsecond, and no division.
const UNIT_BITS: u32 = 10;

/// Up to 2^28 units, about 4.5 minutes; what took longer is in the last.
pub const BUCKETS: usize = (28 - SUB_BITS as usize + 1) * PER_OCTAVE;

/// The bucket that `time` is in.
pub fn bucket_of(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let units = nanos >> UNIT_BITS;
    if units < PER_OCTAVE as u64 {
        return units as usize;
    }
    let octave = u64::BITS - 1 - units.leading_zeros();
    let within = (units >> (octave - SUB_BITS)) as usize & (PER_OCTAVE - 1);
    ((octave - SUB_BITS + 1) as usize * PER_OCTAVE + within).min(BUCKETS - 1)
}

/// The shortest time that is in `bucket`.
pub fn start_of(bucket: usize) -> Duration {
    let (octave, within) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
    let units = match octave {
        0 => within as u64,
        _ => ((PER_OCTAVE + within) as u64) << (octave - 1),
    };
    Duration::from_nanos(units << UNIT_BITS)
}

/// A histogram of times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Durations {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    /// Nanoseconds.
    sum: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, sum: 0 }
    }
}

impl Durations {
    #[inline]
    pub fn record(&mut self, time: Duration) {
        self.counts[bucket_of(time)] += 1;
        self.count += 1;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum = self.sum.wrapping_add(nanos);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The time below which the share `q` of all is, to within a bucket. Zero if there is none.
    pub fn quantile(&self, q: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52")]
        let rank = q.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52")]
            if below as f64 >= rank {
                return start_of(bucket + 1);
            }
        }
        Duration::ZERO
    }

    /// How many took less than `bound`, as the buckets tell.
    pub fn below(&self, bound: Duration) -> u64 {
        self.counts[..bucket_of(bound)].iter().sum()
    }

    /// Adds what others recorded.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was recorded since it was `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut counts = self.counts.clone();
        for (count, before) in counts.iter_mut().zip(before.counts.iter()) {
            *count = count.saturating_sub(*before);
        }
        Self {
            counts,
            count: self.count.saturating_sub(before.count),
            sum: self.sum.wrapping_sub(before.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Durations, bucket_of, start_of};
    use std::time::Duration;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for bucket in 0..BUCKETS - 1 {
            let (start, end) = (start_of(bucket), start_of(bucket + 1));
            assert!(start < end);
            assert_eq!(bucket_of(start), bucket);
            assert_eq!(bucket_of(end.saturating_sub(Duration::from_nanos(1))), bucket);
            let width = end.saturating_sub(start).as_secs_f64();
            let is_narrow = width <= start.as_secs_f64() * 0.125 + 2e-6;
            assert!(is_narrow, "{start:?} to {end:?}");
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_within_a_bucket() {
        let mut times = Durations::default();
        (1..=1_000).for_each(|millis| times.record(Duration::from_millis(millis)));
        let near = |quantile: Duration, millis: f64| {
            let error = quantile.as_secs_f64() * 1e3 / millis;
            assert!((0.95..1.13).contains(&error), "{quantile:?} for {millis} ms");
        };
        near(times.quantile(0.5), 500.0);
        near(times.quantile(0.99), 990.0);
        assert_eq!(times.count(), 1_000);
        assert_eq!(times.sum(), Duration::from_millis(500_500));
        assert_eq!(times.below(Duration::from_secs(200)), 1_000);
        assert_eq!(Durations::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn a_difference_has_what_came_between() {
        let mut times = Durations::default();
        times.record(Duration::from_secs(1));
        let before = times.clone();
        times.record(Duration::from_millis(3));
        let between = times.since(&before);
        assert_eq!((between.count(), between.sum()), (1, Duration::from_millis(3)));
        assert!(between.quantile(1.0) < Duration::from_millis(4));
        let mut again = before;
        again.add(&between);
        assert_eq!(again, times);
    }
}
