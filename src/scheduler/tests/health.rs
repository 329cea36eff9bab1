//! What failures to connect mean for those who wait.

use super::world::{Event, World};
use super::{A, B, host, ms, sized, spec};
use crate::base::ids::WorkerId;
use crate::scheduler::FailureScope;
use crate::scheduler::Health;
use crate::scheduler::Refusal;

fn world() -> World {
    World::new(host(None), &[spec("a", "x", sized(4)), spec("b", "y", sized(4))], 1)
}

/// The host stays down for so long; answers how often it was tried.
fn host_down(world: &mut World, ticks: u32) -> usize {
    let mut tries = 0;
    for _ in 0..ticks {
        while !world.connecting.is_empty() {
            tries += 1;
            world.connect_failed(0, FailureScope::Host, false);
        }
        world.run(ms(100));
    }
    tries
}

fn refusals(world: &mut World) -> Vec<Refusal<u32>> {
    let refusal = |event| match event {
        Event::Refused(_, refusal) => Some(refusal),
        _ => None,
    };
    world.take_events().into_iter().filter_map(refusal).collect()
}

#[test]
fn waiters_are_kept_through_a_short_outage() {
    let mut world = world();
    world.ask(A, 1);
    world.ask(A, 2);
    host_down(&mut world, 8);
    world.run(ms(1_100));
    assert_eq!(refusals(&mut world), []);
    world.connect_all();
    assert!(matches!(world.scheduler.health(), Health::Working));
    assert_eq!(world.scheduler.counts(A).leased, 2);
}

#[test]
fn a_long_outage_refuses_waiters_and_then_arrivals_at_once() {
    let mut world = world();
    world.ask(A, 1);
    host_down(&mut world, 25);
    assert!(matches!(refusals(&mut world)[..], [Refusal::ServerDown { error: 7, .. }]));
    world.ask(B, 2);
    assert!(matches!(refusals(&mut world)[..], [Refusal::ServerDown { .. }]));
}

#[test]
fn failures_are_not_a_storm() {
    let mut world = world();
    let mut tries = 0;
    for client in 1..=200 {
        world.ask(A, client);
        tries += host_down(&mut world, 1);
        assert!(world.connecting.len() <= 1);
    }
    // With the longest wait of a second, 20 s are no fewer than 20 and, full jitter being half of
    // that on average, about 40.
    assert!((20..60).contains(&tries), "{tries}");
}

#[test]
fn a_host_that_is_down_is_tried_for_those_who_asked_and_recovers_by_itself() {
    let mut world = world();
    world.ask(A, 1);
    host_down(&mut world, 25);
    world.ask(A, 2);
    refusals(&mut world);
    // Nobody waits: whatever is tried now is a probe.
    world.run(ms(1_000));
    assert_eq!(world.connecting.len(), 1);
    world.connect_all();
    world.ask(A, 3);
    assert_eq!(world.scheduler.counts(A).leased, 1);
}

#[test]
fn nobody_asks_so_nobody_tries_and_old_news_refuses_nobody() {
    let mut world = world();
    world.ask(A, 1);
    host_down(&mut world, 60);
    world.run(ms(5_000));
    assert_eq!(world.connecting.len(), 0);
    world.take_events();
    world.ask(A, 2);
    assert_eq!(refusals(&mut world), []);
    assert_eq!(world.connecting.len(), 1);
}

/// Its place was taken by an idle server of another pool: the probe has to make room.
#[test]
fn a_full_host_is_probed_for_a_pool_that_has_nothing() {
    let mut world =
        World::new(host(Some(1)), &[spec("a", "x", sized(1)), spec("b", "y", sized(1))], 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(B, 2);
    world.give_back(1);
    world.connect_failed(0, FailureScope::Host, false);
    host_down(&mut world, 25);
    world.run(ms(1_000));
    world.ask(B, 3);
    world.run(ms(1_000));
    world.connect_all();
    world.ask(B, 4);
    assert_eq!(world.scheduler.counts(B).leased, 1);
}

#[test]
fn a_pool_that_still_has_servers_waits_for_them() {
    let mut world = world();
    world.ask(A, 1);
    world.connect_all();
    world.ask(A, 2);
    host_down(&mut world, 40);
    assert_eq!(refusals(&mut world), []);
    world.give_back(1);
    assert_eq!(world.scheduler.counts(A).waiting, 0);
    // Its last server dies: nothing is left to wait for.
    world.ask(A, 3);
    let (_, lease) = world.leases.pop().expect("client 2 has it");
    world.discard(lease.slot);
    assert!(matches!(refusals(&mut world)[..], [Refusal::ServerDown { .. }]));
}

#[test]
fn a_wrong_password_is_told_at_once_and_only_to_its_pool() {
    let mut world = world();
    world.ask(A, 1);
    world.ask(A, 2);
    world.ask(B, 3);
    world.connect_failed(0, FailureScope::Pool, true);
    let failed = Refusal::LoginFailed { error: 7 };
    assert_eq!(refusals(&mut world), [failed.clone(), failed.clone()]);
    world.ask(A, 4);
    assert_eq!(refusals(&mut world), [failed]);
    assert!(matches!(world.scheduler.health(), Health::Working));
    assert_eq!(world.scheduler.counts(B).waiting, 1);
    // It was corrected: the next to ask after the backoff finds out.
    world.connected(0, WorkerId(0));
    world.run(ms(1_000));
    world.ask(A, 5);
    world.connect_all();
    assert!(matches!(world.scheduler.login_health(A), Health::Working));
}

#[test]
fn too_many_connections_is_held_like_an_outage_but_for_the_pool_alone() {
    let mut world = world();
    world.ask(A, 1);
    for _ in 0..25 {
        while let Some(slot) = world.connecting.first() {
            assert_eq!(slot.pool, A);
            world.connect_failed(0, FailureScope::Pool, false);
        }
        world.run(ms(100));
    }
    assert!(matches!(refusals(&mut world)[..], [Refusal::ServerDown { .. }]));
    world.ask(B, 2);
    assert_eq!(refusals(&mut world), []);
}

/// The ones under way fail together: that is one failure, not four.
#[test]
fn connects_that_fail_together_back_off_once() {
    let mut world = world();
    (1..=4).for_each(|client| world.ask(A, client));
    world.pass(ms(50));
    while !world.connecting.is_empty() {
        world.connect_failed(0, FailureScope::Host, false);
    }
    let Health::Failing { retry_at, .. } = world.scheduler.health() else {
        panic!("it has failed");
    };
    assert!(retry_at <= world.now + ms(100));
}
