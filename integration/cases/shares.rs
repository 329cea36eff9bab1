//! Who goes first: guaranteed servers, priorities and their floor; and what becomes of a pool when the
//! process stops. Weights are in `overload`.
//!
//! Counted, not timed: how many others are served before one is.

use rustix::process::Signal;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

const POOL_SIZE: u32 = 2;
/// Requests that one client makes, each when the one before is answered.
const REQUESTS: u64 = 5;

fn login(rig: &Rig, class: &str) -> Login {
    Login::to(rig.address()).with("application_name", class)
}

/// The classes `few` and `many`, with these limits, in a pool of two.
async fn rig_with(few: &str, many: &str) -> Rig {
    let matching =
        |name: &str, limits: &str| format!("match = {{ application_name = '{name}' }}\n{limits}");
    let settings = with_console(Settings::new().pool_size(POOL_SIZE))
        .class("few", &matching("few", few))
        .class("many", &matching("many", many));
    Rig::start(settings).await
}

/// How many requests of `many` are served while one client of `few` makes its own, one after the other,
/// and there are always more of `many` than servers.
async fn served_meanwhile(rig: &Rig) -> u64 {
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let login = login(rig, "many");
        crowd.spawn(async move {
            let mut client = login.connect().await;
            loop {
                client.query("select pg_sleep(0.02)").await;
            }
        });
    }
    let mut console = Console::open(rig).await;
    let mut few = login(rig, "few").connect().await;
    eventually("they fill the pool", async || {
        (console.number("many", "queued").await >= 5).then_some(())
    })
    .await;
    let before = console.number("many", "granted").await;
    for _ in 0..REQUESTS {
        assert_eq!(few.value("select 'served'").await, "served");
    }
    console.number("many", "granted").await - before
}

/// A server in a hundred milliseconds comes back to the class it is kept back for, whatever else waits.
#[test]
fn who_is_guaranteed_a_server_gets_the_next_one() {
    run(async {
        let rig = rig_with("priority = 'sheddable'\nreserved = 1", "priority = 'critical'").await;
        let served = served_meanwhile(&rig).await;
        // One of two that come back for each of its requests; and while the console is asked.
        assert!(served <= 6 * REQUESTS, "{served} of others before {REQUESTS}");
    });
}

#[test]
fn a_lower_priority_waits_for_the_higher_but_not_for_ever() {
    run(async {
        let rig = rig_with("priority = 'sheddable'", "priority = 'critical'").await;
        let served = served_meanwhile(&rig).await;
        // After nineteen of the others each.
        assert!(served >= 15 * REQUESTS, "{served} of others before {REQUESTS}");
        assert!(served <= 30 * REQUESTS, "{served} of others before {REQUESTS}");
    });
}

/// Who runs something when the process is told to stop is answered, and nobody new is let in.
#[test]
fn a_pool_drains_when_the_process_stops() {
    run(async {
        let rig = Rig::start(Settings::new()).await;
        let mut client = rig.client().await;
        client.send(Batch::new().query("select pg_sleep(1), 'answered'")).await;
        eventually("it runs", async || {
            let sql = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
            (rig.postgres.value(sql).await == "1").then_some(())
        })
        .await;
        rig.proxy.process().signal(Signal::INT);
        eventually("it says so", async || {
            rig.proxy.process().log().contains("draining").then_some(())
        })
        .await;
        let answer = client.answer().await;
        assert!(answer.iter().any(|frame| frame.contains("answered")), "{answer:?}");
    });
}
