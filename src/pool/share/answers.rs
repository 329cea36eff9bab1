//! How short the answers of a kind of statements are, so that a server's driver knows what is certain to come.
//!
//! A kind whose answers are now short, now long would have others wait for what does not come, again and again. So
//! nothing is expected of one of which that has happened, for a while, and for twice as long each time.

/// Nothing is expected of fewer.
const KNOWN_AFTER: u32 = 16;

/// So often twice as many are needed, at most: 65,536 then, a few seconds' worth where it matters.
const DOUBLED_MAX: u32 = 12;

/// Half as many are needed again after so many that were expected and not late.
const FORGIVEN_AFTER: u32 = 1_024;

/// After so many it is looked at whether they are longer by now.
const LOOKED_AT_AFTER: u32 = 128;

#[derive(Debug)]
pub(super) struct Answers {
    /// `None` until one was seen.
    least: Option<usize>,
    /// Of those since it was last looked at whether `least` is too low, and how many these are.
    lately: usize,
    count: u32,
    /// So many are to be seen before anything is expected.
    unknown: u32,
    /// How often the next such time is doubled.
    doubled: u32,
    /// How many were not late since something is expected, or something was forgiven.
    well: u32,
}

impl Default for Answers {
    fn default() -> Self {
        let (unknown, lately) = (KNOWN_AFTER, usize::MAX);
        Self { least: None, lately, count: 0, unknown, doubled: 0, well: 0 }
    }
}

impl Answers {
    /// One had so many bytes.
    pub(super) fn learn(&mut self, bytes: usize) {
        let mut least = self.least.map_or(bytes, |least| least.min(bytes));
        self.lately = self.lately.min(bytes);
        self.count += 1;
        if self.count == LOOKED_AT_AFTER {
            // Slowly: a few of a thousand may be short.
            least += (self.lately - least) / 16;
            (self.lately, self.count) = (usize::MAX, 0);
        }
        self.least = Some(least);
        if self.unknown > 0 {
            self.unknown -= 1;
            return;
        }
        self.well += 1;
        if self.well == FORGIVEN_AFTER {
            (self.doubled, self.well) = (self.doubled.saturating_sub(1), 0);
        }
    }

    /// One of them had others wait: what is known of them is no good.
    pub(super) fn were_late(&mut self) {
        let doubled = (self.doubled + 1).min(DOUBLED_MAX);
        *self = Self { unknown: KNOWN_AFTER << doubled, doubled, ..Self::default() };
    }

    /// How many bytes one has at least, as far as was seen. 0: nobody knows.
    pub(super) fn least(&self) -> usize {
        self.least.filter(|_| self.unknown == 0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, KNOWN_AFTER, LOOKED_AT_AFTER};

    fn learned(answers: impl IntoIterator<Item = usize>) -> Answers {
        let mut learned = Answers::default();
        answers.into_iter().for_each(|bytes| learned.learn(bytes));
        learned
    }

    fn some(count: u32, bytes: usize) -> impl Iterator<Item = usize> {
        (0..count).map(move |_| bytes)
    }

    #[test]
    fn nothing_is_expected_of_a_few() {
        assert_eq!(learned(some(KNOWN_AFTER - 1, 80)).least(), 0);
        assert_eq!(learned(some(KNOWN_AFTER, 80)).least(), 80);
    }

    #[test]
    fn a_shorter_one_is_learned_at_once_and_slowly_forgotten() {
        let mut answers = learned(some(KNOWN_AFTER, 800).chain([64]));
        assert_eq!(answers.least(), 64);
        some(LOOKED_AT_AFTER, 800).for_each(|bytes| answers.learn(bytes));
        assert!(answers.least() < 120, "{}", answers.least());
        some(100 * LOOKED_AT_AFTER, 800).for_each(|bytes| answers.learn(bytes));
        assert!((700..=800).contains(&answers.least()), "{}", answers.least());
        answers.learn(64);
        assert_eq!(answers.least(), 64);
    }

    /// However short one of them may be, it is late whenever anything is expected.
    #[test]
    fn a_kind_is_late_a_few_times_and_then_hardly_ever() {
        let (mut answers, mut late) = (Answers::default(), Vec::new());
        for n in 0..1_000_000 {
            answers.learn(80);
            if answers.least() > 0 {
                late.push(n);
                answers.were_late();
            }
        }
        let by = |n: u32| late.iter().filter(|at| **at < n).count();
        assert_eq!((by(100), by(1_000), by(100_000)), (2, 5, 12), "{late:?}");
        assert!(late.len() < 30, "{late:?}");
    }

    #[test]
    fn what_was_late_is_forgiven() {
        let mut answers = Answers::default();
        (0..5).for_each(|_| answers.were_late());
        some(100_000, 80).for_each(|bytes| answers.learn(bytes));
        assert_eq!((answers.least(), answers.doubled), (80, 0));
    }
}
