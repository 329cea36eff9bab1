//! Everything at one moment, as `/api/status.json` tells it. `docs/status-page.md` says what each part is.

use super::history::{EVERY, Lately};
use super::parts::{self, ClassPart, HostPart, PoolPart};
use super::people::{Everybody, Holder, People, Waiter};
use super::rates::Rates;
use super::reason;
use crate::base::legible::safe;
use crate::control::holders::Holders;
use crate::end::EndReason;
use crate::pool::halts::{HaltsView, SUSPENDED};
use crate::pool::process::ProcessView;
use crate::pool::registry::Registry;
use crate::pool::snapshot::{HostView, PoolView, Snapshot};
use crate::pool::words::counted;
use crate::scheduler::State;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Classes by name, of each host; the others are one together.
const CLASSES_MAX: usize = 256;

/// What needs attention, by name.
const ATTENTION_MAX: usize = 50;

/// A pool whose clients wait for less is busy, and nobody's trouble.
const TROUBLE: Duration = Duration::from_secs(1);

/// Moments are seconds since 1970, lengths of time are seconds, and rates are for a second. `null`: no
/// limit, or not known.
#[derive(Serialize)]
pub(super) struct Document {
    format: u32,
    at: f64,
    /// The worst of any pool, or `server_down` if a host cannot be reached.
    state: &'static str,
    /// What somebody should look at, the worst first.
    attention: Vec<Attention>,
    proxy: Proxy,
    clients: Clients,
    now: Now,
    history: HistoryPart,
    hosts: Vec<HostPart>,
    pools: Vec<PoolPart>,
    classes: Vec<ClassPart>,
    waiting: People<Waiter>,
    holding: People<Holder>,
}

/// What was seen beside the snapshot.
pub(super) struct Seen {
    pub(super) now: Instant,
    pub(super) is_stopping: bool,
    pub(super) process: ProcessView,
    pub(super) lately: Lately,
    pub(super) last: u64,
    pub(super) people: Everybody,
}

#[derive(Serialize)]
struct Attention {
    what: &'static str,
    /// For people. Two pools may have the same: what tells them apart is the database and the user.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    state: &'static str,
    since: Option<f64>,
    reason: String,
}

#[derive(Serialize)]
struct Proxy {
    version: &'static str,
    started_at: f64,
    is_stopping: bool,
    config: Config,
}

#[derive(Serialize)]
struct Config {
    hash: String,
    loaded_at: f64,
    is_last_load_ok: bool,
}

#[derive(Serialize)]
struct Clients {
    used: u32,
    max: Option<u32>,
    waiting: u32,
    logging_in: u32,
    waiting_to_log_in: u32,
    consoles: u32,
}

#[derive(Serialize)]
struct Now {
    #[serde(flatten)]
    rates: Rates,
    refused: f64,
    /// Since the start, by reason.
    refused_for: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct HistoryPart {
    /// It grows when there is more.
    last: u64,
    every: u64,
}

impl Attention {
    /// Of anything but a pool.
    fn new(what: &'static str, name: &str, state: &'static str, reason: String) -> Self {
        let name = safe(name);
        Self { what, name, database: None, user: None, state, since: None, reason }
    }
}

impl Document {
    pub(super) fn new(registry: &Registry, snapshot: Snapshot, seen: Seen) -> Self {
        let Seen { now, is_stopping, process, lately, last, people } = seen;
        let calendar = |at| unix(registry.calendar(at));
        let config = registry.config();
        let nobody = Holders::default();
        let name = |pool: &PoolView| (pool.database.clone(), pool.user.clone());
        let mut pools: Vec<_> = snapshot
            .pools
            .into_iter()
            .zip(lately.pools)
            .map(|(pool, rates)| {
                let holders = people.holders.get(&name(&pool)).unwrap_or(&nobody);
                (reason::of(&pool, holders), holders, pool, rates)
            })
            .collect();
        // It keeps the order by name otherwise.
        pools.sort_by_key(|(_, _, pool, _)| {
            let (state, counts) = (pool.condition.state, pool.counts);
            Reverse((state, counts.waiting, counts.leased))
        });
        let states = pools.iter().map(|(_, _, pool, _)| pool.condition.state);
        let is_down = snapshot.hosts.iter().any(|host| host.failure.is_some());
        let state = states.chain(is_down.then_some(State::ServerDown)).max();
        let clients = Clients {
            used: snapshot.clients,
            max: parts::limit(config.clients.max_client_conn),
            waiting: snapshot.hosts.iter().map(|host| host.counts.waiting).sum(),
            logging_in: snapshot.logins.under_way,
            waiting_to_log_in: snapshot.logins.waiting,
            consoles: snapshot.consoles,
        };
        let mut attention = of_process(&process, &clients, is_stopping);
        attention.extend(snapshot.hosts.iter().filter_map(of_host));
        attention.extend(
            pools.iter().filter_map(|(reason, _, pool, _)| of_pool(pool, reason, &calendar)),
        );
        attention.truncate(ATTENTION_MAX);
        let pools = pools.into_iter().map(|(reason, holders, pool, rates)| {
            PoolPart::new(pool, rates, (reason, holders), &calendar)
        });
        Self {
            format: super::FORMAT,
            at: calendar(now),
            state: state.unwrap_or(State::Healthy).label(),
            attention,
            proxy: Proxy {
                version: env!("CARGO_PKG_VERSION"),
                started_at: unix(process.began),
                is_stopping,
                config: Config {
                    hash: process.config.hash,
                    loaded_at: unix(process.config.loaded_at),
                    is_last_load_ok: process.config.is_last_load_ok,
                },
            },
            clients,
            now: Now {
                rates: lately.all,
                refused: lately.refused,
                refused_for: refused_for(&process.ends.refusals),
            },
            history: HistoryPart { last, every: EVERY.as_secs() },
            hosts: snapshot.hosts.into_iter().map(HostPart::from).collect(),
            pools: parts::bounded(pools),
            classes: parts::classes(registry.classes_up_to(now, CLASSES_MAX)),
            waiting: people.waiting,
            holding: people.holding,
        }
    }
}

fn of_process(process: &ProcessView, clients: &Clients, is_stopping: bool) -> Vec<Attention> {
    let trouble = |state, reason| Attention::new("proxy", "pgweir", state, reason);
    let mut found = Vec::new();
    if is_stopping {
        found.push(trouble("stopping", "the proxy stops; nobody new is let in".to_owned()));
    }
    if let Some(max) = clients.max.filter(|max| clients.used >= *max) {
        let reason = format!("all {max} places for clients are taken (max_client_conn)");
        found.push(trouble("full", reason));
    }
    if clients.waiting_to_log_in > 0 {
        let waiting = counted(clients.waiting_to_log_in, "client waits", "clients wait");
        found.push(trouble("logins", format!("{waiting} to log in (max_logins)")));
    }
    if !process.config.is_last_load_ok {
        let reason = "the configuration that was to be loaded last is wrong: the one before is in \
                      force, and the log says why";
        found.push(trouble("config", reason.to_owned()));
    }
    found.extend(of_operators(&process.halts));
    found
}

/// What operators have stopped and may have forgotten. Of a pool that is paused its own entry says how many
/// wait; here is what shows nowhere else.
fn of_operators(halts: &HaltsView) -> Vec<Attention> {
    let entry = |what, name: &str, state, reason: &str| {
        Attention::new(what, name, state, reason.to_owned())
    };
    let mut found = Vec::new();
    if halts.is_suspended {
        found.push(entry("proxy", "pgweir", "suspended", SUSPENDED));
    }
    for database in &halts.databases {
        if database.is_paused {
            let reason = "an operator has paused it, until RESUME";
            found.push(entry("database", &database.name, "paused", reason));
        }
        if database.is_disabled {
            let reason = "an operator has disabled it: nobody new is let in, until ENABLE";
            found.push(entry("database", &database.name, "disabled", reason));
        }
    }
    found
}

fn of_host(host: &HostView) -> Option<Attention> {
    let reason = safe(host.failure.as_ref()?);
    Some(Attention::new("host", &host.name, State::ServerDown.label(), reason))
}

/// A pool that is busy is none of anybody's trouble, until somebody waits for long.
fn of_pool(pool: &PoolView, reason: &str, calendar: &dyn Fn(Instant) -> f64) -> Option<Attention> {
    match pool.condition.state {
        State::Healthy => return None,
        State::Busy if pool.longest_wait < TROUBLE => return None,
        _ => {}
    }
    Some(Attention {
        what: "pool",
        name: safe(&format!("{}/{}", pool.database, pool.user)),
        database: Some(pool.database.clone()),
        user: Some(pool.user.clone()),
        state: pool.condition.state.label(),
        since: Some(calendar(pool.condition.since)),
        reason: reason.to_owned(),
    })
}

/// Those that there were.
fn refused_for(refusals: &[u64; EndReason::ALL.len()]) -> BTreeMap<&'static str, u64> {
    let by_label = EndReason::ALL.iter().map(|reason| reason.account().label).zip(*refusals);
    by_label.filter(|(_, count)| *count > 0).collect()
}

/// Seconds since 1970, to a millisecond.
fn unix(time: SystemTime) -> f64 {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    (seconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::of_pool;
    use crate::scheduler::State;
    use crate::status::tests::pool;
    use serde_json::json;

    #[test]
    fn two_troubles_are_told_apart_and_names_are_legible() {
        let told = |database: &str, user: &str| {
            let mut pool = pool(database);
            (pool.user, pool.condition.state) = (user.to_owned(), State::Shedding);
            let told = of_pool(&pool, "", &|_| 0.0).expect("it needs attention");
            let told = serde_json::to_value(told).expect("names are text");
            assert_eq!([&told["database"], &told["user"]], [database, user]);
            told["name"].clone()
        };
        assert_eq!(told("app", "x/y"), told("app/x", "y"));
        assert_eq!(told("a\u{202e}", "b"), json!("a\u{fffd}/b"));
    }
}
