//! What is told of each slot and of each waiter.

use super::world::World;
use super::{A, B, COMMON, host, in_flight, ms, per_address, sized, spec};
use crate::base::ids::{ClientId, PoolId};
use crate::scheduler::PoolLimits;
use crate::scheduler::SlotState;
use crate::scheduler::SlotView;

/// State, client, key and server of a slot.
type Seen = (SlotState, Option<u64>, Option<u64>, Option<u64>);

fn slots(world: &World, pool: PoolId) -> Vec<Seen> {
    let about = |key: Option<&u64>, conn: Option<&u64>| (key.copied(), conn.copied());
    let servers = world.scheduler.servers(world.now, pool, about);
    let slot = |server: SlotView<(Option<u64>, Option<u64>)>| {
        assert_eq!(server.connected_at.is_some(), server.about.0.is_some());
        (server.state, server.client.map(|client| client.0), server.about.0, server.about.1)
    };
    servers.into_iter().map(slot).collect()
}

fn waiting(world: &World, pool: PoolId) -> Vec<u64> {
    let mut waiters: Vec<_> =
        world.scheduler.waiters(pool).iter().map(|waiter| waiter.client.0).collect();
    waiters.sort_unstable();
    waiters
}

#[test]
fn each_slot_is_listed_with_its_client_and_its_server() {
    let limits = PoolLimits { check_delay: Some(ms(500)), ..sized(2) };
    let mut world = World::new(host(None), &[spec("a", "x", limits), spec("b", "x", sized(1))], 1);
    world.ask(A, 1);
    let [(SlotState::Connecting, None, None, None)] = slots(&world, A)[..] else {
        panic!("{:?}", slots(&world, A))
    };
    world.connect_all();
    let [(SlotState::Leased, Some(1), Some(key), None)] = slots(&world, A)[..] else {
        panic!("{:?}", slots(&world, A))
    };
    assert!(slots(&world, B).is_empty());
    world.give_back(1);
    assert_eq!(slots(&world, A), [(SlotState::Idle, None, Some(key), Some(key))]);
    assert_eq!(world.scheduler.to_be_checked(world.now, A), 0);
    world.pass(ms(501));
    assert_eq!(world.scheduler.to_be_checked(world.now, A), 1);
    let servers = world.scheduler.servers(world.now, A, |_, _| ());
    assert!(servers[0].is_to_be_checked && servers[0].since < world.now);
}

#[test]
fn who_waits_is_listed_also_who_stands_aside() {
    let mut world =
        World::new(host(None), &[spec("a", "x", sized(3)), spec("b", "x", sized(1))], 1);
    let class = world.add_class(per_address(in_flight(1)));
    world.ask_in(A, 1, class, 7);
    world.ask(B, 2);
    world.connect_all();
    world.ask_in(A, 3, class, 7);
    world.pass(ms(10));
    world.ask_in(A, 4, class, 7);
    world.ask(B, 5);
    assert_eq!((waiting(&world, A), waiting(&world, B)), (vec![3, 4], vec![5]));
    let waiters = world.scheduler.waiters(A);
    let third = waiters.iter().find(|waiter| waiter.client == ClientId(3)).unwrap();
    assert_eq!((third.class, third.since + ms(10)), (class, world.now));
    assert!(world.scheduler.why_waits(world.now, third.ticket).is_some());
    assert_eq!(world.scheduler.waiters(B)[0].class, COMMON);
    world.leave(3);
    assert_eq!(waiting(&world, A), [4]);
}
