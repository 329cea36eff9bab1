//! The statements that one server has.

use super::context::Moment;
use super::interner::{Statement, USES_AT_ONCE};
use super::names::ServerName;
use crate::base::ids::Numbered;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number in a statement's name on the server. 0 is the one that is there for its name to be taken.
pub(super) type Serial = u32;

/// What a server has prepared for clients, under names of the proxy's own.
///
/// A statement is [there](Place::There) when Postgres has described it as it is; no number is used twice.
#[derive(Debug, Default)]
pub struct Prepared {
    entries: Numbered<Entry>,
    last_serial: Serial,
    /// Rises with each use.
    uses: u64,
    /// The statement 0 is there.
    pub(super) is_occupied: bool,
    /// Statements that nobody will use again.
    pub(super) garbage: Vec<Serial>,
    /// The lease whose cursors its `FETCH`es are of.
    fetched_in: u64,
    evicted: u32,
    count: Count,
}

#[derive(Debug)]
struct Entry {
    statement: Arc<Statement>,
    serial: Serial,
    place: Place,
    used: u64,
    /// Uses that were not counted so far, and after how many they are: all of the first.
    uncounted: u32,
    at_once: u32,
}

impl Entry {
    fn new(statement: Arc<Statement>, serial: Serial, place: Place, used: u64) -> Self {
        statement.counts.servers.fetch_add(1, Ordering::Relaxed);
        Self { statement, serial, place, used, uncounted: 0, at_once: 1 }
    }

    #[inline]
    fn count(&mut self) {
        self.uncounted += 1;
        if self.uncounted >= self.at_once {
            self.at_once = (2 * self.at_once).min(USES_AT_ONCE);
            self.settle();
        }
    }

    fn settle(&mut self) {
        let uses = std::mem::take(&mut self.uncounted);
        self.statement.counts.uses.fetch_add(uses.into(), Ordering::Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.settle();
        self.statement.counts.servers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many statements a server has, for those who ask while somebody uses it.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU32>);

impl Count {
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Count {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Count {}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Its `Parse` is under way, in this batch. It may be taken to be there by others in the batch, or not
    /// before Postgres has described it.
    Coming {
        batch: u32,
        is_sure: bool,
    },
    There,
}

/// What the server has of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// `None`: in no batch so far.
    Coming {
        serial: Serial,
        batch: Option<u32>,
    },
    Nothing,
    There(Serial),
}

impl Prepared {
    /// How many there are, or will be.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.is_occupied && self.garbage.is_empty()
    }

    /// Where the number of them is read.
    pub fn count(&self) -> &Count {
        &self.count
    }

    fn show(&self) {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.count.0.store(count, Ordering::Relaxed);
    }

    /// Nothing is left of what was prepared.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.show();
        self.is_occupied = false;
        self.garbage = Vec::new();
    }

    #[inline]
    pub(super) fn find(&mut self, id: u64) -> Found {
        let Some(entry) = self.entries.get_mut(&id) else { return Found::Nothing };
        self.uses += 1;
        entry.used = self.uses;
        entry.count();
        match entry.place {
            Place::There => Found::There(entry.serial),
            Place::Coming { batch, is_sure } => {
                Found::Coming { serial: entry.serial, batch: is_sure.then_some(batch) }
            }
        }
    }

    /// Whether a statement is there. To ask is no use of it.
    pub fn has(&self, statement: &Statement) -> bool {
        self.entries.get(&statement.id).is_some_and(|entry| matches!(entry.place, Place::There))
    }

    /// The name under which a statement is there.
    #[inline]
    pub fn name_of(&mut self, statement: &Statement) -> Option<ServerName> {
        match self.find(statement.id) {
            Found::There(serial) => Some(ServerName::new(serial)),
            Found::Coming { .. } | Found::Nothing => None,
        }
    }

    /// Whether it is there, and Postgres would say the same of its text now.
    pub(super) fn is_fresh(&self, statement: &Statement, now: Moment) -> bool {
        let entry = self.entries.get(&statement.id);
        entry.is_some_and(|entry| matches!(entry.place, Place::There))
            && statement.is_confirmed(now)
    }

    /// A `FETCH` is looked for in this lease: those of others are of no use any more. Postgres 15 crashes when it
    /// is asked to describe one whose cursor is gone.
    pub(super) fn fetches_in(&mut self, lease: u64) {
        if std::mem::replace(&mut self.fetched_in, lease) == lease {
            return;
        }
        let garbage = &mut self.garbage;
        self.entries.retain(|_, entry| {
            let is_over = entry.statement.fetches && matches!(entry.place, Place::There);
            if is_over {
                garbage.push(entry.serial);
            }
            !is_over
        });
        self.show();
    }

    /// The next number that was not used.
    pub(super) fn next_serial(&mut self) -> Serial {
        self.last_serial += 1;
        self.last_serial
    }

    /// A `Parse` of the statement is about to be sent: under this number. `is_sure`: others in the batch
    /// need not wait for what Postgres says of it.
    pub(super) fn expect(
        &mut self,
        statement: &Arc<Statement>,
        (batch, is_sure): (u32, bool),
        limit: u32,
    ) -> Serial {
        let serial = self.next_serial();
        if self.entries.contains_key(&statement.id) {
            // It takes the other's place once it is there.
            return serial;
        }
        while self.entries.len() >= limit as usize
            && let Some(evicted) = self.evict()
        {
            self.garbage.push(evicted);
            self.evicted += 1;
        }
        self.uses += 1;
        let statement = Arc::clone(statement);
        let id = statement.id;
        let place = Place::Coming { batch, is_sure };
        self.entries.insert(id, Entry::new(statement, serial, place, self.uses));
        self.show();
        serial
    }

    /// How many had to make room since this was asked last.
    pub fn take_evicted(&mut self) -> u32 {
        std::mem::take(&mut self.evicted)
    }

    /// Forgets the one that was not used for longest.
    fn evict(&mut self) -> Option<Serial> {
        let there = |entry: &&Entry| matches!(entry.place, Place::There);
        let oldest = self.entries.values().filter(there).min_by_key(|entry| entry.used)?;
        let (id, serial) = (oldest.statement.id, oldest.serial);
        self.entries.remove(&id);
        Some(serial)
    }

    /// The server has it.
    pub(super) fn enter(&mut self, statement: Arc<Statement>, serial: Serial) {
        self.uses += 1;
        let (id, used) = (statement.id, self.uses);
        let place = Place::There;
        let before = self.entries.insert(id, Entry::new(statement, serial, place, used));
        self.show();
        if let Some(before) = before
            && before.serial != serial
            && matches!(before.place, Place::There)
        {
            self.garbage.push(before.serial);
        }
    }

    /// It will not come.
    pub(super) fn give_up(&mut self, id: u64, serial: Serial) {
        if self.entries.get(&id).is_some_and(|entry| {
            entry.serial == serial && matches!(entry.place, Place::Coming { .. })
        }) {
            self.entries.remove(&id);
            self.show();
        }
    }

    /// The server said that there is no such statement: something dropped it behind our back.
    pub fn lost(&mut self, serial: Serial) {
        self.entries.retain(|_, entry| {
            entry.serial != serial || matches!(entry.place, Place::Coming { .. })
        });
    }

    pub(super) fn statement(&self, serial: Serial) -> Option<&Arc<Statement>> {
        let mut entries = self.entries.values();
        entries.find(|entry| entry.serial == serial).map(|entry| &entry.statement)
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Prepared};
    use crate::session::statements::Interner;
    use crate::session::statements::context::{Context, Moment};
    use crate::session::statements::description::Description;
    use std::time::{Duration, Instant};

    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    fn now() -> Moment {
        Moment { at: Instant::now(), epoch: 0 }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (interner, mut server) = (Interner::new(1 << 20), Prepared::default());
        let [a, b, c] =
            [b"a", b"b", b"c"].map(|text| interner.intern(text, Context::default()).unwrap());
        for statement in [&a, &b] {
            let serial = server.expect(statement, (0, true), 2);
            server.enter(statement.clone(), serial);
        }
        assert_eq!(server.find(a.id), Found::There(1));
        assert_eq!((server.expect(&c, (0, true), 2), &server.garbage[..]), (3, &[2][..]));
        assert_eq!((server.take_evicted(), server.take_evicted()), (1, 0));
        assert_eq!(server.find(b.id), Found::Nothing);
        assert_eq!(server.find(c.id), Found::Coming { serial: 3, batch: Some(0) });
        server.give_up(c.id, 3);
        assert_eq!(server.find(c.id), Found::Nothing);
    }

    #[test]
    fn a_fetch_is_of_one_lease() {
        let (interner, mut server) = (Interner::new(1 << 20), Prepared::default());
        let [fetch, other] =
            [&b"fetch c"[..], b"a"].map(|text| interner.intern(text, Context::default()).unwrap());
        for (statement, serial) in [(&fetch, 1), (&other, 2)] {
            server.fetches_in(7);
            assert_eq!(server.expect(statement, (0, true), 9), serial);
            let found = statement.described(&Description::default(), now());
            server.enter(found, serial);
        }
        server.fetches_in(7);
        assert_eq!(server.find(fetch.id), Found::There(1));
        assert!(!server.is_fresh(&fetch, now()), "whoever prepares it means another cursor");
        assert!(fetch.description().is_none());
        server.fetches_in(8);
        assert_eq!((server.find(fetch.id), &server.garbage[..]), (Found::Nothing, &[1][..]));
        assert_eq!(server.find(other.id), Found::There(2));
    }

    #[test]
    fn what_was_parsed_again_takes_the_place_of_the_older() {
        let (interner, mut server) = (Interner::new(1 << 20), Prepared::default());
        let now = now();
        let a = interner.intern(b"a", Context::default()).unwrap();
        let first = server.expect(&a, (0, true), 2);
        a.described(&Description::default(), now);
        assert!(!server.is_fresh(&a, now), "it is not there");
        server.enter(a.clone(), first);
        let later = |seconds| Moment { at: now.at + Duration::from_secs(seconds), ..now };
        assert!(server.is_fresh(&a, later(9)));
        assert!(!server.is_fresh(&a, later(10)));
        assert!(!server.is_fresh(&a, Moment { epoch: 1, ..now }));
        let second = server.expect(&a, (1, true), 2);
        assert_eq!(server.find(a.id), Found::There(first));
        server.enter(a.clone(), second);
        assert_eq!((server.find(a.id), &server.garbage[..]), (Found::There(second), &[first][..]));
        server.clear();
        assert!(server.is_empty());
        // Its number is not used again.
        assert_eq!(server.expect(&a, (1, true), 2), 3);
    }
}
