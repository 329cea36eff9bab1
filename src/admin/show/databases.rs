//! `SHOW DATABASES`: what the file names, and what clients have found under `*`.

use super::pools::mode;
use super::{OWN, View};
use crate::admin::table::{Row, int4, text};
use crate::config::{Database, HostAddress, PoolMode};
use crate::wire::rows::{Cell, Column};
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column] = &[
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool_size"),
    int4("server_lifetime"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("max_connections"),
    int4("current_connections"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    int4("paused"),
    int4("disabled"),
];

/// The names of all databases but the console.
pub(super) fn names<'a>(view: &'a View<'_>) -> BTreeSet<&'a str> {
    let config = &view.config;
    let written = config.databases.keys().map(String::as_str).filter(|name| *name != "*");
    written.chain(view.snapshot.pools.iter().map(|pool| pool.database.as_str())).collect()
}

pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    let config = &view.config;
    let names = names(view);
    let mut rows: Vec<Row> = Vec::with_capacity(names.len() + 1);
    let mut own = Some(own(view));
    for name in names {
        if name > OWN {
            rows.extend(own.take());
        }
        rows.extend(config.database(name).map(|database| row(view, name, database)));
    }
    rows.extend(own);
    rows
}

fn row(view: &View<'_>, name: &str, database: &Database) -> Row {
    let config = &view.config;
    let settings = config.pool_settings(database, None);
    let (host, port) = address(&database.host.address);
    let halts = &view.console.registry.halts;
    let pools = || view.snapshot.pools.iter().filter(|pool| pool.database == name);
    let own_max = database.max_db_client_connections;
    let max_clients = if own_max == 0 { config.clients.max_db_client_connections } else { own_max };
    vec![
        name.to_owned().into(),
        host.into(),
        u32::from(port).into(),
        database.dbname.clone().unwrap_or_else(|| name.to_owned()).into(),
        database.server_login.as_ref().map(|login| login.user.clone()).into(),
        settings.pool_size.into(),
        settings.min_pool_size.into(),
        settings.reserve_pool_size.into(),
        settings.server_lifetime.map_or(0, |lifetime| lifetime.as_secs()).into(),
        database.overrides.pool_mode.map(mode).into(),
        Cell::Null,
        settings.max_db_connections.into(),
        pools().map(|pool| pool.counts.open()).sum::<u32>().into(),
        max_clients.into(),
        pools().map(|pool| pool.clients).sum::<u32>().into(),
        u32::from(halts.pauses(name)).into(),
        u32::from(halts.disables(name)).into(),
    ]
}

/// As PgBouncer shows itself.
fn own(view: &View<'_>) -> Row {
    let config = &view.config;
    let zero = || Cell::Number(0);
    vec![
        OWN.into(),
        Cell::Null,
        u32::from(config.listen.port).into(),
        OWN.into(),
        OWN.into(),
        Cell::Number(2),
        zero(),
        zero(),
        config.pool_defaults.server_lifetime.map_or(0, |lifetime| lifetime.as_secs()).into(),
        mode(PoolMode::Statement).into(),
        Cell::Null,
        zero(),
        zero(),
        zero(),
        view.snapshot.consoles.into(),
        zero(),
        zero(),
    ]
}

/// A unix socket is shown by its directory and its port.
pub(super) fn address(address: &HostAddress) -> (String, u16) {
    match address {
        HostAddress::Tcp { host, port } => (host.clone(), *port),
        HostAddress::Unix(path) => {
            let directory = path.parent().map_or_else(String::new, |it| it.display().to_string());
            let port = path.extension().and_then(|port| port.to_str()?.parse().ok());
            (directory, port.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::address;
    use crate::config::HostAddress;

    #[test]
    fn a_unix_socket_is_a_directory_and_a_port() {
        let unix = HostAddress::Unix("/run/postgresql/.s.PGSQL.5433".into());
        assert_eq!(address(&unix), ("/run/postgresql".to_owned(), 5433));
    }
}
