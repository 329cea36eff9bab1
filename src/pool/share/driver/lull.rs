//! How many answers a shared server's driver waits for.
//!
//! Each answer of a server wakes its driver as soon as it is there, and mostly finds it alone: the server is at the
//! next request already, or would be if it had not to make room for the one who woke. So the kernel is told to wake
//! nobody before there is more to read, by the low-water mark of the socket (`SO_RCVLOWAT`): what those aboard are
//! expected to be answered with, but for the last of them. That much slack is for answers that are shorter than any
//! of their kind has been of late.
//!
//! ```text
//!   aboard        a    b    c    d        each answer has 60 bytes at least
//!   low water     |-------------|         180: woken for three or four
//! ```
//!
//! # Invariants
//!
//! - Only what is known to be short, together, is waited for: [`LULL`].
//! - Where something else is going on (a cancel request, a client that has gone or does not read, a stall, a server
//!   that takes no more), each answer wakes.
//! - A mark is never higher than what is certain to come, as far as anybody knows. One that is lower is an earlier
//!   wake-up and no more, and stays if it costs more to raise it than it saves.
//! - A mark that is not reached in [`LATE`] is taken away at the next tick, and there is none until something was
//!   read. Where it has held an answer back, nothing is expected of what is to blame for a while.
//! - A server that is given back has none.

use super::Driver;
use std::task::Context;
use std::time::{Duration, Instant};

/// So long the answers that are waited for are expected to take, together: no more than it costs to be woken a few
/// times.
const LULL: Duration = Duration::from_millis(1);

/// More is never waited for: it is worth a read by itself. And the kernel need make no room for it: where a mark is
/// above half of the room that there is, it makes more, and narrows what the peer may send to the mark.
const MARK_MAX: usize = 4 << 10;

/// A mark that should have been reached by then.
const LATE: Duration = Duration::from_millis(5);

/// To tell the kernel has to be earned by so many answers.
const CALL: i32 = 4;

/// So many answers' worth of calls may be put by.
const EARNED_MAX: i32 = 8 * CALL;

/// What the kernel was told, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// The low-water mark, if there is one.
    mark: usize,
    /// When something was read last, or the mark was set where there was none.
    since: Option<Instant>,
    /// A mark was not reached in time, and nothing was read since.
    is_over: bool,
    /// It held back what was there.
    has_held_back: bool,
    /// That is what was read last.
    came_late: bool,
    /// When a mark held something back last: what was expected by then is out of date.
    late_at: Option<Instant>,
    earned: i32,
}

impl Lull {
    /// Something was read.
    pub(super) fn read(&mut self, now: Instant) {
        self.since = Some(now);
        self.is_over = false;
        self.came_late = std::mem::take(&mut self.has_held_back);
    }

    pub(super) fn answered(&mut self, count: usize) {
        let count = i32::try_from(count).unwrap_or(EARNED_MAX);
        self.earned = self.earned.saturating_add(count).min(EARNED_MAX);
    }

    /// Whether what was read last had been there for some time.
    pub(super) fn came_late(&self) -> bool {
        self.came_late
    }

    /// What was expected then is out of date.
    fn is_outdated(&self, expected_at: Option<Instant>) -> bool {
        self.late_at.is_some() && self.late_at >= expected_at
    }

    fn is_late(&self, now: Instant) -> bool {
        self.mark > 0 && self.since.is_some_and(|since| since + LATE <= now)
    }

    /// The mark was not reached in time. `holds_back`: something is there.
    fn late(&mut self, now: Instant, holds_back: bool) {
        self.is_over = true;
        if holds_back {
            (self.has_held_back, self.late_at) = (true, Some(now));
        }
    }

    /// What the kernel is to be told, if anything. `certain`: how much is certain to come soon.
    fn next(&self, certain: usize) -> Option<usize> {
        let wanted = if self.is_over { 0 } else { certain };
        let is_too_high = self.mark > wanted;
        // It has to be taken away again, some time.
        let is_worth_it = self.earned >= 2 * CALL && wanted.saturating_sub(self.mark) > wanted / 4;
        (is_too_high || is_worth_it).then_some(wanted)
    }

    /// Nothing has to be looked at: there is no mark, and none is worth it.
    fn is_idle(&self) -> bool {
        self.mark == 0 && self.earned < 2 * CALL
    }

    /// The kernel was told.
    fn is_set(&mut self, mark: usize, now: Instant) {
        if self.mark == 0 {
            self.since = Some(now);
        }
        self.mark = mark;
        self.earned = self.earned.saturating_sub(CALL);
    }

    /// The kernel has no such thing for this socket: it is not asked again.
    fn is_refused(&mut self) {
        self.earned = i32::MIN;
    }
}

/// What is certain to come soon, but for the last answer of it. 0: nothing is to be waited for. `aboard`: how long
/// each is expected to take, and how many bytes its answer has at least, or 0. `come`: how many have come already.
fn low_water(aboard: impl IntoIterator<Item = (Duration, usize)>, come: usize) -> usize {
    let (mut sum, mut last, mut takes) = (0_usize, 0, Duration::ZERO);
    for (expected, least) in aboard {
        takes += expected;
        if takes > LULL || least == 0 {
            break;
        }
        sum = sum.saturating_add(last);
        last = least;
    }
    sum.saturating_sub(come).min(MARK_MAX)
}

impl Driver {
    /// Before it waits for answers: says how many of them are to wake it. Answers whether some are there already,
    /// held back by a mark that was too high: they are to be read before anybody counts as slow.
    pub(super) fn rest(&mut self, cx: &Context<'_>) -> bool {
        if self.lull.is_idle() {
            return false;
        }
        let now = self.worker.now();
        let is_late = self.lull.is_late(now);
        let holds_back =
            is_late && self.server.as_mut().is_some_and(|server| server.stream().has_input());
        if is_late {
            self.lull.late(now, holds_back);
        }
        if let Some(mark) = self.lull.next(self.certain()) {
            self.set_low_water(mark);
        }
        if self.lull.mark > 0 || holds_back {
            self.deadline.watch(&self.worker, cx, now + LATE);
        }
        holds_back
    }

    /// Whoever has the server next is woken by whatever comes.
    pub(super) fn wake_for_all(&mut self) {
        if self.lull.mark > 0 {
            self.set_low_water(0);
        }
    }

    /// Wakes, too, if there is that much already.
    fn set_low_water(&mut self, mark: usize) {
        let Some(server) = &mut self.server else { return };
        match server.stream().set_low_water(mark.max(1)) {
            Ok(()) => self.lull.is_set(mark, self.worker.now()),
            Err(_) => self.lull.is_refused(),
        }
    }

    /// What is certain to come soon, but for the last answer of it.
    fn certain(&self) -> usize {
        let is_calm = !self.is_stalled
            && !self.is_blocked
            && !self.is_canceling
            && self.tidying_since.is_none()
            && self.riders.out.rest().is_empty();
        let mut aboard = self.riders.iter();
        if !is_calm
            || aboard.any(|it| it.is_gone || it.is_to_be_canceled || it.is_exposed || it.is_hit)
        {
            return 0;
        }
        let head = self.riders.iter().next();
        let come = head.map_or(0, |head| head.fare.told + head.fare.answer.len());
        let aboard = self.riders.iter().map(|rider| {
            let offered_at = rider.fare.aboard.and_then(|at| at.checked_sub(rider.fare.waited));
            let is_outdated = self.lull.is_outdated(offered_at);
            (rider.expected(), if is_outdated { 0 } else { rider.fare.answer_least })
        });
        low_water(aboard, come + self.inflow.unseen().len())
    }

    /// Answers came late, as they had to wait for more: of those that are shorter than any had been nothing is
    /// expected for a while; or, if there are none, of the one that has kept them waiting.
    pub(super) fn blame(&mut self) {
        let (answered, profiles) = (&self.came.answered, &self.pool.share.profiles);
        let mut is_anybody = false;
        for rider in answered.iter().filter(|rider| rider.is_short()) {
            profiles.was_late(rider.fare.profile);
            is_anybody = true;
        }
        if !is_anybody && let Some(head) = self.riders.head() {
            profiles.was_late(head.fare.profile);
        }
        let (database, user, count) = (&self.pool.database, &self.pool.user, answered.len());
        tracing::debug!(database, user, count, "answers of a shared server had to wait for more");
    }
}

#[cfg(test)]
mod tests {
    use super::{CALL, EARNED_MAX, LATE, LULL, Lull, MARK_MAX, low_water};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const US: Duration = Duration::from_micros(1);

    #[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn all_but_the_last_are_waited_for() {
        let aboard = |leasts: &[usize]| leasts.iter().map(|least| (US, *least)).collect::<Vec<_>>();
        assert_eq!(low_water(aboard(&[60; 4]), 0), 180);
        assert_eq!(low_water(aboard(&[60, 80, 100]), 30), 110);
        assert_eq!(low_water(aboard(&[60]), 0), 0, "one by itself");
        assert_eq!(low_water(aboard(&[60, 60]), 70), 0, "more came than was expected");
        assert_eq!(low_water(aboard(&[60, 60, 0, 60]), 0), 60, "one of which nothing is known");
        assert_eq!(low_water(aboard(&[0, 60, 60]), 0), 0);
    }

    #[test]
    fn what_takes_long_is_not_waited_for() {
        assert_eq!(low_water([(LULL, 60), (US, 60)], 0), 0);
        assert_eq!(low_water([(LULL / 2, 60), (LULL / 2, 60), (US, 60)], 0), 60);
    }

    proptest! {
        /// However it comes about: what is waited for comes even if the last of them never does.
        #[test]
        fn a_mark_is_never_above_what_is_certain_to_come(
            aboard in prop::collection::vec((0_u32..600, 0_usize..3_000), 0..12),
            come in 0_usize..4_000,
        ) {
            let aboard: Vec<_> = aboard.iter().map(|(us, n)| (US * *us, *n)).collect();
            let mark = low_water(aboard.iter().copied(), come);
            let all: usize = aboard.iter().map(|(_, least)| least).sum();
            let last = aboard.last().map_or(0, |(_, least)| *least);
            prop_assert!(mark <= (all - last).saturating_sub(come) && mark <= MARK_MAX);
            // Nor is anybody waited for behind who takes long, or of whom nothing is known.
            let mut takes = Duration::ZERO;
            let count = aboard.iter().take_while(|(expected, least)| {
                takes += *expected;
                takes <= LULL && *least > 0
            }).count();
            let expected: usize = aboard[..count.saturating_sub(1)].iter().map(|it| it.1).sum();
            prop_assert_eq!(mark, expected.saturating_sub(come).min(MARK_MAX));
        }

        /// Whatever is certain at each moment: the mark is never above it, one that is not reached is taken away,
        /// and the kernel is told once for four answers at most.
        #[test]
        fn marks_are_low_and_few_and_not_for_long(
            steps in prop::collection::vec((0_usize..2_000, 0_usize..9, 0_u32..4_000), 1..300),
        ) {
            let (mut lull, mut now) = (Lull::default(), epoch());
            let (mut calls, mut answers) = (0, 0);
            // Since when nothing was read and there has been a mark, without a break.
            let mut held_since = None;
            for (certain, read, us) in steps {
                now += US * us;
                if read > 0 {
                    lull.read(now);
                    lull.answered(read);
                    held_since = None;
                }
                answers += read;
                if lull.is_late(now) {
                    lull.late(now, true);
                }
                let (before, mark) = (lull.mark, lull.next(certain));
                prop_assert!(!lull.is_idle() || mark.is_none());
                if let Some(mark) = mark {
                    prop_assert!(mark != before);
                    lull.is_set(mark, now);
                    calls += 1;
                    // What is lowered has to be, whatever it costs: it is made up for.
                    let is_earned = calls * usize::try_from(CALL).unwrap() <= answers;
                    prop_assert!(is_earned || mark < before);
                }
                prop_assert!(lull.mark <= certain);
                held_since = held_since.or(Some(now)).filter(|_| lull.mark > 0);
                prop_assert!(held_since.is_none_or(|since| now < since + LATE));
                prop_assert!(lull.earned <= EARNED_MAX);
            }
        }
    }
}
