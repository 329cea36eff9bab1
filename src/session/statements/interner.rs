//! Texts of statements, held once however many clients have them.

use super::context::{Context, Moment, is_harmless};
use super::description::Description;
use crate::base::shared::Shared;
use crate::session::settings::Settings;
use crate::session::text::Text;
use crate::sql::ending::{fetches, may_be_ending};
use crate::sql::prepared::prepared_use;
use crate::sql::read::{Fingerprint, Names, No};
use crate::wire::encode;
use crate::wire::frame::split_text;
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// What a statement costs beside its text: itself, its places in tables.
const OVERHEAD: usize = 240;

/// Of a statement's uses on one server so many are counted at once: workers do not meet at each.
pub(super) const USES_AT_ONCE: u32 = 64;

/// Statements that are looked at for the few that are shown.
const LOOKED_AT_MAX: usize = 100_000;

/// Whether a statement may share a server by these names.
#[derive(Debug)]
struct Verdict {
    names: Arc<Names>,
    is_read: Result<Fingerprint, No>,
}

/// A text, the types of its parameters, the settings under which it was first seen, and what Postgres
/// said of it: what is the same for all who prepared the same. Postgres reads a text under the settings
/// of the moment: literals of dates, names without a schema.
///
/// Whatever server is said to have it, Postgres described it there as [here](Self::description). So
/// when tables have changed since, Postgres itself finds that, as it would for a client of its own.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Statement {
    /// Never used again for another.
    pub id: u64,
    /// As in `Parse`, behind the name.
    pub body: Box<[u8]>,
    pub digest: u64,
    /// The database and the user whose servers have it.
    pub pool: (Box<str>, Box<str>),
    /// Where it was first seen, its bytes were the letters that they seem to be: they are ASCII, or UTF-8.
    pub is_clear: bool,
    /// It may end a transaction: see [`crate::sql::ending`].
    pub may_be_ending: bool,
    /// It may drop prepared statements: see [`crate::sql::prepared`].
    pub uses_prepared: bool,
    /// It is a `FETCH`: of the cursors of one client, in one lease. No [description](Self::description) of it
    /// is kept, since nothing follows from it for others or for later.
    pub fetches: bool,
    /// What it does to the session, if it may do something.
    pub does: Option<Arc<Text>>,
    /// Whether it may share a server, since somebody asked.
    read: ArcSwapOption<Verdict>,
    /// Not known before a server has read it.
    description: OnceLock<Description>,
    /// When a server last described it so, and at which state of the schemas.
    confirmed: Shared<Option<Moment>>,
    pub(super) counts: Counts,
    key: u64,
    home: Arc<Interner>,
}

/// What is counted of a statement, for those who ask.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Servers that have it, or will.
    pub(super) servers: AtomicU32,
    /// How often a server has read it.
    pub(super) parses: AtomicU64,
    pub(super) uses: AtomicU64,
}

/// A statement as operators see it.
#[derive(Clone, Debug)]
pub struct View {
    pub statement: Arc<Statement>,
    pub servers: u32,
    /// Names of clients that lead to it.
    pub names: usize,
    pub parses: u64,
    /// Behind by what each server counts at once.
    pub uses: u64,
    pub bytes: usize,
}

/// There is no room left for another text (`prepared_statement_memory`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// All statements that somebody has.
#[derive(Debug)]
pub struct Interner {
    /// By the hash of text and settings; mostly one for each, else the one that was described last is last.
    known: DashMap<u64, Vec<Weak<Statement>>>,
    hasher: RandomState,
    next_id: AtomicU64,
    bytes: AtomicUsize,
    limit: AtomicUsize,
    /// Those that may do anything to the session.
    functions: ArcSwap<Arc<[Box<str>]>>,
}

impl Interner {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            known: DashMap::new(),
            hasher: RandomState::new(),
            next_id: AtomicU64::new(1),
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            functions: ArcSwap::default(),
        })
    }

    /// Another limit from now on. What is held stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Other functions that may do anything (`session_functions`): for those who prepare from now on.
    pub fn set_functions(&self, functions: &Arc<[Box<str>]>) {
        self.functions.store(Arc::new(Arc::clone(functions)));
    }

    /// A number that nobody else has.
    pub fn unique(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// How many statements are held.
    pub fn len(&self) -> usize {
        self.known.iter().map(|known| known.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Those that servers had to read most often, `max` at most. Of very many, not all are looked at.
    pub fn most_read(&self, max: usize) -> Vec<View> {
        let mut found = Vec::new();
        for known in &self.known {
            found.extend(known.iter().filter_map(Weak::upgrade));
            if found.len() >= LOOKED_AT_MAX {
                break;
            }
        }
        let mut found: Vec<View> = found.into_iter().map(View::of).collect();
        found.sort_by_key(|view| std::cmp::Reverse((view.parses, view.bytes)));
        found.truncate(max);
        found
    }

    /// Bytes of texts that are held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The statement that this is, if Postgres says of it what it said last.
    ///
    /// # Errors
    ///
    /// When it is a new one, and there is no room.
    pub fn intern(
        self: &Arc<Self>,
        body: &[u8],
        context: Context<'_>,
    ) -> Result<Arc<Statement>, Full> {
        self.known(body, context, None)
    }

    /// The statement that this is; `described`: if Postgres says this of it.
    ///
    /// # Errors
    ///
    /// As [`Interner::intern`].
    pub(super) fn known(
        self: &Arc<Self>,
        body: &[u8],
        context: Context<'_>,
        described: Option<&Description>,
    ) -> Result<Arc<Statement>, Full> {
        self.find_or_make(body, context, described, |bytes| self.reserve(bytes))
    }

    fn find_or_make(
        self: &Arc<Self>,
        body: &[u8],
        Context { digest, is_utf8, pool }: Context<'_>,
        wanted: Option<&Description>,
        reserve: impl FnOnce(usize) -> bool,
    ) -> Result<Arc<Statement>, Full> {
        let key = self.hasher.hash_one((body, digest));
        // What is let go in here would lock the table again: it is let go behind.
        let mut others = Vec::new();
        let mut place = self.known.entry(key).or_default();
        for known in place.iter().rev().filter_map(Weak::upgrade) {
            let is_wanted = wanted.is_none_or(|wanted| known.description.get() == Some(wanted));
            if *known.body == *body && known.digest == digest && is_wanted {
                drop(place);
                return Ok(known);
            }
            others.push(known);
        }
        let text = split_text(body).map_or(body, |(text, _)| text);
        let does = Text::read(text, false, &self.functions.load());
        if !reserve(cost(body, does.as_deref(), wanted)) {
            let is_empty = place.is_empty();
            drop(place);
            if is_empty {
                self.known.remove_if(&key, |_, found| found.is_empty());
            }
            return Err(Full);
        }
        let statement = Arc::new(Statement {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            body: body.into(),
            digest,
            pool: (pool.0.into(), pool.1.into()),
            is_clear: is_utf8 || text.is_ascii(),
            may_be_ending: may_be_ending(body),
            uses_prepared: prepared_use(text).is_some(),
            fetches: fetches(text),
            does,
            read: ArcSwapOption::empty(),
            description: wanted.cloned().map(OnceLock::from).unwrap_or_default(),
            confirmed: Shared::default(),
            counts: Counts::default(),
            key,
            home: Arc::clone(self),
        });
        // What others said last of it holds for those who come.
        place.insert(0, Arc::downgrade(&statement));
        drop(place);
        Ok(statement)
    }

    /// What decides the meaning of a text beside itself, and the state of the schemas: the database, the
    /// user, and some settings.
    pub fn context<'a>(&self, settings: &Settings, pool: (&'a str, &'a str)) -> Context<'a> {
        let mut state = self.hasher.build_hasher();
        pool.hash(&mut state);
        let functions = self.functions.load();
        if !functions.is_empty() {
            functions.hash(&mut state);
        }
        settings.hash_others(is_harmless, &mut state);
        Context { digest: state.finish(), is_utf8: settings.are_utf8(), pool }
    }

    /// Counts bytes that are about to be held, if there is room.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Counts bytes that are held already.
    pub(super) fn reserve_all(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl View {
    fn of(statement: Arc<Statement>) -> Self {
        let counts = &statement.counts;
        let servers = counts.servers.load(Ordering::Relaxed);
        let parses = counts.parses.load(Ordering::Relaxed);
        let uses = counts.uses.load(Ordering::Relaxed);
        let bytes = cost(&statement.body, statement.does.as_deref(), statement.description.get());
        // Servers have it by name, and so has whoever looks.
        let names = Arc::strong_count(&statement).saturating_sub(1 + servers as usize);
        Self { statement, servers, names, parses, uses, bytes }
    }
}

impl Statement {
    /// Whether it may share a server by these names: what `look` finds, or what was found before.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn read(
        &self,
        names: &Arc<Names>,
        look: impl FnOnce() -> Result<Fingerprint, No>,
    ) -> Result<Fingerprint, No> {
        if let Some(known) = &*self.read.load()
            && Arc::ptr_eq(&known.names, names)
        {
            return known.is_read;
        }
        let verdict = Verdict { names: Arc::clone(names), is_read: look() };
        let is_read = verdict.is_read;
        self.read.store(Some(Arc::new(verdict)));
        is_read
    }

    /// Its SQL.
    pub fn text(&self) -> &[u8] {
        split_text(&self.body).map_or(&self.body[..], |(text, _)| text)
    }

    /// The types of its parameters, if they are known: as in `Parse`.
    pub fn parameters(&self) -> Option<&[u8]> {
        self.description().map(Description::parameters)
    }

    /// What Postgres says of it. `None`: none has so far.
    pub(super) fn description(&self) -> Option<&Description> {
        self.description.get()
    }

    fn context(&self) -> Context<'_> {
        let pool = (&*self.pool.0, &*self.pool.1);
        Context { digest: self.digest, is_utf8: self.is_clear, pool }
    }

    /// Whether it means there, under these settings, what it meant where it was first seen.
    pub(super) fn is_of(&self, settings: &Settings, pool: (&str, &str)) -> bool {
        self.home.context(settings, pool).digest == self.digest
    }

    /// A `Parse` of it. It is read as Postgres itself would read it again: with the types that it found the
    /// parameters to have.
    pub fn write_parse(&self, out: &mut Vec<u8>, name: &[u8]) {
        write_parse(out, name, &self.body, self.parameters());
    }

    /// The same, under other settings.
    ///
    /// # Errors
    ///
    /// As [`Interner::intern`].
    pub(super) fn under(self: &Arc<Self>, context: Context<'_>) -> Result<Arc<Self>, Full> {
        if context.digest == self.digest {
            return Ok(Arc::clone(self));
        }
        self.home.known(&self.body, context, self.description())
    }

    /// Postgres has described it so, at that moment. Answers which statement this is: itself, unless it
    /// was described in another way before.
    pub(super) fn described(self: &Arc<Self>, as_: &Description, moment: Moment) -> Arc<Self> {
        if self.fetches {
            self.counts.parses.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(self);
        }
        let first = || {
            self.home.reserve_all(as_.parameters().len());
            as_.clone()
        };
        let statement = if self.description.get_or_init(first) == as_ {
            Arc::clone(self)
        } else {
            let reserve = |bytes| {
                self.home.reserve_all(bytes);
                true
            };
            let other = self.home.find_or_make(&self.body, self.context(), Some(as_), reserve);
            let other = other.expect("room is made for it");
            self.home.known.alter(&self.key, |_, mut known| {
                known.sort_by_key(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(&other)));
                known
            });
            other
        };
        statement.counts.parses.fetch_add(1, Ordering::Relaxed);
        statement.confirmed.with(|confirmed| *confirmed = Some(moment));
        statement
    }

    /// Whether Postgres would describe it so now, as far as can be known.
    pub(super) fn is_confirmed(&self, now: Moment) -> bool {
        self.confirmed.with(|at| at.is_some_and(|at| now.is_soon_after(&at)))
    }
}

/// A `Parse` of a text that was prepared before, with the types that its parameters were found to have, if
/// they are known.
pub fn write_parse(out: &mut Vec<u8>, name: &[u8], body: &[u8], types: Option<&[u8]>) {
    match (split_text(body), types) {
        (Some((text, _)), Some(types)) => {
            encode::parse_as(out, name, &body[..=text.len()], types);
        }
        _ => encode::parse(out, name, body),
    }
}

/// What is counted for a statement.
fn cost(body: &[u8], does: Option<&Text>, described: Option<&Description>) -> usize {
    let parameters = described.map_or(0, |described| described.parameters().len());
    body.len() + OVERHEAD + parameters + does.map_or(0, Text::size)
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.home.release(cost(&self.body, self.does.as_deref(), self.description.get()));
        self.home.known.remove_if_mut(&self.key, |_, found| {
            found.retain(|known| known.strong_count() > 0);
            found.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, Full, Interner};
    use crate::session::settings::Settings;
    use std::sync::Arc;

    fn context(digest: u64) -> Context<'static> {
        Context { digest, ..Context::default() }
    }

    #[test]
    fn a_text_is_held_once_and_as_long_as_somebody_has_it() {
        let interner = Interner::new(1 << 20);
        let first = interner.intern(b"select 1\0\0\0", context(7)).unwrap();
        let second = interner.intern(b"select 1\0\0\0", context(7)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let held = interner.bytes();
        let other = interner.intern(b"select 1\0\0\0", context(8)).unwrap();
        assert!(other.id != first.id && interner.bytes() == 2 * held);
        assert_eq!(first.text(), b"select 1");
        drop((first, second, other));
        assert_eq!((interner.bytes(), interner.known.len()), (0, 0));
    }

    #[test]
    fn beyond_the_limit_nothing_new_is_held() {
        let interner = Interner::new(600);
        let first = interner.intern(&[b'x'; 200], context(0)).unwrap();
        assert_eq!(interner.intern(&[b'y'; 200], context(0)).unwrap_err(), Full);
        assert!(Arc::ptr_eq(&first, &interner.intern(&[b'x'; 200], context(0)).unwrap()));
        drop(first);
        assert!(interner.intern(&[b'y'; 200], context(0)).is_ok());
        assert_eq!(interner.known.len(), 0);
    }

    #[test]
    fn a_text_is_clear_by_the_encoding_that_it_came_in() {
        let interner = Interner::new(1 << 20);
        let is_clear = |text: &[u8], encoding: &str| {
            let mut settings = Settings::default();
            settings.set("client_encoding", encoding);
            let body = [text, b"\0\0\0"].concat();
            interner.intern(&body, interner.context(&settings, ("", ""))).unwrap().is_clear
        };
        assert!(is_clear(b"select 'a'", "SJIS") && is_clear("select 'ä'".as_bytes(), "UTF8"));
        assert!(!is_clear("select 'ä'".as_bytes(), "SJIS") && !is_clear(b"select '\x95\x5c'", ""));
    }

    #[test]
    fn settings_that_change_no_meaning_change_no_digest() {
        let interner = Interner::new(0);
        let digest = |pairs: &[(&str, &str)]| {
            let mut settings = Settings::default();
            for (name, value) in pairs {
                settings.set(name, value);
            }
            interner.context(&settings, ("", "")).digest
        };
        assert_eq!(digest(&[]), digest(&[("application_name", "x"), ("Work_Mem", "1MB")]));
        assert_eq!(digest(&[("TimeZone", "UTC")]), digest(&[("timezone", "UTC")]));
        assert_ne!(digest(&[("search_path", "a")]), digest(&[("search_path", "b")]));
    }
}
