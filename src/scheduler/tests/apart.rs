//! Connections that are in no pool.

use super::world::World;
use super::{A, host, sized, spec};
use crate::scheduler::Action;
use crate::scheduler::CloseReason;

#[test]
fn an_idle_server_makes_room_for_one_that_is_set_apart() {
    let mut world = World::new(host(Some(2)), &[spec("a", "x", sized(5))], 1);
    world.ask(A, 1);
    world.ask(A, 2);
    world.connect_all();
    let (now, scheduler) = (world.now, &mut world.scheduler);
    assert!(!scheduler.set_apart(now), "both are in use");
    world.give_back(1);
    let scheduler = &mut world.scheduler;
    assert!(scheduler.set_apart(now));
    let closed = scheduler.next_action();
    assert!(matches!(closed, Some(Action::Close { why: CloseReason::Evicted, .. })));
    assert!(!scheduler.set_apart(now), "pools keep the last place");
}

#[test]
fn pools_do_with_what_is_left_until_it_is_given_back() {
    let mut world = World::new(host(Some(2)), &[spec("a", "x", sized(5))], 1);
    let now = world.now;
    assert!(world.scheduler.set_apart(now));
    world.model.host.max_connections = Some(1);
    world.ask(A, 1);
    world.ask(A, 2);
    assert_eq!(world.scheduler.counts(A).connecting, 1);
    world.scheduler.give_back_apart(now);
    assert_eq!(world.scheduler.counts(A).connecting, 2);
}
