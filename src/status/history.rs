//! The last quarter of an hour: what was done in each few seconds, in bounded memory.
//!
//! One point for all pools, one for each of the few that were busiest lately, and one for the rest
//! together. A point is made of differences between two samples of the totals, so it tells of its own few
//! seconds and of nothing before.

use super::rates::{Done, Rates};
use crate::pool::snapshot::{PoolView, Snapshot};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How often a point is made.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// A quarter of an hour.
const POINTS_MAX: usize = 180;

/// Pools with points of their own.
const POOLS_MAX: usize = 8;

/// What a pool was busy with counts less with each sample: half after a minute.
const FADES: f64 = 0.944;

/// A pool gets the place of another only if it is so many times as busy: each starts anew.
const BUSIER: f64 = 1.5;

type Name = (String, String);

/// A few seconds.
#[derive(Clone, Debug)]
struct Point {
    rates: Rates,
    clients: u32,
    waiting: u32,
}

/// The totals at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    refused: u64,
    pools: BTreeMap<Name, Totals>,
}

#[derive(Clone, Debug)]
struct Totals {
    done: Done,
    /// How busy it was, lately: seconds of servers, and of clients that waited.
    busy: f64,
}

#[derive(Debug, Default)]
struct Points(VecDeque<Point>);

/// Some 160 kB, and 1 kB for each pool that there is.
#[derive(Debug)]
pub(super) struct History {
    /// How many points were made so far.
    last: u64,
    older: Option<Sample>,
    newer: Option<Sample>,
    all: Points,
    refused: VecDeque<f64>,
    busiest: BTreeMap<Name, Points>,
    rest: Points,
    pools: usize,
}

/// The points, one column for each number, oldest first. Columns end now; one that is shorter begins
/// later.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    format: u32,
    last: u64,
    every: u64,
    all: Columns,
    refused: &'a VecDeque<f64>,
    pools: Vec<OfPool<'a>>,
    /// Those together that have no columns of their own.
    rest: Option<Columns>,
}

#[derive(Serialize)]
struct OfPool<'a> {
    database: &'a str,
    user: &'a str,
    #[serde(flatten)]
    columns: Columns,
}

#[derive(Serialize)]
struct Columns {
    clients: Vec<u32>,
    waiting: Vec<u32>,
    transactions: Vec<f64>,
    queries: Vec<f64>,
    wait_p50: Vec<Option<f64>>,
    wait_p99: Vec<Option<f64>>,
    query_p50: Vec<Option<f64>>,
    query_p99: Vec<Option<f64>>,
}

/// What was done in the last five to ten seconds.
pub(super) struct Lately {
    pub(super) all: Rates,
    pub(super) refused: f64,
    /// As in the snapshot.
    pub(super) pools: Vec<Rates>,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            last: 0,
            older: None,
            newer: None,
            all: Points::default(),
            refused: VecDeque::new(),
            busiest: BTreeMap::new(),
            rest: Points::default(),
            pools: 0,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let newer = self.newer.as_ref();
        newer.is_none_or(|newer| now.saturating_duration_since(newer.at) >= EVERY)
    }

    /// How many points were made so far.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Makes the next point. `refused`: requests, since the start.
    pub(super) fn keep(&mut self, now: Instant, snapshot: &Snapshot, refused: u64) {
        let before = self.newer.take();
        let mut pools = BTreeMap::new();
        let mut points = BTreeMap::new();
        let mut all = Sum::default();
        let time = before.as_ref().map(|before| now.saturating_duration_since(before.at));
        for view in &snapshot.pools {
            let name = (view.database.clone(), view.user.clone());
            let known = before.as_ref().and_then(|before| before.pools.get(&name));
            let total = Done::of(view);
            // One that was not there before has done all of it since.
            let done = known.map_or(total, |known| total.since(&known.done));
            let waited = f64::from(view.counts.waiting) * EVERY.as_secs_f64();
            let busy = known.map_or(0.0, |known| known.busy) * FADES + done.lent() + waited;
            pools.insert(name.clone(), Totals { done: total, busy });
            let one = Sum::of(view, &done);
            all.add(&one);
            points.insert(name, one);
        }
        if let (Some(before), Some(time)) = (&before, time) {
            self.choose(&pools);
            all.clients = snapshot.clients;
            self.all.push(all.point(time));
            let new = refused.saturating_sub(before.refused);
            push(&mut self.refused, super::rates::per_second(new, time));
            for (name, kept) in &mut self.busiest {
                // One that is gone for good has done nothing.
                kept.push(points.remove(name).unwrap_or_default().point(time));
            }
            let mut rest = Sum::default();
            for one in points.values() {
                rest.add(one);
            }
            self.rest.push(rest.point(time));
            self.last += 1;
        }
        self.pools = pools.len();
        self.older = before;
        self.newer = Some(Sample { at: now, refused, pools });
    }

    /// Chooses whose points are kept.
    fn choose(&mut self, pools: &BTreeMap<Name, Totals>) {
        let busy = |name: &Name| pools.get(name).map_or(0.0, |totals| totals.busy);
        loop {
            let others = pools.keys().filter(|name| !self.busiest.contains_key(*name));
            let Some(next) = others.max_by(|a, b| busy(a).total_cmp(&busy(b))) else { return };
            if self.busiest.len() == POOLS_MAX {
                let least = self.busiest.keys().min_by(|a, b| busy(a).total_cmp(&busy(b)));
                let least = least.expect("there are some").clone();
                if busy(next) <= busy(&least) * BUSIER {
                    return;
                }
                self.busiest.remove(&least);
            }
            self.busiest.insert(next.clone(), Points::default());
        }
    }

    /// What was done lately, up to `now`, in all and in each pool of `snapshot`.
    pub(super) fn lately(&self, now: Instant, snapshot: &Snapshot, refused: u64) -> Lately {
        let before = self.older.as_ref().or(self.newer.as_ref());
        let time = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before.at));
        let mut all = Done::default();
        let of_pool = |view: &PoolView| {
            let name = (view.database.clone(), view.user.clone());
            let known = before.and_then(|before| before.pools.get(&name));
            let total = Done::of(view);
            let done = known.map_or(total, |known| total.since(&known.done));
            all.add(&done);
            done.rates(time)
        };
        let pools = snapshot.pools.iter().map(of_pool).collect();
        let new = before.map_or(0, |before| refused.saturating_sub(before.refused));
        Lately { all: all.rates(time), refused: super::rates::per_second(new, time), pools }
    }

    pub(super) fn document(&self) -> Document<'_> {
        // The busiest first.
        let busy = |name: &Name| {
            let totals = self.newer.as_ref().and_then(|newer| newer.pools.get(name));
            totals.map_or(0.0, |totals| totals.busy)
        };
        let mut pools: Vec<_> = self.busiest.iter().collect();
        pools.sort_by(|a, b| busy(b.0).total_cmp(&busy(a.0)));
        let pools = pools.into_iter().map(|((database, user), points)| OfPool {
            database,
            user,
            columns: points.columns(),
        });
        Document {
            format: super::FORMAT,
            last: self.last,
            every: EVERY.as_secs(),
            all: self.all.columns(),
            refused: &self.refused,
            pools: pools.collect(),
            rest: (self.pools > self.busiest.len()).then(|| self.rest.columns()),
        }
    }
}

/// Some pools, in one interval.
#[derive(Clone, Debug, Default)]
struct Sum {
    done: Done,
    clients: u32,
    waiting: u32,
}

impl Sum {
    fn of(view: &PoolView, done: &Done) -> Self {
        Self { done: *done, clients: view.clients, waiting: view.counts.waiting }
    }

    fn add(&mut self, other: &Self) {
        self.done.add(&other.done);
        self.clients += other.clients;
        self.waiting += other.waiting;
    }

    fn point(&self, time: Duration) -> Point {
        Point { rates: self.done.rates(time), clients: self.clients, waiting: self.waiting }
    }
}

fn push<T>(points: &mut VecDeque<T>, point: T) {
    if points.len() == POINTS_MAX {
        points.pop_front();
    }
    points.push_back(point);
}

impl Points {
    fn push(&mut self, point: Point) {
        push(&mut self.0, point);
    }

    fn columns(&self) -> Columns {
        let points = || self.0.iter();
        Columns {
            clients: points().map(|point| point.clients).collect(),
            waiting: points().map(|point| point.waiting).collect(),
            transactions: points().map(|point| point.rates.transactions).collect(),
            queries: points().map(|point| point.rates.queries).collect(),
            wait_p50: points().map(|point| point.rates.wait_p50).collect(),
            wait_p99: points().map(|point| point.rates.wait_p99).collect(),
            query_p50: points().map(|point| point.rates.query_p50).collect(),
            query_p99: points().map(|point| point.rates.query_p99).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVERY, History, POINTS_MAX, POOLS_MAX};
    use crate::base::ids::WorkerId;
    use crate::pool::snapshot::{PoolView, Snapshot};
    use crate::scheduler::logins::LoginsView;
    use crate::stats::pool::PoolStats;
    use crate::status::tests::{epoch, pool};
    use std::time::Duration;

    fn snapshot(pools: Vec<PoolView>) -> Snapshot {
        let logins = LoginsView::default();
        Snapshot { pools, hosts: vec![], clients: 7, consoles: 0, logins }
    }

    fn busy(name: &str, transactions: u64) -> PoolView {
        let mut view = pool(name);
        view.totals.xacts = transactions;
        view.totals.xact_time = transactions * 1_000;
        view
    }

    fn document(history: &History) -> serde_json::Value {
        serde_json::to_value(history.document()).unwrap()
    }

    #[test]
    fn a_point_tells_of_its_own_seconds() {
        let mut history = History::new();
        let stats = PoolStats::new(0);
        let waits = &stats.of(WorkerId::MAIN).wait_time;
        let view = |transactions, waiting| {
            let mut view = busy("app", transactions);
            view.counts.waiting = waiting;
            view.times = stats.times();
            view
        };
        waits.record(Duration::from_secs(20));
        assert!(history.is_due(epoch()));
        history.keep(epoch(), &snapshot(vec![view(1_000, 0)]), 40);
        assert!(!history.is_due(epoch()) && history.is_due(epoch() + EVERY));
        (0..10).for_each(|_| waits.record(Duration::from_millis(3)));
        let after = snapshot(vec![view(1_500, 3)]);
        history.keep(epoch() + EVERY, &after, 45);
        let document = document(&history);
        assert_eq!(document["last"], 1);
        assert_eq!(document["all"]["transactions"], serde_json::json!([100.0]));
        assert_eq!(document["all"]["waiting"], serde_json::json!([3]));
        assert_eq!(document["all"]["clients"], serde_json::json!([7]));
        // Not the twenty seconds from before.
        assert_eq!(document["all"]["wait_p99"], serde_json::json!([0.00497]));
        assert_eq!(document["all"]["query_p99"], serde_json::json!([null]));
        assert_eq!(document["refused"], serde_json::json!([1.0]));
        assert_eq!(document["pools"][0]["database"], "app");
        assert_eq!(document["rest"], serde_json::Value::Null);
        let lately = history.lately(epoch() + EVERY * 2, &after, 45);
        assert_eq!((lately.all.transactions, lately.pools[0].transactions), (50.0, 50.0));
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let mut history = History::new();
        for at in 0..1_000 {
            let pools = (0..100).map(|of| busy(&format!("app{of}"), u64::from(at) * 10));
            history.keep(epoch() + EVERY * at, &snapshot(pools.collect()), 0);
        }
        let document = document(&history);
        let length = |columns: &serde_json::Value| columns["queries"].as_array().unwrap().len();
        assert_eq!((length(&document["all"]), length(&document["rest"])), (POINTS_MAX, POINTS_MAX));
        assert_eq!(document["pools"].as_array().unwrap().len(), POOLS_MAX);
        assert_eq!(document["last"], 999);
        let of = |part: &serde_json::Value| part["transactions"][0].as_f64().unwrap();
        assert_eq!((of(&document["all"]), of(&document["rest"])), (200.0, 184.0));
    }

    #[test]
    fn a_pool_that_becomes_busy_gets_the_place_of_one_that_rests() {
        let mut history = History::new();
        let first = |document: &serde_json::Value| document["pools"][0]["database"].clone();
        for at in 0..30 {
            let pools = (0..20).map(|of| {
                let name = format!("app{of:02}");
                busy(&name, u64::from(at) * if of == 0 && at > 5 { 500 } else { 10 })
            });
            history.keep(epoch() + EVERY * at, &snapshot(pools.collect()), 0);
        }
        let document = document(&history);
        assert_eq!(first(&document), "app00");
        let own = document["pools"][0]["queries"].as_array().unwrap().len();
        assert!(own < 29, "{own} points, of times when it was one of the rest");
    }
}
