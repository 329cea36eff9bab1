//! Clients that leave before they were served: those that said goodbye, and those that vanished.

use std::time::Duration;

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, eventually, run, throughout};
use crate::harness::wire::Client;

/// One server, and a console to see who waits for it.
fn settings() -> Settings {
    Settings::new().pool_size(1).set("admin_users", "app")
}

async fn rig() -> Rig {
    Rig::start(settings()).await
}

async fn console(rig: &Rig) -> Client {
    Login::to(rig.address()).database("pgweir").connect().await
}

/// The number in a column of `SHOW POOLS`.
async fn pool_count(console: &mut Client, column: usize) -> usize {
    let frames = console.ask_frames(Batch::new().query("show pools")).await;
    let pool = frames.iter().find(|frame| frame.tag == b'D').expect("there is a pool");
    let value = pool.columns().swap_remove(column).expect("a count is not null");
    String::from_utf8(value).expect("text").parse().expect("a number")
}

async fn waiters(console: &mut Client) -> usize {
    pool_count(console, 3).await
}

async fn wait_for_waiters(console: &mut Client, count: usize) {
    eventually(&format!("{count} clients wait"), async || {
        (waiters(console).await == count).then_some(())
    })
    .await;
}

async fn wait_for_clients(console: &mut Client, count: usize) {
    eventually(&format!("{count} clients are there"), async || {
        let (active, waiting) = (pool_count(console, 2).await, waiters(console).await);
        (active + waiting == count).then_some(())
    })
    .await;
}

/// Somebody has the only server, and there is a table to write into.
async fn taken() -> (Rig, Client, Client) {
    let rig = rig().await;
    let console = console(&rig).await;
    rig.client().await.query("create table numbers (n int)").await;
    let mut holder = rig.client().await;
    holder.query("begin").await;
    (rig, console, holder)
}

/// Postgres reads the request first, then the goodbye; a queue in between changes nothing.
#[test]
fn a_query_with_a_goodbye_behind_it_is_executed_though_it_has_to_wait() {
    run(async {
        let (rig, mut console, mut holder) = taken().await;
        let insert = |number| format!("insert into numbers values ({number})");
        let batches = [
            Batch::new().query(&insert(1)).terminate(),
            Batch::new().query(&insert(2)).query(&insert(3)).terminate(),
            Batch::new().statement(&insert(4), &[]).terminate(),
        ];
        for (count, batch) in (1..).zip(batches) {
            // The server must be given other settings first.
            let name = format!("leaver {count}");
            let login = Login::to(rig.address()).with("application_name", &name);
            let mut leaver = login.connect().await;
            leaver.send(batch).await;
            drop(leaver);
            wait_for_waiters(&mut console, count).await;
        }
        throughout(Duration::from_millis(300), "those who said goodbye wait", async || {
            waiters(&mut console).await == 3
        })
        .await;
        holder.query("commit").await;
        eventually("every row is there", async || {
            (rig.postgres.value("select count(*) from numbers").await == "4").then_some(())
        })
        .await;
        assert_eq!(rig.client().await.value("select 'free'").await, "free");
    });
}

#[test]
fn a_client_that_vanishes_without_a_goodbye_leaves_the_queue_and_nothing_is_executed() {
    run(async {
        let (rig, mut console, mut holder) = taken().await;
        let sql = "insert into numbers values (1)";
        let goodbye = Batch::new().query(sql).terminate().0;
        // With nothing behind the query, and with all of the goodbye but its last byte.
        for bytes in [&Batch::new().query(sql).0[..], &goodbye[..goodbye.len() - 1]] {
            let mut vanishing = rig.client().await;
            vanishing.wire.send(bytes).await;
            wait_for_waiters(&mut console, 1).await;
            drop(vanishing);
            wait_for_waiters(&mut console, 0).await;
        }
        holder.query("commit").await;
        assert_eq!(rig.client().await.value("select count(*) from numbers").await, "0");
    });
}

/// As drivers do it that give up: libpq says goodbye before it closes, whatever it waits for.
#[test]
fn a_goodbye_while_a_client_waits_says_that_it_has_given_up() {
    run(async {
        let (rig, mut console, mut holder) = taken().await;
        let long = format!("insert into numbers values (1) -- {}", "x".repeat(200_000));
        let ends = [("insert into numbers values (1)", true), (&long, false), (&long, true)];
        for (sql, says_goodbye) in ends {
            let mut leaver = rig.client().await;
            leaver.send(Batch::new().query(sql)).await;
            wait_for_waiters(&mut console, 1).await;
            // Far longer than a goodbye takes that comes with the request.
            throughout(Duration::from_millis(300), "it waits", async || {
                waiters(&mut console).await == 1
            })
            .await;
            if says_goodbye {
                leaver.send(Batch::new().terminate()).await;
            }
            drop(leaver);
            wait_for_waiters(&mut console, 0).await;
        }
        holder.query("commit").await;
        assert_eq!(rig.client().await.value("select count(*) from numbers").await, "0");
    });
}

#[test]
fn a_goodbye_in_the_middle_of_a_query_cancels_it_and_its_server_stays() {
    run(async {
        let rig = rig().await;
        let mut console = console(&rig).await;
        let pid = rig.client().await.value("select pg_backend_pid()").await;
        let mut leaver = rig.client().await;
        leaver.send(Batch::new().query("select pg_sleep(60)")).await;
        wait_for_clients(&mut console, 1).await;
        throughout(Duration::from_millis(300), "it runs", async || {
            pool_count(&mut console, 2).await == 1
        })
        .await;
        leaver.send(Batch::new().terminate()).await;
        drop(leaver);
        let timing = Timing::start();
        assert_eq!(rig.client().await.value("select pg_backend_pid()").await, pid);
        timing.is_below(Duration::from_secs(30));
    });
}

/// As with Postgres itself. But its server is in use meanwhile: nobody else has its place.
#[test]
fn what_came_with_a_goodbye_may_take_its_time() {
    run(async {
        let rig = rig().await;
        rig.client().await.query("create table numbers (n int)").await;
        let mut leaver = rig.client().await;
        // Longer than the proxy takes to tidy a server.
        let sql = "select pg_sleep(5.5); insert into numbers select pg_backend_pid()";
        leaver.send(Batch::new().query(sql).terminate()).await;
        drop(leaver);
        let mut client = rig.client().await;
        let own = client.value("select pg_backend_pid()").await;
        assert_eq!(client.value("select n from numbers").await, own);
    });
}

#[test]
fn who_said_goodbye_waits_no_longer_than_anybody_else() {
    run(async {
        let rig = rig().await;
        let mut console = console(&rig).await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let mut leaver = rig.client().await;
        console.query("SET query_wait_timeout = '300ms'").await;
        let batch = (0..100).fold(Batch::new(), |batch, _| batch.query("create table t ()"));
        leaver.send(batch.terminate()).await;
        drop(leaver);
        // Not a wait for each of the hundred.
        let timing = Timing::start();
        wait_for_clients(&mut console, 1).await;
        timing.is_below(Duration::from_secs(5));
        holder.query("commit").await;
        assert_eq!(rig.client().await.value("select to_regclass('t') is null").await, "t");
    });
}

/// Postgres rolls back what no Sync followed, whether its client says goodbye or not.
#[test]
fn what_no_sync_followed_is_rolled_back_when_its_client_leaves() {
    run(async {
        let rig = rig().await;
        rig.client().await.query("create table numbers (n int)").await;
        for address in [rig.postgres.address(), rig.address().clone()] {
            for ending in [Batch::new(), Batch::new().terminate()] {
                let mut leaver = Client::connect(&address).await;
                let insert = "insert into numbers select 1";
                let batch = Batch::new().parse("", insert).bind("", &[]).execute().flush();
                leaver.send(batch).await;
                leaver.wire.until(b'C').await;
                leaver.send(ending).await;
                drop(leaver);
                rig.postgres.wait_for_servers("state <> 'idle'", 0).await;
                let rows = rig.client().await.value("select count(*) from numbers").await;
                assert_eq!(rows, "0", "{address:?}");
            }
        }
    });
}
