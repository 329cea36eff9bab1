//! A text of SQL, cut as Postgres' lexer cuts it, with `standard_conforming_strings` on: so that
//! nothing in a string, a quoted name or a comment is taken for a statement.

use super::bytes::{DIGIT, IN_WORD, LINE_BREAK, SPACE, STARTS_WORD, is_a};

/// Words, quoted things, and single other characters, without white space and comments.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a>(pub(super) &'a [u8]);

/// Whether a token is this keyword.
pub(super) fn is(token: &[u8], keyword: &str) -> bool {
    token.eq_ignore_ascii_case(keyword.as_bytes())
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let mut bytes = after(self.0, SPACE);
        if let [b'-' | b'/', ..] = bytes {
            bytes = after_comments(bytes);
        }
        let rest = match bytes {
            [] => {
                self.0 = bytes;
                return None;
            }
            [first, second, rest @ ..] if is_a(*first, STARTS_WORD) && is_a(*second, IN_WORD) => {
                after(rest, IN_WORD)
            }
            _ => after_other(bytes),
        };
        let (token, _) = bytes.split_at_checked(bytes.len().saturating_sub(rest.len()))?;
        self.0 = rest;
        Some(token)
    }
}

/// What follows a token that is no word of two letters or more.
fn after_other(bytes: &[u8]) -> &[u8] {
    match *bytes {
        // A comment that is not closed. It is no space: Postgres refuses the text.
        [] | [b'/', b'*', ..] => &[],
        [quote @ (b'\'' | b'"'), ref rest @ ..] => after_quote(rest, quote),
        [b'e' | b'E', b'\'', ref rest @ ..] => after_escapes(rest),
        [b'$', ref rest @ ..] => after_dollars(rest).unwrap_or(rest),
        [first, ref rest @ ..] if is_a(first, DIGIT) => after(rest, STARTS_WORD | DIGIT),
        // A word of one letter, or another character.
        [_, ref rest @ ..] => rest,
    }
}

/// What follows the bytes that are of one of these classes.
#[inline]
fn after(bytes: &[u8], classes: u8) -> &[u8] {
    let end = bytes.iter().position(|byte| !is_a(*byte, classes));
    end.and_then(|end| bytes.get(end..)).unwrap_or_default()
}

/// What follows comments, and white space between them.
fn after_comments(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [b'-', b'-', comment @ ..] => {
                let end = memchr::memchr2(b'\n', b'\r', comment).unwrap_or(comment.len());
                comment.get(end..).unwrap_or_default()
            }
            [b'/', b'*', comment @ ..] => match after_comment(comment) {
                Some(after) => after,
                None => return bytes,
            },
            _ => return bytes,
        };
        bytes = after(bytes, SPACE);
    }
}

/// What follows a block comment whose opening was read. They nest, in Postgres. `None`: it is not closed.
fn after_comment(mut rest: &[u8]) -> Option<&[u8]> {
    let mut depth = 1_usize;
    while depth > 0 {
        rest = match rest {
            [] => return None,
            [b'/', b'*', after @ ..] => {
                depth = depth.saturating_add(1);
                after
            }
            [b'*', b'/', after @ ..] => {
                depth = depth.saturating_sub(1);
                after
            }
            [_, after @ ..] => after,
        };
    }
    Some(rest)
}

/// What follows a string or a quoted name whose opening was read. A quote that is doubled ends it,
/// and another begins: that is the same here.
fn after_quote(bytes: &[u8], quote: u8) -> &[u8] {
    let end = memchr::memchr(quote, bytes);
    end.and_then(|end| bytes.get(end + 1..)).unwrap_or_default()
}

/// The same of a string with escapes. It may go on behind a line break.
fn after_escapes(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [] => return rest,
            [b'\\', _, after @ ..] | [b'\'', b'\'', after @ ..] => after,
            [b'\'', end @ ..] => match continued(end) {
                Some(after) => after,
                None => return end,
            },
            [_, after @ ..] => after,
        };
    }
}

/// The rest of a string that goes on: behind white space with a line break in it, and a quote.
fn continued(end: &[u8]) -> Option<&[u8]> {
    let next = after(end, SPACE);
    let (space, _) = end.split_at_checked(end.len().saturating_sub(next.len()))?;
    let is_broken = space.iter().any(|byte| is_a(*byte, LINE_BREAK));
    if is_broken { next.strip_prefix(b"'") } else { None }
}

/// What follows a string in dollars, whose first one was read. `None`: it is none.
fn after_dollars(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let body = after(bytes, STARTS_WORD | DIGIT).strip_prefix(b"$")?;
    let (tag, _) = bytes.split_at_checked(bytes.len().saturating_sub(body.len()))?;
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
        if let Some(behind) = rest.strip_prefix(tag) {
            return Some(behind);
        }
    }
    Some(&[])
}

#[cfg(test)]
mod tests {
    use super::Tokens;
    use proptest::prelude::*;

    #[track_caller]
    fn check(sql: &str, expected: &[&str]) {
        let tokens: Vec<_> = Tokens(sql.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(tokens, expected, "{sql}");
    }

    #[test]
    fn quoted_things_are_whole_whatever_is_in_them() {
        check("'a;b' \"c;d\" ;", &["'a;b'", "\"c;d\"", ";"]);
        check("'it''s;' x", &["'it'", "'s;'", "x"]);
        check(r"'\';x", &[r"'\'", ";", "x"]);
        check(r"E'\';' e'''x' x", &[r"E'\';'", "e'''x'", "x"]);
        check("E'a' \n 'b\\';' x", &["E'a' \n 'b\\';'", "x"]);
        check("E'a' 'b' x", &["E'a'", "'b'", "x"]);
        check(r"U&'\0061;' x", &["U", "&", r"'\0061;'", "x"]);
        check("'not closed; x", &["'not closed; x"]);
    }

    #[test]
    fn strings_in_dollars_end_at_their_own_tag() {
        check("$$;$a$ $$;", &["$$;$a$ $$", ";"]);
        check("$a$;$b$;$$;$aa$;$a$;", &["$a$;$b$;$$;$aa$;$a$", ";"]);
        check("a$b$;c$b$", &["a$b$", ";", "c$b$"]);
        check("$1;$2", &["$", "1", ";", "$", "2"]);
        check("$a$ not closed ;", &["$a$ not closed ;"]);
    }

    #[test]
    fn comments_are_no_tokens() {
        check("a -- ';\nb /* ' /* ; */ $$ */ c", &["a", "b", "c"]);
        check("a--", &["a"]);
        check("/* closed ; */ /* not ; ", &["/* not ; "]);
        check("a\u{b}b-/c", &["a", "b", "-", "/", "c"]);
    }

    proptest! {
        /// Tokens are what is there, in order, and nothing but space and comments is left out.
        #[test]
        fn any_bytes_can_be_cut(bytes in prop::collection::vec(
            prop::sample::select(&b"'\"$E\\;a1 \n-/*\xff"[..]), 0..40,
        )) {
            let mut place = 0;
            for token in Tokens(&bytes) {
                prop_assert!(!token.is_empty());
                let at = token.as_ptr() as usize - bytes.as_ptr() as usize;
                prop_assert!(at >= place);
                place = at + token.len();
            }
            prop_assert!(place <= bytes.len());
        }
    }
}
