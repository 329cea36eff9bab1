//! A pool that leads elsewhere from now on.

use super::world::{Event, World};
use super::{A, B, host, ms, sized, spec};
use crate::base::ids::ClientId;
use crate::scheduler::{CloseReason, FailureScope, Health};

fn world() -> World {
    World::new(host(None), &[spec("a", "x", sized(3)), spec("b", "y", sized(4))], 1)
}

#[test]
fn what_was_known_of_a_login_is_forgotten_with_its_servers() {
    let mut world = world();
    world.ask(A, 1);
    world.connect_failed(0, FailureScope::Pool, true);
    assert!(matches!(world.take_events().last(), Some(Event::Refused(ClientId(1), _))));
    assert!(matches!(world.scheduler.login_health(A), Health::Failing { definitive: true, .. }));
    world.redirect(A);
    assert!(matches!(world.scheduler.login_health(A), Health::Working));
    world.ask(A, 2);
    assert_eq!(world.take_events(), [Event::Connecting(A)], "it is tried at once");
    world.connect_all();
    world.take_events();
    world.ask(A, 3);
    world.ask(B, 4);
    world.connect_all();
    world.give_back(3);
    world.take_events();
    world.redirect(A);
    assert_eq!(world.take_events(), [Event::Closed(A, 2, CloseReason::Retired)], "of that pool");
    world.give_back(2);
    assert_eq!(world.take_events(), [Event::Closed(A, 1, CloseReason::Retired)]);
}

#[test]
fn an_attempt_to_reach_the_old_place_says_nothing_of_the_new_one() {
    let mut world = world();
    world.ask(A, 1);
    world.redirect(A);
    world.take_events();
    world.connect_failed(0, FailureScope::Host, false);
    assert!(matches!(world.scheduler.health(), Health::Working));
    assert_eq!(world.take_events(), [Event::Connecting(A)], "for who waits");
    world.connect_failed(0, FailureScope::Host, false);
    assert!(matches!(world.scheduler.health(), Health::Failing { .. }));
    world.scheduler.host_moved();
    assert!(matches!(world.scheduler.health(), Health::Working));
    world.run(ms(200));
    world.connect_all();
    assert!(world.take_events().contains(&Event::Granted(ClientId(1), 1)));
}

#[test]
fn who_is_sent_away_was_not_refused_and_others_stay() {
    let mut world = world();
    for client in 1..=6 {
        world.ask(A, client);
    }
    world.ask(B, 7);
    world.connect_all();
    world.take_events();
    assert_eq!(world.send_away(A), [4, 5, 6].map(ClientId));
    assert_eq!(world.scheduler.counts(A).waiting, 0);
    assert_eq!(world.take_events(), []);
    world.give_back(1);
    assert_eq!(world.scheduler.counts(A).idle, 1);
}

/// A server that a cancel request may still hit is lent to nobody, whatever its lifetime becomes.
#[test]
fn another_lifetime_saves_no_server_that_a_cancel_may_hit() {
    let mut world = world();
    world.ask(A, 1);
    world.connect_all();
    world.take_events();
    world.cancel_lost_of(1);
    let mut limits = sized(3);
    limits.lifetime = Some(ms(60_000));
    world.set_limits(A, limits);
    world.give_back(1);
    assert_eq!(world.take_events(), [Event::Closed(A, 1, CloseReason::Retired)]);
}
