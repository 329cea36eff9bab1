//! Keeps something that happens thousands of times a second from being told as often.

use std::time::{Duration, Instant};

/// So often in a second, and then no more.
const PER_SECOND: u32 = 10;

/// Counts what is told, and what is not.
#[derive(Debug, Default)]
pub struct Muffle {
    second: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Muffle {
    /// Whether to tell of it. If so: how many were not told of since the last that was.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        let is_over = |second| now.saturating_duration_since(second) >= Duration::from_secs(1);
        if self.second.is_none_or(is_over) {
            self.second = Some(now);
            self.told = 0;
        }
        if self.told == PER_SECOND {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::Muffle;
    use std::time::{Duration, Instant};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
    fn ten_in_a_second_are_told_and_the_rest_are_counted() {
        let start = Instant::now();
        let mut muffle = Muffle::default();
        let told = (0..50).filter(|_| muffle.tell(start).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(muffle.tell(start + Duration::from_secs(1)), Some(40));
        assert_eq!(muffle.tell(start + Duration::from_secs(1)), Some(0));
    }
}
