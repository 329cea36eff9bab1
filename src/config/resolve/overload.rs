//! The section `[overload]`.

use crate::config::file::RawTable;
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::overload::{ErrorCompat, LoginGate, Overload, Shed};
use crate::config::reader::{Reader, line_of};
use crate::config::{Config, units};
use std::collections::BTreeMap;

/// The section, and its options as the console shows them.
pub(super) fn resolve(
    table: &RawTable,
    findings: &mut Findings,
) -> (Overload, BTreeMap<&'static str, String>) {
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
pub(super) fn check(config: &Config, table: &RawTable, findings: &mut Findings) {
    let mut warn = |name, longest, other: &str, limit| {
        let (longest, limit) = (units::show_duration(longest), units::show_duration(limit));
        let message =
            format!("`{name}` is {longest}, but `{other}` ends the wait after {limit} already.");
        let action = format!("Write less than \"{limit}\".");
        findings.warning(line_of(table, name), Problem::new("never-reached", message, action));
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
