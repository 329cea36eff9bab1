//! The words of a command, one after the other.

/// What is still to be read.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a str);

impl<'a> Input<'a> {
    /// Passes over spaces, and over what tools write for those who read the log: comments.
    fn trim(&mut self) -> &'a str {
        loop {
            self.0 = self.0.trim_start();
            if self.0.starts_with("--") {
                self.0 = self.0.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(rest) = self.0.strip_prefix("/*") {
                let Some((_, rest)) = rest.split_once("*/") else { return self.0 };
                self.0 = rest;
            } else {
                return self.0;
            }
        }
    }

    /// Whether nothing is left, but for semicolons.
    pub(super) fn is_at_end(mut self) -> bool {
        while self.skips(';') {}
        self.0.is_empty()
    }

    /// Passes over this character, if it comes next.
    pub(super) fn skips(&mut self, expected: char) -> bool {
        let rest = self.trim().strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Passes over all the rest. `false`: there is none.
    pub(super) fn skip(&mut self) -> bool {
        !std::mem::take(&mut self.0).trim().is_empty()
    }

    /// A word without quotes.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        // A semicolon within makes two commands, which nobody may send.
        let ends = |c: char| c.is_whitespace() || matches!(c, '=' | ',' | ';' | '\'' | '"');
        let rest = self.trim();
        let end = [rest.find(ends), rest.find("--"), rest.find("/*")].into_iter().flatten().min();
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Passes over words and commas, up to a semicolon.
    pub(super) fn words(&mut self) {
        while self.skips(',') || self.word().is_some() {}
    }

    /// A word, or whatever stands in quotes of either kind; a doubled quote in it is one.
    pub(super) fn text(&mut self) -> Option<Box<str>> {
        let Some(quote @ ('\'' | '"')) = self.trim().chars().next() else {
            return self.word().map(Box::from);
        };
        let mut text = String::new();
        let mut rest = &self.0[1..];
        loop {
            let (inside, behind) = rest.split_once(quote)?;
            text.push_str(inside);
            let Some(behind) = behind.strip_prefix(quote) else {
                self.0 = behind;
                return Some(text.into());
            };
            text.push(quote);
            rest = behind;
        }
    }
}
