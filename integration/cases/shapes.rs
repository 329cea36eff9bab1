//! Tables change beneath prepared statements: a client gets rows of the shape that it was told of, or
//! Postgres' own error, whatever server it is on.

use crate::harness::frames::{Batch, Frame, shown};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

const CHANGED: [&str; 2] = ["E(ERROR 0A000)", "Z(I)"];
const CHANGED_TEXT: &str = "cached plan must not change result type";

/// One server that keeps one statement: each is prepared anew when another was used.
async fn forgetful() -> Rig {
    Rig::start(Settings::new().pool_size(1).set("max_prepared_statements", 1)).await
}

fn bound(name: &str) -> Batch {
    Batch::new().bind(name, &[]).execute().sync()
}

fn described(name: &str, sql: &str) -> Batch {
    Batch::new().parse(name, sql).describe_statement(name).sync()
}

/// The server has something else then.
async fn forget(client: &mut Client) {
    let batch = Batch::new().parse("other", "select 'other'").close_statement("other").sync();
    assert_eq!(client.ask(batch).await, ["1", "3", "Z(I)"]);
}

/// What both say, of a table of their own.
async fn same(rig: &Rig, mut script: impl AsyncFnMut(&mut Client)) {
    rig.postgres.sql("alter database second owner to app").await;
    let mut direct = Login::to(&rig.postgres.address()).database("second").connect().await;
    let mut through = rig.client().await;
    for client in [&mut direct, &mut through] {
        script(client).await;
    }
}

#[test]
fn rows_of_another_shape_are_refused_and_the_session_goes_on() {
    run(async {
        same(&forgetful().await, async |client| {
            client.query("create table t (x int); insert into t values (1)").await;
            let answer = client.ask(described("s", "select * from t")).await;
            assert_eq!(answer, ["1", "t", "T(x)", "Z(I)"]);
            client.query("alter table t add y int").await;
            forget(client).await;
            for (count, batch) in
                [(2, bound("s")), (3, Batch::new().describe_statement("s").sync()), (2, bound("s"))]
            {
                let frames = client.ask_frames(batch).await;
                // Of its parameters it is told before that.
                assert_eq!(frames.len(), count);
                let frames = &frames[count - 2..];
                assert_eq!(shown(frames), CHANGED);
                assert_eq!(frames[0].message(), CHANGED_TEXT);
                assert_eq!(frames[0].field(b'R').unwrap(), "RevalidateCachedQuery");
                assert_eq!(frames[0].field(b'H'), None);
            }
            // What its columns were, they are again.
            client.query("alter table t drop y").await;
            forget(client).await;
            assert_eq!(client.ask(bound("s")).await, ["2", "D(1)", "C(SELECT 1)", "Z(I)"]);
            // And as a driver goes on.
            client.query("alter table t add y int").await;
            assert_eq!(client.ask(bound("s")).await, CHANGED);
            client.ask(Batch::new().close_statement("s").sync()).await;
            let answer = client.ask(described("s", "select * from t")).await;
            assert_eq!(answer, ["1", "t", "T(x,y)", "Z(I)"]);
            forget(client).await;
            assert_eq!(client.ask(bound("s")).await[1], "D(1,null)");
        })
        .await;
    });
}

#[test]
fn a_refusal_fails_its_transaction_and_what_follows_is_skipped() {
    run(async {
        same(&forgetful().await, async |client| {
            client.query("create table t (x int)").await;
            client.ask(described("s", "insert into t values ($1) returning *")).await;
            client.query("alter table t add y int").await;
            forget(client).await;
            assert_eq!(client.query("begin").await, ["C(BEGIN)", "Z(T)"]);
            let batch = Batch::new().statement("insert into t values (1)", &[]);
            assert_eq!(client.ask(batch).await.last().unwrap(), "Z(T)");
            let long = format!("{}1", "0".repeat(100_000));
            let batch = Batch::new().bind("s", &[&long]).execute().bind("s", &["1"]).execute();
            assert_eq!(client.ask(batch.sync()).await, ["E(ERROR 0A000)", "Z(E)"]);
            assert_eq!(client.ask(bound("s")).await, ["E(ERROR 08P01)", "Z(E)"]);
            let batch = Batch::new().bind("s", &["1"]).execute().sync();
            assert_eq!(client.ask(batch).await, ["E(ERROR 25P02)", "Z(E)"]);
            assert_eq!(client.query("commit").await, ["C(ROLLBACK)", "Z(I)"]);
            assert_eq!(client.value("select count(*) from t").await, "0");
            // What it brings is looked at first.
            for (values, code) in [(&["x"][..], "22P02"), (&[], "08P01"), (&["1"], "0A000")] {
                forget(client).await;
                let frames =
                    client.ask_frames(Batch::new().bind("s", values).execute().sync()).await;
                assert_eq!(shown(&frames), [format!("E(ERROR {code})"), "Z(I)".to_owned()]);
                assert!(!frames[0].message().contains("pgweir"), "{}", frames[0].message());
            }
        })
        .await;
    });
}

#[test]
fn what_changes_in_the_same_pipeline_is_seen() {
    run(async {
        same(&forgetful().await, async |client| {
            client.query("create table t (x int)").await;
            client.ask(described("s", "select * from t")).await;
            forget(client).await;
            let batch = Batch::new().parse("", "alter table t add y int").bind("", &[]).execute();
            let answer = client.ask(batch.bind("s", &[]).execute().sync()).await;
            assert_eq!(answer, ["1", "2", "C(ALTER TABLE)", "E(ERROR 0A000)", "Z(I)"]);
            // It was rolled back with it.
            assert_eq!(client.ask(bound("s")).await, ["2", "C(SELECT 0)", "Z(I)"]);
            forget(client).await;
            let alter = Batch::new().query("alter table t add z int");
            client.send(alter.bind("s", &[]).execute().sync()).await;
            assert_eq!(client.answer().await, ["C(ALTER TABLE)", "Z(I)"]);
            assert_eq!(client.answer().await, CHANGED);
        })
        .await;
    });
}

#[test]
fn the_unnamed_statement_keeps_its_shape_or_fails() {
    run(async {
        let rig = forgetful().await;
        let mut other = rig.client().await;
        same(&rig, async |client| {
            client.query("create table t (x int); insert into t values (1)").await;
            // With and without being asked what it is.
            for batch in
                [described("", "select * from t"), Batch::new().parse("", "table t").sync()]
            {
                assert_eq!(client.ask(batch).await[0], "1");
                assert_eq!(client.ask(bound("")).await, ["2", "D(1)", "C(SELECT 1)", "Z(I)"]);
                let alter =
                    Batch::new().parse("alter", "alter table t add y int").bind("alter", &[]);
                let alter = alter.execute().close_statement("alter").sync();
                assert_eq!(client.ask(alter).await, ["1", "2", "C(ALTER TABLE)", "3", "Z(I)"]);
                assert_eq!(other.value("select 1").await, "1");
                for _ in 0..2 {
                    assert_eq!(client.ask(bound("")).await, CHANGED);
                }
                client.query("alter table t drop y").await;
            }
        })
        .await;
    });
}

/// Somebody has to ask what it is: behind what changes it that fails, and would undo the change.
#[test]
fn what_runs_behind_the_unnamed_statement_may_change_it() {
    run(async {
        same(&forgetful().await, async |client| {
            client.query("create table t (x int)").await;
            let table = || Batch::new().parse("", "table t");
            let answer = client.ask(table().call_function(1, &[])).await;
            assert_eq!(answer, ["1", "E(ERROR 42883)", "Z(I)"]);
            assert_eq!(client.ask(bound("")).await, ["2", "C(SELECT 0)", "Z(I)"]);
            for (change, tag, code) in [
                ("alter table t add y int", "C(ALTER TABLE)", "0A000"),
                ("drop table t", "C(DROP TABLE)", "42P01"),
            ] {
                let batch = table().parse("c", change).bind("c", &[]).execute();
                let answer = client.ask(batch.close_statement("c").sync()).await;
                assert_eq!(answer, ["1", "1", "2", tag, "3", "Z(I)"]);
                let error = format!("E(ERROR {code})");
                assert_eq!(client.ask(bound("")).await, [&error, "Z(I)"]);
            }
        })
        .await;
    });
}

/// Postgres keeps the types that it found parameters to have when they were prepared.
#[test]
fn parameters_keep_their_types() {
    run(async {
        same(&forgetful().await, async |client| {
            client.query("create table t (id int, x int)").await;
            let parse = described("s", "select x from t where id = $1");
            let before = client.ask_frames(parse).await;
            client.query("alter table t alter id type bigint").await;
            forget(client).await;
            let after = client.ask_frames(Batch::new().describe_statement("s").sync()).await;
            assert_eq!(before[1].body, after[0].body, "an int");
            client.query("alter table t alter id type text").await;
            forget(client).await;
            let answer = client.ask(Batch::new().bind("s", &["1"]).execute().sync()).await;
            assert_eq!(answer, ["E(ERROR 42883)", "Z(I)"]);
        })
        .await;
    });
}

/// The answer that says what it is does not fit into a buffer.
#[test]
fn a_thousand_columns_are_looked_at_too() {
    run(async {
        same(&forgetful().await, async |client| {
            let names: Vec<String> =
                (0..1_500).map(|n| format!("{} {n:04}", "c".repeat(58))).collect();
            let columns: Vec<String> =
                names.iter().map(|name| format!("\"{name}\" bool")).collect();
            let created = client.query(&format!("create table t ({})", columns.join(", "))).await;
            assert_eq!(created, ["C(CREATE TABLE)", "Z(I)"]);
            let answer = client.ask_frames(described("s", "select * from t")).await;
            assert!(answer[2].body.len() > 100_000);
            for _ in 0..2 {
                forget(client).await;
                assert_eq!(client.ask(bound("s")).await, ["2", "C(SELECT 0)", "Z(I)"]);
            }
            client.query(&format!("alter table t rename \"{}\" to x", names[1])).await;
            forget(client).await;
            assert_eq!(client.ask(bound("s")).await, CHANGED);
        })
        .await;
    });
}

/// What was the same a moment ago is sent without a look. If it was not, the client is not shown what it
/// would misread; and others are warned.
#[test]
fn a_change_that_nobody_could_see_ends_one_session_at_most() {
    run(async {
        let rig = forgetful().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        a.query("create table t (x int); insert into t values (1)").await;
        for client in [&mut a, &mut b] {
            let answer = client.ask(described("s", "select * from t")).await;
            assert_eq!(answer, ["1", "t", "T(x)", "Z(I)"]);
        }
        forget(&mut a).await;
        rig.postgres.sql("alter table t add y int").await;
        a.send(bound("s")).await;
        let frames: Vec<Frame> = a.wire.until_closed().await;
        assert_eq!(shown(&frames), ["E(FATAL 0A000)"]);
        assert_eq!(frames[0].message(), CHANGED_TEXT);
        forget(&mut b).await;
        assert_eq!(b.ask(bound("s")).await, CHANGED);
        assert_eq!(b.value("select y is null from t").await, "t");
    });
}

/// What FETCH returns is known from the cursor that there is when it is prepared.
#[test]
fn a_fetch_is_described_by_the_cursor_of_its_client() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let [mut first, mut second] = [rig.client().await, rig.client().await];
        let fetch = || described("f", "fetch 2 from c");
        first.query("begin; declare c cursor for select 1 as one").await;
        assert_eq!(first.ask(fetch()).await, ["1", "t", "T(one)", "Z(T)"]);
        first.query("commit").await;
        second.query("begin; declare c cursor for select 2 as two, 3 as three").await;
        assert_eq!(second.ask(fetch()).await, ["1", "t", "T(two,three)", "Z(T)"]);
        assert_eq!(second.ask(bound("f")).await[1], "D(2,3)");
        second.query("commit").await;
    });
}

/// Postgres 15 crashes when it describes a FETCH whose cursor there was when it was prepared, and is no more.
#[test]
fn what_others_fetch_from_is_asked_of_nobody() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let [mut first, mut second] = [rig.client().await, rig.client().await];
        first.query("begin; declare c cursor for select 1 as one").await;
        first.ask(described("f", "fetch c")).await;
        first.query("commit").await;
        assert_eq!(second.ask(described("f", "fetch c")).await, ["1", "t", "n", "Z(I)"]);
        assert_eq!(second.ask(bound("f")).await, ["2", "E(ERROR 34000)", "Z(I)"]);
        // Its own is as good as before.
        for rows in ["D(1)", "D(4)"] {
            first.query(&format!("begin; declare c cursor for select {}", &rows[2..3])).await;
            assert_eq!(first.ask(bound("f")).await, ["2", rows, "C(FETCH 1)", "Z(T)"]);
            assert_eq!(
                first.ask(Batch::new().describe_statement("f").sync()).await[1],
                "T(?column?)"
            );
            first.query("commit").await;
            second.query("begin").await;
            second.ask(described("f", "fetch c")).await;
            second.query("rollback").await;
        }
    });
}

#[test]
fn a_cursor_may_be_closed_behind_the_fetch_that_was_prepared() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.query("begin; declare c cursor for select 1 as one").await;
        let batch = Batch::new().parse("", "fetch c").close_portal("c").sync();
        assert_eq!(client.ask(batch).await, ["1", "3", "Z(T)"]);
        assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}
