//! Classes beside each other in one pool under load: who gets how much of it.

use super::play::{Crowd, Play};
use super::{Random, host, in_flight, ms, of_priority, sized, spec, weighing, within};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::{ClassLimits, Priority};
use std::ops::Range;
use std::time::Duration;

const ONE: ClassId = ClassId(1);
const TWO: ClassId = ClassId(2);
const THREE: ClassId = ClassId(3);

fn play(size: u32, classes: &[ClassLimits]) -> Play {
    Play::new(host(None), &[spec("a", "x", sized(size))], classes)
}

fn ten_ms(random: &mut Random) -> u64 {
    9_000 + u64::from(random.below(2_000))
}

fn of(class: ClassId, clients: u32, service: fn(&mut Random) -> u64) -> Crowd {
    Crowd { class, ..Crowd::new(clients, service) }
}

/// The part of the server time that each crowd had of what all had.
fn shares(play: &Play, during: &Range<u64>) -> Vec<f64> {
    let times = play.records.iter().map(|record| record.server_time(during.clone()));
    let times: Vec<f64> = times.collect();
    let all: f64 = times.iter().sum();
    times.iter().map(|time| time / all).collect()
}

fn assert_shares(play: &Play, during: Range<u64>, wanted: &[f64], slack: f64) {
    let shares = shares(play, &during);
    for (share, wanted) in shares.iter().zip(wanted) {
        assert!((share - wanted).abs() <= wanted * slack, "{shares:?} in {during:?}");
    }
}

#[test]
fn weights_divide_server_time() {
    let mut play = play(4, &[weighing(3), weighing(1)]);
    play.add(of(ONE, 30, ten_ms));
    play.add(of(TWO, 30, ten_ms));
    play.run_until(6_000);
    assert_shares(&play, 1_000..6_000, &[0.75, 0.25], 0.05);
}

/// Server time, not transactions: who needs longer gets fewer.
#[test]
fn weights_divide_server_time_whatever_a_transaction_takes() {
    let mut play = play(8, &[weighing(5), weighing(2), weighing(1)]);
    play.add(of(ONE, 40, |_| 1_000));
    play.add(of(TWO, 40, |_| 100_000));
    play.add(of(THREE, 40, ten_ms));
    play.run_until(21_000);
    assert_shares(&play, 1_000..21_000, &[0.625, 0.25, 0.125], 0.05);
}

fn slow(clients: u32) -> Crowd {
    of(ONE, clients, |random| 48_000 + u64::from(random.below(4_000)))
}

/// They ask again as soon as they have read the answer.
fn quick(clients: u32) -> Crowd {
    Crowd {
        think: Duration::from_micros(300),
        ..Crowd::new(clients, |random| 1_950 + u64::from(random.below(100)))
    }
}

/// A crowd with long transactions, and a few clients with short ones: without what is kept for them
/// they would have three quarters of this.
#[test]
fn a_few_quick_ones_hardly_notice_a_crowd_of_slow_ones() {
    let during = 1_000..9_000;
    let mut alone = play(10, &[]);
    alone.add(quick(4));
    alone.run_until(9_000);
    let mut beside = play(10, &[weighing(1)]);
    beside.add(quick(4));
    beside.add(slow(300));
    beside.run_until(9_000);
    let [alone, beside] = [&alone, &beside].map(|play| {
        (play.records[0].answered(during.clone()), play.records[0].quantile(0.99, during.clone()))
    });
    assert!(beside.0 * 100 >= alone.0 * 90, "{beside:?} beside, {alone:?} alone");
    assert!(beside.1 <= alone.1 * 5 / 2, "{beside:?} beside, {alone:?} alone");
}

/// Two of three leave. What was kept for them is lent, whatever the third does.
#[test]
fn nothing_is_kept_for_those_who_left() {
    let mut play = play(4, &[weighing(1)]);
    play.add(slow(60));
    let quick = |clients| Crowd { service: |_| 200, ..quick(clients) };
    play.add(Crowd { there: ms(0)..ms(2_000), ..quick(2) });
    play.add(quick(1));
    play.run_until(8_000);
    let busy: f64 = play.records.iter().map(|record| record.server_time(3_000..8_000)).sum();
    // One of four servers waits for the third for 300 of 500 us.
    assert!(busy >= 0.84 * 20.0, "{busy}");
}

/// Nobody holds a server for long enough that it would be worth it.
#[test]
fn nothing_is_kept_from_who_is_quick() {
    let mut play = play(2, &[weighing(1)]);
    play.add(of(ONE, 60, |_| 1_000));
    play.add(quick(1));
    play.run_until(4_000);
    let busy: f64 = play.records.iter().map(|record| record.server_time(1_000..4_000)).sum();
    assert!(busy >= 0.99 * 6.0, "{busy}");
}

#[test]
fn nothing_is_kept_from_who_is_guaranteed() {
    let guaranteed = ClassLimits { reserved: 4, ..weighing(1) };
    let mut play = play(4, &[guaranteed, weighing(1)]);
    play.add(Crowd { there: ms(1_000)..ms(90_000), ..slow(60) });
    play.add(Crowd { class: TWO, ..quick(4) });
    play.run_until(6_000);
    let shares = shares(&play, &(2_000..6_000));
    assert!(shares[1] < 0.01, "{shares:?}");
}

/// They are served when they are due, and no longer.
#[test]
fn nothing_is_kept_from_a_higher_priority() {
    let mut play = play(4, &[of_priority(Priority::Critical), of_priority(Priority::Sheddable)]);
    play.add(slow(60));
    play.add(Crowd { class: TWO, ..quick(4) });
    play.run_until(6_000);
    let shares = shares(&play, &(1_000..6_000));
    assert!(shares[1] < 0.01, "{shares:?}");
}

/// The only server, and nothing else happens that would show how late it is.
#[test]
fn nothing_is_kept_for_long() {
    for end in (2_000..2_100).step_by(7) {
        let mut play = play(1, &[weighing(1)]);
        play.add(slow(10));
        play.add(Crowd { there: ms(0)..ms(end), ..quick(1) });
        play.run_until(end + 100);
        // At most a request under way, the time for which it is kept, a pace, and a slow one.
        let answered = play.records[0].answered(end..end + 52 + 2 + 2 + 5 + 2);
        assert!(answered > 0, "{answered} after {end}");
    }
}

/// Idle in transaction is time held as any other.
#[test]
fn who_holds_servers_for_long_pays_for_it() {
    let mut play = play(10, &[weighing(1), weighing(1)]);
    play.add(of(ONE, 200, |random| 900_000 + u64::from(random.below(200_000))));
    play.add(of(TWO, 20, |random| 4_000 + u64::from(random.below(2_000))));
    play.run_until(15_000);
    let [_, short] = shares(&play, &(4_000..15_000))[..] else { panic!("two crowds") };
    assert!(short >= 0.45, "{short}");
}

#[test]
fn who_was_away_starts_level() {
    let mut play = play(4, &[weighing(1), weighing(1)]);
    play.add(of(ONE, 30, ten_ms));
    play.add(Crowd { there: ms(10_000)..ms(90_000), ..of(TWO, 30, ten_ms) });
    play.run_until(12_000);
    assert_shares(&play, 10_100..12_000, &[0.5, 0.5], 0.06);
}

/// The common account of a pool must not be that of another priority, which may be far ahead.
#[test]
fn who_comes_is_level_with_those_of_its_priority() {
    let normal = of_priority(Priority::Normal);
    let mut play = play(4, &[of_priority(Priority::Critical), normal.clone(), normal]);
    play.add(of(ONE, 30, ten_ms));
    play.add(of(TWO, 30, ten_ms));
    let late = play.add(Crowd { there: ms(10_000)..ms(90_000), ..of(THREE, 30, ten_ms) });
    play.run_until(20_000);
    let shares = shares(&play, &(10_100..20_000));
    assert!(shares[late] / shares[1] > 0.8 && shares[late] / shares[1] < 1.25, "{shares:?}");
}

/// What is guaranteed is not what everybody has had.
#[test]
fn who_comes_is_not_behind_for_what_others_are_guaranteed() {
    let classes = [ClassLimits { reserved: 3, ..weighing(1) }, weighing(1), weighing(1)];
    let mut play = play(4, &classes);
    play.add(of(ONE, 30, ten_ms));
    play.add(of(TWO, 30, ten_ms));
    let late = play.add(Crowd { there: ms(10_000)..ms(90_000), ..of(THREE, 30, ten_ms) });
    play.run_until(20_000);
    let shares = shares(&play, &(10_100..20_000));
    assert!(shares[0] > 0.72, "{shares:?}");
    assert!(shares[late] / shares[1] > 0.8 && shares[late] / shares[1] < 1.25, "{shares:?}");
}

/// It waited for its quota and not for its turn: that is no credit.
#[test]
fn who_was_at_its_quota_starts_level_when_that_is_raised() {
    let mut play = play(4, &[within(in_flight(1)), weighing(1)]);
    play.add(of(ONE, 30, ten_ms));
    play.add(of(TWO, 30, ten_ms));
    play.run_until(10_000);
    assert_shares(&play, 1_000..10_000, &[0.25, 0.75], 0.02);
    play.scheduler.set_class(play.now, ONE, weighing(1));
    play.run_until(13_000);
    assert_shares(&play, 10_000..13_000, &[0.5, 0.5], 0.06);
}

/// Another priority has another account.
#[test]
fn who_gets_another_priority_starts_level_in_it() {
    for (before, after) in
        [(Priority::Critical, Priority::Normal), (Priority::Sheddable, Priority::Normal)]
    {
        let mut play = play(4, &[of_priority(before), of_priority(Priority::Normal)]);
        play.add(of(ONE, 30, ten_ms));
        play.add(of(TWO, 30, ten_ms));
        play.run_until(10_000);
        play.scheduler.set_class(play.now, ONE, of_priority(after));
        play.run_until(13_000);
        assert_shares(&play, 10_000..13_000, &[0.5, 0.5], 0.06);
    }
}

#[test]
fn lower_priorities_get_one_in_twenty() {
    let priorities = [Priority::Critical, Priority::Normal, Priority::Sheddable];
    let mut play = play(4, &priorities.map(of_priority));
    for class in [ONE, TWO, THREE] {
        play.add(of(class, 30, ten_ms));
    }
    play.run_until(11_000);
    assert_shares(&play, 1_000..11_000, &[0.9, 0.05, 0.05], 0.1);
}

/// Borrowed while its owner does not need it, and back as soon as one is free.
#[test]
fn what_is_reserved_is_lent_and_comes_back() {
    let reserved = ClassLimits { reserved: 3, ..of_priority(Priority::Sheddable) };
    let mut play = play(4, &[reserved, of_priority(Priority::Critical)]);
    play.add(Crowd { there: ms(4_000)..ms(90_000), ..of(ONE, 30, ten_ms) });
    play.add(of(TWO, 30, ten_ms));
    play.run_until(8_000);
    assert_shares(&play, 1_000..4_000, &[0.0, 1.0], 0.0);
    let shares = shares(&play, &(4_100..8_000));
    assert!(shares[0] > 0.72 && shares[0] < 0.78, "{shares:?}");
}

/// Two pools share a host's places: they are divided by the weight of those who wait.
#[test]
fn weights_divide_places_between_pools() {
    let pools = [spec("a", "x", sized(8)), spec("b", "y", sized(8))];
    let mut play = Play::new(host(Some(8)), &pools, &[weighing(3), weighing(1)]);
    play.add(Crowd { pool: super::B, ..of(TWO, 30, ten_ms) });
    play.add(Crowd { there: ms(1_000)..ms(90_000), ..of(ONE, 30, ten_ms) });
    play.run_until(10_000);
    assert_shares(&play, 4_000..10_000, &[0.25, 0.75], 0.1);
}

/// Its class is expected to hold servers for as long, and has not.
#[test]
fn one_long_transaction_of_a_class_starves_no_other() {
    let takes: [fn(&mut Random) -> u64; 3] = [|_| 5_000_000, |_| 20_000_000, |_| 60_000_000];
    for long in takes {
        let mut play = play(4, &[weighing(1), weighing(1)]);
        play.add(Crowd { there: ms(0)..ms(100), ..of(ONE, 1, long) });
        play.add(Crowd { there: ms(61_000)..ms(90_000), ..of(ONE, 40, ten_ms) });
        let there = ms(61_500)..ms(90_000);
        let newcomers = Crowd { there, think: ms(1), ..of(TWO, 4, ten_ms) };
        let newcomers = play.add(newcomers);
        play.run_until(66_500);
        let longest = play.records[newcomers].quantile(1.0, 61_500..66_500);
        let answered = play.records[newcomers].answered(61_500..66_500);
        assert!(longest < ms(100) && answered > 900, "{answered}, {longest:?}");
    }
}

/// Nobody else had a use for it.
#[test]
fn who_used_its_reserve_alone_starts_level() {
    let mut play = play(8, &[ClassLimits { reserved: 2, ..weighing(1) }, weighing(1)]);
    play.add(of(ONE, 2, ten_ms));
    play.run_until(60_000);
    let one = play.add(Crowd { there: ms(60_000)..ms(90_000), ..of(ONE, 40, ten_ms) });
    let two = play.add(Crowd { there: ms(60_000)..ms(90_000), ..of(TWO, 40, ten_ms) });
    play.run_until(65_000);
    let [one, two] = [one, two].map(|crowd| play.records[crowd].server_time(60_500..65_000));
    assert!(one / two > 0.9 && one / two < 1.1, "{one} and {two}");
}

/// Servers that are idle for a class are as good as held by it.
#[test]
fn time_for_which_a_server_is_kept_is_paid_for() {
    for weight in [4, 9] {
        let mut play = play(4, &[weighing(weight), weighing(1)]);
        play.add(of(ONE, 100, |random| 15_000 + u64::from(random.below(10_000))));
        let think = Duration::from_micros(600);
        play.add(Crowd { think, ..of(TWO, 4, |_| 100) });
        play.run_until(5_000);
        let used = play.records[0].server_time(2_000..5_000);
        let due = 12.0 * f64::from(weight) / f64::from(weight + 1);
        assert!(used >= due * 0.99, "{used} of {due}");
    }
}

/// Of the places of a host, in whichever pool its clients are.
#[test]
fn what_is_reserved_is_had_between_pools_too() {
    let pools = [spec("a", "x", sized(8)), spec("b", "y", sized(8))];
    let classes = [ClassLimits { reserved: 2, ..weighing(1) }, weighing(10)];
    let mut play = Play::new(host(Some(4)), &pools, &classes);
    play.add(Crowd { pool: super::B, ..of(TWO, 30, ten_ms) });
    play.add(Crowd { there: ms(1_000)..ms(90_000), ..of(ONE, 30, ten_ms) });
    play.run_until(8_000);
    assert_shares(&play, 2_000..8_000, &[0.5, 0.5], 0.05);
}

/// Each server stays for 100 ms, and a transaction; to open one takes 10. Two places for as many or more pools
/// whose clients all wait.
#[test]
fn places_that_move_between_busy_pools_work_most_of_the_time() {
    let unequal = [Priority::Normal, Priority::Sheddable].map(of_priority).to_vec();
    for classes in [unequal, vec![ClassLimits::default(); 3]] {
        let names = ["a", "b", "c"];
        let pools: Vec<_> =
            names[..classes.len()].iter().map(|name| spec(name, "x", sized(2))).collect();
        let mut play = Play::new(host(Some(2)), &pools, &classes);
        for number in (0..).take(classes.len()) {
            let (pool, class) = (PoolId(number), ClassId(number + 1));
            play.add(Crowd { pool, class, ..Crowd::new(20, |_| 20_000) });
        }
        play.run_until(10_000);
        let answered: usize = play.records.iter().map(|it| it.answered(0..10_000)).sum();
        // Nine and a half in ten of what two servers that stay could do, less what is spent at logins.
        assert!(play.opened() <= 170 && answered >= 800, "{} opened, {answered}", play.opened());
        assert!(play.records.iter().all(|it| it.answered(0..10_000) > 20), "one is starved");
    }
}
