//! Whether a machine that others use, too, was there all the time.

use std::any::Any;
use std::fs::File;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::steal::Steal;
use super::time::{Watch, run};

/// So often it is felt.
const BEAT: Duration = Duration::from_millis(1);

/// A beat that is late by more was kept from the processor. Seen on a machine that has nothing else to do: 0.1 ms.
const LATE: Duration = Duration::from_millis(2);

/// Of the time that it stood still, more than this is a disturbance. Seen 0.05 where others were busy.
const DISTURBED: f64 = 0.02;

/// Nothing is measured more often.
const ATTEMPTS: u32 = 5;

/// Nor anew after this.
const ATTEMPTS_WITHIN: Duration = Duration::from_mins(3);

/// Where the hypervisor gave more than this part of the processors to others, each time, it is not the proxy that
/// was measured. Seen on a host with too many guests: 0.98 for ten seconds, 0.4 for minutes.
const HOPELESS: f64 = 0.1;

/// Runs a test that measures, up to five times where the machine was kept from it meanwhile: what is wrong with the
/// proxy is wrong each time. Where nothing could be measured, that is told to whoever runs the tests.
pub(crate) fn measure(test: impl AsyncFn()) {
    measure_with(|| run(test()));
}

/// The same, with a runtime of its own.
#[expect(clippy::print_stderr, reason = "for whoever reads why a test took longer")]
pub(crate) fn measure_with(test: impl Fn()) {
    let watch = Watch::start();
    let mut least_stolen = f64::INFINITY;
    for attempt in 1.. {
        let pulse = Pulse::start();
        let steal = Steal::from_now();
        let ended = catch_unwind(AssertUnwindSafe(&test));
        let stood_still = pulse.stood_still();
        least_stolen = least_stolen.min(steal.part());
        let Err(failure) = ended else { return };
        let is_last = attempt == ATTEMPTS || watch.elapsed() > ATTEMPTS_WITHIN;
        match verdict(stood_still, is_last, least_stolen) {
            Verdict::Failed => resume_unwind(failure),
            Verdict::Unmeasured => return tell_unmeasured(least_stolen, failure.as_ref()),
            Verdict::Anew => {
                let percent = stood_still * 100.0;
                eprintln!("the machine stood still for {percent:.1} % of the time: measured anew");
            }
        }
    }
}

/// What an attempt that failed says of the proxy.
#[derive(Debug, PartialEq)]
enum Verdict {
    Failed,
    /// Nothing yet.
    Anew,
    /// Nothing, and neither did those before.
    Unmeasured,
}

/// Of an attempt during which the machine stood still for so long, and of all so far, where the least of what was
/// stolen is this.
fn verdict(stood_still: f64, is_last: bool, least_stolen: f64) -> Verdict {
    match (stood_still > DISTURBED, is_last) {
        (true, false) => Verdict::Anew,
        (true, true) if least_stolen > HOPELESS => Verdict::Unmeasured,
        (false, _) | (true, true) => Verdict::Failed,
    }
}

#[test]
fn only_what_others_took_excuses_a_failure() {
    assert_eq!(verdict(0.01, false, 0.9), Verdict::Failed);
    assert_eq!(verdict(0.3, false, 0.0), Verdict::Anew);
    // Something here kept it from the processors, or one attempt had enough of them.
    assert_eq!(verdict(0.3, true, 0.0), Verdict::Failed);
    assert_eq!(verdict(0.3, true, 0.09), Verdict::Failed);
    assert_eq!(verdict(0.3, true, 0.4), Verdict::Unmeasured);
}

/// For `./dev test` to say at the end, with how it failed: nobody reads what a test says that does not fail.
fn tell_unmeasured(stolen: f64, failure: &(dyn Any + Send)) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unmeasured");
    let mut list = File::options().create(true).append(true).open(path).expect("a writable target");
    let test = thread::current().name().expect("tests have names").to_owned();
    let told = failure.downcast_ref::<String>().map_or("it failed", String::as_str);
    writeln!(list, "{test}: others had {:.0} % of the processors: {told}", stolen * 100.0)
        .expect("a writable target");
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
