//! Cancel requests: whom one hits, and what becomes of a server while one is on its way to it.

use super::Scheduler;
use super::slots::State;
use super::terms::{Cancel, Site, SlotRef};
use crate::base::ids::{ClientId, PoolId};
use std::time::Instant;

impl<S: Site> Scheduler<S> {
    /// Cancels what this client waits for or runs.
    pub fn cancel(&mut self, now: Instant, pool: PoolId, client: ClientId) -> Cancel<S> {
        if let Some(ticket) = self.queue.find(pool, client) {
            let handle = self.leave(now, ticket).expect("it was found in line");
            return Cancel::Queued(handle);
        }
        let mut slots = self.slots.open_slots(pool);
        let running = slots.find(|slot| {
            self.slots.at(slot.index).client == Some(client)
                || self.shared.followers(slot.index).any(|rider| rider.client == client)
        });
        drop(slots);
        let Some(slot) = running else { return Cancel::Nothing };
        if let Some(berth) = self.shared.berth(slot.index, client) {
            return Cancel::Riding { slot, berth };
        }
        let leased = self.slots.at_mut(slot.index);
        leased.cancels += 1;
        let key = leased.key.clone().expect("a server that arrived has a key");
        Cancel::Running { slot, key }
    }

    /// The key to cancel what this client runs, if it is at the head of this shared server; then
    /// `cancel_done(slot)`. Nobody gets aboard meanwhile; but those who are might be hit as well: for the
    /// driver, who knows what it has sent.
    pub fn cancel_head(&mut self, slot: SlotRef, client: ClientId) -> Option<S::Key> {
        let is_head = self.slots.is_current(slot)
            && self.shared.of(slot.index).is_some()
            && self.slots.at(slot.index).client == Some(client);
        if !is_head {
            return None;
        }
        let shared = self.slots.at_mut(slot.index);
        shared.cancels += 1;
        shared.key.clone()
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
        } else if self.shared.of(slot.index).is_some() {
            // Nobody got aboard while it was under way.
            self.serve(now, slot.pool);
        }
    }

    /// A cancel request may still be on its way, but is waited for no longer: the server it is for
    /// goes to nobody else, and closes when it comes back.
    pub fn cancel_lost(&mut self, now: Instant, slot: SlotRef) {
        if self.slots.is_current(slot) {
            // `unwanted` does the rest.
            self.lend_no_more(slot);
            self.cancel_done(now, slot);
        }
    }
}
