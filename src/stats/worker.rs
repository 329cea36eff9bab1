//! What one worker does, and how what it served ended.

use super::counter::Counter;
use crate::end::EndReason;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often something happened, for each reason.
#[derive(Debug)]
pub struct Reasons([Counter; EndReason::ALL.len()]);

impl Default for Reasons {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Reasons {
    pub fn count(&self, reason: EndReason) {
        self.0[reason as usize].add(1);
    }

    pub fn of(&self, reason: EndReason) -> u64 {
        self.0[reason as usize].value()
    }
}

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CancelOutcome {
    /// Nobody has this key.
    UnknownKey,
    /// Too many were under way.
    OverLimit,
    /// Its client neither waited nor ran anything.
    Idle,
    /// Its client waited for a server, and no longer does.
    Queued,
    /// It went on to Postgres.
    Running,
}

impl CancelOutcome {
    pub const ALL: [Self; 5] =
        [Self::UnknownKey, Self::OverLimit, Self::Idle, Self::Queued, Self::Running];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::OverLimit => "over_limit",
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Running => "running",
        }
    }
}

/// One worker's numbers, on cache lines of their own. Written by its thread alone, but for the
/// connections, which are counted where they are accepted.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCells {
    connections: AtomicU32,
    /// Nanoseconds.
    busy: Counter,
    buffers_made: Counter,
    buffers_freed: Counter,
    /// Clients that were in, by why they left.
    pub closes: Reasons,
    /// Connections that did not become clients.
    pub failed_logins: Reasons,
    /// Requests that the proxy answered with an error of its own.
    pub refusals: Reasons,
    cancels: [Counter; CancelOutcome::ALL.len()],
}

impl WorkerCells {
    /// A connection is on its way to this worker.
    pub fn arrived(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub fn left(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections that it serves: clients, those that log in, sessions of the console.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// It has been busy for so long, since it began.
    pub fn set_busy(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.busy.add(nanos.saturating_sub(self.busy.value()));
    }

    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.value())
    }

    pub fn buffer_made(&self) {
        self.buffers_made.add(1);
    }

    pub fn buffer_freed(&self) {
        self.buffers_freed.add(1);
    }

    /// Buffers that it has memory for, whether they are in use or not.
    pub fn buffers(&self) -> u64 {
        // First the freed: one that is made and freed in between is not missed twice.
        let freed = self.buffers_freed.value();
        self.buffers_made.value().saturating_sub(freed)
    }

    pub fn canceled(&self, outcome: CancelOutcome) {
        self.cancels[outcome as usize].add(1);
    }

    pub fn cancels(&self, outcome: CancelOutcome) -> u64 {
        self.cancels[outcome as usize].value()
    }
}

#[cfg(test)]
mod tests {
    use super::{CancelOutcome, WorkerCells};
    use crate::end::EndReason;
    use std::time::Duration;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        let cells = WorkerCells::default();
        for (times, reason) in EndReason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| cells.closes.count(reason));
        }
        for (times, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(cells.closes.of(reason), times as u64, "{reason:?}");
        }
        for outcome in CancelOutcome::ALL {
            cells.canceled(outcome);
            assert_eq!(cells.cancels(outcome), 1, "{outcome:?}");
        }
    }

    #[test]
    fn it_tells_what_it_was_told() {
        let cells = WorkerCells::default();
        cells.arrived();
        cells.arrived();
        cells.left();
        cells.set_busy(Duration::from_millis(5));
        cells.set_busy(Duration::from_millis(8));
        cells.buffer_made();
        cells.buffer_made();
        cells.buffer_freed();
        let (connections, busy, buffers) = (cells.connections(), cells.busy(), cells.buffers());
        assert_eq!((connections, busy, buffers), (1, Duration::from_millis(8), 1));
    }
}
