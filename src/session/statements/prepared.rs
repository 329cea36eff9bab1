//! The statements that one server has.

use super::interner::Statement;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For so long what Postgres said of a text is taken to be what it would say again: a `Parse` of the
/// same is answered without it.
const FRESH: Duration = Duration::from_secs(10);

/// The number in a statement's name on the server. 0 is the one that is there for its name to be taken.
pub(super) type Serial = u32;

/// What a server has prepared for clients, under names of the proxy's own.
///
/// A statement is [there](Place::There) from the `ParseComplete` on; no number is used twice.
#[derive(Debug, Default)]
pub struct Prepared {
    entries: HashMap<u64, Entry>,
    last_serial: Serial,
    /// Rises with each use.
    uses: u64,
    /// The statement 0 is there.
    pub(super) is_occupied: bool,
    /// Statements that nobody will use again.
    pub(super) garbage: Vec<Serial>,
}

#[derive(Debug)]
struct Entry {
    statement: Arc<Statement>,
    serial: Serial,
    place: Place,
    used: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Its `Parse` is under way, in this batch.
    Coming {
        batch: u32,
    },
    There {
        parsed_at: Instant,
    },
}

/// What the server has of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Coming { serial: Serial, batch: u32 },
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

    /// Nothing is left of what was prepared.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.is_occupied = false;
        self.garbage = Vec::new();
    }

    #[inline]
    pub(super) fn find(&mut self, id: u64) -> Found {
        let Some(entry) = self.entries.get_mut(&id) else { return Found::Nothing };
        self.uses += 1;
        entry.used = self.uses;
        match entry.place {
            Place::There { .. } => Found::There(entry.serial),
            Place::Coming { batch } => Found::Coming { serial: entry.serial, batch },
        }
    }

    /// Whether Postgres has read this text on this server a moment ago.
    pub(super) fn is_fresh(&self, id: u64, now: Instant) -> bool {
        self.entries.get(&id).is_some_and(|entry| {
            matches!(entry.place, Place::There { parsed_at }
                if now.saturating_duration_since(parsed_at) < FRESH)
        })
    }

    /// A `Parse` of the statement is about to be sent: under this number. Answers which other must go
    /// for it.
    pub(super) fn expect(
        &mut self,
        statement: &Arc<Statement>,
        batch: u32,
        limit: u32,
    ) -> (Serial, Option<Serial>) {
        self.last_serial += 1;
        let serial = self.last_serial;
        if self.entries.contains_key(&statement.id) {
            // It takes the other's place once it is there.
            return (serial, None);
        }
        let evicted = if self.entries.len() >= limit as usize { self.evict() } else { None };
        self.uses += 1;
        let statement = Arc::clone(statement);
        let id = statement.id;
        let place = Place::Coming { batch };
        self.entries.insert(id, Entry { statement, serial, place, used: self.uses });
        (serial, evicted)
    }

    /// Forgets the one that was not used for longest.
    fn evict(&mut self) -> Option<Serial> {
        let there = |entry: &&Entry| matches!(entry.place, Place::There { .. });
        let oldest = self.entries.values().filter(there).min_by_key(|entry| entry.used)?;
        let (id, serial) = (oldest.statement.id, oldest.serial);
        self.entries.remove(&id);
        Some(serial)
    }

    /// The server has it.
    pub(super) fn enter(&mut self, statement: Arc<Statement>, serial: Serial, now: Instant) {
        self.uses += 1;
        let (id, used) = (statement.id, self.uses);
        let place = Place::There { parsed_at: now };
        let before = self.entries.insert(id, Entry { statement, serial, place, used });
        if let Some(before) = before
            && before.serial != serial
            && matches!(before.place, Place::There { .. })
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
        }
    }

    /// The server said that there is no such statement: something dropped it behind our back.
    pub(super) fn lost(&mut self, serial: Serial) {
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
    use std::time::{Duration, Instant};

    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (interner, mut server) = (Interner::new(1 << 20), Prepared::default());
        let now = epoch();
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| interner.intern(text, 0).unwrap());
        for statement in [&a, &b] {
            let (serial, evicted) = server.expect(statement, 0, 2);
            assert_eq!(evicted, None);
            server.enter(statement.clone(), serial, now);
        }
        assert_eq!(server.find(a.id), Found::There(1));
        assert_eq!(server.expect(&c, 0, 2), (3, Some(2)));
        assert_eq!(server.find(b.id), Found::Nothing);
        assert_eq!(server.find(c.id), Found::Coming { serial: 3, batch: 0 });
        server.give_up(c.id, 3);
        assert_eq!(server.find(c.id), Found::Nothing);
    }

    #[test]
    fn what_was_parsed_again_takes_the_place_of_the_older() {
        let (interner, mut server) = (Interner::new(1 << 20), Prepared::default());
        let now = epoch();
        let a = interner.intern(b"a", 0).unwrap();
        let (first, _) = server.expect(&a, 0, 2);
        server.enter(a.clone(), first, now);
        assert!(server.is_fresh(a.id, now + Duration::from_secs(9)));
        assert!(!server.is_fresh(a.id, now + Duration::from_secs(10)));
        let (second, evicted) = server.expect(&a, 1, 2);
        assert_eq!((evicted, server.find(a.id)), (None, Found::There(first)));
        server.enter(a.clone(), second, now);
        assert_eq!((server.find(a.id), &server.garbage[..]), (Found::There(second), &[first][..]));
        server.clear();
        assert!(server.is_empty());
        // Its number is not used again.
        assert_eq!(server.expect(&a, 1, 2).0, 3);
    }
}
