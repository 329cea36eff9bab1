//! What was wrong once, about servers that are lost or in the middle of something.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::Address;
use crate::harness::cutter::{Cutter, Plan, Way};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

const COPY_IN: &str = "copy numbers from stdin";

async fn rig_with_table() -> Rig {
    let rig = Rig::start(Settings::new().pool_size(1)).await;
    assert_eq!(
        rig.client().await.query("create table numbers (n int)").await,
        ["C(CREATE TABLE)", "Z(I)"]
    );
    rig
}

/// Clients would go on in the middle of whatever it began.
#[test]
fn a_connect_query_that_leaves_something_open_gives_no_server() {
    run(async {
        let settings = Settings::new()
            .pool_size(1)
            .set("query_wait_timeout", Duration::from_secs(10))
            .set("server_down_hold", Duration::from_millis(300))
            .database("app", "connect_query", "begin");
        let rig = Rig::start(settings).await;
        for _ in 0..3 {
            let error = Login::to(rig.address()).error().await;
            assert_eq!(error.shown(), "E(FATAL 57P03)");
        }
    });
}

#[test]
fn a_server_lost_in_its_connect_query_is_replaced() {
    run(async {
        let postgres = Postgres::start().await;
        // The first connection ends in the middle of the answer.
        let mut connections = 0;
        let plan = move || {
            connections += 1;
            let cut_after = (connections == 1).then_some(20_000);
            Plan { back: Way { cut_after, ..Way::default() }, ..Plan::default() }
        };
        let link = Cutter::start(&postgres.address(), plan).await;
        let settings = Settings::new().pool_size(1);
        let settings = settings.database("app", "connect_query", "select repeat($$x$$, 100000)");
        let proxy = Proxy::start(&settings, &link.address).await;
        let mut client = Client::connect(&proxy.address).await;
        assert_eq!(client.value("select 1").await, "1");
        proxy.process().logs("connect_query did not come to its end").await;
    });
}

/// The reset before it has undone what it had done; without it the server is not what it should be.
#[test]
fn a_connect_query_that_fails_after_a_reset_closes_the_server_and_is_logged() {
    run(async {
        let settings = Settings::new().pool_size(1);
        let settings = settings.database("app", "connect_query", "insert into allowed values (1)");
        let rig = Rig::start(settings).await;
        rig.postgres.sql("create table allowed (n int); grant all on allowed to app").await;
        let mut client = rig.client().await;
        let first = client.value("select pg_backend_pid()").await;
        rig.postgres.sql("revoke all on allowed from app").await;
        // A new server is used all the same, as its own failure is logged.
        let mut other = rig.client().await;
        other.query("begin").await;
        drop(other);
        assert_ne!(client.value("select pg_backend_pid()").await, first);
        let line = "not be made fit for the next client: connect_query: permission denied";
        rig.proxy.process().logs(line).await;
    });
}

/// Terminates the only server, and waits until its process is gone.
async fn terminate_server(rig: &Rig) {
    let pid = rig.postgres.value("select pid from pg_stat_activity where usename = 'app'").await;
    rig.postgres.sql(&format!("select pg_terminate_backend({pid})")).await;
    let process = PathBuf::from(format!("/proc/{pid}"));
    eventually("the server is gone", async || (!process.exists()).then_some(())).await;
}

#[test]
fn a_copy_whose_transaction_was_lost_is_rolled_back_and_the_session_goes_on() {
    run(async {
        let rig = rig_with_table().await;
        for waits in [false, true] {
            let mut client = rig.client().await;
            client.query("begin").await;
            client.send(Batch::new().query(COPY_IN)).await;
            assert_eq!(client.wire.frame().await.shown(), "G");
            terminate_server(&rig).await;
            let rest = Batch::new().copy_data(b"1\n").copy_done();
            let answer = if waits {
                let answer = client.answer().await;
                client.send(rest).await;
                answer
            } else {
                client.ask(rest).await
            };
            assert_eq!(answer.last().map(String::as_str), Some("Z(E)"), "{answer:?}");
            assert!(answer.contains(&"E(ERROR 57P01)".to_owned()), "{answer:?}");
            assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"], "{waits}");
            assert_eq!(client.value("select 2").await, "2");
            assert_eq!(rig.client().await.value("select count(*) from numbers").await, "0");
        }
    });
}

const REFUSING: &str = "\
create function refuse() returns trigger language plpgsql
    as $$ begin raise exception 'refused'; end $$;
create trigger refuse before insert on numbers for each statement execute function refuse();
";

/// The addresses of Postgres and of a proxy of it, with a table that takes no rows.
async fn refusing() -> (Rig, [Address; 2]) {
    let rig = rig_with_table().await;
    rig.postgres.sql(REFUSING).await;
    let addresses = [rig.postgres.address(), rig.address().clone()];
    (rig, addresses)
}

/// The copy is over before it took the Sync behind its Execute, which therefore counts.
#[test]
fn a_copy_that_fails_at_once_ends_at_the_sync_behind_its_execute() {
    run(async {
        let (rig, addresses) = refusing().await;
        for address in addresses {
            let mut client = Client::connect(&address).await;
            for round in 0..3 {
                let answer = client.ask(Batch::new().statement(COPY_IN, &[])).await;
                assert_eq!(answer, ["1", "2", "G", "E(ERROR P0001)", "Z(I)"], "{address:?}");
                assert_eq!(client.value(&format!("select {round}")).await, round.to_string());
                assert_eq!(rig.client().await.value("select 'free'").await, "free");
            }
        }
    });
}

#[test]
fn data_sent_along_with_a_copy_that_fails_at_once_is_dropped() {
    run(async {
        let (rig, addresses) = refusing().await;
        for address in addresses {
            let mut client = Client::connect(&address).await;
            let batch = Batch::new().statement(COPY_IN, &[]).copy_data(b"1\n").copy_done().sync();
            client.send(batch).await;
            let answer = client.answer().await;
            assert_eq!(answer, ["1", "2", "G", "E(ERROR P0001)", "Z(I)"], "{address:?}");
            assert_eq!(client.answer().await, ["Z(I)"], "{address:?}");
            assert_eq!(client.value("select 2").await, "2");
            assert_eq!(rig.client().await.value("select 'free'").await, "free");
        }
    });
}
