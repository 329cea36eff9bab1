//! `SHOW LISTS`.

use super::{View, databases, users};
use crate::admin::table::{Row, int4, text};
use crate::wire::rows::Column;

pub(super) const COLUMNS: &[Column] = &[text("list"), int4("items")];

pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    let snapshot = &view.snapshot;
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let clients_in: u32 = snapshot.pools.iter().map(|pool| pool.clients).sum();
    [
        // The console is a database with a pool.
        ("databases", count(databases::names(view).len()) + 1),
        ("users", count(users::names(view).len())),
        ("peers", 0),
        ("pools", count(snapshot.pools.len()) + 1),
        ("peer_pools", 0),
        // PgBouncer's are places kept for reuse. Nothing is kept here.
        ("free_clients", 0),
        ("used_clients", snapshot.clients + snapshot.consoles),
        ("login_clients", snapshot.clients.saturating_sub(clients_in)),
        ("free_servers", 0),
        ("used_servers", snapshot.hosts.iter().map(|host| host.counts.open()).sum()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ]
    .map(|(list, items)| vec![list.into(), items.into()])
    .into()
}
