//! Who is idle in a transaction lets go of its server for those who wait.

use super::world::World;
use super::{A, B, host, in_flight, ms, per_address, sized, spec, within};
use crate::base::ids::ClientId;
use crate::scheduler::{PoolLimits, SlotRef};

/// Clients 1 to 3 have a server each, all there are. They were idle for the longer the lower.
fn idle_three() -> (World, [SlotRef; 3]) {
    let mut world =
        World::new(host(Some(3)), &[spec("a", "x", sized(3)), spec("b", "y", sized(3))], 1);
    (1..=3).for_each(|client| world.ask(A, client));
    world.connect_all();
    let slot = |client: usize| {
        let of = |(holder, _): &&(_, _)| *holder == ClientId(client as u64);
        world.leases.iter().find(of).expect("it has one").1.slot
    };
    let slots = [slot(1), slot(2), slot(3)];
    (world, slots)
}

/// Who lets go, when each that is idle asks, as the proxy does now and then: the newest first.
fn yielding(world: &mut World, slots: &[SlotRef; 3]) -> Vec<usize> {
    let start = super::epoch();
    world.pass(ms(100));
    let mut told = Vec::new();
    for _ in 0..2 {
        for at in [2, 1, 0] {
            let since = start + ms(10 * at as u64);
            if !told.contains(&(at + 1)) && world.scheduler.must_yield(world.now, slots[at], since)
            {
                told.push(at + 1);
            }
        }
    }
    told.sort_unstable();
    told
}

#[test]
fn nobody_waits_and_nobody_lets_go() {
    let (mut world, slots) = idle_three();
    assert!(yielding(&mut world, &slots).is_empty());
}

#[test]
fn the_longest_idle_lets_go_and_no_more_than_wait() {
    let (mut world, slots) = idle_three();
    // Until all have said that they are idle, it is not known who is so for longest.
    yielding(&mut world, &slots);
    world.ask(A, 4);
    assert_eq!(yielding(&mut world, &slots), [1]);
    world.ask(A, 5);
    assert_eq!(yielding(&mut world, &slots), [1, 2]);
    (6..=9).for_each(|client| world.ask(A, client));
    assert_eq!(yielding(&mut world, &slots), [1, 2, 3]);
}

#[test]
fn who_goes_on_is_not_idle() {
    let (mut world, slots) = idle_three();
    yielding(&mut world, &slots);
    world.scheduler.is_active(slots[0]);
    world.ask(A, 4);
    assert!(world.scheduler.must_yield(world.now, slots[1], super::epoch() + ms(10)));
}

#[test]
fn a_server_that_is_on_its_way_is_enough() {
    let (mut world, slots) = idle_three();
    yielding(&mut world, &slots);
    world.tidy(0);
    world.ask(A, 4);
    let left: Vec<SlotRef> = world.leases.iter().map(|(_, lease)| lease.slot).collect();
    let oldest = slots.iter().find(|slot| left.contains(slot)).expect("two are left");
    let since = super::epoch();
    assert!(!world.scheduler.must_yield(world.now, *oldest, since));
    world.ask(A, 5);
    assert!(world.scheduler.must_yield(world.now, *oldest, since));
}

#[test]
fn a_connection_on_its_way_is_enough() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(2))], 1);
    world.ask(A, 1);
    world.connect_all();
    let slot = world.leases[0].1.slot;
    world.ask(A, 2);
    assert!(!world.scheduler.must_yield(world.now, slot, world.now));
    world.ask(A, 3);
    assert!(world.scheduler.must_yield(world.now, slot, world.now));
}

#[test]
fn who_waits_for_another_pool_counts_if_this_one_has_the_places() {
    let (mut world, slots) = idle_three();
    yielding(&mut world, &slots);
    world.ask(B, 4);
    assert_eq!(yielding(&mut world, &slots), [1]);
    let apart = PoolLimits { database_max: 1, ..sized(1) };
    let mut world = World::new(host(None), &[spec("a", "x", sized(1)), spec("b", "y", apart)], 1);
    world.ask(A, 1);
    world.ask(B, 2);
    world.connect_all();
    world.ask(B, 3);
    let slot = world.leases.iter().find(|(_, lease)| lease.slot.pool == A).expect("1").1.slot;
    assert!(!world.scheduler.must_yield(world.now, slot, world.now));
}

#[test]
fn who_is_at_its_quota_has_no_use_for_a_server() {
    let (mut world, slots) = idle_three();
    let class = world.add_class(within(in_flight(1)));
    yielding(&mut world, &slots);
    let lease = world.leases.pop().expect("three").1;
    world.discard(lease.slot);
    world.ask_in(A, 4, class, 1);
    world.connect_all();
    world.ask_in(A, 5, class, 1);
    assert!(!world.scheduler.must_yield(world.now, slots[0], super::epoch()));
    world.ask(A, 6);
    assert!(world.scheduler.must_yield(world.now, slots[0], super::epoch()));
}

#[test]
fn a_slot_that_is_over_is_nobodys() {
    let (mut world, slots) = idle_three();
    world.ask(A, 4);
    let (_, lease) = world.leases.swap_remove(0);
    assert_eq!(lease.slot, slots[0]);
    world.discard(slots[0]);
    assert!(!world.scheduler.must_yield(world.now, slots[0], super::epoch()));
    world.scheduler.is_active(slots[0]);
}

/// The next to have the server has not been idle.
#[test]
fn what_one_client_did_is_not_the_next_ones() {
    let (mut world, slots) = idle_three();
    yielding(&mut world, &slots);
    world.ask(A, 4);
    assert_eq!(yielding(&mut world, &slots), [1]);
    world.give_back(1);
    assert_eq!(world.scheduler.counts(A).waiting, 0);
    world.ask(A, 5);
    // Neither told to let go, nor idle for longer than the others.
    assert!(world.scheduler.must_yield(world.now, slots[1], super::epoch() + ms(10)));
}

/// Servers are idle, and only what its own class is allowed is used up.
#[test]
fn who_fills_the_quota_of_its_own_class_lets_go() {
    for limits in [within(in_flight(1)), per_address(in_flight(1))] {
        let mut world = World::new(host(None), &[spec("a", "x", sized(3))], 1);
        let class = world.add_class(limits);
        world.ask_in(A, 1, class, 1);
        world.ask(A, 2);
        world.connect_all();
        let slot_of = |client| {
            let of = |(holder, _): &&(ClientId, _)| *holder == ClientId(client);
            world.leases.iter().find(of).expect("it has one").1.slot
        };
        let [hog, other] = [1, 2].map(slot_of);
        assert!(!world.scheduler.must_yield(world.now, hog, world.now));
        world.ask_in(A, 3, class, 1);
        assert!(!world.scheduler.must_yield(world.now, other, world.now));
        assert!(world.scheduler.must_yield(world.now, hog, world.now));
    }
}

fn slot_of(world: &World, client: u64) -> SlotRef {
    let of = |(holder, _): &&(ClientId, _)| *holder == ClientId(client);
    world.leases.iter().find(of).expect("it has one").1.slot
}

/// Whether a client lets go that has been idle since so many milliseconds after the beginning.
fn lets_go(world: &mut World, client: u64, since: u64) -> bool {
    let slot = slot_of(world, client);
    world.scheduler.must_yield(world.now, slot, super::epoch() + ms(since))
}

/// A server of the other's would be of no use to who waits for its own class, or its own address.
#[test]
fn who_has_nothing_that_is_waited_for_stands_before_nobody() {
    for limits in [within(in_flight(1)), per_address(in_flight(1))] {
        let mut world = World::new(host(None), &[spec("a", "x", sized(4))], 1);
        let class = world.add_class(limits.clone());
        world.ask_in(A, 1, class, 1);
        world.ask(A, 2);
        let has_addresses = limits.per_address.max_in_flight > 0;
        if has_addresses {
            world.ask_in(A, 3, class, 2);
        }
        world.connect_all();
        world.pass(ms(100));
        world.ask_in(A, 4, class, 1);
        assert!(!lets_go(&mut world, 2, 10));
        assert!(!has_addresses || !lets_go(&mut world, 3, 20));
        assert!(lets_go(&mut world, 1, 30), "{limits:?}");
        // It is told again, and they still are not.
        assert!(lets_go(&mut world, 1, 30));
        assert!(!lets_go(&mut world, 2, 10));
    }
}

/// What is limited is the class, not what it has of one pool.
#[test]
fn the_longest_idle_of_a_class_lets_go_in_whichever_pool() {
    let pools = [spec("a", "x", sized(4)), spec("b", "y", sized(4))];
    for limits in [within(in_flight(2)), per_address(in_flight(2))] {
        let mut world = World::new(host(None), &pools, 1);
        let class = world.add_class(limits.clone());
        world.ask_in(A, 1, class, 1);
        world.ask_in(B, 2, class, 1);
        world.connect_all();
        world.pass(ms(100));
        assert!(!lets_go(&mut world, 1, 10));
        world.ask_in(B, 3, class, 1);
        assert!(!lets_go(&mut world, 2, 20), "{limits:?}");
        assert!(lets_go(&mut world, 1, 10), "{limits:?}");
        // One is enough for one who waits, on its way back as well.
        assert!(!lets_go(&mut world, 2, 20));
        let at = world.leases.iter().position(|(client, _)| *client == ClientId(1));
        world.tidy(at.expect("it has one"));
        assert!(!lets_go(&mut world, 2, 20));
        world.ask_in(A, 4, class, 1);
        assert!(lets_go(&mut world, 2, 20), "{limits:?}");
    }
}

/// Two wait, each for something else.
#[test]
fn who_lets_go_for_one_does_not_for_another() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(2))], 1);
    let class = world.add_class(within(in_flight(1)));
    world.ask(A, 1);
    world.ask_in(A, 2, class, 1);
    world.connect_all();
    world.pass(ms(100));
    assert!(!lets_go(&mut world, 2, 20));
    world.ask(A, 3);
    assert!(lets_go(&mut world, 1, 10));
    assert!(!lets_go(&mut world, 2, 20), "one has let go, and one waits");
    world.ask_in(A, 4, class, 1);
    assert!(lets_go(&mut world, 2, 20));
}
