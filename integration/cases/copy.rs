//! COPY in both directions, and every way in which it fails.

use crate::harness::frames::{Batch, shown};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

async fn rig_with_table() -> (Rig, Client) {
    let rig = Rig::start(Settings::new().pool_size(1)).await;
    let mut client = rig.client().await;
    assert_eq!(client.query("create table numbers (n int)").await, ["C(CREATE TABLE)", "Z(I)"]);
    (rig, client)
}

const COPY_IN: &str = "copy numbers from stdin";

async fn begin_copy(client: &mut Client) {
    client.send(Batch::new().query(COPY_IN)).await;
    assert_eq!(client.wire.frame().await.shown(), "G");
}

#[test]
fn rows_are_copied_in_and_out() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        begin_copy(&mut client).await;
        let mut batch = Batch::new();
        for number in 0..10_000 {
            batch = batch.copy_data(format!("{number}\n").as_bytes());
        }
        assert_eq!(client.ask(batch.copy_done()).await, ["C(COPY 10000)", "Z(I)"]);
        let answer = client.query("copy (select n from numbers order by n) to stdout").await;
        assert_eq!(answer.len(), 10_004);
        assert_eq!(answer[10_000], "d(9999\n)");
        assert_eq!(rig.client().await.value("select sum(n) from numbers").await, "49995000");
    });
}

#[test]
fn data_may_follow_the_query_without_waiting() {
    run(async {
        let (_rig, mut client) = rig_with_table().await;
        let batch =
            Batch::new().query(COPY_IN).copy_data(b"1\n").copy_done().query("select 2 as b");
        client.send(batch).await;
        assert_eq!(client.answer().await, ["G", "C(COPY 1)", "Z(I)"]);
        assert_eq!(client.answer().await, ["T(b)", "D(2)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn a_client_can_fail_its_copy() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        begin_copy(&mut client).await;
        let answer = client.ask(Batch::new().copy_data(b"1\n").copy_fail("enough")).await;
        assert_eq!(answer, ["E(ERROR 57014)", "Z(I)"]);
        assert_eq!(rig.client().await.value("select count(*) from numbers").await, "0");
    });
}

/// Postgres drops what still comes of a COPY that failed, so it must not be taken for anything else.
#[test]
fn data_that_comes_after_a_copy_failed_is_dropped() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        begin_copy(&mut client).await;
        let answer = client.ask(Batch::new().copy_data(b"not a number\n")).await;
        assert_eq!(answer, ["E(ERROR 22P02)", "Z(I)"]);
        let late = Batch::new().copy_data(b"1\n").copy_data(b"2\n").copy_done();
        client.send(late).await;
        assert_eq!(client.value("select 5").await, "5");
        assert_eq!(client.value("select count(*) from numbers").await, "0");
        assert_eq!(rig.client().await.value("select 6").await, "6");
    });
}

#[test]
fn late_data_never_reaches_the_next_client() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        let mut next = rig.client().await;
        begin_copy(&mut client).await;
        client.ask(Batch::new().copy_data(b"not a number\n")).await;
        for round in 0..50 {
            client.send(Batch::new().copy_data(b"1\n").copy_fail("late")).await;
            let row = format!("D({round})");
            let answer = next.query(&format!("select {round} as r")).await;
            assert_eq!(answer, ["T(r)", &row, "C(SELECT 1)", "Z(I)"]);
        }
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn a_copy_by_extended_protocol_takes_its_sync_after_the_data() {
    run(async {
        let (_rig, mut client) = rig_with_table().await;
        client.send(Batch::new().parse("", COPY_IN).bind("", &[]).execute().flush()).await;
        assert_eq!(shown(&client.wire.until(b'G').await), ["1", "2", "G"]);
        let answer = client.ask(Batch::new().copy_data(b"1\n2\n").copy_done().sync()).await;
        assert_eq!(answer, ["C(COPY 2)", "Z(I)"]);
    });
}

/// libpq sends the Sync with the Execute, and again after `CopyDone`: the first is ignored by the COPY.
#[test]
fn a_sync_pipelined_behind_a_copy_is_swallowed_by_it() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        client.send(Batch::new().statement(COPY_IN, &[])).await;
        assert_eq!(shown(&client.wire.until(b'G').await), ["1", "2", "G"]);
        let answer = client.ask(Batch::new().copy_data(b"1\n").copy_done().sync()).await;
        assert_eq!(answer, ["C(COPY 1)", "Z(I)"]);
        assert_eq!(client.value("select 7").await, "7");
        assert_eq!(rig.client().await.value("select 8").await, "8");
    });
}

#[test]
fn a_failed_copy_by_extended_protocol_ends_at_the_sync() {
    run(async {
        let (rig, mut client) = rig_with_table().await;
        client.send(Batch::new().statement(COPY_IN, &[])).await;
        assert_eq!(shown(&client.wire.until(b'G').await), ["1", "2", "G"]);
        let bad = Batch::new().copy_data(b"bad\n").copy_data(b"1\n").copy_done().sync();
        assert_eq!(client.ask(bad).await, ["E(ERROR 22P02)", "Z(I)"]);
        let mut next = rig.client().await;
        for round in 0..5 {
            assert_eq!(client.value(&format!("select {round}")).await, round.to_string());
            assert_eq!(next.value(&format!("select {round} + 10")).await, (round + 10).to_string());
        }
    });
}

#[test]
fn a_failed_copy_within_a_transaction_leaves_it_failed() {
    run(async {
        let (_rig, mut client) = rig_with_table().await;
        client.query("begin").await;
        begin_copy(&mut client).await;
        let answer = client.ask(Batch::new().copy_data(b"x\n").copy_done()).await;
        assert_eq!(answer, ["E(ERROR 22P02)", "Z(E)"]);
        assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
    });
}

#[test]
fn copies_in_a_multi_statement_query_follow_each_other() {
    run(async {
        let (_rig, mut client) = rig_with_table().await;
        let sql = format!("{COPY_IN}; select 1 as a; {COPY_IN}; copy numbers to stdout");
        let batch = Batch::new().query(&sql).copy_data(b"1\n").copy_done();
        let answer = client.ask(batch.copy_data(b"2\n").copy_done()).await;
        let copied = ["G", "C(COPY 1)", "T(a)", "D(1)", "C(SELECT 1)", "G", "C(COPY 1)"];
        assert_eq!(answer[..7], copied);
        assert_eq!(answer[7..], ["H", "d(1\n)", "d(2\n)", "c", "C(COPY 2)", "Z(I)"]);
    });
}

#[test]
fn a_client_that_leaves_during_a_copy_frees_its_server() {
    run(async {
        let (rig, _client) = rig_with_table().await;
        for bytes in [&b"1\n"[..], b"x\n"] {
            let mut leaver = rig.client().await;
            begin_copy(&mut leaver).await;
            leaver.send(Batch::new().copy_data(bytes)).await;
            drop(leaver);
            assert_eq!(rig.client().await.value("select count(*) from numbers").await, "0");
        }
    });
}
