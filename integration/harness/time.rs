//! Deadlines. No test is right because it slept: it polls for what it waits for, until a deadline.
#![expect(
    clippy::disallowed_methods,
    reason = "tests have no worker to lend them a clock or a wheel"
)]

use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::steal::Steal;

/// The longest that a test may take, unless it says otherwise.
const TEST_MAX: Duration = Duration::from_mins(2);

/// The longest that anything is waited for within a test. Machines with many guests have stood still for ten
/// seconds.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(40);

#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    pub(crate) fn passed(self) -> bool {
        Instant::now() >= self.0
    }
}

/// Time since it was made.
#[derive(Clone, Copy)]
pub(crate) struct Watch(Instant);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time that something may take, and not time that others take.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    watch: Watch,
    steal: Steal,
}

impl Timing {
    pub(crate) fn start() -> Self {
        Self { watch: Watch::start(), steal: Steal::from_now() }
    }

    /// Fails if it took less, or took more without what the machine was kept from meanwhile.
    pub(crate) fn is_within(self, expected: Range<Duration>) {
        let (took, stolen) = (self.watch.elapsed(), self.steal.delay());
        assert!(took >= expected.start, "after {took:?}, and not {expected:?}");
        assert!(
            took.saturating_sub(stolen) < expected.end,
            "after {took:?}, {stolen:?} of which were stolen, and not {expected:?}"
        );
    }

    /// Fails if it took more, as above.
    pub(crate) fn is_below(self, limit: Duration) {
        self.is_within(Duration::ZERO..limit);
    }
}

/// Runs a test to its end, or fails it after two minutes.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_within(TEST_MAX, test);
}

/// As `run`, with another deadline.
pub(crate) fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    run_on(&mut Builder::new_current_thread(), limit, test);
}

/// As `run_within`, for tests that are busy enough themselves to need more than one thread.
pub(crate) fn run_threaded(limit: Duration, test: impl Future<Output = ()>) {
    run_on(Builder::new_multi_thread().worker_threads(2), limit, test);
}

fn run_on(builder: &mut Builder, limit: Duration, test: impl Future<Output = ()>) {
    let runtime = builder.enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let (watch, steal) = (Watch::start(), Steal::from_now());
        let mut test = pin!(test);
        loop {
            // What was stolen is granted again, so this ends as soon as the machine is there.
            let left = (limit + steal.delay()).saturating_sub(watch.elapsed());
            // On a timeout the test is dropped while this panics, so that its processes show their logs.
            assert!(!left.is_zero(), "the test did not end within {limit:?}");
            if timeout(left, &mut test).await.is_ok() {
                break;
            }
        }
    });
}

/// What `future` gives within `limit`, or nothing.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(limit, future).await.ok()
}

/// Asks `probe` until it gives something; fails with `what` after a deadline.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(WAIT_MAX);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(!deadline.passed(), "waited {WAIT_MAX:?} in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that `holds` goes on to be true for `duration`.
pub(crate) async fn throughout(
    duration: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> bool,
) {
    let deadline = Deadline::after(duration);
    while !deadline.passed() {
        assert!(holds().await, "ceased to be true: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
