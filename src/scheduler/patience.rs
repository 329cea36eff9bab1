//! How long the clients of a class wait before they give up: learned from those who did.
//!
//! A client that closes its connection or cancels while it waits has shown its patience; one that
//! was served or refused before, or still waits, has shown only that its patience is longer. The
//! share that is still there after each time is estimated from both (Kaplan and Meier 1958, for data
//! cut off early), in buckets that fade, so that what was learned follows what clients do now.

use crate::stats::durations::{BUCKETS, bucket_of, start_of};
use std::time::{Duration, Instant};

/// The patience of a class is when so many of those who still wait would have left.
///
/// Lower, and one client in ten thousand that is killed while it waits would count; higher, and the
/// impatient few of a mixed class would be served for nothing.
const GONE: f64 = 0.1;

/// Fewer give-ups than this, faded ones counted as what is left of them, say nothing.
const EVIDENCE: f64 = 3.0;

/// Half of what is known is forgotten in this time.
///
/// One waiter a second is kept to the end while the class is shed ([`PROBE_EVERY`]): that is evidence
/// for about 14 such waiters, enough to go on, and little enough to notice within half a minute that
/// clients have become more patient.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// How often a waiter that would be refused is kept, to see how long clients wait by now.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// So little is nothing.
const FORGOTTEN: f32 = 0.1;

/// Nobody's patience is shorter. Who leaves earlier did not leave for the waiting.
const SHORTEST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Patience {
    /// By bucket of the wait: how many ended it, and how many of them by giving up. Made at the
    /// first wait that anybody might have ended: in most classes nobody waits for so long.
    ends: Option<Box<[End; BUCKETS]>>,
    /// How many of them, faded as they are, gave up.
    gave_up: f32,
    faded_at: Instant,
    known: Option<Duration>,
    next_probe: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    all: f32,
    gave_up: f32,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { ends: None, gave_up: 0.0, faded_at: now, known: None, next_probe: now }
    }

    /// How long clients wait. `None`: as far as is known, for ever.
    pub(super) fn known(&self) -> Option<Duration> {
        self.known
    }

    /// Somebody who waited so long left.
    pub(super) fn gave_up(&mut self, waited: Duration) {
        if waited >= SHORTEST {
            let ends = self.ends.get_or_insert_with(|| Box::new([End::default(); BUCKETS]));
            let end = &mut ends[bucket_of(waited)];
            end.all += 1.0;
            end.gave_up += 1.0;
            self.gave_up += 1.0;
        }
    }

    /// Somebody was still there after so long.
    pub(super) fn was_there(&mut self, waited: Duration) {
        if waited >= SHORTEST {
            let ends = self.ends.get_or_insert_with(|| Box::new([End::default(); BUCKETS]));
            ends[bucket_of(waited)].all += 1.0;
        }
    }

    /// Whether the next who would be refused is kept to see how long it waits. One in a while.
    pub(super) fn probes(&mut self, now: Instant) -> bool {
        let is_due = self.known.is_some() && now >= self.next_probe;
        if is_due {
            self.next_probe = now + PROBE_EVERY;
        }
        is_due
    }

    /// Whether anybody gave up of late.
    pub(super) fn has_evidence(&self) -> bool {
        self.gave_up > 0.0 || self.known.is_some()
    }

    /// What is old counts for less. To be called now and then.
    pub(super) fn fade(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.faded_at);
        if passed < HALF_LIFE / 10 {
            return;
        }
        self.faded_at = now;
        let Some(ends) = &mut self.ends else { return };
        #[expect(clippy::cast_possible_truncation, reason = "a factor between 0 and 1")]
        let factor = 0.5_f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64()) as f32;
        let (mut all, mut gave_up) = (0.0, 0.0);
        for end in ends.iter_mut() {
            end.all *= factor;
            end.gave_up *= factor;
            all += end.all;
            gave_up += end.gave_up;
        }
        self.gave_up = if gave_up < FORGOTTEN { 0.0 } else { gave_up };
        if all < FORGOTTEN {
            self.ends = None;
        }
    }

    /// Draws the conclusion. `waiting`: how long those have waited who wait now; while nobody is
    /// served, they are the only ones who stay.
    pub(super) fn learn(&mut self, waiting: impl Iterator<Item = Duration>) {
        let Some(ends) = &self.ends else {
            self.known = None;
            return;
        };
        let mut seen = **ends;
        waiting.for_each(|waited| seen[bucket_of(waited)].all += 1.0);
        self.known = shortest(&seen);
    }
}

/// The time after which so many are gone.
fn shortest(ends: &[End; BUCKETS]) -> Option<Duration> {
    let mut there: f64 = ends.iter().map(|end| f64::from(end.all)).sum();
    let (mut staying, mut evidence) = (1.0, 0.0);
    for (bucket, end) in ends.iter().enumerate() {
        let gave_up = f64::from(end.gave_up);
        if gave_up > 0.0 && there > 0.0 {
            evidence += gave_up;
            staying *= 1.0 - (gave_up / there).min(1.0);
            if evidence >= EVIDENCE && staying < 1.0 - GONE {
                return Some(start_of(bucket).max(SHORTEST));
            }
        }
        there -= f64::from(end.all);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Patience, SHORTEST};
    use crate::scheduler::tests::{epoch, ms};
    use std::time::{Duration, Instant};

    fn learn(patience: &mut Patience, now: Instant) {
        patience.fade(now);
        patience.learn(std::iter::empty());
    }

    fn learned(waits: impl Fn(&mut Patience)) -> Option<Duration> {
        let mut patience = Patience::new(epoch());
        waits(&mut patience);
        learn(&mut patience, epoch() + ms(100));
        patience.known()
    }

    #[test]
    fn a_timeout_is_found_to_within_a_bucket() {
        let known = learned(|patience| (0..50).for_each(|n| patience.gave_up(ms(500 + n % 4))));
        let known = known.unwrap();
        assert!(known <= ms(500) && known > ms(440), "{known:?}");
    }

    #[test]
    fn nobody_gives_up_nothing_is_known() {
        assert_eq!(learned(|patience| (0..900).for_each(|n| patience.was_there(ms(n)))), None);
    }

    /// Clients are also killed while they wait, for reasons of their own.
    #[test]
    fn a_few_who_leave_among_many_who_stay_say_nothing() {
        let known = learned(|patience| {
            (0..20).for_each(|n| patience.gave_up(ms(100 + 40 * n)));
            (0..1_000).for_each(|_| patience.was_there(ms(1_000)));
        });
        assert_eq!(known, None);
    }

    #[test]
    fn one_or_two_are_no_evidence() {
        assert_eq!(learned(|patience| (0..2).for_each(|_| patience.gave_up(ms(500)))), None);
        assert_eq!(learned(|patience| (0..9).for_each(|_| patience.gave_up(ms(5)))), None);
    }

    #[test]
    fn the_impatient_part_of_a_class_counts() {
        let known = learned(|patience| {
            (0..30).for_each(|_| patience.gave_up(ms(500)));
            (0..70).for_each(|_| patience.was_there(ms(5_000)));
        });
        assert!(known.is_some_and(|known| known <= ms(500)));
    }

    #[test]
    fn what_was_learned_fades() {
        let mut patience = Patience::new(epoch());
        (0..100).for_each(|_| patience.gave_up(ms(500)));
        learn(&mut patience, epoch() + ms(100));
        assert!(patience.known().is_some());
        (0..900).for_each(|n| learn(&mut patience, epoch() + ms(100 * n)));
        assert_eq!(patience.known(), None);
    }

    /// One waiter a second keeps what is known alive, or changes it.
    #[test]
    fn probes_keep_up_with_clients() {
        let mut patience = Patience::new(epoch());
        (0..100).for_each(|_| patience.gave_up(ms(500)));
        for second in 1..=60 {
            let now = epoch() + ms(1_000 * second);
            learn(&mut patience, now);
            assert!(patience.probes(now) && !patience.probes(now + ms(10)));
            patience.gave_up(ms(500));
        }
        assert!(patience.known().is_some_and(|known| known > SHORTEST));
        for second in 61..=120 {
            learn(&mut patience, epoch() + ms(1_000 * second));
            patience.was_there(ms(1_000));
        }
        assert_eq!(patience.known(), None);
    }
}
