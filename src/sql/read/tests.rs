//! What is judged to be a read, and what is not.

use super::{Fingerprint, NAME_MAX, Names, No, Reading};
use proptest::prelude::*;
use std::hash::{BuildHasherDefault, DefaultHasher};

type Fixed = BuildHasherDefault<DefaultHasher>;

fn look_at(sql: &[u8]) -> Result<Fingerprint, No> {
    let functions = ["app.price", "Distance"].map(str::to_owned).to_vec();
    let names = Names::new(functions, ["ledger", "Tally"].map(str::to_owned).to_vec());
    Reading { names: &names, hasher: &Fixed::default(), is_utf8: true }.look_at(sql)
}

/// What is said of a text, as the corpus has it.
fn said(verdict: Result<Fingerprint, No>) -> &'static str {
    match verdict {
        Ok(_) => "read",
        Err(No::Barred) => "barred",
        Err(No::Function) => "function",
        Err(No::Kind) => "kind",
        Err(No::Locks) => "locks",
        Err(No::Several) => "several",
        Err(No::Unclear) => "unclear",
        Err(No::Writes) => "writes",
    }
}

#[test]
fn the_corpus_is_judged_as_it_says() {
    let headings = ["barred", "function", "kind", "locks", "read", "several", "unclear", "writes"];
    let (mut expected, mut wrong) = ("", Vec::new());
    for line in include_str!("corpus.sql").lines().skip(2) {
        let heading = line.strip_prefix("-- ").filter(|heading| headings.contains(heading));
        if let Some(heading) = heading {
            expected = heading;
        } else if said(look_at(line.as_bytes())) != expected {
            wrong.push((line, expected, said(look_at(line.as_bytes()))));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn statements_that_differ_in_constants_have_one_fingerprint() {
    let of = |sql: &str| look_at(sql.as_bytes()).unwrap();
    for [one, other] in [
        ["select b from t where a = 1", "SELECT b\nFROM T WHERE a = 4711 -- x"],
        ["select 'x'", "select $$it's$$"],
        ["select 'x'", "select 'it''s'"],
        ["select b from t where a in (1)", "select b from t where a in (1, 2, 3)"],
        ["select 1;", "select 2"],
        ["select e'x'", "select e'x'\n''\r\n 'it\\'s'''\t\n'\\\\'"],
    ] {
        assert_eq!(of(one), of(other), "{one} {other}");
    }
    for [one, other] in [
        ["select a from t", "select b from t"],
        ["select ab", "select a b"],
        ["select 1", "select (1)"],
        ["select a", "select \"a\""],
        ["select 1, 2", "select 1, a"],
    ] {
        assert_ne!(of(one), of(other), "{one} {other}");
    }
}

#[test]
fn what_depends_on_the_encoding_is_asked_for() {
    let hasher = Fixed::default();
    let names = Names::default();
    let reading = |is_utf8| Reading { names: &names, hasher: &hasher, is_utf8 };
    assert!(reading(true).look_at("select 'ä'".as_bytes()).is_ok());
    assert_eq!(reading(false).look_at("select 'ä'".as_bytes()), Err(No::Unclear));
    assert!(reading(false).look_at(b"select 'a'").is_ok());
}

#[test]
fn a_name_that_postgres_would_cut_may_be_one_that_is_barred() {
    let long = "x".repeat(NAME_MAX);
    let names = Names::new(Vec::new(), vec![long.clone()]);
    let look_at = |sql: String| {
        let reading = Reading { names: &names, hasher: &Fixed::default(), is_utf8: true };
        reading.look_at(sql.as_bytes()).map(|_| ())
    };
    assert_eq!(look_at(format!("table {long}")), Err(No::Barred));
    assert_eq!(look_at(format!("table {long}y")), Err(No::Barred));
    assert_eq!(look_at(format!("table \"{long}y\"")), Err(No::Barred));
    assert_eq!(look_at(format!("table {}", &long[1..])), Ok(()));
}

proptest! {
    /// Whatever is in a text, it is judged; and what is added behind a statement is never overlooked.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _verdict = look_at(&bytes);
    }

    #[test]
    fn a_call_is_found_wherever_it_stands(
        before in "[a-z0-9 (),.;='\"$*/\\\\-]{0,20}",
        after in "[a-z0-9 (),.;='\"$*/\\\\-]{0,20}",
    ) {
        let sql = format!("select {before} set_config ( {after}");
        let tokens: Vec<_> = super::Tokens(sql.as_bytes()).collect();
        let is_called = tokens.windows(2).any(|two| two == [&b"set_config"[..], b"("]);
        let before = tokens.windows(2).position(|two| two == [&b"set_config"[..], b"("]);
        let is_alias = before.is_some_and(|at| at > 0 && super::is(tokens[at - 1], "as"));
        prop_assert!(!is_called || is_alias || look_at(sql.as_bytes()).is_err(), "{sql}");
    }
}
