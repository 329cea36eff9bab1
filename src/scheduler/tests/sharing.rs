//! Who shares a server with whom, and what comes of it.

use super::play::{Crowd, Event as Happens, Phase, Play};
use super::world::{Event, World};
use super::{A, B, COMMON, Random, host, in_flight, ms, rated, sized, spec, weighing, within};
use crate::base::ids::{ClassId, ClientId, WorkerId};
use crate::config::classes::Excess;
use crate::scheduler::{Cancel, CloseReason, Lease, Next, PoolLimits, Ride, ShareLimits, SlotRef};
use std::time::Duration;

/// Clients that ride, in a [`Play`].
impl Play {
    /// It is lent a server that others will share.
    pub(super) fn drives(&mut self, client: ClientId, lease: Lease<u64>, waited: Duration) {
        let actor = self.rides(client, waited);
        self.shared.push(Some((lease, actor, self.now)));
        self.lead(self.shared.len() - 1, actor);
    }

    pub(super) fn boards(&mut self, client: ClientId, _: SlotRef, waited: Duration) {
        self.rides(client, waited);
    }

    fn rides(&mut self, client: ClientId, waited: Duration) -> usize {
        let actor = usize::try_from(client.0).expect("it was one");
        assert_eq!(waited, self.now - self.actors[actor].asked);
        self.actors[actor].phase = Phase::Riding;
        actor
    }

    fn lead(&mut self, at: usize, actor: usize) {
        let service = self.crowds[self.actors[actor].crowd].service;
        let took = Duration::from_micros(service(&mut self.random));
        self.after(took, Happens::Answered(at));
    }

    pub(super) fn answered(&mut self, at: usize) {
        let (lease, head, since) = self.shared[at].take().expect("it is shared");
        let (passed, of) = (self.passed(), &mut self.actors[head]);
        of.phase = Phase::Away;
        of.request += 1;
        self.records[of.crowd].held.push((passed, self.now - since));
        self.records[of.crowd].answers.push((passed, self.now - of.asked));
        let think = self.crowds[of.crowd].think;
        self.after(think, Happens::Ask(head));
        match self.scheduler.pass_on(self.now, lease.slot, [self.now]) {
            Next::Rider(client) => {
                let actor = usize::try_from(client.0).expect("it was one");
                self.shared[at] = Some((lease, actor, self.now));
                self.lead(at, actor);
            }
            Next::Empty => {
                self.scheduler.give_back(self.now, lease, WorkerId(1));
            }
        }
    }
}

fn share(size: u32, depth: u32) -> PoolLimits {
    PoolLimits { share: Some(ShareLimits { ahead: ms(10), depth }), ..sized(size) }
}

/// Clients 1 to `size` have a server each; `ask` those who ride.
fn world(limits: PoolLimits) -> World {
    let size = limits.size;
    let mut world = World::new(host(None), &[spec("a", "x", limits)], 1);
    (1..=u64::from(size)).for_each(|client| world.ask(A, client));
    world.connect_all();
    world.take_events();
    world
}

fn ask(world: &mut World, client: u64, settings: u64) {
    world.rides.insert(ClientId(client), Ride { expected: ms(1), settings });
    world.ask(A, client);
}

fn driven(client: u64, conn: u64) -> Event {
    Event::Driven(ClientId(client), conn)
}

fn boarded(client: u64) -> Event {
    Event::Boarded(ClientId(client), 1)
}

fn granted(client: u64) -> Event {
    Event::Granted(ClientId(client), 1)
}

const HOME: WorkerId = WorkerId(0);

#[test]
fn who_waits_gets_aboard_and_is_answered_in_turn() {
    let mut world = world(share(1, 4));
    (2..=6).for_each(|client| ask(&mut world, client, 0));
    assert_eq!(world.take_events(), []);
    world.give_back(1);
    assert_eq!(world.take_events(), [driven(2, 1), boarded(3), boarded(4), boarded(5)]);
    world.answered(0, HOME);
    assert_eq!(world.take_events(), [boarded(6)]);
    (3..=6).for_each(|_| world.answered(0, HOME));
    assert_eq!(world.scheduler.counts(A).idle, 1);
    let rides = world.scheduler.rides(A);
    assert_eq!((rides.boarded, &rides.depths[..4]), (4, &[1, 1, 2, 0][..]));
}

/// Time has let it go on, and nobody was told when somebody else leaves.
#[test]
fn who_may_go_on_by_now_has_an_idle_server_and_does_not_ride() {
    let mut world =
        world(PoolLimits { share: Some(ShareLimits { ahead: ms(100), depth: 4 }), ..sized(2) });
    (3..=4).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    world.give_back(2);
    assert_eq!(world.take_events(), [driven(3, 1), boarded(4)]);
    let slow = world.add_class(within(rated(100.0, 1, Excess::Delay)));
    let ask = |world: &mut World, client| {
        world.rides.insert(ClientId(client), Ride { expected: ms(1), settings: 0 });
        world.ask_in(A, client, slow, 1);
    };
    ask(&mut world, 5);
    world.give_back(5);
    (6..=7).for_each(|client| ask(&mut world, client));
    world.take_events();
    world.pass(ms(5));
    world.leave(7);
    assert_eq!(world.take_events(), [Event::Granted(ClientId(6), 2)]);
}

#[test]
fn nothing_is_shared_that_one_alone_would_ride() {
    let mut world = world(share(1, 4));
    ask(&mut world, 2, 0);
    world.ask(A, 3);
    world.give_back(1);
    world.give_back(2);
    assert_eq!(world.take_events(), [granted(2), granted(3)]);
}

#[test]
fn nobody_overtakes_one_who_needs_a_server_for_itself() {
    let mut world = world(share(1, 8));
    (2..=3).for_each(|client| ask(&mut world, client, 0));
    world.ask(A, 4);
    (5..=6).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    assert_eq!(world.take_events(), [driven(2, 1), boarded(3)]);
    world.answered(0, HOME);
    world.answered(0, HOME);
    assert_eq!(world.take_events(), [granted(4)]);
    world.give_back(4);
    assert_eq!(world.take_events(), [driven(5, 1), boarded(6)]);
}

#[test]
fn when_that_one_leaves_those_behind_it_get_aboard() {
    let mut world = world(share(1, 8));
    (2..=3).for_each(|client| ask(&mut world, client, 0));
    world.ask(A, 4);
    ask(&mut world, 5, 0);
    world.give_back(1);
    world.take_events();
    world.leave(4);
    assert_eq!(world.take_events(), [boarded(5)]);
}

#[test]
fn who_has_other_settings_gets_aboard_in_its_turn() {
    let mut world = world(share(1, 8));
    for (client, settings) in [(2, 0), (3, 0), (4, 1), (5, 1), (6, 0)] {
        ask(&mut world, client, settings);
    }
    world.give_back(1);
    let all = [driven(2, 1), boarded(3), boarded(4), boarded(5), boarded(6)];
    assert_eq!(world.take_events(), all);
}

/// Ten of a millisecond would find room.
#[test]
fn a_change_of_settings_is_work() {
    let mut world = world(share(1, 99));
    (2..=20).for_each(|client| ask(&mut world, client, client % 2));
    world.give_back(1);
    assert_eq!(world.model.aboard(world.drives[0].slot).len(), 9);
}

#[test]
fn servers_with_the_same_settings_are_preferred() {
    for settings in [[0, 1], [1, 0]] {
        let mut world = world(share(2, 8));
        for (client, settings) in [(3, 1), (4, 1), (5, 1), (6, 0), (7, 0)] {
            ask(&mut world, client, settings);
        }
        (1..=2).for_each(|client| world.give_back(client));
        world.answered(0, HOME);
        let aboard = [0, 1].map(|at| world.model.aboard(world.drives[at].slot));
        assert_eq!(aboard, [[4, 5], [6, 7]].map(|all| all.map(ClientId)));
        world.take_events();
        // As much is to be done on either.
        for (client, settings) in (8..).zip(settings) {
            ask(&mut world, client, settings);
            let conn = if settings == 1 { 1 } else { 2 };
            assert_eq!(world.take_events(), [Event::Boarded(ClientId(client), conn)]);
        }
    }
}

/// A head that is late counts for what it has taken.
#[test]
fn nobody_gets_aboard_behind_more_than_is_allowed() {
    let mut world = world(share(1, 99));
    (2..=20).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    assert_eq!(world.model.aboard(world.drives[0].slot).len(), 10);
    world.pass(ms(1));
    world.answered(0, HOME);
    assert_eq!(world.model.aboard(world.drives[0].slot).len(), 10);
    world.pass(ms(5));
    world.pace();
    world.miss(0, ClientId(5));
    assert_eq!(world.model.aboard(world.drives[0].slot).len(), 9);
}

/// Or servers that come back would be idle soon beside one with a crowd.
#[test]
fn those_who_wait_are_spread_over_all_servers() {
    let mut world = world(share(4, 8));
    (5..=12).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    assert_eq!(world.model.aboard(world.drives[0].slot).len(), 3);
    (2..=3).for_each(|client| world.give_back(client));
    let aboard = world.drives.iter().map(|lease| world.model.aboard(lease.slot).len());
    assert_eq!(aboard.collect::<Vec<_>>(), [3, 3, 2]);
}

#[test]
fn a_stalled_server_takes_nobody_on_until_its_head_is_answered() {
    let mut world = world(share(1, 8));
    (2..=3).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    world.take_events();
    world.stall(0);
    ask(&mut world, 4, 0);
    assert_eq!(world.take_events(), []);
    world.answered(0, HOME);
    assert_eq!(world.take_events(), [boarded(4)]);
}

#[test]
fn a_paused_pool_answers_those_aboard_and_closes() {
    let mut world = world(share(1, 8));
    (2..=3).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    world.pause(A);
    ask(&mut world, 4, 0);
    world.take_events();
    (2..=3).for_each(|_| world.answered(0, HOME));
    assert_eq!(world.take_events(), [Event::Closed(A, 1, CloseReason::Paused)]);
}

#[test]
fn a_quota_counts_those_aboard() {
    let mut world = world(share(1, 8));
    let class = world.add_class(within(in_flight(2)));
    for client in 2..=5 {
        world.rides.insert(ClientId(client), Ride { expected: ms(1), settings: 0 });
        world.ask_in(A, client, class, 1);
    }
    world.give_back(1);
    assert_eq!(world.take_events(), [driven(2, 1), boarded(3)]);
    let view = world.scheduler.class(world.now, class);
    assert_eq!((view.in_flight, view.queued), (2, 2));
    world.answered(0, HOME);
    assert_eq!(world.take_events(), [boarded(4)]);
}

/// Each pays for the time it is at the head.
#[test]
fn followers_are_charged_for_no_time() {
    let mut world = world(share(1, 8));
    let classes = [world.add_class(weighing(1)), world.add_class(weighing(1))];
    for client in 2..=3 {
        world.rides.insert(ClientId(client), Ride { expected: ms(1), settings: 0 });
        world.ask_in(A, client, classes[usize::from(client == 3)], 1);
    }
    world.give_back(1);
    world.pass(ms(3));
    world.answered(0, HOME);
    world.pass(ms(1));
    world.answered(0, HOME);
    let charged = classes.map(|class| world.scheduler.class(world.now, class).server_time);
    assert_eq!(charged, [ms(3), ms(1)]);
}

#[test]
fn a_lost_server_settles_the_account_of_all_aboard() {
    let mut world = world(share(1, 8));
    (2..=5).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    let lease = world.drives.remove(0);
    world.discard(lease.slot);
    let view = world.scheduler.class(world.now, COMMON);
    assert_eq!((view.in_flight, view.queued, view.counters.granted), (0, 0, 5));
}

#[test]
fn a_cancel_request_is_for_who_is_at_the_head_or_nobody() {
    let mut world = world(share(1, 8));
    (2..=3).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    assert_eq!(world.cancel(A, 3), None);
    world.cancel_head(0);
    ask(&mut world, 4, 0);
    assert_eq!(world.scheduler.counts(A).waiting, 1, "it might be hit");
    world.cancel_done(0);
    assert_eq!(world.scheduler.counts(A).waiting, 0);
}

/// Its driver tells it the answer, and gives the server back after that.
#[test]
fn a_cancel_request_finds_what_its_client_asked_since_its_answer() {
    let mut world = world(share(2, 8));
    ask(&mut world, 3, 0);
    ask(&mut world, 4, 0);
    world.give_back(1);
    let driven = world.drives[0].slot;
    let ends = [world.now; 2];
    assert_eq!(world.scheduler.pass_on(world.now, driven, ends), Next::Empty);
    let is_at = |cancel| match cancel {
        Cancel::Running { slot, .. } => Some(slot),
        _ => None,
    };
    assert_eq!(is_at(world.scheduler.cancel(world.now, A, ClientId(4))), None);
    // Another server comes back meanwhile.
    let (_, other) = world.leases.remove(0);
    let slot = other.slot;
    world.scheduler.give_back(world.now, other, HOME);
    let member = world.chairs[&ClientId(4)].member;
    let lease = world.scheduler.try_acquire(world.now, member, ClientId(4), HOME);
    assert_eq!(lease.map(|lease| lease.slot), Some(slot));
    assert_eq!(is_at(world.scheduler.cancel(world.now, A, ClientId(4))), Some(slot));
}

/// A pool without a server is not starved by one that is never idle.
#[test]
fn a_shared_server_is_given_up_for_a_pool_without_any() {
    let pools = [spec("a", "x", share(1, 4)), spec("b", "y", sized(1))];
    let mut world = World::new(host(Some(1)), &pools, 1);
    world.ask(A, 1);
    world.connect_all();
    (2..=4).for_each(|client| ask(&mut world, client, 0));
    world.give_back(1);
    world.ask(B, 1_000);
    let mut client = 5;
    while world.scheduler.counts(B).connecting == 0 {
        assert!(client < 300, "starved");
        ask(&mut world, client, 0);
        client += 1;
        world.pass(ms(1));
        world.pace();
        world.answered(0, HOME);
    }
}

/// As it is without sharing: see `neighbours`.
#[test]
fn weights_divide_server_time_of_shared_servers() {
    let mut play =
        Play::new(host(None), &[spec("a", "x", share(4, 8))], &[weighing(3), weighing(1)]);
    let ride = Some(Duration::from_micros(300));
    for class in [1, 2] {
        let class = ClassId(class);
        let service: fn(&mut Random) -> u64 = |random| 200 + u64::from(random.below(200));
        play.add(Crowd { class, ride, ..Crowd::new(64, service) });
    }
    play.run_until(5_000);
    let [heavy, light] = [0, 1].map(|crowd| play.records[crowd].server_time(1_000..5_000));
    let ratio = heavy / light;
    assert!((2.85..3.15).contains(&ratio), "{heavy} to {light}");
    assert!(heavy + light > 15.5, "four servers for four seconds: {heavy} and {light}");
    assert!(play.scheduler.rides(A).boarded > 10_000);
}

/// So few that all of them are aboard at once: nobody of the class with the short statements is in line mostly.
#[test]
fn shares_are_even_of_those_who_are_all_aboard() {
    for clients in [3, 6, 10] {
        let limits =
            PoolLimits { share: Some(ShareLimits { ahead: ms(50), depth: 8 }), ..sized(2) };
        let classes = [weighing(1), weighing(1)];
        let mut play = Play::new(host(None), &[spec("a", "x", limits)], &classes);
        for (class, service) in [(1, (|_| 2_000) as fn(&mut Random) -> u64), (2, |_| 8_000)] {
            let ride = Some(ms(2));
            play.add(Crowd { class: ClassId(class), ride, ..Crowd::new(clients, service) });
        }
        play.run_until(5_000);
        let [short, long] = [0, 1].map(|crowd| play.records[crowd].server_time(1_000..5_000));
        let ratio = short / long;
        assert!((0.9..1.1).contains(&ratio), "{clients} each: {short} to {long}");
        assert!(short + long > 7.8, "two servers for four seconds: {short} and {long}");
        assert!(play.scheduler.rides(A).boarded > 300, "hardly anybody shared");
    }
}

/// What few others ask for now and then.
#[test]
fn a_class_beside_one_that_wants_little_shares_nearly_all() {
    let mut play =
        Play::new(host(None), &[spec("a", "x", share(4, 8))], &[weighing(1), weighing(1)]);
    let ride = Some(Duration::from_micros(300));
    play.add(Crowd { class: ClassId(1), ride, ..Crowd::new(64, |_| 300) });
    play.add(Crowd { class: ClassId(2), ride, think: ms(3), ..Crowd::new(2, |_| 300) });
    play.run_until(3_000);
    let boarded = play.scheduler.rides(A).boarded;
    let all: u64 = play.records.iter().map(|record| record.answers.len() as u64).sum();
    assert!(boarded * 10 > all * 9, "{boarded} of {all}");
}

/// A class of many long transactions beside a few who ride.
#[test]
fn those_who_ride_starve_nobody_who_cannot() {
    let mut play =
        Play::new(host(None), &[spec("a", "x", share(4, 8))], &[weighing(1), weighing(1)]);
    let ride = Some(Duration::from_micros(300));
    play.add(Crowd { class: ClassId(1), ride, ..Crowd::new(64, |_| 300) });
    play.add(Crowd { class: ClassId(2), ..Crowd::new(64, |_| 20_000) });
    play.run_until(5_000);
    let [short, long] = [0, 1].map(|crowd| play.records[crowd].server_time(1_000..5_000));
    assert!((0.85..1.15).contains(&(short / long)), "{short} to {long}");
}
