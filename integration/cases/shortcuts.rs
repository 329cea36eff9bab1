//! Pings, and a `BEGIN` that nothing follows, need no server.

use super::http::{metric, settings as http_at};
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Client;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(500);

/// One server, for which nobody waits long.
fn one_server() -> Settings {
    Settings::new().pool_size(1).set("query_wait_timeout", SHORT)
}

fn deferring() -> Settings {
    one_server().set("defer_begin", true)
}

#[test]
fn a_client_that_has_only_begun_holds_no_server() {
    run(async {
        let rig = Rig::start(deferring()).await;
        let (mut thinker, mut worker) = (rig.client().await, rig.client().await);
        assert_eq!(thinker.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        assert_eq!(worker.query("create table kept (a int)").await, ["C(CREATE TABLE)", "Z(I)"]);
        // The first statement takes the server, and the transaction is one.
        let insert = "insert into kept values (1)";
        assert_eq!(thinker.query(insert).await, ["C(INSERT 0 1)", "Z(T)"]);
        assert_eq!(worker.error("select 1").await.code(), "57014", "now it has the server");
        assert_eq!(thinker.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
        assert_eq!(worker.value("select count(*) from kept").await, "0");
    });
}

#[test]
fn without_the_option_a_client_that_has_begun_holds_its_server() {
    run(async {
        let rig = Rig::start(one_server()).await;
        let (mut thinker, mut worker) = (rig.client().await, rig.client().await);
        thinker.query("begin").await;
        assert_eq!(worker.error("select 1").await.code(), "57014");
    });
}

/// Several requests at once, each answered as Postgres answers it.
#[test]
fn a_deferred_begin_is_one_in_a_pipeline_too() {
    run(async {
        let http = Port::take();
        let settings = http_at(&http).pool_size(1).set("query_wait_timeout", SHORT);
        let settings = settings.set("defer_begin", true).set("answer_pings", "select");
        let rig = Rig::start(settings).await;
        let (mut direct, mut through) =
            (Client::connect(&rig.postgres.address()).await, rig.client().await);
        let pipelines = [
            Batch::new().query("begin").query("commit").query("commit"),
            Batch::new().query("begin").query("begin").query("rollback"),
            Batch::new().query("begin").statement("select 1/0", &[]).query("select 1").query("end"),
            Batch::new().query("begin").statement("", &[]).query(";").sync().query("abort"),
            Batch::new().query("begin").statement("select 1", &[]).query("select 1").query("end"),
            Batch::new().query("begin").statement("commit", &[]).statement(";", &[]),
            Batch::new().statement("begin", &[]).query("select 1").query("commit").query(""),
            Batch::new().query("begin read only").query("create table t ()").query("commit"),
            Batch::new().query("begin").query("commit and chain").query("rollback"),
            Batch::new().query("begin").query("savepoint a").query("rollback to a").query("end"),
            Batch::new().query("begin isolation level serializable; select 1").query("end"),
            Batch::new().query("select 1 /* open").query("begin /* open").query("select 5"),
            Batch::new().query("begin").query("commit /* open").query("commit"),
            Batch::new().raw(b'Q', b"; -- \xff\0").raw(b'Q', b"select 1 -- \xff\0"),
            Batch::new().query("begin").raw(b'Q', b"commit -- \xff\0").query("rollback"),
            // What a ping leaves behind.
            Batch::new()
                .query("begin")
                .statement("", &[])
                .bind("", &[])
                .execute()
                .sync()
                .query("end"),
            Batch::new().query("begin").statement(";", &[]).describe_portal("").sync().query("end"),
            // Not quite pings.
            Batch::new().raw(b'P', b"\0--\0xyz\0\0\0").bind("", &[]).execute().sync(),
            Batch::new().raw(b'P', b"\0--\0\0\x01\0\0\0\0").bind("", &[]).execute().sync(),
            Batch::new()
                .parse("", "select 1")
                .describe_statement("")
                .bind("", &[])
                .execute()
                .sync(),
            Batch::new().parse("", "select 1").bind("", &[]).describe_portal("").execute().sync(),
        ];
        for pipeline in pipelines {
            assert_eq!(
                answers(&mut through, pipeline.clone()).await,
                answers(&mut direct, pipeline).await
            );
        }
        // Those that can be.
        let taken = metric(&http, SHORTCUTS).await;
        assert!(taken >= 15.0, "few were taken: {taken}");
    });
}

const SHORTCUTS: &str = r#"pgweir_pool_shortcuts_total{database="app",user="app"}"#;

/// All answers up to one that nothing else looks like.
async fn answers(client: &mut Client, batch: Batch) -> Vec<String> {
    client.send(batch.query("select 'the end'")).await;
    let mut answers = Vec::new();
    while answers.last().is_none_or(|last| last != "D(the end)") {
        answers.push(client.wire.frame().await.shown());
    }
    client.wire.until_ready().await;
    answers
}

/// What a transaction is to be, it is from its `BEGIN`.
#[test]
fn a_reload_changes_no_transaction_that_has_begun() {
    run(async {
        let settings = with_console(deferring());
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let mut client = rig.client().await;
        client.query("begin").await;
        rig.configure(&settings.pool_mode("statement"));
        console.order("RELOAD").await;
        assert_eq!(client.query("select 1").await.last().unwrap(), "Z(T)");
        assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        client.send(Batch::new().query("begin")).await;
        let last = client.wire.until_closed().await.pop().expect("an answer");
        assert_eq!(last.shown(), "E(FATAL 0A000)", "the next is under new terms");
    });
}

/// Postgres tells of a setting that has changed with the next answer, which is that to the `BEGIN`.
#[test]
fn news_that_come_with_a_deferred_begin_reach_the_client() {
    run(async {
        let rig = Rig::start(deferring()).await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        rig.postgres.sql("alter system set timezone = 'Asia/Tokyo'").await;
        rig.postgres.sql("select pg_reload_conf()").await;
        let tells = |answer: &[String]| answer.contains(&"S(TimeZone=Asia/Tokyo)".to_owned());
        let mut is_told = false;
        eventually("the client hears of it", async || {
            client.query("begin").await;
            let answer = client.query("select current_setting('timezone')").await;
            is_told |= tells(&answer);
            let is_set = answer.contains(&"D(Asia/Tokyo)".to_owned());
            assert_eq!(is_set, is_told, "{answer:?}");
            // Postgres reads its files before any command: the news may come with this one.
            is_told |= tells(&client.query("commit").await);
            is_set.then_some(())
        })
        .await;
    });
}

#[test]
fn what_is_refused_behind_a_deferred_begin_has_failed_its_transaction() {
    run(async {
        let rig = Rig::start(deferring()).await;
        let (mut holder, mut waiter) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        holder.query("select 1").await;
        for is_simple in [true, false] {
            waiter.query("begin").await;
            let request = if is_simple {
                Batch::new().query("select 1")
            } else {
                Batch::new().statement("select 1", &[])
            };
            assert_eq!(waiter.ask(request).await, ["E(ERROR 57014)", "Z(E)"]);
            assert_eq!(waiter.query("select 2").await, ["E(ERROR 25P02)", "Z(E)"]);
            assert_eq!(waiter.query("commit").await, ["C(ROLLBACK)", "Z(I)"]);
        }
        holder.query("commit").await;
        assert_eq!(waiter.value("select 3").await, "3");
    });
}

#[test]
fn a_ping_is_answered_while_all_servers_are_busy() {
    run(async {
        let rig = Rig::start(one_server()).await;
        let (mut holder, mut other) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        for sql in ["", ";", "-- ping"] {
            assert_eq!(other.query(sql).await, ["I", "Z(I)"], "{sql:?}");
        }
        assert_eq!(other.ask(Batch::new().statement("", &[])).await, ["1", "2", "I", "Z(I)"]);
        let error = other.error("select 1").await;
        assert_eq!(
            error.code(),
            "57014",
            "that may mean more than a ping, if nobody says otherwise"
        );
    });
}

#[test]
fn which_pings_are_answered_can_be_chosen() {
    run(async {
        let rig = Rig::start(one_server().set("answer_pings", "select").user_set(
            "other",
            "answer_pings",
            "off",
        ))
        .await;
        let (mut holder, mut app) = (rig.client().await, rig.client().await);
        let mut other = Login::to(rig.address()).user("other", "other-secret").connect().await;
        other.query(";").await;
        for client in [&mut holder, &mut other] {
            client.query("begin").await;
        }
        assert_eq!(app.query("select 1").await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
        let batch = Batch::new().statement("select 1", &[]);
        assert_eq!(app.ask(batch).await, ["1", "2", "D(1)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(app.error("select 2").await.code(), "57014");
        let mut other = Login::to(rig.address()).user("other", "other-secret").connect().await;
        assert_eq!(other.error(";").await.code(), "57014");
    });
}

#[test]
fn a_ping_tells_that_postgres_answers_nothing() {
    run(async {
        let rig = Rig::start(one_server()).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.freeze();
        eventually("a ping is not answered", async || {
            let answer = within(SHORT, client.query(";")).await;
            answer.is_none().then_some(())
        })
        .await;
        rig.postgres.thaw();
    });
}

#[test]
fn a_ping_tells_that_postgres_is_down() {
    run(async {
        let settings = one_server().set("query_wait_timeout", Duration::from_secs(20));
        let mut rig = Rig::start(settings.set("server_down_hold", SHORT)).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.shut_down();
        eventually("a ping fails", async || {
            client.query(";").await[0].starts_with("E(").then_some(())
        })
        .await;
    });
}
