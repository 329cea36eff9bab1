//! `SHOW`: each with PgBouncer's columns, in its order and with its types. Tools read them by name
//! and by place: columns may only be appended, only numeric ones, and none to `SHOW STATS`.

mod classes;
mod config;
mod databases;
mod errors;
mod histograms;
mod lists;
mod memory;
mod nothing;
mod overload;
mod pools;
mod prepared;
mod session;
mod settings;
mod sockets;
mod stats;
mod users;
mod waits;

use super::Console;
use super::table::Row;
use crate::config::Config;
use crate::pool::snapshot::Snapshot;
use crate::stats::pool::PoolTotals;
use crate::wire::rows::Column;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

pub(super) use self::session::{HELP, HELP_TITLE, PGBOUNCER_VERSION};
use self::sockets::Sockets;
use self::waits::LeftOut;

/// The console as it shows itself: a database, a user and a pool of this name, as in PgBouncer,
/// where tools know it and leave it out.
pub(super) const OWN: &str = "pgbouncer";

/// Something that can be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Show {
    ActiveSockets,
    Classes,
    ClientEncoding,
    Clients,
    Config,
    Databases,
    DateStyle,
    DefaultTransactionIsolation,
    DnsHosts,
    DnsZones,
    Errors,
    Fds,
    Help,
    Histograms,
    Holders,
    Lists,
    Mem,
    Overload,
    PeerPools,
    Peers,
    Pools,
    PreparedStatements,
    Servers,
    Settings,
    Sockets,
    StandardConformingStrings,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    TimeZone,
    Totals,
    Users,
    Version,
    Waits,
}

impl Show {
    pub(super) const ALL: [Self; 35] = [
        Self::ActiveSockets,
        Self::Classes,
        Self::ClientEncoding,
        Self::Clients,
        Self::Config,
        Self::Databases,
        Self::DateStyle,
        Self::DefaultTransactionIsolation,
        Self::DnsHosts,
        Self::DnsZones,
        Self::Errors,
        Self::Fds,
        Self::Help,
        Self::Histograms,
        Self::Holders,
        Self::Lists,
        Self::Mem,
        Self::Overload,
        Self::PeerPools,
        Self::Peers,
        Self::Pools,
        Self::PreparedStatements,
        Self::Servers,
        Self::Settings,
        Self::Sockets,
        Self::StandardConformingStrings,
        Self::State,
        Self::Stats,
        Self::StatsAverages,
        Self::StatsTotals,
        Self::TimeZone,
        Self::Totals,
        Self::Users,
        Self::Version,
        Self::Waits,
    ];

    /// By its name, in any case.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|show| show.name().eq_ignore_ascii_case(name))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ActiveSockets => "ACTIVE_SOCKETS",
            Self::Classes => "CLASSES",
            Self::ClientEncoding => "client_encoding",
            Self::Clients => "CLIENTS",
            Self::Config => "CONFIG",
            Self::Databases => "DATABASES",
            Self::DateStyle => "datestyle",
            Self::DefaultTransactionIsolation => "default_transaction_isolation",
            Self::DnsHosts => "DNS_HOSTS",
            Self::DnsZones => "DNS_ZONES",
            Self::Errors => "ERRORS",
            Self::Fds => "FDS",
            Self::Help => "HELP",
            Self::Histograms => "HISTOGRAMS",
            Self::Holders => "HOLDERS",
            Self::Lists => "LISTS",
            Self::Mem => "MEM",
            Self::Overload => "OVERLOAD",
            Self::PeerPools => "PEER_POOLS",
            Self::Peers => "PEERS",
            Self::Pools => "POOLS",
            Self::PreparedStatements => "PREPARED_STATEMENTS",
            Self::Servers => "SERVERS",
            Self::Settings => "SETTINGS",
            Self::Sockets => "SOCKETS",
            Self::StandardConformingStrings => "standard_conforming_strings",
            Self::State => "STATE",
            Self::Stats => "STATS",
            Self::StatsAverages => "STATS_AVERAGES",
            Self::StatsTotals => "STATS_TOTALS",
            Self::TimeZone => "timezone",
            Self::Totals => "TOTALS",
            Self::Users => "USERS",
            Self::Version => "VERSION",
            Self::Waits => "WAITS",
        }
    }

    /// None: it answers with a notice and no rows.
    pub(super) const fn columns(self) -> Option<&'static [Column]> {
        Some(match self {
            Self::Help => return None,
            Self::Classes => classes::COLUMNS,
            Self::ClientEncoding => session::CLIENT_ENCODING,
            Self::Config => config::COLUMNS,
            Self::Databases => databases::COLUMNS,
            Self::DateStyle => session::DATE_STYLE,
            Self::DefaultTransactionIsolation => session::DEFAULT_TRANSACTION_ISOLATION,
            Self::DnsHosts => nothing::DNS_HOSTS,
            Self::DnsZones => nothing::DNS_ZONES,
            Self::Errors => errors::COLUMNS,
            Self::Fds => memory::FDS,
            Self::Histograms => histograms::COLUMNS,
            Self::Holders => waits::HOLDERS,
            Self::Lists => lists::COLUMNS,
            Self::Mem => memory::MEM,
            Self::Overload => overload::COLUMNS,
            Self::PeerPools => nothing::PEER_POOLS,
            Self::Peers => nothing::PEERS,
            Self::Pools => pools::COLUMNS,
            Self::PreparedStatements => prepared::COLUMNS,
            Self::Clients => sockets::COLUMNS,
            Self::Servers => sockets::SERVERS,
            Self::Settings => settings::COLUMNS,
            Self::ActiveSockets | Self::Sockets => sockets::SOCKETS,
            Self::StandardConformingStrings => session::STANDARD_CONFORMING_STRINGS,
            Self::State => session::STATE,
            Self::Stats => stats::STATS,
            Self::StatsAverages => stats::AVERAGES,
            Self::StatsTotals => stats::TOTALS,
            Self::TimeZone => session::TIME_ZONE,
            Self::Totals => stats::SUMS,
            Self::Users => users::COLUMNS,
            Self::Version => session::VERSION,
            Self::Waits => waits::WAITS,
        })
    }

    /// Whether looking at everything else is not enough of a right for it: PgBouncer's shows keys.
    pub(super) const fn needs_admin(self) -> bool {
        matches!(self, Self::Fds)
    }

    /// Whether it may have a row for each client, of whom there may be many.
    pub(super) const fn is_long(self) -> bool {
        matches!(self, Self::ActiveSockets | Self::Clients | Self::Servers | Self::Sockets)
    }

    /// The rows, and what is to be said of them, if anything.
    pub(super) fn answer(self, console: &Console, now: Instant) -> (Vec<Row>, Option<String>) {
        let told = |(rows, left_out): (Vec<Row>, Option<LeftOut>)| {
            (rows, left_out.map(|left_out| left_out.notice()))
        };
        match self {
            Self::Holders => told(waits::holders(console, now)),
            Self::Waits => told(waits::waits(console, now)),
            show => (show.rows(console, now), None),
        }
    }

    fn rows(self, console: &Console, now: Instant) -> Vec<Row> {
        match self {
            Self::Help
            | Self::DnsHosts
            | Self::DnsZones
            | Self::Fds
            | Self::PeerPools
            | Self::Peers => vec![],
            Self::ActiveSockets => Sockets::of(console, now).active_sockets(),
            Self::Classes => classes::rows(console.registry.classes(now)),
            Self::ClientEncoding => vec![vec!["UTF-8".into()]],
            Self::Clients => Sockets::of(console, now).clients(),
            Self::Config => config::rows(&console.registry.config()),
            Self::Databases => databases::rows(&View::of(console, now)),
            Self::DateStyle => vec![vec!["ISO".into()]],
            Self::DefaultTransactionIsolation => vec![vec!["read committed".into()]],
            Self::Errors => errors::rows(console, now),
            Self::Histograms => {
                let (snapshot, classes) =
                    (View::of(console, now).snapshot, console.registry.classes(now));
                histograms::rows(&snapshot.pools, &classes)
            }
            Self::Holders => waits::holders(console, now).0,
            Self::Lists => lists::rows(&View::of(console, now)),
            Self::Mem => memory::mem(console),
            Self::Overload => overload::rows(&View::of(console, now)),
            Self::Pools => pools::rows(&View::of(console, now)),
            Self::PreparedStatements => prepared::rows(console),
            Self::Servers => Sockets::of(console, now).servers(),
            Self::Settings => settings::rows(&console.registry.config()),
            Self::Sockets => Sockets::of(console, now).sockets(),
            Self::StandardConformingStrings => vec![vec!["on".into()]],
            Self::State => session::state(console),
            Self::Stats => stats::stats(&View::of(console, now)),
            Self::StatsAverages => stats::averages(&View::of(console, now)),
            Self::StatsTotals => stats::totals(&View::of(console, now)),
            Self::TimeZone => vec![vec!["GMT".into()]],
            Self::Totals => stats::sums(&View::of(console, now)),
            Self::Users => users::rows(&View::of(console, now)),
            Self::Version => vec![vec![session::version().into()]],
            Self::Waits => waits::waits(console, now).0,
        }
    }
}

/// What a command sees: everything at one moment.
struct View<'a> {
    console: &'a Console,
    config: Arc<Config>,
    now: Instant,
    snapshot: Snapshot,
}

impl<'a> View<'a> {
    fn of(console: &'a Console, now: Instant) -> Self {
        let (config, snapshot) = (console.registry.config(), console.registry.snapshot(now));
        Self { console, config, now, snapshot }
    }

    /// Totals by database, the console's own among them.
    fn databases(&self) -> BTreeMap<String, PoolTotals> {
        self.console.totals(&self.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::Show;

    #[test]
    fn everything_is_found_by_its_name() {
        for show in Show::ALL {
            assert_eq!(Show::find(&show.name().to_lowercase()), Some(show));
        }
    }
}
