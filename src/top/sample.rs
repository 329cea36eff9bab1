//! What a console was asked for and what it said, at one moment.

use super::table::Table;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

/// The result sets that are looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Show {
    Classes,
    Clients,
    Databases,
    Holders,
    Overload,
    Pools,
    Servers,
    State,
    Stats,
    Version,
    Waits,
}

impl Show {
    /// What is asked for whatever is looked at: the overview's, and what rates are made of.
    pub(super) const ALWAYS: [Self; 7] = [
        Self::Version,
        Self::State,
        Self::Pools,
        Self::Databases,
        Self::Stats,
        Self::Overload,
        Self::Classes,
    ];

    /// What may be long, and is asked for only when it is looked at. Where a console does not have the
    /// first, the second says a part of it.
    pub(super) const WAITS: [Self; 2] = [Self::Waits, Self::Clients];
    pub(super) const HOLDERS: [Self; 2] = [Self::Holders, Self::Servers];
    pub(super) const CLIENTS: [Self; 1] = [Self::Clients];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Classes => "classes",
            Self::Clients => "clients",
            Self::Databases => "databases",
            Self::Holders => "holders",
            Self::Overload => "overload",
            Self::Pools => "pools",
            Self::Servers => "servers",
            Self::State => "state",
            Self::Stats => "stats",
            Self::Version => "version",
            Self::Waits => "waits",
        }
    }

    pub(super) fn command(self) -> String {
        format!("SHOW {}", self.name().to_uppercase())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) time: SystemTime,
    /// Which connection it came over: numbers of two do not compare, as there may be two processes.
    pub(super) connection: u32,
    pub(super) tables: BTreeMap<Show, Table>,
    /// What this console does not have, and how it said so.
    pub(super) refused: BTreeMap<Show, String>,
}

impl Sample {
    pub(super) fn table(&self, show: Show) -> Option<&Table> {
        self.tables.get(&show)
    }
}
