//! What the tasks of one thread share: its clock, its buffers, its deadlines.

use super::courtesy::Courtesy;
use crate::base::expiry::Wheel;
use crate::base::ids::WorkerId;
use crate::stats::worker::WorkerCells;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// The size of a buffer. Larger than nearly every request, because a read that does not fill its
/// buffer proves that the socket is empty and saves the read that would find out; and large enough
/// that a big result costs few system calls. 64 KiB: 128 KiB measured no better, as a loopback
/// socket rarely holds more.
pub const BUFFER_SIZE: usize = 64 << 10;

/// Buffers kept for the next client; more are freed. A buffer is in use only while its bytes are
/// on their way, so a few serve thousands of clients.
const SPARE_MAX: usize = 128;

/// A buffer of [`BUFFER_SIZE`] bytes.
pub type Buffer = Box<[u8]>;

/// A limit of time was reached first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Late;

/// Waits for `work`, but no longer than `limit`. Makes a timer, which only the main thread's runtime
/// has: those who serve clients use [`Worker::within`].
///
/// # Errors
///
/// [`Late`] when the limit comes first; the work is dropped then.
#[expect(clippy::disallowed_methods, reason = "the one place where a timer per call is right")]
pub async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Late> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| Late),
        None => Ok(work.await),
    }
}

/// The longest that an entry in the wheel outlives what it was made for.
const WATCH_MAX: Duration = Duration::from_secs(1);

/// One thread with a runtime of its own. Its tasks share this by `Rc`.
#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub cells: Arc<WorkerCells>,
    pub courtesy: Arc<Courtesy>,
    now: Cell<Instant>,
    wheel: RefCell<Wheel>,
    spare: RefCell<Vec<Buffer>>,
}

/// The time, for those that have no worker.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
pub fn read_clock() -> Instant {
    Instant::now()
}

impl Worker {
    pub fn new(id: WorkerId) -> Self {
        Self::counted(id, Arc::default(), Arc::default())
    }

    /// A worker whose numbers others look at, and which gives way before it waits.
    pub fn counted(id: WorkerId, cells: Arc<WorkerCells>, courtesy: Arc<Courtesy>) -> Self {
        let now = read_clock();
        Self {
            id,
            cells,
            courtesy,
            now: Cell::new(now),
            wheel: RefCell::new(Wheel::new(now)),
            spare: RefCell::new(Vec::with_capacity(SPARE_MAX)),
        }
    }

    /// Reads the clock: once for each wake-up of a task.
    #[inline]
    pub fn wake(&self) -> Instant {
        let now = read_clock();
        self.now.set(now);
        now
    }

    /// The time at the last wake-up.
    #[inline]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Wakes `waker` at `deadline` or earlier; answers when.
    pub fn arm(&self, deadline: Instant, waker: Waker) -> Instant {
        self.wheel.borrow_mut().arm(deadline, waker)
    }

    /// Fires the deadlines that have come. Called by the worker's ticking task.
    pub fn tick(&self) {
        let now = self.wake();
        self.wheel.borrow_mut().advance(now);
        self.count_busy();
    }

    /// Tells others how busy this thread has been. The runtime measures it in any case, between two
    /// waits for the kernel; others may have had some of that.
    pub fn count_busy(&self) {
        let metrics = tokio::runtime::Handle::current().metrics();
        let busy = metrics.worker_total_busy_duration(0);
        self.cells.set_busy(busy.saturating_sub(self.courtesy.given()));
    }

    #[inline]
    pub(super) fn lend(&self) -> Buffer {
        self.spare.borrow_mut().pop().unwrap_or_else(|| {
            self.cells.buffer_made();
            vec![0; BUFFER_SIZE].into_boxed_slice()
        })
    }

    #[inline]
    pub(super) fn take_back(&self, buffer: Buffer) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        } else {
            self.cells.buffer_freed();
        }
    }

    /// Waits for `work`, but no longer than `limit`, on the worker's wheel. The runtime of those who serve
    /// clients has no timers: with one it would read the clock twice more for each wait, and a timer
    /// would have it write to itself.
    ///
    /// # Errors
    ///
    /// [`Late`] when the limit comes first; the work is dropped then.
    pub async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Result<T, Late> {
        let deadline = limit.map(|limit| self.now() + limit);
        let mut work = pin!(work);
        let mut armed: Option<Instant> = None;
        std::future::poll_fn(|cx| {
            let now = self.wake();
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let Some(deadline) = deadline else { return Poll::Pending };
            if deadline <= now {
                return Poll::Ready(Err(Late));
            }
            if armed.is_none_or(|at| at <= now) {
                // The entry keeps the task's memory until it fires: not for a whole minute.
                armed = Some(self.arm(deadline.min(now + WATCH_MAX), cx.waker().clone()));
            }
            Poll::Pending
        })
        .await
    }

    /// Waits for so long, and up to a tick longer.
    pub async fn rest(&self, time: Duration) {
        let _over = self.within(Some(time), std::future::pending::<()>()).await;
    }
}
