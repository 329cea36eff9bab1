//! Caps, alone and shared, and how servers move between pools under them.

use super::world::{Event, World};
use super::{A, B, host, ms, sized, spec};
use crate::base::ids::ClientId;
use crate::base::ids::PoolId;
use crate::base::ids::WorkerId;
use crate::scheduler::CloseReason;
use crate::scheduler::FailureScope;
use crate::scheduler::PoolLimits;
use crate::scheduler::PoolSpec;

fn two() -> [PoolSpec; 2] {
    [spec("a", "x", sized(10)), spec("b", "y", sized(10))]
}

fn connecting(world: &World, pool: PoolId) -> u32 {
    world.scheduler.counts(pool).connecting
}

#[test]
fn a_connection_is_opened_for_every_waiter_up_to_the_size() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(3))], 1);
    world.ask(A, 1);
    world.ask(A, 2);
    assert_eq!(connecting(&world, A), 2);
    (3..=9).for_each(|client| world.ask(A, client));
    assert_eq!(connecting(&world, A), 3);
}

#[test]
fn connects_ramp_up_with_success() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(100))], 1);
    (1..=100).for_each(|client| world.ask(A, client));
    assert_eq!(connecting(&world, A), 4);
    world.connected(0, WorkerId(0));
    assert_eq!(connecting(&world, A), 8);
    (0..3).for_each(|_| world.connected(0, WorkerId(0)));
    assert_eq!(connecting(&world, A), 32);
}

#[test]
fn the_longest_idle_server_of_another_pool_makes_room() {
    let mut world = World::new(host(Some(2)), &two(), 1);
    world.ask(A, 1);
    world.ask(A, 2);
    world.connect_all();
    world.give_back(2);
    world.pass(ms(1));
    world.give_back(1);
    world.take_events();
    world.ask(B, 3);
    let evicted = Event::Closed(A, 2, CloseReason::Evicted);
    assert_eq!(world.take_events(), [evicted, Event::Connecting(B)]);
}

/// Closing one server for the database is for nothing while the user's cap stays full.
#[test]
fn room_is_made_under_all_caps_or_none() {
    let shared = PoolLimits { database_max: 1, user_max: 1, ..sized(5) };
    let pools =
        [spec("a", "x", shared.clone()), spec("b", "y", shared.clone()), spec("a", "y", shared)];
    let mut world = World::new(host(None), &pools, 1);
    world.ask(A, 1);
    world.ask(B, 2);
    world.connect_all();
    world.give_back(1);
    world.take_events();
    world.ask(PoolId(2), 3);
    assert_eq!(world.take_events(), []);
    world.give_back(2);
    let evicted = |pool, conn| Event::Closed(pool, conn, CloseReason::Evicted);
    let expected = [evicted(A, 1), evicted(B, 2), Event::Connecting(PoolId(2))];
    assert_eq!(world.take_events(), expected);
}

#[test]
fn the_waiter_who_came_first_gets_the_place_that_becomes_free() {
    let mut world = World::new(host(Some(1)), &two(), 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(B, 2);
    world.ask(A, 3);
    world.take_events();
    let (_, lease) = world.leases.pop().expect("client 1 has it");
    world.discard(lease.slot);
    assert_eq!(world.take_events(), [Event::Connecting(B)]);
}

/// A is never idle and B has no server: without a rule B would wait for ever.
#[test]
fn a_busy_pool_does_not_starve_one_that_has_no_server() {
    let mut world = World::new(host(Some(1)), &two(), 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(B, 2);
    world.ask(A, 3);
    world.ask(A, 4);
    world.take_events();
    world.give_back(1);
    // Too early: a server is not closed for every turn.
    assert_eq!(world.take_events(), [Event::Granted(ClientId(3), 1)]);
    world.pass(ms(100));
    world.give_back(3);
    let evicted = Event::Closed(A, 1, CloseReason::Evicted);
    assert_eq!(world.take_events(), [evicted, Event::Connecting(B)]);
    // And back: A's waiter came before B's next.
    world.connect_all();
    world.ask(B, 5);
    world.pass(ms(100));
    world.give_back(2);
    assert!(world.take_events().contains(&Event::Connecting(A)));
}

/// In a standing queue whoever waits has waited for long.
#[test]
fn a_server_works_for_a_while_before_its_place_moves_on() {
    let mut world = World::new(host(Some(1)), &two(), 1);
    world.ask(A, 1);
    world.connect_all();
    (2..8).for_each(|client| world.ask(if client % 2 == 0 { B } else { A }, client));
    world.pass(ms(500));
    world.give_back(1);
    world.connect_all();
    world.take_events();
    // It is B's now, and A's client has waited for longer than any other of B.
    world.pass(ms(60));
    world.give_back(2);
    assert_eq!(world.take_events(), [Event::Granted(ClientId(4), 2)]);
    world.pass(ms(40));
    world.give_back(4);
    let evicted = Event::Closed(B, 2, CloseReason::Evicted);
    assert_eq!(world.take_events(), [evicted, Event::Connecting(A)]);
}

/// One that nobody of its own pool waits for is of no use there.
#[test]
fn an_idle_server_leaves_at_once_for_those_who_wait() {
    let mut world = World::new(host(Some(1)), &two(), 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(B, 2);
    world.take_events();
    world.give_back(1);
    let evicted = Event::Closed(A, 1, CloseReason::Evicted);
    assert_eq!(world.take_events(), [evicted, Event::Connecting(B)]);
}

#[test]
fn a_pool_with_older_waiters_keeps_its_server() {
    let mut world = World::new(host(Some(1)), &two(), 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(A, 2);
    world.ask(B, 3);
    world.pass(ms(500));
    world.take_events();
    world.give_back(1);
    assert_eq!(world.take_events(), [Event::Granted(ClientId(2), 1)]);
}

#[test]
fn the_reserve_opens_when_somebody_has_waited_long_enough() {
    let limits = PoolLimits { reserve: 1, reserve_timeout: Some(ms(500)), ..sized(1) };
    let mut world = World::new(host(None), &[spec("a", "x", limits)], 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(A, 2);
    world.ask(A, 3);
    world.run(ms(500));
    assert_eq!(connecting(&world, A), 0);
    world.run(ms(100));
    assert_eq!(connecting(&world, A), 1);
    world.run(ms(1_000));
    assert_eq!(world.scheduler.counts(A).open(), 2);
}

#[test]
fn a_smaller_size_closes_idle_servers_now_and_others_as_their_leases_end() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(4))], 1);
    (1..=4).for_each(|client| world.ask(A, client));
    world.connect_all();
    world.give_back(1);
    world.take_events();
    world.set_limits(A, sized(2));
    assert_eq!(world.take_events(), [Event::Closed(A, 1, CloseReason::Shrunk)]);
    world.give_back(2);
    world.give_back(3);
    assert_eq!(world.take_events(), [Event::Closed(A, 2, CloseReason::Shrunk)]);
    assert_eq!(world.scheduler.counts(A).open(), 2);
}

#[test]
fn larger_limits_serve_those_who_wait_at_once() {
    let mut world = World::new(host(Some(1)), &[spec("a", "x", sized(1))], 1);
    (1..=4).for_each(|client| world.ask(A, client));
    world.set_limits(A, sized(3));
    assert_eq!(connecting(&world, A), 1);
    world.set_host_limits(host(None));
    assert_eq!(connecting(&world, A), 3);
}

#[test]
fn the_least_size_is_kept_only_where_somebody_ever_asked_and_evicts_nobody() {
    let limits = PoolLimits { min: 2, ..sized(3) };
    let pools = [spec("a", "x", limits.clone()), spec("b", "y", limits)];
    let mut world = World::new(host(Some(3)), &pools, 1);
    world.run(ms(500));
    assert_eq!(world.scheduler.host_counts().open(), 0);
    world.ask(A, 1);
    world.run(ms(100));
    assert_eq!(world.scheduler.counts(A).open(), 2);
    world.connect_all();
    world.ask(B, 2);
    world.connect_all();
    world.run(ms(500));
    assert_eq!(world.scheduler.counts(A).open(), 2);
    assert_eq!(world.scheduler.counts(B).open(), 1);
}

#[test]
fn the_least_size_is_kept_where_somebody_is_expected() {
    let limits = PoolLimits { min: 2, ..sized(3) };
    let mut world = World::new(host(None), &[spec("a", "x", limits)], 1);
    world.scheduler.expect(world.now, A);
    world.run(ms(100));
    world.connect_all();
    assert_eq!(world.scheduler.counts(A).idle, 2);
    world.look_at_idle(|| true);
    world.run(ms(100));
    assert_eq!(world.scheduler.counts(A).open(), 2);
}

/// The host is over a limit that was lowered by as many as are closed for the database.
#[test]
fn nothing_is_opened_under_a_limit_that_was_lowered() {
    let one = PoolLimits { database_max: 1, ..sized(2) };
    let pools = [spec("a", "x", one.clone()), spec("a", "y", one), spec("b", "z", sized(2))];
    let (c, mut world) = (PoolId(2), World::new(host(Some(3)), &pools, 1));
    world.ask(B, 1);
    world.ask(c, 2);
    world.connect_all();
    world.ask(c, 3);
    world.connect_failed(0, FailureScope::Host, false);
    // Idle and yet not closed for the next, because the host is not tried just now.
    world.give_back(1);
    world.ask(A, 4);
    world.pass(ms(200));
    world.take_events();
    world.set_host_limits(host(Some(1)));
    assert_eq!(world.take_events(), [Event::Closed(B, 1, CloseReason::Shrunk)]);
}

/// A's idle servers are due for a check and it waits for the first of them. Then nobody does.
#[test]
fn servers_kept_for_a_waiter_that_leaves_make_room() {
    let checked = PoolLimits { check_delay: Some(ms(1_000)), ..sized(2) };
    let mut world =
        World::new(host(Some(2)), &[spec("a", "x", checked), spec("b", "y", sized(1))], 1);
    world.ask(A, 1);
    world.ask(A, 2);
    world.connect_all();
    world.give_back(1);
    world.give_back(2);
    world.pass(ms(1_500));
    world.ask(A, 3);
    world.ask(B, 4);
    world.take_events();
    world.leave(3);
    let evicted = Event::Closed(A, 1, CloseReason::Evicted);
    assert_eq!(world.take_events(), [evicted, Event::Connecting(B)]);
}
