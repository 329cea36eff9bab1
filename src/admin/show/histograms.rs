//! `SHOW HISTOGRAMS`: how long what takes, of the same numbers that metrics have.

use crate::admin::table::{Row, int8, text};
use crate::pool::snapshot::{ClassOfHost, PoolView};
use crate::stats::durations::Durations;
use crate::stats::times::Times;
use crate::wire::rows::{Cell, Column};
use std::time::Duration;

pub(super) const COLUMNS: &[Column] = &[
    text("database"),
    text("user"),
    text("class"),
    text("host"),
    text("time"),
    int8("count"),
    int8("sum_us"),
    int8("p50_us"),
    int8("p90_us"),
    int8("p99_us"),
    int8("max_us"),
];

/// The shares of all that are below each of the times shown; of the last, all.
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

/// Pools first, then classes.
pub(super) fn rows(pools: &[PoolView], classes: &[ClassOfHost]) -> Vec<Row> {
    let of_pools = pools.iter().flat_map(|pool| {
        let times = &pool.times;
        [("wait", &times.wait), ("transaction", &times.xact), ("query", &times.query)].map(
            |(time, times)| {
                let names = [Some(&pool.database), Some(&pool.user), None, Some(&pool.host)];
                row(names, time, of_times(times))
            },
        )
    });
    let of_classes = classes.iter().flat_map(|ClassOfHost { host, class }| {
        let counters = &class.counters;
        [("wait", &counters.waits), ("service", &counters.service)].map(|(time, durations)| {
            row([None, None, Some(&class.name), Some(host)], time, of_durations(durations))
        })
    });
    of_pools.chain(of_classes).collect()
}

fn row(names: [Option<&String>; 4], time: &'static str, numbers: Vec<Cell>) -> Row {
    let mut row: Row = names.map(|name| name.cloned().into()).into();
    row.push(time.into());
    row.extend(numbers);
    row
}

fn of_times(times: &Times) -> Vec<Cell> {
    let shares = SHARES.map(|share| times.bound(share));
    numbers(times.count(), times.sum(), shares)
}

fn of_durations(durations: &Durations) -> Vec<Cell> {
    let shares = SHARES.map(|share| durations.quantile(share));
    numbers(durations.count(), durations.sum(), shares)
}

fn numbers(count: u64, sum: Duration, shares: [Duration; 4]) -> Vec<Cell> {
    let micros = |time: Duration| Cell::from(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let mut cells = vec![count.into(), micros(sum)];
    cells.extend(shares.map(micros));
    cells
}
