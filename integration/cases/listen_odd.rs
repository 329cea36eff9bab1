//! LISTEN where it is easily got wrong: in failed transactions, under odd names, by ways that do not look like it.
//! Each script is compared with what Postgres itself answers.

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

/// A client without the proxy, and one of it. Notifications go to all of a database: each has its own.
async fn both(rig: &Rig) -> [Client; 2] {
    let direct = Login::to(&rig.postgres.address()).database("second").connect().await;
    [direct, rig.client().await]
}

async fn compare(clients: &mut [Client; 2], script: &[&str]) {
    for sql in script {
        let mut answers = Vec::new();
        for client in &mut *clients {
            answers.push(client.query(sql).await);
        }
        assert_eq!(answers[1], answers[0], "{sql} in {script:?}");
    }
}

/// The next message, which nobody has asked for.
async fn next(client: &mut Client) -> String {
    client.wire.frame().await.shown()
}

async fn is_free(rig: &Rig) {
    assert_eq!(rig.client().await.value("select 'free'").await, "free");
}

#[test]
fn transactions_undo_what_they_did() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        for script in [
            &["begin", "select 1/0", "listen a", "commit", "notify a"][..],
            &[
                "begin",
                "listen a",
                "savepoint s",
                "unlisten *",
                "rollback to s",
                "commit",
                "notify a",
            ],
            &["begin", "savepoint s", "listen b", "release s", "rollback", "notify b", "notify a"],
            &["begin", "savepoint s", "unlisten a", "savepoint t", "listen b", "rollback to t"],
            &["release s", "commit", "notify a", "notify b"],
            &["listen a", "begin", "savepoint s", "select 1/0", "rollback to s", "listen b", "end"],
            &["notify a, '1'; notify b, '2'"],
            &["unlisten *; listen a; select 1/0", "notify a", "notify b"],
            &["begin", "notify a, 'undone'", "rollback", "notify a, 'done'"],
            &["begin", "notify a, '1'", "savepoint s", "notify a, '2'", "rollback to s", "commit"],
            &[
                "begin",
                "listen c",
                "commit and chain",
                "notify c",
                "rollback and chain",
                "notify c",
            ],
            &["commit", "notify c", "unlisten *", "notify a"],
            &["begin", "listen a", "prepare transaction 'x'", "notify a"],
            &["listen a", "begin", "notify a", "prepare transaction 'x'", "notify a, 'after'"],
            &["begin", "unlisten a", "prepare transaction 'x'", "notify a, 'still'"],
            &[
                "begin; listen d; savepoint s; listen e; rollback to s; commit",
                "notify e; notify d",
            ],
            &["start transaction; listen e; abort", "notify e", "begin; unlisten d; abort"],
            &["notify d", "begin read only; listen f; commit", "notify f", "unlisten *"],
        ] {
            compare(&mut clients, script).await;
        }
        is_free(&rig).await;
    });
}

#[test]
fn names_are_what_postgres_makes_of_them() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        let long = "x".repeat(70);
        let (listens, notifies) = (format!("listen {long}"), format!("notify {}", &long[..63]));
        let by_function = format!("select pg_notify('{}', 'long')", &long[..63]);
        compare(&mut clients, &[&listens, &notifies, &by_function]).await;
        compare(&mut clients, &[&format!("select pg_notify('{long}', 'too long')")]).await;
        for script in [
            &["listen \"Mixed\"", "notify mixed", "notify \"Mixed\"", "unlisten mixed"][..],
            &["notify \"Mixed\", 'still'", "unlisten \"Mixed\"", "notify \"Mixed\", 'gone'"],
            &["listen \"a\"\"b; -- '\"", "notify \"a\"\"b; -- '\"", "unlisten \"a\"\"b; -- '\""],
            &["LISTEN/**/Comment -- end", "notify COMMENT", "/* a /* b */ c */ unlisten comment"],
            &["listen \" \"", "select pg_notify(' ', 'blank')", "unlisten \" \"", "listen \"\""],
            &["listen u&\"d\\0061t\"", "notify dat, 'by number'", "unlisten dat", "notify dat"],
            &["listen select", "listen table", "listen action", "notify action"],
            &["listen a.b", "listen", "listen 'a'", "unlisten", "listen a, b", "notify"],
            &["listen ünder", "notify ünder, 'ü'", "unlisten *", "notify ünder"],
        ] {
            compare(&mut clients, script).await;
        }
        is_free(&rig).await;
    });
}

#[test]
fn payloads_are_kept_and_what_is_equal_comes_once() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        let longest = format!("select pg_notify('a', '{}')", "y".repeat(7_999));
        let too_long = format!("select pg_notify('a', '{}')", "y".repeat(8_000));
        compare(&mut clients, &["listen a", &longest, &too_long]).await;
        for script in [
            &["notify a, 'x'; notify a, 'x'; notify a, 'y'; notify a, 'x'"][..],
            &["begin", "notify a", "notify a, ''", "savepoint s", "notify a", "commit"],
            &["select pg_notify('a', g % 3 || '') from generate_series(1, 10) g"],
            &[
                "select pg_notify(null, 'x')",
                "select pg_notify('', 'x')",
                "select pg_notify('a', null)",
            ],
            &["notify a, E'\\n\\t''\"'", "notify a, 'größer'"],
        ] {
            compare(&mut clients, script).await;
        }
    });
}

#[test]
fn resets_do_not_end_it_but_discard_all_does() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        compare(&mut clients, &["listen a", "reset all", "notify a, '1'"]).await;
        compare(&mut clients, &["set work_mem = 100; reset all; notify a, '2'"]).await;
        compare(&mut clients, &["discard plans", "discard temp", "deallocate all"]).await;
        compare(&mut clients, &["set session authorization default", "notify a, '3'"]).await;
        compare(&mut clients, &["begin", "discard all", "rollback", "notify a, '4'"]).await;
        compare(&mut clients, &["discard all", "notify a, '5'", "listen a", "notify a, '6'"]).await;
        is_free(&rig).await;
    });
}

#[test]
fn statements_that_were_prepared_listen_as_well() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        let batches = [
            || Batch::new().parse("ear", "listen a").sync(),
            || Batch::new().bind("ear", &[]).execute().sync(),
            || Batch::new().statement("notify a, '1'", &[]),
            || Batch::new().statement("select pg_notify('a', $1)", &["2"]),
            || Batch::new().parse("deaf", "unlisten a").bind("deaf", &[]).execute().sync(),
            || Batch::new().statement("notify a, '3'", &[]),
            // Again, on another lease.
            || Batch::new().bind("ear", &[]).execute().sync(),
            || Batch::new().statement("notify a, '4'", &[]),
            // What fails behind it in the batch takes it back.
            || Batch::new().bind("deaf", &[]).execute().parse("", "select nothing").sync(),
            || Batch::new().statement("notify a, '5'", &[]),
            || Batch::new().query("begin"),
            || Batch::new().bind("deaf", &[]).execute().sync(),
            || Batch::new().query("rollback"),
            || Batch::new().statement("notify a, '6'", &[]),
            || Batch::new().close_statement("ear").sync(),
            || Batch::new().statement("notify a, '7'", &[]),
        ];
        for (number, batch) in batches.iter().enumerate() {
            let [direct, client] = &mut clients;
            let expected = direct.ask(batch()).await;
            assert_eq!(client.ask(batch()).await, expected, "batch {number}");
            if expected.last().is_some_and(|last| last == "Z(I)") {
                is_free(&rig).await;
            }
        }
    });
}

/// What the text does not tell is asked of the server, and the client keeps it then.
#[test]
fn a_do_block_that_listens_keeps_its_server() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        for round in ["1", "2"] {
            compare(&mut clients, &["do $$begin execute 'listen hidden'; end$$"]).await;
            compare(&mut clients, &["select pg_listening_channels()"]).await;
            compare(&mut clients, &[&format!("notify hidden, '{round}'")]).await;
            rig.postgres.sql("notify hidden, 'from outside'").await;
            assert_eq!(next(&mut clients[1]).await, "A(hidden,from outside)");
            // One that the text does tell, beside it.
            compare(&mut clients, &["listen plain", "notify plain", "unlisten plain"]).await;
            compare(&mut clients, &["unlisten *", "notify hidden", "notify plain"]).await;
            is_free(&rig).await;
        }
        assert!(rig.proxy.process().log().contains("client keeps its server"));
    });
}

/// A function that listens cannot be told from any other. Its channel is not heard after the transaction,
/// and nobody else hears it.
#[test]
fn a_function_that_listens_disturbs_nobody() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let function = "create function f() returns int language plpgsql as \
                        'begin execute ''listen hidden''; return 1; end'";
        client.query(function).await;
        assert_eq!(client.value("select f()").await, "1");
        let mut other = rig.client().await;
        for _ in 0..3 {
            let answer = other.query("notify hidden; select 1").await;
            assert_eq!(answer, ["C(NOTIFY)", "T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
        }
        // It is cleaned as soon as it shows.
        eventually("it listens no more", async || {
            let count = "select count(*) from pg_listening_channels()";
            (rig.client().await.value(count).await == "0").then_some(())
        })
        .await;
    });
}

/// Of a text that is too long to be held, only the beginning was read.
#[test]
fn a_listen_at_the_end_of_a_long_text_is_heard() {
    run(async {
        let rig = rig().await;
        let mut clients = both(&rig).await;
        let long = format!("select length('{}'); listen late", "z".repeat(100_000));
        compare(&mut clients, &["listen early", &long, "notify late; notify early"]).await;
        rig.postgres.sql("notify late, 'from outside'").await;
        assert_eq!(next(&mut clients[1]).await, "A(late,from outside)");
        compare(&mut clients, &["unlisten *", "notify late; notify early"]).await;
        is_free(&rig).await;
    });
}

#[test]
fn a_server_that_only_listened_keeps_all_else() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.ask(Batch::new().parse("kept", "select 5").sync()).await;
        let statements = "select count(*) from pg_prepared_statements";
        let before = client.value(statements).await;
        client.query("listen a").await;
        assert_eq!(client.value("select count(*) from pg_listening_channels()").await, "0");
        assert_eq!(client.value(statements).await, before, "no DISCARD ALL");
    });
}

/// Nothing waits for ever if the server is lost while it listens.
#[test]
fn a_server_that_is_lost_in_the_middle_takes_only_its_transaction() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.query("listen kept").await;
        client.query("begin; listen lost").await;
        rig.postgres
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'app' \
                  and pid <> pg_backend_pid() and application_name <> 'pgweir listener'",
            )
            .await;
        assert_eq!(client.query("select 1").await.last().expect("an end"), "Z(E)");
        client.query("rollback").await;
        rig.postgres.sql("notify lost").await;
        rig.postgres.sql("notify kept").await;
        assert_eq!(next(&mut client).await, "A(kept)");
    });
}
