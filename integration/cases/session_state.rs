//! What cannot follow a client to another server: it keeps the server, or is refused, or nobody minds.

use std::time::Duration;

use crate::harness::frames::Batch;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

async fn rig(state: &str) -> Rig {
    let settings = Settings::new().pool_size(1).set("query_wait_timeout", Duration::from_secs(1));
    Rig::start(settings.set("session_state", state)).await
}

/// Whether somebody has the only server and keeps it: nobody else is served.
async fn is_kept(other: &mut Client) -> bool {
    let answer = other.query("select 1").await;
    answer == ["E(ERROR 57014)", "Z(I)"]
}

/// What begins it, and what ends it.
const KEPT: &[(&str, &str)] = &[
    ("create temp table t (a int)", "drop table t"),
    ("select 1 as a into temp t", "discard temp"),
    ("do $$ begin create temp table t (a int); end $$", "drop table t"),
    ("select pg_advisory_lock(7)", "select pg_advisory_unlock(7)"),
    ("begin; declare c cursor with hold for select 1; commit", "close c"),
    ("select set_config('app.' || 'x', 'y', false)", "discard all"),
];

#[test]
fn a_client_keeps_its_server_until_postgres_says_that_nothing_is_left() {
    run(async {
        let rig = rig("pin").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        for (begins, ends) in KEPT {
            assert!(!is_kept(&mut other).await, "before {begins}");
            one.query(begins).await;
            assert!(is_kept(&mut other).await, "after {begins}");
            one.query(ends).await;
            assert!(!is_kept(&mut other).await, "after {ends}");
        }
    });
}

#[test]
fn what_ends_with_its_transaction_keeps_nothing() {
    run(async {
        let rig = rig("pin").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        for sql in [
            "begin; create temp table t (a int) on commit drop; commit",
            "begin; create temp table t (a int); rollback",
            "begin; create temp table t (a int); drop table t; commit",
            "select pg_advisory_xact_lock(7)",
            "select pg_advisory_lock(7), pg_advisory_unlock(7)",
            "begin; declare c cursor for select 1; commit",
        ] {
            one.query(sql).await;
            assert!(!is_kept(&mut other).await, "{sql}");
        }
    });
}

#[test]
fn what_a_client_leaves_behind_meets_nobody() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        for (begins, _) in KEPT {
            let mut one = rig.client().await;
            one.query(begins).await;
            one.send(Batch::new().terminate()).await;
            let mut other = rig.client().await;
            let left = "select (select count(*) from pg_class where relname = 't') \
                + (select count(*) from pg_locks where locktype = 'advisory') \
                + (select count(*) from pg_cursors) \
                + (coalesce(current_setting('app.x', true), '') <> '')::int";
            assert_eq!(other.value(left).await, "0", "{begins}");
        }
    });
}

#[test]
fn what_would_keep_a_server_is_refused_where_it_stands() {
    run(async {
        let rig = rig("refuse").await;
        let mut client = rig.client().await;
        for sql in
            ["create temp table t (a int)", "select pg_advisory_lock(7)", "load 'auto_explain'"]
        {
            assert_eq!(client.query(sql).await, ["E(ERROR 0A000)", "Z(I)"], "{sql}");
            let batch = Batch::new().statement(sql, &[]);
            // Where it is parsed: drivers ask then what it takes and returns.
            assert_eq!(client.ask(batch).await, ["E(ERROR 0A000)", "Z(I)"], "{sql}");
            let batch = Batch::new().parse("name", sql).describe_statement("name").sync();
            assert_eq!(client.ask(batch).await, ["E(ERROR 0A000)", "Z(I)"], "{sql}");
            let answer = client.ask(Batch::new().bind("name", &[]).sync()).await;
            assert_eq!(answer, ["E(ERROR 26000)", "Z(I)"], "{sql}");
        }
        // It lets go of nothing that it might have.
        assert_eq!(client.value("select pg_advisory_unlock_all()").await, "");
        assert_eq!(
            client.error("load 'x'").await.field(b'H').map(|hint| hint.is_empty()),
            Some(false)
        );
        client.query("begin").await;
        assert_eq!(client.query("create temp table t (a int)").await, ["E(ERROR 0A000)", "Z(E)"]);
        client.query("rollback").await;
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn nobody_keeps_a_server_where_that_is_ignored() {
    run(async {
        let rig = rig("ignore").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        for (begins, _) in &KEPT[..5] {
            one.query(begins).await;
            assert!(!is_kept(&mut other).await, "{begins}");
        }
    });
}

#[test]
fn a_function_that_is_named_is_asked_after() {
    run(async {
        let rig =
            Rig::start(Settings::new().pool_size(1).set("session_functions", ["log_in"])).await;
        rig.postgres
            .sql(
                "create function log_in(who text) returns void language sql as $$ \
                 select set_config('work_mem', '7MB', false) $$",
            )
            .await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        one.query("select log_in('me')").await;
        assert_eq!(other.value("show work_mem").await, "4MB");
        assert_eq!(one.value("show work_mem").await, "7MB");
    });
}
