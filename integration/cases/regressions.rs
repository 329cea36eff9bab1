//! What was wrong once, about what clients leave to each other: statements, settings, half messages.

use crate::harness::cutter::{Cutter, Plan};
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::{Client, Wire};

/// With one server, whatever one client leaves behind is what the next finds.
async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

#[test]
fn a_skipped_parse_gives_nobody_the_unnamed_statement_of_another() {
    run(async {
        let rig = rig().await;
        let (mut owner, mut other) = (rig.client().await, rig.client().await);
        let answer = owner.ask(Batch::new().statement("select 'secret'", &[])).await;
        assert_eq!(answer, ["1", "2", "D(secret)", "C(SELECT 1)", "Z(I)"]);
        let skipped = Batch::new().bind("nope", &[]).parse("", "select 1").sync();
        assert_eq!(other.ask(skipped).await, ["E(ERROR 26000)", "Z(I)"]);
        let answer = other.ask(Batch::new().bind("", &[]).execute().sync()).await;
        assert_eq!(answer, ["E(ERROR 26000)", "Z(I)"]);
    });
}

/// The answer that would have told of the trace comes when its client has gone.
#[test]
fn a_client_that_leaves_before_its_answer_leaves_no_trace() {
    run(async {
        let rig = rig().await;
        let path = rig.client().await.value("show search_path").await;
        let traces = "select (select count(*) from pg_prepared_statements where name = 'evil') \
                      + (select count(*) from pg_listening_channels())";
        for round in 0..20 {
            for sql in ["set search_path = evil", "prepare evil as select 1", "listen evil"] {
                let mut leaver = rig.client().await;
                let batch = Batch::new().query(sql);
                leaver.send(if round % 2 == 0 { batch } else { batch.terminate() }).await;
                drop(leaver);
                let mut next = rig.client().await;
                assert_eq!(next.value("show search_path").await, path, "{sql}, round {round}");
                assert_eq!(next.value(traces).await, "0", "{sql}, round {round}");
            }
        }
    });
}

#[test]
fn a_query_behind_the_startup_packet_is_answered_and_frees_its_server() {
    run(async {
        let rig = rig().await;
        // The first finds no server yet, the others one that is idle.
        for round in 0..3 {
            let mut wire = Wire::connect(rig.address()).await;
            let mut bytes = Login::to(rig.address()).message();
            bytes.extend(Batch::new().query(&format!("select {round} as early")).0);
            wire.send(&bytes).await;
            wire.until_ready().await;
            let answer = shown(&wire.until_ready().await);
            let row = format!("D({round})");
            assert_eq!(answer, ["T(early)", &row, "C(SELECT 1)", "Z(I)"]);
            assert_eq!(rig.client().await.value("select 'free'").await, "free");
        }
    });
}

#[test]
fn a_query_with_a_goodbye_behind_it_is_executed() {
    run(async {
        let rig = rig().await;
        rig.client().await.query("create table numbers (n int)").await;
        for number in 0..3 {
            let mut leaver = rig.client().await;
            let sql = format!("insert into numbers select {number} from pg_sleep(0.1)");
            leaver.send(Batch::new().query(&sql).terminate()).await;
            leaver.wire.until_closed().await;
        }
        eventually("every row is there", async || {
            (rig.postgres.value("select count(*) from numbers").await == "3").then_some(())
        })
        .await;
        assert_eq!(rig.client().await.value("select 'free'").await, "free");
    });
}

/// Two bytes before its end, a Terminate behind it would make the statement whole.
#[test]
fn a_half_sent_query_of_a_client_that_died_is_never_executed() {
    run(async {
        let postgres = Postgres::start().await;
        let link = Cutter::start(&postgres.address(), Plan::default).await;
        let proxy = Proxy::start(&Settings::new().pool_size(1), &link.address).await;
        let mut dying = Client::connect(&proxy.address).await;
        dying.query("create table numbers (n int)").await;
        let server = dying.value("select pg_backend_pid()").await;
        let before = link.carried_forth();
        // A shorter one is not begun before it is whole.
        let filling = "p".repeat(60_000);
        let sql =
            format!("insert into numbers select 7 /*{filling}*/ from generate_series(1, 1) y");
        let message = Batch::new().query(&sql).0;
        let half = &message[..message.len() - 2];
        dying.wire.send(half).await;
        eventually("the half is on its way", async || {
            (link.carried_forth() >= before + half.len() as u64).then_some(())
        })
        .await;
        drop(dying);
        postgres.wait_for_servers(&format!("pid = {server}"), 0).await;
        let mut next = Client::connect(&proxy.address).await;
        assert_eq!(next.value("select count(*) from numbers").await, "0");
    });
}

#[test]
fn a_setting_is_read_as_it_was_written_whatever_encoding_another_has() {
    run(async {
        let rig = rig().await;
        let login = |encoding| Login::to(rig.address()).with("client_encoding", encoding);
        let mut latin = login("LATIN1").connect().await;
        let mut unicode =
            login("UTF8").with("options", "-c search_path=\u{e9}cole").connect().await;
        for _ in 0..3 {
            assert_eq!(latin.value("show client_encoding").await, "LATIN1");
            assert_eq!(unicode.value("show search_path").await, "\u{e9}cole");
            assert_eq!(unicode.value("show client_encoding").await, "UTF8");
        }
    });
}

/// Neither what the client set nor what its DSN did: a query that resets nothing hides neither.
#[test]
fn a_reset_query_that_resets_nothing_leaves_no_settings_behind() {
    run(async {
        let settings = Settings::new().pool_mode("session").pool_size(1);
        let rig = Rig::start(settings.set("server_reset_query", "select 1")).await;
        let mut first = rig.client().await;
        let path = first.value("show search_path").await;
        let memory = first.value("show work_mem").await;
        drop(first);
        for set in ["select 1", "set work_mem = '7MB'", "set search_path = evil"] {
            let login = Login::to(rig.address()).with("options", "-c search_path=tenant");
            let mut leaver = login.connect().await;
            assert_eq!(leaver.value("show search_path").await, "tenant", "before {set}");
            leaver.query(set).await;
            drop(leaver);
            let mut next = rig.client().await;
            assert_eq!(next.value("show search_path").await, path, "after {set}");
            assert_eq!(next.value("show work_mem").await, memory, "after {set}");
        }
    });
}

/// The server has lost what the DSN asks for, and the next client asks for the same.
#[test]
fn a_reset_query_that_resets_everything_takes_nothing_from_the_next() {
    run(async {
        for reset in ["reset all", "discard all", "DISCARD  ALL;", "reset search_path"] {
            let settings = Settings::new().pool_mode("session").pool_size(1);
            let rig = Rig::start(settings.set("server_reset_query", reset)).await;
            let login = Login::to(rig.address()).with("options", "-c search_path=tenant");
            for round in 0..3 {
                let mut client = login.connect().await;
                let path = client.value("show search_path").await;
                assert_eq!(path, "tenant", "after {reset}, round {round}");
            }
        }
    });
}
