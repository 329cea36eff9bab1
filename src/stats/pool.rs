//! What one pool did, as counted by each worker.

use super::counter::Counter;
use super::times::{TimeCells, Times};
use crate::base::ids::WorkerId;
use std::ops::AddAssign;

/// Causes of pins, at most. Their meaning is a higher layer's: `session::pins::Cause`.
pub const PIN_CAUSES: usize = 10;

/// What clients leave on servers: `session::traces::Trace`.
pub const TRACES: usize = 8;

/// Why servers were closed, at most: `scheduler::CloseReason`.
pub const CLOSE_REASONS: usize = 8;

/// Why requests that wait do not share servers: `session::fare::Stays`.
pub const STAYS: usize = 12;

/// What one worker did for one pool. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolCells {
    /// Servers handed to clients.
    pub assignments: Counter,
    pub xacts: Counter,
    pub queries: Counter,
    /// Bytes from clients, and bytes to clients.
    pub received: Counter,
    pub sent: Counter,
    pub xact_time: TimeCells,
    pub query_time: TimeCells,
    /// Of those who got a server.
    pub wait_time: TimeCells,
    /// Requests that were answered without a server.
    pub shortcuts: Counter,
    /// Requests that were answered by a server that others shared; those that were not although they had to
    /// wait, by reason; and heads that took far longer than was expected.
    pub rides: Counter,
    pub stays: [Counter; STAYS],
    pub stalls: Counter,
    /// Notifications, once for each client that got one; and listener connections that were lost.
    pub notifications: Counter,
    pub listeners_lost: Counter,
    pub parses: Counter,
    pub binds: Counter,
    /// Requests to prepare that were answered by what a server had.
    pub parses_saved: Counter,
    /// Statements that were prepared again, on a server that lacked them.
    pub parses_added: Counter,
    /// Statements that made room for others, on servers that had as many as they may.
    pub statements_evicted: Counter,
    /// Clients that a pin made keep their server beyond their transaction, by cause.
    pub pins: [Counter; PIN_CAUSES],
    /// Servers that had to be cleaned before the next client.
    pub resets: Counter,
    /// What clients had left there, by what it was.
    pub traces: [Counter; TRACES],
    /// Clients that were let in.
    pub logins: Counter,
    /// Servers that were connected to, and attempts that failed.
    pub opened: Counter,
    pub open_failed: Counter,
    /// Servers that were closed on purpose, by reason.
    pub closed: [Counter; CLOSE_REASONS],
    /// Servers that were lost, or could not be made fit for the next client.
    pub lost: Counter,
}

/// The cells of all workers.
#[derive(Debug)]
pub struct PoolStats(Box<[PoolCells]>);

/// What one pool did so far. Times in microseconds, as PgBouncer has them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolTotals {
    pub assignments: u64,
    pub xacts: u64,
    pub queries: u64,
    pub received: u64,
    pub sent: u64,
    pub xact_time: u64,
    pub query_time: u64,
    pub wait_time: u64,
    pub shortcuts: u64,
    pub rides: u64,
    pub stays: [u64; STAYS],
    pub stalls: u64,
    pub notifications: u64,
    pub listeners_lost: u64,
    pub parses: u64,
    pub binds: u64,
    pub parses_saved: u64,
    pub parses_added: u64,
    pub statements_evicted: u64,
    pub pins: [u64; PIN_CAUSES],
    pub resets: u64,
    pub traces: [u64; TRACES],
    pub logins: u64,
    pub opened: u64,
    pub open_failed: u64,
    pub closed: [u64; CLOSE_REASONS],
    pub lost: u64,
}

/// How long what took in one pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolTimes {
    pub wait: Times,
    pub xact: Times,
    pub query: Times,
}

impl PoolStats {
    /// Cells for the main thread and `workers` others.
    pub fn new(workers: u16) -> Self {
        Self(std::iter::repeat_with(PoolCells::default).take(usize::from(workers) + 1).collect())
    }

    /// The cells that this worker may write.
    #[inline]
    pub fn of(&self, worker: WorkerId) -> &PoolCells {
        &self.0[usize::from(worker.0)]
    }

    pub fn totals(&self) -> PoolTotals {
        let mut totals = PoolTotals::default();
        self.0.iter().for_each(|cells| totals += cells.totals());
        totals
    }

    pub fn times(&self) -> PoolTimes {
        let mut times = PoolTimes::default();
        for cells in &self.0 {
            cells.wait_time.add_to(&mut times.wait);
            cells.xact_time.add_to(&mut times.xact);
            cells.query_time.add_to(&mut times.query);
        }
        times
    }
}

impl PoolCells {
    fn totals(&self) -> PoolTotals {
        let micros = |cells: &TimeCells| {
            let micros = cells.sum().as_micros();
            u64::try_from(micros).unwrap_or(u64::MAX)
        };
        PoolTotals {
            assignments: self.assignments.value(),
            xacts: self.xacts.value(),
            queries: self.queries.value(),
            received: self.received.value(),
            sent: self.sent.value(),
            xact_time: micros(&self.xact_time),
            query_time: micros(&self.query_time),
            wait_time: micros(&self.wait_time),
            shortcuts: self.shortcuts.value(),
            rides: self.rides.value(),
            stays: self.stays.each_ref().map(Counter::value),
            stalls: self.stalls.value(),
            notifications: self.notifications.value(),
            listeners_lost: self.listeners_lost.value(),
            parses: self.parses.value(),
            binds: self.binds.value(),
            parses_saved: self.parses_saved.value(),
            parses_added: self.parses_added.value(),
            statements_evicted: self.statements_evicted.value(),
            pins: self.pins.each_ref().map(Counter::value),
            resets: self.resets.value(),
            traces: self.traces.each_ref().map(Counter::value),
            logins: self.logins.value(),
            opened: self.opened.value(),
            open_failed: self.open_failed.value(),
            closed: self.closed.each_ref().map(Counter::value),
            lost: self.lost.value(),
        }
    }
}

impl PoolTotals {
    /// Statements that servers were given.
    pub fn server_parses(&self) -> u64 {
        self.parses.saturating_sub(self.parses_saved) + self.parses_added
    }

    /// What came since they were `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            assignments: self.assignments.saturating_sub(before.assignments),
            xacts: self.xacts.saturating_sub(before.xacts),
            queries: self.queries.saturating_sub(before.queries),
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            xact_time: self.xact_time.saturating_sub(before.xact_time),
            query_time: self.query_time.saturating_sub(before.query_time),
            wait_time: self.wait_time.saturating_sub(before.wait_time),
            shortcuts: self.shortcuts.saturating_sub(before.shortcuts),
            rides: self.rides.saturating_sub(before.rides),
            stays: differences(self.stays, before.stays),
            stalls: self.stalls.saturating_sub(before.stalls),
            notifications: self.notifications.saturating_sub(before.notifications),
            listeners_lost: self.listeners_lost.saturating_sub(before.listeners_lost),
            parses: self.parses.saturating_sub(before.parses),
            binds: self.binds.saturating_sub(before.binds),
            parses_saved: self.parses_saved.saturating_sub(before.parses_saved),
            parses_added: self.parses_added.saturating_sub(before.parses_added),
            statements_evicted: self.statements_evicted.saturating_sub(before.statements_evicted),
            pins: differences(self.pins, before.pins),
            resets: self.resets.saturating_sub(before.resets),
            traces: differences(self.traces, before.traces),
            logins: self.logins.saturating_sub(before.logins),
            opened: self.opened.saturating_sub(before.opened),
            open_failed: self.open_failed.saturating_sub(before.open_failed),
            closed: differences(self.closed, before.closed),
            lost: self.lost.saturating_sub(before.lost),
        }
    }
}

fn differences<const N: usize>(after: [u64; N], before: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| after[at].saturating_sub(before[at]))
}

fn sums<const N: usize>(one: [u64; N], other: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| one[at] + other[at])
}

impl PoolTimes {
    /// Adds what was counted in another pool.
    pub fn add(&mut self, other: &Self) {
        self.wait.add(&other.wait);
        self.xact.add(&other.xact);
        self.query.add(&other.query);
    }
}

impl AddAssign for PoolTotals {
    fn add_assign(&mut self, other: Self) {
        self.assignments += other.assignments;
        self.xacts += other.xacts;
        self.queries += other.queries;
        self.received += other.received;
        self.sent += other.sent;
        self.xact_time += other.xact_time;
        self.query_time += other.query_time;
        self.wait_time += other.wait_time;
        self.shortcuts += other.shortcuts;
        self.rides += other.rides;
        self.stays = sums(self.stays, other.stays);
        self.stalls += other.stalls;
        self.notifications += other.notifications;
        self.listeners_lost += other.listeners_lost;
        self.parses += other.parses;
        self.binds += other.binds;
        self.parses_saved += other.parses_saved;
        self.parses_added += other.parses_added;
        self.statements_evicted += other.statements_evicted;
        self.pins = sums(self.pins, other.pins);
        self.resets += other.resets;
        self.traces = sums(self.traces, other.traces);
        self.logins += other.logins;
        self.opened += other.opened;
        self.open_failed += other.open_failed;
        self.closed = sums(self.closed, other.closed);
        self.lost += other.lost;
    }
}

#[cfg(test)]
mod tests {
    use super::PoolStats;
    use crate::base::ids::WorkerId;
    use std::time::Duration;

    #[test]
    fn workers_add_up() {
        let stats = PoolStats::new(2);
        stats.of(WorkerId(1)).queries.add(2);
        stats.of(WorkerId(2)).queries.add(3);
        stats.of(WorkerId::MAIN).query_time.record(Duration::from_micros(5));
        stats.of(WorkerId(1)).pins[2].add(1);
        let totals = stats.totals();
        assert_eq!(
            (totals.queries, totals.query_time, totals.pins),
            (5, 5, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        );
        assert_eq!(stats.times().query.counts[0], 1);
        let mut twice = totals;
        twice += totals;
        assert_eq!(twice.since(&totals), totals);
    }
}
