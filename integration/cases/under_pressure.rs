//! Clients that hold what others wait for, or leave while they wait or run something.

use std::time::Duration;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, throughout};
use crate::harness::wire::Wire;

const SHORT: Duration = Duration::from_millis(300);

fn settings(pool_size: u32) -> Settings {
    with_console(Settings::new().pool_size(pool_size))
}

#[test]
fn the_longest_idle_in_a_transaction_is_ended_while_others_wait() {
    run(async {
        let settings = settings(2).overload("idle_transaction_pressure_timeout", SHORT);
        let rig = Rig::start(settings).await;
        let mut oldest = rig.client().await;
        let (mut young, mut waiter) = (rig.client().await, rig.client().await);
        oldest.query("begin").await;
        // Idle for less long, though it began its transaction at the same time.
        young.query("begin; select pg_sleep(0.5)").await;
        assert_eq!(waiter.value("select 'served'").await, "served");
        let frames = oldest.wire.until_closed().await;
        assert_eq!(shown(&frames), ["E(FATAL 25P03)"]);
        let routine = frames[0].field(b'R');
        assert_eq!(routine.as_deref(), Some("pooler_idle_transaction_pressure_timeout"));
        assert_eq!(young.query("commit").await, ["C(COMMIT)", "Z(I)"], "one waited, one had to go");
        assert_eq!(rig.postgres.servers("state like 'idle in transaction%'").await, 0);
    });
}

#[test]
fn nobody_who_is_idle_in_a_transaction_is_ended_while_nobody_waits() {
    run(async {
        let settings = settings(1).overload("idle_transaction_pressure_timeout", SHORT);
        let rig = Rig::start(settings).await;
        let (mut idle, mut waiter) = (rig.client().await, rig.client().await);
        idle.query("begin").await;
        throughout(SHORT * 4, "it stays", async || {
            rig.postgres.servers("state = 'idle in transaction'").await == 1
        })
        .await;
        assert_eq!(idle.value("select 'still there'").await, "still there");
        // It counts from the last request, not from the beginning of the transaction.
        waiter.send(Batch::new().query("select 'served'")).await;
        for _ in 0..8 {
            assert_eq!(idle.value("select pg_sleep(0.1), 'busy'").await, "");
        }
        assert_eq!(idle.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(waiter.answer().await[1], "D(served)");
    });
}

#[test]
fn a_client_that_vanishes_while_it_waits_leaves_the_queue_at_once() {
    run(async {
        let rig = Rig::start(settings(1)).await;
        let mut console = Console::open(&rig).await;
        rig.client().await.query("create sequence turn").await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let mut waiters = Vec::new();
        for count in 1..=4 {
            let mut waiter = rig.client().await;
            waiter.send(Batch::new().query("select nextval('turn')")).await;
            console.wait_for("app/app", "queued", count).await;
            waiters.push(waiter);
        }
        drop(waiters.remove(1));
        console.wait_for("app/app", "queued", 3).await;
        assert_eq!(console.number("app/app", "abandoned").await, 1);
        holder.query("commit").await;
        for (waiter, turn) in waiters.iter_mut().zip(["D(1)", "D(2)", "D(3)"]) {
            assert_eq!(waiter.answer().await[1], turn);
        }
        console.wait_for("app/app", "in_flight", 0).await;
    });
}

/// Its settings are new, so that a server is to say whether they are good.
#[test]
fn a_client_that_vanishes_while_its_login_waits_leaves_the_queue_at_once() {
    run(async {
        let rig = Rig::start(settings(1)).await;
        let mut console = Console::open(&rig).await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let login = Login::to(rig.address()).with("options", "-c search_path=tenant");
        let mut gone = Wire::connect(rig.address()).await;
        gone.send(&login.message()).await;
        console.wait_for("(logins)", "queued", 1).await;
        drop(gone);
        console.wait_for("(logins)", "queued", 0).await;
        assert_eq!(console.number("(logins)", "abandoned").await, 1);
        assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"], "it had its server");
    });
}

/// A reconnect for each client that gives up is how a slow database is brought down.
#[test]
fn clients_that_vanish_in_the_middle_of_a_query_cost_no_server() {
    run(async {
        let postgres = Postgres::start_with("log_connections = on").await;
        let proxy = Proxy::start(&settings(2), &postgres.address()).await;
        let rig = Rig { proxy, postgres };
        let mut console = Console::open(&rig).await;
        let mut clients = [rig.client().await, rig.client().await];
        let mut pids = Vec::new();
        for client in &mut clients {
            client.query("begin").await;
            pids.push(client.value("select pg_backend_pid()").await);
        }
        drop(clients);
        for round in 0..5 {
            let mut clients = [rig.client().await, rig.client().await];
            for client in &mut clients {
                client.send(Batch::new().query("begin; select pg_sleep(30)")).await;
            }
            rig.postgres.wait_for_servers("query like '%pg_sleep%' and state = 'active'", 2).await;
            drop(clients);
            console.wait_for("app/app", "in_flight", 0).await;
            let pid = rig.client().await.value("select pg_backend_pid()").await;
            assert!(pids.contains(&pid), "round {round}: {pid} is none of {pids:?}");
        }
        assert_eq!(rig.postgres.servers("true").await, 2);
        let log = rig.postgres.log();
        let begun = log.lines().filter(|line| line.contains("connection authorized: user=app"));
        assert_eq!(begun.count(), 2, "{log}");
    });
}

/// Its quota is not free before its server is.
#[test]
fn who_vanishes_gives_its_quota_back_when_its_server_is_clean() {
    run(async {
        let limits = "match = {}\nmax_in_flight = 1";
        let rig = Rig::start(settings(2).class("one", limits)).await;
        let mut console = Console::open(&rig).await;
        for _ in 0..5 {
            let mut gone = rig.client().await;
            gone.send(Batch::new().query("select pg_sleep(30)")).await;
            rig.postgres.wait_for_servers("query like '%pg_sleep%' and state = 'active'", 1).await;
            let mut waiter = rig.client().await;
            waiter.send(Batch::new().query("select 'next'")).await;
            console.wait_for("one", "queued", 1).await;
            drop(gone);
            assert_eq!(waiter.answer().await[1], "D(next)");
            assert_eq!(
                rig.postgres.servers("query like '%pg_sleep%' and state = 'active'").await,
                0
            );
        }
        eventually("everybody has gone", async || {
            let clients = console.number("one", "clients").await;
            (clients == 0 && console.number("one", "in_flight").await == 0).then_some(())
        })
        .await;
    });
}
