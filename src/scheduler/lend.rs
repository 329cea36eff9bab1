//! Leases: who waits, who is served, and what becomes of a server that comes back.

use super::Scheduler;
use super::slots::State;
use super::terms::{Action, Cancel, CloseReason, Lease, Refusal, Request, Site, SlotRef, Ticket};
use crate::base::ids::ClientId;
use crate::base::ids::PoolId;
use crate::base::ids::WorkerId;
use std::time::Instant;

impl<S: Site> Scheduler<S> {
    /// A server at once, or not at all: then [`enqueue`](Self::enqueue).
    ///
    /// This overtakes nobody: while somebody waits, there is nothing to be had. It may have emitted
    /// an action even so, when the only idle servers are due for a check.
    pub fn try_acquire(
        &mut self,
        now: Instant,
        pool: PoolId,
        client: ClientId,
        worker: WorkerId,
    ) -> Option<Lease<S::Conn>> {
        if self.queue.waiting(pool) > 0 {
            return None;
        }
        let (index, is_fresh) = self.choose(now, pool, worker)?;
        if is_fresh {
            return Some(self.slots.take(now, index, Some(client)));
        }
        self.check(now, index);
        None
    }

    /// Waits in line. `Err`: it is known now that nobody can be served.
    pub fn enqueue(
        &mut self,
        now: Instant,
        request: Request<S::Handle>,
    ) -> Result<Ticket, (S::Handle, Refusal<S::Error>)> {
        let pool = request.pool;
        self.of_mut(pool).wanted_at = Some(now);
        let retry = self.limits.login_retry;
        if self.slots.host_counts().connecting == 0 {
            self.host.doubt(now, retry);
        }
        if self.slots.counts(pool).connecting == 0 {
            self.of_mut(pool).login.doubt(now, retry);
        }
        if let Some(refusal) = self.hopeless(now, pool) {
            return Err((request.handle, refusal));
        }
        let ticket = self.queue.push(now, request);
        self.serve(now, pool);
        self.grow(now);
        Ok(ticket)
    }

    /// Clients are expected in a pool: servers are kept ready for them as if one had come.
    pub fn expect(&mut self, now: Instant, pool: PoolId) {
        self.of_mut(pool).wanted_at = Some(now);
    }

    /// A waiter gives up. `None`: it was served or refused before, and an action says so.
    pub fn leave(&mut self, now: Instant, ticket: Ticket) -> Option<S::Handle> {
        let Request { handle, pool, .. } = self.queue.remove(ticket)?.request;
        if self.slots.counts(pool).idle > 0 {
            // Those were due for a check and kept for this waiter: another pool may need the place.
            self.grow(now);
        }
        Some(handle)
    }

    /// A lease ends, and the server is as clean as it was. `home`: the worker that knows its socket.
    pub fn give_back(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        self.shelve(now, lease, home);
    }

    /// A lease ends, and its server has to be cleaned before anybody else can have it.
    pub fn tidy(&mut self, now: Instant, slot: SlotRef) {
        self.slots.tidy(now, slot);
    }

    /// A server is clean, or has passed its check.
    pub fn tidied(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        self.shelve(now, lease, home);
    }

    /// The server is gone, or not worth keeping; or opening one was given up. Does nothing if the
    /// slot is out of date, so that it can be called whenever in doubt.
    pub fn discard(&mut self, now: Instant, slot: SlotRef) {
        if self.slots.is_current(slot) {
            self.slots.vacate(now, slot.index);
            self.settle(now, slot.pool);
        }
    }

    /// Cancels what this client waits for or runs.
    pub fn cancel(&mut self, now: Instant, pool: PoolId, client: ClientId) -> Cancel<S> {
        if let Some(ticket) = self.queue.find(pool, client) {
            let handle = self.leave(now, ticket).expect("it was found in line");
            return Cancel::Queued(handle);
        }
        let mut slots = self.slots.open_slots(pool);
        let running = slots.find(|slot| self.slots.at(slot.index).client == Some(client));
        drop(slots);
        let Some(slot) = running else { return Cancel::Nothing };
        let leased = self.slots.at_mut(slot.index);
        leased.cancels += 1;
        let key = leased.key.clone().expect("a server that arrived has a key");
        Cancel::Running { slot, key }
    }

    /// A cancel request is over: nothing it can hit is still to come. Does nothing if the server it
    /// was for is gone.
    pub fn cancel_done(&mut self, now: Instant, slot: SlotRef) {
        if !self.slots.is_current(slot) {
            return;
        }
        let canceled = self.slots.at_mut(slot.index);
        canceled.cancels = canceled.cancels.saturating_sub(1);
        if canceled.cancels == 0 && canceled.state == State::BeingCanceled {
            let (lease, home) = self.slots.take_canceled(slot);
            self.shelve(now, lease, home);
        }
    }

    /// A cancel request may still be on its way, but is waited for no longer: the server it is for
    /// goes to nobody else, and closes when it comes back.
    pub fn cancel_lost(&mut self, now: Instant, slot: SlotRef) {
        if self.slots.is_current(slot) {
            // At the end of its life: `unwanted` does the rest.
            self.slots.at_mut(slot.index).expires = Some(now);
            self.cancel_done(now, slot);
        }
    }

    /// Puts a server back, unless it is not to be kept or its place is needed more elsewhere.
    pub(super) fn shelve(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        let slot = lease.slot;
        if self.slots.at(slot.index).cancels > 0 {
            self.slots.put(now, lease, home);
            return;
        }
        if let Some(why) = self.unwanted(now, slot) {
            self.close(now, lease, why);
            self.settle(now, slot.pool);
            return;
        }
        // A server that has just arrived has served nobody yet: it is not closed for others.
        if !self.queue.is_empty()
            && self.slots.at(slot.index).state != State::Connecting
            && let Some(starving) = self.starving(now, slot.pool)
        {
            self.close(now, lease, CloseReason::Evicted);
            self.connect(now, starving);
            self.settle(now, slot.pool);
            return;
        }
        self.slots.put(now, lease, home);
        if !self.queue.is_empty() {
            self.serve(now, slot.pool);
            self.grow(now);
        }
    }

    fn unwanted(&self, now: Instant, slot: SlotRef) -> Option<CloseReason> {
        if self.slots.at(slot.index).expires.is_some_and(|expires| expires <= now) {
            Some(CloseReason::Lifetime)
        } else if self.has_surplus(slot.pool) {
            Some(CloseReason::Shrunk)
        } else {
            None
        }
    }

    fn close(&mut self, now: Instant, lease: Lease<S::Conn>, why: CloseReason) {
        let Lease { slot, conn } = lease;
        self.slots.vacate(now, slot.index);
        self.actions.push_back(Action::Close { conn, pool: slot.pool, why });
    }

    /// After a pool lost a server.
    pub(super) fn settle(&mut self, now: Instant, pool: PoolId) {
        if !self.queue.is_empty() {
            self.refuse_if_hopeless(now, pool);
            self.serve(now, pool);
            self.grow(now);
        }
    }

    /// Lends idle servers of this pool to those who wait for it.
    pub(super) fn serve(&mut self, now: Instant, pool: PoolId) {
        while let Some(first) = self.queue.first(pool) {
            let client = first.request.client;
            let Some((index, is_fresh)) = self.choose(now, pool, first.request.worker) else {
                return;
            };
            if is_fresh {
                let lease = self.slots.take(now, index, Some(client));
                let next = self.queue.pop(pool).expect("it is the first in line");
                let waited = now.saturating_duration_since(next.since);
                self.actions.push_back(Action::Grant { to: next.request.handle, lease, waited });
            } else if self.slots.counts(pool).checking < self.queue.waiting(pool) {
                self.check(now, index);
            } else {
                return;
            }
        }
    }

    /// The server to lend, and whether it can be lent without a check.
    fn choose(&self, now: Instant, pool: PoolId, worker: WorkerId) -> Option<(u32, bool)> {
        let limits = &self.of(pool).limits;
        let fresh_since = limits.check_delay.and_then(|delay| now.checked_sub(delay));
        self.slots.choose(pool, worker, limits.round_robin, fresh_since)
    }

    fn check(&mut self, now: Instant, index: u32) {
        let lease = self.slots.take(now, index, None);
        self.actions.push_back(Action::Check { lease });
    }

    /// Whether waiting is pointless in a pool: it has no server and will not get one.
    fn hopeless(&self, now: Instant, pool: PoolId) -> Option<Refusal<S::Error>> {
        if self.slots.counts(pool).live() > 0 {
            return None;
        }
        let (login, hold) = (&self.of(pool).login, self.limits.down_hold);
        if let Some(trouble) = login.refused(now) {
            return Some(Refusal::LoginFailed { error: trouble.error.clone() });
        }
        let trouble = self.host.down(now, hold).or_else(|| login.down(now, hold))?;
        Some(Refusal::ServerDown { error: trouble.error.clone(), since: trouble.since })
    }

    /// Why a pool without a server gets none just now, whether for long or not.
    pub(super) fn trouble(&self, pool: PoolId) -> Option<Refusal<S::Error>> {
        if self.slots.counts(pool).live() > 0 {
            return None;
        }
        let trouble = self.host.trouble().or_else(|| self.of(pool).login.trouble())?;
        Some(Refusal::ServerDown { error: trouble.error.clone(), since: trouble.since })
    }

    pub(super) fn refuse_if_hopeless(&mut self, now: Instant, pool: PoolId) {
        let Some(refusal) = self.hopeless(now, pool) else { return };
        while let Some(waiter) = self.queue.pop(pool) {
            let refusal = refusal.clone();
            self.actions.push_back(Action::Refuse { to: waiter.request.handle, refusal });
        }
    }
}
