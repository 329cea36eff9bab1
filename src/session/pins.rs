//! Why a client must keep its server although its transaction is over.
//!
//! A prepared statement lives on one server. Until statements follow their client from server to
//! server, a client that has one keeps the server it has it on: a pin. The usual use of the unnamed
//! statement, `Parse` and `Bind` in one go, needs none.
//!
//! The unnamed statement of a server may be another client's. So a client that refers to it without
//! having made it on this lease gets the answer of a fresh connection ([`Pins::is_missing`]).

use super::inquiry::Kept;
use crate::sql::hidden::Hidden;
use crate::stats::pool::PIN_CAUSES;
use std::collections::{HashSet, VecDeque};

/// What keeps the server. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Of the session.
    AdvisoryLock,
    /// Declared `WITH HOLD`.
    Cursor,
    /// Loaded with `LOAD`.
    Library,
    Listen,
    NamedStatement,
    /// Of which nobody knows the name.
    Setting,
    SqlPrepare,
    TempTable,
    UnnamedStatement,
}

impl Cause {
    pub const ALL: [Self; PIN_CAUSES] = [
        Self::AdvisoryLock,
        Self::Cursor,
        Self::Library,
        Self::Listen,
        Self::NamedStatement,
        Self::Setting,
        Self::SqlPrepare,
        Self::TempTable,
        Self::UnnamedStatement,
    ];

    /// Metric label and log field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AdvisoryLock => "advisory_lock",
            Self::Cursor => "cursor",
            Self::Library => "library",
            Self::Listen => "listen",
            Self::NamedStatement => "named_statement",
            Self::Setting => "setting",
            Self::SqlPrepare => "sql_prepare",
            Self::TempTable => "temp_table",
            Self::UnnamedStatement => "unnamed_statement",
        }
    }
}

/// The unnamed statement on the leased server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unnamed {
    /// Not made by this client on this lease.
    #[default]
    Missing,
    /// Made, and not used so far: its `Bind` may come after the `Sync`.
    Fresh,
    /// Made and used within one request: what nearly all drivers do.
    Used,
    /// Used again in a later request: it will be used like this again.
    Reused,
}

/// What one client has on the server it leases.
#[derive(Debug, Default)]
pub struct Pins {
    unnamed: Unnamed,
    /// `Parse` requests of the unnamed statement that were not answered so far.
    unnamed_pending: u32,
    /// A `Sync` was sent since the unnamed statement was made.
    synced: bool,
    sql_prepared: bool,
    listening: bool,
    kept: Kept,
    /// Set only by clients that use named statements, so that the others stay small.
    named: Option<Box<Named>>,
}

#[derive(Debug, Default)]
struct Named {
    names: HashSet<Box<[u8]>>,
    /// Named `Parse` and `Close` requests not yet answered, in order.
    pending: VecDeque<Box<[u8]>>,
}

impl Pins {
    /// `Parse` was sent; an empty name is the unnamed statement.
    #[inline]
    pub fn parse_sent(&mut self, name: &[u8]) {
        if name.is_empty() {
            (self.unnamed, self.synced) = (Unnamed::Fresh, false);
            self.unnamed_pending += 1;
        } else {
            self.named.get_or_insert_default().pending.push_back(cut(name).into());
        }
    }

    /// `Close` of a statement was sent.
    pub fn close_sent(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = Unnamed::Missing;
        } else {
            self.named.get_or_insert_default().pending.push_back(cut(name).into());
        }
    }

    /// `Bind` of a statement was sent.
    #[inline]
    pub fn bind_sent(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = match self.unnamed {
                Unnamed::Missing => Unnamed::Missing,
                _ if self.synced => Unnamed::Reused,
                _ => Unnamed::Used,
            };
        }
    }

    #[inline]
    pub fn sync_sent(&mut self) {
        self.synced = true;
    }

    /// A simple query was sent: Postgres drops the unnamed statement.
    #[inline]
    pub fn query_sent(&mut self) {
        self.unnamed = Unnamed::Missing;
    }

    /// Whether a reference to the statement `name` would meet another client's: the unnamed one,
    /// which this client has not made on this lease.
    #[inline]
    pub fn is_missing(&self, name: &[u8]) -> bool {
        name.is_empty() && self.unnamed == Unnamed::Missing
    }

    /// The oldest named `Parse` was answered.
    pub fn named_parsed(&mut self) {
        let named = self.named.get_or_insert_default();
        named.names.extend(named.pending.pop_front());
    }

    /// The oldest named `Close` was answered.
    pub fn named_closed(&mut self) {
        let named = self.named.get_or_insert_default();
        if let Some(name) = named.pending.pop_front() {
            named.names.remove(&name);
        }
    }

    /// The oldest named `Parse` or `Close` failed, or was skipped after an error.
    pub fn named_skipped(&mut self) {
        self.named.get_or_insert_default().pending.pop_front();
    }

    /// The oldest unnamed `Parse` was answered.
    #[inline]
    pub fn unnamed_parsed(&mut self) {
        self.unnamed_pending = self.unnamed_pending.saturating_sub(1);
    }

    /// The oldest unnamed `Parse` failed, or was skipped after an error: what is there may be
    /// another client's. Unless one sent later makes it anew.
    pub fn unnamed_skipped(&mut self) {
        self.unnamed_parsed();
        if self.unnamed_pending == 0 {
            self.unnamed = Unnamed::Missing;
        }
    }

    /// A command was completed; its tag tells what SQL left behind.
    #[inline]
    pub fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"PREPARE" => self.sql_prepared = true,
            b"LISTEN" => self.listening = true,
            b"DEALLOCATE ALL" => self.deallocated_all(),
            b"DISCARD ALL" => {
                self.listening = false;
                // A library stays.
                self.kept = Kept { library: self.kept.library, ..Kept::default() };
                self.deallocated_all();
            }
            _ => {}
        }
    }

    /// The server was asked: of what `asked` names, it has this.
    pub fn found(&mut self, found: Kept, asked: &Hidden) {
        if asked.locks {
            self.kept.locks = found.locks;
        }
        if asked.holds {
            self.kept.cursors = found.cursors;
        }
        if asked.temp {
            self.kept.temp = found.temp;
        }
        self.kept.library |= found.library;
        self.kept.settings |= found.settings;
    }

    /// The client has settings that cannot follow it.
    pub fn keeps_settings(&mut self) {
        self.kept.settings = true;
    }

    /// What keeps the server and cannot follow the client.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    fn deallocated_all(&mut self) {
        self.sql_prepared = false;
        if let Some(named) = &mut self.named {
            named.names.clear();
        }
    }

    /// Why the client keeps its server, if it does.
    #[inline]
    pub fn cause(&self) -> Option<Cause> {
        if self.named.as_ref().is_some_and(|named| !named.names.is_empty()) {
            Some(Cause::NamedStatement)
        } else if matches!(self.unnamed, Unnamed::Fresh | Unnamed::Reused) {
            Some(Cause::UnnamedStatement)
        } else if self.sql_prepared {
            Some(Cause::SqlPrepare)
        } else if self.listening {
            Some(Cause::Listen)
        } else {
            self.kept_cause()
        }
    }

    fn kept_cause(&self) -> Option<Cause> {
        let Kept { locks, cursors, library, settings, temp } = self.kept;
        let causes = [
            (temp, Cause::TempTable),
            (locks, Cause::AdvisoryLock),
            (cursors, Cause::Cursor),
            (settings, Cause::Setting),
            (library, Cause::Library),
        ];
        causes.iter().find(|(is_kept, _)| *is_kept).map(|(_, cause)| *cause)
    }

    /// Whether the server has something of this client's that the next one would meet. The unnamed
    /// statement is no trace: everybody makes it anew.
    pub fn leaves_traces(&self) -> bool {
        self.sql_prepared || self.listening || self.named_len() > 0 || self.kept != Kept::default()
    }

    /// How many named statements the client has.
    pub fn named_len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.names.len() + named.pending.len())
    }

    /// The lease ended: whatever comes next is on another server.
    #[inline]
    pub fn lease_ended(&mut self) {
        self.unnamed = Unnamed::Missing;
        self.unnamed_pending = 0;
        self.kept = Kept::default();
        self.named = None;
    }
}

/// Postgres knows a name by its first 63 bytes (`NAMEDATALEN`).
fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(63)]
}

#[cfg(test)]
mod tests {
    use super::{Cause, Pins};

    #[test]
    fn the_usual_use_of_the_unnamed_statement_needs_no_pin() {
        let mut pins = Pins::default();
        for _ in 0..2 {
            pins.parse_sent(b"");
            assert!(!pins.is_missing(b""));
            pins.bind_sent(b"");
            pins.sync_sent();
            assert_eq!(pins.cause(), None);
        }
        pins.lease_ended();
        assert!(pins.is_missing(b""), "on the next server it is somebody else's");
    }

    /// asyncpg, pgx and others look at the description before they bind.
    #[test]
    fn a_statement_that_is_used_after_a_sync_keeps_its_server() {
        let mut pins = Pins::default();
        pins.parse_sent(b"");
        pins.sync_sent();
        assert_eq!(pins.cause(), Some(Cause::UnnamedStatement));
        pins.bind_sent(b"");
        pins.sync_sent();
        assert_eq!(pins.cause(), Some(Cause::UnnamedStatement), "it may be used again");
        pins.query_sent();
        assert_eq!(pins.cause(), None, "a simple query drops it");
    }

    #[test]
    fn a_named_statement_pins_from_its_answer_until_it_is_closed() {
        let mut pins = Pins::default();
        pins.parse_sent(b"a");
        assert_eq!(pins.cause(), None);
        pins.named_parsed();
        assert_eq!(pins.cause(), Some(Cause::NamedStatement));
        pins.close_sent(b"a");
        pins.named_closed();
        assert_eq!(pins.cause(), None);
    }

    #[test]
    fn a_statement_that_failed_or_was_skipped_pins_nothing() {
        let mut pins = Pins::default();
        pins.parse_sent(b"a");
        pins.parse_sent(b"b");
        pins.named_skipped();
        pins.named_skipped();
        assert_eq!((pins.cause(), pins.named_len()), (None, 0));
        pins.parse_sent(b"");
        pins.unnamed_skipped();
        pins.sync_sent();
        assert_eq!(pins.cause(), None);
    }

    /// The error before it makes Postgres skip the `Parse`: what is there is another client's.
    #[test]
    fn a_skipped_parse_leaves_the_unnamed_statement_missing() {
        let mut pins = Pins::default();
        pins.parse_sent(b"");
        pins.sync_sent();
        pins.unnamed_skipped();
        assert!(pins.is_missing(b""));
        // Unless a later one, already on its way, makes it.
        pins.parse_sent(b"");
        pins.parse_sent(b"");
        pins.unnamed_skipped();
        assert!(!pins.is_missing(b""));
        pins.unnamed_parsed();
        assert!(!pins.is_missing(b""));
    }

    #[test]
    fn sql_leaves_pins_behind_too() {
        let mut pins = Pins::default();
        pins.completed(b"SELECT 1");
        assert_eq!(pins.cause(), None);
        pins.completed(b"LISTEN");
        assert_eq!(pins.cause(), Some(Cause::Listen));
        pins.completed(b"PREPARE");
        assert_eq!(pins.cause(), Some(Cause::SqlPrepare));
        pins.completed(b"DISCARD ALL");
        assert_eq!(pins.cause(), None);
    }
}
