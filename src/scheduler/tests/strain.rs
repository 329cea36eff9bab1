//! What is told of a pool and its classes to whoever asks why clients wait.

use super::accounts::Seat;
use super::play::{Crowd, Play};
use super::world::World;
use super::{
    A, COMMON, Random, host, in_flight, ms, of_priority, per_address, rated, server_time, sized,
    spec, weighing, within,
};
use crate::base::ids::ClassId;
use crate::config::classes::{ClassLimits, Excess, Priority, Quota};
use crate::config::overload::Shed;
use crate::scheduler::{HostLimits, Shares, State, WaitLimit};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const ONE: ClassId = ClassId(1);
const TWO: ClassId = ClassId(2);

fn ten_ms(random: &mut Random) -> u64 {
    9_500 + u64::from(random.below(1_000))
}

fn play(shed: Shed, classes: &[ClassLimits]) -> Play {
    Play::new(HostLimits { shed, ..host(None) }, &[spec("a", "x", sized(4))], classes)
}

#[test]
fn a_pool_that_sheds_tells_what_it_has_learned_and_what_it_allows() {
    let mut play = play(Shed::Auto, &[]);
    let there = ms(0)..ms(20_000);
    let crowd = Crowd { patience: Some(ms(500)), there, ..Crowd::new(300, ten_ms) };
    let crowd = play.add(crowd);
    assert_eq!(play.scheduler.strain(play.now, A).limit, None, "nobody has given up");
    play.run_until(10_000);
    assert_eq!(play.scheduler.condition(A).state, State::Shedding);
    let strain = play.scheduler.strain(play.now, A);
    let WaitLimit { longest, patience } = strain.limit.expect("what was learned");
    let patience = patience.expect("it was learned");
    assert!((ms(400)..=ms(500)).contains(&patience), "{patience:?}");
    // Half of it while the queue stands, four fifths else.
    let is_share = |share| longest == patience.mul_f64(share);
    assert!(is_share(0.5) || is_share(0.8), "{longest:?} of {patience:?}");
    let record = &play.records[crowd];
    assert_eq!(strain.refused as usize, record.refused());
    let counters = play.class(COMMON).counters;
    assert!(counters.abandoned > 0 && counters.refused_in_all() > 0);
    assert_eq!(u64::from(strain.refused), counters.refused_in_all());
    assert_eq!(u64::from(strain.abandoned), counters.abandoned);
    play.run_until(90_000);
    let strain = play.scheduler.strain(play.now, A);
    assert_eq!((strain.limit, strain.refused, strain.abandoned), (None, 0, 0), "it is over");
}

/// They move to a process that takes over, and may all come back if that fails.
#[test]
fn who_leaves_a_process_that_ends_has_not_lost_patience() {
    let learned = |is_draining| {
        let mut play = play(Shed::Auto, &[]);
        let there = ms(0)..ms(20_000);
        play.add(Crowd { patience: Some(ms(500)), there, ..Crowd::new(300, ten_ms) });
        play.scheduler.set_draining(play.now, is_draining);
        play.run_until(10_000);
        assert!(play.class(COMMON).counters.abandoned > 0);
        play.class(COMMON).patience
    };
    assert!(learned(false).is_some());
    assert_eq!(learned(true), None);
}

#[test]
fn the_limit_that_is_told_is_of_a_class_that_is_being_shed() {
    let classes = [of_priority(Priority::Critical), of_priority(Priority::Sheddable)];
    let mut play = play(Shed::Within(ms(80)), &classes);
    play.add(Crowd { class: ONE, ..Crowd::new(1, ten_ms) });
    play.add(Crowd { class: TWO, there: ms(0)..ms(900), ..Crowd::new(1, ten_ms) });
    play.add(Crowd { class: ONE, there: ms(1_000)..Duration::MAX, ..Crowd::new(100, ten_ms) });
    play.run_until(950);
    let sheddable = WaitLimit { longest: ms(40), patience: None };
    let limit = play.scheduler.strain(play.now, A).limit;
    assert_eq!(limit, Some(sheddable), "the shortest, while nobody is shed");
    // Only critical ones are left, and refused.
    play.run_until(5_000);
    assert_eq!(play.scheduler.condition(A).state, State::Shedding);
    let limit = play.scheduler.strain(play.now, A).limit.map(|limit| limit.longest);
    assert!(limit == Some(ms(100)) || limit == Some(ms(80)), "{limit:?}");
}

fn shares(play: &Play, class: ClassId) -> Shares {
    play.class(class).shares.expect("they had something lately")
}

#[test]
fn shares_are_what_was_had_beside_what_weights_give() {
    let mut play = play(Shed::Off, &[weighing(3), weighing(1)]);
    assert_eq!(play.class(ONE).shares, None);
    // One has nothing to do at first.
    play.add(Crowd { class: ONE, there: ms(20_000)..Duration::MAX, ..Crowd::new(30, ten_ms) });
    play.add(Crowd { class: TWO, ..Crowd::new(30, ten_ms) });
    play.run_until(19_900);
    let near = |one: f64, other: f64| (one - other).abs() < 0.02;
    let Shares { had, fair } = shares(&play, TWO);
    assert!(near(had, 1.0) && near(fair, 1.0), "{had} {fair}");
    assert_eq!(play.class(ONE).shares, None, "it has asked for nothing");
    play.run_until(90_000);
    for (class, share) in [(ONE, 0.75), (TWO, 0.25)] {
        let Shares { had, fair } = shares(&play, class);
        assert!(near(had, share) && near(fair, share), "{had} {fair}");
    }
}

#[test]
fn a_fair_share_is_of_what_its_priority_got() {
    let critical = of_priority(Priority::Critical);
    let mut play = play(Shed::Off, &[critical, weighing(1), weighing(1)]);
    // One server's worth of it.
    play.add(Crowd { class: ONE, ..Crowd::new(1, ten_ms) });
    play.add(Crowd { class: TWO, ..Crowd::new(30, ten_ms) });
    play.add(Crowd { class: ClassId(3), ..Crowd::new(30, ten_ms) });
    play.run_until(60_000);
    let all = [ONE, TWO, ClassId(3)].map(|class| shares(&play, class));
    let sum: f64 = all.iter().map(|shares| shares.had).sum();
    assert!((sum - 1.0).abs() < 1e-6);
    assert!((all[0].had - all[0].fair).abs() < 1e-6, "nobody else is critical: {all:?}");
    let rest = (1.0 - all[0].had) / 2.0;
    assert!((all[1].fair - rest).abs() < 1e-6 && (all[1].had - rest).abs() < 0.02, "{all:?}");
}

#[test]
fn room_is_what_a_quota_has_left() {
    let rate = rated(10.0, 4, Excess::Delay).rate;
    let quota = Quota { rate, ..server_time(1.0, ms(2_000)) };
    let mut world = World::new(host(None), &[spec("a", "x", sized(4))], 0);
    let class = world.add_class(within(quota));
    world.ask_in(A, 1, class, 1);
    world.connect_all();
    let room = |world: &World| world.scheduler.class(world.now, class).room;
    let near = |one: Option<f64>, other: f64| one.is_some_and(|one| (one - other).abs() < 1e-3);
    // Beside the burst there was what comes between two ticks.
    assert!(near(room(&world).transactions, 3.08) && near(room(&world).server_time, 2.0));
    world.pass(ms(100));
    assert!(near(room(&world).transactions, 4.0), "one more by now");
    world.pass(ms(2_400));
    // What one server takes, time brings.
    assert!(near(room(&world).server_time, 2.0), "{:?}", room(&world));
    world.ask_in(A, 2, class, 1);
    world.connect_all();
    world.pass(ms(2_500));
    assert!(near(room(&world).server_time, -0.5), "{:?}", room(&world));
    assert_eq!(world.scheduler.class(world.now, COMMON).room.transactions, None);
}

#[test]
fn of_addresses_the_most_that_one_has_is_told() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(4))], 0);
    let class = world.add_class(per_address(in_flight(2)));
    for (client, address) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        world.ask_in(A, client, class, address);
        world.connect_all();
    }
    let seat = Seat { class, address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))) };
    world.come(A, 5, seat).expect("no limit on clients");
    let room = world.scheduler.class(world.now, class).room;
    let seen = (room.addresses, room.clients, room.in_flight, room.queued);
    assert_eq!(seen, (3, 3, 2, 1));
}
