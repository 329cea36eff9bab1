//! `SHOW USERS`.

use super::pools::mode;
use super::{OWN, View};
use crate::admin::table::{Row, int4, text};
use crate::config::User;
use crate::wire::rows::{Cell, Column};
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column] = &[
    text("name"),
    text("pool_size"),
    text("reserve_pool_size"),
    text("pool_mode"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
];

/// Who is named in the file or `auth_file`, who has a pool, and the console's own user.
pub(super) fn names<'a>(view: &'a View<'_>) -> BTreeSet<&'a str> {
    let written = view.config.users.keys().map(String::as_str);
    let used = view.snapshot.pools.iter().map(|pool| pool.user.as_str());
    written.chain(used).chain([OWN]).collect()
}

pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    names(view).into_iter().map(|name| row(view, name)).collect()
}

fn row(view: &View<'_>, name: &str) -> Row {
    let registry = &view.console.registry;
    let config = registry.config();
    let user = config.users.get(name).map(AsRef::as_ref);
    let own = |of: fn(&User) -> Option<u32>| user.and_then(of);
    let servers = view.snapshot.pools.iter().filter(|pool| pool.user == name);
    let max_clients = own(|user| Some(user.max_user_client_connections).filter(|max| *max > 0));
    vec![
        name.to_owned().into(),
        padded(own(|user| user.overrides.pool_size)),
        padded(own(|user| user.overrides.reserve_pool_size)),
        user.and_then(|user| user.overrides.pool_mode).map(mode).into(),
        own(|user| user.overrides.max_user_connections)
            .unwrap_or(config.pool_defaults.max_user_connections)
            .into(),
        servers.map(|pool| pool.counts.open()).sum::<u32>().into(),
        max_clients.unwrap_or(config.clients.max_user_client_connections).into(),
        registry.clients_of_user(name).into(),
    ]
}

/// PgBouncer writes these numbers as text, right-aligned; none is an empty text.
fn padded(number: Option<u32>) -> Cell {
    number.map_or(String::new(), |number| format!("{number:9}")).into()
}
