//! How much was done in some time, and how long it took.

use crate::pool::snapshot::PoolView;
use crate::stats::times::Times;
use serde::Serialize;
use std::time::Duration;

/// What was done: totals, or a difference of totals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    transactions: u64,
    queries: u64,
    /// Microseconds for which servers were lent.
    lent: u64,
    wait: Times,
    query: Times,
}

/// How much of it in a second, and how long it took; times in seconds. `None`: nothing was done.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Rates {
    pub(super) transactions: f64,
    pub(super) queries: f64,
    pub(super) wait_p50: Option<f64>,
    pub(super) wait_p99: Option<f64>,
    pub(super) query_p50: Option<f64>,
    pub(super) query_p99: Option<f64>,
}

impl Done {
    /// Since the start.
    pub(super) fn of(pool: &PoolView) -> Self {
        Self {
            transactions: pool.totals.xacts,
            queries: pool.totals.queries,
            lent: pool.totals.xact_time,
            wait: pool.times.wait,
            query: pool.times.query,
        }
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            transactions: self.transactions.saturating_sub(before.transactions),
            queries: self.queries.saturating_sub(before.queries),
            wait: self.wait.since(&before.wait),
            lent: self.lent.saturating_sub(before.lent),
            query: self.query.since(&before.query),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.wait.add(&other.wait);
        self.lent += other.lent;
        self.query.add(&other.query);
    }

    /// Seconds for which servers were lent.
    pub(super) fn lent(&self) -> f64 {
        Duration::from_micros(self.lent).as_secs_f64()
    }

    pub(super) fn rates(&self, time: Duration) -> Rates {
        let quantile = |times: &Times, q| (times.count() > 0).then(|| seconds(times.quantile(q)));
        Rates {
            transactions: per_second(self.transactions, time),
            queries: per_second(self.queries, time),
            wait_p50: quantile(&self.wait, 0.5),
            wait_p99: quantile(&self.wait, 0.99),
            query_p50: quantile(&self.query, 0.5),
            query_p99: quantile(&self.query, 0.99),
        }
    }
}

impl Rates {
    /// Of several together. Of how long what took, the worst is kept.
    pub(super) fn add(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        let worst = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        self.wait_p50 = worst(self.wait_p50, other.wait_p50);
        self.wait_p99 = worst(self.wait_p99, other.wait_p99);
        self.query_p50 = worst(self.query_p50, other.query_p50);
        self.query_p99 = worst(self.query_p99, other.query_p99);
    }
}

/// To a hundredth. Nothing, where there was no time to do anything in.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52")]
    let count = count as f64;
    if time.is_zero() { 0.0 } else { (count / time.as_secs_f64() * 100.0).round() / 100.0 }
}

/// To a microsecond.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
