//! Leases: who waits, who is served, and what becomes of a server that comes back.

use super::Scheduler;
use super::slots::Hold;
use super::terms::{Action, CloseReason, Lease, Member, Refusal, Request, Site, SlotRef, Ticket};
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use std::time::{Duration, Instant};

impl<S: Site> Scheduler<S> {
    /// A server at once, or not at all: then [`enqueue`](Self::enqueue).
    ///
    /// This overtakes nobody who could be served: while such a one waits, there is nothing to be
    /// had. It may have emitted an action even so, when the only idle servers are due for a check.
    pub fn try_acquire(
        &mut self,
        now: Instant,
        member: Member,
        client: ClientId,
        worker: WorkerId,
    ) -> Option<Lease<S::Conn>> {
        let Member { class, line, source } = member;
        self.came_back(now, member);
        let is_behind = self.queue.length(line) > 0 || self.queue.party_of(member).1;
        if is_behind
            || self.class_allowance(now, class) == 0
            || self.source_allowance(now, class, source) == 0
        {
            return None;
        }
        let pool = self.queue.line(line).pool;
        if !self.queue.hungry_lines(pool).is_empty() {
            // Time may have let somebody go on meanwhile.
            self.serve(now, pool);
        }
        let lease = self.lend_idle(now, member, client, worker);
        if !self.queue.is_empty() {
            // Others of the class may be at its quota now, and what was idle for them is not. After
            // this client is served: what it is about to get must not be closed for others.
            self.grow(now);
        }
        lease
    }

    /// An idle server, if there is one for this line. One that is due for a check is checked.
    fn lend_idle(
        &mut self,
        now: Instant,
        member: Member,
        client: ClientId,
        worker: WorkerId,
    ) -> Option<Lease<S::Conn>> {
        let pool = self.queue.line(member.line).pool;
        if self.idle_for(member.line) == 0 {
            return None;
        }
        let (index, is_fresh) = self.choose(now, pool, worker)?;
        if is_fresh {
            self.arrive(now, member);
            self.queue.line_mut(member.line).flow.standing.saw(Duration::ZERO);
            return Some(self.lend(now, index, client, member, Duration::ZERO));
        }
        if self.ready(now, pool) == 0 {
            self.check(now, index);
        }
        None
    }

    /// Waits in line. `Err`: it is known now that nobody can be served, or that it would be too late.
    pub fn enqueue(
        &mut self,
        now: Instant,
        request: Request<S::Handle>,
    ) -> Result<Ticket, (S::Handle, Refusal<S::Error>)> {
        let (member, again) = (request.member, request.again.is_some());
        let pool = self.queue.line(member.line).pool;
        self.of_mut(pool).wanted_at = Some(now);
        let retry = self.limits.login_retry;
        if self.slots.host_counts().connecting == 0 {
            self.host.doubt(now, retry);
        }
        if self.slots.counts(pool).connecting == 0 {
            self.of_mut(pool).login.doubt(now, retry);
        }
        self.recall(now, member);
        let refusal = match self.hopeless(now, pool) {
            None if !again => self.turned_away(now, member),
            hopeless => hopeless,
        };
        if let Some(refusal) = refusal {
            self.count_refusal(member.class, &refusal);
            let moment = self.moment(now);
            self.of_mut(pool).refused.add(moment);
            // It may have let others go on before.
            self.grow(now);
            return Err((request.handle, refusal));
        }
        self.arrive(now, member);
        let allowance = self.source_allowance(now, member.class, member.source);
        // Who comes back to the front is in front of those of its address, too.
        let aside = !again && self.queue.party_of(member).0 >= allowance;
        let delayed = self.delayed_for(now, member, aside);
        self.queue.line_mut(member.line).flow.let_in();
        let ticket = self.queue.push(now, request, aside);
        self.classes.of_mut(member.class).waits(true);
        self.classes.source_mut(member.source).usage.queued += 1;
        self.classes.of_mut(member.class).counters.queued(delayed);
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
        // While this process ends it was told to, by the one that takes over: it may come back from there.
        self.depart(now, ticket, !self.is_draining)
    }

    /// The same for one that would have stayed: an operator ends it.
    pub fn dismiss(&mut self, now: Instant, ticket: Ticket) -> Option<S::Handle> {
        self.depart(now, ticket, false)
    }

    fn depart(&mut self, now: Instant, ticket: Ticket, gave_up: bool) -> Option<S::Handle> {
        let waiter = self.queue.remove(ticket)?;
        let member = waiter.request.member;
        let delay = now.saturating_duration_since(waiter.since);
        let class = self.classes.of_mut(member.class);
        class.counters.abandoned += 1;
        if gave_up {
            class.patience.gave_up(delay);
            class.throttle.refused();
        } else {
            class.patience.was_there(delay);
        }
        self.left(now, member);
        let (moment, pool) = (self.moment(now), self.queue.line(member.line).pool);
        self.of_mut(pool).abandoned.add(moment);
        if !self.shared.slots(pool).is_empty() {
            // It may have been its turn, and it could not ride. Time may have let somebody go on meanwhile
            // who can have an idle one.
            self.serve(now, pool);
        }
        if self.slots.counts(pool).idle > 0 {
            // Those were due for a check and kept for this waiter: another pool may need the place.
            self.grow(now);
        }
        Some(waiter.request.handle)
    }

    /// A lease ends, and the server is as clean as it was. `home`: the worker that knows its socket.
    pub fn give_back(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        self.of_mut(lease.slot.pool).answered_at = Some(now);
        self.shared.end(lease.slot.pool, lease.slot.index);
        self.shelve(now, lease, home);
    }

    /// A lease ends, and its server has to be cleaned before anybody else can have it.
    pub fn tidy(&mut self, now: Instant, slot: SlotRef) {
        self.shared.end(slot.pool, slot.index);
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
            let freed = self.end_hold(now, now, slot.index);
            let left_behind = self.leave_behind(now, slot, false);
            self.slots.vacate(now, slot.index);
            self.gone(slot.pool);
            for freed in left_behind.into_iter().chain([freed]) {
                self.unblock(now, slot.pool, freed);
            }
            self.settle(now, slot.pool);
        }
    }

    /// Puts a server back, unless it is not to be kept or its place is needed more elsewhere.
    pub(super) fn shelve(&mut self, now: Instant, lease: Lease<S::Conn>, home: WorkerId) {
        let slot = lease.slot;
        let holder = self.slots.at(slot.index).hold.map(|hold| hold.member);
        let freed = self.end_hold(now, now, slot.index);
        if self.slots.at(slot.index).cancels > 0 {
            self.slots.put(now, lease, home);
        } else if let Some(why) = self.unwanted(now, slot) {
            self.close(now, lease, why);
            self.unblock(now, slot.pool, freed);
            return self.settle(now, slot.pool);
        } else if !self.queue.is_empty()
            && self.has_stayed(now, slot.index)
            && let Some(starving) = self.starving(now, slot.pool)
        {
            self.close(now, lease, CloseReason::Evicted);
            self.connect(now, starving);
            self.unblock(now, slot.pool, freed);
            return self.settle(now, slot.pool);
        } else {
            self.slots.put(now, lease, home);
            if let Some(member) = holder {
                self.keep(now, member);
            }
        }
        // Those of the same class first, in order of arrival: they waited for just that.
        self.unblock(now, slot.pool, freed);
        if !self.queue.is_empty() {
            self.serve(now, slot.pool);
            self.grow(now);
        }
    }

    #[inline]
    pub(super) fn unwanted(&self, now: Instant, slot: SlotRef) -> Option<CloseReason> {
        if self.is_paused(slot.pool) {
            Some(CloseReason::Paused)
        } else if self.slots.at(slot.index).is_retired {
            Some(CloseReason::Retired)
        } else if self.slots.at(slot.index).expires.is_some_and(|expires| expires <= now) {
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
        self.gone(slot.pool);
    }

    /// After a pool lost a server.
    pub(super) fn settle(&mut self, now: Instant, pool: PoolId) {
        if !self.queue.is_empty() {
            self.refuse_if_hopeless(now, pool);
            self.serve(now, pool);
            self.grow(now);
        }
    }

    /// Lends idle servers of this pool to those who wait for it and may have one, and then lets others
    /// share what is shared.
    pub(super) fn serve(&mut self, now: Instant, pool: PoolId) {
        self.let_go(now, pool);
        self.lend_to_waiters(now, pool);
        self.board(now, pool);
    }

    fn lend_to_waiters(&mut self, now: Instant, pool: PoolId) {
        while self.slots.counts(pool).idle > 0
            && let Some(turn) = self.next_turn(now, pool)
        {
            let waiter = self.next_in(turn.line);
            let member = self.queue.at(waiter).request.member;
            if self.source_allowance(now, member.class, member.source) == 0 {
                // Others of its address were served in another pool meanwhile.
                self.queue.put_aside(member);
                continue;
            }
            let worker = self.queue.at(waiter).request.worker;
            let Some((index, is_fresh)) = self.choose(now, pool, worker) else { return };
            if is_fresh {
                self.of_mut(pool).passed_over = turn.passed_over;
                self.grant(now, waiter, index);
            } else if self.slots.counts(pool).checking < self.ready(now, pool) {
                self.check(now, index);
            } else {
                return;
            }
        }
    }

    fn grant(&mut self, now: Instant, next: u32, index: u32) {
        let waited = self.call(now, next);
        let Request { client, handle: to, member, ride, worker, .. } =
            self.queue.take(next).request;
        let lease = self.lend(now, index, client, member, waited);
        let shared = ride.filter(|ride| self.is_worth_sharing(now, lease.slot.pool, *ride));
        let action = match shared {
            Some(ride) => {
                self.shared.begin(lease.slot.pool, index, ride, worker);
                self.begin_ride(index);
                Action::Drive { to, client, lease, waited }
            }
            None => Action::Grant { to, lease, waited },
        };
        self.actions.push_back(action);
    }

    /// It is the turn of this one, for the caller to take out of the queue. Answers with how long it waited.
    #[inline]
    pub(super) fn call(&mut self, now: Instant, next: u32) -> Duration {
        let waiter = self.queue.at(next);
        let (member, delay) = (waiter.request.member, now.saturating_duration_since(waiter.since));
        let oldest = self.queue.oldest(now, member.line);
        let flow = &mut self.queue.line_mut(member.line).flow;
        flow.standing.saw(oldest);
        flow.pace.served(now);
        self.classes.of_mut(member.class).patience.was_there(delay);
        self.dequeued(member);
        self.queue.parties.of_mut(member).served_at = Some(now);
        delay
    }

    /// An idle server becomes a client's, on the account of its class.
    fn lend(
        &mut self,
        now: Instant,
        index: u32,
        client: ClientId,
        member: Member,
        waited: Duration,
    ) -> Lease<S::Conn> {
        let moment = self.moment(now);
        let class = self.classes.of_mut(member.class);
        class.throttle.accepted();
        class.counters.granted(waited);
        class.usage.began(now, moment);
        let (expected, weight) = (class.mean_hold, class.weight());
        self.classes.source_mut(member.source).usage.began(now, moment);
        let share = &mut self.queue.line_mut(member.line).flow.share;
        let had = share.had(moment, weight);
        share.begin(moment, expected);
        self.advance(now, member, had);
        self.use_kept(now, member.line);
        let lease = self.slots.take(now, index, Some(client));
        self.slots.at_mut(index).hold =
            Some(Hold { member, began: moment, expected, leads: false });
        lease
    }

    /// A server that was lent turned out to be dead: as if it had not been lent, to those aboard either.
    pub fn was_dead(&mut self, now: Instant, slot: SlotRef) {
        if !self.slots.is_current(slot) {
            return;
        }
        let freed = self.undo_hold(now, slot.index);
        let left_behind = self.leave_behind(now, slot, true);
        self.slots.vacate(now, slot.index);
        self.gone(slot.pool);
        for freed in left_behind.into_iter().chain([freed]) {
            self.unblock(now, slot.pool, freed);
        }
        self.settle(now, slot.pool);
    }

    /// What was lent was not. Answers as `freed` does.
    pub(super) fn undo_hold(&mut self, now: Instant, index: u32) -> Option<ClassId> {
        let Hold { member, began, expected, leads } = self.slots.at_mut(index).hold.take()?;
        let moment = self.moment(now);
        let class = self.classes.of_mut(member.class);
        class.counters.granted -= 1;
        class.usage.undone(now, moment, began);
        let weight = class.weight();
        self.classes.source_mut(member.source).usage.undone(now, moment, began);
        let share = &mut self.queue.line_mut(member.line).flow.share;
        share.end(began, began, expected, weight);
        share.alight(leads);
        self.freed(now, member)
    }

    /// Settles the account of a server that its client has given up, now or before. Answers as `freed` does.
    #[inline]
    pub(super) fn end_hold(&mut self, now: Instant, at: Instant, index: u32) -> Option<ClassId> {
        let Hold { member, began, expected, leads } = self.slots.at_mut(index).hold.take()?;
        let (moment, ended) = (self.moment(now), self.moment(at));
        let class = self.classes.of_mut(member.class);
        class.usage.ended(moment, began, ended);
        class.took(ended.since(began));
        let weight = class.weight();
        self.classes.source_mut(member.source).usage.ended(moment, began, ended);
        let share = &mut self.queue.line_mut(member.line).flow.share;
        share.end(began, ended, expected, weight);
        share.alight(leads);
        self.freed(now, member)
    }

    /// Calls those in line who waited for this client's server to count no more. Answers with the
    /// class that may go on, if somebody of it waits.
    pub(super) fn freed(&mut self, now: Instant, member: Member) -> Option<ClassId> {
        let class = self.classes.of(member.class);
        let is_blocked = class.usage.queued > 0 && class.is_limited();
        is_blocked.then(|| {
            self.call_in(now, member.source);
            member.class
        })
    }

    /// Lets those go on whom the quota kept back that a server of `pool` which came back counted against.
    #[inline]
    pub(super) fn unblock(&mut self, now: Instant, pool: PoolId, freed: Option<ClassId>) {
        let Some(class) = freed else { return };
        // Mostly there is no idle server but the one that came back, and none to share.
        let is_shared_elsewhere = self.shared.len() as usize > self.shared.slots(pool).len();
        if self.slots.host_counts().idle > self.slots.counts(pool).idle || is_shared_elsewhere {
            self.serve_class(now, class);
        } else {
            self.serve(now, pool);
        }
        self.grow(now);
    }

    /// Serves every pool that somebody of this class waits for, who came first first.
    pub(super) fn serve_class(&mut self, now: Instant, class: ClassId) {
        if let [line] = self.classes.of(class).lines[..] {
            return self.serve(now, self.queue.line(line).pool);
        }
        let mut served = 0;
        while self.class_allowance(now, class) > 0
            && let Some((arrival, pool)) = self.next_of(class, served)
        {
            self.serve(now, pool);
            served = arrival;
        }
    }

    /// The next pool with an idle or a shared server that somebody of a class waits for: the first came after this.
    fn next_of(&self, class: ClassId, after: u64) -> Option<(u64, PoolId)> {
        let fronts = self.queue.fronts.after(class, after);
        let mut pools = fronts.map(|(arrival, line)| (arrival, self.queue.line(line).pool));
        pools.find(|(_, pool)| {
            self.slots.counts(*pool).idle > 0 || !self.shared.slots(*pool).is_empty()
        })
    }

    /// Lets those of an address get in line who stood aside and need not any more. Answers with
    /// whether there were any, for the caller to serve their class.
    pub(super) fn call_in(&mut self, now: Instant, source: u32) -> bool {
        let mut any = false;
        while self.queue.stands_aside(source) {
            let class = self.classes.class_of(source);
            let allowance = self.source_allowance(now, class, source);
            let Some(next) = self.queue.first_aside(source, allowance) else { break };
            let member = self.queue.at(next).request.member;
            self.arrive(now, member);
            self.queue.call_in(now, next);
            any = true;
        }
        any
    }

    /// Those of the same address may go on who stood aside, as far as they need not any more.
    fn recall(&mut self, now: Instant, member: Member) {
        if self.call_in(now, member.source) {
            self.serve_class(now, member.class);
            self.grow(now);
        }
    }

    /// Somebody does not wait any more.
    fn dequeued(&mut self, member: Member) {
        self.classes.of_mut(member.class).waits(false);
        self.classes.source_mut(member.source).usage.queued -= 1;
    }

    /// Somebody does not wait any more, and has not got a server either.
    pub(super) fn left(&mut self, now: Instant, member: Member) {
        self.dequeued(member);
        self.recall(now, member);
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
}
