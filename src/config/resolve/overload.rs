//! The section `[overload]`.

use super::checks::Tables;
use crate::config::file::RawTable;
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::overload::{ErrorCompat, LoginGate, Overload, Shed};
use crate::config::reader::{Reader, line_of};
use crate::config::{Config, Database, PoolOverrides, Shown, units};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The section, and its options as the console shows them.
pub(super) fn resolve(
    table: &RawTable,
    findings: &mut Findings,
) -> (Overload, BTreeMap<&'static str, Shown>) {
    let mut reader = Reader::new(Section::Overload, table, findings);
    let overload = Overload {
        shed: match reader.word_or_duration("shed") {
            Ok(longest) => Shed::Within(longest),
            Err("off") => Shed::Off,
            Err(_) => Shed::Auto,
        },
        max_queued: reader.count("max_queued"),
        idle_transaction_pressure_timeout: reader.timeout("idle_transaction_pressure_timeout"),
        error_compat: match reader.choice("error_compat") {
            "pgbouncer" => ErrorCompat::PgBouncer,
            _ => ErrorCompat::Postgres,
        },
        logins: LoginGate {
            max_at_once: reader.count("max_logins"),
            per_second: reader.number("logins_per_second"),
            per_second_per_address: reader.number("logins_per_second_per_address"),
            wait: reader.duration("login_wait"),
        },
    };
    let logins = &overload.logins;
    if let (Some(all), Some(one)) = (logins.per_second, logins.per_second_per_address)
        && one > all
    {
        let message = format!(
            "`logins_per_second_per_address` is {one}, more than `logins_per_second`, {all}."
        );
        let action = format!("Write {all} or less, or leave one of the two out.");
        let problem = Problem::new("contradiction", message, action);
        reader.error("logins_per_second_per_address", problem);
    }
    let shown = std::mem::take(&mut reader.shown);
    (overload, shown)
}

/// What other timeouts are always faster than.
pub(super) fn check(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    pressure(config, tables, findings);
    let mut warn = |name, longest, other, limit| {
        let problem = never_reached(name, longest, other, limit);
        findings.warning(line_of(tables.overload, name), problem);
    };
    if let Some(limit) = config.clients.client_login_timeout
        && config.overload.logins.wait >= limit
    {
        warn("login_wait", config.overload.logins.wait, "client_login_timeout", limit);
    }
    // Somebody with a longer timeout may be shed all the same.
    let databases = config.databases.values().map(|database| &database.overrides);
    let mut overrides = databases.chain(config.users.values().map(|user| &user.overrides));
    let is_for_all = overrides.all(|overrides| overrides.query_wait_timeout.is_none());
    if let Shed::Within(longest) = config.overload.shed
        && let Some(limit) = config.timeouts.query_wait_timeout.filter(|_| is_for_all)
        && longest >= limit
    {
        warn("shed", longest, "query_wait_timeout", limit);
    }
}

fn never_reached(name: &str, longest: Duration, other: &str, limit: Duration) -> Problem {
    let (longest, limit) = (units::show_duration(longest), units::show_duration(limit));
    let message = format!("`{name}` is {longest}, but `{other}` comes first, after {limit}.");
    Problem::new("never-reached", message, format!("Write less than \"{limit}\"."))
}

/// Where so much time in a transaction is too long while others wait that it is too long anyway.
fn pressure(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    const NAME: &str = "idle_transaction_pressure_timeout";
    let (all, databases, users) = (&config.timeouts, &config.databases, &config.users);
    let mut check = |line, pressure: Option<Duration>, longest: Option<Duration>| {
        if let (Some(pressure), Some(longest)) = (pressure, longest)
            && pressure >= longest
        {
            let problem = never_reached(NAME, pressure, "idle_transaction_timeout", longest);
            findings.warning(line, problem);
        }
    };
    let own = |overrides: &PoolOverrides| overrides.idle_transaction_pressure_timeout;
    let idle = |overrides: &PoolOverrides| {
        overrides.idle_transaction_timeout.map(|idle| idle.unwrap_or(Duration::MAX))
    };
    let default = all.idle_transaction_timeout.unwrap_or(Duration::MAX);
    let of_database = |database: &Arc<Database>| idle(&database.overrides).unwrap_or(default);
    // Whoever inherits it may have the longest time that anybody has.
    let heirs = users.values().filter(|user| own(&user.overrides).is_none());
    let of_heirs = heirs.filter_map(|user| idle(&user.overrides)).max();
    let inherited = databases.values().filter(|database| own(&database.overrides).is_none());
    let longest = inherited.map(of_database).chain(of_heirs).max();
    check(line_of(tables.overload, NAME), all.idle_transaction_pressure_timeout, longest);
    for database in databases.values() {
        let line = tables.line("databases", &database.name, NAME);
        let longest = Some(of_database(database)).max(of_heirs);
        check(line, own(&database.overrides).flatten(), longest);
    }
    let of_any = databases.values().map(of_database).max();
    for user in users.values() {
        let line = tables.line("users", &user.name, NAME);
        check(line, own(&user.overrides).flatten(), idle(&user.overrides).or(of_any));
    }
}
