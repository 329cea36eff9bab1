//! At most one entry in the worker's wheel for each task.

use crate::base::expiry::TICK;
use crate::net::worker::Worker;
use std::task::Context;
use std::time::Instant;

/// When the entry in the wheel fires.
#[derive(Debug, Default)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Sees to it that the task wakes at `due`, or before. A later deadline than the last costs
    /// nothing: the old entry fires, and whoever wakes asks again.
    #[inline]
    pub fn watch(&mut self, worker: &Worker, cx: &Context<'_>, due: Instant) {
        // Within a tick is the same: the wheel rounds up.
        let is_armed = self.0.is_some_and(|at| at > worker.now() && at <= due + TICK);
        if !is_armed {
            self.0 = Some(worker.arm(due, cx.waker().clone()));
        }
    }
}
