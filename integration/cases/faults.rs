//! Postgres down, restarting, refusing or silent: clients are told the truth, and the pool recovers by
//! itself.

use std::time::Duration;

use crate::harness::cutter::{Cutter, Plan, Way};
use crate::harness::frames::{Batch, Frame, excerpt, shown};
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, eventually, run, within};
use crate::harness::wire::Client;

const SHORT: Duration = Duration::from_millis(700);
const ASLEEP: &str = "query like 'select pg_sleep%' and state = 'active'";

/// A short wait for a server, and one server.
fn impatient() -> Settings {
    Settings::new()
        .pool_size(1)
        .set("query_wait_timeout", SHORT)
        .set("server_connect_timeout", SHORT)
        .set("server_down_hold", Duration::from_millis(300))
}

async fn assert_recovers(rig: &Rig) {
    eventually("clients are served again", async || {
        let mut client = Login::to(rig.address()).attempt().await.ok()?;
        (client.query("select 'back'").await.get(1)? == "D(back)").then_some(())
    })
    .await;
}

#[test]
fn postgres_may_start_after_the_proxy() {
    run(async {
        let mut postgres = Postgres::start().await;
        postgres.shut_down();
        let proxy = Proxy::start(&impatient(), &postgres.address()).await;
        let mut rig = Rig { proxy, postgres };
        let error = Login::to(rig.address()).error().await;
        assert_eq!(error.shown(), "E(FATAL 57P03)");
        assert_eq!(error.message(), "the database system is not accepting connections");
        rig.postgres.resume().await;
        assert_recovers(&rig).await;
    });
}

#[test]
fn a_session_outlives_a_postgres_that_was_away() {
    run(async {
        let mut rig = Rig::start(impatient()).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.shut_down();
        let error = client.error("select 2").await;
        assert_eq!(error.shown(), "E(ERROR 57014)");
        assert_eq!(error.message(), "canceling statement: database server is not available");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_server_down"));
        rig.postgres.resume().await;
        eventually("the same session is served again", async || {
            (client.query("select 3").await.get(1)? == "D(3)").then_some(())
        })
        .await;
    });
}

#[test]
fn a_short_restart_is_waited_out() {
    run(async {
        let mut rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut clients = vec![rig.client().await, rig.client().await, rig.client().await];
        assert_eq!(clients[0].value("select 1").await, "1");
        rig.postgres.shut_down();
        for client in &mut clients {
            client.send(Batch::new().query("select 'served'")).await;
        }
        rig.postgres.resume().await;
        for client in &mut clients {
            assert_eq!(client.answer().await, ["T(?column?)", "D(served)", "C(SELECT 1)", "Z(I)"]);
        }
    });
}

/// Terminates the only server, and waits until its process is gone.
async fn terminate_server(rig: &Rig) {
    let pid = rig.postgres.value("select pid from pg_stat_activity where usename = 'app'").await;
    rig.postgres.sql(&format!("select pg_terminate_backend({pid})")).await;
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    eventually("the server is gone", async || (!process.exists()).then_some(())).await;
}

#[test]
fn nobody_notices_that_an_idle_server_was_terminated() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        for round in 0..10 {
            assert_eq!(client.value(&format!("select {round}")).await, round.to_string());
            terminate_server(&rig).await;
        }
        assert_eq!(client.value("select 'unharmed'").await, "unharmed");
    });
}

#[test]
fn a_client_whose_server_is_terminated_in_a_query_keeps_its_session() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        rig.postgres.wait_for_servers(ASLEEP, 1).await;
        terminate_server(&rig).await;
        let frames = client.wire.until_ready().await;
        let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
        assert_eq!(error.shown(), "E(ERROR 57P01)");
        assert_eq!(error.message(), "terminating connection due to administrator command");
        assert_eq!(frames.last().expect("not empty").shown(), "Z(I)");
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn a_lost_transaction_stays_failed_until_it_is_rolled_back() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        for (end, tag) in [("rollback", "C(ROLLBACK)"), ("commit", "C(ROLLBACK)")] {
            let mut client = rig.client().await;
            client.query("begin").await;
            client.send(Batch::new().query("select pg_sleep(30)")).await;
            rig.postgres.wait_for_servers(ASLEEP, 1).await;
            terminate_server(&rig).await;
            let answer = client.answer().await;
            assert_eq!(answer[answer.len() - 2..], ["E(ERROR 57P01)", "Z(E)"]);
            assert_eq!(client.query("select 1").await, ["E(ERROR 25P02)", "Z(E)"]);
            let answer = client.ask(Batch::new().statement("select 1", &[])).await;
            assert_eq!(answer, ["E(ERROR 25P02)", "Z(E)"]);
            assert_eq!(client.query(end).await, [tag, "Z(I)"]);
            assert_eq!(client.value("select 2").await, "2");
        }
    });
}

/// Nobody can know whether the transaction was committed: that must not look safe to repeat.
#[test]
fn a_commit_whose_answer_was_lost_is_told_as_unknown() {
    run(async {
        let postgres = Postgres::start().await;
        let query = |sql| Batch::new().query(sql);
        let insert = "insert into pg_temp.perhaps default values";
        let one_text = format!("{insert}; commit");
        let another = format!("{insert}; commit; begin");
        let whole = format!("begin; create table certainly (); {insert}; end");
        let cases = [
            (query("commit"), 1, "Z(I)"),
            (query("commit").query("select 1"), 2, "Z(I)"),
            (query("begin").query("create table certainly ()").query("commit"), 3, "Z(I)"),
            (query(&one_text), 1, "Z(I)"),
            (query(&whole), 1, "Z(I)"),
            (query("prepare transaction 'x'"), 1, "Z(I)"),
            (Batch::new().statement("commit", &[]), 1, "Z(I)"),
            // What was meant for the next transaction runs in none.
            (query("commit and chain"), 1, "Z(E)"),
            (query(&another), 1, "Z(E)"),
            (query("commit").query("begin"), 2, "Z(E)"),
        ];
        for (batch, answers, ready) in cases {
            let link = Cutter::start(&postgres.address(), Plan::default).await;
            let proxy = Proxy::start(&Settings::new().pool_size(1), &link.address).await;
            let mut client = Client::connect(&proxy.address).await;
            if answers < 3 {
                client.query("begin; create temp table perhaps ()").await;
            } else {
                client.query("select 1").await;
            }
            postgres.freeze();
            let before = link.carried_forth();
            let sent = excerpt(&batch.0);
            client.send(batch).await;
            eventually("the COMMIT is on its way", async || {
                (link.carried_forth() > before).then_some(())
            })
            .await;
            link.cut_all();
            assert_eq!(client.answer().await, ["E(ERROR 08007)", ready], "{sent}");
            for _ in 1..answers {
                let next = if ready == "Z(I)" { "E(ERROR 08007)" } else { "E(ERROR 25P02)" };
                assert_eq!(client.answer().await, [next, ready], "{sent}");
            }
            postgres.thaw();
            if ready == "Z(E)" {
                assert_eq!(client.query("create table never ()").await, ["E(ERROR 25P02)", ready]);
                assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
            }
            assert_eq!(client.value("select 1").await, "1");
        }
    });
}

#[test]
fn a_crash_in_mid_use_is_survived() {
    run(async {
        let mut rig = Rig::start(Settings::new().pool_size(2)).await;
        let (mut busy, mut idle) = (rig.client().await, rig.client().await);
        assert_eq!(idle.value("select 1").await, "1");
        busy.send(Batch::new().query("select pg_sleep(30)")).await;
        rig.postgres.wait_for_servers(ASLEEP, 1).await;
        rig.postgres.crash();
        let answer = busy.answer().await;
        let told = ["E(ERROR 57P01)", "E(ERROR 57P02)", "E(ERROR 08006)"];
        assert!(told.contains(&answer[answer.len() - 2].as_str()), "{answer:?}");
        rig.postgres.resume().await;
        assert_eq!(idle.value("select 2").await, "2");
        assert_eq!(busy.value("select 3").await, "3");
    });
}

#[test]
fn a_silent_postgres_is_told_of_and_recovered_from() {
    run(async {
        let rig = Rig::start(impatient().pool_size(2)).await;
        let mut running = rig.client().await;
        running.send(Batch::new().query("select pg_sleep(0.5), 'late'")).await;
        rig.postgres.wait_for_servers(ASLEEP, 1).await;
        rig.postgres.freeze();
        let timing = Timing::start();
        let refusal = Login::to(rig.address()).attempt().await;
        let code = match refusal {
            // A login that needs no server is let in, and told at its first query.
            Ok(mut client) => client.error("select 1").await.code(),
            Err(refused) => refused.frames.last().map(Frame::code).unwrap_or_default(),
        };
        assert!(["57P03", "57014", "53300"].contains(&code.as_str()), "{code}");
        timing.is_below(Duration::from_secs(10));
        rig.postgres.thaw();
        assert_eq!(running.answer().await[1], "D(,late)");
        assert_recovers(&rig).await;
        assert!(rig.postgres.servers("usename = 'app'").await <= 2);
    });
}

#[test]
fn a_missing_database_is_told_in_postgres_words() {
    run(async {
        let rig = Rig::start(Settings::new().database("second", "dbname", "missing")).await;
        let error = Login::to(rig.address()).database("second").error().await;
        assert_eq!(error.shown(), "E(FATAL 3D000)");
        assert_eq!(error.message(), "database \"missing\" does not exist");
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_full_postgres_is_told_as_53300_and_recovered_from() {
    run(async {
        let postgres = Postgres::start_with("max_connections = 6").await;
        let mut hogs = Vec::new();
        while let Ok(hog) = postgres.connect("app").await {
            hogs.push(hog);
        }
        let proxy = Proxy::start(&impatient(), &postgres.address()).await;
        let rig = Rig { proxy, postgres };
        let error = Login::to(rig.address()).error().await;
        assert_eq!(error.shown(), "E(FATAL 53300)");
        drop(hogs);
        assert_recovers(&rig).await;
    });
}

/// What a client may be told when its server's link was cut.
const CUT: &[&str] = &["E(ERROR 08006)", "E(ERROR 57014)", "E(FATAL 57P03)", "E(FATAL 53300)"];

/// An answer, or nothing: when a server is lost within a message of which the client has a part,
/// nothing can be said any more and its connection ends, too.
async fn answer_or_end(client: &mut Client, sql: &str) -> Option<Vec<String>> {
    client.send(Batch::new().query(sql)).await;
    let mut answer = Vec::new();
    loop {
        let frame = within(Duration::from_secs(10), client.wire.try_frame()).await;
        let Some(frame) = frame else {
            let part = client.wire.unread();
            panic!("{sql} was left unanswered after {answer:?} and a part: {part}");
        };
        answer.push(frame.ok()??.shown());
        if answer.last().is_some_and(|shown| shown.starts_with('Z')) {
            return Some(answer);
        }
    }
}

#[test]
fn a_server_link_may_be_cut_at_any_byte() {
    run(async {
        let postgres = Postgres::start().await;
        let mut connection = 0;
        let link = Cutter::start(&postgres.address(), move || {
            connection += 1;
            // The login takes some 400 bytes, each answer some 70.
            let back = Way { cut_after: Some(connection * 11), ..Way::default() };
            Plan { back, ..Plan::default() }
        })
        .await;
        let settings =
            Settings::new().pool_size(1).set("server_login_retry", Duration::from_millis(100));
        let proxy = Proxy::start(&settings, &link.address).await;
        let mut right = 0;
        // Each new connection to Postgres lives a little longer, until whole answers pass.
        for round in 0.. {
            if right >= 100 {
                break;
            }
            let mut client = match Login::to(&proxy.address).attempt().await {
                Ok(client) => client,
                Err(refused) => {
                    let told = shown(&refused.frames).last().cloned().unwrap_or_default();
                    assert!(CUT.contains(&told.as_str()), "login {round}: {refused:?}");
                    // It tries again less often the longer that fails.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            for _ in 0..3 {
                let row = format!("D(round {round})");
                let Some(answer) =
                    answer_or_end(&mut client, &format!("select 'round {round}'")).await
                else {
                    break;
                };
                let error = answer.iter().find(|shown| shown.starts_with('E'));
                match error {
                    None => assert_eq!(answer[1..], [row.as_str(), "C(SELECT 1)", "Z(I)"]),
                    Some(error) => assert!(CUT.contains(&error.as_str()), "{round}: {answer:?}"),
                }
                right += usize::from(error.is_none());
            }
        }
    });
}

#[test]
fn a_client_link_may_be_cut_at_any_byte() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let batch =
            Batch::new().query("begin").statement("select $1::text", &["value"]).query("commit");
        let login = Login::to(rig.address());
        let length = (login.message().len() + batch.0.len()) as u64;
        let mut connection = 0;
        let link = Cutter::start(rig.address(), move || {
            connection += 1;
            let forth = Way { cut_after: Some(connection), ..Way::default() };
            Plan { forth, ..Plan::default() }
        })
        .await;
        for _ in 1..length {
            let Ok(mut client) = Login::to(&link.address).attempt().await else { continue };
            client.wire.try_send(&batch.0).await.ok();
            client.wire.until_closed().await;
        }
        assert_eq!(rig.client().await.value("select 'unharmed'").await, "unharmed");
        assert!(rig.postgres.servers("true").await <= 1);
    });
}
