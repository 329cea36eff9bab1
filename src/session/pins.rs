//! Why a client must keep its server although its transaction is over.
//!
//! What has been prepared by `PREPARE`, and what is listened to, is on one server; and so are statements
//! that do not [follow their client](super::statements).

use super::inquiry::Kept;
use super::traces::{Trace, Traces};
use crate::sql::hidden::Hidden;
use crate::stats::pool::PIN_CAUSES;

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
    /// It asks what sequences gave last, from one transaction to the next.
    Sequence,
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
        Self::Sequence,
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
            Self::Sequence => "sequence",
            Self::Setting => "setting",
            Self::SqlPrepare => "sql_prepare",
            Self::TempTable => "temp_table",
            Self::UnnamedStatement => "unnamed_statement",
        }
    }
}

/// What one client has left on the server it leases, by SQL.
#[derive(Debug, Default)]
pub struct Pins {
    listening: bool,
    kept: Kept,
    reads_sequences: bool,
    /// The transaction has changed something that statements depend on.
    altered: bool,
}

impl Pins {
    /// A command was completed; its tag tells what SQL left behind.
    #[inline]
    pub fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"PREPARE" => self.kept.prepared = true,
            b"LISTEN" => self.listening = true,
            b"DEALLOCATE ALL" => self.kept.prepared = false,
            b"DISCARD ALL" => {
                (self.listening, self.reads_sequences) = (false, false);
                // A library stays.
                self.kept = Kept { library: self.kept.library, ..Kept::default() };
            }
            b"DISCARD SEQUENCES" => self.reads_sequences = false,
            _ => {}
        }
    }

    /// The client asks what sequences gave last, and not only within a transaction.
    pub fn reads_sequences(&mut self) {
        self.reads_sequences = true;
    }

    /// What it leaves on its server, should it go.
    pub fn traces(&self) -> Traces {
        let Kept { locks, cursors, library: _, listens: _, prepared, settings, temp } = self.kept;
        let mut traces = Traces::default();
        traces.add_if(self.listening, Trace::Listen);
        traces.add_if(self.reads_sequences, Trace::Sequence);
        traces.add_if(locks, Trace::Lock);
        traces.add_if(cursors, Trace::Cursor);
        traces.add_if(prepared, Trace::Statement);
        traces.add_if(settings, Trace::Setting);
        traces.add_if(temp, Trace::Temp);
        traces
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
        if asked.listens {
            self.listening = found.listens;
        }
        if asked.prepared {
            self.kept.prepared = found.prepared;
        }
        self.kept.library |= found.library;
        self.kept.settings |= found.settings;
    }

    /// Nothing is listened to any more.
    pub fn listens_no_more(&mut self) {
        self.listening = false;
    }

    /// The client has settings that cannot follow it.
    pub fn keeps_settings(&mut self) {
        self.kept.settings = true;
    }

    /// What keeps the server and cannot follow the client.
    #[inline]
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// A command was completed that changed something statements depend on.
    pub fn altered(&mut self) {
        self.altered = true;
    }

    /// Whether the transaction has changed such a thing.
    #[inline]
    pub fn has_altered(&self) -> bool {
        self.altered
    }

    /// The transaction is over. Answers whether it has changed such a thing, which others see from now on.
    #[inline]
    pub fn take_altered(&mut self) -> bool {
        std::mem::take(&mut self.altered)
    }

    /// Whether there are statements on the server that only it knows.
    #[inline]
    pub fn has_sql_prepared(&self) -> bool {
        self.kept.prepared
    }

    /// The lease ended: whatever comes next is on another server.
    #[inline]
    pub fn lease_ended(&mut self) {
        *self = Self::default();
    }

    /// Why the client keeps its server, if it does.
    #[inline]
    pub fn cause(&self) -> Option<Cause> {
        if self.kept == Kept::default() {
            match (self.listening, self.reads_sequences) {
                (true, _) => Some(Cause::Listen),
                (false, true) => Some(Cause::Sequence),
                (false, false) => None,
            }
        } else {
            self.kept_cause()
        }
    }

    fn kept_cause(&self) -> Option<Cause> {
        let Kept { locks, cursors, library, listens: _, prepared, settings, temp } = self.kept;
        let causes = [
            (prepared, Cause::SqlPrepare),
            (self.listening, Cause::Listen),
            (temp, Cause::TempTable),
            (locks, Cause::AdvisoryLock),
            (cursors, Cause::Cursor),
            (settings, Cause::Setting),
            (library, Cause::Library),
        ];
        causes.iter().find(|(is_kept, _)| *is_kept).map(|(_, cause)| *cause)
    }
}

/// Whether a command tag says that something was changed which statements may depend on. What is new may
/// hide something of the same name from those who prepare now.
#[inline]
pub fn alters(tag: &[u8]) -> bool {
    let what = match tag {
        [b'A', rest @ ..] => rest.strip_prefix(b"LTER "),
        [b'C', rest @ ..] => rest.strip_prefix(b"REATE "),
        [b'D', rest @ ..] => rest.strip_prefix(b"ROP "),
        _ => None,
    };
    what.is_some_and(|what| {
        matches!(
            what,
            b"AGGREGATE"
                | b"CAST"
                | b"DOMAIN"
                | b"EXTENSION"
                | b"FOREIGN TABLE"
                | b"FUNCTION"
                | b"MATERIALIZED VIEW"
                | b"OPERATOR"
                | b"ROUTINE"
                | b"RULE"
                | b"SCHEMA"
                | b"TABLE"
                | b"TYPE"
                | b"VIEW"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Cause, Pins, alters};

    #[test]
    fn tags_tell_what_statements_may_depend_on() {
        for tag in ["ALTER TABLE", "CREATE TABLE", "DROP VIEW", "CREATE FUNCTION", "ALTER TYPE"] {
            assert!(alters(tag.as_bytes()), "{tag}");
        }
        for tag in ["CREATE INDEX", "COMMIT", "DISCARD ALL", "SELECT 1", "ALTER ROLE"] {
            assert!(!alters(tag.as_bytes()), "{tag}");
        }
    }

    #[test]
    fn sql_leaves_pins_behind() {
        let mut pins = Pins::default();
        pins.completed(b"SELECT 1");
        assert_eq!(pins.cause(), None);
        pins.completed(b"LISTEN");
        assert_eq!(pins.cause(), Some(Cause::Listen));
        pins.completed(b"PREPARE");
        assert_eq!(pins.cause(), Some(Cause::SqlPrepare));
        pins.completed(b"DEALLOCATE ALL");
        assert_eq!(pins.cause(), Some(Cause::Listen));
        pins.completed(b"DISCARD ALL");
        assert_eq!(pins.cause(), None);
    }
}
