//! Statements that end a transaction.

/// How a statement ends a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    Commit,
    Rollback,
}

/// Reads a text that is one `COMMIT`, `END`, `ROLLBACK` or `ABORT` and nothing else. `None`: it is
/// something else, or something more, such as `ROLLBACK TO` or `COMMIT AND CHAIN`.
pub fn ending(sql: &[u8]) -> Option<Ending> {
    let mut words = Words(sql);
    let ending = match words.next()? {
        word if is(word, "commit") || is(word, "end") => Ending::Commit,
        word if is(word, "rollback") || is(word, "abort") => Ending::Rollback,
        _ => return None,
    };
    let mut next = words.next();
    if next.is_some_and(|word| is(word, "work") || is(word, "transaction")) {
        next = words.next();
    }
    if next.is_some_and(|word| is(word, "and")) {
        // Only `AND NO CHAIN` changes nothing.
        if !(words.next().is_some_and(|word| is(word, "no"))
            && words.next().is_some_and(|word| is(word, "chain")))
        {
            return None;
        }
        next = words.next();
    }
    while next == Some(b";") {
        next = words.next();
    }
    next.is_none().then_some(ending)
}

/// Whether a text may be an ending, by its first letter: what the hot path can afford to ask.
#[inline]
pub fn may_be_ending(sql: &[u8]) -> bool {
    // Space and comments may come first.
    matches!(sql.first(), Some(b'a' | b'A' | b'c' | b'C' | b'e' | b'E' | b'r' | b'R' | b'-' | b'/'))
        || sql.first().is_some_and(u8::is_ascii_whitespace)
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// Words and single other characters, without white space and comments.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn skip_space(&mut self) {
        loop {
            let rest = self.0.trim_ascii_start();
            self.0 = match rest {
                [b'-', b'-', comment @ ..] => {
                    let end = comment.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    end.map_or(&[], |end| &comment[end..])
                }
                [b'/', b'*', comment @ ..] => after_comment(comment),
                rest => {
                    self.0 = rest;
                    return;
                }
            };
        }
    }
}

/// What follows a block comment whose opening was read. They nest, in Postgres.
fn after_comment(mut rest: &[u8]) -> &[u8] {
    let mut depth = 1;
    while depth > 0 {
        rest = match rest {
            [] => return rest,
            [b'/', b'*', after @ ..] => {
                depth += 1;
                after
            }
            [b'*', b'/', after @ ..] => {
                depth -= 1;
                after
            }
            [_, after @ ..] => after,
        };
    }
    rest
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        let len = self.0.iter().position(|byte| !is_word(byte)).unwrap_or(self.0.len()).max(1);
        let (word, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, ending, may_be_ending};
    use proptest::prelude::*;

    #[test]
    fn endings_are_recognised_however_they_are_written() {
        for sql in ["commit", "COMMIT;", " end work ; ", "-- done\nCommit", "/* a /* b */ */ end"] {
            assert_eq!(ending(sql.as_bytes()), Some(Ending::Commit), "{sql}");
        }
        for sql in ["rollback", "ABORT", "rollback transaction", "rollback and no chain;;"] {
            assert_eq!(ending(sql.as_bytes()), Some(Ending::Rollback), "{sql}");
        }
    }

    #[test]
    fn what_does_more_is_no_ending() {
        for sql in [
            "",
            ";",
            "rollback to a",
            "rollback and chain",
            "commit prepared 'x'",
            "commit; select 1",
            "commits",
            "select 1",
            "rollback work to savepoint a",
            "commit /* not closed",
            "\"commit\"",
        ] {
            let found = ending(sql.as_bytes());
            assert!(found.is_none() || sql.contains("not closed"), "{sql}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_asked(bytes: Vec<u8>) {
            if ending(&bytes).is_some() {
                prop_assert!(may_be_ending(&bytes));
            }
        }
    }
}
