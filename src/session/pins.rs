//! Why a client must keep its server although its transaction is over.
//!
//! What has been prepared by `PREPARE`, and what is listened to, is on one server; and so are statements
//! that do not [follow their client](super::statements).

use crate::stats::pool::PIN_CAUSES;

/// What keeps the server. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    Listen,
    NamedStatement,
    SqlPrepare,
    UnnamedStatement,
}

impl Cause {
    pub const ALL: [Self; PIN_CAUSES] =
        [Self::Listen, Self::NamedStatement, Self::SqlPrepare, Self::UnnamedStatement];

    /// Metric label and log field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::NamedStatement => "named_statement",
            Self::SqlPrepare => "sql_prepare",
            Self::UnnamedStatement => "unnamed_statement",
        }
    }
}

/// What one client has left on the server it leases, by SQL.
#[derive(Debug, Default)]
pub struct Pins {
    sql_prepared: bool,
    listening: bool,
}

impl Pins {
    /// A command was completed; its tag tells what SQL left behind.
    #[inline]
    pub fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"PREPARE" => self.sql_prepared = true,
            b"LISTEN" => self.listening = true,
            b"DEALLOCATE ALL" => self.sql_prepared = false,
            b"DISCARD ALL" => *self = Self::default(),
            _ => {}
        }
    }

    /// Whether there are statements on the server that only it knows.
    #[inline]
    pub fn has_sql_prepared(&self) -> bool {
        self.sql_prepared
    }

    /// Why the client keeps its server, if it does.
    #[inline]
    pub fn cause(&self) -> Option<Cause> {
        if self.sql_prepared {
            Some(Cause::SqlPrepare)
        } else if self.listening {
            Some(Cause::Listen)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Pins};

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
