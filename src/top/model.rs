//! What two samples say about the proxy: its pools, what they do, and what is wrong.

use super::rates::{Growth, Rates, Sums};
use super::sample::{Sample, Show};
use super::table::{Row, Table};
use super::words;
use std::collections::HashMap;
use std::time::Duration;

/// The console's own database, under both of its names: it is no pool.
const OWN: [&str; 2] = ["pgbouncer", "pgweir"];

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) now: Sample,
    pub(super) before: Option<Sample>,
    /// Made of the samples, once: each drawing and each key looks at it.
    pub(super) pools: Vec<Pool>,
    pub(super) summary: Summary,
}

/// How a pool fares, the worst last.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Health {
    #[default]
    Well,
    /// Somebody waits.
    Busy,
    /// An operator wants it so.
    Held,
    /// Somebody is refused.
    Bad,
}

/// A row of `SHOW POOLS`, with what `SHOW DATABASES` and `SHOW OVERLOAD` know of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) database: String,
    pub(super) user: String,
    pub(super) mode: String,
    pub(super) clients: u64,
    pub(super) waiting: u64,
    pub(super) longest_wait: Duration,
    pub(super) used: u64,
    pub(super) idle: u64,
    /// Being opened or looked after: nobody's at the moment.
    pub(super) other: u64,
    pub(super) size: Option<u64>,
    pub(super) state: String,
    pub(super) health: Health,
    /// For how long it has been in this state.
    pub(super) lasts: Option<Duration>,
    /// What the one waits for who has waited longest.
    pub(super) cause: String,
    pub(super) error: String,
    pub(super) holders: Option<Holders>,
    pub(super) refused: Option<u64>,
    pub(super) limit: Option<Duration>,
}

/// What those do who have a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    pub(super) active: u64,
    pub(super) idle_in_transaction: u64,
    pub(super) kept_idle: u64,
    pub(super) longest_idle: Option<(Duration, String)>,
}

/// All of it in a few numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    pub(super) clients: u64,
    pub(super) waiting: u64,
    pub(super) longest_wait: Duration,
    pub(super) used: u64,
    pub(super) idle: u64,
    pub(super) other: u64,
    /// `None`: some pool has no limit that is known.
    pub(super) size: Option<u64>,
    pub(super) rates: Rates,
    pub(super) refused: Option<f64>,
}

impl Model {
    pub(super) fn new(before: Option<Sample>, now: Sample) -> Self {
        let (pools, summary) = (Vec::new(), Summary::default());
        let mut model = Self { now, before, pools, summary };
        model.pools = model.make_pools();
        model.summary = model.make_summary();
        model
    }

    pub(super) fn table(&self, show: Show) -> Option<&Table> {
        self.now.table(show)
    }

    pub(super) fn growth(&self, show: Show, keys: &'static [&'static str]) -> Growth<'_> {
        Growth::new(show, keys, self.before.as_ref(), &self.now)
    }

    fn rows(&self, show: Show) -> impl Iterator<Item = Row<'_>> {
        self.table(show).into_iter().flat_map(Table::rows)
    }

    /// `pgweir 0.1.0`, `PgBouncer 1.25.0`. Ours calls itself `PgBouncer 1.25.2 (pgweir 0.1.0)`, for tools
    /// that look.
    pub(super) fn version(&self) -> String {
        let row = self.rows(Show::Version).next();
        let version = row.map(|row| row.text("version")).unwrap_or_default();
        let own = version.split_once('(').and_then(|(_, own)| own.strip_suffix(')'));
        words::safe(own.filter(|own| own.starts_with("pgweir")).unwrap_or(version))
    }

    /// `active`, `paused` or `suspended`, as far as the console says so.
    pub(super) fn state(&self) -> Option<&'static str> {
        let table = self.table(Show::State)?;
        let is = |key| table.find("key", key).is_some_and(|row| row.text("value") == "yes");
        ["suspended", "paused", "active"].into_iter().find(|state| is(state))
    }

    fn make_pools(&self) -> Vec<Pool> {
        let mut overload = HashMap::new();
        for row in self.rows(Show::Overload) {
            overload.entry((row.text("database"), row.text("user"))).or_insert(row);
        }
        let mut databases = HashMap::new();
        for row in self.rows(Show::Databases) {
            databases.entry(row.text("name")).or_insert(row);
        }
        let pools = self.rows(Show::Pools);
        let pools = pools.filter(|row| !OWN.contains(&row.text("database")));
        let pools = pools.map(|row| {
            let (database, user) = (row.text("database"), row.text("user"));
            let about = databases.get(database).copied();
            Pool::new(row, overload.get(&(database, user)).copied(), about)
        });
        pools.collect()
    }

    fn make_summary(&self) -> Summary {
        let mut summary = Summary { size: Some(0), ..Summary::default() };
        for pool in &self.pools {
            summary.add(pool);
        }
        let growth = self.growth(Show::Stats, &["database"]);
        let mut sums = Sums::default();
        self.databases().for_each(|row| sums.add(&growth, row));
        summary.rates = sums.rates();
        let growth = self.growth(Show::Classes, &["name", "host"]);
        let refused = self.rows(Show::Classes).filter_map(|row| growth.per_second(row, "refused"));
        summary.refused = refused.reduce(|all, one| all + one);
        summary
    }

    /// The rows of `SHOW STATS`.
    pub(super) fn databases(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows(Show::Stats).filter(|row| !OWN.contains(&row.text("database")))
    }
}

impl Pool {
    /// From its row of `SHOW POOLS`, and those of `SHOW OVERLOAD` and `SHOW DATABASES`.
    fn new(row: Row<'_>, overload: Option<Row<'_>>, about: Option<Row<'_>>) -> Self {
        let (database, user) = (row.text("database"), row.text("user"));
        let size = overload.and_then(|row| row.get("pool_size"));
        let size = size.or_else(|| about?.get("pool_size")).and_then(|size| size.parse().ok());
        let waiting = row.count("cl_waiting");
        let state = overload.map(|row| row.text("state")).filter(|state| !state.is_empty());
        let is = |flag: &str| about.is_some_and(|row| row.count(flag) > 0);
        let state = state.unwrap_or_else(|| guess(&is, waiting));
        let text = |column| words::safe(overload.map_or("", |row| row.text(column)));
        Self {
            database: words::safe(database),
            user: words::safe(user),
            mode: words::safe(row.text("pool_mode")),
            clients: row.count("cl_active"),
            waiting,
            longest_wait: Duration::from_secs(row.count("maxwait"))
                .saturating_add(Duration::from_micros(row.count("maxwait_us"))),
            used: row.sum(&["sv_active", "sv_active_cancel", "sv_being_canceled"]),
            idle: row.sum(&["sv_idle", "sv_used"]),
            other: row.sum(&["sv_tested", "sv_login"]),
            size,
            health: health(state),
            state: words::safe(state),
            lasts: overload.and_then(|row| row.number("seconds")).and_then(seconds),
            cause: text("cause"),
            error: text("error"),
            holders: overload.map(holders),
            refused: overload.map(|row| row.count("refused_last_minute")),
            limit: overload.and_then(|row| row.number("limit_ms")).and_then(millis),
        }
    }
}

impl Summary {
    fn add(&mut self, pool: &Pool) {
        self.clients = self.clients.saturating_add(pool.clients_in_all());
        self.waiting = self.waiting.saturating_add(pool.waiting);
        self.longest_wait = self.longest_wait.max(pool.longest_wait);
        self.used = self.used.saturating_add(pool.used);
        self.idle = self.idle.saturating_add(pool.idle);
        self.other = self.other.saturating_add(pool.other);
        self.size = self.size.zip(pool.size).map(|(all, one)| all.saturating_add(one));
    }
}

/// The state of a pool on a console that has no `SHOW OVERLOAD`.
fn guess(is: &dyn Fn(&str) -> bool, waiting: u64) -> &'static str {
    if is("paused") {
        "paused"
    } else if is("disabled") {
        "disabled"
    } else if waiting > 0 {
        "busy"
    } else {
        "healthy"
    }
}

fn health(state: &str) -> Health {
    match state {
        "healthy" => Health::Well,
        "busy" => Health::Busy,
        "paused" | "disabled" | "draining" => Health::Held,
        _ => Health::Bad,
    }
}

fn holders(row: Row<'_>) -> Holders {
    let longest = row.number("longest_idle_ms").and_then(millis);
    Holders {
        active: row.count("active"),
        idle_in_transaction: row.count("idle_in_transaction"),
        kept_idle: row.count("kept_idle"),
        longest_idle: longest
            .map(|longest| (longest, words::safe(row.text("longest_idle_application")))),
    }
}

pub(super) fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

pub(super) fn millis(millis: f64) -> Option<Duration> {
    seconds(millis / 1e3)
}

impl Pool {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.database, self.user)
    }

    /// Those that have a server, and those that wait for one.
    pub(super) fn clients_in_all(&self) -> u64 {
        self.clients.saturating_add(self.waiting)
    }

    /// What its operator should know, and the circumstances. `None`: it is well.
    pub(super) fn trouble(&self) -> Option<(String, Option<String>)> {
        if self.health == Health::Well {
            return None;
        }
        let lasts = self.lasts.map(|lasts| format!(" for {}", words::time(lasts)));
        let waiting = (self.waiting > 0).then(|| {
            let wait = if self.waiting == 1 { "waits" } else { "wait" };
            let clients = words::counted(self.waiting, "client");
            format!("; {clients} {wait}, the longest for {}", words::time(self.longest_wait))
        });
        let text = [
            Some(format!("{}: {}", self.name(), self.state.replace('_', " "))),
            lasts,
            waiting,
            (!self.cause.is_empty()).then(|| format!(", for {}", self.cause)),
            (!self.error.is_empty()).then(|| format!("; {}", self.error)),
        ];
        // Of a pool that an operator holds there is nothing to explain.
        let is_plain = self.health == Health::Held && self.used == 0;
        let circumstances = (!is_plain).then(|| self.circumstances());
        Some((text.into_iter().flatten().collect(), circumstances))
    }

    fn circumstances(&self) -> String {
        let size = self.size.map_or_else(String::new, |size| format!("/{size}"));
        let doing = self.holders.as_ref().map(|holders| format!(": {}", holders.doing()));
        let refused = self.refused.filter(|refused| *refused > 0).map(|refused| {
            let refused = words::number(words::precise(refused));
            format!("; {refused} refused in the last minute")
        });
        let text = [
            Some(format!("{}{size} servers busy", self.used)),
            doing,
            (self.other > 0).then(|| format!("; {} being opened or checked", self.other)),
            refused,
        ];
        text.into_iter().flatten().collect()
    }
}

impl Holders {
    fn doing(&self) -> String {
        let longest = self.longest_idle.as_ref().map(|(longest, application)| {
            let of = if application.is_empty() { "" } else { ", " };
            format!(" (the longest for {}{of}{application})", words::time(*longest))
        });
        let longest = longest.unwrap_or_default();
        let idle = format!("{} idle in transaction{longest}", self.idle_in_transaction);
        let text = [
            Some(format!("{} active", self.active)),
            (self.idle_in_transaction > 0).then_some(idle),
            (self.kept_idle > 0).then(|| format!("{} kept idle", self.kept_idle)),
        ];
        text.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
