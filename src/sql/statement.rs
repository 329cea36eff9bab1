//! What a statement does to the session it runs in, as far as its text shows it.
//!
//! Only what outlives the statement and does not show otherwise: the rest is [`Kind::Other`]. What is
//! done by functions that it calls is in [`super::hidden`].

use super::cut::Statements;
use super::tokens::{Tokens, is};

/// What one statement does. Names and values are parts of its text; [`identifier`] reads a name.
/// Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind<'a> {
    /// `BEGIN` or `START TRANSACTION`.
    Begin,
    /// `COMMIT` or `END`.
    Commit {
        chains: bool,
    },
    /// `CREATE TEMP …`, without `ON COMMIT DROP`.
    CreateTemp,
    Deallocate(&'a [u8]),
    DeallocateAll,
    /// `DECLARE … WITH HOLD`.
    DeclareHold,
    DiscardAll,
    DiscardPlans,
    DiscardSequences,
    DiscardTemp,
    /// `DO`: may do anything.
    Do,
    /// Of a statement made by `PREPARE`.
    Execute(&'a [u8]),
    Listen(&'a [u8]),
    Load,
    Other,
    Prepare(&'a [u8]),
    /// To a savepoint's end.
    Release(&'a [u8]),
    Reset(&'a [u8]),
    ResetAll,
    Rollback {
        chains: bool,
    },
    RollbackTo(&'a [u8]),
    Savepoint(&'a [u8]),
    /// `SET name TO value`, for the session.
    Set {
        name: &'a [u8],
        value: &'a [u8],
    },
    /// `SET` that ends with the transaction.
    SetLocal,
    /// A `SET` for the session that is not read here, such as `SET SESSION AUTHORIZATION`.
    SetOther,
    Unlisten(&'a [u8]),
    UnlistenAll,
}

/// The kinds of a text's statements, in order, each with its text.
pub fn statements(sql: &[u8]) -> impl Iterator<Item = (Kind<'_>, &[u8])> {
    Statements::of(sql).map(|statement| (Kind::of(statement), statement))
}

impl<'a> Kind<'a> {
    /// Reads one statement.
    pub fn of(sql: &'a [u8]) -> Self {
        let mut words = Words { sql, tokens: Tokens(sql) };
        let Some(first) = words.next() else { return Self::Other };
        let read = match first.to_ascii_lowercase().as_slice() {
            b"abort" => Some(Self::Rollback { chains: words.chains() }),
            b"begin" => Some(Self::Begin),
            b"commit" | b"end" => words.commit(),
            b"create" => words.create(),
            b"deallocate" => words.deallocate(),
            b"declare" => words.declare(),
            b"discard" => words.discard(),
            b"do" => Some(Self::Do),
            b"execute" => words.name().map(Self::Execute),
            b"listen" => words.name().map(Self::Listen),
            b"load" => Some(Self::Load),
            b"prepare" => words.prepare(),
            b"release" => words.savepoint().map(Self::Release),
            b"reset" => Some(words.reset()),
            b"rollback" => words.rollback(),
            b"savepoint" => words.name().map(Self::Savepoint),
            b"set" => Some(words.set()),
            b"start" => words.next_is("transaction").then_some(Self::Begin),
            b"unlisten" => words.unlisten(),
            _ => None,
        };
        read.unwrap_or(Self::Other)
    }

    /// What a `SET LOCAL`, or another that [ends with the transaction](Self::SetLocal), would be without
    /// its `LOCAL`.
    pub fn of_local(sql: &'a [u8]) -> Self {
        let mut words = Words { sql, tokens: Tokens(sql) };
        words.next();
        words.next_is("local");
        words.set()
    }

    /// Whether the command tag that came is one that such a statement ends with.
    pub fn fits(self, tag: &[u8]) -> bool {
        match self {
            Self::Begin => matches!(tag, b"BEGIN" | b"START TRANSACTION"),
            Self::Commit { .. } => matches!(tag, b"COMMIT" | b"ROLLBACK"),
            Self::CreateTemp => tag.starts_with(b"CREATE ") || tag.starts_with(b"SELECT"),
            Self::Deallocate(_) => tag == b"DEALLOCATE",
            Self::DeallocateAll => tag == b"DEALLOCATE ALL",
            Self::DeclareHold => tag == b"DECLARE CURSOR",
            Self::DiscardAll => tag == b"DISCARD ALL",
            Self::DiscardPlans => tag == b"DISCARD PLANS",
            Self::DiscardSequences => tag == b"DISCARD SEQUENCES",
            Self::DiscardTemp => tag == b"DISCARD TEMP",
            Self::Do => tag == b"DO",
            Self::Listen(_) => tag == b"LISTEN",
            Self::Load => tag == b"LOAD",
            Self::Prepare(_) => tag == b"PREPARE",
            Self::Release(_) => tag == b"RELEASE",
            // `SET x TO DEFAULT` is one.
            Self::Reset(_) => matches!(tag, b"RESET" | b"SET"),
            Self::ResetAll => tag == b"RESET",
            Self::Rollback { .. } | Self::RollbackTo(_) => tag == b"ROLLBACK",
            Self::Savepoint(_) => tag == b"SAVEPOINT",
            Self::Set { .. } | Self::SetLocal | Self::SetOther => tag == b"SET",
            Self::Unlisten(_) | Self::UnlistenAll => tag == b"UNLISTEN",
            // Rules can make anything of it, but for these.
            Self::Execute(_) | Self::Other => !tells(tag),
        }
    }
}

/// Whether a command tag tells of something that its statement should have been known for.
pub fn tells(tag: &[u8]) -> bool {
    matches!(
        tag,
        b"DISCARD ALL" | b"LISTEN" | b"RELEASE" | b"RESET" | b"SAVEPOINT" | b"SET" | b"UNLISTEN"
    )
}

/// The words of a statement, read from its beginning.
struct Words<'a> {
    sql: &'a [u8],
    tokens: Tokens<'a>,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        self.tokens.next()
    }

    fn peek(&self) -> &'a [u8] {
        self.tokens.clone().next().unwrap_or_default()
    }

    /// Takes the next word if it is this one.
    fn next_is(&mut self, keyword: &str) -> bool {
        let is_next = is(self.peek(), keyword);
        if is_next {
            self.next();
        }
        is_next
    }

    /// A name that nothing, or something in parentheses, or `AS` follows.
    fn name(&mut self) -> Option<&'a [u8]> {
        let name = self.next()?;
        // `U&"…"` is cut in three.
        if self.peek() == b"&" {
            return None;
        }
        let begin = self.sql.len() - self.tokens.0.len() - name.len();
        // And a quoted name where a quote in it is doubled.
        while name.first() == Some(&b'"') && self.tokens.0.first() == Some(&b'"') {
            self.next();
        }
        self.sql.get(begin..self.sql.len() - self.tokens.0.len())
    }

    /// What is left, from its first token to its last.
    fn rest(&self) -> &'a [u8] {
        let first = self.peek();
        let before = self.sql.len() - self.tokens.0.len();
        let space = self.tokens.0.len() - first.len() - after(self.tokens.0, first);
        self.sql.get(before + space..).unwrap_or_default()
    }

    /// Whether it ends with `AND CHAIN`.
    fn chains(&mut self) -> bool {
        let [mut before, mut last]: [&[u8]; 2] = [b"", b""];
        while let Some(word) = self.next() {
            (before, last) = (last, word);
        }
        is(before, "and") && is(last, "chain")
    }

    fn commit(&mut self) -> Option<Kind<'a>> {
        (!is(self.peek(), "prepared")).then(|| Kind::Commit { chains: self.chains() })
    }

    fn rollback(&mut self) -> Option<Kind<'a>> {
        if is(self.peek(), "prepared") {
            return None;
        }
        let _noise = self.next_is("work") || self.next_is("transaction");
        if self.next_is("to") {
            return self.savepoint().map(Kind::RollbackTo);
        }
        Some(Kind::Rollback { chains: self.chains() })
    }

    /// A name, with or without `SAVEPOINT` before it.
    fn savepoint(&mut self) -> Option<&'a [u8]> {
        let first = self.name()?;
        if is(first, "savepoint") && !self.peek().is_empty() { self.name() } else { Some(first) }
    }

    fn create(&mut self) -> Option<Kind<'a>> {
        if self.next_is("or") {
            self.next_is("replace");
        }
        let _noise = self.next_is("local") || self.next_is("global");
        let mut is_temp = self.next_is("temp") || self.next_is("temporary");
        let [mut first, mut second]: [&[u8]; 2] = [b"", b""];
        while let Some(word) = self.next() {
            if is(second, "on") && is(word, "commit") && is(self.peek(), "drop") {
                return None;
            }
            is_temp |= is(first, "pg_temp") && second == b".";
            (first, second) = (second, word);
        }
        is_temp.then_some(Kind::CreateTemp)
    }

    fn deallocate(&mut self) -> Option<Kind<'a>> {
        if is(self.peek(), "prepare") {
            let prepare = self.next();
            // One that is called `prepare`, perhaps.
            if self.peek().is_empty() {
                return prepare.map(Kind::Deallocate);
            }
        }
        if self.next_is("all") {
            return Some(Kind::DeallocateAll);
        }
        self.name().map(Kind::Deallocate)
    }

    fn declare(&mut self) -> Option<Kind<'a>> {
        while let Some(word) = self.next() {
            if is(word, "for") {
                break;
            }
            if is(word, "with") && is(self.peek(), "hold") {
                return Some(Kind::DeclareHold);
            }
        }
        None
    }

    fn discard(&mut self) -> Option<Kind<'a>> {
        match self.next()?.to_ascii_lowercase().as_slice() {
            b"all" => Some(Kind::DiscardAll),
            b"plans" => Some(Kind::DiscardPlans),
            b"sequences" => Some(Kind::DiscardSequences),
            b"temp" | b"temporary" => Some(Kind::DiscardTemp),
            _ => None,
        }
    }

    fn prepare(&mut self) -> Option<Kind<'a>> {
        let name = self.name()?;
        // `PREPARE TRANSACTION 'id'`, and not a statement of that name.
        let is_transaction = is(name, "transaction") && self.peek().first() == Some(&b'\'');
        (!is_transaction).then_some(Kind::Prepare(name))
    }

    fn reset(&mut self) -> Kind<'a> {
        if self.next_is("all") {
            return Kind::ResetAll;
        }
        if self.next_is("time") {
            return Kind::Reset(b"TimeZone");
        }
        if is(self.peek(), "session") || is(self.peek(), "transaction") {
            let is_transaction = is(self.peek(), "transaction");
            return if is_transaction { Kind::SetLocal } else { Kind::SetOther };
        }
        Kind::Reset(self.rest())
    }

    fn set(&mut self) -> Kind<'a> {
        if self.next_is("local") {
            return Kind::SetLocal;
        }
        if self.next_is("session") {
            let special = ["authorization", "characteristics"];
            if special.iter().any(|word| is(self.peek(), word)) {
                return Kind::SetOther;
            }
        }
        let start = self.rest();
        let Some(first) = self.next() else { return Kind::SetOther };
        let to = |name: &'static [u8], words: &Self| words.value_of(name);
        match first.to_ascii_lowercase().as_slice() {
            b"constraints" | b"transaction" if !self.is_assignment() => Kind::SetLocal,
            b"names" if !self.is_assignment() => to(b"client_encoding", self),
            b"role" if !self.is_assignment() => to(b"role", self),
            b"schema" if !self.is_assignment() => to(b"search_path", self),
            b"time" if self.next_is("zone") => to(b"TimeZone", self),
            b"xml" if is(self.peek(), "option") => Kind::SetOther,
            _ => {
                while self.peek() == b"." {
                    self.next();
                    self.next();
                }
                let name = start.get(..start.len() - self.tokens.0.len()).unwrap_or_default();
                if !self.is_assignment() {
                    return Kind::SetOther;
                }
                self.next();
                self.value_of(name)
            }
        }
    }

    fn is_assignment(&self) -> bool {
        self.peek() == b"=" || is(self.peek(), "to")
    }

    fn value_of(&self, name: &'a [u8]) -> Kind<'a> {
        let value = self.rest();
        if value.is_empty() || is(value, "default") {
            return Kind::Reset(name);
        }
        Kind::Set { name, value }
    }

    fn unlisten(&mut self) -> Option<Kind<'a>> {
        if self.peek() == b"*" {
            return Some(Kind::UnlistenAll);
        }
        self.name().map(Kind::Unlisten)
    }
}

/// How many bytes of `whole` follow its part `part`.
fn after(whole: &[u8], part: &[u8]) -> usize {
    if part.is_empty() {
        return whole.len();
    }
    (whole.as_ptr() as usize + whole.len()) - (part.as_ptr() as usize + part.len())
}

/// A name as Postgres reads it: in lower case unless it is quoted, cut at 63 bytes. `None`: it is
/// none, or one that is not read here.
pub fn identifier(token: &[u8]) -> Option<Vec<u8>> {
    let mut name = match token {
        [b'"', inner @ .., b'"'] if !inner.is_empty() => unquoted(inner)?,
        [first, ..] if first.is_ascii_alphabetic() || *first == b'_' => token.to_ascii_lowercase(),
        _ => return None,
    };
    if !name.is_ascii() {
        // Postgres cuts between characters, and folds others too in some encodings.
        let is_quoted = token.first() == Some(&b'"');
        return (is_quoted && name.len() <= 63).then_some(name);
    }
    name.truncate(63);
    Some(name)
}

/// What is between the quotes of a name, where each quote is doubled.
fn unquoted(inner: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        if rest.get(at + 1) != Some(&b'"') {
            return None;
        }
        name.extend_from_slice(rest.get(..=at)?);
        rest = rest.get(at + 2..)?;
    }
    name.extend_from_slice(rest);
    Some(name)
}

/// The name of a setting, of one or more parts. `None`: it is none, or one that is not read here.
pub fn variable(name: &[u8]) -> Option<String> {
    let mut read = String::new();
    for token in Tokens(name) {
        if token == b"." {
            read.push('.');
        } else {
            let part = identifier(token).filter(|part| part.len() < 63)?;
            // The parts are put together again by their dots.
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
            read.push_str(part.iter().all(is_plain).then_some(str::from_utf8(&part).ok()?)?);
        }
    }
    (!read.is_empty()).then_some(read)
}

/// The value of a `SET` if it means the same wherever and whenever it is sent again: plain strings,
/// words and numbers, in ASCII.
pub fn plain_value(value: &[u8]) -> Option<&str> {
    let is_plain = |token: &[u8]| match token {
        // Postgres refuses a string that is not closed.
        [quote @ (b'\'' | b'"'), .., last] => last == quote && !token.contains(&b'\\'),
        [b',' | b'.' | b'-' | b'+'] => true,
        [first, rest @ ..] => {
            // Behind an `E` a string has escapes.
            (first.is_ascii_alphanumeric() || *first == b'_') && rest.first() != Some(&b'\'')
        }
        [] => false,
    };
    if !value.is_ascii() || is(Tokens(value).next()?, "from") {
        return None;
    }
    let mut tokens = Tokens(value);
    let mut end = 0;
    while let Some(token) = tokens.next() {
        if !is_plain(token) {
            return None;
        }
        end = value.len() - tokens.0.len();
    }
    // A comment at its end would hide what is written behind it.
    if end < value.len() {
        return None;
    }
    str::from_utf8(value).ok()
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
