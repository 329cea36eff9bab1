//! Refuses the larger part of a class whose requests are nearly all refused anyway, before they cost
//! anything: the client-side throttle of "Site Reliability Engineering" (Google 2016), chapter 21.
//!
//! Refused at random with probability `(requests - K * accepts) / (requests + 1)`, so that `K` times
//! of what is served still gets as far as the queue, and recovery shows at once.

use std::time::{Duration, Instant};

/// How many times more than is served is let through. 2 is what the book recommends.
const K: f64 = 2.0;

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

    #[inline]
    pub(super) fn requested(&mut self) {
        self.requests += 1.0;
    }

    #[inline]
    pub(super) fn accepted(&mut self) {
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
        draw < (self.requests - K * self.accepts) / (self.requests + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;
    use crate::scheduler::tests::{epoch, ms};

    #[test]
    fn it_is_open_while_half_of_all_is_served() {
        let mut throttle = Throttle::new(epoch());
        for _ in 0..1_000 {
            throttle.requested();
            throttle.requested();
            throttle.accepted();
            assert!(!throttle.refuses(0.0));
        }
    }

    /// Twice what is served gets through.
    #[test]
    fn a_storm_is_cut_down_to_what_might_be_served() {
        let mut throttle = Throttle::new(epoch());
        for n in 0..10_000 {
            throttle.requested();
            if n % 20 == 0 {
                throttle.accepted();
            }
        }
        assert!(throttle.refuses(0.89) && !throttle.refuses(0.91));
    }

    #[test]
    fn it_forgets() {
        let mut throttle = Throttle::new(epoch());
        (0..1_000).for_each(|_| throttle.requested());
        assert!(throttle.refuses(0.9));
        throttle.fade(epoch() + ms(60_000));
        assert!(!throttle.refuses(0.3));
    }
}
