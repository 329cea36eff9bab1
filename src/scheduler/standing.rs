//! Whether a queue stands: `CoDel`'s question (RFC 8289), asked of the oldest waiter.
//!
//! A queue that is empty at some moment of an interval took up a burst, and that is what queues are
//! for. One whose shortest delay over a whole interval is above the target is never empty: it only
//! makes everybody wait, and what it holds is not work that will be caught up with. (In the form of
//! Maurer, "Fail at Scale", ACM Queue 2015: one minimum for each interval and no drop law.)
//!
//! `CoDel` looks at the delay of who is served. Here the newest are served first while the queue
//! stands, and would look well; so it is the age of the oldest.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    began: Instant,
    least: Option<Duration>,
    is_standing: bool,
}

impl Standing {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, least: None, is_standing: false }
    }

    /// Somebody was served, and the oldest had waited so long; zero if nobody waited.
    #[inline]
    pub(super) fn saw(&mut self, oldest: Duration) {
        self.least = Some(self.least.map_or(oldest, |least| least.min(oldest)));
    }

    /// To be called often. `oldest`: as of now, zero if nobody waits.
    pub(super) fn judge(&mut self, now: Instant, target: Duration, oldest: Duration) {
        // Twenty times the target, as RFC 8289 has it: 5 and 100 ms; and never too short to tell.
        let interval = (target * 20).max(Duration::from_millis(100));
        if now.saturating_duration_since(self.began) < interval {
            return;
        }
        self.is_standing = self.least.unwrap_or(oldest).min(oldest) > target;
        self.began = now;
        self.least = None;
    }

    pub(super) fn is_standing(&self) -> bool {
        self.is_standing
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;
    use crate::scheduler::tests::{epoch, ms};
    use std::time::Duration;

    /// Runs for two seconds with a target of 50 ms; `oldest` by time in milliseconds.
    fn stands_after(oldest: impl Fn(u64) -> u64) -> bool {
        let mut standing = Standing::new(epoch());
        for at in 1..=2_000 {
            standing.saw(ms(oldest(at)));
            standing.judge(epoch() + ms(at), ms(50), ms(oldest(at)));
        }
        standing.is_standing()
    }

    #[test]
    fn a_burst_that_is_worked_off_does_not_stand() {
        assert!(!stands_after(|at| 900_u64.saturating_sub(at % 1_000)));
    }

    #[test]
    fn a_queue_that_is_never_short_stands() {
        assert!(stands_after(|at| 60 + at % 300));
    }

    #[test]
    fn it_is_over_when_the_queue_was_empty_once() {
        let mut standing = Standing::new(epoch());
        standing.saw(ms(400));
        standing.judge(epoch() + ms(1_000), ms(50), ms(400));
        assert!(standing.is_standing());
        standing.saw(ms(400));
        standing.saw(Duration::ZERO);
        standing.judge(epoch() + ms(2_000), ms(50), ms(400));
        assert!(!standing.is_standing());
    }

    /// Nobody is served while Postgres stands still.
    #[test]
    fn nobody_served_and_somebody_waiting_stands_too() {
        let mut standing = Standing::new(epoch());
        standing.judge(epoch() + ms(1_000), ms(50), ms(999));
        assert!(standing.is_standing());
    }
}
