//! Tells the workers the time: one thread beats for all of them.
//!
//! A runtime with timers looks for the next one before each wait for the kernel and at the clock after it,
//! which is a tenth of what a small query costs outside the kernel. A worker needs no more than to look at
//! its deadlines now and then.

use super::AppError;
use crate::base::expiry::TICK;
use std::sync::Arc;
use std::thread::{self, Builder};
use tokio::sync::Notify;

/// Beats until the process ends.
pub(super) fn start(workers: Vec<Arc<Notify>>) -> Result<(), AppError> {
    let beat = move || loop {
        // Early at times, which nobody minds: whoever is told looks at the clock.
        thread::park_timeout(TICK);
        for worker in &workers {
            worker.notify_one();
        }
    };
    Builder::new().name("metronome".to_owned()).spawn(beat).map(drop).map_err(AppError::Thread)
}
