//! A server is kept for a class that is about to come back: when, and for how long.

use super::broken::Broken;
use super::world::{Event, World};
use super::{A, COMMON, host, ms, sized, spec, weighing};
use crate::base::ids::{ClassId, ClientId};
use std::time::Duration;

const ONE: ClassId = ClassId(1);

/// Client 3, which is of a class of its own and comes right back, has held one of two servers for so
/// long. Client 1 has the other, and client 2 waits: they hold theirs for 50 ms.
pub(super) fn world(held: Duration) -> World {
    let mut world = World::new(host(None), &[spec("a", "x", sized(2))], 1);
    assert_eq!(world.add_class(weighing(1)), ONE);
    world.ask(A, 1);
    world.ask(A, 2);
    world.connect_all();
    world.pass(ms(50));
    world.give_back(1);
    world.give_back(2);
    world.ask_in(A, 3, ONE, 1);
    world.pass(ms(1));
    world.give_back(3);
    world.pass(Duration::from_micros(200));
    world.ask_in(A, 3, ONE, 1);
    world.ask(A, 1);
    world.ask(A, 2);
    world.pass(held);
    world.take_events();
    world
}

fn is_granted(world: &mut World, client: u64) -> bool {
    let is_it = |event: Event| matches!(event, Event::Granted(to, _) if to == ClientId(client));
    world.take_events().into_iter().any(is_it)
}

#[test]
fn a_server_is_kept_for_who_comes_right_back() {
    let mut world = world(ms(1));
    world.pace();
    world.give_back(3);
    assert_eq!(world.scheduler.kept(A), 1);
    assert!(!is_granted(&mut world, 2));
    world.pass(Duration::from_micros(500));
    world.ask_in(A, 3, ONE, 1);
    assert!(is_granted(&mut world, 3));
    assert_eq!(world.scheduler.kept(A), 0);
}

#[test]
fn what_was_kept_in_vain_is_let_go() {
    keep_in_vain(None);
}

/// Whoever it was kept for does not come: the model sees to the rest.
pub(super) fn keep_in_vain(broken: Option<Broken>) {
    let mut world = world(ms(1));
    world.broken = broken;
    world.pace();
    world.give_back(3);
    assert_eq!(world.scheduler.kept(A), 1);
    for _ in 0..6 {
        world.pass(Duration::from_micros(500));
        world.pace();
    }
}

#[test]
fn it_is_lent_when_its_time_is_up() {
    let mut world = world(ms(1));
    world.pace();
    world.give_back(3);
    world.pass(Duration::from_micros(500));
    world.pace();
    assert!(!is_granted(&mut world, 2));
    world.pass(Duration::from_micros(200));
    world.pace();
    assert!(is_granted(&mut world, 2));
}

/// Nobody would notice that its time is up.
#[test]
fn nothing_is_kept_while_nobody_tells_the_time() {
    let mut world = world(ms(1));
    assert!(world.scheduler.is_pacing());
    world.give_back(3);
    assert!(is_granted(&mut world, 2));
}

#[test]
fn nothing_is_kept_for_who_has_had_more() {
    let mut world = world(ms(500));
    world.give_back(1);
    assert!(is_granted(&mut world, 2));
    world.ask(A, 1);
    world.pass(ms(300));
    // Level, whatever it has had before.
    world.set_class(COMMON, weighing(1));
    world.pace();
    world.give_back(3);
    assert!(is_granted(&mut world, 1));
}
