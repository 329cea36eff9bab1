//! What the process as a whole does, may do, and has been told, at one moment.

use super::halts::HaltsView;
use super::registry::Registry;
use crate::config::overlay::Overlay;
use crate::end::EndReason;
use crate::net::worker::BUFFER_SIZE;
use crate::stats::worker::{CancelOutcome, Reasons, WorkerCells};
use std::time::{Duration, Instant, SystemTime};

#[derive(Clone, Debug)]
pub struct ProcessView {
    pub began: SystemTime,
    /// The main thread first.
    pub workers: Vec<WorkerView>,
    /// Cancel requests under way.
    pub cancels: u32,
    /// Memory for texts of prepared statements.
    pub statement_bytes: usize,
    /// Of databases and of users, where clients are limited.
    pub limits: [Vec<LimitView>; 2],
    pub ends: Ends,
    pub config: ConfigView,
    /// It took over from another process, and was not started anew.
    pub has_taken_over: bool,
    pub halts: HaltsView,
}

#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its place, which is its name; 0 is the main thread.
    pub name: String,
    pub connections: u32,
    /// Since it began.
    pub busy: Duration,
    pub buffer_bytes: u64,
}

/// A limit on the clients of one database or user, and how many there are.
#[derive(Clone, Debug)]
pub struct LimitView {
    pub name: String,
    pub used: u32,
    pub max: u32,
}

/// How things ended since the start, by [`EndReason`], and what became of cancel requests.
#[derive(Clone, Debug)]
pub struct Ends {
    pub closes: [u64; EndReason::ALL.len()],
    pub failed_logins: [u64; EndReason::ALL.len()],
    pub refusals: [u64; EndReason::ALL.len()],
    pub cancels: [u64; CancelOutcome::ALL.len()],
}

impl Ends {
    /// How often this was the reason, for whatever ended.
    pub fn of(&self, reason: EndReason) -> u64 {
        let at = reason as usize;
        self.closes[at] + self.failed_logins[at] + self.refusals[at]
    }
}

/// The configuration in force, and what became of the last attempt to load one.
#[derive(Clone, Debug)]
pub struct ConfigView {
    pub hash: String,
    pub loaded_at: SystemTime,
    pub is_last_load_ok: bool,
    /// What operators have set beside the files.
    pub overlay: Overlay,
}

impl Registry {
    /// Looks at the process. No lock of a host is taken. Whether everybody is suspended is known above.
    pub fn process(&self, is_suspended: bool) -> ProcessView {
        let workers = self.workers().enumerate().map(|(place, cells)| WorkerView {
            name: place.to_string(),
            connections: cells.connections(),
            busy: cells.busy(),
            buffer_bytes: cells.buffers() * BUFFER_SIZE as u64,
        });
        ProcessView {
            began: self.began.1,
            workers: workers.collect(),
            cancels: self.cancels.used(),
            statement_bytes: self.statements.bytes(),
            limits: self.limits(),
            ends: self.ends(),
            config: self.loaded(),
            has_taken_over: self.halts.are_inherited(),
            halts: self.halts(is_suspended),
        }
    }

    /// What operators have stopped.
    pub fn halts(&self, is_suspended: bool) -> HaltsView {
        self.halts.view(self.config().databases.keys(), is_suspended)
    }

    pub fn ends(&self) -> Ends {
        let sum = |of: &dyn Fn(&WorkerCells) -> u64| self.workers().map(|cells| of(cells)).sum();
        let reasons = |of: fn(&WorkerCells) -> &Reasons| {
            EndReason::ALL.map(|reason| sum(&|cells| of(cells).of(reason)))
        };
        Ends {
            closes: reasons(|cells| &cells.closes),
            failed_logins: reasons(|cells| &cells.failed_logins),
            refusals: reasons(|cells| &cells.refusals),
            cancels: CancelOutcome::ALL.map(|outcome| sum(&|cells| cells.cancels(outcome))),
        }
    }

    /// A moment by the calendar, also one before this process began: clients that it took over came then.
    /// The same for the same moment, however the calendar is set meanwhile.
    pub fn calendar(&self, at: Instant) -> SystemTime {
        let (began, by_calendar) = self.began;
        match began.checked_duration_since(at) {
            Some(before) => by_calendar.checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH),
            None => by_calendar + at.saturating_duration_since(began),
        }
    }
}
