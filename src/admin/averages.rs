//! What was done lately: totals, less what they were a while ago.

use crate::stats::pool::PoolTotals;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// The totals of each database, at some moments of the past.
#[derive(Debug)]
pub(super) struct Averages {
    older: Sample,
    newer: Sample,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    databases: BTreeMap<String, PoolTotals>,
}

/// What was done, in which time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) done: PoolTotals,
    time: Duration,
}

impl Averages {
    pub(super) fn new(now: Instant) -> Self {
        let nothing = Sample { at: now, databases: BTreeMap::new() };
        Self { older: nothing.clone(), newer: nothing }
    }

    /// Whether the totals are to be kept to compare with: once in a `period`, which is PgBouncer's
    /// `stats_period`. Averages are over one to two of these.
    pub(super) fn is_due(&self, now: Instant, period: Duration) -> bool {
        now.saturating_duration_since(self.newer.at) >= period
    }

    pub(super) fn keep(&mut self, now: Instant, databases: BTreeMap<String, PoolTotals>) {
        let newer = Sample { at: now, databases };
        self.older = std::mem::replace(&mut self.newer, newer);
    }

    /// What was done by all databases since the totals were last kept.
    pub(super) fn lately(&self, now: Instant, databases: &BTreeMap<String, PoolTotals>) -> Rates {
        let sum = |databases: &BTreeMap<String, PoolTotals>| {
            let mut sum = PoolTotals::default();
            for totals in databases.values() {
                sum += *totals;
            }
            sum
        };
        let time = now.saturating_duration_since(self.newer.at);
        Rates { done: sum(databases).since(&sum(&self.newer.databases)), time }
    }

    pub(super) fn rates(&self, now: Instant, database: &str, totals: &PoolTotals) -> Rates {
        let before = self.older.databases.get(database).copied().unwrap_or_default();
        let time = now.saturating_duration_since(self.older.at);
        Rates { done: totals.since(&before), time }
    }
}

impl Rates {
    pub(super) fn per_second(&self, number: u64) -> u64 {
        let micros = self.time.as_micros().max(1);
        u64::try_from(u128::from(number) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }
}

/// Of several databases in the same time.
impl AddAssign for Rates {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.time = self.time.max(other.time);
    }
}

#[cfg(test)]
mod tests {
    use super::Averages;
    use crate::stats::pool::PoolTotals;
    use std::time::{Duration, Instant};

    const PERIOD: Duration = Duration::from_mins(1);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn averages_are_over_the_last_one_to_two_periods() {
        let start = Instant::now();
        let queries = |queries| PoolTotals { queries, ..PoolTotals::default() };
        let mut averages = Averages::new(start);
        let rate = |averages: &Averages, at: Duration, total: u64| {
            let rates = averages.rates(start + at, "app", &queries(total));
            rates.per_second(rates.done.queries)
        };
        assert_eq!(rate(&averages, Duration::from_secs(10), 50), 5);
        for (period, total) in [(1, 600), (2, 1_200)] {
            assert!(averages.is_due(start + PERIOD * period, PERIOD));
            averages.keep(start + PERIOD * period, [("app".to_owned(), queries(total))].into());
        }
        assert!(!averages.is_due(start + PERIOD * 2, PERIOD));
        // 600 in the minute since the older sample.
        assert_eq!(rate(&averages, PERIOD * 2, 1_200), 10);
        assert_eq!(rate(&averages, PERIOD * 3, 1_200), 5);
    }
}
