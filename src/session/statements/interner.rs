//! Texts of statements, held once however many clients have them.

use crate::session::settings::Settings;
use crate::session::text::Text;
use crate::sql::ending::may_commit;
use crate::sql::prepared::prepared_use;
use crate::wire::frame::split_text;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What a statement costs beside its text: itself, its places in tables.
const OVERHEAD: usize = 160;

/// Settings that decide nothing about what a statement means or returns.
const HARMLESS: [&str; 12] = [
    "application_name",
    "client_connection_check_interval",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
    "lock_timeout",
    "maintenance_work_mem",
    "statement_timeout",
    "temp_buffers",
    "transaction_timeout",
    "work_mem",
];

/// Whether a setting decides nothing about what a statement means or returns.
pub fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|harmless| name.eq_ignore_ascii_case(harmless))
}

/// A text, the types of its parameters, and the settings under which it was first seen: what is the
/// same for all who prepared the same. Postgres reads a text under the settings of the moment:
/// literals of dates, names without a schema.
#[derive(Debug)]
pub struct Statement {
    /// Never used again for another.
    pub id: u64,
    /// As in `Parse`, behind the name.
    pub body: Box<[u8]>,
    pub digest: u64,
    /// It may be a `COMMIT`: see [`crate::sql::ending`].
    pub may_commit: bool,
    /// It may drop prepared statements: see [`crate::sql::prepared`].
    pub uses_prepared: bool,
    /// What it does to the session, if it may do something.
    pub does: Option<Arc<Text>>,
    key: u64,
    home: Arc<Interner>,
}

/// There is no room left for another text (`prepared_statement_memory`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// All statements that somebody has.
#[derive(Debug)]
pub struct Interner {
    /// By the hash of what they are; mostly one for each.
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

    /// Bytes of texts that are held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The statement that this is.
    ///
    /// # Errors
    ///
    /// When it is a new one, and there is no room.
    pub fn intern(self: &Arc<Self>, body: &[u8], digest: u64) -> Result<Arc<Statement>, Full> {
        let key = self.hasher.hash_one((body, digest));
        // What is let go in here would lock the table again: it is let go behind.
        let mut others = Vec::new();
        let mut place = self.known.entry(key).or_default();
        for known in place.iter().filter_map(Weak::upgrade) {
            if *known.body == *body && known.digest == digest {
                drop(place);
                return Ok(known);
            }
            others.push(known);
        }
        let text = split_text(body).map_or(body, |(text, _)| text);
        let does = Text::read(text, false, &self.functions.load());
        if !self.reserve(cost(body, does.as_deref())) {
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
            may_commit: may_commit(body),
            uses_prepared: prepared_use(text).is_some(),
            does,
            key,
            home: Arc::clone(self),
        });
        place.push(Arc::downgrade(&statement));
        drop(place);
        Ok(statement)
    }

    /// What decides the meaning of a text beside itself: some settings, and the state of the schemas.
    pub fn digest(&self, settings: &Settings, epoch: u64) -> u64 {
        let mut state = self.hasher.build_hasher();
        epoch.hash(&mut state);
        let functions = self.functions.load();
        if !functions.is_empty() {
            functions.hash(&mut state);
        }
        settings.hash_others(is_harmless, &mut state);
        state.finish()
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

impl Statement {
    /// Its SQL.
    pub fn text(&self) -> &[u8] {
        split_text(&self.body).map_or(&self.body[..], |(text, _)| text)
    }

    /// The same, under other settings.
    ///
    /// # Errors
    ///
    /// As [`Interner::intern`].
    pub(super) fn under(self: &Arc<Self>, digest: u64) -> Result<Arc<Self>, Full> {
        if digest == self.digest {
            return Ok(Arc::clone(self));
        }
        self.home.intern(&self.body, digest)
    }
}

/// What is counted for a statement.
fn cost(body: &[u8], does: Option<&Text>) -> usize {
    body.len() + OVERHEAD + does.map_or(0, Text::size)
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.home.release(cost(&self.body, self.does.as_deref()));
        self.home.known.remove_if_mut(&self.key, |_, found| {
            found.retain(|known| known.strong_count() > 0);
            found.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Interner};
    use crate::session::settings::Settings;
    use std::sync::Arc;

    #[test]
    fn a_text_is_held_once_and_as_long_as_somebody_has_it() {
        let interner = Interner::new(1 << 20);
        let first = interner.intern(b"select 1\0\0\0", 7).unwrap();
        let second = interner.intern(b"select 1\0\0\0", 7).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let held = interner.bytes();
        let other = interner.intern(b"select 1\0\0\0", 8).unwrap();
        assert!(other.id != first.id && interner.bytes() == 2 * held);
        assert_eq!(first.text(), b"select 1");
        drop((first, second, other));
        assert_eq!((interner.bytes(), interner.known.len()), (0, 0));
    }

    #[test]
    fn beyond_the_limit_nothing_new_is_held() {
        let interner = Interner::new(500);
        let first = interner.intern(&[b'x'; 200], 0).unwrap();
        assert_eq!(interner.intern(&[b'y'; 200], 0).unwrap_err(), Full);
        assert!(Arc::ptr_eq(&first, &interner.intern(&[b'x'; 200], 0).unwrap()));
        drop(first);
        assert!(interner.intern(&[b'y'; 200], 0).is_ok());
        assert_eq!(interner.known.len(), 0);
    }

    #[test]
    fn settings_that_change_no_meaning_change_no_digest() {
        let interner = Interner::new(0);
        let digest = |pairs: &[(&str, &str)]| {
            let mut settings = Settings::default();
            for (name, value) in pairs {
                settings.set(name, value);
            }
            interner.digest(&settings, 0)
        };
        assert_eq!(digest(&[]), digest(&[("application_name", "x"), ("Work_Mem", "1MB")]));
        assert_eq!(digest(&[("TimeZone", "UTC")]), digest(&[("timezone", "UTC")]));
        assert_ne!(digest(&[("search_path", "a")]), digest(&[("search_path", "b")]));
    }
}
