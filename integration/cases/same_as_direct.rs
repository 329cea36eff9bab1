//! A broad script of statements gets the same bytes through the proxy as from Postgres itself.

use super::http::{metric, settings as http_at};
use crate::harness::Address;
use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::Proxy;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// Run in order, each as a simple query; most also by the extended protocol.
const STATEMENTS: &[&str] = &[
    "create table things (id int primary key, name text not null, tags text[], doc jsonb)",
    "insert into things values (1, 'one', '{a,\"b c\",null}', '{\"k\": [1, 2.5, null]}')",
    "insert into things select n, 'row ' || n from generate_series(2, 500) n",
    "insert into things values (3, 'twice')",
    "insert into things (id) values (1000)",
    "select 1",
    "begin; -- nothing happens in it",
    ";",
    "commit and no chain",
    "start transaction isolation level repeatable read, read only",
    "show transaction_isolation",
    "begin",
    "rollback",
    "select * from things where id = 1",
    "select * from things order by id",
    "update things set name = upper(name) where id < 10 returning id, name",
    "delete from things where id > 400",
    "select count(*), avg(id), min(name), max(name) from things",
    "select 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1234.5678::numeric(10, 2)",
    "select true, false, null::bool, 'x'::char, 'pad'::char(6), 'v'::varchar, 't'::text, ''::text",
    "select '\\xdeadbeef00'::bytea, ''::bytea, decode(repeat('00ff', 5000), 'hex')",
    "select date '2024-02-29', time '12:34:56.789', timestamp 'infinity', interval '1 mon 2 days'",
    "select timestamptz '2024-01-01 00:00:00+00', timetz '10:00+02'",
    "select '{\"a\": 1}'::json, '{\"b\": [true, null]}'::jsonb, '<a/>'::text",
    "select array[1, 2, null], array[[1, 2], [3, 4]], '{}'::int[], array['a,b', '\"q\"', null]",
    "select row(1, 'two', null), point(1, 2), box '((0,0),(1,1))', '10.0.0.0/8'::cidr",
    "select '00000000-0000-0000-0000-000000000001'::uuid, int4range(1, 5), '1 & 2'::tsquery",
    "select 'NaN'::float8, '-Infinity'::float8, 'NaN'::numeric, -0.0::float8",
    "select 'Grüße, 世界 🌍', E'tab\\there', U&'\\0041', $tag$dollar 'quoted'$tag$",
    "select repeat('large', 100000)",
    "select repeat(chr(65 + n % 26), n * 100) from generate_series(0, 300) n",
    "select generate_series(1, 5000)",
    "select from generate_series(1, 3)",
    "select 1 as \"Odd Name\", 2 as \"\u{fc}\", 3 as \"\"\"\"",
    "",
    "-- only a comment",
    ";;;",
    "select 1; select 2; select 3",
    "select 1; select 1/0; select 3",
    "begin; insert into things values (2000, 'x'); select 1/0; commit",
    "rollback",
    "selec 1",
    "select 1/0",
    "select * from no_such_table",
    "select no_such_column from things",
    "select no_such_function(1)",
    "select 'x'::int",
    "select 9999999999::int",
    "select cast('2024-02-30' as date)",
    "insert into things values (1, repeat('x', 10), null, 'not json')",
    "create table things ()",
    "drop table if exists never_was",
    "do $$ begin raise debug 'd'; raise log 'l'; raise info 'i'; raise notice 'n'; end $$",
    "do $$ begin raise warning 'w' using detail = 'd', hint = 'h', errcode = '01P01'; end $$",
    "do $$ begin raise exception 'all fields' using detail = 'the detail', hint = 'the hint', \
     errcode = 'P0042', column = 'c', constraint = 'k', datatype = 'd', table = 't', schema = 's'; \
     end $$",
    "do $$ begin perform 1/0; exception when division_by_zero then raise notice '%', sqlerrm; end $$",
    "set datestyle = 'German'",
    "select date '2024-02-29'",
    "reset datestyle",
    "set timezone = 'Asia/Kolkata'",
    "select timestamptz '2024-01-01 00:00:00+00'",
    "set timezone = 'Nowhere'",
    "reset timezone",
    "set application_name = 'renamed'",
    "show application_name",
    "set client_encoding = 'LATIN1'",
    "select 'Grüße'",
    "set client_encoding = 'UTF8'",
    "set standard_conforming_strings = off; select 'a\\\\b'; reset standard_conforming_strings",
    "show server_version",
    "begin",
    "savepoint a",
    "insert into things values (3000, 'kept')",
    "savepoint b",
    "insert into things values (3000, 'clash')",
    "select 'in a failed transaction'",
    "rollback to b",
    "release b",
    "select name from things where id = 3000",
    "commit",
    "begin isolation level serializable read only",
    "insert into things values (4000, 'refused')",
    "rollback",
    "begin",
    "declare cur cursor for select n from generate_series(1, 100) n",
    "fetch 3 from cur",
    "fetch backward 1 from cur",
    "move 10 in cur",
    "fetch all from cur",
    "close cur",
    "end",
    "commit",
    "begin; set local work_mem = '7MB'; show work_mem; commit; show work_mem",
    "copy (select id, name from things order by id limit 50) to stdout",
    "copy (select id, name from things order by id limit 5) to stdout with (format csv, header)",
    "copy (select id, name from things order by id limit 5) to stdout with (format binary)",
    "copy (select 1/(3 - n) from generate_series(1, 5) n) to stdout",
    "copy no_such_table to stdout",
    "explain (costs off) select * from things where id = 1",
    "with recursive r(n) as (select 1 union all select n + 1 from r where n < 10) select * from r",
    "select pg_notify('unheard', 'payload')",
    "listen heard; notify heard, 'payload'; unlisten heard",
    "create function f(int) returns setof int language sql as 'select generate_series(1, $1)'",
    "select f(3)",
    "create temp table gone (a int) on commit drop",
    "lock table things",
    "vacuum things",
    "select 1 where false",
    "values (1, 'a'), (2, 'b')",
    "table things limit 1",
    "truncate things",
    "drop function f; drop table things",
];

/// A client that leaves nothing behind for the next statement keeps its place either way.
async fn run_script(client: &mut Client) -> Vec<(String, Vec<Frame>)> {
    let mut answers = Vec::new();
    for sql in STATEMENTS {
        let frames = client.ask_frames(Batch::new().query(sql)).await;
        answers.push((format!("simple: {sql}"), frames));
    }
    for sql in STATEMENTS {
        let batch = Batch::new().parse("", sql).describe_statement("").bind("", &[]);
        let frames = client.ask_frames(batch.describe_portal("").execute().sync()).await;
        answers.push((format!("extended: {sql}"), frames));
    }
    for (what, batch) in odd_batches() {
        let frames = client.ask_frames(batch).await;
        answers.push((what.to_owned(), frames));
    }
    answers
}

fn odd_batches() -> Vec<(&'static str, Batch)> {
    let copy = "copy copied from stdin";
    vec![
        ("make a table", Batch::new().query("create table copied (a int, b text)")),
        ("copy", Batch::new().query(copy).copy_data(b"1\tone\n2\t\\N\n").copy_done()),
        ("bad copy", Batch::new().query(copy).copy_data(b"x\ty\n").copy_done()),
        ("failed copy", Batch::new().query(copy).copy_data(b"1\ta\n").copy_fail("no more")),
        ("no row lost", Batch::new().query("select * from copied order by a")),
        ("ping", Batch::new().statement("", &[])),
        ("half a ping", Batch::new().parse("", "").bind("", &[]).sync()),
        ("pipeline", Batch::new().parse("", "select 1").bind("", &[]).execute().execute().sync()),
        ("unknown statement", Batch::new().bind("unknown", &[]).execute().sync()),
        ("unknown portal", Batch::new().execute_rows("unknown", 0).sync()),
        ("describe unknown", Batch::new().describe_statement("unknown").sync()),
        ("too few values", Batch::new().statement("select $1::int", &[])),
        ("bad value", Batch::new().statement("select $1::int", &["x"])),
        ("two commands", Batch::new().statement("select 1; select 2", &[])),
        (
            "suspended",
            Batch::new().parse("", "table copied").bind("", &[]).execute_rows("", 1).sync(),
        ),
        ("unknown function", Batch::new().call_function(999_999, &["1"])),
        ("drop", Batch::new().query("drop table copied")),
    ]
}

#[test]
fn a_broad_script_gets_the_same_bytes_as_from_postgres() {
    check_and(&Settings::new(), async || {});
}

/// What is answered without a server looks the same as well.
#[test]
fn a_broad_script_gets_the_same_bytes_with_every_shortcut_taken() {
    let http = Port::take();
    let settings = http_at(&http).set("defer_begin", true).set("answer_pings", "select");
    check_and(&settings, async || {
        let taken = r#"pgweir_pool_shortcuts_total{database="app",user="app"}"#;
        let taken = metric(&http, taken).await;
        assert!(taken >= 10.0, "few were taken: {taken}");
    });
}

fn check_and(settings: &Settings, then: impl AsyncFnOnce()) {
    let settings = settings.clone().pool_size(1);
    run(async move {
        // Not the same Postgres: the first run leaves oids and cached plans behind.
        let (direct, behind) = (Postgres::start().await, Postgres::start().await);
        let proxy = Proxy::start(&settings, &behind.address()).await;
        let login = |address: &Address| Login::to(address).with("application_name", "script");
        let mut straight = login(&direct.address()).connect().await;
        let mut through = login(&proxy.address).connect().await;
        let expected = run_script(&mut straight).await;
        let got = run_script(&mut through).await;
        for ((what, expected), (_, got)) in expected.into_iter().zip(got) {
            assert_eq!(without_pids(&got), without_pids(&expected), "{what}");
        }
        then().await;
    });
}

/// Notifications carry the pid of their sender.
fn without_pids(frames: &[Frame]) -> Vec<Frame> {
    let mask = |frame: &Frame| {
        let mut frame = frame.clone();
        if frame.tag == b'A' {
            frame.body[..4].fill(0);
        }
        frame
    };
    frames.iter().map(mask).collect()
}
