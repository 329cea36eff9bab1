//! More requests than can be served: what is refused, and what those get who are not.

use super::play::{Crowd, Play};
use super::{COMMON, Random, host, in_flight, ms, of_priority, per_address, rated, sized, spec};
use crate::base::ids::ClassId;
use crate::config::classes::{Excess, Priority};
use crate::config::overload::Shed;
use crate::scheduler::{HostLimits, Refusal, RefusedFor, State};
use std::ops::Range;
use std::time::Duration;

fn play(shed: Shed) -> Play {
    Play::new(HostLimits { shed, ..host(None) }, &[spec("a", "x", sized(4))], &[])
}

fn ten_ms(random: &mut Random) -> u64 {
    9_500 + u64::from(random.below(1_000))
}

/// Half of the server time for either.
fn quick_and_slow(random: &mut Random) -> u64 {
    if random.below(201) == 0 { 200_000 } else { 1_000 }
}

fn hasty(clients: u32) -> Crowd {
    Crowd { patience: Some(ms(500)), ..Crowd::new(clients, ten_ms) }
}

/// In each second, of the 400 that four servers can answer.
fn assert_full(play: &Play, seconds: Range<u64>) {
    for second in seconds {
        let during = second * 1_000..(second + 1) * 1_000;
        let answered: usize =
            play.records.iter().map(|record| record.answered(during.clone())).sum();
        assert!(answered >= 380, "{answered} answers in second {second}");
    }
}

/// How many give up where nothing is refused.
fn gave_up_in_line(crowd: &Crowd, seconds: u64) -> usize {
    let mut plain = play(Shed::Off);
    let crowd = plain.add(crowd.clone());
    plain.run_until(seconds * 1_000);
    assert!(plain.records[crowd].answered(2_000..10_000) < 400);
    plain.records[crowd].gave_up(0..seconds * 1_000)
}

#[test]
fn what_can_be_served_is_served_in_time_whatever_the_load() {
    for clients in [100, 300, 600, 2_000] {
        let mut play = play(Shed::Auto);
        let crowd = play.add(hasty(clients));
        play.run_until(10_000);
        assert_full(&play, 2..10);
        let record = &play.records[crowd];
        assert!(record.quantile(0.99, 2_000..10_000) < ms(450));
        if clients > 100 {
            let before = gave_up_in_line(&hasty(clients), 10);
            let gave_up = record.gave_up(0..10_000);
            assert!(gave_up * 20 <= before, "{gave_up} of {before} with {clients} clients");
            assert!(record.gave_up(2_000..10_000) <= 16, "more than probes");
        }
    }
}

#[test]
fn quick_and_slow_ones_together_are_served_as_well() {
    let crowd = |clients| Crowd { service: quick_and_slow, ..hasty(clients) };
    for clients in [300, 2_000] {
        let mut play = play(Shed::Auto);
        let crowd = play.add(crowd(clients));
        play.run_until(12_000);
        let record = &play.records[crowd];
        // Servers work, and for those who are still there.
        assert!(record.server_time(2_000..12_000) >= 0.98 * 40.0);
        assert!(record.answered(2_000..12_000) >= 16_000);
        assert!(record.gave_up(2_000..12_000) <= 30);
        assert!(record.quantile(0.99, 2_000..12_000) < ms(450));
    }
}

/// Whatever is predicted, as many as there are servers are let in.
#[test]
fn no_server_runs_dry_while_others_are_refused() {
    let limits = HostLimits { shed: Shed::Auto, ..host(None) };
    let mut play = Play::new(limits, &[spec("a", "x", sized(40))], &[]);
    let crowd = play.add(Crowd { service: |_| 100_000, think: ms(20), ..hasty(1_000) });
    play.freeze(3_000..4_000);
    play.run_until(10_000);
    let used = play.records[crowd].server_time(6_000..10_000);
    assert!(used > 0.97 * 160.0, "{used}");
}

/// They wait for 150 ms, and while a line stands may wait for 125; but nobody is behind them.
#[test]
fn who_is_about_to_be_served_is_not_refused_for_those_who_are_gone() {
    let limits = HostLimits { shed: Shed::Auto, ..host(None) };
    let sheddable = of_priority(Priority::Sheddable);
    let mut play = Play::new(limits, &[spec("a", "x", sized(4))], &[sheddable]);
    let of = |clients| Crowd { class: ClassId(1), service: |_| 150_000, ..hasty(clients) };
    play.add(Crowd { there: ms(0)..ms(4_000), ..of(60) });
    let crowd = play.add(Crowd { there: ms(6_000)..ms(12_000), ..of(8) });
    play.run_until(12_000);
    assert!(play.class(ClassId(1)).patience.is_some());
    assert_eq!(play.records[crowd].shed(), 0);
}

/// Longer than half of the patience passes between two who are served.
#[test]
fn who_can_still_be_served_is_not_refused_for_an_empty_queue() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(Crowd { service: |_| 280_000, ..hasty(60) });
    play.run_until(12_000);
    let used = play.records[crowd].server_time(4_000..12_000);
    assert!(used > 0.9 * 32.0, "{used}");
}

#[test]
fn a_step_of_ten_times_the_load_is_over_when_it_is_over() {
    let mut play = play(Shed::Auto);
    play.add(hasty(100));
    let crowd = play.add(Crowd { there: ms(4_000)..ms(9_000), ..hasty(900) });
    play.run_until(14_000);
    assert_full(&play, 2..4);
    assert_full(&play, 6..9);
    assert_full(&play, 10..14);
    assert!(play.records[crowd].shed() > 0);
    assert_eq!(play.records[0].gave_up(9_500..14_000), 0);
}

#[test]
fn servers_that_stood_still_leave_no_queue_behind() {
    let mut play = play(Shed::Auto);
    play.add(hasty(300));
    play.freeze(4_000..7_000);
    play.run_until(12_000);
    assert_full(&play, 2..4);
    assert_full(&play, 8..12);
    // Nobody waits for what cannot come: a fresh queue of give-ups each half second would be 600.
    let gave_up = play.records[0].gave_up(4_000..9_000);
    assert!(gave_up < 100, "{gave_up}");
}

/// Who is refused with the others is one of nearly all; who asks beside many others who wait is not.
#[test]
fn many_who_come_at_once_are_not_refused_for_one_another() {
    for priority in [Priority::Critical, Priority::Normal, Priority::Sheddable] {
        let limits = HostLimits { shed: Shed::Within(ms(5_000)), ..host(None) };
        let mut play = Play::new(limits, &[spec("a", "x", sized(4))], &[of_priority(priority)]);
        let once = Crowd { class: ClassId(1), think: ms(60_000), ..Crowd::new(100, ten_ms) };
        let crowd = play.add(once);
        play.run_until(2_000);
        assert_eq!((play.records[crowd].refused(), play.records[crowd].answered(0..500)), (0, 100));
    }
}

/// Some gave up seconds ago, while others had all servers for long: neither says that nobody can be served now.
#[test]
fn who_gave_up_before_is_nobody_refused_with() {
    let mut play = play(Shed::Auto);
    play.add(Crowd { service: |_| 6_000_000, think: ms(60_000), ..Crowd::new(8, ten_ms) });
    let there = ms(100)..ms(4_500);
    play.add(Crowd { there, patience: Some(ms(4_300)), ..hasty(12) });
    let there = ms(14_000)..ms(16_000);
    let crowd = play.add(Crowd { there, think: ms(60_000), ..Crowd::new(100, ten_ms) });
    play.run_until(14_000);
    assert!(play.class(COMMON).patience.is_some(), "they gave up");
    play.run_until(16_000);
    assert_eq!(play.records[crowd].refused(), 0);
    assert_eq!(play.records[crowd].answered(14_000..14_500), 100);
}

#[test]
fn nearly_all_are_refused_together_but_for_the_critical() {
    for priority in [Priority::Critical, Priority::Normal, Priority::Sheddable] {
        let limits = HostLimits { shed: Shed::Auto, ..host(None) };
        let mut play = Play::new(limits, &[spec("a", "x", sized(4))], &[of_priority(priority)]);
        play.add(Crowd { class: ClassId(1), ..hasty(2_000) });
        play.run_until(6_000);
        let throttled = play.class(ClassId(1)).counters.refused_for(RefusedFor::Throttled);
        assert_eq!(throttled > 1_000, priority != Priority::Critical, "{throttled} {priority:?}");
    }
}

#[test]
fn nobody_gives_up_and_nobody_is_refused() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(Crowd::new(2_000, ten_ms));
    play.freeze(4_000..7_000);
    play.run_until(15_000);
    assert_eq!(play.records[crowd].refused(), 0);
    assert_eq!(play.class(COMMON).patience, None);
    assert!(play.states.iter().all(|(_, state)| *state <= State::Busy));
    // Within the last round each was served once, in order.
    assert!(play.records[crowd].quantile(0.99, 13_000..15_000) < ms(5_100));
}

/// Among thousands that wait for as long as it takes, a few are killed. Also while nobody is served
/// at all, so that those who were killed are the only ones whose wait has ended.
#[test]
fn a_few_who_are_killed_change_nothing() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(Crowd::new(2_000, ten_ms));
    play.kill(ms(150));
    play.freeze(5_000..12_000);
    play.run_until(20_000);
    assert_eq!(play.records[crowd].refused(), 0);
}

/// The same, but they are told that they have waited for long enough.
#[test]
fn those_whose_time_was_up_were_still_there() {
    let mut play = play(Shed::Auto);
    let limit = Crowd { deadline: Some(ms(900)), ..Crowd::new(2_000, ten_ms) };
    let crowd = play.add(limit);
    play.kill(ms(150));
    play.freeze(5_000..12_000);
    play.run_until(20_000);
    assert_eq!(play.records[crowd].shed(), 0);
    assert!(play.class(COMMON).counters.refused_for(RefusedFor::WaitTimeout) > 10_000);
}

/// A few wait at any time, and many have.
#[test]
fn those_who_do_not_wait_any_more_were_still_there() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(Crowd { deadline: Some(ms(300)), ..Crowd::new(20, ten_ms) });
    play.kill(ms(2_000));
    play.freeze(2_000..60_000);
    play.run_until(60_000);
    assert_eq!(play.records[crowd].shed(), 0);
    assert!(play.class(COMMON).counters.abandoned > 20);
}

/// One a second is let wait: without that everybody would have to, once what is known has faded.
#[test]
fn what_is_known_of_patience_is_kept_up() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(Crowd { service: |_| 50_000, ..hasty(100) });
    play.run_until(2_000);
    for second in 2..120 {
        play.run_until(second * 1_000 + 1_000);
        assert!(play.class(COMMON).patience.is_some(), "in second {second}");
        let gave_up = play.records[crowd].gave_up(second * 1_000..second * 1_000 + 1_000);
        assert!(gave_up <= 3, "{gave_up} in second {second}");
    }
}

/// How long each may wait, and how long while its line stands.
#[test]
fn a_longest_delay_is_for_normal_requests() {
    let limits = [
        (Priority::Critical, [125_000, 100_000]),
        (Priority::Normal, [100_000, 62_500]),
        (Priority::Sheddable, [50_000, 31_250]),
    ];
    for (priority, expected) in limits {
        let host = HostLimits { shed: Shed::Within(ms(100)), ..host(None) };
        let mut play = Play::new(host, &[spec("a", "x", sized(4))], &[of_priority(priority)]);
        let crowd = play.add(Crowd { class: ClassId(1), ..Crowd::new(300, ten_ms) });
        play.run_until(3_000);
        assert!(play.records[crowd].shed() > 500);
        for refusal in play.records[crowd].refusals() {
            let Refusal::Shed { limit, patience: None, .. } = refusal else {
                panic!("{refusal:?}");
            };
            assert!(expected.map(Duration::from_micros).contains(limit), "{limit:?}");
        }
    }
}

#[test]
fn what_was_learned_of_patience_is_forgotten() {
    let mut play = play(Shed::Auto);
    play.add(Crowd { there: ms(0)..ms(5_000), ..hasty(300) });
    let patient = play.add(Crowd { there: ms(7_000)..ms(90_000), ..Crowd::new(300, ten_ms) });
    play.run_until(5_000);
    let known = play.class(COMMON).patience.expect("they give up");
    assert!(known <= ms(500) && known > ms(400), "{known:?}");
    play.run_until(60_000);
    let before = play.records[patient].shed();
    play.run_until(65_000);
    assert_eq!(play.records[patient].shed(), before);
    assert_eq!(play.class(COMMON).patience, None);
}

/// The newest are served while it sheds: they are answered at once, and the rest is refused.
#[test]
fn while_shedding_the_newest_come_first() {
    let mut play = play(Shed::Auto);
    let crowd = play.add(hasty(300));
    play.run_until(8_000);
    let median = play.records[crowd].quantile(0.5, 3_000..8_000);
    assert!(median < ms(100), "{median:?}");
    // Most are told at once: nobody waits for that.
    let counters = play.class(COMMON).counters;
    let on_arrival = counters.refused_for(RefusedFor::ShedOnArrival);
    let in_queue = counters.refused_for(RefusedFor::ShedInQueue);
    assert!(on_arrival > 1_000, "{on_arrival}");
    assert!(in_queue * 4 < on_arrival, "{in_queue} and {on_arrival}");
    assert!(play.class(COMMON).is_shedding);
    assert_eq!(play.states.last().map(|(_, state)| *state), Some(State::Shedding));
}

#[test]
fn a_longest_delay_is_kept_without_anybody_giving_up() {
    let mut play = play(Shed::Within(ms(100)));
    let crowd = play.add(Crowd::new(300, ten_ms));
    play.run_until(8_000);
    assert_full(&play, 2..8);
    let record = &play.records[crowd];
    assert!(record.shed() > 1_000);
    // And a pace, and ten milliseconds to be served in.
    assert!(record.quantile(1.0, 2_000..8_000) < ms(118));
}

#[test]
fn off_is_off() {
    let mut play = play(Shed::Off);
    let crowd = play.add(hasty(300));
    play.run_until(5_000);
    assert_eq!(play.records[crowd].refused(), 0);
}

/// All of one class are refused before any of the next is.
#[test]
fn sheddable_ones_are_refused_first_and_critical_ones_last() {
    let priorities = [Priority::Critical, Priority::Normal, Priority::Sheddable];
    let limits = HostLimits { shed: Shed::Auto, ..host(None) };
    let classes = priorities.map(of_priority);
    let mut play = Play::new(limits, &[spec("a", "x", sized(4))], &classes);
    // Each of them alone would be 60 % of what there is.
    let crowds = [1, 2, 3]
        .map(|class| play.add(Crowd { class: ClassId(class), think: ms(650), ..hasty(100) }));
    play.run_until(12_000);
    let shed = crowds.map(|crowd| play.records[crowd].shed());
    let answered = crowds.map(|crowd| play.records[crowd].answered(2_000..12_000));
    assert_eq!(shed[0], 0, "{shed:?}");
    assert!(shed[1] * 10 < shed[2], "{shed:?}");
    assert!(answered[0] > 1_400 && answered[2] > 900, "{answered:?}");
    assert_full(&play, 2..12);
}

/// Pod after pod is restarted, each second: who is killed while it waits has not given up.
#[test]
fn patient_clients_that_are_restarted_are_still_patient() {
    for (clients, pod) in [(60, 6), (60, 10), (200, 20), (200, 40)] {
        let limits = HostLimits { shed: Shed::Auto, ..host(None) };
        let mut play = Play::new(limits, &[spec("a", "x", sized(10))], &[]);
        let crowd = play.add(Crowd::new(clients, |_| 20_000));
        play.run_until(5_000);
        let (mut killed, mut time) = (0, 5_000);
        for start in (0..clients as usize).step_by(pod) {
            killed += play.kill_waiting(start..start + pod);
            time += 1_000;
            play.run_until(time);
        }
        play.run_until(65_000);
        assert!(killed * 2 > clients as usize, "{killed} of {clients}");
        assert_eq!(play.records[crowd].refused(), 0, "{clients} clients, {pod} at a time");
    }
}

/// Who stands aside for its address waits in vain as well as who is in line.
#[test]
fn who_waits_for_the_quota_of_its_address_is_refused_in_time() {
    let by_rate = rated(50.0, 1, Excess::Delay);
    for (quota, clients, a_second) in [(in_flight(1), 200, 100), (by_rate, 100, 50)] {
        let host = HostLimits { shed: Shed::Auto, ..host(None) };
        let mut play = Play::new(host, &[spec("a", "x", sized(4))], &[per_address(quota)]);
        let crowd = play.add(Crowd { class: ClassId(1), ..hasty(clients) });
        play.run_until(12_000);
        let record = &play.records[crowd];
        let (answered, gave_up) = (record.answered(2_000..12_000), record.gave_up(2_000..12_000));
        assert!(answered * 10 >= a_second * 10 * 9, "{answered}, and {gave_up} gave up");
        assert!(gave_up <= 30, "{gave_up} gave up");
        assert!(record.shed() > 1_000);
    }
}
