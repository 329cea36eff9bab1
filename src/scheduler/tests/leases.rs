//! Who is served by which server.

use super::world::{Event, World};
use super::{A, host, ms, sized, spec};
use crate::base::ids::ClientId;
use crate::base::ids::WorkerId;
use crate::scheduler::CloseReason;
use crate::scheduler::PoolLimits;
use crate::scheduler::Refusal;
use crate::scheduler::WaitCause;

fn world(limits: PoolLimits) -> World {
    World::new(host(None), &[spec("a", "x", limits)], 1)
}

/// Clients 1 to `count` have a server each, number 1 to `count`.
fn busy(limits: PoolLimits, count: u64) -> World {
    let mut world = world(limits);
    (1..=count).for_each(|client| world.ask(A, client));
    world.connect_all();
    assert_eq!(u64::from(world.scheduler.counts(A).leased), count);
    world.take_events();
    world
}

fn granted(client: u64, conn: u64) -> Event {
    Event::Granted(ClientId(client), conn)
}

#[test]
fn waiters_are_served_in_order_of_arrival() {
    let mut world = busy(sized(1), 1);
    (2..=4).for_each(|client| world.ask(A, client));
    (1..=3).for_each(|client| world.give_back(client));
    assert_eq!(world.take_events(), [granted(2, 1), granted(3, 1), granted(4, 1)]);
}

#[test]
fn a_client_whose_server_was_dead_comes_back_to_the_front() {
    let mut world = busy(sized(1), 1);
    (2..=3).for_each(|client| world.ask(A, client));
    world.give_back(1);
    world.find_dead(0);
    world.connect_all();
    world.give_back(2);
    let again = [granted(2, 1), Event::Connecting(A), granted(2, 2), granted(3, 2)];
    assert_eq!(world.take_events(), again);
}

#[test]
fn what_it_has_waited_before_its_server_was_dead_counts() {
    let mut world = busy(sized(1), 1);
    world.ask_as(A, 2, WorkerId(0), Some(ms(500)));
    world.pass(ms(300));
    world.give_back(1);
    world.take_events();
    world.find_dead(0);
    world.pass(ms(100));
    assert_eq!(world.scheduler.longest_wait(world.now, A), ms(400));
    world.run(ms(100));
    let events = world.take_events();
    let told = |event: &Event| matches!(event, Event::Refused(ClientId(2), Refusal::WaitTimeout { waited, .. }) if *waited == ms(500));
    assert!(events.iter().any(told), "{events:?}");
}

#[test]
fn the_server_used_last_is_lent_first_or_with_round_robin_last() {
    for round_robin in [false, true] {
        let mut world = busy(PoolLimits { round_robin, ..sized(2) }, 2);
        world.give_back(1);
        world.give_back(2);
        world.ask(A, 3);
        assert_eq!(world.take_events(), [granted(3, if round_robin { 1 } else { 2 })]);
    }
}

#[test]
fn a_server_of_the_own_worker_is_preferred() {
    let mut world = busy(sized(3), 3);
    for home in [1, 2, 1] {
        world.give_back_to(0, WorkerId(home));
    }
    world.ask_as(A, 4, WorkerId(2), None);
    world.ask_as(A, 5, WorkerId(2), None);
    let events = world.take_events();
    assert!(events.iter().all(|event| matches!(event, Event::Granted(..))), "{events:?}");
}

#[test]
fn who_leaves_is_not_served_and_who_waits_too_long_is_told() {
    let mut world = busy(sized(1), 1);
    world.ask(A, 2);
    world.ask_as(A, 3, WorkerId(0), Some(ms(250)));
    world.ask(A, 4);
    world.leave(2);
    world.run(ms(300));
    let events = world.take_events();
    let [Event::Refused(ClientId(3), Refusal::WaitTimeout { waited, counts, cause })] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((*waited, counts.leased, counts.waiting), (ms(300), 1, 2));
    assert_eq!(*cause, WaitCause::PoolFull);
    world.give_back(1);
    assert_eq!(world.take_events(), [granted(4, 1)]);
}

#[test]
fn a_server_idle_for_long_is_checked_before_it_is_lent_and_a_fresh_one_is_preferred() {
    let mut world = busy(PoolLimits { check_delay: Some(ms(1_000)), ..sized(2) }, 2);
    world.give_back(1);
    world.pass(ms(1_500));
    world.give_back(2);
    world.ask(A, 3);
    assert_eq!(world.take_events(), [granted(3, 2)]);
    world.ask(A, 4);
    assert_eq!(world.take_events(), [Event::Checking(1)]);
    let lease = world.checks.pop().expect("it is being checked");
    world.tidied(lease, WorkerId(0));
    assert_eq!(world.take_events(), [granted(4, 1)]);
}

#[test]
fn a_check_that_fails_leads_to_a_new_server() {
    let mut world = busy(PoolLimits { check_delay: Some(ms(1_000)), ..sized(1) }, 1);
    world.give_back(1);
    world.pass(ms(1_500));
    world.ask(A, 2);
    let lease = world.checks.pop().expect("it is being checked");
    world.discard(lease.slot);
    assert_eq!(world.take_events(), [Event::Checking(1), Event::Connecting(A)]);
}

#[test]
fn a_server_is_lent_to_nobody_while_a_cancel_may_still_hit_it() {
    let mut world = busy(sized(1), 1);
    assert_eq!(world.cancel(A, 1), Some(1));
    assert_eq!(world.cancel(A, 1), Some(1));
    world.ask(A, 2);
    world.give_back(1);
    assert_eq!(world.scheduler.counts(A).being_canceled, 1);
    world.cancel_done(0);
    assert_eq!(world.take_events(), []);
    world.cancel_done(0);
    assert_eq!(world.take_events(), [granted(2, 1)]);
}

/// The slot is used again before the cancel is over: its new server owes it nothing.
#[test]
fn a_cancel_counts_for_the_server_it_was_sent_to_only() {
    let mut world = busy(sized(1), 1);
    world.cancel(A, 1);
    let (_, lease) = world.leases.pop().expect("client 1 has it");
    world.discard(lease.slot);
    world.ask(A, 2);
    world.connect_all();
    world.cancel(A, 2);
    world.give_back(2);
    world.cancel_done(0);
    assert_eq!(world.scheduler.counts(A).being_canceled, 1);
    world.cancel_done(0);
    assert_eq!(world.scheduler.counts(A).idle, 1);
}

#[test]
fn cancel_finds_who_waits_and_nothing_of_who_is_gone() {
    let mut world = busy(sized(1), 1);
    world.ask(A, 2);
    world.cancel(A, 2);
    assert_eq!(world.scheduler.counts(A).waiting, 0);
    world.give_back(1);
    assert_eq!(world.cancel(A, 1), None);
    assert_eq!(world.scheduler.holders(A).count(), 0);
}

#[test]
fn old_and_idle_servers_are_closed_but_the_least_number_is_kept() {
    let limits = PoolLimits { idle_timeout: Some(ms(1_000)), min: 1, ..sized(3) };
    let mut world = busy(limits.clone(), 3);
    (1..=3).for_each(|client| world.give_back(client));
    world.run(ms(1_100));
    let closed = |conn| Event::Closed(A, conn, CloseReason::IdleTimeout);
    assert_eq!(world.take_events(), [closed(1), closed(2)]);

    world.set_limits(A, PoolLimits { lifetime: Some(ms(2_000)), ..limits });
    world.run(ms(1_300));
    let events = world.take_events();
    assert_eq!(events, [Event::Closed(A, 3, CloseReason::Lifetime), Event::Connecting(A)]);
}

#[test]
fn lifetimes_differ_by_up_to_a_tenth() {
    let mut world = busy(PoolLimits { lifetime: Some(ms(100_000)), ..sized(20) }, 20);
    (1..=20).for_each(|client| world.give_back(client));
    let mut left = Vec::new();
    for _ in 0..=20 {
        left.push(world.scheduler.counts(A).idle);
        world.run(ms(5_500));
    }
    // 88 s on 16 rounds, 110 s after 20.
    assert_eq!((left[16], left[20]), (20, 0));
    assert!(left[18] > 0 && left[18] < 20, "{left:?}");
}

#[test]
fn a_server_that_is_too_old_when_it_comes_back_makes_way_for_a_new_one() {
    let mut world = busy(PoolLimits { lifetime: Some(ms(1_000)), ..sized(1) }, 1);
    world.ask(A, 2);
    world.pass(ms(1_200));
    world.give_back(1);
    let closed = Event::Closed(A, 1, CloseReason::Lifetime);
    assert_eq!(world.take_events(), [closed, Event::Connecting(A)]);
}
