//! What became of each request, and the figures that follow from it.

use std::ops::Range;
use std::time::Duration;

use crate::stats::percentile_ms;

/// How long the goodput has to be full again before it is.
const RECOVERED_FOR: Duration = Duration::from_secs(1);
const RECOVERY_STEP: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Within the client's patience.
    Answered,
    GivenUp,
    /// The other side closed.
    Lost,
    /// With an error that left the client its session.
    Refused,
}

pub(crate) struct Request {
    /// When it ended, counted from the start.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// How long it keeps a server when it is run.
    pub(crate) held: Duration,
    pub(crate) ending: Ending,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Request>,
    /// When a client connected anew, or tried to.
    pub(crate) reconnects: Vec<Duration>,
}

impl Log {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.requests.append(&mut other.requests);
        self.reconnects.append(&mut other.reconnects);
    }

    pub(crate) fn merged(logs: Vec<Self>) -> Self {
        let mut all = Self::default();
        for log in logs {
            all.append(log);
        }
        all
    }

    pub(crate) fn count(&self, ending: Ending, within: &Range<Duration>) -> usize {
        self.ended(ending, within).count()
    }

    pub(crate) fn per_second(&self, ending: Ending, within: &Range<Duration>) -> f64 {
        self.count(ending, within) as f64 / length(within)
    }

    /// How many servers worked, on average, for answers that came in time.
    pub(crate) fn servers(&self, within: &Range<Duration>) -> f64 {
        let held: Duration = self.ended(Ending::Answered, within).map(|one| one.held).sum();
        held.as_secs_f64() / length(within)
    }

    /// Of those that were answered, in milliseconds; infinite if nobody was.
    pub(crate) fn p99_ms(&self, within: &Range<Duration>) -> f64 {
        let answered = self.ended(Ending::Answered, within);
        percentile_ms(99, answered.map(|one| one.took).collect())
    }

    /// The same of those that keep a server for next to nothing.
    pub(crate) fn short_ms(&self, percent: usize, within: &Range<Duration>) -> f64 {
        let answered = self.ended(Ending::Answered, within);
        let short = answered.filter(|one| one.held.is_zero());
        percentile_ms(percent, short.map(|one| one.took).collect())
    }

    /// Seconds from `span.start` until the first whole second of at least `wanted` answers a
    /// second; infinite if there is none within `span`.
    pub(crate) fn recovery(&self, span: &Range<Duration>, wanted: f64) -> f64 {
        let mut from = span.start;
        while from + RECOVERED_FOR <= span.end {
            if self.per_second(Ending::Answered, &(from..from + RECOVERED_FOR)) >= wanted {
                return from.saturating_sub(span.start).as_secs_f64();
            }
            from += RECOVERY_STEP;
        }
        f64::INFINITY
    }

    fn ended(&self, ending: Ending, within: &Range<Duration>) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |one| one.ending == ending && within.contains(&one.at))
    }
}

fn length(span: &Range<Duration>) -> f64 {
    span.end.saturating_sub(span.start).as_secs_f64()
}
