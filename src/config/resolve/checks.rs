//! What only shows when all sections are known.

use super::overload;
use crate::base::finding::{Finding, Severity};
use crate::config::file::{Document, RawTable, RawValue};
use crate::config::findings::{Findings, Problem};
use crate::config::lockout::is_md5;
use crate::config::overrides::PoolOverrides;
use crate::config::reader::line_of;
use crate::config::{AuthType, Config, Database, PoolMode, User, suggest};
use std::sync::Arc;

/// Where the sections stand.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) proxy: &'a RawTable,
    pub(super) overload: &'a RawTable,
    pub(super) document: &'a Document,
}

impl Tables<'_> {
    fn named(&self, section: &str, name: &str) -> Option<&RawTable> {
        let RawValue::Table(tables) = &self.document.root.entries.get(section)?.raw.value else {
            return None;
        };
        match &tables.entries.get(name)?.raw.value {
            RawValue::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The line of the option, else of the section, else of the file.
    pub(super) fn line(&self, section: &str, name: &str, option: &str) -> usize {
        self.named(section, name).map_or(1, |table| line_of(table, option))
    }
}

/// Whether a finding may be about something that is there, on a line that is not TOML.
pub(in crate::config) fn may_be_about_lost_lines(finding: &Finding, lost_section: bool) -> bool {
    match finding.code {
        // A limit, a rule or a name may stand there.
        "contradiction" | "missing-key" | "nothing-listens" | "shadowed-class"
        | "unknown-class" => true,
        "unknown-host" => lost_section,
        _ => finding.severity == Severity::Warning,
    }
}

pub(super) fn check(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    let warn_line = |name| line_of(tables.proxy, name);
    if config.listen.addresses.is_empty() && config.listen.unix_socket_dir.is_none() {
        let message = "nothing listens: neither `listen_addr` nor `unix_socket_dir` is set.";
        let action = "Set one of them.";
        findings.error(warn_line("listen_addr"), Problem::new("nothing-listens", message, action));
    }
    if config.databases.is_empty() && !tables.document.root.entries.contains_key("databases") {
        let action = "Add `[hosts.main]`, and `[databases.\"*\"]` with `host = \"main\"`.";
        let problem = Problem::new("no-databases", "no client finds a database.", action);
        findings.warning(1, problem);
    }
    if config.auth.scram_iterations < 4_096 {
        let message = "`scram_iterations` is less than 4096, which RFC 7677 asks for.";
        let problem = Problem::new("weak-scram", message, "Write 4096 or more.");
        findings.warning(warn_line("scram_iterations"), problem);
    }
    if config.clients.max_prepared_statements == 0 {
        statements(config, warn_line("max_prepared_statements"), findings);
    }
    pool_sizes(config, tables, findings);
    hosts(config, tables, findings);
    reach(config, tables, findings);
    deferring(config, tables, findings);
    overload::check(config, tables, findings);
    if config.auth.kind != AuthType::Trust {
        logins(config, tables, findings);
        console_users(config, tables, findings);
    }
}

/// As it is in files that were written for older poolers.
fn statements(config: &Config, line: usize, findings: &mut Findings) {
    let mut pools = config.databases.values().map(|it| config.pool_settings(it, None));
    if pools.any(|pool| pool.pool_mode != PoolMode::Session) {
        let message =
            "with `max_prepared_statements = 0` a client that prepares anything keeps its server.";
        let action = "Remove it: statements follow their client.";
        findings.warning(line, Problem::new("statements-pin", message, action));
    }
}

fn min_over_size(min: u32, size: u32) -> Problem {
    let message = format!("`min_pool_size` is {min}, more than the pool's size, {size}.");
    Problem::new("min-over-size", message, format!("Write {size} or less, or a larger size."))
}

fn pool_sizes(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    let defaults = &config.pool_defaults;
    if defaults.min_pool_size > defaults.pool_size {
        let line = line_of(tables.proxy, "min_pool_size");
        findings.error(line, min_over_size(defaults.min_pool_size, defaults.pool_size));
        // All that inherit it would say the same.
        return;
    }
    for database in config.databases.values() {
        let settings = config.pool_settings(database, None);
        let has_min = database.overrides.min_pool_size.is_some();
        let option = if has_min { "min_pool_size" } else { "pool_size" };
        let line = tables.line("databases", &database.name, option);
        if settings.min_pool_size > settings.pool_size {
            findings.error(line, min_over_size(settings.min_pool_size, settings.pool_size));
            continue;
        }
        let most = settings.max_db_connections;
        if most > 0 && settings.min_pool_size > most {
            let message = format!(
                "`min_pool_size` is {}, more than `max_db_connections`, {most}.",
                settings.min_pool_size
            );
            let action = "Write less: servers would be opened and closed again and again.";
            findings.error(line, Problem::new("min-over-size", message, action));
        }
    }
    for user in config.users.values().filter(|user| user.overrides.pool_size.is_some()) {
        let mut pools = config.databases.values().filter_map(|database| {
            let alone = config.pool_settings(database, None);
            let with = config.pool_settings(database, Some(user));
            let new = alone.min_pool_size <= alone.pool_size;
            (new && with.min_pool_size > with.pool_size).then_some(with)
        });
        if let Some(settings) = pools.next() {
            let line = tables.line("users", &user.name, "pool_size");
            findings.error(line, min_over_size(settings.min_pool_size, settings.pool_size));
        }
    }
}

/// `defer_begin` where no server is given back while a client is connected, or no transaction is let in.
fn deferring(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    let defers = |overrides: &PoolOverrides| overrides.defers_begin == Some(true);
    let counts =
        |user: &&User| user.overrides.defers_begin.is_some() || user.overrides.pool_mode.is_some();
    let users = || {
        std::iter::once(None).chain(config.users.values().map(Arc::as_ref).filter(counts).map(Some))
    };
    let has_effect = |database: &Database, user: Option<&User>| {
        config.client_shortcuts(database, user).defers_begin
            && config.pool_settings(database, user).pool_mode == PoolMode::Transaction
    };
    let mut warn = |line| {
        let message = "`defer_begin` has no effect outside transaction mode: a client keeps its server in session \
                       mode, and may not begin in statement mode.";
        let action = "Remove it, or write `pool_mode = \"transaction\"`.";
        findings.warning(line, Problem::new("no-effect", message, action));
    };
    let all = || config.databases.values();
    let is_default = config.pool_defaults.pool_mode == PoolMode::Transaction;
    if config.shortcuts.defers_begin
        && !is_default
        && !all().any(|database| users().any(|user| has_effect(database, user)))
    {
        warn(line_of(tables.proxy, "defer_begin"));
    }
    for database in all().filter(|database| defers(&database.overrides)) {
        if !users().any(|user| has_effect(database, user)) {
            warn(tables.line("databases", &database.name, "defer_begin"));
        }
    }
    for user in config.users.values().filter(|user| defers(&user.overrides)) {
        if !config.databases.is_empty() && !all().any(|database| has_effect(database, Some(user))) {
            warn(tables.line("users", &user.name, "defer_begin"));
        }
    }
}

fn hosts(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    for (name, host) in &config.hosts {
        let mut used = config.databases.values().filter(|database| database.host.name == *name);
        let first = used.next();
        if first.is_none() {
            let message = format!("no database is on `[hosts.{name}]`.");
            let problem = Problem::new("unused-host", message, "Remove it, or name it in one.");
            findings.warning(tables.line("hosts", name, ""), problem);
        }
        let Some(most) = host.max_connections else { continue };
        for database in first.into_iter().chain(used) {
            let size = config.pool_settings(database, None).pool_size;
            if size > most {
                let message = format!(
                    "a pool of `{}` may have {size} servers, but its host {most} in all.",
                    database.name
                );
                let action = "Write a smaller `pool_size`, so that one pool cannot take them all.";
                let line = tables.line("databases", &database.name, "pool_size");
                findings.warning(line, Problem::new("pool-over-host", message, action));
            }
        }
    }
}

/// Who can reach the proxy, against what it asks of them.
fn reach(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    if config.listen.addresses.iter().all(|address| address.ip().is_loopback()) {
        return;
    }
    let problem = match config.auth.kind {
        AuthType::Trust => Problem::new(
            "open-to-all",
            "`auth_type` is `trust` and other machines can connect: anybody is any user.",
            "Use `scram-sha-256`, or listen on 127.0.0.1 only.",
        ),
        AuthType::Plain => Problem::new(
            "clear-text",
            "`auth_type` is `plain` and other machines can connect: passwords cross the network \
             in clear text.",
            "Use `scram-sha-256`.",
        ),
        AuthType::Md5 | AuthType::ScramSha256 => return,
    };
    findings.warning(line_of(tables.proxy, "auth_type"), problem);
}

fn logins(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    let tried = tables.document.root.entries.contains_key("users") || config.auth.file.is_some();
    if config.users.is_empty() && !tried {
        let action = "Add `[users.NAME]` with a `password`, or `auth_file`.";
        findings.warning(1, Problem::new("no-users", "nobody can log in.", action));
    }
    let mut in_file = Vec::new();
    for (name, user) in &config.users {
        let section = tables.named("users", name);
        let own = section.is_some_and(|table| table.entries.contains_key("password"));
        match &user.password {
            None => {
                let message = format!("user `{name}` has no password and cannot log in.");
                let problem = Problem::new("no-password", message, "Write a `password`.");
                findings.warning(tables.line("users", name, ""), problem);
            }
            Some(secret)
                if config.auth.kind == AuthType::ScramSha256 && is_md5(secret.reveal()) =>
            {
                if own {
                    let line = tables.line("users", name, "password");
                    findings.warning(line, unusable(&format!("`{name}` has an MD5 secret")));
                } else {
                    in_file.push(name.as_str());
                }
            }
            Some(_) => {}
        }
    }
    if let Some(first) = in_file.first() {
        let more = match in_file.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let line = line_of(tables.proxy, "auth_file");
        findings.warning(line, unusable(&format!("`{first}`{more} in `auth_file`: MD5 secrets")));
    }
}

fn unusable(who: &str) -> Problem {
    let message = format!("{who}, with which nobody can log in by `scram-sha-256`.");
    Problem::new("unusable-secret", message, "Set the password anew, or `auth_type = \"md5\"`.")
}

fn console_users(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    for (option, names) in
        [("admin_users", &config.auth.admin_users), ("stats_users", &config.auth.stats_users)]
    {
        for name in names.iter().filter(|name| !config.users.contains_key(*name)) {
            let action = match suggest::nearest(name, config.users.keys().map(String::as_str)) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => "Add it to `[users]` or `auth_file`.".to_owned(),
            };
            let message = format!("`{option}` has `{name}`, who is no user and cannot log in.");
            let problem = Problem::new("unknown-user", message, action);
            findings.warning(line_of(tables.proxy, option), problem);
        }
    }
}
