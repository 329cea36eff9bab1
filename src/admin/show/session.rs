//! `SHOW VERSION`, `STATE`, `HELP`, and the settings that drivers ask any server for.

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

pub(super) fn state() -> Vec<Row> {
    [("active", "yes"), ("paused", "no"), ("suspended", "no")]
        .map(|(key, value)| vec![key.into(), value.into()])
        .into()
}

pub(in crate::admin) const HELP_TITLE: &str = "Console usage";

pub(in crate::admin) const HELP: &str = "
\tSHOW POOLS             servers and clients of each database and user, and who waits
\tSHOW DATABASES|USERS   limits, and how much of them is used
\tSHOW OVERLOAD          why clients of each database and user wait, and what the servers do meanwhile
\tSHOW CLASSES           quotas, fair shares, waits and refusals of each class of clients
\tSHOW STATS             what each database did, in all and per second
\tSHOW STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSHOW LISTS             how many there are of everything
\tSHOW CONFIG            every option, its value and its default
\tSHOW STATE|VERSION|HELP
\tSHOW PEERS|PEER_POOLS|DNS_HOSTS|DNS_ZONES   always empty: there are none here";
