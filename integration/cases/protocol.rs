//! The protocol inside a session: simple and extended queries, pipelines, large messages.

use crate::harness::frames::{Batch, shown};
use crate::harness::proxy::{Rig, Target};
use crate::harness::settings::Settings;
use crate::harness::time::run;

const MEBIBYTE: usize = 1024 * 1024;

async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

#[test]
fn simple_queries_are_answered() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        assert_eq!(client.query("").await, ["I", "Z(I)"]);
        assert_eq!(client.query(" ; ").await, ["I", "Z(I)"]);
        assert_eq!(
            client.query("select 1 as one").await,
            ["T(one)", "D(1)", "C(SELECT 1)", "Z(I)"]
        );
        let several = client.query("select 1 as a; select null as b; create temp table t()").await;
        let expected = ["T(a)", "D(1)", "C(SELECT 1)", "T(b)", "D(null)", "C(SELECT 1)"];
        assert_eq!(several[..6], expected);
        assert_eq!(several[6..], ["C(CREATE TABLE)", "Z(I)"]);
        let failing = client.query("select 1 as a; select 1/0; select 3").await;
        assert_eq!(failing, ["T(a)", "D(1)", "C(SELECT 1)", "E(ERROR 22012)", "Z(I)"]);
        assert_eq!(client.query("selec").await, ["E(ERROR 42601)", "Z(I)"]);
    });
}

#[test]
fn transactions_keep_their_status() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        assert_eq!(client.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        assert_eq!(client.query("select 1/0").await, ["E(ERROR 22012)", "Z(E)"]);
        assert_eq!(client.query("select 1").await, ["E(ERROR 25P02)", "Z(E)"]);
        assert_eq!(client.query("commit").await, ["C(ROLLBACK)", "Z(I)"]);
        let answer = client.query("begin; select 1 as a; commit; begin").await;
        let expected = ["C(BEGIN)", "T(a)", "D(1)", "C(SELECT 1)", "C(COMMIT)", "C(BEGIN)", "Z(T)"];
        assert_eq!(answer, expected);
        assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn extended_queries_are_answered() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let batch = Batch::new().parse("", "select $1::text as it").describe_statement("");
        let batch = batch.bind("", &["hello"]).describe_portal("").execute().sync();
        let expected = ["1", "t", "T(it)", "2", "T(it)", "D(hello)", "C(SELECT 1)", "Z(I)"];
        assert_eq!(client.ask(batch).await, expected);
        let batch = Batch::new().parse("", "").bind("", &[]).describe_portal("").execute().sync();
        assert_eq!(client.ask(batch).await, ["1", "2", "n", "I", "Z(I)"]);
        let batch = Batch::new().parse("named", "select 7").bind("named", &[]).execute();
        let batch = batch.close_statement("named").sync();
        assert_eq!(client.ask(batch).await, ["1", "2", "D(7)", "C(SELECT 1)", "3", "Z(I)"]);
        let gone = client.ask(Batch::new().bind("named", &[]).execute().sync()).await;
        assert_eq!(gone, ["E(ERROR 26000)", "Z(I)"]);
        let unknown = client.ask(Batch::new().close_statement("never").sync()).await;
        assert_eq!(unknown, ["3", "Z(I)"]);
    });
}

#[test]
fn an_error_in_the_middle_of_a_pipeline_skips_to_the_next_sync_only() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let batch = Batch::new().statement("select 1", &[]).parse("", "selec").bind("", &[]);
        let batch = batch.execute().parse("", "select 2").bind("", &[]).execute().sync();
        client.send(batch.statement("select 3", &[]).query("select 4 as four")).await;
        assert_eq!(client.answer().await, ["1", "2", "D(1)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(client.answer().await, ["E(ERROR 42601)", "Z(I)"]);
        assert_eq!(client.answer().await, ["1", "2", "D(3)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(client.answer().await, ["T(four)", "D(4)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn simple_queries_can_be_pipelined() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let batch = Batch::new().query("begin").query("select 1 as a").query("selec");
        client.send(batch.query("rollback").query("select 2 as b")).await;
        assert_eq!(client.answer().await, ["C(BEGIN)", "Z(T)"]);
        assert_eq!(client.answer().await, ["T(a)", "D(1)", "C(SELECT 1)", "Z(T)"]);
        assert_eq!(client.answer().await, ["E(ERROR 42601)", "Z(E)"]);
        assert_eq!(client.answer().await, ["C(ROLLBACK)", "Z(I)"]);
        assert_eq!(client.answer().await, ["T(b)", "D(2)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn a_thousand_syncs_in_flight_get_a_thousand_answers() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let mut batch = Batch::new();
        for number in 0..1000 {
            batch = batch.statement("select $1", &[&number.to_string()]);
        }
        client.send(batch).await;
        for number in 0..1000 {
            let row = format!("D({number})");
            assert_eq!(client.answer().await, ["1", "2", &row, "C(SELECT 1)", "Z(I)"]);
        }
        let mut syncs = Batch::new();
        for _ in 0..1000 {
            syncs = syncs.sync();
        }
        client.send(syncs).await;
        for _ in 0..1000 {
            assert_eq!(client.answer().await, ["Z(I)"]);
        }
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_flush_shows_answers_before_the_sync() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client
            .send(Batch::new().parse("s", "select $1::int").describe_statement("s").flush())
            .await;
        assert_eq!(shown(&client.wire.until(b'T').await), ["1", "t", "T(int4)"]);
        client.send(Batch::new().bind("s", &["x"]).flush()).await;
        assert_eq!(client.wire.frame().await.shown(), "E(ERROR 22P02)");
        // Skipped until the Sync, whatever is flushed.
        client.send(Batch::new().bind("s", &["1"]).execute().flush()).await;
        assert_eq!(client.ask(Batch::new().sync()).await, ["Z(I)"]);
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn a_portal_is_suspended_and_resumed_within_a_transaction() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.query("begin").await;
        let batch = Batch::new().parse("", "select generate_series(1, 5)").bind_to("p", "", &[]);
        let answer = client.ask(batch.execute_rows("p", 2).sync()).await;
        assert_eq!(answer, ["1", "2", "D(1)", "D(2)", "s", "Z(T)"]);
        let answer = client.ask(Batch::new().execute_rows("p", 2).sync()).await;
        assert_eq!(answer, ["D(3)", "D(4)", "s", "Z(T)"]);
        let answer = client.ask(Batch::new().execute_rows("p", 0).sync()).await;
        assert_eq!(answer, ["D(5)", "C(SELECT 1)", "Z(T)"]);
        assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}

#[test]
fn notices_come_with_their_query() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let loud = "do $$ begin raise notice 'one'; raise warning 'two'; end $$";
        assert_eq!(client.query(loud).await, ["N(one)", "N(two)", "C(DO)", "Z(I)"]);
        let answer = client.ask(Batch::new().statement(loud, &[])).await;
        assert_eq!(answer, ["1", "2", "N(one)", "N(two)", "C(DO)", "Z(I)"]);
    });
}

#[test]
fn an_own_notification_comes_with_the_commit() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let answer = client.query("begin; listen own; notify own, 'x'; commit").await;
        let expected = ["C(BEGIN)", "C(LISTEN)", "C(NOTIFY)", "C(COMMIT)", "A(own,x)", "Z(I)"];
        assert_eq!(answer, expected);
    });
}

#[test]
fn fifty_megabytes_pass_both_ways_in_bounded_memory() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let size = 50 * MEBIBYTE;
        let value = "x".repeat(size);
        let frames = client.ask_frames(Batch::new().query(&format!("select '{value}'"))).await;
        assert_eq!(shown(&frames)[1], format!("D(<{size} bytes>)"));
        assert!(frames[1].columns()[0].as_deref() == Some(value.as_bytes()), "bytes changed");
        let frames = client.ask_frames(Batch::new().statement("select $1::text", &[&value])).await;
        assert_eq!(shown(&frames)[2], format!("D(<{size} bytes>)"));
        assert!(frames[2].columns()[0].as_deref() == Some(value.as_bytes()), "bytes changed");
        if Target::of_run() != Target::Direct {
            let memory = rig.proxy.process().memory_high_water();
            let limit = 32 * MEBIBYTE as u64;
            assert!(memory < limit, "the proxy grew to {memory} bytes, more than {limit}");
        }
    });
}

#[test]
fn a_client_that_does_not_read_costs_bounded_memory() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut deaf = rig.client().await;
        let many = "select repeat('x', 1000) from generate_series(1, 200000)";
        deaf.send(Batch::new().query(many)).await;
        rig.postgres.wait_for_servers("wait_event = 'ClientWrite'", 1).await;
        assert_eq!(rig.client().await.value("select 1").await, "1");
        if Target::of_run() != Target::Direct {
            let memory = rig.proxy.process().memory_high_water();
            assert!(memory < 32 * MEBIBYTE as u64, "the proxy grew to {memory} bytes");
        }
        // And it has lost nothing.
        let rows = deaf.wire.until_ready().await.iter().filter(|frame| frame.tag == b'D').count();
        assert_eq!(rows, 200_000);
    });
}

#[test]
fn garbage_in_a_session_is_a_protocol_error_to_that_client_only() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut bystander = rig.client().await;
        bystander.query("begin").await;
        let garbage: [&[u8]; 5] = [
            &[0, 0, 0, 0, 5, 1],
            &[b'Q', 0, 0, 0, 1],
            &[b'Q', 0xff, 0xff, 0xff, 0xff],
            &[b'R', 0, 0, 0, 8, 0, 0, 0, 0],
            &[b'S', 0x7f, 0xff, 0xff, 0xff],
        ];
        for bytes in garbage {
            let mut client = rig.client().await;
            client.wire.send(bytes).await;
            // Postgres itself only closes when a length makes no sense.
            let frames = shown(&client.wire.until_closed().await);
            let refused = frames.is_empty() || frames == ["E(FATAL 08P01)"];
            assert!(refused, "{bytes:?} was answered {frames:?}");
        }
        assert_eq!(bystander.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_frees_its_server() {
    run(async {
        let rig = rig().await;
        let ways = [
            Batch::new().query("begin"),
            Batch::new().query("select pg_sleep(30)"),
            Batch::new().parse("", "select 1").flush(),
            Batch::new().query("copy (select generate_series(1, 10000000)) to stdout"),
            Batch::new().raw(b'd', b"out of place"),
            Batch(b"Q\x00\x00\x01\x00select".to_vec()),
            Batch::new().query("begin").terminate(),
        ];
        for (number, batch) in ways.into_iter().enumerate() {
            let mut client = rig.client().await;
            client.send(batch).await;
            drop(client);
            let value = rig.client().await.value("select txid_current_if_assigned() is null").await;
            assert_eq!(value, "t", "after leaving in way {number}");
        }
    });
}
