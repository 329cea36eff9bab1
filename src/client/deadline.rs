//! At most one entry in the worker's wheel for each client.

use crate::net::worker::Worker;
use std::task::Context;
use std::time::Instant;

/// When the client's entry in the wheel fires.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// Sees to it that the task wakes at `due`, or before. A later deadline than the last costs
    /// nothing: the old entry fires, and whoever wakes asks again.
    #[inline]
    pub(super) fn watch(&mut self, worker: &Worker, cx: &Context<'_>, due: Instant) {
        let is_armed = self.0.is_some_and(|at| at > worker.now() && at <= due);
        // Within a tick is the same: else every request would make an entry of its own.
        if !is_armed {
            self.0 = Some(worker.arm(due, cx.waker().clone()));
        }
    }
}
