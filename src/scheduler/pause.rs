//! What an operator does to a pool: pausing it, and having its servers replaced.
//!
//! A paused pool lends nothing and opens nothing; what is idle is closed, and what comes back is closed
//! then. Who waits goes on waiting, and is not shed: that the pool is slow is no news while it stands
//! still. Those who have waited through the pause are not shed after it, either.
//!
//! A server is retired when another is to take its place: it is lent to nobody any more, and closes as
//! soon as nobody has it.

use super::Scheduler;
use super::queue::Waiter;
use super::slots::State;
use super::terms::{Action, CloseReason, Site, SlotRef};
use crate::base::ids::{ClientId, PoolId};
use std::time::Instant;

/// What an operator has done to a pool.
#[derive(Debug, Default)]
pub(super) struct Halt {
    pub(super) is_paused: bool,
    /// When it was last allowed to go on.
    resumed_at: Option<Instant>,
    /// There are retired servers left.
    is_renewing: bool,
}

impl<S: Site> Scheduler<S> {
    /// From now on this pool lends nothing, or goes on. Says whether that is news.
    pub fn set_paused(&mut self, now: Instant, pool: PoolId, is_paused: bool) -> bool {
        if self.is_paused(pool) == is_paused {
            return false;
        }
        self.of_mut(pool).halt.is_paused = is_paused;
        if is_paused {
            while let Some(index) = self.slots.longest_idle(pool) {
                self.close_idle(now, index, CloseReason::Paused);
            }
            // Their places may be what others wait for.
            self.grow(now);
        } else {
            self.resume(now, pool);
        }
        self.look_at(now, pool);
        true
    }

    fn resume(&mut self, now: Instant, pool: PoolId) {
        self.of_mut(pool).halt.resumed_at = Some(now);
        // Whoever resumes a pool knows that Postgres is there, whatever was seen before.
        self.host.worked();
        self.of_mut(pool).login.worked();
        for line in self.queue.hungry_lines(pool).to_vec() {
            // How fast it went while it stood still says nothing.
            self.queue.line_mut(line).flow.pace.begin(now);
        }
        self.settle(now, pool);
    }

    #[inline]
    pub fn is_paused(&self, pool: PoolId) -> bool {
        self.of(pool).halt.is_paused
    }

    /// Whether every server of a pool is gone: what a pause waits for.
    pub fn is_out(&self, pool: PoolId) -> bool {
        self.slots.counts(pool).open() == 0
    }

    /// Has every server that a pool has now replaced, those that are being opened included.
    pub fn retire(&mut self, now: Instant, pool: PoolId) {
        let slots: Vec<SlotRef> = self.slots.open_slots(pool).collect();
        for slot in slots {
            self.slots.at_mut(slot.index).is_retired = true;
        }
        self.of_mut(pool).halt.is_renewing = !self.is_out(pool);
        while let Some(index) = self.slots.longest_idle(pool) {
            self.close_idle(now, index, CloseReason::Retired);
        }
        self.settle(now, pool);
    }

    /// Has one server replaced, the one whose key this is. Answers with the client that has it, if
    /// anybody has. `None`: there is no such server.
    pub fn retire_one(
        &mut self,
        now: Instant,
        is_it: impl Fn(&S::Key) -> bool,
    ) -> Option<Option<ClientId>> {
        let mut slots = self.slots.pools().flat_map(|pool| self.slots.open_slots(pool));
        let slot = slots.find(|slot| self.slots.at(slot.index).key.as_ref().is_some_and(&is_it))?;
        drop(slots);
        self.of_mut(slot.pool).halt.is_renewing = true;
        let of = self.slots.at_mut(slot.index);
        of.is_retired = true;
        let holder = of.client;
        if of.state == State::Idle {
            self.close_idle(now, slot.index, CloseReason::Retired);
            self.settle(now, slot.pool);
        }
        Some(holder)
    }

    /// This server, which somebody has, is to be lent to nobody else.
    pub(super) fn lend_no_more(&mut self, slot: SlotRef) {
        self.slots.at_mut(slot.index).is_retired = true;
        self.of_mut(slot.pool).halt.is_renewing = true;
    }

    /// How many servers of a pool are still to be replaced.
    pub fn retired(&self, pool: PoolId) -> u32 {
        let retired = self.slots.open_slots(pool).filter(|slot| self.is_retired(*slot));
        u32::try_from(retired.count()).expect("fewer than slots")
    }

    /// Whether this server closes as soon as nobody has it.
    pub fn is_retired(&self, slot: SlotRef) -> bool {
        self.slots.is_current(slot) && self.slots.at(slot.index).is_retired
    }

    /// Whether a server that is lent stays when it comes back, as far as an operator decides.
    pub fn is_kept(&self, slot: SlotRef) -> bool {
        !self.is_paused(slot.pool) && !self.is_retired(slot)
    }

    /// After a server was closed: says so if it was the last that somebody may wait to be gone.
    pub(super) fn gone(&mut self, pool: PoolId) {
        let is_out = self.is_paused(pool) && self.is_out(pool);
        let is_renewed = self.of(pool).halt.is_renewing && self.retired(pool) == 0;
        if is_renewed {
            self.of_mut(pool).halt.is_renewing = false;
        }
        if is_out || is_renewed {
            self.actions.push_back(Action::Gone { pool });
        }
    }

    /// Whether nobody in this line is to be shed: its pool stands still, or has not served everybody yet
    /// who waited while it did.
    pub(super) fn is_halted(&self, line: u32) -> bool {
        let pool = self.queue.line(line).pool;
        let halt = &self.of(pool).halt;
        if halt.is_paused || halt.resumed_at.is_none() {
            return halt.is_paused;
        }
        for waiter in self.queue.in_line(line).map(|index| self.queue.at(index)) {
            // Those who came back to the front may have come after some who stand behind them.
            if self.was_halted(pool, waiter) || waiter.request.again.is_none() {
                return self.was_halted(pool, waiter);
            }
        }
        false
    }

    /// Whether somebody has waited through a pause.
    pub(super) fn was_halted(&self, pool: PoolId, waiter: &Waiter<S::Handle>) -> bool {
        self.of(pool).halt.resumed_at.is_some_and(|resumed_at| waiter.since < resumed_at)
    }
}
