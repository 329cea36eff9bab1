//! Quotas of classes that can never hold anybody back, because something else does before.

use super::classes::{Placed, whole};
use crate::base::glob::Glob;
use crate::config::classes::{Quota, Rule, ServerTime};
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::{AuthType, Config, Database, Host, User};
use std::collections::BTreeSet;

pub(super) fn check(config: &Config, placed: &Placed<'_>, findings: &mut Findings) {
    let limits = &placed.class.limits;
    for (section, quota) in
        [(Section::Class, &limits.quota), (Section::ClassPerAddress, &limits.per_address)]
    {
        let mut warn = |option: &str, value: u32, but: String, most: u32| {
            let message = format!("`{option}` is {value}, but {but}.");
            let action = match most {
                1 => "Leave it out: it never matters.".to_owned(),
                _ => format!("Write less than {most}, or leave it out: it never matters."),
            };
            let line = placed.part_line(section, option);
            findings.warning(line, Problem::new("never-reached", message, action));
        };
        let most = config.clients.max_client_conn;
        if quota.max_clients > most {
            let but = format!("`max_client_conn` lets in {most} in all");
            warn("max_clients", quota.max_clients, but, most);
        }
        let most = config.overload.max_queued;
        if most > 0 && quota.max_queued > most {
            let but = format!("`max_queued` of `[overload]` lets {most} wait in all");
            warn("max_queued", quota.max_queued, but, most);
        }
        if quota.max_in_flight > 0
            && let Some((host, most)) = largest(config, placed, quota.max_in_flight)
        {
            let but = format!("its pools hold {most} at most on `[hosts.{host}]`");
            warn("max_in_flight", quota.max_in_flight, but, most);
        }
        let most = quota.max_clients;
        for (option, value) in
            [("max_queued", quota.max_queued), ("max_in_flight", quota.max_in_flight)]
        {
            if most > 0 && value > most {
                warn(option, value, format!("`max_clients` is {most}, with a request each"), most);
            }
        }
        server_time(config, placed, (section, quota), findings);
    }
    reserved(config, placed, findings);
}

/// No more of it passes in a second than there are servers.
fn server_time(
    config: &Config,
    placed: &Placed<'_>,
    (section, quota): (Section, &Quota),
    findings: &mut Findings,
) {
    const NAME: &str = "server_seconds_per_second";
    let Some(ServerTime { per_second, .. }) = quota.server_time else { return };
    let most = quota.max_in_flight;
    let but = if most > 0 && per_second > f64::from(most) {
        format!("`max_in_flight` is {most}")
    } else if let Some((host, most)) = largest(config, placed, whole(per_second)) {
        format!("its pools hold {most} at most on `[hosts.{host}]`")
    } else {
        return;
    };
    let message = format!("`{NAME}` is {per_second}, but {but}: a server is held for one each.");
    let action = "Write less, or leave it out: it never matters.";
    let line = placed.part_line(section, NAME);
    findings.warning(line, Problem::new("never-reached", message, action));
}

/// What is kept back is to be had, and is not all that there is.
fn reserved(config: &Config, placed: &Placed<'_>, findings: &mut Findings) {
    let limits = &placed.class.limits;
    let line = placed.part_line(Section::Class, "reserved");
    if limits.reserved == 0 {
        return;
    }
    let Some((host, most)) = largest(config, placed, limits.reserved + 1) else { return };
    // Others use the same pools if it is not all of a database's and a user's clients.
    let is_part = |rule: &Rule| !rule.application_name.is_empty() || !rule.client.is_empty();
    if limits.reserved > most {
        let message = format!(
            "`reserved` is {}, but its pools hold {most} at most on `[hosts.{host}]`.",
            limits.reserved
        );
        let action = format!("Write {most} or less: more are never used.");
        findings.warning(line, Problem::new("never-reached", message, action));
    } else if placed.class.rule.as_ref().is_none_or(is_part) {
        let message = format!(
            "`reserved` is {most}, all that its pools hold on `[hosts.{host}]`: while it is busy, \
             nobody else in them is served."
        );
        let action = format!("Write less than {most}, or make the pools larger.");
        findings.warning(line, Problem::new("reserves-all", message, action));
    }
}

/// The most servers that a class can have on any host, and that host. `None`: as many as `wanted`,
/// or that is not known, or it is on none.
fn largest<'a>(config: &'a Config, placed: &Placed<'_>, wanted: u32) -> Option<(&'a str, u32)> {
    let class = &placed.class;
    let chosen = Pools::chosen(config, &class.name);
    let pools = [class.rule.as_ref().map(|rule| Pools::matched(config, rule)), chosen];
    let pools: Vec<_> = pools.into_iter().flatten().collect();
    let mut largest = None;
    for host in config.hosts.values() {
        if !pools.iter().any(|pools| pools.are_on(host)) {
            continue;
        }
        // Who matches may choose as well: then some are counted twice, and nothing is said.
        let sizes = pools.iter().map(|pools| pools.size(config, host, wanted));
        let size = sizes.fold(0, u32::saturating_add);
        let size = size.min(host.max_connections.unwrap_or(u32::MAX));
        if size >= wanted {
            return None;
        }
        if largest.is_none_or(|(_, most)| size > most) {
            largest = Some((host.name.as_str(), size));
        }
    }
    largest
}

/// Pools that a class may use: each of these databases with each of these users.
pub(super) struct Pools<'a> {
    databases: Vec<&'a Database>,
    /// `None`: somebody whom no section names.
    users: Vec<Option<&'a User>>,
    /// Or any number more.
    and_more: bool,
}

impl<'a> Pools<'a> {
    pub(super) fn matched(config: &'a Config, rule: &Rule) -> Self {
        let has = |globs: &[Glob], name: &str| {
            globs.is_empty() || globs.iter().any(|glob| glob.matches(name))
        };
        let named = config.databases.iter().filter(|(name, _)| *name != "*");
        let named = named.filter(|(name, _)| has(&rule.database, name));
        let mut databases: Vec<&Database> = named.map(|(_, database)| &**database).collect();
        let users = config.users.iter().filter(|(name, _)| has(&rule.user, name));
        let mut users: Vec<_> = users.map(|(_, user)| Some(&**user)).collect();
        let mut and_more = false;
        if let Some(any) = config.databases.get("*") {
            let others = others(&rule.database, |name| config.databases.contains_key(name));
            and_more |= others.is_none();
            databases.extend(std::iter::repeat_n(&**any, others.unwrap_or(1)));
        }
        // With trust, anybody is any user.
        if config.auth.kind == AuthType::Trust {
            let others = others(&rule.user, |name| config.users.contains_key(name));
            and_more |= others.is_none();
            users.extend(std::iter::repeat_n(None, others.unwrap_or(1)));
        }
        Self { databases, users, and_more }
    }

    /// Those of the users who may choose the class, if there are any.
    pub(super) fn chosen(config: &'a Config, name: &str) -> Option<Self> {
        let users = config.users.values().filter(|user| user.choose_class.has(name));
        let users: Vec<_> = users.map(|user| Some(&**user)).collect();
        let databases = config.databases.values().map(|database| &**database).collect();
        let and_more = config.databases.contains_key("*");
        (!users.is_empty()).then_some(Self { databases, users, and_more })
    }

    fn on(&self, host: &Host) -> impl Iterator<Item = &'a Database> {
        self.databases.iter().copied().filter(|database| database.host.name == host.name)
    }

    fn are_on(&self, host: &Host) -> bool {
        !self.users.is_empty() && self.on(host).next().is_some()
    }

    /// Those on a host, by database and user. `None`: more than `most`, or somebody has another name.
    pub(super) fn named_on(
        &self,
        host: &Host,
        most: usize,
    ) -> Option<BTreeSet<(&'a str, &'a str)>> {
        if self.and_more || self.databases.len().saturating_mul(self.users.len()) > most {
            return None;
        }
        let mut named = BTreeSet::new();
        for database in self.on(host) {
            for user in &self.users {
                named.insert((database.name.as_str(), user.as_ref()?.name.as_str()));
            }
        }
        (!named.iter().any(|(database, _)| *database == "*")).then_some(named)
    }

    /// How many servers they have on a host; counted no further than to `wanted`.
    pub(super) fn size(&self, config: &Config, host: &Host, wanted: u32) -> u32 {
        if self.and_more && self.are_on(host) {
            return u32::MAX;
        }
        let size = |database: &Database, user: Option<&User>| {
            let settings = config.pool_settings(database, user);
            settings.pool_size.saturating_add(settings.reserve_pool_size)
        };
        let limit = |own: Option<u32>, default| match own.unwrap_or(default) {
            0 => u32::MAX,
            limit => limit,
        };
        let defaults = &config.pool_defaults;
        let by_database = self.on(host).map(|database| {
            let sizes = self.users.iter().map(|user| size(database, *user));
            let own = database.overrides.max_db_connections;
            sum(sizes, wanted).min(limit(own, defaults.max_db_connections))
        });
        let by_user = self.users.iter().map(|user| {
            let sizes = self.on(host).map(|database| size(database, *user));
            let own = user.and_then(|user| user.overrides.max_user_connections);
            sum(sizes, wanted).min(limit(own, defaults.max_user_connections))
        });
        sum(by_database, wanted).min(sum(by_user, wanted))
    }
}

/// How many names there are in `globs` that are not `known`. `None`: any number.
fn others(globs: &[Glob], known: impl Fn(&str) -> bool) -> Option<usize> {
    let is_open = globs.is_empty() || globs.iter().any(|glob| !glob.is_literal());
    let others = globs.iter().filter(|glob| !known(glob.as_str()));
    (!is_open).then(|| others.count())
}

/// There may be a thousand databases and as many users: no more of them than make a difference.
fn sum(sizes: impl Iterator<Item = u32>, enough: u32) -> u32 {
    let mut sum = 0_u32;
    for size in sizes {
        sum = sum.saturating_add(size);
        if sum >= enough {
            break;
        }
    }
    sum
}
