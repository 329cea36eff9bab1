//! Texts that ask for so little that they need no server, or none so far.

use super::tokens::{Tokens, is};

/// Nobody writes a `BEGIN` or a ping longer than this.
const LEN_MAX: usize = 160;

/// What such a text is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trivial {
    /// Begins a transaction, with modes or without.
    Begin,
    /// Nothing but space, comments and semicolons.
    Empty,
    /// `SELECT 1`.
    SelectOne,
    /// `START TRANSACTION`, which differs from `BEGIN` by its command tag.
    Start,
}

/// What a text is, if it is one trivial statement and nothing else.
pub fn trivial(sql: &[u8]) -> Option<Trivial> {
    // What is not ASCII may be no text at all in the client's encoding.
    if sql.len() > LEN_MAX || !sql.is_ascii() {
        return None;
    }
    let mut tokens = Tokens(sql).peekable();
    let begins = |found, mut rest: Rest<'_>| rest.is_modes().then_some(found);
    match tokens.find(|token| *token != b";") {
        None => Some(Trivial::Empty),
        Some(word) if is(word, "begin") => {
            tokens.next_if(|word| is(word, "work") || is(word, "transaction"));
            begins(Trivial::Begin, Rest(tokens))
        }
        Some(word) if is(word, "start") => {
            tokens.next_if(|word| is(word, "transaction"))?;
            begins(Trivial::Start, Rest(tokens))
        }
        Some(word) if is(word, "select") => {
            tokens.next_if_eq(&&b"1"[..])?;
            tokens.all(|token| token == b";").then_some(Trivial::SelectOne)
        }
        Some(_) => None,
    }
}

/// Whether a text may be trivial, by its first letter: what each request can afford to ask.
#[inline]
pub fn may_be_empty(sql: &[u8]) -> bool {
    match sql.first() {
        None | Some(b';' | b'-' | b'/' | 0 | 0x0b) => true,
        Some(first) => first.is_ascii_whitespace(),
    }
}

/// What follows the words that begin a transaction.
struct Rest<'a>(std::iter::Peekable<Tokens<'a>>);

impl Rest<'_> {
    /// Whether it is any number of transaction modes, each once, and the end.
    fn is_modes(&mut self) -> bool {
        let mut is_first = true;
        loop {
            if self.0.peek().is_none_or(|token| *token == b";") {
                return self.0.all(|token| token == b";");
            }
            if !is_first {
                self.takes(b",");
            }
            is_first = false;
            if !self.is_mode() {
                return false;
            }
        }
    }

    fn is_mode(&mut self) -> bool {
        if self.reads("isolation") {
            return self.reads("level")
                && (self.reads("serializable")
                    || self.reads("repeatable") && self.reads("read")
                    || self.reads("read")
                        && (self.reads("committed") || self.reads("uncommitted")));
        }
        if self.reads("read") {
            return self.reads("only") || self.reads("write");
        }
        self.reads("not");
        self.reads("deferrable")
    }

    fn reads(&mut self, keyword: &str) -> bool {
        self.0.next_if(|token| is(token, keyword)).is_some()
    }

    fn takes(&mut self, token: &[u8]) {
        self.0.next_if(|next| *next == token);
    }
}

#[cfg(test)]
mod tests {
    use super::{Trivial, may_be_empty, trivial};
    use proptest::prelude::*;

    #[test]
    fn a_begin_is_recognised_with_its_modes() {
        for sql in [
            "begin",
            "BEGIN;",
            " Begin Work ; ;",
            "begin transaction isolation level serializable, read only, not deferrable",
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
            "/* app */ begin isolation level read uncommitted -- now",
            "begin deferrable;",
        ] {
            assert_eq!(trivial(sql.as_bytes()), Some(Trivial::Begin), "{sql}");
        }
        let sql = b"start transaction read only";
        assert_eq!(trivial(sql), Some(Trivial::Start));
    }

    #[test]
    fn a_ping_is_recognised() {
        for sql in ["", ";", " ;; ", "-- ping", "/* ping */ ;", "\n"] {
            assert_eq!(trivial(sql.as_bytes()), Some(Trivial::Empty), "{sql}");
            assert!(may_be_empty(sql.as_bytes()), "{sql}");
        }
        for sql in ["select 1", "SELECT 1;", "/* ping */ select 1"] {
            assert_eq!(trivial(sql.as_bytes()), Some(Trivial::SelectOne), "{sql}");
        }
    }

    #[test]
    fn what_is_more_or_wrong_is_left_to_postgres() {
        for sql in [
            "begin; select 1",
            "begin isolation level",
            "begin isolation level snapshot",
            "begin read",
            "begin ,",
            "begin not",
            "begin work work",
            "start",
            "start work",
            "select 1, 2",
            "select 10",
            "select '1'",
            "select 1 -- \n + 1",
            "/* not closed",
            "/* ; /* */",
            "'not closed",
            "select 1 /* not closed",
            "begin; /* not closed",
            "; -- \u{fc}",
            "commit",
        ] {
            assert_eq!(trivial(sql.as_bytes()), None, "{sql}");
        }
    }

    proptest! {
        /// Whatever may precede a statement and follow it changes nothing.
        #[test]
        fn space_and_comments_do_not_matter(
            before in "[ \n\t;]{0,4}",
            case: bool,
            after in "(-- x\n|/\\* y \\*/|;| ){0,4}",
        ) {
            let word = if case { "BEGIN" } else { "begin" };
            let sql = format!("{before}{word} {after}");
            prop_assert_eq!(trivial(sql.as_bytes()), Some(Trivial::Begin));
            let sql = format!("{before}{after}");
            prop_assert_eq!(trivial(sql.as_bytes()), Some(Trivial::Empty));
        }

        /// Whatever is trivial is an error with an open comment behind it.
        #[test]
        fn an_open_comment_makes_it_an_error(sql in "(begin|;|select 1|-- x\n|/\\*|\\*/| ){0,6}") {
            if trivial(sql.as_bytes()).is_some() {
                prop_assert_eq!(trivial(format!("{sql}\n/*").as_bytes()), None);
            }
        }

        /// What is asked first is right of every text that is empty, and of what may stand behind it.
        #[test]
        fn the_first_letter_of_an_empty_text_tells(
            before in "[ \n\r\t\x0b\x0c;]{0,3}",
            sql in "(-- x\n|/\\* y \\*/|;|[ \t\x0b]|x|select){0,4}",
            behind: Vec<u8>,
        ) {
            let sql = format!("{before}{sql}");
            if trivial(sql.as_bytes()) == Some(Trivial::Empty) {
                prop_assert!(may_be_empty(sql.as_bytes()));
                prop_assert!(may_be_empty(&[sql.as_bytes(), b"\0", &behind].concat()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if trivial(&bytes) == Some(Trivial::Empty) {
                prop_assert!(may_be_empty(&bytes));
            }
        }
    }
}
