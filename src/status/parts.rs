//! Hosts, pools and classes, as `/api/status.json` tells them.

use super::rates::{Rates, seconds};
use crate::base::legible::safe;
use crate::config::PoolMode;
use crate::config::classes::Quota;
use crate::control::holders::Holders;
use crate::pool::snapshot::{ClassOfHost, HostView, LATER, PoolView};
use crate::scheduler::{Counts, RefusedFor};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

/// Pools by name; the others are one together.
const POOLS_MAX: usize = 256;

#[derive(Serialize)]
pub(super) struct HostPart {
    name: String,
    servers: Servers,
    max_connections: Option<u32>,
    waiting: u32,
    /// Why it cannot be reached.
    failure: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Servers {
    open: u32,
    used: u32,
    idle: u32,
    /// Being opened.
    connecting: u32,
    /// Being checked, cleaned or cancelled.
    other: u32,
}

#[derive(Serialize)]
pub(super) struct PoolPart {
    database: String,
    user: String,
    host: String,
    mode: &'static str,
    state: &'static str,
    since: f64,
    reason: String,
    clients: u32,
    waiting: u32,
    longest_wait: f64,
    size: u32,
    reserve: u32,
    servers: Servers,
    active: u32,
    idle_in_transaction: u32,
    kept_idle: u32,
    refused_last_minute: u32,
    abandoned_last_minute: u32,
    now: Rates,
    failure: Option<String>,
    /// How many pools this is.
    pools: usize,
}

#[derive(Serialize)]
pub(super) struct ClassPart {
    name: String,
    host: String,
    priority: &'static str,
    weight: u32,
    is_shedding: bool,
    patience: Option<f64>,
    clients: Used,
    servers: Used,
    reserved: u32,
    waiting: Used,
    /// That may begin now, and in a second.
    transactions: Room,
    server_seconds: Room,
    granted: u64,
    delayed: u64,
    abandoned: u64,
    refused: u64,
    refused_for: BTreeMap<&'static str, u64>,
    wait_p50: f64,
    wait_p99: f64,
    service_p50: f64,
    service_p99: f64,
    share: Option<f64>,
    fair_share: Option<f64>,
}

#[derive(Serialize)]
struct Used {
    used: u32,
    max: Option<u32>,
}

#[derive(Serialize)]
struct Room {
    left: Option<f64>,
    per_second: Option<f64>,
}

impl From<Counts> for Servers {
    fn from(counts: Counts) -> Self {
        Self {
            open: counts.open(),
            used: counts.leased,
            idle: counts.idle,
            connecting: counts.connecting,
            other: counts.checking + counts.tidying + counts.being_canceled,
        }
    }
}

impl From<HostView> for HostPart {
    fn from(host: HostView) -> Self {
        Self {
            name: host.name,
            servers: host.counts.into(),
            max_connections: host.max_connections,
            waiting: host.counts.waiting,
            failure: host.failure.as_deref().map(safe),
        }
    }
}

impl PoolPart {
    pub(super) fn new(
        pool: PoolView,
        now: Rates,
        (reason, holders): (String, &Holders),
        calendar: &dyn Fn(Instant) -> f64,
    ) -> Self {
        Self {
            state: pool.condition.state.label(),
            since: calendar(pool.condition.since),
            reason,
            database: pool.database,
            user: pool.user,
            host: pool.host,
            mode: mode_name(pool.mode),
            clients: pool.clients,
            waiting: pool.counts.waiting,
            longest_wait: seconds(pool.longest_wait),
            size: pool.size,
            reserve: pool.reserve,
            servers: pool.counts.into(),
            active: holders.active,
            idle_in_transaction: holders.idle_in_transaction,
            kept_idle: holders.kept_idle,
            refused_last_minute: pool.strain.refused,
            abandoned_last_minute: pool.strain.abandoned,
            now,
            failure: pool.failure.as_deref().map(safe),
            pools: 1,
        }
    }

    /// Adds one that is not shown by itself. Of how long what took, the worst is kept.
    fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.waiting += other.waiting;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.size += other.size;
        self.reserve += other.reserve;
        self.servers.open += other.servers.open;
        self.servers.used += other.servers.used;
        self.servers.idle += other.servers.idle;
        self.servers.connecting += other.servers.connecting;
        self.servers.other += other.servers.other;
        self.active += other.active;
        self.idle_in_transaction += other.idle_in_transaction;
        self.kept_idle += other.kept_idle;
        self.refused_last_minute += other.refused_last_minute;
        self.abandoned_last_minute += other.abandoned_last_minute;
        self.now.add(&other.now);
        self.pools += other.pools;
    }
}

/// The first so many, and one more: of itself if it is the last, else all others together, in the state of
/// the first of them, which is the worst.
pub(super) fn bounded(pools: impl Iterator<Item = PoolPart>) -> Vec<PoolPart> {
    let mut shown: Vec<PoolPart> = Vec::new();
    for pool in pools {
        match shown.get_mut(POOLS_MAX) {
            None => shown.push(pool),
            Some(others) => {
                (others.database, others.user) = (LATER.to_owned(), LATER.to_owned());
                (others.reason, others.failure) = (String::new(), None);
                others.add(&pool);
            }
        }
    }
    shown
}

/// Those that somebody waits in come first, then those that hold most.
pub(super) fn classes(mut classes: Vec<ClassOfHost>) -> Vec<ClassPart> {
    classes.sort_by(|a, b| {
        let rank = |of: &ClassOfHost| {
            Reverse((of.class.is_shedding, of.class.queued, of.class.in_flight, of.class.clients))
        };
        rank(a).cmp(&rank(b)).then_with(|| (&a.class.name, &a.host).cmp(&(&b.class.name, &b.host)))
    });
    classes.into_iter().map(ClassPart::from).collect()
}

impl From<ClassOfHost> for ClassPart {
    fn from(ClassOfHost { host, class }: ClassOfHost) -> Self {
        let (limits, counters) = (&class.limits, &class.counters);
        let Quota { rate, server_time, .. } = &limits.quota;
        let used = |used, max| Used { used, max: limit(max) };
        let refused_for =
            RefusedFor::ALL.map(|reason| (reason.label(), counters.refused_for(reason)));
        Self {
            priority: limits.priority.name(),
            weight: limits.weight,
            is_shedding: class.is_shedding,
            patience: class.patience.map(seconds),
            clients: used(class.clients, limits.quota.max_clients),
            servers: used(class.in_flight, limits.quota.max_in_flight),
            reserved: limits.reserved,
            waiting: used(class.queued, limits.quota.max_queued),
            transactions: Room {
                left: class.room.transactions.map(thousandths),
                per_second: rate.map(|rate| rate.per_second),
            },
            server_seconds: Room {
                left: class.room.server_time.map(thousandths),
                per_second: server_time.map(|time| time.per_second),
            },
            granted: counters.granted,
            delayed: counters.delayed(),
            abandoned: counters.abandoned,
            refused: counters.refused_in_all(),
            refused_for: refused_for.into_iter().filter(|(_, count)| *count > 0).collect(),
            wait_p50: seconds(counters.waits.quantile(0.5)),
            wait_p99: seconds(counters.waits.quantile(0.99)),
            service_p50: seconds(counters.service.quantile(0.5)),
            service_p99: seconds(counters.service.quantile(0.99)),
            share: class.shares.map(|shares| thousandths(shares.had)),
            fair_share: class.shares.map(|shares| thousandths(shares.fair)),
            name: class.name,
            host,
        }
    }
}

fn mode_name(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
        PoolMode::Transaction => "transaction",
    }
}

/// 0 is none.
pub(super) fn limit(max: u32) -> Option<u32> {
    (max > 0).then_some(max)
}

fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::{POOLS_MAX, PoolPart, bounded};
    use crate::control::holders::Holders;
    use crate::status::rates::Rates;
    use crate::status::tests::pool;

    #[test]
    fn pools_beyond_the_limit_are_one_together() {
        let part = |number: usize| {
            let mut pool = pool(&format!("app{number}"));
            (pool.size, pool.counts.leased, pool.clients) = (20, 3, 5);
            PoolPart::new(pool, Rates::default(), (String::new(), &Holders::default()), &|_| 0.0)
        };
        for exactly in [POOLS_MAX, POOLS_MAX + 1] {
            let all = bounded((0..exactly).map(part));
            let is_itself = |pool: &PoolPart| pool.pools == 1 && pool.database.starts_with("app");
            assert!(all.len() == exactly && all.iter().all(is_itself), "{exactly}");
        }
        let more = bounded((0..POOLS_MAX + 10).map(part));
        assert_eq!(more.len(), POOLS_MAX + 1);
        let last = more.last().unwrap();
        let seen = (last.database.as_str(), last.pools, last.size, last.servers.used, last.clients);
        assert_eq!(seen, ("(others)", 10, 200, 30, 50));
    }
}
