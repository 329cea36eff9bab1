//! What one client has set is its own: it finds it again, and nobody else meets it.

use std::time::Duration;

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, throughout};
use crate::harness::wire::Client;

/// With one server, whatever one client leaves behind is what the other finds.
async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

#[test]
fn a_setting_of_the_dsn_is_there_whatever_others_reset() {
    run(async {
        let rig = rig().await;
        let login = || Login::to(rig.address()).with("options", "-c work_mem=7MB");
        let (mut one, mut other) = (login().connect().await, login().connect().await);
        for undo in ["reset work_mem", "set work_mem = '9MB'", "reset all", "discard all"] {
            one.query(undo).await;
            assert_eq!(other.value("show work_mem").await, "7MB", "after {undo}");
            let own = if undo.starts_with("set") { "9MB" } else { "7MB" };
            assert_eq!(one.value("show work_mem").await, own, "after {undo}");
        }
    });
}

#[test]
fn what_is_pipelined_behind_a_reset_finds_what_its_client_came_with() {
    run(async {
        let rig = rig().await;
        let login = Login::to(rig.address()).with("options", "-c work_mem=7MB");
        let mut one = login.connect().await;
        for (begin, end) in [("select 1", "select 1"), ("begin", "commit")] {
            for undo in ["reset work_mem", "reset all"] {
                let simple = Batch::new().query(undo).query("show work_mem");
                let extended = Batch::new().statement(undo, &[]).statement("show work_mem", &[]);
                for batch in [simple, extended] {
                    one.query(begin).await;
                    one.query("set work_mem = '9MB'").await;
                    one.send(batch).await;
                    let answers = [one.answer().await, one.answer().await];
                    let found = answers[1].contains(&"D(7MB)".to_owned());
                    assert!(found, "{begin}; {undo}: {answers:?}");
                    one.query(end).await;
                }
            }
        }
    });
}

#[test]
fn a_comment_behind_a_value_hides_no_other_setting() {
    run(async {
        let rig = rig().await;
        rig.postgres.sql("create role red; grant red to app").await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        one.query("set app.x = 'a' -- why").await;
        one.query("set work_mem = '7MB'--").await;
        one.query("set role red").await;
        assert_eq!(other.value("show role").await, "none");
        for (name, value) in [("role", "red"), ("app.x", "a"), ("work_mem", "7MB")] {
            assert_eq!(one.value(&format!("show {name}")).await, value);
        }
    });
}

/// Which statement a name stands for may be known to the server alone. What it sets is the client's all the same.
#[test]
fn what_a_statement_sets_that_was_not_replaced_meets_nobody_else() {
    run(async {
        let settings = Settings::new().pool_size(1).set("max_prepared_statements", 0);
        let rig = Rig::start(settings).await;
        let mut other = rig.client().await;
        for name in ["n", ""] {
            let mut one = rig.client().await;
            let prepares = Batch::new().parse(name, "set app.x = 'a'").sync();
            // The name is taken; or it is behind an error.
            let before =
                if name.is_empty() { Batch::new().bind("missing", &[]) } else { Batch::new() };
            let in_vain = before.parse(name, "select 1").sync();
            let runs = Batch::new().bind(name, &[]).execute().sync();
            one.send(Batch([prepares.0, in_vain.0, runs.0].concat())).await;
            let answers = [one.answer().await, one.answer().await, one.answer().await];
            assert_eq!(answers[2], ["2", "C(SET)", "Z(I)"], "{answers:?}");
            drop(one);
            assert_eq!(other.value("select current_setting('app.x', true)").await, "");
        }
    });
}

/// Postgres knows a portal by 63 bytes of its name, and has as many as somebody binds.
#[test]
fn what_is_set_through_any_portal_meets_nobody_else() {
    run(async {
        let rig = rig().await;
        let mut other = rig.client().await;
        let long = "p".repeat(63);
        for (last, runs) in [(0, format!("{long}y")), (300, "p300".to_owned())] {
            let mut one = rig.client().await;
            let mut batch = Batch::new().parse("n", "set app.x = 'a'");
            batch = batch.bind_to(&format!("{long}x"), "n", &[]);
            for n in 1..=last {
                batch = batch.bind_to(&format!("p{n}"), "n", &[]);
            }
            let answer = one.ask(batch.execute_rows(&runs, 0).sync()).await;
            assert!(answer.contains(&"C(SET)".to_owned()), "{runs}: {answer:?}");
            assert_eq!(other.value("select current_setting('app.x', true)").await, "", "{runs}");
            assert_eq!(one.value("show app.x").await, "a", "{runs}");
        }
    });
}

#[test]
fn what_a_client_sets_meets_nobody_else() {
    run(async {
        let rig = rig().await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        let path = other.value("show search_path").await;
        for set in
            ["set search_path to elsewhere", "set role pg_monitor", "set timezone to 'Asia/Tokyo'"]
        {
            one.query(set).await;
            assert_eq!(other.value("show search_path").await, path, "after {set}");
            assert_eq!(other.value("show role").await, "none", "after {set}");
            assert_ne!(other.value("show timezone").await, "Asia/Tokyo", "after {set}");
        }
        assert_eq!(one.value("show timezone").await, "Asia/Tokyo", "reported settings are kept");
    });
}

/// What a rollback leaves may have been set, or not: it must not be taken for the client's own.
#[test]
fn what_a_rollback_leaves_is_not_taken_for_set() {
    run(async {
        let rig = rig().await;
        let login = Login::to(rig.address()).with("application_name", "came");
        let (mut one, mut other) = (login.connect().await, rig.client().await);
        one.query("do $$ begin perform set_config('application_name', '', false); end $$").await;
        other.query("begin; set application_name = 'other'").await;
        other.query("rollback").await;
        one.query("begin").await;
        one.query("do $$ begin perform set_config('search_path', '', false); end $$").await;
        one.query("rollback").await;
        assert_eq!(one.value("show application_name").await, "");
    });
}

#[test]
fn a_name_that_postgres_changes_is_told_as_postgres_tells_it() {
    run(async {
        let rig = rig().await;
        let long = "x".repeat(80);
        for name in [long.as_str(), "caf\u{e9}"] {
            let direct =
                Login::to(&rig.postgres.address()).with("application_name", name).connect().await;
            let through = Login::to(rig.address()).with("application_name", name).connect().await;
            assert_eq!(through.parameters, direct.parameters, "{name}");
        }
    });
}

/// A server that was not told these settings so far, with somebody who wants them; and a lock behind
/// which it will wait when it is told.
async fn slow_to_set(rig: &Rig) -> (Client, tokio_postgres::Client) {
    let login = Login::to(rig.address());
    let client = login.with("options", "-c default_text_search_config=pg_catalog.simple");
    let client = client.connect().await;
    rig.postgres.sql("create table found (config text)").await;
    rig.postgres.sql("grant all on found to app").await;
    // What the login has looked up is in this server's memory: the next one must read it.
    rig.postgres
        .sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
        .await;
    rig.postgres.wait_for_servers("true", 0).await;
    rig.client().await.value("select 1").await;
    let locker = rig.postgres.connect("app").await.expect("the superuser can log in");
    let lock = "begin; lock table pg_ts_config in access exclusive mode";
    locker.batch_execute(lock).await.expect("nobody else locks it");
    (client, locker)
}

const BEING_SET: &str = "query like '%set_config%' and wait_event_type = 'Lock'";
const FIND: &str = "insert into found values (current_setting('default_text_search_config'))";

/// What a client's statements found when they ran.
async fn found(rig: &Rig) -> String {
    rig.postgres.value("select string_agg(config, ' ') from found").await
}

#[test]
fn nothing_runs_before_a_server_has_its_clients_settings() {
    run(async {
        let rig = rig().await;
        let (mut client, locker) = slow_to_set(&rig).await;
        // Whoever cancels the server itself, and the client that cancels its own query.
        for by_client in [false, true] {
            client.send(Batch::new().query(FIND)).await;
            rig.postgres.wait_for_servers(BEING_SET, 1).await;
            if by_client {
                client.cancel().await;
            } else {
                let cancel = "select pg_cancel_backend(pid) from pg_stat_activity";
                rig.postgres.sql(&format!("{cancel} where {BEING_SET}")).await;
            }
            assert_eq!(client.answer().await, ["E(ERROR 57014)", "Z(I)"], "{by_client}");
        }
        client.send(Batch::new().statement(FIND, &[])).await;
        rig.postgres.wait_for_servers(BEING_SET, 1).await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        drop(locker);
        assert_eq!(client.query(FIND).await, ["C(INSERT 0 1)", "Z(I)"]);
        assert_eq!(found(&rig).await, "pg_catalog.simple");
    });
}

#[test]
fn a_session_outlives_a_server_that_is_lost_before_it_has_its_settings() {
    run(async {
        let rig = rig().await;
        let (mut client, locker) = slow_to_set(&rig).await;
        client.send(Batch::new().query(FIND)).await;
        rig.postgres.wait_for_servers(BEING_SET, 1).await;
        let end = "select pg_terminate_backend(pid) from pg_stat_activity";
        rig.postgres.sql(&format!("{end} where {BEING_SET}")).await;
        assert_eq!(client.answer().await, ["E(ERROR 57P01)", "Z(I)"]);
        drop(locker);
        assert_eq!(client.query(FIND).await, ["C(INSERT 0 1)", "Z(I)"]);
        assert_eq!(found(&rig).await, "pg_catalog.simple");
    });
}

#[test]
fn who_says_goodbye_before_its_server_has_its_settings_is_served() {
    run(async {
        let rig = rig().await;
        let (mut leaver, locker) = slow_to_set(&rig).await;
        leaver.send(Batch::new().query(FIND)).await;
        rig.postgres.wait_for_servers(BEING_SET, 1).await;
        leaver.send(Batch::new().statement(FIND, &[]).terminate()).await;
        drop(leaver);
        throughout(Duration::from_millis(200), "the server waits", async || {
            rig.postgres.servers(BEING_SET).await == 1
        })
        .await;
        drop(locker);
        eventually("both statements have run", async || {
            (found(&rig).await == "pg_catalog.simple pg_catalog.simple").then_some(())
        })
        .await;
    });
}

/// `DISCARD ALL` is the first of its batch, so what the server reports at the end came behind it.
#[test]
fn what_is_set_behind_discard_all_is_its_clients_alone() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let login = Login::to(rig.address()).with("timezone", "Asia/Tokyo");
        let (mut setter, mut other) = (login.connect().await, rig.client().await);
        for sets in ["set datestyle to 'German'", "set timezone to 'Asia/Tokyo'"] {
            let batch = ["discard all", sets]
                .iter()
                .fold(Batch::new(), |batch, sql| batch.parse("", sql).bind("", &[]).execute());
            setter.ask(batch.sync()).await;
            assert_eq!(other.value("show datestyle").await, "ISO, MDY");
            assert_eq!(other.value("show timezone").await, "Etc/UTC");
            let datestyle = if sets.contains("German") { "German, DMY" } else { "ISO, MDY" };
            assert_eq!(setter.value("show datestyle").await, datestyle);
            assert_eq!(setter.value("show timezone").await, "Asia/Tokyo");
        }
        let discard = Batch::new().parse("", "discard all").bind("", &[]).execute();
        let set = discard.parse("", "set timezone to 'Asia/Seoul'").bind("", &[]).execute();
        let answer = setter.ask(set.sync()).await;
        let told = answer.iter().rfind(|frame| frame.starts_with("S(TimeZone"));
        assert_eq!(told.map(String::as_str), Some("S(TimeZone=Asia/Seoul)"), "{answer:?}");
        assert_eq!(setter.value("show timezone").await, "Asia/Seoul");
    });
}
