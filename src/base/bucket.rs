//! A token bucket: so much a second, and so much at once after a pause.

use std::time::{Duration, Instant};

/// Debt is possible: what turns out to cost more than there is, is paid by those who come after.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Instant, per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, level: burst, at: now }
    }

    /// Goes on with other numbers. Nothing is given for free: the level stays.
    pub fn change(&mut self, now: Instant, per_second: f64, burst: f64) {
        let level = self.level(now).min(burst);
        *self = Self { per_second, burst, level, at: self.at.max(now) };
    }

    pub fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + passed * self.per_second).min(self.burst)
    }

    pub fn take(&mut self, now: Instant, amount: f64) {
        self.level = self.level(now) - amount;
        // The clocks of workers differ a little: no time counts twice.
        self.at = self.at.max(now);
    }

    pub fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.burst
    }

    /// How long until there is `amount`.
    pub fn time_to(&self, now: Instant, amount: f64) -> Duration {
        let missing = (amount - self.level(now)).max(0.0);
        Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;
    use std::time::{Duration, Instant};

    #[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
    fn epoch() -> Instant {
        Instant::now()
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_pause_fills_it_up_to_the_burst_and_no_further() {
        let start = epoch();
        let mut bucket = Bucket::new(start, 50.0, 100.0);
        bucket.take(start, 100.0);
        assert!(bucket.level(start) < 1.0);
        assert_eq!(bucket.time_to(start, 1.0), ms(20));
        assert!((bucket.level(start + ms(500)) - 25.0).abs() < 1e-6);
        assert!(bucket.is_full(start + ms(2_000)));
        assert!((bucket.level(start + ms(60_000)) - 100.0).abs() < 1e-6);
    }

    #[test]
    fn debt_is_paid_back() {
        let start = epoch();
        let mut bucket = Bucket::new(start, 2.0, 1.0);
        bucket.take(start, 5.0);
        assert!(bucket.level(start + ms(1_900)) < 0.0);
        assert_eq!(bucket.time_to(start, 0.0), ms(2_000));
    }

    #[test]
    fn other_numbers_give_nothing_for_free() {
        let start = epoch();
        let mut bucket = Bucket::new(start, 1.0, 10.0);
        bucket.take(start, 10.0);
        bucket.change(start, 1.0, 1_000.0);
        assert!(bucket.level(start) < 1e-6);
        bucket.change(start + Duration::from_secs(500), 1.0, 5.0);
        assert!(bucket.level(start + Duration::from_secs(500)) <= 5.0);
    }
}
