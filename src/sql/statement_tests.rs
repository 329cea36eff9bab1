//! Statements as people and drivers write them, and as nobody should.

use super::{Kind, identifier, plain_value, statements, variable};
use proptest::prelude::*;

#[track_caller]
fn check(sql: &str, expected: &[Kind<'_>]) {
    let kinds: Vec<_> = statements(sql.as_bytes()).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, expected, "{sql}");
}

fn set<'a>(name: &'a str, value: &'a str) -> Kind<'a> {
    Kind::Set { name: name.as_bytes(), value: value.as_bytes() }
}

#[test]
fn what_is_set_is_read_as_it_was_written() {
    check("SET work_mem = '8MB'", &[set("work_mem", "'8MB'")]);
    check("set session a.b to 1 ;", &[set("a.b", "1")]);
    check("set a . b = c, \"D\" -- e", &[set("a . b", "c, \"D\"")]);
    check("set search_path=x;", &[set("search_path", "x")]);
    check("set role bob", &[set("role", "bob")]);
    check("set role none", &[set("role", "none")]);
    check("set role to 'bob'", &[set("role", "'bob'")]);
    check("set schema 'x'", &[set("search_path", "'x'")]);
    check("set names 'utf8'", &[set("client_encoding", "'utf8'")]);
    check("set time zone 'UTC'", &[set("TimeZone", "'UTC'")]);
    check("set session authorization bob", &[Kind::SetOther]);
    check("set session characteristics as transaction read only", &[Kind::SetOther]);
    check("set xml option document", &[Kind::SetOther]);
    check("set x from current", &[Kind::SetOther]);
    for local in ["set local x = 1", "set transaction read only", "set constraints all deferred"] {
        check(local, &[Kind::SetLocal]);
    }
    check("set session transaction isolation level serializable", &[Kind::SetLocal]);
}

#[test]
fn what_is_reset_is_read() {
    check("reset work_mem; set x to DEFAULT", &[Kind::Reset(b"work_mem"), Kind::Reset(b"x")]);
    check("set time zone default; reset time zone", &[Kind::Reset(b"TimeZone"); 2]);
    check("set names", &[Kind::Reset(b"client_encoding")]);
    check("RESET ALL", &[Kind::ResetAll]);
    check("reset session authorization", &[Kind::SetOther]);
    check("reset transaction isolation level", &[Kind::SetLocal]);
    check("discard all; discard temp", &[Kind::DiscardAll, Kind::DiscardTemp]);
}

#[test]
fn transactions_and_savepoints_are_read() {
    let (plain, chained) = (Kind::Commit { chains: false }, Kind::Commit { chains: true });
    check("begin; start transaction; end", &[Kind::Begin, Kind::Begin, plain]);
    check("commit and chain; commit work and no chain", &[chained, plain]);
    check("commit prepared 'x'; prepare transaction 'x'", &[Kind::Other, Kind::Other]);
    check("rollback; abort", &[Kind::Rollback { chains: false }; 2]);
    check(
        "rollback to a; rollback work to savepoint A",
        &[Kind::RollbackTo(b"a"), Kind::RollbackTo(b"A")],
    );
    check(
        "savepoint \"a b\"; release savepoint a; release savepoint",
        &[Kind::Savepoint(b"\"a b\""), Kind::Release(b"a"), Kind::Release(b"savepoint")],
    );
}

#[test]
fn names_of_channels_and_statements_are_read() {
    check(
        "listen a; unlisten a; unlisten *",
        &[Kind::Listen(b"a"), Kind::Unlisten(b"a"), Kind::UnlistenAll],
    );
    check(
        "prepare p (int) as select $1; execute p(1); deallocate p",
        &[Kind::Prepare(b"p"), Kind::Execute(b"p"), Kind::Deallocate(b"p")],
    );
    check(
        "deallocate prepare p; deallocate prepare; deallocate all; deallocate prepare all",
        &[
            Kind::Deallocate(b"p"),
            Kind::Deallocate(b"prepare"),
            Kind::DeallocateAll,
            Kind::DeallocateAll,
        ],
    );
}

#[test]
fn what_stays_on_the_server_is_read() {
    for temp in [
        "create temp table t (a int)",
        "create temporary view v as select 1",
        "create or replace temp view v as select 1",
        "create local temp sequence s",
        "create unlogged table pg_temp.t (a int)",
        "create temp table t (a int) on commit delete rows",
    ] {
        check(temp, &[Kind::CreateTemp]);
    }
    check("create temp table t (a int) on commit drop", &[Kind::Other]);
    check("create table temp (temporary int)", &[Kind::Other]);
    check("declare c cursor with hold for select 1", &[Kind::DeclareHold]);
    check("declare c scroll cursor for select 1 for update", &[Kind::Other]);
    check("load 'auto_explain'; do $$begin end$$", &[Kind::Load, Kind::Do]);
}

#[test]
fn what_is_quoted_is_no_statement() {
    check("select 'set x = 1; reset all' -- ; discard all", &[Kind::Other]);
    check("\"set\" x = 1", &[Kind::Other]);
    check("", &[]);
    check(" ; /* set x = 1 */ ;", &[]);
}

#[test]
fn names_are_read_as_postgres_reads_them() {
    assert_eq!(identifier(b"Abc").unwrap(), b"abc");
    assert_eq!(identifier(b"\"Abc\"").unwrap(), b"Abc");
    assert_eq!(identifier(&[b'a'; 80]).unwrap(), [b'a'; 63]);
    assert_eq!(identifier("é".as_bytes()), None);
    assert_eq!(identifier(b"\"a\"\"b\"").unwrap(), b"a\"b");
    assert_eq!(identifier(b"\"a\"b\""), None);
    assert_eq!(Kind::of(b"listen \"a\"\"b\""), Kind::Listen(b"\"a\"\"b\""));
    assert_eq!(Kind::of(b"release \"a\"\"b\""), Kind::Release(b"\"a\"\"b\""));
    assert_eq!(variable(b"App . \"Tenant\"").unwrap(), "app.Tenant");
    assert_eq!(variable(b"'x'"), None);
}

#[test]
fn a_value_is_plain_if_it_means_the_same_everywhere() {
    for plain in ["'8MB'", "on", "1.5", "-1", "a, \"B\", 'it''s'", "1e5"] {
        assert_eq!(plain_value(plain.as_bytes()), Some(plain));
    }
    for other in [
        "E'a'",
        r"'a\b'",
        "$1",
        "'é'",
        "from current",
        "U&'a'",
        "$$a$$",
        "'open",
        "'open\"",
        "",
        "1 --",
        "1 /**/",
    ] {
        assert_eq!(plain_value(other.as_bytes()), None, "{other}");
    }
}

proptest! {
    /// Each kind of its text, and each text a part of the whole.
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(
        prop::sample::select(&b"'\"$E\\;a1 \n-/*\xff.=()"[..]), 0..40,
    ), words in prop::collection::vec(prop::sample::select(vec![
        "set", "session", "local", "role", "reset", "all", "to", "=", "default", "time", "zone",
        "rollback", "savepoint", "release", "prepare", "transaction", "deallocate", "create",
        "or", "replace", "temp", "on", "commit", "drop", "unlisten", "*", ".", ";", "'a'", "x",
    ]), 0..10)) {
        let mut sql = words.join(" ").into_bytes();
        sql.extend(&bytes);
        for (kind, statement) in statements(&sql) {
            prop_assert!(!statement.is_empty() && statement != b";");
            prop_assert_eq!(kind, Kind::of(statement));
            if let Kind::Set { name, value } = kind {
                let _read = (variable(name), plain_value(value));
            }
        }
    }
}
