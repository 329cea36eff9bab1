//! Protocol use that is allowed and that pooling proxies got wrong. Starting protocols, options and
//! requests for encryption are in `startup`.

use std::time::Duration;

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, eventually, run};
use crate::harness::wire::Client;

#[test]
fn an_unnamed_statement_outlives_a_sync_and_stays_its_owners() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        assert_eq!(a.ask(Batch::new().parse("", "select 42").sync()).await, ["1", "Z(I)"]);
        assert_eq!(b.ask(Batch::new().parse("", "select 43").sync()).await, ["1", "Z(I)"]);
        let answer = a.ask(Batch::new().bind("", &[]).execute().sync()).await;
        assert_eq!(answer, ["2", "D(42)", "C(SELECT 1)", "Z(I)"]);
        let answer = b.ask(Batch::new().bind("", &[]).execute().sync()).await;
        assert_eq!(answer, ["2", "D(43)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn a_named_statement_outlives_a_sync_and_stays_its_owners() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        assert_eq!(a.ask(Batch::new().parse("same", "select 42").sync()).await, ["1", "Z(I)"]);
        assert_eq!(b.ask(Batch::new().parse("same", "select 43").sync()).await, ["1", "Z(I)"]);
        for (client, row) in [(&mut a, "D(42)"), (&mut b, "D(43)")] {
            let answer = client.ask(Batch::new().bind("same", &[]).execute().sync()).await;
            assert_eq!(answer, ["2", row, "C(SELECT 1)", "Z(I)"]);
        }
    });
}

#[test]
fn a_failed_first_statement_of_a_pipeline_skips_the_second_and_nothing_hangs() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        let both = Batch::new().parse("", "select 1 / (random() * 0)::int").bind("", &[]).execute();
        let both = both.parse("", "select 2").bind("", &[]).execute().sync();
        assert_eq!(client.ask(both).await, ["1", "2", "E(ERROR 22012)", "Z(I)"]);
        assert_eq!(client.value("select 3").await, "3");
        assert_eq!(rig.client().await.value("select 4").await, "4");
    });
}

#[test]
fn five_pipelined_statements_get_five_answers() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        let mut batch = Batch::new();
        for number in 0..5 {
            batch = batch.statement("select $1::int * 10", &[&number.to_string()]);
        }
        client.send(batch).await;
        for number in 0..5 {
            let row = format!("D({})", number * 10);
            assert_eq!(client.answer().await, ["1", "2", &row, "C(SELECT 1)", "Z(I)"]);
        }
    });
}

#[test]
fn a_flush_without_a_sync_is_answered() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.send(Batch::new().parse("", "select 5").bind("", &[]).execute().flush()).await;
        for expected in ["1", "2", "D(5)", "C(SELECT 1)"] {
            assert_eq!(client.wire.frame().await.shown(), expected);
        }
        assert_eq!(client.ask(Batch::new().sync()).await, ["Z(I)"]);
    });
}

#[test]
fn a_function_call_outside_a_transaction_is_answered() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        let oid = client.value("select 'int4pl(int,int)'::regprocedure::oid::int").await;
        let oid = oid.parse().expect("an oid is a number");
        let answer = client.ask(Batch::new().call_function(oid, &["40", "2"])).await;
        assert_eq!(answer, ["V(2 bytes)", "Z(I)"]);
        let answer = client.ask(Batch::new().call_function(oid, &["40", "x"])).await;
        assert_eq!(answer, ["E(ERROR 22P02)", "Z(I)"]);
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn a_time_zone_set_by_one_client_stays_its_own() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        let before = b.value("show timezone").await;
        let answer = a.query("set timezone = 'Asia/Tokyo'").await;
        assert_eq!(answer, ["C(SET)", "S(TimeZone=Asia/Tokyo)", "Z(I)"]);
        assert_eq!(b.value("show timezone").await, before);
        assert_eq!(a.value("show timezone").await, "Asia/Tokyo");
        assert_eq!(b.value("show timezone").await, before);
    });
}

#[test]
fn a_search_path_set_by_one_client_stays_its_own() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        let before = b.value("show search_path").await;
        assert_eq!(a.query("set search_path = foo").await, ["C(SET)", "Z(I)"]);
        assert_eq!(b.value("show search_path").await, before);
        assert_eq!(a.value("show search_path").await, "foo");
        assert_eq!(b.value("show search_path").await, before);
    });
}

#[test]
fn a_notification_reaches_an_idle_listener_in_session_mode() {
    run(async {
        let rig = Rig::start(Settings::new().pool_mode("session")).await;
        let (mut listener, mut notifier) = (rig.client().await, rig.client().await);
        assert_eq!(listener.query("listen news").await, ["C(LISTEN)", "Z(I)"]);
        notifier.query("notify news, 'hello'").await;
        assert_eq!(listener.wire.frame().await.shown(), "A(news,hello)");
        assert_eq!(listener.value("select 1").await, "1");
    });
}

#[test]
fn a_client_that_waits_in_vain_for_a_server_keeps_its_session() {
    run(async {
        let settings = Settings::new().pool_size(3);
        let rig = Rig::start(settings.set("query_wait_timeout", Duration::from_millis(500))).await;
        let mut holders: Vec<Client> = Vec::new();
        for _ in 0..3 {
            let mut holder = rig.client().await;
            assert_eq!(holder.query("begin").await, ["C(BEGIN)", "Z(T)"]);
            holders.push(holder);
        }
        let mut fourth = rig.client().await;
        let watch = Watch::start();
        let answer = fourth.query("select 1").await;
        let answer: Vec<&String> = answer.iter().filter(|shown| !shown.starts_with('N')).collect();
        assert_eq!(answer, ["E(ERROR 57014)", "Z(I)"]);
        assert!(watch.elapsed() >= Duration::from_millis(450), "waited {:?}", watch.elapsed());
        assert_eq!(holders[0].query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(fourth.value("select 4").await, "4");
    });
}

#[test]
fn a_cancel_ends_the_running_query() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        rig.postgres.wait_for_servers("query like '%pg_sleep(30)%' and state = 'active'", 1).await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn a_cancel_with_an_idle_clients_key_hits_nobody() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let (mut idle, mut busy) = (rig.client().await, rig.client().await);
        assert_eq!(idle.value("select 1").await, "1");
        busy.send(Batch::new().query("select pg_sleep(0.3), 'unharmed'")).await;
        rig.postgres.wait_for_servers("query like '%unharmed%' and state = 'active'", 1).await;
        idle.cancel().await;
        let answer = busy.answer().await;
        assert_eq!(answer, ["T(pg_sleep,?column?)", "D(,unharmed)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn copy_to_stdout_is_relayed() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        let answer = client.query("copy (select generate_series(1, 3)) to stdout").await;
        assert_eq!(answer, ["H", "d(1\n)", "d(2\n)", "d(3\n)", "c", "C(COPY 3)", "Z(I)"]);
    });
}

#[test]
fn an_idle_server_of_another_user_makes_room() {
    run(async {
        let rig = Rig::start(Settings::new().set("max_db_connections", 1)).await;
        let mut first = rig.client().await;
        assert_eq!(first.value("select current_user").await, "app");
        rig.postgres.sql("grant connect on database app to other").await;
        let mut second = Login::to(rig.address()).user("other", "other-secret").connect().await;
        assert_eq!(second.value("select current_user").await, "other");
        assert_eq!(rig.postgres.servers("datname = 'app'").await, 1);
        assert_eq!(first.value("select current_user").await, "app");
        eventually("one server is left", async || {
            (rig.postgres.servers("datname = 'app'").await == 1).then_some(())
        })
        .await;
    });
}

/// Whatever a client prepared goes with it: its server is cleaned, or closed.
#[test]
fn a_name_is_free_again_when_its_client_has_gone() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        for round in 0..5 {
            let mut client = rig.client().await;
            let sql = format!("select {round}");
            assert_eq!(client.ask(Batch::new().parse("same", &sql).sync()).await, ["1", "Z(I)"]);
            let row = format!("D({round})");
            let answer = client.ask(Batch::new().bind("same", &[]).execute().sync()).await;
            assert_eq!(answer, ["2", &row, "C(SELECT 1)", "Z(I)"]);
            client.send(Batch::new().terminate()).await;
        }
    });
}

#[test]
fn many_clients_prepare_the_same_names_at_once() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(6)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..6 {
            let address = rig.address().clone();
            tasks.spawn(async move {
                let mut client = Client::connect(&address).await;
                for round in 0..20 {
                    let name = format!("P_{round}");
                    let value = number * 100 + round;
                    let batch = Batch::new().parse(&name, &format!("select {value}")).sync();
                    assert_eq!(client.ask(batch).await, ["1", "Z(I)"], "{name}");
                    let row = format!("D({value})");
                    let answer = client.ask(Batch::new().bind(&name, &[]).execute().sync()).await;
                    assert_eq!(answer, ["2", &row, "C(SELECT 1)", "Z(I)"], "{name}");
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not fail");
        }
    });
}
