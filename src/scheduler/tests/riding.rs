//! Shared servers, told from a scheduler's actions: who is aboard, and what must be true of it.

use super::accounts::{Seat, Sure};
use super::broken::Broken;
use super::model::{Model, Server, State, Waiter};
use super::world::World;
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::scheduler::{Lease, Next, Ride, ShareLimits, SlotRef};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A server that is shared. Its head is who has leased it.
#[derive(Clone, Debug)]
pub(super) struct Sharing {
    /// Of who boarded last.
    settings: u64,
    /// How long the head was expected to take.
    head: Duration,
    pub(super) followers: Vec<Follower>,
    is_stalled: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) client: ClientId,
    pub(super) seat: Seat,
    expected: Duration,
}

impl Sharing {
    /// What it takes to give it the settings of one who boards.
    fn change_to(&self, ride: Ride) -> Duration {
        if self.settings == ride.settings { Duration::ZERO } else { Duration::from_micros(50) }
    }
}

impl Model {
    fn share_limits(&self, pool: PoolId) -> Option<ShareLimits> {
        self.spec(pool).limits.share.filter(|limits| limits.depth > 1)
    }

    /// How many are aboard behind others.
    pub(super) fn following(&self, pool: PoolId) -> u32 {
        let shares = self.of(pool).filter_map(|server| server.share.as_ref());
        u32::try_from(shares.map(|share| share.followers.len()).sum::<usize>()).expect("few")
    }

    /// Who is aboard, the head first.
    pub(super) fn aboard(&self, slot: SlotRef) -> Vec<ClientId> {
        let server = self.servers.iter().find(|server| server.slot == slot).expect("it is open");
        let State::Leased(head) = server.state else { panic!("nobody has it") };
        let share = server.share.as_ref().expect("it is shared");
        [head].into_iter().chain(share.followers.iter().map(|follower| follower.client)).collect()
    }

    /// What one who is served needs of a server, if that is lent to be shared by others who wait.
    pub(super) fn is_worth_sharing(
        &self,
        pool: PoolId,
        ride: Option<Ride>,
        is_there: impl Fn(&Waiter) -> bool,
    ) -> Option<Ride> {
        let limits = self.share_limits(pool)?;
        let ride = ride.filter(|ride| ride.expected < limits.ahead)?;
        let would_share = |waiter: &Waiter| waiter.ride.is_some() && is_there(waiter);
        self.line(pool).iter().any(would_share).then_some(ride)
    }

    /// Whether somebody waited already when another was served, and was not about to be refused: a tick
    /// takes out all whose time is up, and then says so one by one.
    pub(super) fn was_there(&self, now: Instant, waiter: &Waiter) -> bool {
        let is_late = waiter.deadline.is_some_and(|deadline| deadline <= now);
        !is_late && self.newcomer != Some(waiter.client)
    }

    pub(super) fn on_drive(&mut self, now: Instant, client: ClientId, slot: SlotRef, conn: u64) {
        let pool = slot.pool;
        let mut waiters = self.line(pool).iter();
        let next = waiters.find(|waiter| waiter.client == client).expect("it waits").clone();
        self.next_is(now, pool, &next);
        let ride = self.is_worth_sharing(pool, next.ride, |_| true).expect("nobody would share it");
        self.on_lend(now, (client, next.seat), slot, conn);
        self.server(slot).share = Some(Sharing {
            settings: ride.settings,
            head: ride.expected,
            followers: Vec::new(),
            is_stalled: false,
        });
    }

    pub(super) fn on_board(&mut self, now: Instant, client: ClientId, slot: SlotRef) {
        let pool = slot.pool;
        let mut waiters = self.line(pool).iter();
        let next = waiters.find(|waiter| waiter.client == client).expect("it waits").clone();
        let ride = next.ride.expect("it needs a server for itself");
        let server = self.servers.iter().find(|server| server.slot == slot).expect("it is open");
        let ahead = self.room(now, server, ride, Sure::Perhaps).expect("there is no room");
        let others = self.of(pool).filter_map(|other| self.room(now, other, ride, Sure::Certainly));
        // On its own worker it may wait for one more like this.
        let nearly = ahead.saturating_sub(ride.expected);
        assert!(others.min().is_none_or(|least| least >= nearly), "another has less to do");
        let delay = self.spec(pool).limits.check_delay;
        let is_fresh = |server: &&Server| {
            server.state == State::Idle && delay.is_none_or(|delay| now - server.since <= delay)
        };
        let kept = self.kept[pool.0 as usize] as usize;
        assert!(self.of(pool).filter(is_fresh).count() <= kept, "boards beside an idle server");
        self.next_is(now, pool, &next);
        self.accounts.board(now, next.seat);
        let share = self.server(slot).share.as_mut().expect("it has room");
        let expected = ride.expected + share.change_to(ride);
        share.settings = ride.settings;
        let follower = Follower { client, seat: next.seat, expected };
        share.followers.push(follower);
    }

    /// What is ahead on a server for one who could get aboard. `None`: it could not.
    fn room(&self, now: Instant, server: &Server, ride: Ride, sure: Sure) -> Option<Duration> {
        let pool = server.slot.pool;
        let limits = self.share_limits(pool)?;
        let share = server.share.as_ref()?;
        // Before who has just come was in line, others may have got aboard.
        let has_come = self.line(pool).iter().any(|waiter| self.newcomer == Some(waiter.client));
        let uncounted = usize::from(sure == Sure::Certainly && has_come);
        let all = self.waiting(pool) - uncounted + self.following(pool) as usize;
        let spread = all.div_ceil(self.live(pool) as usize);
        let depth = (limits.depth as usize).min(1 + spread);
        if share.followers.len() + 1 >= depth || !self.takes_on(now, server, sure) {
            return None;
        }
        let head = share.head.max(now - server.hold.as_ref()?.1);
        let ahead = share.followers.iter().fold(head, |sum, follower| sum + follower.expected);
        let ahead = ahead + share.change_to(ride);
        (ahead + ride.expected <= limits.ahead).then_some(ahead)
    }

    /// Whether anybody may get aboard, as far as it is not about who is there already.
    fn takes_on(&self, now: Instant, server: &Server, sure: Sure) -> bool {
        let pool = server.slot.pool;
        let limits = &self.spec(pool).limits;
        let stretch = if sure == Sure::Perhaps { 1.1 } else { 0.9 };
        let is_old = |life: Duration| now - server.connected_at >= life.mul_f64(stretch);
        let is_stalled = server.share.as_ref().is_some_and(|share| share.is_stalled);
        !is_stalled
            && (sure == Sure::Perhaps || !self.has_place(pool))
            && !server.is_retired
            && server.cancels == 0
            && !self.is_paused(pool)
            && !limits.lifetime.is_some_and(is_old)
            && self.open_of(pool) <= limits.size + limits.reserve
            && self.groups(pool).iter().all(|(group, max)| self.open_in(*group) <= *max)
    }

    /// Whether the caps allow another server.
    pub(super) fn has_place(&self, pool: PoolId) -> bool {
        let limits = &self.spec(pool).limits;
        self.open_of(pool) < limits.size.saturating_add(limits.reserve)
            && self.groups(pool).iter().all(|(group, max)| self.open_in(*group) < *max)
    }

    /// Once the time was told, nobody waits who could get aboard whoever is next.
    pub(super) fn check_room(&self, now: Instant, pool: PoolId) {
        let is_apart = self.groups(pool).iter().all(|(group, max)| self.open_in(*group) < *max);
        if !self.is_paced || !is_apart {
            return;
        }
        let mut all = self.eligible(now, pool, Sure::Perhaps).peekable();
        let has_room =
            |server: &Server, ride| self.room(now, server, ride, Sure::Certainly).is_some();
        let fits = |ride: Ride| self.of(pool).any(|server| has_room(server, ride));
        let would_all = all.peek().is_some() && all.all(|waiter| waiter.ride.is_some_and(fits));
        // One of a class that has had more than another of which somebody is aboard may hold back.
        let any = self.eligible(now, pool, Sure::Certainly).next();
        let any = any.filter(|waiter| self.is_alone_aboard(pool, waiter.seat.class));
        assert!(!(would_all && any.is_some()), "{any:?} could get aboard");
    }

    /// Whether nobody of another class is aboard.
    fn is_alone_aboard(&self, pool: PoolId, class: ClassId) -> bool {
        self.of(pool).all(|server| {
            let Some(share) = &server.share else { return true };
            let head = server.hold.as_ref().map(|(seat, _)| seat.class);
            let behind = share.followers.iter().map(|follower| follower.seat.class);
            head.into_iter().chain(behind).all(|other| other == class)
        })
    }

    /// The first follower is the head, which is charged from now on.
    fn promote(&mut self, now: Instant, at: Instant, slot: SlotRef) -> Next {
        let server = self.server(slot);
        let share = server.share.as_mut().expect("it is shared");
        if share.followers.is_empty() {
            server.share = None;
            return Next::Empty;
        }
        let Follower { client, seat, expected } = share.followers.remove(0);
        (share.head, share.is_stalled) = (expected, false);
        (server.state, server.since) = (State::Leased(client), at);
        server.hold = Some((seat, at));
        self.accounts.lead(now, at, seat);
        Next::Rider(client)
    }
}

impl World {
    /// Nobody shares a server where another may be opened.
    pub(super) fn check_need(&self, pool: PoolId) {
        let may = self.scheduler.may_connect(self.now) && self.scheduler.may_open(self.now, pool);
        assert!(!may || !self.model.has_place(pool), "shared, and another may be opened");
    }

    /// What the scheduler takes a request for.
    pub(super) fn told_ride(&self, ride: Option<Ride>) -> Option<Ride> {
        let any = Ride { expected: Duration::from_micros(100), settings: 0 };
        match self.broken {
            Some(Broken::EverybodyRides) => ride.or(Some(any)),
            Some(Broken::ChangesForgotten) => ride.map(|ride| Ride { settings: 0, ..ride }),
            Some(Broken::WorkAheadIgnored) => {
                ride.map(|ride| Ride { expected: Duration::ZERO, ..ride })
            }
            _ => ride,
        }
    }

    /// For whom a broken scheduler lets a request go in front of those who are there.
    pub(super) fn told_first(&self, pool: PoolId, ride: Option<Ride>) -> bool {
        let needs_all = self.model.line(pool).iter().any(|waiter| waiter.ride.is_none());
        self.is_broken(Broken::LastComeFirst)
            || self.is_broken(Broken::Overtaken) && ride.is_some() && needs_all
    }

    /// A server comes back beside a shared one, and a broken scheduler is told only after the next
    /// request of one who could ride.
    pub(super) fn is_unseen(&mut self, at: usize) -> bool {
        let (client, lease) = &self.leases[at];
        let is_beside = self.drives.iter().any(|other| other.slot.pool == lease.slot.pool);
        let is_unseen = self.is_broken(Broken::IdleUnseen) && self.unseen.is_none() && is_beside;
        if is_unseen {
            self.unseen = Some(*client);
        }
        is_unseen
    }

    /// The next request. Answers with what is to be told after it.
    pub(super) fn take_unseen(&mut self, pool: PoolId, ride: Option<Ride>) -> Option<Lease<u64>> {
        let client = self.unseen?;
        let at = self.leases.iter().position(|(holder, _)| *holder == client);
        let Some(at) = at else {
            self.unseen = None;
            return None;
        };
        if ride.is_none() || self.leases[at].1.slot.pool != pool {
            return None;
        }
        self.unseen = None;
        let (_, lease) = self.leases.swap_remove(at);
        self.model.put_back(self.now, lease.slot, WorkerId(0));
        Some(lease)
    }

    pub(super) fn answered(&mut self, at: usize, home: WorkerId) {
        self.answered_at_once(at, 1, Some(home));
    }

    /// So many from the head of a shared server on have their answers, each as long after the one before; the
    /// last one's server goes back; or, without a home, it has still to answer some who have left.
    pub(super) fn answered_at_once(&mut self, at: usize, count: u32, home: Option<WorkerId>) {
        let slot = self.drives[at].slot;
        let last = *self.model.aboard(slot).last().expect("its head");
        let since = self.model.server(slot).hold.expect("its head is charged").1;
        let took = self.now - since;
        let ends: Vec<_> = (1..=count).map(|nth| since + took * nth / count).collect();
        let mut next = Next::Empty;
        for end in &ends {
            if self.model.aboard(slot).len() > 1 {
                let hold = self.model.server(slot).hold.take().expect("its head is charged");
                self.model.accounts.end(self.now, *end, hold);
            }
            next = self.model.promote(self.now, *end, slot);
        }
        let late = u32::from(self.is_broken(Broken::HeadPaysForAll)) * Duration::from_millis(1);
        let told = self.now + late;
        let is_one = self.is_broken(Broken::FirstPaysForAll);
        let ends = ends.into_iter().map(|end| if is_one { told } else { end + late });
        assert_eq!(self.scheduler.pass_on(told, slot, ends), next);
        if next != Next::Empty {
            return self.settle(false);
        }
        let at = self.desert(at, last);
        match home {
            Some(home) => self.give_back_to(at, home),
            None => self.tidy_behind(at),
        }
    }

    /// Nobody is aboard any more, `last` neither. Answers with where the server is among those that are lent.
    fn desert(&mut self, at: usize, last: ClientId) -> usize {
        let lease = self.drives.swap_remove(at);
        let slot = lease.slot;
        self.deserted = Some(slot);
        self.leases.push((last, lease));
        // Others may be lent meanwhile.
        self.settle(false);
        self.deserted = None;
        self.leases.iter().position(|(_, lease)| lease.slot == slot).expect("it is lent")
    }

    /// The last one's server answers some who have left.
    fn tidy_behind(&mut self, at: usize) {
        let (_, lease) = self.leases.swap_remove(at);
        let server = self.model.server(lease.slot);
        (server.state, server.since) = (State::Tidying, self.now);
        let hold = server.hold.take().expect("its head is charged");
        self.model.accounts.end(self.now, self.now, hold);
        self.scheduler.tidy_behind(self.now, lease.slot);
        self.tidying.push(lease);
        self.settle(false);
    }

    /// One who is aboard was not put on the server, and asks again.
    pub(super) fn miss(&mut self, at: usize, client: ClientId) {
        let slot = self.drives[at].slot;
        let head = self.model.aboard(slot)[0];
        let now = self.now;
        let next = if client == head {
            let hold = self.model.server(slot).hold.take().expect("its head is charged");
            self.model.accounts.undo(now, hold);
            self.model.promote(now, now, slot)
        } else {
            let share = self.model.server(slot).share.as_mut().expect("it is shared");
            let at = share.followers.iter().position(|follower| follower.client == client);
            let follower = share.followers.remove(at.expect("it is aboard"));
            self.model.accounts.alight(now, follower.seat, true);
            Next::Rider(head)
        };
        if !self.is_broken(Broken::MissedStay) {
            assert_eq!(self.scheduler.missed(now, slot, client), next);
        }
        if next == Next::Empty {
            let at = self.desert(at, client);
            self.give_back_to(at, WorkerId(0));
        } else {
            self.settle(false);
        }
        self.ask_again(client);
    }

    fn ask_again(&mut self, client: ClientId) {
        let (since, deadline) = self.asked[&client];
        self.line_up(client, WorkerId(0), deadline, Some(since));
    }

    /// The head takes too long.
    pub(super) fn stall(&mut self, at: usize) {
        let slot = self.drives[at].slot;
        self.model.server(slot).share.as_mut().expect("it is shared").is_stalled = true;
        if !self.is_broken(Broken::StallsIgnored) {
            self.scheduler.stalled(slot);
        }
        self.settle(false);
    }

    /// A shared server turns out to be dead before anything was put on it: all aboard ask again.
    pub(super) fn find_shared_dead(&mut self, at: usize) {
        let lease = self.drives.swap_remove(at);
        let aboard = self.model.aboard(lease.slot);
        self.model.undo(self.now, lease.slot);
        self.scheduler.was_dead(self.now, lease.slot);
        self.gone.push(lease.slot);
        self.settle(false);
        for client in aboard.into_iter().rev() {
            self.ask_again(client);
        }
    }

    /// The driver sends a cancel request for the head.
    pub(super) fn cancel_head(&mut self, at: usize) {
        let slot = self.drives[at].slot;
        let aboard = self.model.aboard(slot);
        assert_eq!(self.cancel(slot.pool, aboard[0].0), None);
        if let Some(follower) = aboard.get(1) {
            assert_eq!(self.scheduler.cancel_head(slot, *follower), None, "it would hit another");
        }
        let key = self.scheduler.cancel_head(slot, aboard[0]);
        let server = self.model.server(slot);
        assert_eq!(key, Some(server.conn));
        server.cancels += 1;
        self.cancels.push(slot);
        self.settle(false);
    }

    /// What the scheduler says of who is aboard.
    pub(super) fn check_rides(&self, pool: PoolId) {
        let rides = self.scheduler.rides(pool);
        let shared = self.drives.iter().filter(|lease| lease.slot.pool == pool);
        assert_eq!(rides.shared as usize, shared.clone().count());
        assert_eq!(rides.followers, self.model.following(pool));
        let followers: BTreeSet<_> = self.scheduler.followers(pool).map(|(it, _)| it).collect();
        let expected = shared.flat_map(|lease| self.model.aboard(lease.slot).split_off(1));
        assert_eq!(followers, expected.collect());
        assert_eq!(rides.boarded, rides.depths.iter().sum::<u64>());
    }
}
