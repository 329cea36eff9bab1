//! Any bytes, and any words of SQL, as a text that may be a read: what is judged one has nothing in it that a
//! second, plain reading would stop at; and space, case, constants and a semicolon at the end mean nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::sql::read::{Fingerprint, Names, No, Reading};
use reader::{Token, tokens};
use std::hash::{BuildHasherDefault, DefaultHasher};

#[path = "reads/reader.rs"]
mod reader;

/// What a byte below their number stands for.
const WORDS: &[&str] = &[
    ";",
    "\n",
    "\r",
    "\u{b}",
    "'",
    "\"",
    "--",
    "/*",
    "*/",
    "$$",
    "$a$",
    "$",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "=",
    "&",
    "\\",
    "E'",
    "U&",
    "U&\"",
    "1",
    "'a'",
    "'it''s'",
    "E'\\''",
    "$$a$$",
    "0x10",
    "1e5",
    "1into",
    "1e5for",
    "select",
    "from",
    "where",
    "values",
    "table",
    "with",
    "recursive",
    "as",
    "and",
    "union",
    "for",
    "no",
    "key",
    "share",
    "update",
    "insert",
    "delete",
    "merge",
    "into",
    "temp",
    "lock",
    "begin",
    "set",
    "listen",
    "prepare",
    "lateral",
    "join",
    "left",
    "group",
    "order",
    "by",
    "within",
    "over",
    "filter",
    "case",
    "when",
    "end",
    "array",
    "in",
    "exists",
    "cast",
    "uescape",
    "operator",
    "current_schema",
    "current_user",
    "count",
    "lower",
    "coalesce",
    "generate_series",
    "unnest",
    "set_config",
    "nextval",
    "pg_advisory_lock",
    "pg_sleep",
    "setseed",
    "lo_create",
    "app",
    "price",
    "pg_catalog",
    "t",
    "a",
    "e",
    "x",
    "b",
    "\"a\"",
    "\"pg_catalog\"",
    "\"nextval\"",
    "\"set_config\"",
    "::",
    "*",
    "+",
    "-",
    "/",
];

const EFFECTS: &[&str] =
    &["lo_create", "nextval", "pg_advisory_lock", "pg_sleep", "set_config", "setseed"];

type Verdict = Result<Fingerprint, No>;

fn look_at(sql: &[u8], functions: &[&str], is_utf8: bool) -> Verdict {
    let names = Names::new(functions.iter().map(|&name| name.to_owned()).collect(), Vec::new());
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    Reading { names: &names, hasher: &hasher, is_utf8 }.look_at(sql)
}

fn judge(sql: &[u8]) -> Verdict {
    look_at(sql, &["app.price"], true)
}

/// What the bytes stand for, with this between them.
fn text_of(
    bytes: &[u8],
    between: &str,
    stands_for: impl Fn(&'static str) -> &'static str,
) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        match WORDS.get(usize::from(*byte)) {
            Some(word) => text.extend_from_slice(stands_for(word).as_bytes()),
            None => text.push(*byte),
        }
        text.extend_from_slice(between.as_bytes());
    }
    text
}

fn shown(sql: &[u8]) -> String {
    String::from_utf8_lossy(sql).into_owned()
}

fuzz_target!(|bytes: &[u8]| {
    // The first decides whether words touch.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let between = if first % 2 == 0 { " " } else { "" };
    let sql = text_of(bytes, between, |word| word);
    let verdict = judge(&sql);
    if verdict.is_ok() {
        assert_is_plain(&sql);
    }
    assert_eq!(judge(&[&sql[..], b";"].concat()), verdict, "{}", shown(&sql));
    assert_eq!(judge(&[b" /* ; */\t", &sql[..]].concat()), verdict, "{}", shown(&sql));
    let elsewhere = if sql.is_ascii() { verdict } else { Err(No::Unclear) };
    assert_eq!(look_at(&sql, &["app.price"], false), elsewhere, "{}", shown(&sql));
    // Who allows less has the same said of what is left.
    if let Ok(fingerprint) = look_at(&sql, &[], true) {
        assert_eq!(verdict, Ok(fingerprint), "{}", shown(&sql));
    }
    // Names in quotes are what they are.
    if !sql.contains(&b'"') && !sql.contains(&b'$') {
        assert_eq!(judge(&sql.to_ascii_uppercase()), verdict, "{}", shown(&sql));
    }
    if first % 2 == 0 {
        assert_is_same_otherwise(bytes, verdict);
    }
});

/// Other space between words, and other constants in the place of those there are.
fn assert_is_same_otherwise(bytes: &[u8], verdict: Verdict) {
    let has = |words: &[&str]| {
        bytes.iter().any(|byte| WORDS.get(usize::from(*byte)).is_some_and(|it| words.contains(it)))
    };
    // Space within a name in quotes is part of it.
    if !has(&["\"", "U&\""]) {
        let wide = text_of(bytes, "\t\u{c} ", |word| word);
        assert_eq!(judge(&wide), verdict, "{}", shown(&wide));
        // A string with escapes goes on behind a line break, and not behind a comment.
        if !has(&["E'", "E'\\''"]) {
            let commented = text_of(bytes, " /* x */ ", |word| word);
            assert_eq!(judge(&commented), verdict, "{}", shown(&commented));
        }
    }
    // Within other quotes, those of a constant end them.
    if !has(&["\"", "U&\"", "'", "E'", "$$", "$a$"]) {
        let other = text_of(bytes, " ", |word| match word {
            "1" => "4711",
            "'a'" => "''",
            "$$a$$" => "$$it's; $$",
            word => word,
        });
        assert_eq!(judge(&other), verdict, "{}", shown(&other));
    }
}

/// Nothing stands there at which a reader would stop.
fn assert_is_plain(sql: &[u8]) {
    let tokens = tokens(sql).unwrap_or_else(|| panic!("not closed: {}", shown(sql)));
    let first = tokens.iter().find(|token| **token != Token::Other(b'('));
    let reads = ["select", "table", "values", "with"];
    assert!(reads.iter().any(|word| first.is_some_and(|it| it.is(word))), "{}", shown(sql));
    let mut before = [Token::Other(b' '); 2];
    let mut has_ended = false;
    for token in tokens {
        let [two, one] = before;
        let is_right = !has_ended || token == Token::Other(b';');
        let is_right = is_right && !writes(token) && !locks(one, token) && !calls(two, one, token);
        assert!(is_right, "{two:?} {one:?} {token:?} in {}", shown(sql));
        has_ended |= token == Token::Other(b';');
        before = [one, token];
    }
}

fn writes(token: Token<'_>) -> bool {
    ["current_schema", "delete", "insert", "into", "merge", "update"].iter().any(|it| token.is(it))
}

fn locks(one: Token<'_>, token: Token<'_>) -> bool {
    one.is("for") && ["key", "no", "share", "update"].iter().any(|word| token.is(word))
}

/// Whether a function with effects may be called there.
fn calls(two: Token<'_>, one: Token<'_>, token: Token<'_>) -> bool {
    let has_effects = |token: Token<'_>| EFFECTS.iter().any(|name| token.is_name(name));
    let is_name = |token| matches!(token, Token::Name(_) | Token::Word(_));
    // A name that is given, with those of columns.
    let is_given = ["as", "recursive", "with"].iter().any(|word| two.is(word));
    match token {
        Token::Other(b'(') => matches!(one, Token::Name(_)) || has_effects(one) && !is_given,
        // It may be another one than it seems.
        Token::Name(_) if one == Token::Other(b'&') && two.is("u") => true,
        _ if one == Token::Other(b'.') && is_name(token) => {
            // That takes three values, and has none of them as a column.
            has_effects(token) && !token.is_name("set_config") || !is_name(two)
        }
        _ => false,
    }
}
