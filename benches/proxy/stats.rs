//! Medians and ranges of a handful of runs.

use std::fmt;
use std::time::Duration;

use crate::contest::Entry;
use crate::work::Sample;

#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None of no values at all.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    pub(crate) fn of_costs(entry: &Entry) -> Option<Self> {
        Self::of(entry.samples.iter().map(|sample| sample.cost))
    }

    pub(crate) fn of_rates(entry: &Entry) -> Option<Self> {
        Self::of(entry.samples.iter().filter_map(|sample| sample.rate))
    }

    /// Each round's ratio of costs by itself, so that what slowed a whole round cancels out.
    pub(crate) fn of_ratios(entry: &Entry, base: &Entry) -> Option<Self> {
        Self::of(rounds(entry, base).map(|(sample, base)| sample.cost / base.cost))
    }

    /// The same of how much was done in a second.
    pub(crate) fn of_rate_ratios(entry: &Entry, base: &Entry) -> Option<Self> {
        Self::of(rounds(entry, base).filter_map(|(sample, base)| Some(sample.rate? / base.rate?)))
    }
}

fn rounds<'a>(entry: &'a Entry, base: &'a Entry) -> impl Iterator<Item = (&'a Sample, &'a Sample)> {
    entry.samples.iter().zip(&base.samples)
}

/// So many of a hundred took no longer, in milliseconds; infinite if there are none.
pub(crate) fn percentile_ms(percent: usize, mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100);
    rank.checked_sub(1).map_or(f64::INFINITY, |index| times[index].as_secs_f64() * 1e3)
}

/// The part of a CPU cost that is spent outside the kernel, over all rounds: one is too short to tell.
pub(crate) fn user_share(entry: &Entry) -> Option<f64> {
    let ticks = || entry.samples.iter().filter_map(|sample| sample.ticks);
    let user: u64 = ticks().map(|ticks| ticks.user).sum();
    let system: u64 = ticks().map(|ticks| ticks.system).sum();
    (user + system > 0).then(|| user as f64 / (user + system) as f64)
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.2} ({:.2}..{:.2})", self.median, self.min, self.max)
    }
}
