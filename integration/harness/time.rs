//! Deadlines. No test is right because it slept: it polls for what it waits for, until a deadline.
#![expect(
    clippy::disallowed_methods,
    reason = "tests have no worker to lend them a clock or a wheel"
)]

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

/// The longest that a test may take, unless it says otherwise.
const TEST_MAX: Duration = Duration::from_mins(1);

/// The longest that anything is waited for within a test.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

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

/// Runs a test to its end, or fails it after a minute.
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
        let mut test = pin!(test);
        // On a timeout the test is dropped while this panics, so that its processes show their logs.
        let ended = timeout(limit, &mut test).await;
        assert!(ended.is_ok(), "the test did not end within {limit:?}");
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
