//! Prepared statements in transaction mode follow their client from server to server.

use std::time::Duration;

use crate::harness::Address;
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// With one server, no client can keep it.
async fn one_server() -> Rig {
    Rig::start(Settings::new().pool_size(1).set("query_wait_timeout", Duration::from_secs(5))).await
}

fn bound(name: &str) -> Batch {
    Batch::new().bind(name, &[]).execute().sync()
}

fn row(value: &str) -> [String; 4] {
    ["2".to_owned(), format!("D({value})"), "C(SELECT 1)".to_owned(), "Z(I)".to_owned()]
}

/// Row 1 of the torture table.
#[test]
fn an_unnamed_statement_follows_its_client() {
    run(async {
        let rig = one_server().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        for _ in 0..2 {
            assert_eq!(a.ask(Batch::new().parse("", "select 42").sync()).await, ["1", "Z(I)"]);
            assert_eq!(b.ask(Batch::new().parse("", "select 43").sync()).await, ["1", "Z(I)"]);
            for _ in 0..2 {
                assert_eq!(a.ask(bound("")).await, row("42"));
                assert_eq!(b.ask(bound("")).await, row("43"));
            }
            let described = a.ask(Batch::new().describe_statement("").sync()).await;
            assert_eq!(described, ["t", "T(?column?)", "Z(I)"]);
        }
        // A simple query drops it, as does a Parse that fails.
        assert_eq!(a.value("select 1").await, "1");
        assert_eq!(a.ask(bound("")).await, ["E(ERROR 26000)", "Z(I)"]);
        let answer = b.ask(Batch::new().parse("", "selec").sync()).await;
        assert_eq!(answer, ["E(ERROR 42601)", "Z(I)"]);
        assert_eq!(b.ask(bound("")).await, ["E(ERROR 26000)", "Z(I)"]);
    });
}

#[test]
fn a_named_statement_follows_its_client() {
    run(async {
        let rig = one_server().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        assert_eq!(a.ask(Batch::new().parse("same", "select 42").sync()).await, ["1", "Z(I)"]);
        assert_eq!(b.ask(Batch::new().parse("same", "select 43").sync()).await, ["1", "Z(I)"]);
        for _ in 0..3 {
            assert_eq!(a.ask(bound("same")).await, row("42"));
            assert_eq!(b.ask(bound("same")).await, row("43"));
        }
        let names = "select string_agg(name, ' ' order by name) from pg_prepared_statements";
        assert_eq!(a.value(names).await, "pgweir_1 pgweir_2");
        // Whoever comes with the same text later finds it there.
        let mut c = rig.client().await;
        let ask = Batch::new().parse("other", "select 42").bind("other", &[]).execute().sync();
        assert_eq!(c.ask(ask).await[..2], ["1", "2"]);
        assert_eq!(c.value(names).await, "pgweir_1 pgweir_2");
    });
}

#[test]
fn a_new_server_is_told_what_the_client_has_prepared() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        let parse = Batch::new().parse("s", "select $1::int * 2").describe_statement("s").sync();
        assert_eq!(a.ask(parse).await, ["1", "t", "T(?column?)", "Z(I)"]);
        // The one server it was prepared on is somebody else's now.
        assert_eq!(b.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        for number in 0..3 {
            let batch = Batch::new().bind("s", &[&number.to_string()]).execute().sync();
            assert_eq!(a.ask(batch).await, row(&(number * 2).to_string()));
        }
        let described = a.ask(Batch::new().describe_statement("s").sync()).await;
        assert_eq!(described, ["t", "T(?column?)", "Z(I)"]);
    });
}

/// Row 2.
#[test]
fn a_name_prepared_twice_is_refused_as_by_postgres() {
    run(async {
        let rig = one_server().await;
        let mut direct = Login::to(&rig.postgres.address()).connect().await;
        let mut client = rig.client().await;
        let twice = Batch::new().parse("n1", "select 1").sync().parse("n1", "select 2").sync();
        for client in [&mut direct, &mut client] {
            client.send(twice.clone()).await;
            assert_eq!(client.answer().await, ["1", "Z(I)"]);
            let frames = client.wire.until_ready().await;
            assert_eq!(shown(&frames), ["E(ERROR 42P05)", "Z(I)"]);
            assert_eq!(frames[0].message(), "prepared statement \"n1\" already exists");
            assert_eq!(client.ask(bound("n1")).await, row("1"));
            let answer = client.ask(Batch::new().parse("n1", "selec").sync()).await;
            assert_eq!(answer, ["E(ERROR 42601)", "Z(I)"]);
        }
    });
}

/// Rows 3 to 5.
#[test]
fn a_statement_that_was_skipped_is_nobodys() {
    run(async {
        let rig = one_server().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        let both =
            Batch::new().parse("x", "select 1 / (random() * 0)::int").bind("x", &[]).execute();
        let both = both.parse("y", "select 2").bind("y", &[]).execute().sync();
        assert_eq!(a.ask(both).await, ["1", "2", "E(ERROR 22012)", "Z(I)"]);
        let parsed =
            b.ask(Batch::new().parse("z", "select 2").bind("z", &[]).execute().sync()).await;
        assert_eq!(parsed, ["1", "2", "D(2)", "C(SELECT 1)", "Z(I)"]);
        let frames = a.ask_frames(bound("y")).await;
        assert_eq!(shown(&frames), ["E(ERROR 26000)", "Z(I)"]);
        assert_eq!(frames[0].message(), "prepared statement \"y\" does not exist");
        assert_eq!(a.value("select 3").await, "3");
    });
}

/// Row 6.
#[test]
fn five_batches_with_names_at_once_are_answered() {
    run(async {
        let rig = one_server().await;
        let mut client = rig.client().await;
        let mut batch = Batch::new();
        for number in 0..5 {
            let name = format!("s{}", number % 3);
            if number < 3 {
                batch = batch.parse(&name, &format!("select {}", number % 3));
            }
            batch = batch.bind(&name, &[]).execute().sync();
        }
        client.send(batch).await;
        for number in 0..5 {
            let answer = client.answer().await;
            let skip = usize::from(number < 3);
            assert_eq!(answer[skip..], row(&(number % 3).to_string()), "{number}");
        }
    });
}

/// Row 9.
#[test]
fn a_closed_statement_does_not_exist() {
    run(async {
        let rig = one_server().await;
        let mut client = rig.client().await;
        let closed = Batch::new().parse("n", "select 1").close_statement("n").sync();
        assert_eq!(client.ask(closed).await, ["1", "3", "Z(I)"]);
        assert_eq!(client.ask(bound("n")).await, ["E(ERROR 26000)", "Z(I)"]);
        assert_eq!(client.ask(Batch::new().parse("n", "select 2").sync()).await, ["1", "Z(I)"]);
        assert_eq!(client.ask(bound("n")).await, row("2"));
    });
}

/// Row 21, and what else SQL says of statements.
#[test]
fn sql_and_protocol_share_the_names() {
    run(async {
        let rig = one_server().await;
        let mut direct = Login::to(&rig.postgres.address()).connect().await;
        let mut client = rig.client().await;
        for client in [&mut direct, &mut client] {
            assert_eq!(client.query("deallocate unknown").await, ["E(ERROR 26000)", "Z(I)"]);
            assert_eq!(client.ask(Batch::new().parse("n", "select 1").sync()).await, ["1", "Z(I)"]);
            assert_eq!(client.query("deallocate n").await, ["C(DEALLOCATE)", "Z(I)"]);
            assert_eq!(client.ask(bound("n")).await, ["E(ERROR 26000)", "Z(I)"]);
            assert_eq!(client.ask(Batch::new().parse("n", "select 2").sync()).await, ["1", "Z(I)"]);
            let dropped = Batch::new().statement("DEALLOCATE \"n\"", &[]);
            assert_eq!(client.ask(dropped).await, ["1", "2", "C(DEALLOCATE)", "Z(I)"]);
            assert_eq!(client.ask(bound("n")).await, ["E(ERROR 26000)", "Z(I)"]);
            for all in ["deallocate all", "discard all"] {
                let parse = Batch::new().parse("n", "select 3").parse("m", "select 4").sync();
                assert_eq!(client.ask(parse).await, ["1", "1", "Z(I)"]);
                let upper = all.to_uppercase();
                assert_eq!(client.query(all).await, [format!("C({upper})"), "Z(I)".to_owned()]);
                assert_eq!(client.ask(bound("n")).await, ["E(ERROR 26000)", "Z(I)"]);
                assert_eq!(client.ask(bound("m")).await, ["E(ERROR 26000)", "Z(I)"]);
            }
        }
    });
}

#[test]
fn what_was_to_be_dropped_and_was_not_can_be_dropped_later() {
    run(async {
        let rig = one_server().await;
        let mut direct = Login::to(&rig.postgres.address()).connect().await;
        let mut client = rig.client().await;
        for client in [&mut direct, &mut client] {
            let prepares = Batch::new().parse("n", "select 1").parse("drop", "deallocate n").sync();
            assert_eq!(client.ask(prepares).await, ["1", "1", "Z(I)"]);
            let skipped = Batch::new().bind("missing", &[]).bind("drop", &[]).execute().sync();
            let drops = skipped.query("begin").bind("drop", &[]).execute().sync();
            client.send(drops).await;
            assert_eq!(client.answer().await, ["E(ERROR 26000)", "Z(I)"]);
            assert_eq!(client.answer().await, ["C(BEGIN)", "Z(T)"]);
            assert_eq!(client.answer().await, ["2", "C(DEALLOCATE)", "Z(T)"]);
        }
    });
}

/// Also of a client that has prepared nothing before, on a server that had the statement for others.
#[test]
fn statements_sent_behind_one_that_drops_all_are_there() {
    run(async {
        let rig = one_server().await;
        let mut other = rig.client().await;
        let mut client = rig.client().await;
        for dropping in ["discard all", "deallocate all"] {
            other.ask(Batch::new().parse(dropping, "select 42").sync()).await;
            let batch = Batch::new().query(dropping).parse("s", "select 42").bind("s", &[]);
            client.send(batch.execute().close_statement("s").sync()).await;
            assert_eq!(client.answer().await.last().expect("it is answered"), "Z(I)");
            assert_eq!(client.answer().await, ["1", "2", "D(42)", "C(SELECT 1)", "3", "Z(I)"]);
        }
    });
}

/// What a server is asked on the way must not show, whatever stands before it.
#[test]
fn a_call_that_fails_behind_a_parse_is_the_only_error() {
    run(async {
        let rig = one_server().await;
        let mut client = rig.client().await;
        client.query("begin").await;
        // int4pl, of a text that is no number.
        client
            .send(Batch::new().parse("", "show timezone").call_function(177, &["1", "x"]).sync())
            .await;
        let failed = client.answer().await;
        assert!(failed[1].starts_with("E(ERROR 22P02"), "{failed:?}");
        assert_eq!(client.answer().await, ["Z(E)"]);
        assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
    });
}

#[test]
fn sql_executes_what_the_protocol_has_prepared() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut direct = Login::to(&rig.postgres.address()).connect().await;
        let mut client = rig.client().await;
        for client in [&mut direct, &mut client] {
            let parse = Batch::new().parse("n", "select $1::int + 1").parse("m", "select 2").sync();
            assert_eq!(client.ask(parse).await, ["1", "1", "Z(I)"]);
            assert_eq!(client.value("execute n(4)").await, "5");
            assert_eq!(client.query("prepare m as select 3").await, ["E(ERROR 42P05)", "Z(I)"]);
            let executed = Batch::new().statement("EXECUTE n(6)", &[]);
            assert_eq!(client.ask(executed).await[2], "D(7)");
            assert_eq!(client.query("prepare p as select 8").await, ["C(PREPARE)", "Z(I)"]);
            assert_eq!(client.ask(bound("p")).await, row("8"));
            let twice = client.ask(Batch::new().parse("p", "select 9").sync()).await;
            assert_eq!(twice, ["E(ERROR 42P05)", "Z(I)"]);
            assert_eq!(client.ask(Batch::new().parse("q", "select 9").sync()).await, ["1", "Z(I)"]);
            assert_eq!(client.value("execute q").await, "9");
            assert_eq!(client.ask(bound("m")).await, row("2"));
            assert_eq!(client.query("discard all").await, ["C(DISCARD ALL)", "Z(I)"]);
            for name in ["n", "m", "p", "q"] {
                assert_eq!(client.ask(bound(name)).await, ["E(ERROR 26000)", "Z(I)"], "{name}");
            }
        }
    });
}

/// After a change of a table a driver prepares again, and gets what it has asked for.
#[test]
fn who_prepares_after_a_change_gets_the_new_shape() {
    run(async {
        let rig = one_server().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        a.query("create table shapes (x int); insert into shapes values (1)").await;
        let describe = |name| {
            let parse = Batch::new().parse(name, "select * from shapes");
            parse.describe_statement(name).sync()
        };
        assert_eq!(a.ask(describe("a")).await, ["1", "t", "T(x)", "Z(I)"]);
        assert_eq!(b.query("alter table shapes add y int").await, ["C(ALTER TABLE)", "Z(I)"]);
        assert_eq!(b.ask(describe("b")).await, ["1", "t", "T(x,y)", "Z(I)"]);
        assert_eq!(b.ask(bound("b")).await[1], "D(1,null)");
        assert_eq!(a.ask(bound("a")).await, ["E(ERROR 0A000)", "Z(I)"], "as from Postgres");
        let again = a.ask(Batch::new().close_statement("a").sync()).await;
        assert_eq!(again, ["3", "Z(I)"]);
        assert_eq!(a.ask(describe("a")).await, ["1", "t", "T(x,y)", "Z(I)"]);
        assert_eq!(a.ask(bound("a")).await[1], "D(1,null)");
    });
}

/// What a client calls its statements is its own business.
#[test]
fn a_client_that_uses_our_names_meets_nothing_of_others() {
    run(async {
        let rig = one_server().await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        assert_eq!(a.ask(Batch::new().parse("mine", "select 42").sync()).await, ["1", "Z(I)"]);
        let frames = b.ask_frames(bound("pgweir_1")).await;
        assert_eq!(frames[0].message(), "prepared statement \"pgweir_1\" does not exist");
        let close = Batch::new().close_statement("pgweir_1").sync();
        assert_eq!(b.ask(close).await, ["3", "Z(I)"]);
        assert_eq!(b.ask(Batch::new().parse("pgweir_1", "select 43").sync()).await, ["1", "Z(I)"]);
        assert_eq!(b.ask(bound("pgweir_1")).await, row("43"));
        assert_eq!(a.ask(bound("mine")).await, row("42"));
    });
}

#[test]
fn a_wrong_number_of_values_is_told_with_the_clients_name() {
    run(async {
        let rig = one_server().await;
        let mut direct = Login::to(&rig.postgres.address()).connect().await;
        let mut client = rig.client().await;
        let mut said = vec![];
        for client in [&mut direct, &mut client] {
            let parse = Batch::new().parse("a statement", "select $1::int").sync();
            assert_eq!(client.ask(parse).await, ["1", "Z(I)"]);
            said.push(client.ask_frames(bound("a statement")).await);
        }
        assert_eq!(shown(&said[0]), ["E(ERROR 08P01)", "Z(I)"]);
        assert_eq!(said[0][0].message(), said[1][0].message());
    });
}

#[test]
fn the_least_used_statement_makes_room() {
    run(async {
        let settings = Settings::new().pool_size(1).set("max_prepared_statements", 3);
        let rig = Rig::start(settings).await;
        let mut client = rig.client().await;
        for number in 0..10 {
            let (name, text) = (format!("s{number}"), format!("select {number}"));
            assert_eq!(client.ask(Batch::new().parse(&name, &text).sync()).await, ["1", "Z(I)"]);
        }
        for number in (0..10).chain([3, 3, 7]) {
            let answer = client.ask(bound(&format!("s{number}"))).await;
            assert_eq!(answer, row(&number.to_string()));
        }
        let count = "select count(*) <= 4 from pg_prepared_statements";
        assert_eq!(client.value(count).await, "t");
    });
}

#[test]
fn too_many_statements_are_refused_in_the_middle_of_a_batch() {
    run(async {
        let settings = Settings::new().pool_size(1).set("max_client_prepared_statements", 2);
        let rig = Rig::start(settings).await;
        let mut client = rig.client().await;
        let batch =
            Batch::new().parse("a", "select 1").parse("b", "select 2").parse("c", "select 3");
        let frames = client.ask_frames(batch.bind("a", &[]).execute().sync()).await;
        assert_eq!(shown(&frames), ["1", "1", "E(ERROR 53400)", "Z(I)"]);
        assert_eq!(client.ask(bound("a")).await, row("1"));
        assert_eq!(client.ask(bound("c")).await, ["E(ERROR 26000)", "Z(I)"]);
    });
}

/// Where they are on the one server that their client keeps, the client's names are held all the same.
#[test]
fn too_many_names_are_refused_where_a_client_keeps_its_server_as_well() {
    run(async {
        let settings = || Settings::new().pool_size(1).set("max_client_prepared_statements", 2);
        for settings in
            [settings().pool_mode("session"), settings().set("max_prepared_statements", 0)]
        {
            let rig = Rig::start(settings).await;
            let mut client = rig.client().await;
            for name in ["a", "b"] {
                assert_eq!(
                    client.ask(Batch::new().parse(name, "select 1").sync()).await,
                    ["1", "Z(I)"]
                );
            }
            let third = || Batch::new().parse("c", "select 3").sync();
            assert_eq!(client.ask(third()).await, ["E(ERROR 53400)", "Z(I)"]);
            assert_eq!(client.ask(bound("a")).await, row("1"));
            assert_eq!(client.ask(bound("c")).await, ["E(ERROR 26000)", "Z(I)"]);
            assert_eq!(client.query("deallocate a").await, ["C(DEALLOCATE)", "Z(I)"]);
            assert_eq!(client.ask(third()).await, ["1", "Z(I)"]);
        }
    });
}

#[test]
fn a_long_statement_and_long_values_pass() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut client = rig.client().await;
        for length in [100, 20_000, 60_000, 300_000] {
            let name = format!("long {length}");
            let text = format!("select length('{}' || $1::text)", "x".repeat(length));
            assert_eq!(client.ask(Batch::new().parse(&name, &text).sync()).await, ["1", "Z(I)"]);
            let value = "y".repeat(length);
            for _ in 0..2 {
                let batch = Batch::new().bind(&name, &[&value]).execute().sync();
                assert_eq!(client.ask(batch).await, row(&(2 * length).to_string()));
            }
        }
    });
}

/// A few bytes that ask for long texts again and again cost bounded memory, and are answered.
#[test]
fn long_statements_that_push_each_other_out_are_prepared_again() {
    run(async {
        let settings = Settings::new().pool_size(1).set("max_prepared_statements", 1);
        let rig = Rig::start(settings).await;
        let mut client = rig.client().await;
        for name in ["a", "b"] {
            let text = format!("select '{name}' -- {}", "x".repeat(40_000));
            assert_eq!(client.ask(Batch::new().parse(name, &text).sync()).await, ["1", "Z(I)"]);
        }
        let mut batch = Batch::new();
        for _ in 0..100 {
            batch = batch.bind("a", &[]).bind("b", &[]);
        }
        let answer = client.ask(batch.execute().sync()).await;
        assert_eq!(answer[..200], ["2"; 200]);
        assert_eq!(answer[200..], ["D(b)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn without_room_on_servers_a_client_keeps_its_own() {
    run(async {
        let settings = Settings::new().pool_size(2).set("max_prepared_statements", 0);
        let rig = Rig::start(settings).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        for (client, text) in [(&mut a, "select 42"), (&mut b, "select 43")] {
            assert_eq!(client.ask(Batch::new().parse("same", text).sync()).await, ["1", "Z(I)"]);
        }
        assert_eq!(a.ask(bound("same")).await, row("42"));
        assert_eq!(b.ask(bound("same")).await, row("43"));
        let names = "select string_agg(name, ' ') from pg_prepared_statements";
        assert_eq!(a.value(names).await, "same");
    });
}

/// A server that is lost takes no statement with it.
#[test]
fn statements_outlive_their_server() {
    run(async {
        let rig = one_server().await;
        let mut client = rig.client().await;
        let parse = Batch::new().parse("s", "select 42").parse("c", "commit").sync();
        assert_eq!(client.ask(parse).await, ["1", "1", "Z(I)"]);
        rig.postgres
            .sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
            .await;
        // That it is gone may show only when it is used.
        let mut answer = client.ask(bound("s")).await;
        if answer[0].starts_with("E(ERROR") {
            answer = client.ask(bound("s")).await;
        }
        assert_eq!(answer, row("42"));
        assert_eq!(client.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        rig.postgres
            .sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
            .await;
        let lost = client.ask(bound("s")).await;
        assert!(lost[0].starts_with("E(ERROR") && lost[1] == "Z(E)", "{lost:?}");
        // What ends the transaction may have been prepared before.
        let ended = client.ask(Batch::new().bind("c", &[]).execute().sync()).await;
        assert_eq!(ended, ["2", "C(ROLLBACK)", "Z(I)"]);
        assert_eq!(client.ask(bound("s")).await, row("42"));
    });
}

#[test]
fn many_clients_share_few_servers() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            tasks.spawn(use_again_and_again(rig.address().clone(), number));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not fail");
        }
    });
}

async fn use_again_and_again(address: Address, number: u32) {
    let mut client = Client::connect(&address).await;
    for round in 0..30 {
        let (name, value) = (format!("P_{}", round % 7), number * 100 + round % 7);
        if round < 7 {
            let batch = Batch::new().parse(&name, &format!("select {value}")).sync();
            assert_eq!(client.ask(batch).await, ["1", "Z(I)"], "{name}");
        }
        assert_eq!(client.ask(bound(&name)).await, row(&value.to_string()), "{name}");
    }
}
