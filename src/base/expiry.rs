//! A coarse timer wheel that is told the time.
//!
//! A timer per query would be the dearest thing on the hot path. Here a client has at most one
//! entry, and setting a later deadline only writes a number: the entry fires at its old time, the
//! owner sees that nothing is due yet and arms again. So the cost is one entry per client and
//! deadline period, not one per query.

use std::task::Waker;
use std::time::{Duration, Instant};

/// How late a deadline may fire. Every timeout here is a second or longer in practice.
pub const TICK: Duration = Duration::from_millis(50);

/// The wheel covers this many ticks; a deadline further away fires early and is armed again.
const SLOTS: usize = 256;

/// Wakers by the tick at which they fire.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<Waker>>,
    start: Instant,
    /// The tick up to which everything has fired.
    fired: u64,
    len: usize,
}

impl Wheel {
    pub fn new(start: Instant) -> Self {
        Self {
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            start,
            fired: 0,
            len: 0,
        }
    }

    /// Wakes `waker` at `deadline` or up to a [`TICK`] later, or earlier when the deadline is
    /// beyond the wheel. Answers when: the owner arms again if that is too early.
    pub fn arm(&mut self, deadline: Instant, waker: Waker) -> Instant {
        let due = self.tick_after(deadline).clamp(self.fired + 1, self.fired + SLOTS as u64 - 1);
        self.slots[slot_of(due)].push(waker);
        self.len += 1;
        self.start + TICK * u32::try_from(due).unwrap_or(u32::MAX)
    }

    /// Wakes everything that is due at `now`.
    pub fn advance(&mut self, now: Instant) {
        let current = self.tick_before(now);
        while self.fired < current {
            self.fired += 1;
            let slot = &mut self.slots[slot_of(self.fired)];
            self.len -= slot.len();
            slot.drain(..).for_each(Waker::wake);
            if self.len == 0 {
                self.fired = current;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn tick_before(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
    }

    fn tick_after(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).expect("less than SLOTS")
}

#[cfg(test)]
mod tests {
    use super::{TICK, Wheel};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// Any deadline, any pace of the clock: never before the answer, at most a tick after it.
    #[test]
    fn fires_at_its_time_and_never_before() {
        let start = epoch();
        for after in [0_u64, 1, 49, 50, 51, 1_000, 12_000, 60_000] {
            for pace in [1_u64, 7, 50, 170] {
                let count = Arc::new(Count::default());
                let mut wheel = Wheel::new(start);
                let at =
                    wheel.arm(start + Duration::from_millis(after), Waker::from(count.clone()));
                let mut now = start;
                while count.0.load(Ordering::Relaxed) == 0 {
                    now += Duration::from_millis(pace);
                    wheel.advance(now);
                    assert!(now < at + TICK + Duration::from_millis(pace), "late: {after} {pace}");
                }
                assert!(now >= at, "early: {after} at pace {pace}");
                assert!(wheel.is_empty());
            }
        }
    }

    #[test]
    fn a_wheel_left_alone_for_long_still_fires_once() {
        let start = epoch();
        let count = Arc::new(Count::default());
        let mut wheel = Wheel::new(start);
        wheel.advance(start + Duration::from_hours(5));
        wheel.arm(start + Duration::from_hours(5), Waker::from(count.clone()));
        wheel.advance(start + Duration::from_hours(9));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
