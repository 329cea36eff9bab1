//! Connections that are in no pool, and count under the host's limit all the same.

use super::Scheduler;
use super::caps::Groups;
use super::terms::{CloseReason, Site, SlotRef};
use std::time::Instant;

impl<S: Site> Scheduler<S> {
    /// Sets a place under the host's limit apart, for a connection that no client is ever lent. An
    /// idle server makes room for it. `false`: there is no place, or pools would have none left.
    pub fn set_apart(&mut self, now: Instant) -> bool {
        if let Some(max) = self.limits.max_connections {
            let host = self.slots.groups.of(Groups::HOST);
            if self.apart + 1 >= max || host.is_over() || host.is_full() && host.idle == 0 {
                return false;
            }
            if host.is_full() {
                let idle = self.slots.pools().filter_map(|pool| self.slots.longest_idle(pool));
                let Some(index) = idle.min_by_key(|index| self.slots.at(*index).since) else {
                    return false;
                };
                self.close_idle(now, index, CloseReason::Evicted);
            }
        }
        self.apart += 1;
        self.limit_host();
        true
    }

    /// The place is free again.
    pub fn give_back_apart(&mut self, now: Instant) {
        self.apart = self.apart.saturating_sub(1);
        self.limit_host();
        self.grow(now);
    }

    /// How many are set apart.
    pub fn apart(&self) -> u32 {
        self.apart
    }

    /// Another server is in the place of one that is on loan: this is how it is cancelled.
    pub fn replace_key(&mut self, slot: SlotRef, key: S::Key) {
        if self.slots.is_current(slot) {
            self.slots.at_mut(slot.index).key = Some(key);
        }
    }

    /// What is left for pools.
    pub(super) fn limit_host(&mut self) {
        let max =
            self.limits.max_connections.map_or(u32::MAX, |max| max.saturating_sub(self.apart));
        self.slots.groups.of_mut(Groups::HOST).limit(max);
    }
}
