//! What one pool did, as counted by each worker.

use super::counter::Counter;
use crate::base::ids::WorkerId;
use std::ops::AddAssign;
use std::time::Duration;

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
    /// Nanoseconds.
    pub xact_time: Counter,
    pub query_time: Counter,
    pub wait_time: Counter,
    pub parses: Counter,
    pub binds: Counter,
    /// Leases that a pin kept beyond their transaction.
    pub pins: Counter,
    /// Servers that had to be cleaned before the next client.
    pub resets: Counter,
    /// Clients that were let in.
    pub logins: Counter,
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
    pub parses: u64,
    pub binds: u64,
    pub pins: u64,
    pub resets: u64,
    pub logins: u64,
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
}

impl PoolCells {
    fn totals(&self) -> PoolTotals {
        let micros = |counter: &Counter| {
            let micros = Duration::from_nanos(counter.value()).as_micros();
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
            parses: self.parses.value(),
            binds: self.binds.value(),
            pins: self.pins.value(),
            resets: self.resets.value(),
            logins: self.logins.value(),
        }
    }
}

impl PoolTotals {
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
            parses: self.parses.saturating_sub(before.parses),
            binds: self.binds.saturating_sub(before.binds),
            pins: self.pins.saturating_sub(before.pins),
            resets: self.resets.saturating_sub(before.resets),
            logins: self.logins.saturating_sub(before.logins),
        }
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
        self.parses += other.parses;
        self.binds += other.binds;
        self.pins += other.pins;
        self.resets += other.resets;
        self.logins += other.logins;
    }
}

#[cfg(test)]
mod tests {
    use super::PoolStats;
    use crate::base::ids::WorkerId;

    #[test]
    fn workers_add_up() {
        let stats = PoolStats::new(2);
        stats.of(WorkerId(1)).queries.add(2);
        stats.of(WorkerId(2)).queries.add(3);
        stats.of(WorkerId::MAIN).query_time.add(5_000);
        assert_eq!((stats.totals().queries, stats.totals().query_time), (5, 5));
    }
}
