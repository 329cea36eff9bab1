//! Limits on clients and on time, and the errors that tell of them.

use std::time::Duration;

use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, eventually, run};
use crate::harness::wire::{Client, Wire};
use tokio::task::JoinSet;

const SHORT: Duration = Duration::from_millis(500);

#[test]
fn a_wait_that_is_too_long_ends_in_an_error_and_the_session_goes_on() {
    run(async {
        let settings = Settings::new().pool_size(1).set("query_wait_timeout", SHORT);
        let rig = Rig::start(settings).await;
        let (mut holder, mut waiter) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        let error = waiter.error("select 1").await;
        assert_eq!(error.shown(), "E(ERROR 57014)");
        assert_eq!(error.message(), "canceling statement due to query_wait_timeout");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_timeout"));
        let detail = error.field(b'D').unwrap_or_default();
        assert!(detail.starts_with("waited "), "DETAIL has the numbers: {detail:?}");
        // One error for each Sync of a pipeline, and nothing of it is run later.
        let pipeline = Batch::new().statement("create table never ()", &[]);
        waiter.send(pipeline.statement("select 2", &[])).await;
        assert_eq!(waiter.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        assert_eq!(waiter.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        holder.query("commit").await;
        assert_eq!(waiter.value("select to_regclass('never') is null").await, "t");
    });
}

/// The connection by which the harness saw that the proxy listens may still count for a moment.
async fn first_client(rig: &Rig) -> Client {
    let login = Login::to(rig.address());
    eventually("a client may come", async || login.attempt().await.ok()).await
}

#[test]
fn a_client_too_many_is_told_53300_and_the_next_may_come_when_one_leaves() {
    run(async {
        let rig = Rig::start(Settings::new().set("max_client_conn", 3)).await;
        let mut clients = vec![first_client(&rig).await, rig.client().await, rig.client().await];
        let error = Login::to(rig.address()).error().await;
        assert_eq!(error.shown(), "E(FATAL 53300)");
        assert_eq!(error.message(), "sorry, too many clients already (max_client_conn)");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_client_limit"));
        assert_eq!(clients[0].value("select 1").await, "1");
        clients.pop();
        eventually("a client may come again", async || {
            Login::to(rig.address()).attempt().await.ok().map(|_| ())
        })
        .await;
    });
}

#[test]
fn a_cancel_is_taken_when_clients_are_at_their_limit() {
    run(async {
        let rig = Rig::start(Settings::new().set("max_client_conn", 1)).await;
        let mut client = first_client(&rig).await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
    });
}

#[test]
fn clients_of_a_database_and_of_a_user_are_limited() {
    run(async {
        for name in ["max_db_client_connections", "max_user_client_connections"] {
            let rig = Rig::start(Settings::new().set(name, 2)).await;
            let _clients = [rig.client().await, rig.client().await];
            let error = Login::to(rig.address()).error().await;
            assert_eq!(error.shown(), "E(FATAL 53300)", "{name}");
            assert!(error.message().contains(name), "{error:?}");
            let elsewhere = Login::to(rig.address()).user("other", "other-secret");
            let mut client = elsewhere.database("second").connect().await;
            assert_eq!(client.value("select 1").await, "1", "{name}");
        }
    });
}

/// The FATAL that ends a client which does `sql` and then nothing.
async fn ended_with(settings: Settings, sql: &str) -> (String, String, Duration) {
    let rig = Rig::start(settings.pool_size(1)).await;
    let mut client = rig.client().await;
    client.query(sql).await;
    let watch = Watch::start();
    let frames = client.wire.until_closed().await;
    let waited = watch.elapsed();
    let [error] = &frames[..] else { panic!("expected one error, got {:?}", shown(&frames)) };
    // Its server, with or without a transaction, is free for others.
    assert_eq!(rig.client().await.value("select 1").await, "1");
    (error.shown(), error.message(), waited)
}

#[test]
fn an_idle_client_is_ended() {
    run(async {
        let settings = Settings::new().set("client_idle_timeout", SHORT);
        let (error, message, waited) = ended_with(settings, "select 1").await;
        assert_eq!(error, "E(FATAL 57P05)");
        assert_eq!(message, "terminating connection due to idle-session timeout");
        assert!(waited >= Duration::from_millis(400), "after {waited:?}");
    });
}

#[test]
fn a_client_idle_in_its_transaction_is_ended() {
    run(async {
        let settings = Settings::new().set("idle_transaction_timeout", SHORT);
        let (error, message, waited) = ended_with(settings, "begin").await;
        assert_eq!(error, "E(FATAL 25P03)");
        assert_eq!(message, "terminating connection due to idle-in-transaction timeout");
        assert!(waited >= Duration::from_millis(400), "after {waited:?}");
    });
}

#[test]
fn a_transaction_that_lasts_too_long_is_ended() {
    run(async {
        let settings = Settings::new().set("transaction_timeout", SHORT);
        let (error, message, _) = ended_with(settings, "begin").await;
        assert_eq!(error, "E(FATAL 25P04)");
        assert_eq!(message, "terminating connection due to transaction timeout");
    });
}

#[test]
fn a_query_that_runs_too_long_is_ended_and_stopped() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1).set("query_timeout", SHORT)).await;
        let mut client = rig.client().await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        let frames = client.wire.until(b'E').await;
        let error = frames.last().expect("it ends with the error");
        assert_eq!(error.code(), "57014", "{error:?}");
        rig.postgres.wait_for_servers("query like '%pg_sleep%' and state = 'active'", 0).await;
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

/// One client, one cancel request, 32 consoles, and 100 more to be told that there is no room.
const OPEN_MAX: usize = 134;

#[test]
fn connections_that_say_nothing_are_limited_and_make_room_when_they_go() {
    run(async {
        let settings = Settings::new().set("max_client_conn", 1).set("max_cancels", 1);
        let rig = Rig::start(settings).await;
        let mut silent = Vec::new();
        for _ in 0..OPEN_MAX + 10 {
            silent.push(Wire::connect(rig.address()).await);
        }
        // The one by which the harness saw that the proxy listens may have had a place for a while: so
        // which of the last eleven came when there was one more is not known.
        let mut last: JoinSet<_> = silent
            .split_off(OPEN_MAX - 1)
            .into_iter()
            .map(|mut wire| async move { wire.try_byte().await.unwrap_or_default() })
            .collect();
        for _ in 0..10 {
            let closed = eventually("one is closed", async || last.try_join_next()).await;
            assert_eq!(closed.expect("its task ends"), None);
        }
        let last = silent.swap_remove(OPEN_MAX - 2);
        let mut client = Login::to(rig.address()).attempt_over(last).await.expect("it has a place");
        assert_eq!(client.value("select 1").await, "1");
        drop((silent, client));
        assert_eq!(first_client(&rig).await.value("select 1").await, "1");
    });
}
