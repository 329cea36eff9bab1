//! Who waits, and for how long: what others ask of the queue.

use super::{Queue, Waiter};
use crate::base::ids::{ClassId, ClientId, PoolId};
use crate::scheduler::terms::Ticket;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

impl<H> Queue<H> {
    /// Everybody who waits for this pool, in no order.
    pub(in crate::scheduler) fn all(
        &self,
        pool: PoolId,
    ) -> impl Iterator<Item = (Ticket, &Waiter<H>)> {
        let is_of =
            move |waiter: &&Waiter<H>| self.lines[waiter.request.member.line as usize].pool == pool;
        let indices = 0..u32::try_from(self.places.len()).expect("counted when added");
        let waiter = |index: u32| self.places[index as usize].waiter.as_ref();
        let of_pool = indices
            .filter_map(move |index| Some((self.ticket(index), waiter(index).filter(is_of)?)));
        of_pool.take(self.waiting(pool) as usize)
    }

    /// Of those who wait for this pool, who can share a server.
    pub(in crate::scheduler) fn riding(&self, pool: PoolId) -> u32 {
        self.pools[pool.0 as usize].riding
    }

    /// Whether anybody stands aside.
    pub(in crate::scheduler) fn has_aside(&self) -> bool {
        self.aside > 0
    }

    /// Looks at everybody: a cancel request brings a socket and a handshake of its own, beside which
    /// this is little, and an index would be kept up by every waiter that never cancels.
    pub(in crate::scheduler) fn find(&self, pool: PoolId, client: ClientId) -> Option<Ticket> {
        let found = self.all(pool).find(|(_, waiter)| waiter.request.client == client);
        found.map(|(ticket, _)| ticket)
    }

    /// How long the one in line has waited who has waited longest. Those who came back to the front may
    /// have come after some who stand behind them: where it sheds, the newest are served first.
    pub(in crate::scheduler) fn oldest(&self, now: Instant, line: u32) -> Duration {
        let mut longest = Duration::ZERO;
        for index in self.in_line(line) {
            let waiter = self.at(index);
            longest = longest.max(now.saturating_duration_since(waiter.since));
            if waiter.request.again.is_none() {
                break;
            }
        }
        longest
    }

    /// Of the pools in which somebody has been in line for so long, the one at this place.
    pub(in crate::scheduler) fn overdue(
        &mut self,
        now: Instant,
        so_long: Duration,
        at: usize,
    ) -> Option<PoolId> {
        let since = now.checked_sub(so_long)?;
        self.overdue.ripen(since);
        loop {
            let pool = self.overdue.get(at)?;
            let mut lines = self.hungry_lines(pool).iter();
            // Mostly who is in front came first.
            if lines.any(|line| self.first_came(*line).is_some_and(|came| came <= since)) {
                return Some(pool);
            }
            let is_hungry = !self.hungry_lines(pool).is_empty();
            let oldest = is_hungry.then(|| now.checked_sub(self.longest_wait(now, pool)));
            let oldest = oldest.flatten();
            if oldest.is_some_and(|oldest| oldest <= since) {
                return Some(pool);
            }
            self.overdue.note_anew(at, oldest);
        }
    }

    fn first_came(&self, line: u32) -> Option<Instant> {
        self.ends(line).map(|(first, _)| self.at(first).since)
    }

    /// Adds to each of these classes how long its waiters have waited, in no order.
    pub(in crate::scheduler) fn waits(
        &self,
        now: Instant,
        of: &mut BTreeMap<ClassId, Vec<Duration>>,
    ) {
        for waiter in self.places.iter().filter_map(|place| place.waiter.as_ref()) {
            if let Some(waits) = of.get_mut(&waiter.request.member.class) {
                waits.push(now.saturating_duration_since(waiter.since));
            }
        }
    }

    /// Who of this source stands aside.
    pub(in crate::scheduler) fn aside(&self, source: u32) -> Vec<Ticket> {
        let parties = self.parties.of_source(source).iter();
        let aside = parties.flat_map(|party| party.aside.iter(&self.places));
        aside.map(|index| self.ticket(index)).collect()
    }

    /// The same over all lines of a pool.
    pub(in crate::scheduler) fn longest_wait(&self, now: Instant, pool: PoolId) -> Duration {
        let lines = self.hungry_lines(pool).iter();
        lines.map(|line| self.oldest(now, *line)).max().unwrap_or_default()
    }
}
