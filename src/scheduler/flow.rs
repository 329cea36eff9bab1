//! What is known of one line, the waiters of one class in one pool: its fair share, its pace, and
//! whether it stands.

use super::held::{Held, Moment};
use super::keep::Absence;
use super::recent::Lately;
use super::standing::Standing;
use std::time::{Duration, Instant};

/// How much a new interval counts in the mean: the last sixteen decide.
const NEWS: f64 = 1.0 / 16.0;

/// How much one who comes counts in the share of those who are turned away.
const NEWS_OF_ARRIVALS: f64 = 1.0 / 64.0;

/// The newest are served first from this share on.
const REVERSED_FROM: f64 = 1.0 / 3.0;

pub(super) struct Flow {
    pub(super) share: Share,
    pub(super) pace: Pace,
    pub(super) standing: Standing,
    pub(super) absence: Absence,
    /// Server time.
    pub(super) lately: Lately,
    /// When somebody was last refused for overload.
    pub(super) shed_at: Option<Instant>,
    /// When that was somebody who had just come.
    pub(super) turned_away_at: Option<Instant>,
    /// The share of those who came.
    turned_away: f64,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            share: Share::default(),
            pace: Pace::default(),
            standing: Standing::new(now),
            absence: Absence::default(),
            lately: Lately::new(now),
            shed_at: None,
            turned_away_at: None,
            turned_away: 0.0,
        }
    }

    /// Somebody came, and gets in line.
    pub(super) fn let_in(&mut self) {
        self.turned_away -= self.turned_away * NEWS_OF_ARRIVALS;
    }

    /// Somebody came and is refused for overload.
    pub(super) fn turn_away(&mut self, now: Instant) {
        (self.shed_at, self.turned_away_at) = (Some(now), Some(now));
        self.turned_away += (1.0 - self.turned_away) * NEWS_OF_ARRIVALS;
    }

    /// Whether the newest are served first: the line stands, and many more come than can be served in time. Where
    /// nearly all who come can be, it is this order alone by which some would wait for too long, for ever.
    pub(super) fn is_reversed(&self) -> bool {
        self.standing.is_standing()
            && self.turned_away_at.is_some()
            && self.turned_away > REVERSED_FROM
    }
}

/// How much server time a line has had for its weight.
///
/// Start-time fair queueing (Goyal, Vin and Cheng 1996), for servers instead of a link and with the
/// cost known only afterwards: what is held counts as it passes, at least what is expected, so that
/// neither a burst nor an open transaction is had for nothing; and a line that was idle starts where
/// the pool is, not where it stopped.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Seconds for each unit of weight, of all that was given back; and what it was lifted by.
    done: f64,
    /// Seconds of all that was given back.
    time: f64,
    held: Held,
    /// Seconds that what is held is expected to take, altogether.
    expected: f64,
    /// How many were granted a server that works for others still, and what they are expected to take.
    booked: (u32, f64),
    /// How many are at the heads of servers that others share.
    heads: u32,
}

impl Share {
    /// Whoever has least is served first.
    #[inline]
    pub(super) fn used(&self, now: Moment, weight: f64) -> f64 {
        self.done + (self.expected.max(self.held.seconds(now)) + self.booked.1) / weight
    }

    /// The same without what is only expected: that is taken back when it turns out to be less.
    #[inline]
    pub(super) fn had(&self, now: Moment, weight: f64) -> f64 {
        self.done + self.held.seconds(now) / weight
    }

    /// Seconds for which servers were held, whatever the weight.
    pub(super) fn seconds(&self, now: Moment) -> f64 {
        self.time + self.held.seconds(now)
    }

    /// What was kept for it idle, it has had as well.
    pub(super) fn charge(&mut self, time: Duration, weight: f64) {
        self.done += time.as_secs_f64() / weight;
    }

    /// Nobody gets credit for time in which nobody asked.
    #[inline]
    pub(super) fn lift(&mut self, now: Moment, weight: f64, to: f64) {
        self.done += (to - self.used(now, weight)).max(0.0);
    }

    /// Whether somebody is aboard a server that others share.
    pub(super) fn is_aboard(&self) -> bool {
        self.booked.0 + self.heads > 0
    }

    /// As if it had used so much.
    pub(super) fn set(&mut self, now: Moment, weight: f64, to: f64) {
        self.done += to - self.used(now, weight);
    }

    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        (self.held, self.expected, self.booked) == (Held::default(), 0.0, (0, 0.0))
            && self.heads == 0
    }

    #[inline]
    pub(super) fn begin(&mut self, now: Moment, expected: f64) {
        self.held.begin(now);
        self.expected += expected;
    }

    /// A server is granted that works for others still.
    pub(super) fn book(&mut self, expected: f64) {
        self.booked.0 += 1;
        self.booked.1 += expected;
    }

    /// Somebody is at the head of a server that others share.
    pub(super) fn lead(&mut self) {
        self.heads += 1;
    }

    /// Somebody is there no more, if `led`.
    #[inline]
    pub(super) fn alight(&mut self, led: bool) {
        self.heads -= u32::from(led);
    }

    /// It begins to work for this one, or will not do so.
    pub(super) fn unbook(&mut self, expected: f64) {
        self.booked.0 -= 1;
        self.booked.1 = if self.booked.0 == 0 { 0.0 } else { self.booked.1 - expected };
    }

    #[inline]
    pub(super) fn end(&mut self, began: Moment, now: Moment, expected: f64, weight: f64) {
        self.held.end(began);
        // Sums of floats leave crumbs; nobody holding anything is exactly none.
        self.expected = if self.held.count() == 0 { 0.0 } else { self.expected - expected };
        let took = now.since(began).as_secs_f64();
        self.time += took;
        self.done += took / weight;
    }
}

/// How fast a line moves while somebody is in it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The mean time between two who are served, in seconds.
    interval: Option<f64>,
    /// When somebody was last served, or the line began.
    since: Option<Instant>,
}

impl Pace {
    /// The line was empty, and is not now.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = Some(now);
    }

    pub(super) fn served(&mut self, now: Instant) {
        if let Some(since) = self.since.replace(now) {
            let passed = now.saturating_duration_since(since).as_secs_f64();
            self.interval =
                Some(self.interval.map_or(passed, |mean| mean + (passed - mean) * NEWS));
        }
    }

    /// How long somebody will wait behind so many others. `servers`: how many may be served in one
    /// go, so that a pause between two goes is no standstill.
    pub(super) fn predict(&self, now: Instant, ahead: u32, servers: u32) -> Duration {
        let pause = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let pause = pause.as_secs_f64() / f64::from(servers.max(1));
        let interval = self.interval.map_or(pause, |mean| mean.max(pause));
        Duration::try_from_secs_f64(interval * f64::from(ahead)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Share};
    use crate::scheduler::held::Moment;
    use crate::scheduler::tests::{epoch, ms};

    fn at(millis: u64) -> Moment {
        Moment::new(epoch(), epoch() + ms(millis))
    }

    #[test]
    fn what_is_held_counts_as_it_passes_and_weighs_less_for_a_heavy_class() {
        let mut share = Share::default();
        share.begin(at(0), 0.01);
        assert!((share.used(at(0), 1.0) - 0.01).abs() < 1e-9, "at once what is expected");
        assert!((share.used(at(1_000), 1.0) - 1.0).abs() < 1e-9, "idle in transaction pays");
        assert!((share.used(at(1_000), 4.0) - 0.25).abs() < 1e-9);
        share.end(at(0), at(1_000), 0.01, 4.0);
        assert!((share.used(at(9_000), 4.0) - 0.25).abs() < 1e-9, "what is over costs no more");
    }

    #[test]
    fn nobody_is_lifted_down() {
        let mut share = Share::default();
        share.lift(at(0), 1.0, 5.0);
        share.lift(at(0), 1.0, 3.0);
        assert!((share.used(at(0), 1.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_steady_line_is_predicted_and_a_standstill_is_seen() {
        let mut pace = Pace::default();
        let start = epoch();
        pace.begin(start);
        (1..=100).for_each(|n| pace.served(start + ms(10 * n)));
        assert_eq!(pace.predict(start + ms(1_000), 30, 4), ms(300));
        assert_eq!(pace.predict(start + ms(3_000), 30, 4), ms(15_000), "nobody served for 2 s");
    }

    /// Four servers that all take 200 ms free up together: that is no standstill.
    #[test]
    fn goes_with_pauses_between_are_averaged() {
        let mut pace = Pace::default();
        let start = epoch();
        pace.begin(start);
        for go in 1..=20 {
            (0..4).for_each(|_| pace.served(start + ms(200 * go)));
        }
        let predicted = pace.predict(start + ms(4_199), 8, 4).as_secs_f64();
        assert!((0.3..0.5).contains(&predicted), "{predicted}");
    }
}
