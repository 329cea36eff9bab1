//! Whether a machine that others use, too, was there all the time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::time::{Watch, run};

/// So often it is felt.
const BEAT: Duration = Duration::from_millis(1);

/// A beat that is late by more was kept from the processor. Seen on a machine that has nothing else to do: 0.1 ms.
const LATE: Duration = Duration::from_millis(2);

/// Of the time that it stood still, more than this is a disturbance. Seen 0.05 where others were busy.
const DISTURBED: f64 = 0.02;

/// Nothing is measured more often.
const ATTEMPTS: u32 = 5;

/// Runs a test that measures, up to five times where the machine was kept from it meanwhile: what is wrong with the
/// proxy is wrong each time.
pub(crate) fn measure(test: impl AsyncFn()) {
    measure_with(|| run(test()));
}

/// The same, with a runtime of its own.
#[expect(clippy::print_stderr, reason = "for whoever reads why a test took longer")]
pub(crate) fn measure_with(test: impl Fn()) {
    for attempt in 1.. {
        let pulse = Pulse::start();
        let ended = catch_unwind(AssertUnwindSafe(&test));
        let stood_still = pulse.stood_still();
        match ended {
            Ok(()) => return,
            Err(_) if attempt < ATTEMPTS && stood_still > DISTURBED => {
                let percent = stood_still * 100.0;
                eprintln!("the machine stood still for {percent:.1} % of the time: measured anew");
            }
            Err(failure) => resume_unwind(failure),
        }
    }
}

struct Pulse {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Pulse {
    #[expect(clippy::disallowed_methods, reason = "a thread that does nothing but sleep")]
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (watch, mut lost) = (Watch::start(), Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let beat = Watch::start();
                thread::sleep(BEAT);
                let late = beat.elapsed().saturating_sub(BEAT);
                lost += if late > LATE { late } else { Duration::ZERO };
            }
            lost.as_secs_f64() / watch.elapsed().as_secs_f64()
        });
        Self { is_over, thread }
    }

    /// For which part of the time since it began.
    fn stood_still(self) -> f64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}
