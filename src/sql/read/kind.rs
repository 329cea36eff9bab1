//! What the tokens of a read are, as far as they are sure to be that under all settings and versions.

use super::No;
use crate::sql::bytes::{STARTS_WORD, is_a};

/// What a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A number or a string.
    Constant,
    /// A semicolon.
    End,
    Opening,
    Other,
    /// A name in quotes.
    Quoted,
    Word,
}

impl Kind {
    /// # Errors
    ///
    /// It is none that means the same everywhere.
    pub(super) fn of(token: &[u8]) -> Result<Self, No> {
        let kind = match token {
            // Most tokens are. What has a quote next is a string with escapes.
            [first, rest @ ..] if is_a(*first, STARTS_WORD) && rest.first() != Some(&b'\'') => {
                Self::Word
            }
            [b'(', ..] => Self::Opening,
            [b';', ..] => Self::End,
            [b'0'..=b'9', ..] if is_number(token) => Self::Constant,
            // Whether a backslash is one is a setting; and half a string is none.
            [b'\'', inner @ .., b'\''] if !inner.contains(&b'\\') => Self::Constant,
            [b'e' | b'E', b'\'', inner @ ..] if is_closed(inner) => Self::Constant,
            [b'$', inner @ .., b'$'] if is_dollar_quoted(inner) => Self::Constant,
            [b'"', .., b'"'] if token.len() > 2 => Self::Quoted,
            [b'\'' | b'"' | b'0'..=b'9', ..]
            | [b'e' | b'E', b'\'', ..]
            | [b'/', b'*', ..]
            | [b'$', _, ..] => return Err(No::Unclear),
            _ => Self::Other,
        };
        Ok(kind)
    }
}

/// Whether this is a number, or the beginning of one, and no more. Before version 15, Postgres takes what
/// follows the digits for a word of its own: `1into` has an `INTO`.
fn is_number(token: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'_';
    match token {
        [b'0', b'x' | b'X', digits @ ..] => {
            digits.iter().all(|byte| is_digit(byte) || byte.is_ascii_hexdigit())
        }
        [b'0', b'b' | b'B' | b'o' | b'O', digits @ ..] => digits.iter().all(is_digit),
        _ => {
            let mut parts = token.splitn(2, |byte| matches!(byte, b'e' | b'E'));
            parts.all(|digits| digits.iter().all(is_digit))
        }
    }
}

/// Whether a string with escapes ends. `inner`: what follows its opening.
fn is_closed(mut inner: &[u8]) -> bool {
    loop {
        inner = match inner {
            [] => return false,
            [b'\''] => return true,
            // It goes on behind a line break, with another quote.
            [b'\'', b'\n' | b'\r' | b'\t' | b' ' | 0x0b | 0x0c, after @ ..] => {
                let at = after.iter().position(|byte| *byte == b'\'');
                at.and_then(|at| after.get(at + 1..)).unwrap_or_default()
            }
            [b'\\', _, after @ ..] | [b'\'', b'\'', after @ ..] | [_, after @ ..] => after,
        };
    }
}

/// Whether a string in dollars ends. `inner`: without its first and its last dollar.
fn is_dollar_quoted(inner: &[u8]) -> bool {
    let tag = inner.split(|byte| *byte == b'$').next().unwrap_or_default();
    let body = inner.get(tag.len()..).and_then(|rest| rest.strip_prefix(b"$"));
    body.and_then(|body| body.strip_suffix(tag)).is_some_and(|body| body.last() == Some(&b'$'))
}
