//! What a client leaves on a server, and what takes it away again.
//!
//! `DISCARD ALL` takes everything away, and with it what the next client would have used: prepared
//! statements, plans, caches of temporary tables. So only what is there goes.

use crate::stats::pool::TRACES;

/// Something that the next client must not meet. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trace {
    Cursor,
    /// Channels that are listened to.
    Listen,
    /// Advisory locks of the session.
    Lock,
    /// What a sequence gave last.
    Sequence,
    Setting,
    /// Prepared under a name that is not the proxy's.
    Statement,
    Temp,
    /// Nobody knows what.
    Unknown,
}

impl Trace {
    pub const ALL: [Self; TRACES] = [
        Self::Cursor,
        Self::Listen,
        Self::Lock,
        Self::Sequence,
        Self::Setting,
        Self::Statement,
        Self::Temp,
        Self::Unknown,
    ];

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Listen => "listen",
            Self::Lock => "advisory_lock",
            Self::Sequence => "sequence",
            Self::Setting => "setting",
            Self::Statement => "statement",
            Self::Temp => "temp_table",
            Self::Unknown => "unknown",
        }
    }

    /// What takes it away.
    const fn removal(self) -> &'static str {
        match self {
            Self::Cursor => "CLOSE ALL",
            Self::Listen => "UNLISTEN *",
            Self::Lock => "SELECT pg_catalog.pg_advisory_unlock_all()",
            Self::Sequence => DISCARD_SEQUENCES,
            // The first ends a role as well.
            Self::Setting => "RESET SESSION AUTHORIZATION;RESET ALL",
            Self::Statement => "DEALLOCATE ALL",
            Self::Temp => "DISCARD TEMP",
            Self::Unknown => "DISCARD ALL",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Takes away what sequences gave last.
pub const DISCARD_SEQUENCES: &str = "DISCARD SEQUENCES";

/// Several of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traces(u8);

impl Traces {
    pub fn add(&mut self, trace: Trace) {
        self.0 |= trace.bit();
    }

    pub fn add_if(&mut self, is_there: bool, trace: Trace) {
        if is_there {
            self.add(trace);
        }
    }

    pub fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub fn has(self, trace: Trace) -> bool {
        self.0 & trace.bit() != 0
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Trace> {
        Trace::ALL.into_iter().filter(move |trace| self.has(*trace))
    }

    /// One simple query that takes them away. `None`: there are none.
    ///
    /// What sequences gave goes with whatever else does: it shows in no text, and costs nothing here.
    pub fn removal(mut self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        if self.has(Trace::Unknown) {
            return Some(Trace::Unknown.removal().to_owned());
        }
        self.add(Trace::Sequence);
        let all: Vec<_> = self.iter().map(Trace::removal).collect();
        Some(all.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Trace, Traces};

    #[test]
    fn only_what_is_there_is_taken_away() {
        let mut traces = Traces::default();
        assert_eq!(traces.removal(), None);
        traces.add(Trace::Temp);
        traces.add(Trace::Cursor);
        assert_eq!(traces.removal().unwrap(), "CLOSE ALL;DISCARD SEQUENCES;DISCARD TEMP");
        let mut others = Traces::default();
        others.add_if(false, Trace::Lock);
        others.add_if(true, Trace::Unknown);
        traces.add_all(others);
        assert_eq!(traces.removal().unwrap(), "DISCARD ALL");
        assert!(traces.iter().eq([Trace::Cursor, Trace::Temp, Trace::Unknown]));
    }
}
