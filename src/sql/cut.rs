//! A text cut into its statements.

use super::tokens::{Tokens, is};

/// The statements of a text: each from its first token to its last, without the semicolon.
#[derive(Clone, Debug)]
pub(super) struct Statements<'a> {
    text: &'a [u8],
    tokens: Tokens<'a>,
}

impl<'a> Statements<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { text, tokens: Tokens(text) }
    }

    /// Where the tokens read so far end.
    fn place(&self) -> usize {
        self.text.len() - self.tokens.0.len()
    }
}

impl<'a> Iterator for Statements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let first = self.tokens.find(|token| *token != b";")?;
        let mut end = self.place();
        let start = end - first.len();
        let is_create = is(first, "create");
        // Semicolons within belong to it: of a rule's list, of a function's body in SQL.
        let (mut parentheses, mut bodies) = (0_usize, 0_usize);
        let mut last = first;
        while let Some(token) = self.tokens.next() {
            match token {
                b";" if parentheses == 0 && bodies == 0 => break,
                b"(" => parentheses += 1,
                b")" => parentheses = parentheses.saturating_sub(1),
                b"," | b";" => {}
                word if is(word, "atomic") && is(last, "begin") && is_create => bodies = 1,
                word if bodies > 0 && is(word, "case") => bodies += 1,
                word if bodies > 0 && is(word, "end") => bodies -= 1,
                _ => {}
            }
            (last, end) = (token, self.place());
        }
        self.text.get(start..end)
    }
}
