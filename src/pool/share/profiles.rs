//! How long statements take, learned by their kind.
//!
//! Those that share a server wait for each other: only what is known to be short may. A kind is known by
//! its fingerprint, or its prepared statement. Times go into a histogram of powers of two, which forgets:
//! when it is full, all counts are halved.

use super::answers::Answers;
use crate::base::ids::Numbered;
use crate::base::shared::Shared;
use std::time::Duration;

/// Kinds that are known at once. Who comes when there are as many takes the place of one at random.
const KINDS_MAX: usize = 4_096;

/// Below so many observations nothing is expected.
const KNOWN_AFTER: u32 = 5;

/// At so many all counts are halved. One of them may be above the 99th percentile, then.
const FULL: u32 = 128;

/// Up to 2^23 us, eight seconds; the last stands for all above, which is too long for anybody.
const BUCKETS: usize = 25;

/// The mean follows about so many.
const MEAN_OVER: u32 = 16;

/// Longer answers hold others up.
const LONG_ANSWER: usize = 64 << 10;

/// A kind that took far longer than was expected, or had a long answer, has to be seen so often on servers
/// of its own before it shares again; and twice as often if that happens again, up to so many times.
const PROBATION: u32 = 5;
const DOUBLED_MAX: u8 = 8;

/// Nothing is expected to take less.
const LEAST: Duration = Duration::from_micros(10);

/// What a statement is expected to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// It may share a server, and takes so long. And how many bytes its answer has at least, as far as was seen; 0:
    /// nobody knows.
    Short(Duration, usize),
    /// It may take too long, or its answer be too long.
    Slow,
    /// Too few were seen.
    Unknown,
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It had so many bytes.
    Whole(usize),
    /// So many at least: not all of it was looked at.
    Part(usize),
}

/// Of all kinds of a pool.
#[derive(Debug, Default)]
pub struct Profiles(Shared<Kinds>);

#[derive(Debug, Default)]
struct Kinds {
    /// By fingerprint: their key is secret, so nobody can choose them so that they collide.
    known: Numbered<Profile>,
    /// The same, in places of which one can be drawn.
    places: Vec<u64>,
}

#[derive(Debug, Default)]
struct Profile {
    seen: u32,
    by_time: [u8; BUCKETS],
    /// A moving average, in microseconds.
    mean: f64,
    /// How often it has to be seen on servers of its own before it shares again.
    probation: u32,
    /// How often the next probation is doubled.
    doubled: u8,
    answers: Answers,
}

impl Profiles {
    /// What is expected of a kind. `longest`: what takes longer, one time in a hundred, is slow.
    pub fn expect(&self, kind: u64, longest: Duration) -> Expected {
        self.0
            .with(|kinds| kinds.known.get(&kind).map_or(Expected::Unknown, |it| it.expect(longest)))
    }

    /// One of this kind took so long on a server of its own.
    pub fn learn(&self, kind: u64, took: Duration) {
        self.0.with(|kinds| {
            let profile = kinds.entry(kind);
            profile.learn(took);
            profile.probation = profile.probation.saturating_sub(1);
        });
    }

    /// The same on a server that others shared, with its answer. `took`: `None` if it failed, as then it may not
    /// have done what it does; or if nobody knows.
    pub fn learn_shared(&self, kind: u64, took: Option<Duration>, answer: Answer) {
        self.0.with(|kinds| {
            if let Some(profile) = kinds.known.get_mut(&kind) {
                if let Some(took) = took {
                    profile.learn(took);
                }
                // Those of errors as well: they come like others.
                if let Answer::Whole(len) = answer {
                    profile.answers.learn(len);
                }
                let (Answer::Whole(len) | Answer::Part(len)) = answer;
                if len > LONG_ANSWER {
                    profile.put_on_probation();
                }
            }
        });
    }

    /// One of this kind takes far longer than was expected.
    pub fn stalled(&self, kind: u64) {
        self.0.with(|kinds| {
            if let Some(profile) = kinds.known.get_mut(&kind) {
                profile.put_on_probation();
            }
        });
    }

    /// Answers were late, as more was waited for than came, because of one of this kind.
    pub fn was_late(&self, kind: u64) {
        self.0.with(|kinds| {
            if let Some(profile) = kinds.known.get_mut(&kind) {
                profile.answers.were_late();
            }
        });
    }
}

impl Kinds {
    /// That of a kind that may be new here.
    fn entry(&mut self, kind: u64) -> &mut Profile {
        if !self.known.contains_key(&kind) {
            if self.places.len() >= KINDS_MAX {
                // A fingerprint is as good as chance. The map's order is not: whoever is first in there would go as
                // soon as it has come.
                let drawn = usize::try_from(kind % KINDS_MAX as u64).expect("one of the places");
                self.known.remove(&self.places.swap_remove(drawn));
            }
            self.places.push(kind);
        }
        self.known.entry(kind).or_default()
    }
}

impl Profile {
    fn put_on_probation(&mut self) {
        self.probation = PROBATION << self.doubled;
        self.doubled = (self.doubled + 1).min(DOUBLED_MAX);
    }

    fn learn(&mut self, took: Duration) {
        let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        // Bucket n has those below 2^n.
        let bucket = (u32::BITS - us.leading_zeros()) as usize;
        if self.seen >= FULL {
            self.by_time.iter_mut().for_each(|count| *count /= 2);
            self.seen = self.by_time.iter().map(|count| u32::from(*count)).sum();
            self.doubled = self.doubled.saturating_sub(1);
        }
        self.by_time[bucket.min(BUCKETS - 1)] += 1;
        self.seen += 1;
        let weight = 1.0 / f64::from(self.seen.min(MEAN_OVER));
        self.mean += (f64::from(us) - self.mean) * weight;
    }

    fn expect(&self, longest: Duration) -> Expected {
        if self.seen < KNOWN_AFTER {
            Expected::Unknown
        } else if self.probation > 0 || self.p99() > longest {
            Expected::Slow
        } else {
            let mean = Duration::from_secs_f64(self.mean.max(0.0) / 1e6);
            Expected::Short(mean.max(LEAST), self.answers.least())
        }
    }

    /// The 99th percentile, rounded up to a power of two.
    fn p99(&self) -> Duration {
        let mut above = self.seen / 100;
        let mut highest = BUCKETS - 1;
        while highest > 0 {
            let count = u32::from(self.by_time[highest]);
            if count > above {
                break;
            }
            above -= count;
            highest -= 1;
        }
        if highest == BUCKETS - 1 { Duration::MAX } else { Duration::from_micros(1 << highest) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Expected, KINDS_MAX, LONG_ANSWER, PROBATION, Profiles};
    use std::time::Duration;

    const LONGEST: Duration = Duration::from_millis(5);

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn learned(times: impl IntoIterator<Item = u64>) -> Profiles {
        let profiles = Profiles::default();
        times.into_iter().for_each(|took| profiles.learn(1, us(took)));
        profiles
    }

    fn expected(times: impl IntoIterator<Item = u64>) -> Expected {
        learned(times).expect(1, LONGEST)
    }

    #[test]
    fn long_limits_hold_as_well() {
        let takes = |millis: u64| learned([1_000 * millis; 5]);
        let [half, second] = [500, 1_000].map(Duration::from_millis);
        assert_eq!(takes(600).expect(1, half), Expected::Slow);
        assert_eq!(takes(600).expect(1, second), Expected::Slow, "it may be longer");
        assert!(matches!(takes(500).expect(1, second), Expected::Short(..)));
        assert_eq!(takes(9_000).expect(1, Duration::from_secs(10)), Expected::Slow);
    }

    #[test]
    fn nothing_is_expected_of_what_was_not_seen_often_enough() {
        assert_eq!(expected([100; 4]), Expected::Unknown);
        assert!(matches!(expected([100; 5]), Expected::Short(..)));
        assert_eq!(learned([100; 5]).expect(2, LONGEST), Expected::Unknown);
    }

    #[test]
    fn the_mean_is_expected() {
        let Expected::Short(mean, 0) = expected([100, 200, 300, 200, 200]) else { panic!("short") };
        assert!(mean.abs_diff(us(200)) < us(2), "{mean:?}");
        assert_eq!(expected([0; 9]), Expected::Short(us(10), 0));
    }

    #[test]
    fn one_slow_one_among_a_hundred_is_not_minded() {
        assert_eq!(expected([vec![100; 20], vec![9_000]].concat()), Expected::Slow);
        let one = expected([vec![100; 110], vec![9_000]].concat());
        assert!(matches!(one, Expected::Short(..)));
        assert_eq!(expected([vec![100; 110], vec![9_000; 2]].concat()), Expected::Slow);
    }

    #[test]
    fn what_was_slow_is_forgotten() {
        assert_eq!(expected([9_000; 20]), Expected::Slow);
        assert!(matches!(
            expected([vec![9_000; 20], vec![100; 700]].concat()),
            Expected::Short(..)
        ));
        assert_eq!(expected([vec![100; 9_000], vec![9_000; 3]].concat()), Expected::Slow);
    }

    #[test]
    fn who_stalls_or_talks_too_much_has_to_prove_itself() {
        let profiles = learned([100; 9]);
        let mut wanted = PROBATION;
        for offends in [
            |profiles: &Profiles| profiles.stalled(1),
            |profiles: &Profiles| {
                profiles.learn_shared(1, Some(us(100)), Answer::Whole(LONG_ANSWER + 1));
            },
        ] {
            offends(&profiles);
            for _ in 0..wanted {
                // What was under way says nothing.
                profiles.learn_shared(1, Some(us(100)), Answer::Whole(100));
                assert_eq!(profiles.expect(1, LONGEST), Expected::Slow);
                profiles.learn(1, us(100));
            }
            assert!(matches!(profiles.expect(1, LONGEST), Expected::Short(..)));
            wanted *= 2;
        }
    }

    /// Else those that fail early make a slow kind look short.
    #[test]
    fn of_what_failed_only_the_length_is_learned() {
        let profiles = learned([100; 5]);
        for _ in 0..9 {
            profiles.learn_shared(1, None, Answer::Whole(100));
        }
        assert_eq!(profiles.0.with(|kinds| kinds.known[&1].seen), 5);
        profiles.learn_shared(1, None, Answer::Part(LONG_ANSWER + 1));
        assert_eq!(profiles.expect(1, LONGEST), Expected::Slow);
    }

    #[test]
    fn how_short_answers_are_is_learned_of_those_that_are_whole() {
        let profiles = learned([100; 5]);
        let least = || match profiles.expect(1, LONGEST) {
            Expected::Short(_, least) => least,
            other => panic!("{other:?}"),
        };
        // Errors, too, and answers whose time nobody knows.
        for (took, answer) in [(Some(us(100)), 80), (None, 70)] {
            (0..16).for_each(|_| profiles.learn_shared(1, took, Answer::Whole(answer)));
            assert_eq!(least(), answer);
        }
        profiles.learn_shared(1, Some(us(100)), Answer::Part(20));
        assert_eq!(least(), 70);
        profiles.was_late(1);
        assert_eq!(least(), 0);
    }

    #[test]
    fn no_more_kinds_are_kept_than_may_be() {
        let profiles = Profiles::default();
        for kind in 0..2 * KINDS_MAX as u64 {
            profiles.learn(kind, us(100));
        }
        assert_eq!(
            profiles.0.with(|kinds| (kinds.known.len(), kinds.places.len())),
            (KINDS_MAX, KINDS_MAX)
        );
    }

    /// Each of the hot ones comes once while a hundred come that never come again. Drawn at random, one in nine
    /// of their visits finds too little; where the newest go first, one in two.
    #[test]
    fn many_kinds_that_come_once_do_not_make_others_forgotten() {
        let profiles = Profiles::default();
        let (mut once, mut looks, mut known) = (1_000, 0, 0);
        for round in 0..600 {
            for hot in 0..20 {
                for _ in 0..5 {
                    once += 1;
                    profiles.learn(once, us(100));
                }
                if round >= 200 {
                    looks += 1;
                    known += u32::from(profiles.expect(hot, LONGEST) != Expected::Unknown);
                }
                profiles.learn(hot, us(100));
            }
        }
        assert!(known > looks * 3 / 4, "{known} of {looks}");
    }
}
