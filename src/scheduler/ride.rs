//! Riding: clients that wait get aboard a server that works for others still, and are answered in turn.
//!
//! A server is lent shared while others wait who could share it, and then belongs to its head. In
//! order of [turn](super::turn), as if a server had come back, waiters are granted it in advance. Each
//! counts against every quota from then on, and is charged for server time from the moment at which it
//! is at the head.
//!
//! Whoever boards may need other settings than the one before: to change them is work of its own, which
//! [counts](CHANGE) as part of what it asks for.
//!
//! Nobody goes ahead of somebody whose turn it is. Where that one cannot ride or finds no room, nobody gets
//! aboard at all: shared servers work off those who are, and the first that is through is idle, for whoever
//! is next. (To set one server aside for it, and to fill up the others, would bind it to that one, whatever
//! comes back sooner and whoever's turn it is by then.)

use super::Scheduler;
use super::queue::Waiter;
use super::shared::{Newcomer, Next, Rider};
use super::slots::Hold;
use super::terms::{Action, Member, Request, Ride, ShareLimits, Site, SlotRef};
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use std::time::{Duration, Instant};

/// What it is expected to take to change a server's settings: a short statement of its own. One that sets a
/// single name takes Postgres some 20 us; there may be more of them.
pub const CHANGE: Duration = Duration::from_micros(50);

impl<S: Site> Scheduler<S> {
    /// The head of a shared server is answered, and so is whoever is at the head then: one at each of these
    /// moments, in order, none of them later than now. The next one is at the head from the last of them on; or
    /// there is none: nobody gets aboard any more, and the server is to be given back.
    pub fn pass_on(
        &mut self,
        now: Instant,
        slot: SlotRef,
        answered: impl IntoIterator<Item = Instant>,
    ) -> Next {
        if !self.is_shared(slot) {
            return Next::Empty;
        }
        let mut freed = Vec::new();
        let mut head = Next::Empty;
        for at in answered {
            let Some(next) = self.shared.next(slot.pool, slot.index) else {
                self.nobody_is_aboard(slot);
                head = Next::Empty;
                break;
            };
            freed.extend(self.end_hold(now, at, slot.index));
            self.lead(now, at, slot, next);
            self.of_mut(slot.pool).answered_at = Some(now);
            head = Next::Rider(next.client);
        }
        for freed in freed {
            self.unblock(now, slot.pool, Some(freed));
        }
        if head != Next::Empty {
            self.after_leaving(now, slot, None);
        }
        head
    }

    /// Nobody is aboard a shared server any more, which has still to answer some who have left it: to be
    /// [tidied](Self::tidied). Its last head pays for it no longer.
    pub fn tidy_behind(&mut self, now: Instant, slot: SlotRef) {
        self.of_mut(slot.pool).answered_at = Some(now);
        let freed = self.end_hold(now, now, slot.index);
        self.tidy(now, slot);
        self.unblock(now, slot.pool, freed);
    }

    /// A shared server is lost: nobody gets aboard any more. For [`missed`](Self::missed), and then `discard`.
    pub fn lost(&mut self, slot: SlotRef) {
        if self.is_shared(slot) {
            self.lend_no_more(slot);
        }
    }

    /// A client aboard was not put on the server after all: as if it had not been granted it. It may wait
    /// [`again`](Request::again). Answers with who is at the head then.
    pub fn missed(&mut self, now: Instant, slot: SlotRef, client: ClientId) -> Next {
        if !self.is_shared(slot) {
            return Next::Empty;
        }
        let head = self.slots.at(slot.index).client;
        let (freed, head) = if head == Some(client) {
            let freed = self.undo_hold(now, slot.index);
            let next = self.shared.next(slot.pool, slot.index);
            match next {
                Some(next) => self.lead(now, now, slot, next),
                None => self.nobody_is_aboard(slot),
            }
            (freed, next.map(|next| next.client))
        } else {
            let rider = self.shared.remove(slot.pool, slot.index, client);
            (rider.and_then(|rider| self.alight(now, rider, true)), head)
        };
        self.after_leaving(now, slot, freed);
        head.map_or(Next::Empty, Next::Rider)
    }

    /// The next of those who got aboard a shared server, in order. Taken by its driver when it is
    /// [told](Action::Board), or before.
    pub fn take_up(&mut self, slot: SlotRef) -> Option<Newcomer<S::Handle>> {
        self.slots.is_current(slot).then(|| self.shared.newcomer(slot.index))?
    }

    /// The head of a shared server takes far longer than was expected: nobody gets aboard behind it.
    pub fn stalled(&mut self, slot: SlotRef) {
        if self.is_shared(slot) {
            self.shared.stall(slot.index);
            // It may be there for long, and shares nothing meanwhile.
            if let Some(hold) = &mut self.slots.at_mut(slot.index).hold {
                let share = &mut self.queue.line_mut(hold.member.line).flow.share;
                share.alight(std::mem::take(&mut hold.leads));
            }
        }
    }

    /// A server is its driver's alone, who gives it back. Its last head may be elsewhere by then, and be
    /// cancelled there.
    fn nobody_is_aboard(&mut self, slot: SlotRef) {
        self.shared.end(slot.pool, slot.index);
        self.slots.at_mut(slot.index).client = None;
    }

    fn is_shared(&self, slot: SlotRef) -> bool {
        self.slots.is_current(slot) && self.shared.of(slot.index).is_some()
    }

    /// Whether a server of this pool is to be lent so that others can share it.
    pub(super) fn is_worth_sharing(&self, now: Instant, pool: PoolId, head: Ride) -> bool {
        let limits = self.of(pool).limits.share;
        limits.is_some_and(|limits| limits.depth > 1 && head.expected < limits.ahead)
            && self.queue.riding(pool) > 0
            && !self.is_draining
            && !self.may_add(now, pool)
    }

    /// Whoever is next gets aboard a shared server of this pool, as long as there is room.
    #[inline]
    pub(super) fn board(&mut self, now: Instant, pool: PoolId) {
        if !self.shared.slots(pool).is_empty() {
            self.fill_up(now, pool);
        }
    }

    #[cold]
    fn fill_up(&mut self, now: Instant, pool: PoolId) {
        let Some(limits) = self.of(pool).limits.share else { return };
        if self.is_draining || self.queue.riding(pool) == 0 || !self.has_room(pool, limits) {
            return;
        }
        if self.slots.counts(pool).idle == 0 {
            // One is opened for who gets aboard as for anybody who waits. Not while one is idle for
            // somebody who is about to get it: it might be closed for others.
            self.grow(now);
        }
        // Without sharing, servers would come back, and the place of one would go to others.
        let has_stayed = |index: &u32| self.has_stayed(now, *index);
        let may_move_on = self.shared.slots(pool).iter().any(has_stayed);
        if self.may_add(now, pool) || (may_move_on && self.starving(now, pool).is_some()) {
            return;
        }
        while let Some(turn) = self.next_turn_of(now, pool, true) {
            let waiter = self.next_in(turn.line);
            let Waiter { request, .. } = self.queue.at(waiter);
            let &Request { member, ride, worker, .. } = request;
            if self.source_allowance(now, member.class, member.source) == 0 {
                self.queue.put_aside(member);
                continue;
            }
            if !turn.is_guaranteed && self.has_to_hold_back(now, member, limits) {
                return;
            }
            let room = ride.and_then(|ride| {
                Some((ride, self.least_ahead(now, pool, (ride, worker), limits)?))
            });
            let Some((ride, index)) = room else { return };
            self.of_mut(pool).passed_over = turn.passed_over;
            self.get_aboard(now, waiter, index, ride);
        }
    }

    /// Whether a line has had more than another of its priority that has somebody aboard: by more than may be ahead
    /// of anybody. Who is aboard is in no line, but waits all the same, for whoever boarded before; where all of a
    /// class's clients are, others would board whenever there is room, and it would get a place for each client
    /// in place of its share of the time. So others have servers only as they become idle until it has caught up, or
    /// has nobody aboard. (What is granted in advance counts as waiting: FSFQ(D) in Jin, Chase and Kaur 2004,
    /// "Interposed Proportional Sharing for a Storage Service Utility".)
    fn has_to_hold_back(&self, now: Instant, member: Member, limits: ShareLimits) -> bool {
        let lines = self.queue.lines_of(self.queue.line(member.line).pool);
        if lines.len() < 2 {
            return false;
        }
        let (moment, of) = (self.moment(now), self.classes.of(member.class));
        let had = |line: u32, weight| self.queue.line(line).flow.share.had(moment, weight);
        let own = had(member.line, of.weight());
        lines.iter().any(|line| {
            let other = self.queue.line(*line);
            let class = self.classes.of(other.class);
            *line != member.line
                && other.flow.share.is_aboard()
                && class.limits.priority == of.limits.priority
                && (own - had(*line, class.weight())) * of.weight() > limits.ahead.as_secs_f64()
        })
    }

    /// How many may be aboard a server of this pool: so many that all who wait are spread over its
    /// servers, those included that others have, or some would be idle soon beside one with a crowd.
    fn depth(&self, pool: PoolId, limits: ShareLimits) -> u32 {
        let followers = self.shared.rides(pool).followers;
        let servers = self.slots.counts(pool).live().max(1);
        let each = self.queue.waiting(pool).saturating_add(followers).div_ceil(servers);
        limits.depth.min(each.saturating_add(1))
    }

    fn has_room(&self, pool: PoolId, limits: ShareLimits) -> bool {
        let depth = self.depth(pool, limits);
        let mut shared = self.shared.slots(pool).iter().filter_map(|slot| self.shared.of(*slot));
        shared.any(|shared| shared.followers() + 1 < depth)
    }

    /// The server to get aboard of: the one with the least expected work ahead; or one of the own worker, if
    /// no more than another statement like this is ahead there. To wake somebody on another worker takes
    /// a system call.
    fn least_ahead(
        &self,
        now: Instant,
        pool: PoolId,
        (ride, worker): (Ride, WorkerId),
        limits: ShareLimits,
    ) -> Option<u32> {
        let depth = self.depth(pool, limits);
        let slots = self.shared.slots(pool).iter().copied();
        let ahead = slots.filter_map(|index| {
            let shared = self.shared.of(index)?;
            let is_closed = shared.followers() + 1 >= depth
                || shared.is_stalled
                || self.slots.at(index).cancels > 0;
            if is_closed {
                return None;
            }
            let ahead = self.work_ahead(now, index)?.saturating_add(shared.change_to(ride));
            let nearly = if shared.worker == worker { Duration::ZERO } else { ride.expected };
            let is_open = ahead.saturating_add(ride.expected) <= limits.ahead
                && self.unwanted(now, self.slots.slot_ref(index)).is_none();
            is_open.then_some((ahead.saturating_add(nearly), index))
        });
        ahead.min().map(|(_, index)| index)
    }

    /// What those aboard are expected to take. A head counts in full, or for what it has taken already: one
    /// that is late may be so for long.
    fn work_ahead(&self, now: Instant, index: u32) -> Option<Duration> {
        let shared = self.shared.of(index)?;
        let began = self.slots.at(index).hold.map(|hold| hold.began);
        let taken = began.map_or(Duration::ZERO, |began| self.moment(now).since(began));
        Some(shared.head.max(taken).saturating_add(shared.behind))
    }

    /// Who has just been lent this server is the first head of one that others will share.
    pub(super) fn begin_ride(&mut self, index: u32) {
        let hold = self.slots.at_mut(index).hold.as_mut().expect("somebody has it");
        hold.leads = true;
        self.queue.line_mut(hold.member.line).flow.share.lead();
    }

    fn get_aboard(&mut self, now: Instant, next: u32, index: u32, ride: Ride) {
        let slot = self.slots.slot_ref(index);
        let expected = self.shared.boards(index, ride);
        let waited = self.call(now, next);
        let Request { client, handle: to, member, .. } = self.queue.take(next).request;
        let moment = self.moment(now);
        let class = self.classes.of_mut(member.class);
        class.throttle.accepted();
        class.counters.granted(waited);
        class.usage.boarded(now);
        let weight = class.weight();
        self.classes.source_mut(member.source).usage.boarded(now);
        let share = &mut self.queue.line_mut(member.line).flow.share;
        let had = share.had(moment, weight);
        share.book(expected.as_secs_f64());
        self.advance(now, member, had);
        self.shared.board(slot.pool, index, (client, member, expected), (to, waited));
        self.actions.push_back(Action::Board { client, slot, waited });
    }

    /// A follower is the head, since `at`.
    fn lead(&mut self, now: Instant, at: Instant, slot: SlotRef, rider: Rider) {
        let Rider { client, member, expected, .. } = rider;
        let (told, moment, expected) = (self.moment(now), self.moment(at), expected.as_secs_f64());
        self.classes.of_mut(member.class).usage.led(told, moment);
        self.classes.source_mut(member.source).usage.led(told, moment);
        let share = &mut self.queue.line_mut(member.line).flow.share;
        share.unbook(expected);
        share.begin(moment, expected);
        share.lead();
        let of = self.slots.at_mut(slot.index);
        (of.client, of.since) = (Some(client), at);
        of.hold = Some(Hold { member, began: moment, expected, leads: true });
    }

    /// A follower is not aboard any more, and has used no server time. Answers as `freed` does.
    fn alight(&mut self, now: Instant, rider: Rider, undone: bool) -> Option<ClassId> {
        let Rider { member, expected, .. } = rider;
        let class = self.classes.of_mut(member.class);
        class.usage.alighted(now, undone);
        class.counters.granted -= u64::from(undone);
        self.classes.source_mut(member.source).usage.alighted(now, undone);
        self.queue.line_mut(member.line).flow.share.unbook(expected.as_secs_f64());
        self.freed(now, member)
    }

    /// A server that may be shared is gone, with all its followers. `undone`: they were not put on it.
    /// Those whom no driver has taken up were not in any case, and are told. Answers as `freed` does, for
    /// each.
    pub(super) fn leave_behind(
        &mut self,
        now: Instant,
        slot: SlotRef,
        undone: bool,
    ) -> Vec<Option<ClassId>> {
        let mut freed = Vec::new();
        if self.is_shared(slot) {
            while let Some(Newcomer { client, to, .. }) = self.shared.newcomer(slot.index) {
                if let Some(rider) = self.shared.remove(slot.pool, slot.index, client) {
                    freed.push(self.alight(now, rider, true));
                }
                self.actions.push_back(Action::Miss { to });
            }
            while let Some(rider) = self.shared.next(slot.pool, slot.index) {
                freed.push(self.alight(now, rider, undone));
            }
            self.shared.end(slot.pool, slot.index);
        }
        freed
    }

    /// Somebody is aboard no more: others may be. `freed`: see there.
    fn after_leaving(&mut self, now: Instant, slot: SlotRef, freed: Option<ClassId>) {
        self.unblock(now, slot.pool, freed);
        if !self.queue.is_empty() {
            self.serve(now, slot.pool);
            self.grow(now);
        }
    }
}
