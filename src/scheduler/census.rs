//! Every slot and every waiter of a pool: for those who ask what each of them does.

use super::Scheduler;
use super::shared::Rides;
use super::slots::State;
use super::terms::{Site, SlotRef, Ticket};
use crate::base::ids::{ClassId, ClientId, PoolId};
use std::time::Instant;

/// One slot, at one moment.
#[derive(Clone, Debug)]
pub struct SlotView<T> {
    pub slot: SlotRef,
    pub state: State,
    /// Since when it is in this state.
    pub since: Instant,
    /// Who has it.
    pub client: Option<ClientId>,
    /// `None`: it is being opened.
    pub connected_at: Option<Instant>,
    /// How many clients share it, the one that has it included. 0: it is not shared.
    pub riders: u32,
    /// It closes as soon as nobody has it.
    pub is_retired: bool,
    /// It is idle, and will be checked before it is lent.
    pub is_to_be_checked: bool,
    /// What the caller wanted to know of the server.
    pub about: T,
}

/// Somebody who waits, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WaiterView {
    pub client: ClientId,
    pub class: ClassId,
    pub since: Instant,
    pub ticket: Ticket,
}

impl SlotRef {
    /// Names this use of the slot, on its host.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

impl<S: Site> Scheduler<S> {
    /// The slots of a pool that are not vacant. `about` sees each one's key, once it is connected, and
    /// its server, while nobody has that.
    pub fn servers<T>(
        &self,
        now: Instant,
        pool: PoolId,
        about: impl Fn(Option<&S::Key>, Option<&S::Conn>) -> T,
    ) -> Vec<SlotView<T>> {
        let delay = self.of(pool).limits.check_delay;
        let fresh_since = delay.and_then(|delay| now.checked_sub(delay));
        let is_stale = |since| fresh_since.is_some_and(|fresh_since| since < fresh_since);
        let slots = self.slots.open_slots(pool);
        let view = |slot: SlotRef| {
            let of = self.slots.at(slot.index);
            SlotView {
                slot,
                state: of.state,
                since: of.since,
                client: of.client,
                connected_at: of.key.as_ref().map(|_| of.connected_at),
                riders: self.shared.of(slot.index).map_or(0, |shared| shared.followers() + 1),
                is_retired: of.is_retired,
                is_to_be_checked: of.state == State::Idle && is_stale(of.since),
                about: about(of.key.as_ref(), of.conn.as_ref()),
            }
        };
        slots.map(view).collect()
    }

    /// Who waits for a server of this pool, those included who stand aside; in no order.
    pub fn waiters(&self, pool: PoolId) -> Vec<WaiterView> {
        let view = |(ticket, waiter): (Ticket, &super::queue::Waiter<S::Handle>)| WaiterView {
            client: waiter.request.client,
            class: waiter.request.member.class,
            since: waiter.since,
            ticket,
        };
        self.queue.all(pool).map(view).collect()
    }

    /// What is shared in this pool.
    pub fn rides(&self, pool: PoolId) -> Rides {
        *self.shared.rides(pool)
    }

    /// Who is aboard shared servers of this pool behind others, and on which.
    pub fn followers(&self, pool: PoolId) -> impl Iterator<Item = (ClientId, SlotRef)> + '_ {
        self.shared.slots(pool).iter().flat_map(|index| {
            let slot = self.slots.slot_ref(*index);
            self.shared.followers(*index).map(move |rider| (rider.client, slot))
        })
    }

    /// How many idle servers of this pool will be checked before they are lent.
    pub fn to_be_checked(&self, now: Instant, pool: PoolId) -> u32 {
        let delay = self.of(pool).limits.check_delay;
        let Some(fresh_since) = delay.and_then(|delay| now.checked_sub(delay)) else { return 0 };
        let stale = self.slots.idle(pool).map(|index| self.slots.at(index).since);
        let stale = stale.take_while(|since| *since < fresh_since).count();
        u32::try_from(stale).expect("no more than there are slots")
    }
}
