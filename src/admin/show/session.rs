//! `SHOW VERSION`, `STATE`, `HELP`, and the settings that drivers ask any server for.

use crate::admin::Console;
use crate::admin::table::{Row, text};
use crate::wire::rows::Column;

pub(super) const CLIENT_ENCODING: &[Column] = &[text("client_encoding")];
pub(super) const DATE_STYLE: &[Column] = &[text("datestyle")];
pub(super) const DEFAULT_TRANSACTION_ISOLATION: &[Column] =
    &[text("default_transaction_isolation")];
pub(super) const STANDARD_CONFORMING_STRINGS: &[Column] = &[text("standard_conforming_strings")];
pub(super) const STATE: &[Column] = &[text("key"), text("value")];
pub(super) const TIME_ZONE: &[Column] = &[text("timezone")];
pub(super) const VERSION: &[Column] = &[text("version")];

/// Of the PgBouncer whose interface this is: tools look for it and decide what to ask by it.
pub(in crate::admin) const PGBOUNCER_VERSION: &str = "1.25.2";

pub(super) fn version() -> String {
    format!("PgBouncer {PGBOUNCER_VERSION} (pgweir {})", env!("CARGO_PKG_VERSION"))
}

/// Of the whole proxy: a database that is paused by its name shows in `SHOW DATABASES`.
pub(super) fn state(console: &Console) -> Vec<Row> {
    let is_paused = console.registry.halts.is_said_to_pause(None);
    let is_suspended = console.roster.is_suspended();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    [("active", !is_paused && !is_suspended), ("paused", is_paused), ("suspended", is_suspended)]
        .map(|(key, is_so)| vec![key.into(), yes(is_so).into()])
        .into()
}

pub(in crate::admin) const HELP_TITLE: &str = "Console usage";

pub(in crate::admin) const HELP: &str = "
Look:
\tSHOW POOLS                   servers and clients of each database and user, and who waits
\tSHOW DATABASES | USERS       limits, how much of them is used, what is paused or disabled
\tSHOW CLIENTS | SERVERS       each connection; ptr and link tell which client has which server
\tSHOW WAITS | HOLDERS         who waits, what for and behind whom; who has which server, and what it does
\tSHOW CLASSES                 quotas, fair shares, waits and refusals of each class of clients
\tSHOW OVERLOAD                why clients of each database and user wait, and what the servers do meanwhile
\tSHOW STATS                   what each database did, in all and per second
\tSHOW STATS_TOTALS | STATS_AVERAGES | TOTALS   the same in parts
\tSHOW HISTOGRAMS              how long waits, transactions and queries take, for each pool and class
\tSHOW ERRORS                  what went wrong since the start, how often, and when last
\tSHOW PREPARED_STATEMENTS     what clients have prepared, and how often servers had to read it
\tSHOW LISTS                   how many there are of everything
\tSHOW CONFIG | SETTINGS       every option, its value and its default, and where it is from
\tSHOW STATE | VERSION | HELP
\tSHOW SOCKETS | ACTIVE_SOCKETS | MEM   as PgBouncer has them
\tSHOW PEERS | PEER_POOLS | DNS_HOSTS | DNS_ZONES | FDS   always empty: there are none here
Stop and go on (of one database, or of all without a name):
\tPAUSE [db]                   wait for open transactions, then close every server; queries wait
\tRESUME [db]                  let them go on
\tDISABLE db | ENABLE db       refuse new clients, or let them in again
\tKILL [db]                    pause at once: end every client and its server
Servers and clients:
\tRECONNECT [db]               replace every server as soon as nobody has it
\tWAIT_CLOSE [db]              wait until those are replaced
\tKILL_CLIENT id               end one client
\tKILL_SERVER pid              close one server, by its process id in Postgres, and end its client
The proxy:
\tRELOAD                       read the configuration anew, and forget what was SET
\tSET name = value             change an option until the next RELOAD; DEFAULT: as in the file
\tSET CLASS name limit = n, ...   change what a class may have; NONE: no limit
\tSUSPEND                      have every client rest where it is, until RESUME
\tSHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]   end: now, when transactions end, or bit by bit
A name in quotes may be anything. What waits can be cancelled; a PAUSE that is cancelled is undone.";
