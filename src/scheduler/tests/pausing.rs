//! What operators do to a pool: pausing it, and having its servers replaced.

use super::world::{Event, World};
use super::{A, B, host, ms, sized, spec};
use crate::base::ids::{ClientId, WorkerId};
use crate::config::overload::Shed;
use crate::scheduler::CloseReason;
use crate::scheduler::FailureScope;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolLimits;
use crate::scheduler::Refusal;
use crate::scheduler::State;
use crate::scheduler::WaitCause;

fn world(limits: PoolLimits) -> World {
    World::new(host(None), &[spec("a", "x", limits), spec("b", "y", sized(4))], 1)
}

/// Clients 1 to `count` have a server each, number 1 to `count`.
fn busy(world: &mut World, count: u64) {
    (1..=count).for_each(|client| world.ask(A, client));
    world.connect_all();
    world.take_events();
}

fn closed(conn: u64, why: CloseReason) -> Event {
    Event::Closed(A, conn, why)
}

#[test]
fn a_pause_closes_what_is_idle_and_what_comes_back_and_lends_nothing() {
    let mut world = world(sized(4));
    busy(&mut world, 3);
    world.give_back(1);
    world.pause(A);
    assert_eq!(world.take_events(), [closed(1, CloseReason::Paused)]);
    world.ask(A, 4);
    world.give_back(2);
    assert!(!world.scheduler.is_out(A), "a transaction is open");
    world.tidy(0);
    let lease = world.tidying.remove(0);
    world.tidied(lease, WorkerId(0));
    let gone = [closed(2, CloseReason::Paused), closed(3, CloseReason::Paused)];
    assert_eq!(world.take_events(), gone);
    assert!(world.scheduler.is_out(A));
    world.run(ms(5_000));
    assert_eq!(world.take_events(), [], "nothing is opened for who waits");
    let cause = world.scheduler.why_waits(world.now, world.tickets[&ClientId(4)]);
    assert_eq!(cause, Some(WaitCause::Paused));
    world.resume(A);
    world.connect_all();
    assert_eq!(world.take_events(), [Event::Connecting(A), Event::Granted(ClientId(4), 4)]);
}

#[test]
fn a_server_that_arrives_in_a_pause_is_closed() {
    let mut world = world(sized(4));
    world.ask(A, 1);
    world.pause(A);
    assert!(!world.scheduler.is_out(A), "it is on its way");
    world.connect_all();
    assert_eq!(world.take_events()[1..], [closed(1, CloseReason::Paused)]);
    assert!(world.scheduler.is_out(A));
}

#[test]
fn a_pause_keeps_no_server_ready() {
    let mut world = world(PoolLimits { min: 2, ..sized(4) });
    busy(&mut world, 1);
    world.pause(A);
    world.give_back(1);
    world.run(ms(2_000));
    assert!(world.scheduler.is_out(A));
    world.resume(A);
    world.run(ms(200));
    assert_eq!(world.connecting.len(), 2);
}

#[test]
fn a_pause_is_of_one_pool_and_frees_its_places() {
    let specs = [spec("a", "x", sized(4)), spec("b", "y", sized(4))];
    let mut world = World::new(host(Some(1)), &specs, 1);
    world.ask(A, 1);
    world.connect_all();
    world.ask(B, 2);
    world.pause(A);
    world.give_back(1);
    world.connect_all();
    assert!(world.take_events().contains(&Event::Granted(ClientId(2), 2)));
}

#[test]
fn who_waits_too_long_in_a_pause_is_told_why() {
    let mut world = world(sized(4));
    world.pause(A);
    world.ask_as(A, 1, WorkerId(0), Some(ms(300)));
    world.run(ms(400));
    let told = world.take_events();
    assert!(matches!(
        told[..],
        [Event::Refused(_, Refusal::WaitTimeout { cause: WaitCause::Paused, .. })]
    ));
}

/// Postgres is restarted under a pause: nobody is refused, and the resume does not wait for the next
/// try.
#[test]
fn a_host_that_was_down_in_the_pause_is_tried_at_once() {
    let mut world = world(sized(4));
    world.pause(A);
    world.ask(A, 1);
    world.ask(B, 2);
    for _ in 0..50 {
        while !world.connecting.is_empty() {
            world.connect_failed(0, FailureScope::Host, false);
        }
        world.run(ms(100));
    }
    let refused = world.take_events().into_iter().filter_map(|event| match event {
        Event::Refused(client, _) => Some(client),
        _ => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), [ClientId(2)]);
    world.resume(A);
    world.connect_all();
    assert!(world.take_events().contains(&Event::Granted(ClientId(1), 1)));
}

/// Who waited while the pool stood still has waited for longer than anybody may.
#[test]
fn a_pause_sheds_nobody() {
    let limits = HostLimits { shed: Shed::Within(ms(100)), ..host(None) };
    let mut world = World::new(limits, &[spec("a", "x", sized(1))], 1);
    busy(&mut world, 1);
    world.pause(A);
    world.give_back(1);
    (2..=20).for_each(|client| world.ask(A, client));
    world.run(ms(3_000));
    assert_eq!(world.scheduler.counts(A).waiting, 19);
    world.resume(A);
    world.connect_all();
    for client in 2..=20 {
        assert_eq!(world.leases[0].0, ClientId(client), "in order of arrival");
        world.pass(ms(50));
        world.tick();
        world.give_back(client);
    }
    // From then on as ever.
    world.ask(A, 21);
    (22..=40).for_each(|client| world.ask(A, client));
    world.run(ms(1_000));
    assert!(world.scheduler.counts(A).waiting < 10);
}

#[test]
fn a_pool_says_that_it_is_paused_and_goes_on_at_once() {
    let mut world = world(sized(4));
    world.pause(A);
    assert_eq!(world.scheduler.condition(A).state, State::Paused);
    assert_eq!(world.scheduler.condition(B).state, State::Healthy);
    world.resume(A);
    assert_eq!(world.scheduler.condition(A).state, State::Healthy);
}

#[test]
fn idle_transactions_need_not_yield_to_who_waits_for_a_resume() {
    let mut world = world(sized(1));
    busy(&mut world, 1);
    world.pause(A);
    world.ask(A, 2);
    let (slot, since) = (world.leases[0].1.slot, world.now);
    assert!(!world.scheduler.must_yield(world.now, slot, since));
}

#[test]
fn retired_servers_close_when_they_come_back_and_others_take_their_places() {
    let mut world = world(sized(3));
    busy(&mut world, 2);
    world.give_back(1);
    world.ask(A, 3);
    world.give_back(3);
    world.take_events();
    world.retire(A);
    assert_eq!(world.take_events(), [closed(1, CloseReason::Retired)]);
    assert_eq!(world.scheduler.retired(A), 1);
    let holder = world.scheduler.holders(A).next().unwrap();
    assert!(holder.is_retired);
    world.ask(A, 1);
    world.connect_all();
    assert_eq!(world.take_events(), [Event::Connecting(A), Event::Granted(ClientId(1), 3)]);
    world.give_back(2);
    assert_eq!(world.take_events(), [closed(2, CloseReason::Retired)]);
    assert_eq!(world.scheduler.retired(A), 0);
    world.give_back(1);
    assert_eq!(world.scheduler.counts(A).idle, 1, "a new one stays");
}

/// It may have gone to where the host was before.
#[test]
fn a_server_that_was_being_opened_is_retired_too() {
    let mut world = world(sized(3));
    world.ask(A, 1);
    world.retire(A);
    world.connected(0, WorkerId(0));
    let opened = [Event::Connecting(A), closed(1, CloseReason::Retired), Event::Connecting(A)];
    assert_eq!(world.take_events(), opened);
    world.connect_all();
    assert_eq!(world.take_events(), [Event::Granted(ClientId(1), 2)]);
}
