//! Requests that may share a server, and those that may not.

use super::{FARE_MAX, Fare, Form, Front, Runs};
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Interner, Moment, Prepared, Statement, To};
use crate::wire::encode::message;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

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

const POOL: (&str, &str) = ("app", "app");

fn send(fare: &mut Fare, prepared: &mut Prepared, ledger: &mut Ledger) -> Option<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    let moment = Moment { at: Instant::now(), epoch: 0 };
    let mut out = Vec::new();
    let is_sent = fare.send(To { prepared, ledger, out: &mut out, pool: POOL, moment });
    assert!(is_sent || out.is_empty() && ledger.is_empty());
    is_sent.then_some(out)
}

fn statement(body: &[u8]) -> Arc<Statement> {
    let interner = Interner::new(1 << 20);
    let context = interner.context(&Settings::default(), POOL);
    interner.intern(body, context).unwrap()
}

fn fare_of(batch: &[u8], statement: &Arc<Statement>, settings: Settings) -> Fare {
    let mut fare = Fare { statements_max: 1, ..Fare::default() };
    fare.take_up(&Front::read(batch).unwrap(), Some(statement), &Arc::new(settings));
    fare
}

#[test]
fn a_statement_that_the_server_lacks_goes_ahead() {
    let batch = [bind("", "own"), execute(0), sync()].concat();
    let (mut prepared, mut ledger) = (Prepared::default(), Ledger::default());
    for serial in 1..=2 {
        let mut fare = fare_of(&batch, &statement(b"select 1\0\0\0"), Settings::default());
        let name = format!("pgweir_{serial}");
        let ahead = one(b'P', &[name.as_bytes(), b"\0select 1\0\0\0"].concat());
        let wanted = [ahead, describe(&format!("S{name}")), bind("", &name), execute(0), sync()];
        let out = send(&mut fare, &mut prepared, &mut ledger).expect("it is sent");
        assert_eq!(out, wanted.concat(), "what is under way for one may fail for the other");
        assert_eq!(fare.name(), Some(&b"own"[..]));
        assert_eq!((fare.parses(), fare.len()), (None, batch.len()));
    }
    assert_eq!(ledger.len(), 10);
}

#[test]
fn what_would_mean_another_thing_is_not_prepared() {
    let batch = [bind("", "own"), execute(0), sync()].concat();
    let (mut prepared, mut ledger) = (Prepared::default(), Ledger::default());
    let mut settings = Settings::default();
    settings.set("search_path", "elsewhere");
    let mut fare = fare_of(&batch, &statement(b"select 1\0\0\0"), settings);
    assert_eq!(send(&mut fare, &mut prepared, &mut ledger), None);
    let long = [&[b' '; FARE_MAX][..], b"select 1\0\0\0"].concat();
    let mut fare = fare_of(&batch, &statement(&long), Settings::default());
    assert_eq!(send(&mut fare, &mut prepared, &mut ledger), None);
    assert!(prepared.is_empty());
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
        let mut ledger = Ledger::default();
        let out = send(&mut fare, &mut Prepared::default(), &mut ledger);
        assert_eq!((out, ledger.len()), (Some(batch), owed));
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
