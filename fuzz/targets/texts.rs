//! Any bytes, and any words of SQL, as a text: a glance passes over nothing that reading it would find,
//! case means nothing, and a value that is taken to be plain cannot be more than a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::session::text::Text;
use pgweir::sql::ending::may_be_several;
use pgweir::sql::hidden::Hidden;
use pgweir::sql::statement::{Kind, plain_value, statements};
use std::mem::{Discriminant, discriminant};

/// What a byte below their number stands for.
const WORDS: &[&str] = &[
    " ",
    ";",
    "\n",
    "'",
    "\"",
    "--",
    "/*",
    "*/",
    "$$",
    "$a$",
    "(",
    ")",
    ",",
    ".",
    "=",
    "\\",
    "E'",
    "set ",
    "SET LOCAL ",
    "session ",
    "to ",
    "reset ",
    "all",
    "role ",
    "time zone ",
    "from current",
    "default",
    "begin",
    "commit",
    "rollback ",
    "savepoint ",
    "release ",
    "create ",
    "temp ",
    "TEMPORARY ",
    "table ",
    "t",
    "on commit drop",
    "declare ",
    "with hold",
    "for ",
    "select ",
    "into ",
    "pg_temp",
    "set_config",
    "pg_advisory_lock",
    "currval",
    "lastval",
    "explain ",
    "do ",
    "load ",
    "listen ",
    "unlisten *",
    "discard ",
    "prepare ",
    "execute ",
    "deallocate ",
    "insert ",
    "atomic ",
    "end",
    "1",
    "app.x",
    "true",
    "U&\"",
];

/// What begins like this calls nothing that is in its text, or Postgres refuses it.
const CALLS_NOTHING: &[&[u8]] = &[
    b"anal", b"begi", b"clos", b"comm", b"drop", b"gran", b"lock", b"noti", b"show", b"star",
    b"trun", b"vacu",
];

/// What begins like this makes no table: `temp` is a name in it.
const MAKES_NOTHING: &[&[u8]] =
    &[b"alte", b"copy", b"dele", b"fetc", b"inse", b"merg", b"upda", b"valu"];

fn begins(statement: &[u8], with: &[&[u8]]) -> bool {
    let first = statement.get(..4).unwrap_or_default();
    with.iter().any(|letters| first.eq_ignore_ascii_case(letters))
}

fn text_of(bytes: &[u8]) -> Vec<u8> {
    let words = bytes.iter().flat_map(|byte| match WORDS.get(usize::from(*byte)) {
        Some(word) => word.as_bytes(),
        None => std::slice::from_ref(byte),
    });
    words.copied().collect()
}

/// What is found in a text, but for names and values.
fn found(sql: &[u8]) -> Vec<(Discriminant<Kind<'_>>, Hidden)> {
    let of = |(kind, statement)| {
        let hidden = Hidden::of(kind, statement, &[]);
        let names = hidden.names.iter().map(|name| name.to_ascii_lowercase().into()).collect();
        (discriminant(&kind), Hidden { names, ..hidden })
    };
    statements(sql).map(of).collect()
}

/// Whether such a statement does nothing that a session could keep.
fn is_quiet(kind: Kind<'_>) -> bool {
    matches!(
        kind,
        Kind::Begin
            | Kind::Commit { .. }
            | Kind::Deallocate(_)
            | Kind::DeallocateAll
            | Kind::DiscardPlans
            | Kind::DiscardSequences
            | Kind::DiscardTemp
            | Kind::Other
            | Kind::Prepare(_)
            | Kind::Rollback { .. }
    )
}

fuzz_target!(|bytes: &[u8]| {
    let sql = text_of(bytes);
    if Text::read(&sql, may_be_several(&sql), &[]).is_none() {
        for (kind, statement) in statements(&sql) {
            assert!(is_quiet(kind), "{kind:?}");
            let mut hidden = Hidden::of(kind, statement, &[]);
            hidden.temp &= !begins(statement, MAKES_NOTHING);
            assert!(begins(statement, CALLS_NOTHING) || hidden.is_empty(), "{kind:?}");
        }
    }
    // The same word in other letters ends a dollar quote that it did not end before.
    if !sql.contains(&b'$') {
        assert_eq!(found(&sql), found(&sql.to_ascii_uppercase()));
    }
    for (kind, _) in statements(&sql) {
        if let Kind::Set { value, .. } = kind
            && let Some(value) = plain_value(value)
        {
            assert_is_one_value(value);
        }
    }
});

/// Set to it again, another setting is that, and what stands behind it is not hidden.
fn assert_is_one_value(value: &str) {
    let again = format!("SET \"x\" TO {value};SELECT 1");
    let kinds: Vec<_> = statements(again.as_bytes()).map(|(kind, _)| kind).collect();
    let is_set = matches!(kinds[0], Kind::Set { name: b"\"x\"", .. } | Kind::Reset(b"\"x\""));
    assert!(is_set && kinds[1..] == [Kind::Other], "{again}: {kinds:?}");
}
