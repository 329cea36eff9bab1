//! What cannot follow a client to another server: it keeps the server, or is refused, or nobody minds.

use std::time::Duration;

use super::http::{self, metric};
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
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
    ("select (7::bigint).pg_advisory_lock", "select pg_advisory_unlock(7)"),
    ("select x.pg_advisory_lock from int8(7) x", "select pg_advisory_unlock(7)"),
    ("begin; declare c cursor with hold for select 1; commit", "close c"),
    ("select set_config('app.' || 'x', 'y', false)", "discard all"),
    ("prepare p as select 1", "deallocate p"),
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

/// What was left, by what it counts as.
const LEFT: &[(&str, &str)] = &[
    ("create temp table t (a int)", "temp_table"),
    ("select pg_advisory_lock(7)", "advisory_lock"),
    ("begin; declare c cursor with hold for select 1; commit", "cursor"),
    ("select set_config('app.' || 'x', 'y', false)", "setting"),
    ("prepare p as select 1", "statement"),
    ("listen news", "listen"),
    ("select nextval('s'), lastval()", "sequence"),
];

async fn removed(port: &Port, cause: &str) -> f64 {
    let labels = format!("{{database=\"app\",user=\"app\",cause=\"{cause}\"}}");
    metric(port, &format!("pgweir_pool_traces_removed_total{labels}")).await
}

#[test]
fn what_a_client_leaves_behind_meets_nobody_and_nothing_else_is_reset() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(http::settings(&port).pool_size(1)).await;
        rig.postgres.sql("create sequence s; grant usage on sequence s to public").await;
        let mut other = rig.client().await;
        other.ask(Batch::new().parse("kept", "select 'kept'").sync()).await;
        let server = other.value("select pg_backend_pid()").await;
        for (begins, cause) in LEFT {
            let mut one = rig.client().await;
            one.query(begins).await;
            one.send(Batch::new().terminate()).await;
            let left = "select (select count(*) from pg_class where relname = 't') \
                + (select count(*) from pg_locks where locktype = 'advisory') \
                + (select count(*) from pg_cursors) \
                + (select count(*) from pg_prepared_statements where from_sql) \
                + (select count(*) from pg_listening_channels()) \
                + (coalesce(current_setting('app.x', true), '') <> '')::int";
            assert_eq!(other.value(left).await, "0", "{begins}");
            if *cause == "sequence" {
                let mut asks = rig.client().await;
                let last = asks.query("select lastval()").await;
                assert_eq!(last, ["T(lastval)", "E(ERROR 55000)", "Z(I)"]);
            }
            assert_eq!(other.value("select pg_backend_pid()").await, server, "{begins}");
            assert!(removed(&port, cause).await > 0.0, "{cause}");
            // Not `DISCARD ALL`: what was prepared for others is there.
            let kept = "select count(*) > 0 from pg_prepared_statements where not from_sql";
            assert_eq!(other.value(kept).await, if *cause == "statement" { "f" } else { "t" });
            let again = Batch::new().bind("kept", &[]).execute().sync();
            assert_eq!(other.ask(again).await, ["2", "D(kept)", "C(SELECT 1)", "Z(I)"]);
        }
        let unknown = removed(&port, "unknown").await;
        assert!(unknown.abs() < 0.5, "{unknown}");
    });
}

/// From one transaction to the next it finds what it was given, and never what others were.
#[test]
fn what_a_sequence_gave_is_found_by_who_got_it_alone() {
    run(async {
        let rig = rig("pin").await;
        rig.postgres.sql("create sequence s; grant usage on sequence s to public").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        let unknown = ["E(ERROR 55000)", "Z(I)"];
        one.query("select nextval('s')").await;
        for batch in [
            Batch::new().query("select lastval()"),
            Batch::new().query("select 1; select CURRVAL ('s')"),
            Batch::new().statement("select currval('s')", &[]),
            Batch::new().parse("n", "select lastval()").bind("n", &[]).execute().sync(),
        ] {
            // In between the server is another's.
            one.query("select nextval('s')").await;
            let answer = other.ask(batch).await;
            assert_eq!(answer[answer.len() - 2..], unknown, "{answer:?}");
            // It keeps the server from now on, for what it may be given.
            assert!(is_kept(&mut one).await);
            let given = other.value("select nextval('s')").await;
            assert_eq!(other.value("select lastval()").await, given);
            let row = other.ask(Batch::new().statement("select currval('s')", &[])).await;
            assert_eq!(row[2], format!("D({given})"));
            other.query("discard all").await;
        }
        // Nobody else was there meanwhile; and in a transaction it is its own.
        let given = one.value("select nextval('s')").await;
        assert_eq!(one.value("select lastval()").await, given);
        one.query("discard sequences").await;
        other.query("begin").await;
        let given = other.value("select nextval('s')").await;
        assert_eq!(other.value("select currval('s')").await, given);
        other.query("commit").await;
        assert!(!is_kept(&mut one).await);
    });
}

/// Whether the library is in the process that serves this client.
async fn is_loaded(client: &mut Client) -> bool {
    let listed = "select count(*) from pg_settings where name like 'auto_explain.%'";
    client.value(listed).await != "0"
}

#[test]
fn a_library_keeps_its_server_and_goes_with_it() {
    run(async {
        let port = Port::take();
        let settings = http::settings(&port).pool_size(1);
        let rig = Rig::start(settings.set("query_wait_timeout", Duration::from_secs(1))).await;
        rig.postgres.sql("alter role app superuser").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        one.query("load 'auto_explain'").await;
        assert!(is_kept(&mut other).await);
        assert!(is_loaded(&mut one).await);
        let pins = "pgweir_pool_pins_total{database=\"app\",user=\"app\",cause=\"library\"}";
        assert!((metric(&port, pins).await - 1.0).abs() < 0.1);
        drop(one);
        assert!(!is_loaded(&mut other).await);
    });
}

#[test]
fn a_library_meets_nobody_wherever_its_client_went() {
    run(async {
        for mode in ["transaction", "session"] {
            let rig = Rig::start(Settings::new().pool_size(1).pool_mode(mode)).await;
            rig.postgres.sql("alter role app superuser").await;
            for (before, is_answered) in [("begin", true), ("begin", false), ("select 1", false)] {
                let mut one = rig.client().await;
                one.query(before).await;
                one.send(Batch::new().query("select 1").query("load 'auto_explain'")).await;
                if is_answered {
                    assert_eq!(one.answer().await.last().map(String::as_str), Some("Z(T)"));
                    assert_eq!(one.answer().await, ["C(LOAD)", "Z(T)"]);
                }
                drop(one);
                let mut other = rig.client().await;
                assert!(!is_loaded(&mut other).await, "{mode}, {before}, {is_answered}");
            }
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
