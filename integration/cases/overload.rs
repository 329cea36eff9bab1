//! More clients than servers: who gets an answer in time, and at what price. What is measured exactly,
//! and beside PgBouncer, is in `benches/proxy/overload`; here is what holds on any machine.

use std::ops::Range;
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::crowd::{Crowd, Tally, Transaction, unleash, unleash_while};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;

const POOL_SIZE: u32 = 4;
const SHORT: &str = "select pg_sleep(0.01)";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What a pool does for as many clients as it has servers, in answers a second.
async fn capacity(rig: &Rig, transaction: &'static str) -> f64 {
    let crowd = Crowd::new(&Login::to(rig.address()), POOL_SIZE.into(), transaction, ms(1250));
    // The pool opens its servers before it is at its best.
    unleash(&[crowd]).await[0].rate(&(ms(250)..ms(1250)))
}

/// Whether there is a whole half second in `span` with this many answers a second.
fn reaches(tallies: &[Tally], wanted: f64, span: &Range<Duration>) -> bool {
    let mut from = span.start;
    while from + ms(500) <= span.end {
        let window = from..from + ms(500);
        if tallies.iter().map(|tally| tally.rate(&window)).sum::<f64>() >= wanted {
            return true;
        }
        from += ms(50);
    }
    false
}

#[test]
fn who_can_be_served_in_time_is_neither_refused_nor_given_up() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        // A quarter of what they have patience for, so that a hiccup of the machine is no matter.
        let crowd = Crowd::new(&Login::to(rig.address()), 50, SHORT, ms(3000));
        let tallies = unleash(&[crowd]).await;
        let [Tally { refused, given_up, .. }] = tallies[..] else { panic!("one crowd") };
        assert_eq!((refused, given_up), (0, 0), "nobody had to give up, so nothing is shed");
        let goodput = tallies[0].rate(&(ms(500)..ms(3000)));
        assert!(goodput > 0.75 * possible, "{goodput}/s of {possible}/s");
    });
}

#[test]
fn a_surge_is_over_when_it_is_over() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        let login = Login::to(rig.address());
        let base = Crowd::new(&login, 30, SHORT, ms(6000));
        let surge = Crowd::new(&login, 270, SHORT, ms(6000)).active(ms(1000)..ms(3000));
        let tallies = unleash(&[base, surge]).await;
        // The last of the surge may wait for half a second longer.
        let after = ms(3000)..ms(6000);
        assert!(reaches(&tallies, 0.75 * possible, &after), "never again {possible}/s");
    });
}

#[test]
fn an_overload_costs_neither_goodput_nor_sessions() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        // First come, first served, they would all wait for 750 ms, and nobody would be there any more.
        let crowd = Crowd::new(&Login::to(rig.address()), 300, SHORT, ms(5000));
        let tallies = unleash(&[crowd]).await;
        let goodput = tallies[0].rate(&(ms(2000)..ms(5000)));
        assert!(goodput > 0.75 * possible, "{goodput}/s of {possible}/s");
        let given_up = tallies[0].given_up;
        assert!(given_up < 600, "{given_up} had to give up: that many is no learning any more");
    });
}

#[test]
fn long_and_short_transactions_share_an_overload() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let login = Login::to(rig.address());
        let crowds = [
            Crowd::new(&login, 270, "select pg_sleep(0.001)", ms(6000)),
            Crowd::new(&login, 30, "select pg_sleep(0.2)", ms(6000)),
        ];
        let tallies = unleash(&crowds).await;
        let counted = ms(2500)..ms(6000);
        let busy = tallies[0].rate(&counted) * 0.001 + tallies[1].rate(&counted) * 0.2;
        assert!(busy > 0.65 * f64::from(POOL_SIZE), "{busy} of {POOL_SIZE} servers of use");
    });
}

#[test]
fn a_frozen_postgres_is_made_full_use_of_once_it_thaws() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        let crowd = Crowd::new(&Login::to(rig.address()), 300, SHORT, ms(8000));
        let tallies = unleash_while(&[crowd], async || {
            sleep(ms(2000)).await;
            rig.postgres.freeze();
            sleep(ms(2000)).await;
            rig.postgres.thaw();
        })
        .await;
        let after = ms(4000)..ms(8000);
        assert!(reaches(&tallies, 0.75 * possible, &after), "never again {possible}/s");
        let given_up = tallies[0].given_up;
        assert!(given_up < 1200, "{given_up} had to give up: a storm");
    });
}

/// One pool for everybody, whoever they are.
fn shared(pool_size: u32) -> Settings {
    Settings::new().pool_size(pool_size).database("app", "server_user", "app")
}

fn patient(
    rig: &Rig,
    user: &str,
    clients: u64,
    transaction: impl Into<Transaction>,
    until: Duration,
) -> Crowd {
    let login = Login::to(rig.address()).user(user, &format!("{user}-secret"));
    Crowd::new(&login, clients, transaction, until).patience(Duration::from_mins(1))
}

#[test]
fn three_hundred_neighbours_do_not_keep_four_clients_waiting() {
    run(async {
        let rig = Rig::start(shared(10)).await;
        let counted = ms(1000)..ms(4000);
        let modest = patient(&rig, "app", 4, "select pg_sleep(0.002)", counted.end);
        let loud = patient(&rig, "other", 300, "select pg_sleep(0.05)", counted.end);
        let alone = unleash(std::slice::from_ref(&modest)).await[0].rate(&counted);
        let tallies = unleash(&[modest, loud]).await;
        let beside = tallies[0].rate(&counted);
        assert!(beside > 0.5 * alone, "{beside}/s, and {alone}/s alone");
        let slow = tallies[0].answers.iter().filter(|(_, took)| *took > ms(60)).count();
        assert!(
            slow * 50 < tallies[0].answers.len(),
            "{slow} of {} waited",
            tallies[0].answers.len()
        );
        let loud = tallies[1].rate(&counted);
        assert!(loud > 0.5 * 10.0 / 0.05, "the neighbours get the rest, not {loud}/s");
    });
}

#[test]
fn server_time_is_shared_by_weight() {
    run(async {
        let settings = shared(POOL_SIZE)
            .class("heavy", "match = { user = 'app' }\nweight = 3")
            .class("light", "match = { user = 'other' }\nweight = 1");
        let rig = Rig::start(settings).await;
        let counted = ms(1000)..ms(5000);
        let crowds = [
            patient(&rig, "app", 20, SHORT, counted.end),
            patient(&rig, "other", 20, "select pg_sleep(0.04)", counted.end),
        ];
        let tallies = unleash(&crowds).await;
        let ratio = tallies[0].rate(&counted) * 0.01 / (tallies[1].rate(&counted) * 0.04);
        assert!((2.4..3.6).contains(&ratio), "{ratio} to 1, not 3");
    });
}

#[test]
fn who_idles_in_transactions_pays_for_it() {
    run(async {
        let rig = Rig::start(shared(POOL_SIZE)).await;
        let counted = ms(1000)..ms(4000);
        let modest = patient(&rig, "app", 20, "select pg_sleep(0.005)", counted.end);
        let hog = patient(&rig, "other", 20, Transaction::Idle(ms(100)), counted.end);
        let alone = unleash(std::slice::from_ref(&modest)).await[0].rate(&counted);
        let beside = unleash(&[modest, hog]).await[0].rate(&counted);
        assert!(beside > 0.7 * 0.5 * alone, "{beside}/s, and {alone}/s alone");
    });
}

/// What a class of 50 transactions a second, and 100 at once, gets in three seconds.
async fn under_quota(on_excess: &str) -> Tally {
    let class = format!(
        "match = {{ user = 'app' }}\ntransactions_per_second = 50\nburst = 100\n\
         on_excess = '{on_excess}'"
    );
    let rig = Rig::start(shared(POOL_SIZE).class("app", &class)).await;
    let crowd = patient(&rig, "app", 20, "select pg_sleep(0.001)", ms(3000));
    let tally = unleash(&[crowd]).await.pop().expect("one crowd");
    let answered = tally.rate(&(ms(0)..ms(3000))) * 3.0;
    assert!((225.0..275.0).contains(&answered), "{answered} transactions, not 250");
    assert_eq!(tally.given_up, 0, "everybody keeps their session");
    tally
}

#[test]
fn a_quota_of_transactions_delays() {
    run(async {
        assert_eq!(under_quota("delay").await.refused, 0);
    });
}

#[test]
fn a_quota_of_transactions_rejects() {
    run(async {
        assert!(under_quota("reject").await.refused > 0);
    });
}
