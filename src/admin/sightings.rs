//! When each reason for an ending was counted last.
//!
//! Counters do not tell, and those who count them have no time for it: whoever looks now and then sees
//! which have moved.

use crate::end::EndReason;
use crate::pool::process::Ends;
use std::time::{Duration, Instant};

/// How often somebody looks. `last_seen` is late by no more.
const PERIOD: Duration = Duration::from_secs(1);

/// By [`EndReason`]; `None`: not so far.
pub(super) type LastSeen = [Option<Instant>; EndReason::ALL.len()];

pub(super) struct Sightings {
    looked_at: Instant,
    counts: [u64; EndReason::ALL.len()],
    seen: LastSeen,
}

impl Sightings {
    pub(super) fn new(now: Instant) -> Self {
        let counts = [0; EndReason::ALL.len()];
        Self { looked_at: now, counts, seen: [None; EndReason::ALL.len()] }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked_at) >= PERIOD
    }

    pub(super) fn look(&mut self, now: Instant, ends: &Ends) -> LastSeen {
        self.looked_at = now;
        for reason in EndReason::ALL {
            let (at, count) = (reason as usize, ends.of(reason));
            if std::mem::replace(&mut self.counts[at], count) != count {
                self.seen[at] = Some(now);
            }
        }
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::Sightings;
    use crate::end::EndReason;
    use crate::net::worker::read_clock;
    use crate::pool::process::Ends;
    use std::time::Duration;

    #[test]
    fn what_has_moved_was_seen_now() {
        const NONE: [u64; EndReason::ALL.len()] = [0; EndReason::ALL.len()];
        let mut ends = Ends { closes: NONE, failed_logins: NONE, refusals: NONE, cancels: [0; 5] };
        let start = read_clock();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut sightings = Sightings::new(start);
        assert!(!sightings.is_due(start) && sightings.is_due(after(1)));
        let at = EndReason::ServerLost as usize;
        assert_eq!(sightings.look(after(1), &ends)[at], None);
        ends.refusals[at] = 1;
        assert_eq!(sightings.look(after(2), &ends)[at], Some(after(2)));
        assert_eq!(sightings.look(after(3), &ends)[at], Some(after(2)));
        ends.closes[at] = 1;
        let seen = sightings.look(after(4), &ends);
        assert_eq!((seen[at], seen[at + 1]), (Some(after(4)), None));
    }
}
