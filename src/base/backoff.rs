//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter: the n-th wait is drawn from `(0, min(most, first·2^n)]`.
///
/// Full jitter because many pools fail in the same instant when their host does, and must not come
/// back in the same instant (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The next wait. `draw` is a random number in `[0, 1)`.
    pub fn failed(&mut self, draw: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(self.most);
        // At least a tenth: a draw of nearly zero would be a busy loop.
        longest.mul_f64(draw.clamp(0.1, 1.0))
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn waits_double_up_to_the_most_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..6).map(|_| backoff.failed(0.999_999).as_millis()).collect();
        assert_eq!(waits, [99, 199, 399, 799, 999, 999]);
        backoff.succeeded();
        assert_eq!(backoff.failed(0.0), Duration::from_millis(10));
    }
}
