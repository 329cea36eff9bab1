//! What a quota has left of server time, by what it means: worked out anew from when servers were held.

use super::accounts::{CRUMB, Sure};
use std::time::{Duration, Instant};

/// Server time: in no span of it is more used than a pause may have saved before it, and it has itself
/// brought. So what is left is the least that any span up to now leaves.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    per_second: f64,
    pub(super) burst: f64,
    /// Since when there is a quota.
    since: Instant,
    /// Spans begin here, with so much.
    from: (Instant, f64),
    /// What was left when the scheduler was last told the time.
    noticed: (Instant, f64),
    /// When servers were held.
    spells: Vec<(Instant, Option<Instant>)>,
}

impl Worth {
    pub(super) fn follow(
        this: &mut Option<Self>,
        now: Instant,
        wanted: Option<(f64, f64)>,
        held: &[Instant],
    ) {
        *this = wanted.map(|(per_second, burst)| {
            let mut worth = this.take().unwrap_or_else(|| Self {
                per_second,
                burst,
                since: now,
                from: (now, burst),
                noticed: (now, burst),
                spells: held.iter().map(|began| (*began, None)).collect(),
            });
            worth.begin_anew(now);
            (worth.per_second, worth.burst) = (per_second, burst);
            worth.change(0.0);
            worth.noticed = worth.from;
            worth
        });
    }

    /// Held between two moments.
    fn used(&self, from: Instant, to: Instant) -> f64 {
        let parts = self.spells.iter().map(|(began, ended)| {
            ended.unwrap_or(to).min(to).saturating_duration_since((*began).max(from))
        });
        parts.sum::<Duration>().as_secs_f64()
    }

    pub(super) fn left(&self, now: Instant) -> f64 {
        let (first, level) = self.from;
        let ends = self.spells.iter().flat_map(|(began, ended)| [Some(*began), *ended]).flatten();
        let begins = ends.filter(|at| first < *at && *at < now).chain([now]);
        let spans = begins.map(|at| (at, self.burst)).chain([(first, level)]);
        let leaves = spans.map(|(at, level)| {
            level + (now - at).as_secs_f64() * self.per_second - self.used(at, now)
        });
        leaves.fold(f64::INFINITY, f64::min)
    }

    pub(super) fn level(&self, now: Instant, sure: Sure) -> f64 {
        match sure {
            Sure::Certainly => self.noticed.1 - self.used(self.noticed.0, now) - CRUMB,
            Sure::Perhaps => self.left(now) + CRUMB,
        }
    }

    pub(super) fn notice(&mut self, now: Instant) {
        self.noticed = (now, self.left(now));
    }

    /// Forgets what was before.
    fn begin_anew(&mut self, now: Instant) {
        self.noticed = (now, self.noticed.1 - self.used(self.noticed.0, now));
        self.from = (now, self.left(now));
        self.spells.retain(|(_, ended)| ended.is_none());
    }

    fn change(&mut self, by: f64) {
        self.from.1 = (self.from.1 + by).min(self.burst);
        self.noticed.1 = (self.noticed.1 + by).min(self.burst);
    }

    /// `at` may be before now.
    pub(super) fn begin(&mut self, now: Instant, at: Instant) {
        if at < now {
            self.begin_anew(now);
            self.change(-(now - at.max(self.since)).as_secs_f64());
        }
        self.spells.push((at, None));
    }

    pub(super) fn end(&mut self, now: Instant, at: Instant, began: Instant) {
        let open = |spell: &(Instant, Option<Instant>)| *spell == (began, None);
        let place = self.spells.iter().position(open).expect("it is held");
        if at < now {
            self.begin_anew(now);
            let place = self.spells.iter().position(open).expect("it is held");
            self.spells.swap_remove(place);
            self.change((now - at.max(self.since)).as_secs_f64());
            return;
        }
        self.spells[place].1 = Some(now);
        if self.spells.len() > 8 {
            self.begin_anew(now);
        }
    }
}
