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

/// What a request is, by reading each of its messages as a whole: what it runs, whether it describes, and its
/// length.
fn in_full(bytes: &[u8]) -> Option<(Runs<'_>, bool, usize)> {
    let (mut messages, mut rest, mut len) = (Vec::new(), bytes, 0);
    while let [tag, a, b, c, d, ..] = *rest {
        let total = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        let body = rest.get(5..total).filter(|_| total <= FARE_MAX)?;
        messages.push((tag, body));
        (rest, len) = (&rest[total..], len + total);
        if matches!(tag, b'Q' | b'S') {
            break;
        }
    }
    let text = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == 0);
    let (runs, batch) = match &messages[..] {
        [(b'Q', body)] if text(body)? + 1 == body.len() => {
            return (len <= FARE_MAX).then_some((Runs::Query(&body[..text(body)?]), false, len));
        }
        [(b'P', parse), batch @ ..] if parse.first() == Some(&0) => {
            (Some(&parse[1..=text(&parse[1..])?]), batch)
        }
        batch => (None, batch),
    };
    let ((b'B', bind), batch) = batch.split_first()? else { return None };
    let name = bind.strip_prefix(b"\0")?;
    let name = &name[..text(name)?];
    let describes = batch.first() == Some(&(b'D', b"P\0"));
    if batch[usize::from(describes)..] != [(b'E', &[0; 5][..]), (b'S', b"")] {
        return None;
    }
    let runs = match runs {
        Some(text) if name.is_empty() => Runs::Unnamed(text),
        None if !name.is_empty() => Runs::Named(name),
        _ => return None,
    };
    (len <= FARE_MAX).then_some((runs, describes, len))
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0_usize..9, 1 => 7_900_usize..8_300];
    prop_oneof![
        3 => Just(parse("")),
        1 => Just(parse("own")),
        3 => prop::sample::select(vec!["", "own"]).prop_map(|name| bind("", name)),
        1 => Just(bind("portal", "own")),
        2 => prop::sample::select(vec!["P", "Sown", "Pportal"]).prop_map(describe),
        4 => prop::sample::select(vec![0, 0, 0, 1]).prop_map(execute),
        5 => Just(sync()),
        2 => length.prop_map(|length| query(&"x".repeat(length))),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(tag, body)| one(tag, &body)),
    ]
}

/// Mostly a request that may share.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let describes = prop::sample::select(vec![vec![], describe("P")]);
    let good = (any::<bool>(), describes).prop_map(|(is_named, describes)| {
        let parse = if is_named { vec![] } else { parse("") };
        let name = if is_named { "own" } else { "" };
        vec![parse, bind("", name), describes, execute(0), sync()]
    });
    let any = prop::collection::vec(any_message(), 1..6);
    let changes = prop::collection::vec((0_usize..6, any_message()), 0..2);
    let spoilt = (good, changes).prop_map(|(mut messages, changes)| {
        for (at, message) in changes {
            messages[at % 5] = message;
        }
        messages
    });
    prop_oneof![2 => spoilt, 1 => any].prop_map(|messages| messages.concat())
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

    /// Nothing else is read than what it is; some bytes may be others than they should be, and some missing.
    #[test]
    fn a_request_is_what_it_is_in_full(
        mut bytes in any_request(),
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..2),
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..80],
    ) {
        for (at, byte) in flips {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        bytes.truncate(cut);
        let read = Front::read(&bytes).map(|front| {
            let describes = match front.form {
                Form::Named { describes, .. } | Form::Unnamed { describes } => describes,
                Form::Query => false,
            };
            (front.runs, describes, front.bytes.len())
        });
        prop_assert_eq!(read, in_full(&bytes));
    }
}
