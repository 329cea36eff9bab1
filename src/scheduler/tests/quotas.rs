//! Quotas: nobody gets more, nobody else waits for it, and it is all there.

use super::play::{Crowd, Play};
use super::world::World;
use super::{
    A, B, COMMON, Random, host, in_flight, ms, per_address, rated, server_time, sized, spec, within,
};
use crate::base::ids::ClassId;
use crate::config::classes::{ClassLimits, Excess};
use crate::scheduler::{DelayedFor, Refusal, RefusedFor};
use std::time::Duration;

const ONE: ClassId = ClassId(1);

fn play(size: u32, limits: ClassLimits) -> Play {
    Play::new(host(None), &[spec("a", "x", sized(size))], &[limits])
}

fn two_pools(limits: ClassLimits) -> Play {
    Play::new(host(None), &[spec("a", "x", sized(4)), spec("b", "y", sized(4))], &[limits])
}

fn five_ms(random: &mut Random) -> u64 {
    4_500 + u64::from(random.below(1_000))
}

fn of(class: ClassId, clients: u32) -> Crowd {
    Crowd { class, ..Crowd::new(clients, five_ms) }
}

fn assert_near(found: usize, wanted: usize, percent: usize) {
    assert!(found.abs_diff(wanted) * 100 <= wanted * percent, "{found} where {wanted} is wanted");
}

/// 100 at once and 50 a second.
#[test]
fn a_rate_is_met_in_both_modes() {
    for on_excess in [Excess::Delay, Excess::Reject] {
        let mut play = play(4, within(rated(50.0, 100, on_excess)));
        let crowd = play.add(of(ONE, 60));
        play.run_until(10_000);
        let counters = play.class(ONE).counters;
        assert_near(usize::try_from(counters.granted).expect("few"), 600, 2);
        assert_near(play.records[crowd].answered(5_000..10_000), 250, 2);
        let is_rejecting = on_excess == Excess::Reject;
        assert_eq!(play.records[crowd].refused() > 1_000, is_rejecting);
        assert_eq!(counters.refused_for(RefusedFor::Rate) > 1_000, is_rejecting);
        assert_eq!(counters.delayed_for(DelayedFor::Rate) > 300, !is_rejecting);
        let is_told = |refusal: &Refusal<u32>| match refusal {
            Refusal::RateLimited { retry_after, .. } => *retry_after <= ms(4_000),
            _ => false,
        };
        assert!(play.records[crowd].refusals().all(is_told));
    }
}

/// Time lets them go on every five milliseconds only.
#[test]
fn a_rate_without_a_burst_is_met() {
    for (per_second, wanted) in [(20.0, 200), (50.0, 500), (150.0, 1_500)] {
        for clients in [1, 20] {
            let mut play = play(4, within(rated(per_second, 1, Excess::Delay)));
            let crowd = play.add(of(ONE, clients));
            play.run_until(11_000);
            assert_near(play.records[crowd].answered(1_000..11_000), wanted, 1);
        }
    }
}

/// And a class beside it does not notice.
#[test]
fn who_is_delayed_delays_nobody_else() {
    let mut play = play(4, within(rated(50.0, 1, Excess::Delay)));
    play.add(of(ONE, 60));
    let common = play.add(Crowd { class: COMMON, ..of(COMMON, 8) });
    play.run_until(5_000);
    // 800 a second less the 50 of the others.
    assert_near(play.records[common].answered(1_000..5_000), 3_000, 4);
    assert!(play.records[common].quantile(0.99, 1_000..5_000) < ms(30));
}

#[test]
fn each_address_has_a_rate_of_its_own() {
    let mut play = play(4, per_address(rated(20.0, 1, Excess::Delay)));
    let crowd = play.add(Crowd { addresses: 3, ..of(ONE, 60) });
    play.run_until(6_000);
    assert_near(play.records[crowd].answered(1_000..6_000), 300, 3);
}

#[test]
fn server_time_is_limited() {
    for clients in [1, 20] {
        let mut play = play(4, within(server_time(0.5, ms(500))));
        let crowd = play.add(Crowd { service: |_| 30_000, ..of(ONE, clients) });
        play.run_until(11_000);
        let used = play.records[crowd].server_time(1_000..11_000);
        assert!((used - 5.0).abs() < 0.15, "{used}");
    }
}

/// Whatever a transaction takes: one server and a half, all the time, is a server and a half.
#[test]
fn server_time_is_the_same_for_short_and_long_transactions() {
    let services: [fn(&mut Random) -> u64; 3] = [|_| 10_000, |_| 1_000_000, |_| 10_000_000];
    for (service, until) in services.into_iter().zip([20_000, 60_000, 400_000]) {
        for (quota, clients, wanted) in [(1.5, 2, 1.5), (1.5, 4, 1.5), (1.0, 1, 1.0), (0.5, 1, 0.5)]
        {
            let quota = server_time(quota, Duration::from_secs_f64(quota));
            let all = (within(quota.clone()), 1);
            for (limits, addresses) in [all, (per_address(quota), 2)] {
                let mut play = play(8, limits.clone());
                let clients = clients * u32::from(addresses);
                let crowd = play.add(Crowd { service, addresses, ..of(ONE, clients) });
                play.run_until(until);
                let used = play.records[crowd].server_time(0..until);
                let wanted = wanted * Duration::from_millis(until).as_secs_f64();
                let wanted = wanted * f64::from(addresses);
                // But for what is at hand at first, and for those who are in the middle at last.
                let took = Duration::from_micros(service(&mut Random::new(1)));
                let odd = f64::from(clients) * took.as_secs_f64() + 3.0;
                let off = (used - wanted).abs();
                assert!(off < odd + 0.01 * wanted, "{used} s of {wanted}, {took:?}, {limits:?}");
            }
        }
    }
}

/// Nobody of it ever waits for more than the moment between two of its transactions.
#[test]
fn who_holds_no_more_than_its_server_time_never_waits() {
    for (quota, clients) in [(1.0, 1), (3.0, 3)] {
        let mut play = play(8, within(server_time(quota, Duration::from_secs_f64(quota))));
        let crowd = play.add(Crowd { service: |_| 10_000_000, ..of(ONE, clients) });
        play.run_until(500_000);
        assert!(play.records[crowd].quantile(1.0, 20_000..500_000) == Duration::from_secs(10));
        assert_eq!(play.class(ONE).counters.delayed_for(DelayedFor::ServerTime), 0);
    }
}

#[test]
fn a_quota_that_comes_to_be_charges_nobody_for_before() {
    let mut world = World::new(host(None), &[spec("a", "x", sized(4))], 1);
    let class = world.add_class(ClassLimits::default());
    world.ask_in(A, 1, class, 1);
    world.connect_all();
    world.run(Duration::from_mins(5));
    for limits in [within(server_time(1.0, ms(1_000))), per_address(server_time(1.0, ms(1_000)))] {
        world.set_class(class, ClassLimits::default());
        world.set_class(class, limits);
        world.run(Duration::from_mins(5));
        world.ask_in(A, 2, class, 1);
        world.connect_all();
        assert_eq!(world.scheduler.counts(A).leased, 2);
        // Two at once are too many for long.
        world.run(ms(1_500));
        world.ask_in(A, 3, class, 1);
        assert_eq!(world.scheduler.counts(A).waiting, 1);
        world.run(Duration::from_mins(1));
        world.leave(3);
        world.give_back(2);
    }
}

/// It pays for the time in which its servers do nothing, too.
#[test]
fn a_long_transaction_is_paid_for_afterwards() {
    let mut play = play(4, within(server_time(0.1, ms(100))));
    let crowd = play.add(Crowd { service: |_| 500_000, ..of(ONE, 1) });
    play.run_until(30_000);
    let used = play.records[crowd].server_time(0..30_000);
    assert!(used <= 3.6, "{used}");
    assert!(used >= 2.5, "{used}");
}

#[test]
fn a_class_at_its_quota_stops_nobody() {
    let mut play = play(4, within(in_flight(1)));
    let limited = play.add(of(ONE, 60));
    let common = play.add(of(COMMON, 8));
    play.run_until(5_000);
    let limited = play.records[limited].server_time(1_000..5_000);
    let common = play.records[common].server_time(1_000..5_000);
    assert!(limited <= 4.0 && limited > 3.9, "{limited}");
    assert!(common > 11.9, "{common}");
}

#[test]
fn an_address_at_its_quota_stops_nobody_of_its_class() {
    let mut play = play(4, per_address(in_flight(1)));
    let many = play.add(of(ONE, 60));
    let few = play.add(Crowd { addresses: 4, ..of(ONE, 4) });
    play.run_until(5_000);
    let [many, few] = [many, few].map(|crowd| play.records[crowd].server_time(1_000..5_000));
    // One of the few comes from where the many do.
    assert!(many <= 4.0 && few >= 11.7, "{many} {few}");
    assert!(many >= 3.8, "{many}");
}

/// Whoever came first of a class goes first, in whichever pool: neither may live on what the class
/// is allowed while the other waits.
#[test]
fn pools_of_a_class_share_what_it_is_allowed() {
    for quota in [in_flight(1), rated(50.0, 1, Excess::Delay), server_time(0.2, ms(200))] {
        for (limits, others) in [
            (within(quota.clone()), 5),
            (within(quota.clone()), 0),
            (per_address(quota.clone()), 5),
            (per_address(quota), 0),
        ] {
            let mut play = two_pools(limits.clone());
            for pool in [A, B] {
                play.add(Crowd { pool, ..of(ONE, 30) });
                // Busy with others, too: each server that comes back could serve the wrong ones.
                play.add(Crowd { pool, ..of(COMMON, others) });
            }
            play.run_until(6_000);
            let [one, two] = [0, 2].map(|crowd| play.records[crowd].answered(1_000..6_000));
            assert!(one > 60 && two > 60, "{one} and {two} with {limits:?}");
            assert!(one * 3 > two * 2 && two * 3 > one * 2, "{one} and {two} with {limits:?}");
        }
    }
}

/// Its turn may come first in another pool, but not for as long as that pool serves nobody.
#[test]
fn a_pool_that_stands_still_takes_nobody_s_turn_in_another() {
    for limits in [within(in_flight(1)), per_address(in_flight(1))] {
        let mut play = two_pools(limits.clone());
        play.add(Crowd { pool: B, service: |_| 60_000_000, ..of(COMMON, 4) });
        play.run_until(500);
        play.add(Crowd { pool: B, ..of(ONE, 2) });
        play.run_until(600);
        let one = play.add(of(ONE, 10));
        play.add(of(COMMON, 20));
        play.run_until(5_000);
        let answered = play.records[one].answered(1_000..5_000);
        assert!(answered > 20, "{answered} with {limits:?}");
    }
}

/// Those of an address who wait for a pool that is full keep nobody from another.
#[test]
fn a_full_pool_holds_up_no_other_pool_of_an_address() {
    let mut play = two_pools(per_address(in_flight(4)));
    play.add(Crowd { service: |_| 60_000_000, ..of(COMMON, 8) });
    play.run_until(500);
    play.add(of(ONE, 20));
    play.run_until(1_000);
    let other = play.add(Crowd { pool: B, ..of(ONE, 20) });
    play.run_until(4_000);
    assert!(play.records[other].answered(2_000..4_000) > 1_500);
}

/// Clients come and go all the time, some in the middle: whatever they held is free again.
#[test]
fn who_vanishes_leaks_nothing() {
    let mut limits = per_address(in_flight(2));
    limits.quota = in_flight(3);
    let mut play = play(4, limits);
    let crowd = play.add(Crowd { patience: Some(ms(40)), addresses: 5, ..of(ONE, 40) });
    play.add(Crowd { patience: Some(ms(3)), addresses: 5, ..of(ONE, 5) });
    play.run_until(20_000);
    let view = play.class(ONE);
    assert!(view.counters.abandoned > 500);
    assert!(view.in_flight <= 3);
    let used = play.records.iter().map(|record| record.server_time(1_000..20_000)).sum::<f64>();
    // Cleaning is not counted there.
    assert!(used > 30.0 && play.records[crowd].answered(15_000..20_000) > 1_000, "{used}");
}
