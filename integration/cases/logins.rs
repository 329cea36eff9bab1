//! Storms of logins, and logins that never end.

use std::time::Duration;

use tokio::task::JoinSet;

use super::http::metric;
use crate::harness::console::{Console, with_console};
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::pulse::measure_with;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, Watch, eventually, run, run_threaded};
use crate::harness::wire::Wire;

fn settings() -> Settings {
    Settings::new().set("auth_type", "plain")
}

async fn a_storm_beside_steady_queries() {
    let http = Port::take();
    let address = format!("127.0.0.1:{}", http.number);
    let settings = settings().overload("max_logins", 4).set("http_addr", address.as_str());
    let rig = Rig::start(settings).await;
    let mut steady = rig.client().await;
    let mut storm = JoinSet::new();
    for _ in 0..500 {
        let login = Login::to(rig.address());
        storm.spawn(async move {
            match login.attempt().await {
                Ok(_) => true,
                Err(refused) => {
                    let error = refused.frames.last().expect("it is told why");
                    assert_eq!(error.shown(), "E(FATAL 53300)");
                    assert_eq!(error.field(b'R').as_deref(), Some("pooler_login_rate"));
                    false
                }
            }
        });
    }
    let (mut times, mut let_in) = (Vec::new(), 0);
    while !storm.is_empty() {
        let watch = Watch::start();
        assert_eq!(steady.value("select 1").await, "1");
        times.push(watch.elapsed());
        assert!(metric(&http, "pgweir_logins_under_way").await <= 4.0);
        while let Some(ended) = storm.try_join_next() {
            let_in += usize::from(ended.expect("a login does not fail"));
        }
    }
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(100), "{median:?}, of {}", times.len());
    assert!(let_in >= 50, "{let_in} of 500 were let in");
    assert!(metric(&http, "pgweir_logins_delayed_total").await >= 100.0);
    // Nobody is left in the door.
    assert_eq!(metric(&http, "pgweir_logins_waiting").await.to_bits(), 0);
    assert_eq!(rig.client().await.value("select 2").await, "2");
}

#[test]
fn a_storm_of_logins_is_let_in_bit_by_bit_beside_steady_queries() {
    measure_with(|| run_threaded(Duration::from_mins(2), a_storm_beside_steady_queries()));
}

/// They hold their places, but not for long once others need them; and theirs go on.
#[test]
fn logins_that_do_not_go_on_delay_nobody() {
    run(async {
        let limits = settings().overload("max_logins", 2);
        let rig = Rig::start(limits.overload("login_wait", Duration::from_secs(5))).await;
        let mut slow = Vec::new();
        for _ in 0..10 {
            let mut wire = Wire::connect(rig.address()).await;
            wire.send(&Login::to(rig.address()).message()).await;
            slow.push(wire);
        }
        let timing = Timing::start();
        assert_eq!(rig.client().await.value("select 1").await, "1");
        timing.is_below(Duration::from_secs(3));
        for wire in &mut slow {
            assert_eq!(wire.frame().await.shown(), "R", "it is asked for its password");
            wire.send(&crate::harness::frames::Batch::new().raw(b'p', b"app-secret\0").0).await;
            wire.until_ready().await;
        }
    });
}

#[test]
fn logins_have_a_rate_in_all_and_for_each_address() {
    run(async {
        let none = Duration::ZERO;
        for (name, elsewhere_too) in
            [("logins_per_second", true), ("logins_per_second_per_address", false)]
        {
            let rig = Rig::start(settings().overload(name, 1).overload("login_wait", none)).await;
            let (login, socket) = (Login::to(rig.address()), Login::to(&rig.proxy.unix));
            // Anew where they took so long that the rate let in the second as well.
            let (mut client, refused, elsewhere) = loop {
                let watch = Watch::start();
                let Ok(client) = login.attempt().await else { continue };
                let refused = login.attempt().await.err();
                let elsewhere = socket.attempt().await.err();
                if watch.elapsed() < Duration::from_secs(1) {
                    break (client, refused, elsewhere);
                }
            };
            let error = refused.expect("a second login within a second").frames.pop();
            let error = error.expect("it is told why");
            assert_eq!(error.shown(), "E(FATAL 53300)");
            assert_eq!(error.message(), "too many connection attempts, retry later");
            assert_eq!(error.field(b'R').as_deref(), Some("pooler_login_rate"));
            assert_eq!(elsewhere.is_some(), elsewhere_too, "{name}");
            assert_eq!(client.value("select 1").await, "1", "who is in is not concerned");
            eventually("the next may come", async || login.attempt().await.ok()).await;
        }
    });
}

#[test]
fn logins_beyond_the_rate_wait_for_their_turn() {
    run(async {
        let limits = settings().overload("logins_per_second", 10);
        let rig = Rig::start(limits.overload("login_wait", Duration::from_secs(10))).await;
        let timing = Timing::start();
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let login = Login::to(rig.address());
            tasks.spawn(async move { login.connect().await });
        }
        tasks.join_all().await;
        timing.is_within(Duration::from_millis(950)..Duration::from_secs(5));
    });
}

#[test]
fn a_login_that_vanishes_while_it_waits_leaves() {
    run(async {
        let http = Port::take();
        let address = format!("127.0.0.1:{}", http.number);
        // The next may come after a hundred seconds: whoever leaves before was not let in.
        let limits = settings().overload("logins_per_second", 0.01);
        let limits = limits.overload("login_wait", Duration::from_mins(5));
        let rig = Rig::start(limits.set("http_addr", address.as_str())).await;
        let login = Login::to(rig.address());
        let _client = login.connect().await;
        let are_waiting = async |count: f64| {
            eventually("so many wait", async || {
                let waiting = metric(&http, "pgweir_logins_waiting").await;
                (waiting.to_bits() == count.to_bits()).then_some(())
            })
            .await;
        };
        let mut vanishes = Wire::connect(rig.address()).await;
        vanishes.send(&login.message()).await;
        are_waiting(1.0).await;
        drop(vanishes);
        are_waiting(0.0).await;
    });
}

/// One tries what they want to be set, and the others wait for its answer.
#[test]
fn the_first_logins_of_a_cold_pool_need_one_server() {
    run(async {
        let rig = Rig::start(settings().pool_size(20)).await;
        let login = Login::to(rig.address()).with("TimeZone", "Europe/Rome");
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let login = login.clone();
            tasks.spawn(async move { login.connect().await });
        }
        for client in &tasks.join_all().await {
            assert_eq!(client.parameters["TimeZone"], "Europe/Rome");
        }
        let servers = "select count(*) from pg_stat_activity where usename = 'app'";
        assert_eq!(rig.postgres.value(servers).await, "1");

        let wrong = login.with("TimeZone", "Nowhere");
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let wrong = wrong.clone();
            tasks.spawn(async move { wrong.error().await });
        }
        for error in tasks.join_all().await {
            assert_eq!(error.shown(), "E(FATAL 22023)");
        }
    });
}

/// What one waits for in vain, others may get; and who leaves takes nobody along.
#[test]
fn a_login_that_waits_for_anothers_trial_outlives_it() {
    run(async {
        let rig = Rig::start(with_console(Settings::new())).await;
        let mut console = Console::open(&rig).await;
        console.order("pause app").await;
        let login = Login::to(rig.address()).with("TimeZone", "Europe/Rome");
        let mut logins = Vec::new();
        for waiting in ["1", "2"] {
            let mut wire = Wire::connect(rig.address()).await;
            wire.send(&login.message()).await;
            logins.push(wire);
            wait_for(&mut console, waiting).await;
        }
        let login = tokio::spawn(async move { login.connect().await });
        drop(logins);
        wait_for(&mut console, "1").await;
        console.order("resume app").await;
        let client = login.await.expect("it does not fail");
        assert_eq!(client.parameters["TimeZone"], "Europe/Rome");
    });
}

async fn wait_for(console: &mut Console, waiting: &str) {
    eventually("so many wait", async || {
        let pool = console.row("show pools", "app").await?;
        (pool["cl_waiting"] == waiting).then_some(())
    })
    .await;
}
