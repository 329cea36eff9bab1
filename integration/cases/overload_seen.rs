//! What an operator sees of overload: `SHOW OVERLOAD`, `SHOW CLASSES`, and the log.

use std::collections::BTreeMap;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

type Row = BTreeMap<String, String>;

async fn overload(console: &mut Console) -> Row {
    console.row("SHOW OVERLOAD", "app").await.expect("the pool is there")
}

#[track_caller]
fn assert_has(row: &Row, expected: &[(&str, &str)]) {
    for (column, value) in expected {
        assert_eq!(row.get(*column).map(String::as_str), Some(*value), "{column} of {row:#?}");
    }
}

#[test]
fn the_console_tells_why_clients_wait() {
    run(async {
        let settings = Settings::new().pool_size(2).set("listen", "pin");
        let rig = Rig::start(with_console(settings)).await;
        let login = Login::to(rig.address());
        let mut billing = login.with("application_name", "billing").connect().await;
        let (mut listener, mut waiter) = (rig.client().await, rig.client().await);
        let mut console = Console::open(&rig).await;
        billing.query("begin").await;
        // On a slow machine it may have waited long for its server.
        let row = eventually("all is well", async || {
            let row = overload(&mut console).await;
            (row["state"] == "healthy").then_some(row)
        })
        .await;
        assert_has(&row, &[("cause", ""), ("error", ""), ("waiting", "0")]);
        assert_has(&row, &[("idle_in_transaction", "1"), ("longest_idle_application", "billing")]);
        listener.query("listen news").await;
        waiter.send(Batch::new().query("select 1")).await;
        let row = eventually("somebody waits", async || {
            let row = overload(&mut console).await;
            (row["state"] == "busy").then_some(row)
        })
        .await;
        let cause = "a server: all of the pool are in use (pool_size)";
        assert_has(&row, &[("cause", cause), ("waiting", "1"), ("servers", "2")]);
        assert_has(&row, &[("active", "0"), ("idle_in_transaction", "1"), ("kept_idle", "1")]);
        assert_has(&row, &[("refused_last_minute", "0"), ("limit_ms", "")]);
        assert!(row["maxwait_us"].parse::<u64>().expect("a number") > 0);
        let since = &row["since"];
        assert!(since.starts_with("20") && since.ends_with(" UTC") && since.len() == 23, "{since}");
        drop(waiter);
        eventually("it is seen to leave", async || {
            let row = overload(&mut console).await;
            (row["abandoned_last_minute"] == "1" && row["waiting"] == "0").then_some(())
        })
        .await;
    });
}

#[test]
fn a_pool_that_sheds_says_how_long_requests_may_wait() {
    run(async {
        let settings = with_console(Settings::new().pool_size(1)).overload("shed", "50ms");
        let rig = Rig::start(settings).await;
        let (mut holder, mut other) = (rig.client().await, rig.client().await);
        let mut console = Console::open(&rig).await;
        holder.query("begin").await;
        other.error("select 1").await;
        let row = eventually("the pool sheds", async || {
            let row = overload(&mut console).await;
            (row["state"] == "shedding").then_some(row)
        })
        .await;
        assert_has(&row, &[("limit_ms", "50"), ("patience_ms", ""), ("refused_last_minute", "1")]);
        let line = eventually("it is told", async || {
            let log = rig.proxy.process().log();
            log.lines().find(|line| line.contains("pool state changed")).map(str::to_owned)
        })
        .await;
        assert!(line.contains("may_wait_ms=50") && line.contains("refused=1"), "{line}");
        console.wait_for("app/app", "refused_shed_in_queue", 1).await;
    });
}

#[test]
fn a_host_that_is_down_is_told_with_its_error() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.crash();
        client.send(Batch::new().query("select 2")).await;
        let mut console = Console::open(&rig).await;
        // Between two attempts: during one, who waits waits for the server that is being opened.
        eventually("it is seen to be down, and to be waited for", async || {
            let row = overload(&mut console).await;
            let is_told = row["error"].contains("Connection refused") && row["waiting"] == "1";
            (is_told && row["cause"] == "the database server, which cannot be reached")
                .then_some(())
        })
        .await;
    });
}

#[test]
fn the_console_tells_limits_and_what_is_used_of_them() {
    run(async {
        let limits = "match = {}\nweight = 3\nmax_clients = 9\nreserved = 1\nmax_in_flight = 2\n\
                      max_queued = 7\ntransactions_per_second = 0.01\nburst = 4\n\
                      on_excess = 'reject'\nserver_seconds_per_second = 100\n\
                      per_address = { max_clients = 8, max_in_flight = 1, max_queued = 6 }";
        let settings = with_console(Settings::new().pool_size(5)).class("all", limits);
        let rig = Rig::start(settings).await;
        let mut console = Console::open(&rig).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        first.query("begin").await;
        second.send(Batch::new().query("select pg_sleep(0.3)")).await;
        console.wait_for("all", "queued", 1).await;
        let row = console.row("SHOW CLASSES", "all").await.expect("the class is used");
        assert_has(&row, &[("weight", "3"), ("reserved", "1")]);
        assert_has(&row, &[("clients", "2"), ("in_flight", "1"), ("queued", "1")]);
        assert_has(&row, &[("max_clients", "9"), ("max_in_flight", "2"), ("max_queued", "7")]);
        assert_has(&row, &[("transactions_left", "3.0"), ("transactions_per_second", "0.01")]);
        assert_has(&row, &[("burst", "4"), ("on_excess", "reject")]);
        assert_has(&row, &[("server_seconds_per_second", "100"), ("addresses", "1")]);
        assert_has(&row, &[("address_clients", "2"), ("address_max_clients", "8")]);
        assert_has(&row, &[("address_in_flight", "1"), ("address_max_in_flight", "1")]);
        assert_has(&row, &[("address_queued", "1"), ("address_max_queued", "6")]);
        assert_has(&row, &[("address_transactions_per_second", ""), ("address_burst", "")]);
        assert_has(&row, &[("granted", "1"), ("queued_total", "1"), ("delayed", "1")]);
        first.query("commit").await;
        assert_eq!(second.answer().await[1], "D()");
        console.wait_for("all", "granted", 2).await;
        eventually("its share is known", async || {
            let row = console.row("SHOW CLASSES", "all").await.expect("the class is used");
            // The rest is of logins, whose priority is a lower one.
            let share = row["share_percent"].parse::<f64>().ok().filter(|share| *share > 50.0);
            share.filter(|_| row["share_percent"] == row["fair_percent"])
        })
        .await;
    });
}
