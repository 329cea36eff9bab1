//! Whether new servers can be had: what failures to connect mean, and how fast to try.

use super::terms::Health;
use crate::base::backoff::Backoff;
use std::time::{Duration, Instant};

/// The first wait after a failure. A restart of Postgres takes seconds: this tries a few times in
/// the first one and is not a storm.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Connects at once to a host of which nothing bad is known. Postgres forks a backend for each and
/// computes a SCRAM proof, some milliseconds of one core: four keep a small machine busy, and
/// doubling reaches the most in three rounds.
const RAMP_START: u32 = 4;
/// More at once is not faster on any machine measured, and starves the backends that do work.
const RAMP_MOST: u32 = 32;

/// What is known of a host, or of logging in for a pool.
#[derive(Debug)]
pub(super) struct Reach<E> {
    backoff: Backoff,
    trouble: Option<Trouble<E>>,
}

#[derive(Debug)]
pub(super) struct Trouble<E> {
    pub(super) definitive: bool,
    pub(super) error: E,
    /// When the hold began.
    pub(super) since: Instant,
    failed_at: Instant,
    retry_at: Instant,
}

impl<E: Clone> Reach<E> {
    pub(super) fn new(login_retry: Duration) -> Self {
        Self { backoff: backoff(login_retry), trouble: None }
    }

    pub(super) fn set_login_retry(&mut self, login_retry: Duration) {
        self.backoff = backoff(login_retry);
    }

    /// An attempt that began at `started` failed.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        started: Instant,
        (error, definitive): (E, bool),
        draw: f64,
    ) {
        let since = match &mut self.trouble {
            // Of several attempts that were under way together the first to fail has said it all:
            // each doubling the wait would turn one failure into the longest one.
            Some(trouble) if started <= trouble.failed_at => {
                trouble.error = error;
                trouble.definitive = definitive;
                return;
            }
            Some(trouble) => trouble.since,
            None => now,
        };
        let retry_at = now + self.backoff.failed(draw);
        self.trouble = Some(Trouble { definitive, error, since, failed_at: now, retry_at });
    }

    pub(super) fn worked(&mut self) {
        if self.trouble.take().is_some() {
            self.backoff.succeeded();
        }
    }

    pub(super) fn trouble(&self) -> Option<&Trouble<E>> {
        self.trouble.as_ref()
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| now >= trouble.retry_at)
    }

    /// It has failed for longer than anybody is to be kept waiting.
    pub(super) fn down(&self, now: Instant, hold: Duration) -> Option<&Trouble<E>> {
        let is_down = |trouble: &&Trouble<E>| {
            !trouble.definitive && now.saturating_duration_since(trouble.since) >= hold
        };
        self.trouble.as_ref().filter(is_down)
    }

    /// It would only say the same again. Once it may be tried again, it is worth a try.
    pub(super) fn refused(&self, now: Instant) -> Option<&Trouble<E>> {
        self.trouble.as_ref().filter(|trouble| trouble.definitive && now < trouble.retry_at)
    }

    pub(super) fn is_definitive(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.definitive)
    }

    /// Old news is no reason to refuse anybody: when nobody has tried for `after`, because nobody
    /// asked, the hold begins anew.
    pub(super) fn doubt(&mut self, now: Instant, after: Duration) {
        if let Some(trouble) = &mut self.trouble
            && now.saturating_duration_since(trouble.retry_at) >= after
        {
            trouble.since = now;
        }
    }

    pub(super) fn health(&self) -> Health<E> {
        self.trouble.as_ref().map_or(Health::Working, |trouble| Health::Failing {
            definitive: trouble.definitive,
            error: trouble.error.clone(),
            retry_at: trouble.retry_at,
            since: trouble.since,
        })
    }
}

fn backoff(login_retry: Duration) -> Backoff {
    Backoff::new(RETRY_FIRST, login_retry)
}

/// How many connects to a host may be under way at once.
#[derive(Debug)]
pub(super) struct Ramp(u32);

impl Ramp {
    pub(super) const fn new() -> Self {
        Self(RAMP_START)
    }

    pub(super) fn limit(&self) -> u32 {
        self.0
    }

    pub(super) fn worked(&mut self) {
        self.0 = (self.0 * 2).min(RAMP_MOST);
    }

    /// To one, not to half: a host that has just failed gets a probe, not a crowd.
    pub(super) fn failed(&mut self) {
        self.0 = 1;
    }
}
