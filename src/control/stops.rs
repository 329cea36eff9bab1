//! What operators have stopped, as two processes tell each other while one takes over.
//!
//! Both have clients then, and `RESUME` is said once, at either console: it is to reach those who wait in the
//! other one. So each tells the other whenever something was stopped or goes on, and does as it is told.

use super::roster::Roster;
use crate::net::worker::Worker;
use crate::pool::halts::Said;
use crate::pool::registry::Registry;
use serde::{Deserialize, Serialize};
use std::pin::pin;
use std::rc::Rc;

/// What is stopped: all that is paused, disabled, suspended.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stops {
    halts: Said,
    /// By which `SUSPEND`, for they are numbered: whoever says that all rest says for which.
    suspended: Option<u64>,
}

impl Stops {
    /// What is stopped now.
    pub fn of(registry: &Registry, roster: &Roster) -> Self {
        Self { halts: registry.halts.said(), suspended: roster.suspension() }
    }

    /// Before there is any pool or client: goes on where another process was.
    pub fn inherit(&self, registry: &Registry, roster: &Roster) {
        registry.halts.inherit(&self.halts);
        roster.follow(self.suspended);
    }

    /// Stops what is stopped in the other process, and nothing else.
    pub fn follow(&self, worker: &Rc<Worker>, registry: &Registry, roster: &Roster) {
        worker.wake();
        registry.follow(worker, &self.halts);
        roster.follow(self.suspended);
    }
}

/// Waits until something else is stopped than is known, and tells what.
pub async fn stopped_otherwise(known: &Stops, registry: &Registry, roster: &Roster) -> Stops {
    let mut suspended = roster.suspended.subscribe();
    loop {
        let mut halts = pin!(registry.halts.changed());
        // Before the look, so that nothing is missed that happens after it.
        halts.as_mut().enable();
        suspended.mark_unchanged();
        let now = Stops::of(registry, roster);
        if now != *known {
            return now;
        }
        tokio::select! {
            () = halts => {}
            // Its sender is there as long as the roster.
            _ = suspended.changed() => {}
        }
    }
}
