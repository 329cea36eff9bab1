//! Statements of SQL that name prepared ones: the same names as those of the protocol.

use super::ending::may_be_several;
use super::tokens::{Tokens, is};
use std::borrow::Cow;

/// What a text does to the prepared statements of its session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Use<'a> {
    /// It is one `DEALLOCATE` of this name.
    Deallocate(Cow<'a, [u8]>),
    /// It is one `EXECUTE` or `PREPARE` of this name, the first perhaps explained.
    Name(Cow<'a, [u8]>),
    /// It may drop all, or have several such statements.
    Other,
}

/// Whether a text may be one that [`prepared_use`] has something to say of: what the hot path asks.
#[inline]
pub fn may_use_prepared(sql: &[u8]) -> bool {
    sql.first().is_some_and(|first| {
        matches!(first | 0x20, b'd' | b'e' | b'p')
            || matches!(first, b'-' | b'/' | b';' | b' ' | 9..=13)
    })
}

/// What this text, up to its zero byte, does to prepared statements. `None`: nothing.
pub fn prepared_use(sql: &[u8]) -> Option<Use<'_>> {
    let mut tokens = Tokens(sql);
    let mut word = tokens.find(|token| *token != b";")?;
    if is(word, "explain") {
        // Its options come first.
        word = tokens.find(|token| is(token, "execute"))?;
    }
    let is_deallocate = is(word, "deallocate");
    if is(word, "discard") {
        return Some(Use::Other);
    }
    if !is_deallocate && !is(word, "execute") && !is(word, "prepare") {
        return may_be_several(sql).then(|| several(sql)).flatten();
    }
    let mut name = tokens.next()?;
    if is_deallocate && is(name, "prepare") {
        name = tokens.next()?;
    }
    if is_deallocate && is(name, "all") {
        return Some(Use::Other);
    }
    if is(word, "prepare") && is(name, "transaction") {
        return None;
    }
    // `"a""b"` is cut in two.
    let is_quoted = name.first() == Some(&b'"');
    if is_quoted && tokens.0.first() == Some(&b'"') || may_be_several(sql) {
        return Some(Use::Other);
    }
    let name = unquoted(name)?;
    Some(if is_deallocate { Use::Deallocate(name) } else { Use::Name(name) })
}

/// A name as Postgres reads it.
fn unquoted(token: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(rest) = token.strip_prefix(b"\"") {
        return Some(Cow::Borrowed(rest.strip_suffix(b"\"")?));
    }
    if token.iter().any(u8::is_ascii_uppercase) {
        return Some(Cow::Owned(token.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(token))
}

/// Whether one of several statements has to do with prepared ones.
fn several(sql: &[u8]) -> Option<Use<'_>> {
    let mut is_first = true;
    for token in Tokens(sql) {
        let says = ["deallocate", "discard", "execute", "prepare"];
        if is_first && says.iter().any(|word| is(token, word)) {
            return Some(Use::Other);
        }
        is_first = token == b";";
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Use, may_use_prepared, prepared_use};
    use proptest::prelude::*;
    use std::borrow::Cow;

    #[track_caller]
    fn name(sql: &str) -> String {
        match prepared_use(sql.as_bytes()) {
            Some(Use::Deallocate(name)) => format!("- {}", name.escape_ascii()),
            Some(Use::Name(name)) => name.escape_ascii().to_string(),
            Some(Use::Other) => "?".to_owned(),
            None => String::new(),
        }
    }

    #[test]
    fn names_are_read_as_postgres_reads_them() {
        for sql in
            ["deallocate a", "DEALLOCATE A ;", " deallocate prepare \"a\"", "/**/deallocate a"]
        {
            assert_eq!(name(sql), "- a", "{sql}");
        }
        assert_eq!(name("deallocate \"A b\""), "- A b");
        assert_eq!(name("execute a(1, 2)"), "a");
        assert_eq!(name("explain (analyze) execute a"), "a");
        assert_eq!(name("prepare a(int) as select $1"), "a");
    }

    #[test]
    fn what_is_unclear_is_not_guessed() {
        for sql in [
            "deallocate all",
            "deallocate prepare all",
            "discard all",
            "discard plans",
            "deallocate \"a\"\"b\"",
            "deallocate a; select 1",
            "select 1; deallocate a",
        ] {
            assert_eq!(name(sql), "?", "{sql}");
        }
        for sql in
            ["", ";", "select 1", "select 1; select 2", "prepare transaction 'x'", "delete from a"]
        {
            assert_eq!(name(sql), "", "{sql}");
        }
    }

    proptest! {
        #[test]
        fn what_the_hot_path_asks_leaves_none_out(
            space in "[ \n;]{0,2}",
            word in "DEallocate|execute|Prepare|dISCARD",
        ) {
            let sql = format!("{space}{word} a");
            prop_assert!(prepared_use(sql.as_bytes()).is_some());
            prop_assert!(may_use_prepared(sql.as_bytes()));
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _found: Option<Cow<'_, [u8]>> = match prepared_use(&bytes) {
                Some(Use::Deallocate(name) | Use::Name(name)) => Some(name),
                _ => None,
            };
        }
    }
}
