//! What a class may have, who is in it, and what is told of it.

use super::accounts::Seat;
use super::world::{Event, World};
use super::{
    A, B, COMMON, host, in_flight, ms, of_priority, per_address, rated, server_time, sized, spec,
    within,
};
use crate::base::ids::{ClassId, ClientId, WorkerId};
use crate::config::classes::{ClassLimits, Excess, Priority, Quota};
use crate::scheduler::{
    ClassFull, DelayedFor, FailureScope, HostLimits, Refusal, RefusedFor, Request, Scope,
    SharedCap, SharedFull, State, WaitCause,
};
use std::net::{IpAddr, Ipv4Addr};

const ONE: ClassId = ClassId(1);

/// A pool of two, and a class with these limits.
fn world(limits: ClassLimits) -> World {
    let mut world =
        World::new(host(None), &[spec("a", "x", sized(2)), spec("b", "y", sized(2))], 1);
    world.add_class(limits);
    world
}

/// The same, with servers that are there: `idle` of them idle.
fn warm(limits: ClassLimits, idle: u64) -> World {
    let mut world = world(limits);
    world.ask(A, 1);
    world.ask(A, 2);
    world.connect_all();
    (1..=idle).for_each(|client| world.give_back(client));
    world.take_events();
    world
}

fn seat(last: u8) -> Seat {
    Seat { class: ONE, address: Some(Ipv4Addr::new(10, 0, 0, last).into()) }
}

fn refusal(world: &mut World) -> Option<Refusal<u32>> {
    world.take_events().into_iter().find_map(|event| match event {
        Event::Refused(_, refusal) => Some(refusal),
        _ => None,
    })
}

fn why(world: &World, client: u64) -> Option<WaitCause> {
    world.scheduler.why_waits(world.now, world.tickets[&ClientId(client)])
}

#[test]
fn clients_are_counted_by_class_and_by_address() {
    let mut limits = within(Quota { max_clients: 3, ..Quota::default() });
    limits.per_address.max_clients = 2;
    let mut world = world(limits);
    world.come(A, 1, seat(1)).expect("the first");
    // The same address, as a socket for both families tells it.
    let mapped: IpAddr = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into();
    let member = world.scheduler.join(world.now, B, ONE, Some(mapped)).expect("the second");
    let full = |scope, limit| ClassFull { scope, limit };
    let other = world.scheduler.join(world.now, A, ONE, Some(mapped));
    assert_eq!(other, Err(full(Scope::Address, 2)));
    world.model.accounts.tally(ONE).refused += 1;
    world.scheduler.part(member);
    world.come(B, 2, seat(1)).expect("its place");
    world.come(A, 3, Seat { class: ONE, address: None }).expect("the unix socket");
    assert_eq!(world.come(A, 4, seat(2)), Err(full(Scope::Class, 3)));
    let view = world.scheduler.class(world.now, ONE);
    assert_eq!((view.clients, view.counters.refused_for(RefusedFor::ClientLimit)), (3, 2));
    world.part(1);
    world.come(A, 4, seat(2)).expect("there is room");
}

#[test]
fn coming_back_is_no_way_to_a_new_allowance() {
    let mut world = warm(per_address(rated(1.0, 1, Excess::Reject)), 2);
    for client in 3..9 {
        world.ask_in(A, client, ONE, 1);
        if client == 3 {
            world.give_back(3);
        }
        world.part(client);
        world.run(ms(100));
    }
    assert_eq!(world.scheduler.class(world.now, ONE).counters.granted, 1);
    assert_eq!(world.scheduler.class(world.now, ONE).counters.refused_for(RefusedFor::Rate), 5);
    world.run(ms(500));
    assert_eq!(world.scheduler.classes.known_sources(), 1, "but that of the first two clients");
}

/// Its server is still being cleaned: others may not have that much more yet.
#[test]
fn who_vanishes_counts_until_its_server_is_clean() {
    let mut world = warm(within(in_flight(1)), 2);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 2);
    world.tidy(0);
    world.part(3);
    assert_eq!(world.scheduler.class(world.now, ONE).in_flight, 1);
    assert_eq!(world.scheduler.counts(A).waiting, 1);
    let lease = world.tidying.pop().expect("it is being cleaned");
    world.tidied(lease, WorkerId(0));
    assert!(world.take_events().contains(&Event::Granted(ClientId(4), 2)));
}

#[test]
fn a_class_at_its_quota_waits_beside_idle_servers() {
    let mut world = warm(within(in_flight(1)), 2);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    world.ask(A, 5);
    let granted = |event: &Event| matches!(event, Event::Granted(..));
    assert_eq!(world.take_events().into_iter().filter(granted).count(), 2);
    assert_eq!(why(&world, 4), Some(WaitCause::InFlight { scope: Scope::Class, limit: 1 }));
    // In another pool, too.
    world.ask_in(B, 6, ONE, 1);
    assert_eq!(world.connecting, []);
    world.give_back(3);
    assert_eq!(world.take_events(), [Event::Granted(ClientId(4), 2)]);
}

#[test]
fn what_keeps_requests_back_is_counted() {
    let spent = server_time(0.1, ms(100));
    for (quota, limit) in [
        (in_flight(1), DelayedFor::InFlight),
        (rated(1.0, 1, Excess::Delay), DelayedFor::Rate),
        (spent, DelayedFor::ServerTime),
    ] {
        for limits in [within(quota.clone()), per_address(quota)] {
            let mut world = warm(limits, 2);
            world.ask_in(A, 3, ONE, 1);
            world.pass(ms(300));
            (4..=5).for_each(|client| world.ask_in(A, client, ONE, 1));
            let counters = world.scheduler.class(world.now, ONE).counters;
            assert_eq!((counters.delayed_for(limit), counters.delayed()), (2, 2), "{limit:?}");
        }
    }
    // Two would be too many, and one is in line already; and who waits for the pool is not delayed.
    let mut world = warm(per_address(in_flight(1)), 0);
    (3..=4).for_each(|client| world.ask_in(A, client, ONE, 1));
    let counters = world.scheduler.class(world.now, ONE).counters;
    assert_eq!((counters.queued, counters.delayed()), (2, 1));
    assert_eq!(counters.delayed_for(DelayedFor::InFlight), 1);
}

#[test]
fn who_stands_aside_is_called_in_where_it_came() {
    let mut world = warm(per_address(in_flight(1)), 0);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    world.ask_in(A, 5, ONE, 2);
    world.give_back(1);
    world.give_back(2);
    // 4 is of the address of 3.
    assert!(world.leases.iter().any(|(client, _)| *client == ClientId(5)));
    assert_eq!(why(&world, 4), Some(WaitCause::InFlight { scope: Scope::Address, limit: 1 }));
    world.ask_in(A, 6, ONE, 3);
    world.give_back(3);
    assert_eq!(why(&world, 4), None, "before 6, who came later");
    assert_eq!(why(&world, 6), Some(WaitCause::PoolFull));
}

/// Nor is one opened for it.
#[test]
fn an_address_at_its_quota_waits_beside_idle_servers() {
    let mut world = world(per_address(in_flight(1)));
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    assert_eq!(world.connecting.len(), 1);
    world.connect_all();
    world.ask_in(B, 5, ONE, 1);
    assert_eq!(world.connecting, []);
    world.ask_in(A, 6, ONE, 2);
    world.connect_all();
    assert_eq!(world.scheduler.class(world.now, ONE).in_flight, 2);
}

/// Time has let it go on, and nobody has noticed so far but who comes next.
#[test]
fn who_may_go_on_by_now_is_not_overtaken() {
    let rate = rated(100.0, 1, Excess::Delay);
    for limits in [within(rate.clone()), per_address(rate)] {
        // By one of the same address, or of another class.
        for (class, address) in [(ONE, 1), (COMMON, 2)] {
            let mut world = warm(limits.clone(), 2);
            world.ask_in(A, 3, ONE, 1);
            world.ask_in(A, 4, ONE, 1);
            world.pass(ms(12));
            let is_aside = limits.per_address.rate.is_some();
            world.take_events();
            world.ask_in(A, 5, class, address);
            let first = world.take_events().remove(0);
            // Those of an address are looked at when one of the same comes, or by the clock.
            let next = if is_aside && class == COMMON { 5 } else { 4 };
            assert!(matches!(first, Event::Granted(client, _) if client.0 == next), "{first:?}");
        }
    }
}

#[test]
fn limits_of_those_who_wait_are_told_apart() {
    let quota = |max_queued| Quota { max_queued, ..Quota::default() };
    for (limits, host_most, scope) in [
        (within(quota(2)), 0, Scope::Class),
        (per_address(quota(2)), 0, Scope::Address),
        (ClassLimits::default(), 2, Scope::Host),
    ] {
        let mut world = warm(limits, 0);
        world.set_host_limits(HostLimits { max_queued: host_most, ..host(None) });
        (3..=5).for_each(|client| world.ask_in(A, client, ONE, 1));
        assert_eq!(refusal(&mut world), Some(Refusal::QueueFull { scope, limit: 2 }));
        let counters = world.scheduler.class(world.now, ONE).counters;
        assert_eq!((counters.refused_for(RefusedFor::QueueFull), counters.queued), (1, 2));
        // Whose server was dead has waited before.
        let since = world.now;
        world.line_up(ClientId(5), WorkerId(0), None, Some(since));
        assert_eq!(world.scheduler.class(world.now, ONE).queued, 3);
        world.leave(3);
        world.leave(4);
        world.ask_in(A, 6, ONE, 1);
        assert_eq!(refusal(&mut world), None);
    }
}

#[test]
fn a_limit_that_changes_holds_from_then_on() {
    let mut world = warm(ClassLimits::default(), 2);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    world.set_class(ONE, within(in_flight(1)));
    world.ask_in(A, 5, ONE, 1);
    world.give_back(3);
    assert_eq!(world.scheduler.class(world.now, ONE).in_flight, 1);
    world.set_class(ONE, within(in_flight(2)));
    assert_eq!(world.scheduler.class(world.now, ONE).in_flight, 2);
    assert_eq!(world.scheduler.counts(A).waiting, 0);
    assert_eq!(world.scheduler.class(world.now, ONE).limits, within(in_flight(2)));
}

#[test]
fn a_waiter_is_told_what_it_waits_for() {
    let mut world = warm(within(rated(1.0, 1, Excess::Delay)), 2);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    assert_eq!(why(&world, 4), Some(WaitCause::Rate { scope: Scope::Class }));
    world.set_class(ONE, per_address(server_time(0.1, ms(100))));
    assert_eq!(why(&world, 4), None);
    world.pass(ms(500));
    world.ask_in(A, 5, ONE, 1);
    assert_eq!(why(&world, 5), Some(WaitCause::ServerTime { scope: Scope::Address }));
    world.set_class(ONE, ClassLimits::default());
    assert_eq!(why(&world, 5), Some(WaitCause::PoolFull));
    world.ask(B, 6);
    assert_eq!(why(&world, 6), Some(WaitCause::Opening));
    world.connect_failed(0, FailureScope::Host, false);
    assert_eq!(why(&world, 6), Some(WaitCause::ServerDown));
    world.run(ms(1_000));
    world.connect_all();
    world.ask(B, 7);
    world.set_host_limits(host(Some(3)));
    world.connect_all();
    let full = SharedFull { cap: SharedCap::Host, limit: 3 };
    assert_eq!(why(&world, 7), Some(WaitCause::SharedFull(full)));
}

#[test]
fn a_class_knows_what_it_had() {
    let mut world = warm(ClassLimits::default(), 2);
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    world.ask_in(A, 5, ONE, 1);
    world.pass(ms(300));
    world.give_back(3);
    world.pass(ms(200));
    let view = world.scheduler.class(world.now, ONE);
    assert_eq!((view.clients, view.in_flight, view.queued), (3, 2, 0));
    // 300 of the first, 500 of the second, 200 of the third.
    assert_eq!(view.server_time, ms(1_000));
    assert_eq!((view.counters.service.count(), view.counters.service.sum()), (1, ms(300)));
    assert_eq!((view.counters.waits.count(), view.counters.waits.sum()), (3, ms(300)));
    assert_eq!((view.counters.granted, view.counters.queued, view.counters.delayed()), (3, 1, 0));
    assert_eq!(world.scheduler.class_name(COMMON), "class 0");
}

/// What is new is there at once, and what is over a second later.
#[test]
fn the_state_of_a_pool_is_told() {
    let mut world = warm(ClassLimits::default(), 0);
    let state = |world: &World| world.scheduler.condition(A).state;
    world.run(ms(100));
    assert_eq!(state(&world), State::Healthy);
    world.ask(A, 3);
    world.run(ms(100));
    let busy = world.scheduler.condition(A);
    assert_eq!((busy.state, busy.since), (State::Busy, world.now));
    assert_eq!(busy.cause, Some(WaitCause::PoolFull));
    world.leave(3);
    world.run(ms(900));
    assert_eq!(world.scheduler.condition(A).since, busy.since);
    world.run(ms(200));
    assert_eq!(state(&world), State::Healthy);
    world.ask(B, 4);
    for _ in 0..30 {
        while !world.connecting.is_empty() {
            world.connect_failed(0, FailureScope::Host, false);
        }
        world.run(ms(100));
    }
    assert_eq!(world.scheduler.condition(B).state, State::ServerDown);
    assert_eq!(state(&world), State::Healthy, "it has its servers");
    // Also once another login may be tried: until one succeeds, nothing says that it would.
    world.run(ms(60_000));
    world.ask(B, 5);
    world.connect_failed(0, FailureScope::Pool, true);
    assert_eq!(world.scheduler.condition(B).state, State::ServerDown);
    world.run(ms(120_000));
    assert_eq!(world.scheduler.condition(B).state, State::ServerDown);
    world.scheduler.set_draining(world.now, true);
    assert_eq!(state(&world), State::Draining);
    world.run(ms(2_000));
    assert_eq!(state(&world), State::Draining);
}

/// Who waits for time to pass is looked at every few milliseconds, and nobody else.
#[test]
fn the_clock_is_asked_for_only_while_somebody_needs_it() {
    let mut world = warm(within(rated(100.0, 1, Excess::Delay)), 2);
    assert!(!world.scheduler.is_pacing());
    world.ask_in(A, 3, ONE, 1);
    assert!(!world.scheduler.is_pacing());
    world.ask_in(A, 4, ONE, 1);
    assert!(world.scheduler.is_pacing());
    world.pass(ms(12));
    world.take_events();
    world.pace();
    assert!(matches!(world.take_events()[..], [Event::Granted(ClientId(4), _)]));
    world.ask(A, 5);
    assert!(!world.scheduler.is_pacing(), "it waits for a server");
    world.set_class(ONE, per_address(rated(100.0, 1, Excess::Delay)));
    world.give_back(3);
    world.give_back(4);
    world.ask_in(A, 6, ONE, 1);
    world.ask_in(A, 7, ONE, 1);
    assert!(world.scheduler.is_pacing());
}

/// Else a flood of what may be refused would keep out what must not be.
#[test]
fn a_full_queue_makes_room_for_a_higher_priority() {
    let mut world = warm(of_priority(Priority::Sheddable), 0);
    let critical = world.add_class(of_priority(Priority::Critical));
    world.set_host_limits(HostLimits { max_queued: 2, ..host(None) });
    let full = Refusal::QueueFull { scope: Scope::Host, limit: 2 };
    world.ask_in(A, 3, ONE, 1);
    world.ask_in(A, 4, ONE, 1);
    world.take_events();
    for (client, refused) in [(5, 4), (6, 3), (7, 7)] {
        world.ask_in(A, client, critical, 2);
        let expected = Event::Refused(ClientId(refused), full.clone());
        assert_eq!(world.take_events(), [expected], "the newest of the lowest");
    }
    world.ask_in(A, 8, ONE, 1);
    assert_eq!(world.take_events(), [Event::Refused(ClientId(8), full)]);
    assert_eq!(world.scheduler.class(world.now, critical).queued, 2);
}

/// Two of an address are in line when it turns out to be at its quota, and only the first is looked at.
#[test]
fn who_is_put_aside_stays_in_front_of_its_address() {
    let mut world = warm(per_address(in_flight(1)), 0);
    world.ask(A, 5);
    world.ask_in(A, 3, ONE, 1);
    world.come(A, 7, seat(1)).expect("no limit");
    let now = world.now;
    world.line_up(ClientId(7), WorkerId(0), None, Some(now));
    world.ask_in(B, 9, ONE, 1);
    world.connect_all();
    world.give_back(1);
    world.give_back(9);
    world.take_events();
    world.give_back(2);
    assert!(matches!(world.take_events()[..], [Event::Granted(ClientId(7), _)]));
}

/// The pool is busy with others, and nothing of the rate was used: those who wait cannot be the reason.
#[test]
fn a_full_allowance_refuses_nobody() {
    let rate = rated(10.0, 2, Excess::Reject);
    for limits in [within(rate.clone()), per_address(rate)] {
        let mut world = warm(limits, 0);
        (3..=7).for_each(|client| world.ask_in(A, client, ONE, 1));
        assert_eq!(world.scheduler.class(world.now, ONE).queued, 5);
        world.give_back(1);
        world.ask_in(A, 8, ONE, 1);
        let Some(Refusal::RateLimited { retry_after, .. }) = refusal(&mut world) else {
            panic!("one of two is used, and four wait");
        };
        assert!(retry_after > ms(90) && retry_after <= ms(100), "{retry_after:?}: a tenth a token");
    }
}

/// All idle servers died, and the first request finds that out one by one.
#[test]
fn a_server_that_was_dead_costs_no_token() {
    let rate = rated(1.0, 1, Excess::Reject);
    for limits in [within(rate.clone()), per_address(rate)] {
        let mut world = warm(limits, 2);
        world.come(A, 3, seat(1)).expect("no limit");
        let (now, client, worker) = (world.now, ClientId(3), WorkerId(0));
        let member = world.chairs[&client].member;
        let scheduler = &mut world.scheduler;
        for left in [1, 0] {
            let lease = scheduler.try_acquire(now, member, client, worker);
            let lease = lease.expect("nothing was used so far");
            scheduler.was_dead(now, lease.slot);
            assert_eq!(scheduler.counts(A).open(), left);
        }
        let request = Request {
            again: None,
            client,
            deadline: None,
            handle: client,
            member,
            ride: None,
            worker,
        };
        assert!(scheduler.enqueue(now, request).is_ok());
        let view = scheduler.class(now, ONE);
        assert_eq!((view.in_flight, view.queued, view.counters.granted), (0, 1, 0));
        assert_eq!(view.counters.refused_for(RefusedFor::Rate), 0);
    }
}
