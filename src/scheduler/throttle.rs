//! Refuses the larger part of a class whose requests are nearly all refused anyway, before they cost
//! anything: the client-side throttle of "Site Reliability Engineering" (Google 2016), chapter 21.
//!
//! Refused at random with probability `(requests - K * accepts) / (requests + 1)`, so that `K` times
//! of what is served still gets as far as the queue, and recovery shows at once. A request counts once it is
//! decided: who waits is not refused.

use std::time::{Duration, Instant};

/// How many times more than is served is let through. 2 is what the book recommends.
const K: f64 = 2.0;

/// Of so many, all but one are nearly all.
const NEARLY_ALL: f64 = 10.0;

/// What is old counts for less. The book's two minutes are for a fleet of clients; a pool recovers
/// in seconds.
const HALF_LIFE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(super) struct Throttle {
    requests: f64,
    accepts: f64,
    faded_at: Instant,
}

impl Throttle {
    pub(super) fn new(now: Instant) -> Self {
        Self { requests: 0.0, accepts: 0.0, faded_at: now }
    }

    /// One that would have been served too late, or whose client did not wait for it.
    pub(super) fn refused(&mut self) {
        self.requests += 1.0;
    }

    #[inline]
    pub(super) fn accepted(&mut self) {
        self.requests += 1.0;
        self.accepts += 1.0;
    }

    /// To be called now and then.
    pub(super) fn fade(&mut self, now: Instant) {
        if self.requests < 0.1 {
            // Idle classes are many.
            *self = Self::new(now);
            return;
        }
        let passed = now.saturating_duration_since(self.faded_at);
        let factor = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
        self.requests *= factor;
        self.accepts *= factor;
        self.faded_at = now;
    }

    /// `draw` is a random number in `[0, 1)`.
    pub(super) fn refuses(&self, draw: f64) -> bool {
        let are_nearly_all = self.requests >= NEARLY_ALL * self.accepts.max(1.0);
        are_nearly_all && draw < (self.requests - K * self.accepts) / (self.requests + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;
    use crate::scheduler::tests::{epoch, ms};

    /// Each in so many is served, of ten thousand.
    fn serving_one_in(each: u32) -> Throttle {
        let mut throttle = Throttle::new(epoch());
        for n in 0..10_000 {
            if n % each == 0 { throttle.accepted() } else { throttle.refused() }
        }
        throttle
    }

    #[test]
    fn it_is_open_until_nearly_all_are_refused() {
        assert!(!serving_one_in(2).refuses(0.0));
        assert!(!serving_one_in(9).refuses(0.0));
        assert!(serving_one_in(10).refuses(0.0));
    }

    #[test]
    fn a_few_who_are_refused_say_nothing() {
        let mut throttle = Throttle::new(epoch());
        (0..9).for_each(|_| throttle.refused());
        assert!(!throttle.refuses(0.0));
        throttle.refused();
        assert!(throttle.refuses(0.0));
    }

    /// Twice what is served gets through.
    #[test]
    fn a_storm_is_cut_down_to_what_might_be_served() {
        let throttle = serving_one_in(20);
        assert!(throttle.refuses(0.89) && !throttle.refuses(0.91));
    }

    #[test]
    fn it_forgets() {
        let mut throttle = Throttle::new(epoch());
        (0..1_000).for_each(|_| throttle.refused());
        assert!(throttle.refuses(0.9));
        throttle.fade(epoch() + ms(60_000));
        assert!(!throttle.refuses(0.0));
    }
}
