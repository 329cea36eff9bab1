//! Statements that begin and end transactions.

use super::cut::Statements;
use super::tokens::{Tokens, is};
use crate::wire::frame::split_text;
use memchr::memchr;

/// How a statement ends a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    Commit,
    Rollback,
}

/// Reads a text that is one `COMMIT`, `END`, `ROLLBACK` or `ABORT` and nothing else. `None`: it is
/// something else, or something more, such as `ROLLBACK TO` or `COMMIT AND CHAIN`.
pub fn ending(sql: &[u8]) -> Option<Ending> {
    let mut tokens = Tokens(sql);
    let ending = match tokens.next()? {
        word if is(word, "commit") || is(word, "end") => Ending::Commit,
        word if is(word, "rollback") || is(word, "abort") => Ending::Rollback,
        _ => return None,
    };
    let mut next = tokens.next();
    if next.is_some_and(|word| is(word, "work") || is(word, "transaction")) {
        next = tokens.next();
    }
    if next.is_some_and(|word| is(word, "and")) {
        // Only `AND NO CHAIN` changes nothing.
        if !(tokens.next().is_some_and(|word| is(word, "no"))
            && tokens.next().is_some_and(|word| is(word, "chain")))
        {
            return None;
        }
        next = tokens.next();
    }
    while next == Some(b";") {
        next = tokens.next();
    }
    next.is_none().then_some(ending)
}

/// Whether a text may be a statement that ends a transaction, by its first letter: what the hot path can
/// afford to ask.
#[inline]
pub fn may_be_ending(sql: &[u8]) -> bool {
    // Space, comments and empty statements may come first.
    sql.first().is_some_and(|first| {
        matches!(first.to_ascii_lowercase(), b'a' | b'c' | b'e' | b'p' | b'r')
            || matches!(first, b'-' | b'/' | b';')
            || is_space(*first)
    })
}

/// Whether a text may be one that Postgres runs in a transaction that has failed. The text may go on behind
/// its zero byte.
pub fn may_end(sql: &[u8]) -> bool {
    let mut tokens = Tokens(split_text(sql).map_or(sql, |(sql, _)| sql));
    let ends = ["abort", "commit", "end", "prepare", "rollback"];
    let first = tokens.find(|token| *token != b";");
    first.is_some_and(|first| ends.iter().any(|word| is(first, word)))
}

/// Whether a text is a `FETCH`: what it returns is known from the cursor that there is when it is prepared. The
/// text may go on behind its zero byte.
pub fn fetches(sql: &[u8]) -> bool {
    let mut tokens = Tokens(split_text(sql).map_or(sql, |(sql, _)| sql));
    let first = tokens.find(|token| *token != b";");
    first.is_some_and(|first| is(first, "fetch"))
}

/// Whether a text may have several statements: a semicolon that is not at its end.
#[inline]
pub fn may_be_several(sql: &[u8]) -> bool {
    let is_end = |byte: &u8| *byte == b';' || is_space(*byte);
    let end = sql.iter().rposition(|byte| !is_end(byte)).unwrap_or_default();
    sql.get(..end).is_some_and(|sql| memchr(b';', sql).is_some())
}

#[inline]
fn is_space(byte: u8) -> bool {
    // Two that are none to Rust: the vertical tab, and the zero byte behind a text.
    byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0)
}

/// What texts under way do to the transaction they are sent in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outlook {
    /// One of them commits: `COMMIT`, `END`, `PREPARE TRANSACTION` or `COMMIT PREPARED`.
    pub commits: bool,
    /// Behind the last that ends a transaction, another begins.
    pub begins_another: bool,
    /// One of them ends the transaction, by a commit or by a rollback.
    pub ends: bool,
}

impl Outlook {
    /// Reads another text, with any number of statements.
    pub fn add(&mut self, sql: &[u8]) {
        for statement in Statements::of(sql) {
            let Statement { first, second, chains, is_partial } = Statement::read(statement);
            let of_prepared = is(second, "prepared");
            if is(first, "begin") || is(first, "start") && is(second, "transaction") {
                self.begins_another = true;
            } else if is(first, "commit") && of_prepared {
                self.commits = true;
            } else if is(first, "commit")
                || is(first, "end")
                || is(first, "prepare") && is(second, "transaction")
            {
                *self = Self { commits: true, begins_another: chains, ends: true };
            } else if is(first, "abort") || is(first, "rollback") && !of_prepared && !is_partial {
                (self.begins_another, self.ends) = (chains, true);
            }
        }
    }
}

/// As much of a statement as it takes to know what it does to a transaction.
struct Statement<'a> {
    first: &'a [u8],
    second: &'a [u8],
    /// It ends with `AND CHAIN`.
    chains: bool,
    /// It has a `TO` in it, as `ROLLBACK TO` has.
    is_partial: bool,
}

impl<'a> Statement<'a> {
    fn read(sql: &'a [u8]) -> Self {
        let mut tokens = Tokens(sql);
        let first = tokens.next().unwrap_or_default();
        let mut statement = Self { first, second: b"", chains: false, is_partial: false };
        let (mut before, mut last): (&[u8], &[u8]) = (b"", first);
        for token in tokens {
            if before.is_empty() {
                statement.second = token;
            }
            statement.is_partial |= is(token, "to");
            (before, last) = (last, token);
        }
        statement.chains = is(before, "and") && is(last, "chain");
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Outlook, ending, fetches, may_be_ending, may_be_several};
    use proptest::prelude::*;

    fn outlook(sql: &str) -> Outlook {
        let mut outlook = Outlook::default();
        // As on the hot path, with the zero byte behind it.
        let text = format!("{sql}\0");
        if may_be_ending(text.as_bytes()) || may_be_several(text.as_bytes()) {
            outlook.add(sql.as_bytes());
        }
        outlook
    }

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
            assert!(found.is_none(), "{sql}: {found:?}");
        }
    }

    #[test]
    fn a_fetch_is_told_from_others() {
        for sql in ["fetch 3 from c", " ; /* of c */ FETCH\0\0\0", "--\nFetch all in \"c\""] {
            assert!(fetches(sql.as_bytes()), "{sql}");
        }
        for sql in
            ["", "move 3 from c", "fetched", "\"fetch\"", "select fetch", "select 1; fetch c"]
        {
            assert!(!fetches(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn a_commit_is_found_among_other_statements() {
        for sql in [
            "commit",
            "commit and no chain",
            "insert into t values (1); commit",
            "begin; insert into t values (';'); END ;",
            ";commit",
            " /* */ commit work; select 1",
            "insert into t values ($$ ' $$); commit",
            "insert into t values (E'\\''); commit",
            "commit and chain; rollback",
            "prepare transaction 'x'",
            "insert into t values (1);prepare transaction 'x'",
            "commit prepared 'x'",
            "create rule r as on insert to t do also (select 1; select 2); commit",
            "create function f() returns int begin atomic select 1; select case when true then 1 end;\
             end; commit",
            "create table begin (atomic int); commit",
        ] {
            let Outlook { commits, begins_another, ends } = outlook(sql);
            assert!(commits && !begins_another, "{sql}");
            // One that was prepared is not the one that is open.
            assert_eq!(ends, !sql.starts_with("commit prepared"), "{sql}");
        }
    }

    #[test]
    fn a_transaction_behind_a_commit_is_found() {
        for sql in [
            "commit and chain",
            "commit; begin",
            "commit; start transaction isolation level serializable; insert into t values (1)",
            "begin; insert into t values (1); commit work and chain;",
            "commit and chain; rollback and chain",
            "commit; begin; rollback to a; rollback prepared 'x'; commit prepared 'x'",
        ] {
            let expected = Outlook { commits: true, begins_another: true, ends: true };
            assert_eq!(outlook(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_commits_nothing_is_taken_for_no_commit() {
        for sql in [
            "",
            ";;",
            "select 'commit'; select 1",
            "insert into t values ('; commit')",
            "insert into t values ($a$; commit; $a$); select 1",
            "insert into t values (E'\\'; commit'); select 1",
            "select 1 -- ; commit",
            "select 1; /* ; commit; */ select 2",
            "select 1; \"commit\"",
            "rollback; select 1",
            "prepare p as select 1; execute p",
            "declare c cursor for select 1; close c",
            "create function f() returns int begin atomic select 1; end",
            "create rule r as on insert to t do also (delete from u; commit)",
            "select 1; end_of_day()",
        ] {
            assert!(!outlook(sql).commits, "{sql}");
        }
    }

    #[test]
    fn what_rolls_back_ends_a_transaction() {
        for sql in ["rollback", "ABORT;", "/* */ Rollback and chain", "select 1; rollback work"] {
            assert!(outlook(sql).ends, "{sql}");
        }
        for sql in
            ["rollback to a", "release a", "rollback prepared 'x'", "alter table t add a int"]
        {
            assert!(!outlook(sql).ends, "{sql}");
        }
    }

    #[test]
    fn the_last_of_several_texts_counts() {
        let mut outlook = Outlook::default();
        outlook.add(b"commit");
        outlook.add(b"begin");
        assert_eq!(outlook, Outlook { commits: true, begins_another: true, ends: true });
        outlook.add(b"commit");
        assert_eq!(outlook, Outlook { commits: true, begins_another: false, ends: true });
    }

    fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
        let piece = prop::sample::select(vec![
            "commit",
            "rollback",
            "end",
            "begin",
            ";",
            ";",
            " ",
            "'",
            "\"",
            "$$",
            "$a$",
            "/*",
            "*/",
            "--",
            "\n",
            "E'",
            "\\",
            "(",
            ")",
            "x",
            "prepare",
            "transaction",
            "and",
            "chain",
            "\u{b}",
        ]);
        prop::collection::vec(piece, 0..12)
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_asked(bytes: Vec<u8>) {
            let mut outlook = Outlook::default();
            outlook.add(&bytes);
            prop_assert!(ending(&bytes) != Some(Ending::Commit) || outlook.commits);
        }

        /// What the hot path asks leaves none out.
        #[test]
        fn whatever_ends_may_be_an_ending(pieces in pieces()) {
            let sql = pieces.concat();
            let mut outlook = Outlook::default();
            outlook.add(sql.as_bytes());
            if ending(sql.as_bytes()) == Some(Ending::Commit) {
                let expected = Outlook { commits: true, begins_another: false, ends: true };
                prop_assert_eq!(outlook, expected);
            }
            if outlook.commits || outlook.ends {
                let sql = sql.as_bytes();
                prop_assert!(may_be_ending(sql) || may_be_several(sql), "{}", sql.escape_ascii());
            }
        }
    }
}
