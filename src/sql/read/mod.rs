//! Whether a text is one read that leaves nothing behind: such statements of several clients may be under
//! way on one server at once.
//!
//! Each word that might be the name of a function has to be on a list, and whatever is not plain is
//! [`No`]. What a text does not show is trusted as everywhere in transaction mode: views, operators and
//! casts that call functions with side effects, and functions that are asked for as columns of a table.
//!
//! Writes are none of it. They wait for locks, and whoever holds one may be waiting, in its application, for
//! the answer behind; and their commits would flush one after the other, where servers of their own share
//! a flush.

pub mod functions;
mod kind;
mod names;
mod recall;

use self::kind::Kind;
pub use self::names::{NAME_MAX, Names};
pub use self::recall::Recall;
use super::tokens::{Tokens, is};
use std::hash::{BuildHasher, Hasher};

/// Bytes of a fingerprint.
const HASHED_AT_ONCE: usize = 128;

/// Statements that differ in their constants only have the same. It means nothing to another process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(pub u64);

/// Why a text is no such read. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum No {
    /// It mentions what is [barred](Names).
    Barred,
    /// A function that is not known to be harmless.
    Function,
    /// No statement that reads.
    Kind,
    /// It locks rows.
    Locks,
    /// More than one statement.
    Several,
    /// It means another thing under other settings, or is not whole.
    Unclear,
    /// It writes, or could.
    Writes,
}

/// How texts are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a, S> {
    pub names: &'a Names,
    /// Makes fingerprints. Its key is secret: a client must not make a slow statement look like a quick one.
    pub hasher: &'a S,
    /// The client's encoding is UTF-8: in some of the others a quote may be half a letter.
    pub is_utf8: bool,
}

impl<S: BuildHasher> Reading<'_, S> {
    /// Looks at a text.
    ///
    /// # Errors
    ///
    /// Why it is not one read that leaves nothing behind.
    pub fn look_at(&self, sql: &[u8]) -> Result<Fingerprint, No> {
        if !self.is_utf8 && !sql.is_ascii() {
            return Err(No::Unclear);
        }
        let mut print = Print::new(self.hasher.build_hasher());
        let mut word = Folded::default();
        let mut last = Last::default();
        let mut tokens = Tokens(sql);
        begins(tokens.clone())?;
        while let Some(token) = tokens.next() {
            let kind = Kind::of(token)?;
            let mut normal = token;
            may_be_before(token, &last)?;
            match kind {
                Kind::End if ends(tokens.clone()) => break,
                Kind::End => return Err(No::Several),
                Kind::Word => {
                    normal = word.fold(token);
                    may_follow(normal, last.one)?;
                    may_be_named(normal, &last)?;
                    self.may_be_mentioned(normal)?;
                }
                Kind::Quoted => {
                    may_be_quoted(&last)?;
                    let name = word.fold(without_quotes(token));
                    may_be_named(name, &last)?;
                    self.may_be_mentioned(name)?;
                }
                Kind::Opening => self.may_be_called(&last)?,
                _ => {}
            }
            last.add_next(&mut print, normal, kind);
            last.push(token, kind);
        }
        may_be_before(b"", &last)?;
        Ok(print.finish())
    }

    /// Whether what stands before an opening parenthesis is no function, or one that may be called.
    fn may_be_called(&self, last: &Last<'_>) -> Result<(), No> {
        let [before, one] = [last.two, last.one];
        match last.kind {
            Some(Kind::Word) if before == b"." => self.may_be_called_in(last.three, one),
            Some(Kind::Word) => {
                let mut word = Folded::default();
                let name = word.fold(one);
                let is_known = functions::is_syntax(name, before)
                    || functions::is_harmless(name)
                    || self.names.allow(|function| function.as_bytes().cmp(name));
                if is_known { Ok(()) } else { Err(No::Function) }
            }
            Some(Kind::Quoted) => Err(No::Function),
            _ => Ok(()),
        }
    }

    /// The same of one with its schema before it.
    fn may_be_called_in(&self, schema: &[u8], name: &[u8]) -> Result<(), No> {
        let (mut schema_word, mut word) = (Folded::default(), Folded::default());
        let (schema, name) = (schema_word.fold(schema), word.fold(name));
        let is_known = if schema == functions::CATALOG.as_bytes() {
            functions::is_harmless(name)
        } else {
            let whole = [schema, b".", name].concat();
            self.names.allow(|function| function.as_bytes().cmp(&whole))
        };
        if is_known { Ok(()) } else { Err(No::Function) }
    }

    /// `name` is in lower case.
    fn may_be_mentioned(&self, name: &[u8]) -> Result<(), No> {
        if self.names.bar(name) { Err(No::Barred) } else { Ok(()) }
    }
}

/// Whether it begins as a read does, behind any number of parentheses.
fn begins(mut tokens: Tokens<'_>) -> Result<(), No> {
    let first = tokens.find(|token| *token != b"(").unwrap_or_default();
    let reads = ["select", "table", "values", "with"];
    if reads.iter().any(|word| is(first, word)) { Ok(()) } else { Err(No::Kind) }
}

/// Whether nothing but semicolons is left.
fn ends(mut rest: Tokens<'_>) -> bool {
    rest.all(|token| token == b";")
}

/// Whether a word may stand there. `word` is in lower case.
fn may_follow(word: &[u8], before: &[u8]) -> Result<(), No> {
    match word {
        b"key" | b"no" | b"share" | b"update" if is(before, "for") => Err(No::Locks),
        // Some of these may be names, which costs those their chance.
        b"delete" | b"insert" | b"into" | b"merge" | b"update" => Err(No::Writes),
        // Where `pg_temp` comes first in the search path, that is made.
        b"current_schema" => Err(No::Function),
        _ => Ok(()),
    }
}

/// Whether a name may stand behind what is before it: `(x).f`, `x[1].f` and `$1.f` may be calls of `f`, and so
/// may `x.f` if `x` is what a function gave. `name` is in lower case.
fn may_be_named(name: &[u8], last: &Last<'_>) -> Result<(), No> {
    if last.one != b"." {
        return Ok(());
    }
    let is_name = matches!(last.kind_of_two, Some(Kind::Quoted | Kind::Word));
    if is_name && !functions::may_be_called_as_column(name, last.two) {
        Ok(())
    } else {
        Err(No::Function)
    }
}

/// Whether a name in quotes may stand there: with `U&` before it, it is another one than it seems.
fn may_be_quoted(last: &Last<'_>) -> Result<(), No> {
    if last.one == b"&" && is(last.two, "u") { Err(No::Unclear) } else { Ok(()) }
}

/// Whether what is before a token, or before the end, may be there. The schema of Postgres' own is nothing
/// else, such as the name of what a function gave.
fn may_be_before(token: &[u8], last: &Last<'_>) -> Result<(), No> {
    let is_name = matches!(last.kind, Some(Kind::Quoted | Kind::Word));
    let is_catalog = is_name && is(without_quotes(last.one), functions::CATALOG);
    if is_catalog && token != b"." { Err(No::Function) } else { Ok(()) }
}

fn without_quotes(token: &[u8]) -> &[u8] {
    let inner = token.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    inner.unwrap_or(token)
}

/// The tokens before.
#[derive(Clone, Copy, Debug, Default)]
struct Last<'a> {
    one: &'a [u8],
    two: &'a [u8],
    three: &'a [u8],
    kind: Option<Kind>,
    /// Of the one before that.
    kind_of_two: Option<Kind>,
}

impl<'a> Last<'a> {
    fn push(&mut self, token: &'a [u8], kind: Kind) {
        (self.three, self.two, self.one) = (self.two, self.one, token);
        (self.kind_of_two, self.kind) = (self.kind, Some(kind));
    }

    /// Adds the next token to a fingerprint; a word in lower case. Constants are the same however many they are,
    /// in a list or as the parts of a string.
    fn add_next(&self, print: &mut Print<impl Hasher>, token: &[u8], kind: Kind) {
        let is_listed = self.one == b"," && self.kind_of_two == Some(Kind::Constant);
        let after_constant = self.kind == Some(Kind::Constant);
        match kind {
            Kind::Constant if is_listed || after_constant => return,
            Kind::Constant => print.add(b"?"),
            // Put off until it is known what follows.
            Kind::Other if token == b"," && after_constant => return,
            _ if is_listed => print.add(b","),
            _ => {}
        }
        if kind != Kind::Constant {
            print.add(token);
        }
        print.add(b"\0");
    }
}

/// A fingerprint that is being made. Tokens are short, and hashed many at a time.
struct Print<H> {
    hasher: H,
    bytes: [u8; HASHED_AT_ONCE],
    len: usize,
}

impl<H: Hasher> Print<H> {
    fn new(hasher: H) -> Self {
        Self { hasher, bytes: [0; HASHED_AT_ONCE], len: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            self.hash();
            self.hasher.write(bytes);
        }
    }

    fn hash(&mut self) {
        self.hasher.write(&self.bytes[..self.len]);
        self.len = 0;
    }

    fn finish(mut self) -> Fingerprint {
        self.hash();
        Fingerprint(self.hasher.finish())
    }
}

/// A word in lower case. Longer ones are cut: nothing that is known is as long.
struct Folded([u8; Folded::LEN]);

impl Default for Folded {
    fn default() -> Self {
        Self([0; Self::LEN])
    }
}

impl Folded {
    const LEN: usize = 64;

    fn fold(&mut self, word: &[u8]) -> &[u8] {
        let len = word.len().min(Self::LEN);
        self.0[..len].copy_from_slice(&word[..len]);
        // All of it: as many as that at once take less than a few one by one.
        self.0.make_ascii_lowercase();
        &self.0[..len]
    }
}

#[cfg(test)]
mod tests;
