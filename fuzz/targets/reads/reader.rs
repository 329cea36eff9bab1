//! A text cut into tokens, byte by byte, as plainly as can be: to compare what another lexer makes of it.

/// What there is in a text, beside space and comments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Token<'a> {
    /// A number or a string.
    Constant,
    /// A name in quotes, without them.
    Name(&'a [u8]),
    Other(u8),
    Word(&'a [u8]),
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub fn is(self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Whether it is this name, in quotes or not.
    pub fn is_name(self, name: &str) -> bool {
        self.is(name) || matches!(self, Self::Name(own) if own == name.as_bytes())
    }
}

/// `None`: something is not closed.
pub fn tokens(text: &[u8]) -> Option<Vec<Token<'_>>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        let here = rest[0];
        let (token, len) = match here {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => (None, 1),
            b'-' if rest.starts_with(b"--") => (None, count(rest, |byte| !is_break(byte))),
            b'/' if rest.starts_with(b"/*") => (None, comment(rest)?),
            b'\'' => (Some(Token::Constant), quoted(rest, b'\'')?),
            b'"' => {
                let len = quoted(rest, b'"')?;
                (Some(Token::Name(&rest[1..len - 1])), len)
            }
            b'e' | b'E' if rest.get(1) == Some(&b'\'') => {
                (Some(Token::Constant), 1 + escaped(&rest[1..])?)
            }
            b'$' => match dollars(rest) {
                Some(Ok(len)) => (Some(Token::Constant), len),
                Some(Err(NotClosed)) => return None,
                None => (Some(Token::Other(here)), 1),
            },
            // What follows a number is a word of its own to some.
            b'0'..=b'9' => (Some(Token::Constant), number(rest)),
            _ if is_letter(here) => {
                let len =
                    count(rest, |byte| is_letter(byte) || byte.is_ascii_digit() || byte == b'$');
                (Some(Token::Word(&rest[..len])), len)
            }
            _ => (Some(Token::Other(here)), 1),
        };
        tokens.extend(token);
        at += len;
    }
    Some(tokens)
}

struct NotClosed;

fn count(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| belongs(**byte)).count()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte > 0x7f
}

fn is_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

fn comment(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        match text.get(at..at + 2)? {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Up to the quote that is not doubled.
fn quoted(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match (text.get(at)? == &quote, text.get(at + 1) == Some(&quote)) {
            (true, true) => at += 2,
            (true, false) => return Some(at + 1),
            (false, _) => at += 1,
        }
    }
}

/// With backslashes, and on behind a line break.
fn escaped(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'\'' if text.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => {
                at += 1;
                let space = count(&text[at..], |byte| byte.is_ascii_whitespace() || byte == 0x0b);
                let goes_on = text[at..at + space].iter().any(|byte| is_break(*byte));
                if !goes_on || text.get(at + space) != Some(&b'\'') {
                    return Some(at);
                }
                at += space + 1;
            }
            _ => at += 1,
        }
    }
}

/// `None`: no string begins here.
fn dollars(text: &[u8]) -> Option<Result<usize, NotClosed>> {
    let name = count(&text[1..], |byte| is_letter(byte) || byte.is_ascii_digit());
    let is_tag = text.get(1 + name) == Some(&b'$') && !text[1].is_ascii_digit();
    let tag = is_tag.then(|| &text[..name + 2])?;
    let ends = (tag.len()..text.len()).find(|at| text[*at..].starts_with(tag));
    Some(ends.map(|at| at + tag.len()).ok_or(NotClosed))
}

/// Digits, and an exponent of one digit at least.
fn number(text: &[u8]) -> usize {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let digits = count(text, is_digit);
    let Some(b'e' | b'E') = text.get(digits) else { return digits };
    match count(&text[digits + 1..], is_digit) {
        0 => digits,
        more => digits + 1 + more,
    }
}
