//! Requests that may share a server, and those that may not.

use super::{FARE_MAX, Fare, Form, Front, Runs};
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Interner, Prepared};
use crate::wire::encode::message;
use proptest::prelude::*;
use std::sync::Arc;

fn one(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, tag, |out| out.extend(body));
    out
}

fn query(sql: &str) -> Vec<u8> {
    one(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

fn parse(name: &str) -> Vec<u8> {
    one(b'P', &[name.as_bytes(), b"\0select $1\0\0\0"].concat())
}

fn bind(portal: &str, name: &str) -> Vec<u8> {
    let values = [0, 0, 0, 1, 0, 0, 0, 1, b'7', 0, 0];
    one(b'B', &[portal.as_bytes(), b"\0", name.as_bytes(), b"\0", &values].concat())
}

fn describe(what: &str) -> Vec<u8> {
    one(b'D', &[what.as_bytes(), b"\0"].concat())
}

fn execute(rows: u8) -> Vec<u8> {
    one(b'E', &[0, 0, 0, 0, rows])
}

fn sync() -> Vec<u8> {
    one(b'S', b"")
}

#[test]
fn whole_requests_of_one_statement_are_taken() {
    let text = "select 1";
    assert_eq!(Front::read(&query(text)).unwrap().runs, Runs::Query(text.as_bytes()));
    let batch = [parse(""), bind("", ""), execute(0), sync()].concat();
    assert_eq!(Front::read(&batch).unwrap().runs, Runs::Unnamed(b"select $1"));
    let batch = [bind("", "own"), describe("P"), execute(0), sync()].concat();
    let behind = [&batch[..], &query("more")].concat();
    let front = Front::read(&behind).unwrap();
    assert_eq!((front.runs, front.bytes), (Runs::Named(b"own"), &batch[..]));
    assert_eq!(front.form, Form::Named { name: 3, describes: true });
}

#[test]
fn anything_else_is_not() {
    let wrong = [
        [parse("own"), bind("", "own"), execute(0), sync()].concat(),
        [parse(""), bind("", "own"), execute(0), sync()].concat(),
        [parse(""), describe("S"), bind("", ""), execute(0), sync()].concat(),
        [parse(""), bind("p", ""), execute(0), sync()].concat(),
        [parse(""), bind("", ""), describe("S"), execute(0), sync()].concat(),
        [parse(""), bind("", ""), execute(1), sync()].concat(),
        [parse(""), bind("", ""), execute(0), execute(0), sync()].concat(),
        [parse(""), bind("", ""), execute(0), one(b'H', b"")].concat(),
        [parse(""), sync()].concat(),
        // Of the unnamed statement, made before.
        [bind("", ""), execute(0), sync()].concat(),
        query(&"x".repeat(FARE_MAX)),
        [query("select 1\0select 2")].concat(),
        [describe("Sown"), sync()].concat(),
        one(b'F', &[0, 0, 0, 1]),
        sync(),
    ];
    for bytes in wrong {
        assert!(Front::read(&bytes).is_none(), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_statement_that_the_server_has_not_is_not_sent() {
    let batch = [bind("", "own"), execute(0), sync()].concat();
    let front = Front::read(&batch).unwrap();
    let interner = Interner::new(1 << 20);
    let context = interner.context(&Settings::default(), ("app", "app"));
    let statement = interner.intern(b"select 1\0\0\0", context).unwrap();
    let mut fare = Fare::default();
    fare.take_up(&front, Some(&statement), &Arc::default());
    let (mut ledger, mut out) = (Ledger::default(), Vec::new());
    assert!(!fare.send(&mut Prepared::default(), &mut ledger, &mut out));
    assert!(out.is_empty() && ledger.is_empty());
    assert_eq!((fare.name(), fare.parses(), fare.len()), (Some(&b"own"[..]), None, batch.len()));
}

#[test]
fn what_is_sent_is_entered_in_the_ledger() {
    for (batch, owed) in [
        (query("select 1"), 1),
        ([parse(""), bind("", ""), execute(0), sync()].concat(), 4),
        ([parse(""), bind("", ""), describe("P"), execute(0), sync()].concat(), 5),
    ] {
        let mut fare = Fare::default();
        fare.take_up(&Front::read(&batch).unwrap(), None, &Arc::default());
        let (mut ledger, mut out) = (Ledger::default(), Vec::new());
        assert!(fare.send(&mut Prepared::default(), &mut ledger, &mut out));
        assert_eq!((&out, ledger.len()), (&batch, owed));
    }
}

proptest! {
    /// A request that is not all here is none so far; and nothing makes it panic.
    #[test]
    fn only_whole_requests_are_taken(cut in 0_usize..80, bytes: Vec<u8>) {
        let whole = [parse(""), bind("", ""), describe("P"), execute(0), sync()].concat();
        let cut = cut.min(whole.len());
        prop_assert_eq!(Front::read(&whole[..cut]).is_some(), cut == whole.len());
        prop_assert!(Front::read(&bytes).is_none_or(|front| !front.bytes.is_empty()));
    }
}
