//! The rows: what is measured, who takes part, and the bars that pgweir has to clear.

use crate::contestants::{Auth, Contestant, Proxy, Stored};
use crate::scrape::Answer;
use crate::settings::Setup;

pub(crate) struct Row {
    /// For the command line.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) auth: Auth,
    pub(crate) work: Work,
    /// In the order in which they take turns.
    pub(crate) contestants: &'static [Contestant],
    /// The PgBouncer that the others are compared with, if it takes part.
    pub(crate) yardstick: Contestant,
    pub(crate) bars: &'static [Bar],
}

#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Memory of clients that ran one query and stay.
    IdleClients,
    /// One client after the other: connect, log in, query, leave.
    Logins,
    /// Reading all there is while `clients` are in, spread over `pools`.
    Scrapes { what: Answer, clients: u32, pools: u16 },
    /// Clients of `pgbench` that run `script` as fast as they get answers.
    Queries { script: Script, protocol: &'static str, clients: u16 },
}

#[derive(Clone, Copy)]
pub(crate) enum Script {
    /// `-S`: one row by primary key.
    SelectOnly,
    /// Transactions that write.
    TpcB,
    Sql(&'static str),
}

/// What the cost of a row is counted in; smaller is better.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    BytesPerClient,
    MicrosecondsOfCpu,
    /// By the clock.
    Milliseconds,
}

/// What one contestant has to clear.
pub(crate) struct Bar {
    pub(crate) whose: Contestant,
    pub(crate) limit: Limit,
    /// Whose figure the limit is a multiple of; else it is in the unit of what it limits.
    pub(crate) of: Option<Contestant>,
}

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    CostAtMost(f64),
    /// Of work done per second.
    RateAtLeast(f64),
}

impl Row {
    pub(crate) fn setup(&self) -> Setup {
        let more_pools = match self.work {
            Work::Scrapes { pools, .. } => pools,
            _ => 0,
        };
        let costs = Setup::of_costs(self.auth);
        let is_shared = self.contestants.iter().any(|contestant| contestant.is_sharing);
        let pool_size = if is_shared { SHARED_POOL } else { costs.pool_size };
        Setup { pool_size, more_pools, ..costs }
    }
}

/// A pool that most have to wait for.
const SHARED_POOL: u32 = 4;

pub(crate) const PGWEIR: Contestant = Contestant::new(Proxy::Pgweir);
pub(crate) const PGWEIR_BEFORE: Contestant = Contestant::new(Proxy::PgweirBefore);
pub(crate) const PGBOUNCER: Contestant = Contestant::new(Proxy::PgBouncer);
pub(crate) const RELAY: Contestant = Contestant::new(Proxy::Relay);
const SCRAPED: Contestant = PGWEIR.scraped();
const PGWEIR_SIMPLE: Contestant = PGWEIR.asked_simply();
pub(crate) const SHARING: Contestant = PGWEIR.sharing();
const SHARING_BY_TWO: Contestant = PGWEIR.sharing().workers(2);
const TWO_WORKERS: Contestant = PGWEIR.workers(2);
const PGWEIR_SECRET: Contestant = PGWEIR.stored(Stored::ScramSecret);
const PGBOUNCER_SECRET: Contestant = PGBOUNCER.stored(Stored::ScramSecret);
const ALL: &[Contestant] = &[PGWEIR, PGBOUNCER, RELAY];
const PROXIES: &[Contestant] = &[PGWEIR, PGBOUNCER];

const fn bar(whose: Contestant, at_most: f64, of: Contestant) -> Bar {
    Bar { whose, limit: Limit::CostAtMost(at_most), of: Some(of) }
}

const fn rate(whose: Contestant, at_least: f64, of: Contestant) -> Bar {
    Bar { whose, limit: Limit::RateAtLeast(at_least), of: Some(of) }
}

const fn alone(whose: Contestant, at_most: f64) -> Bar {
    Bar { whose, limit: Limit::CostAtMost(at_most), of: None }
}

const SMALL_QUERY: &[Bar] = &[bar(PGWEIR, 1.05, PGBOUNCER), bar(PGWEIR, 1.20, RELAY)];
/// Debian's PgBouncer has no statements that follow their clients: what simple queries cost is the measure.
const PREPARED_QUERY: &[Bar] = &[bar(PGWEIR, 1.10, PGWEIR_SIMPLE)];
const WHO_SHARES: &[Contestant] = &[SHARING, SHARING_BY_TWO, PGWEIR, PGBOUNCER];
const SHARED_SIMPLE: &[Bar] =
    &[bar(SHARING, 0.50, PGBOUNCER), rate(SHARING, 1.8, PGBOUNCER), rate(SHARING, 1.8, PGWEIR)];
const SHARED_EXTENDED: &[Bar] =
    &[bar(SHARING, 0.50, PGBOUNCER), rate(SHARING, 1.6, PGBOUNCER), rate(SHARING, 1.6, PGWEIR)];
/// Without Debian's PgBouncer, which has no statements that follow their clients.
const SHARED_PREPARED: &[Bar] = &[bar(SHARING, 0.50, PGWEIR), rate(SHARING, 1.6, PGWEIR)];
/// Who may not share, or need not, pays nothing for it.
const NOTHING_SHARED: &[Bar] = &[bar(SHARING, 1.02, PGWEIR), rate(SHARING, 0.98, PGWEIR)];
const LARGE_RESULT: &[Bar] = &[bar(PGWEIR, 0.60, PGBOUNCER)];

const fn queries(script: Script, protocol: &'static str, clients: u16) -> Work {
    Work::Queries { script, protocol, clients }
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "simple",
        title: "-S simple, 16 clients",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "simple", 16),
        contestants: ALL,
        yardstick: PGBOUNCER,
        bars: SMALL_QUERY,
    },
    Row {
        name: "extended",
        title: "-S extended, 16 clients",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "extended", 16),
        contestants: ALL,
        yardstick: PGBOUNCER,
        bars: SMALL_QUERY,
    },
    Row {
        name: "prepared",
        title: "-S prepared, 16 clients",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "prepared", 16),
        // Older ones of PgBouncer cannot take part: they have no statements to follow their clients.
        contestants: &[PGWEIR, PGWEIR_SIMPLE, RELAY],
        yardstick: PGBOUNCER,
        bars: PREPARED_QUERY,
    },
    Row {
        name: "multiplex",
        title: "-S simple, 64 clients, pool of 4",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "simple", 64),
        contestants: WHO_SHARES,
        yardstick: PGBOUNCER,
        bars: SHARED_SIMPLE,
    },
    Row {
        name: "multiplex-extended",
        title: "-S extended, 64 clients, pool of 4",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "extended", 64),
        contestants: WHO_SHARES,
        yardstick: PGBOUNCER,
        bars: SHARED_EXTENDED,
    },
    Row {
        name: "multiplex-prepared",
        title: "-S prepared, 64 clients, pool of 4",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "prepared", 64),
        contestants: &[SHARING, SHARING_BY_TWO, PGWEIR],
        yardstick: PGBOUNCER,
        bars: SHARED_PREPARED,
    },
    Row {
        name: "multiplex-tpcb",
        title: "TPC-B, 64 clients, pool of 4",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::TpcB, "simple", 64),
        contestants: &[SHARING, PGWEIR],
        yardstick: PGBOUNCER,
        bars: NOTHING_SHARED,
    },
    Row {
        name: "multiplex-idle",
        title: "-S simple, 4 clients, pool of 4",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "simple", 4),
        contestants: &[SHARING, PGWEIR],
        yardstick: PGBOUNCER,
        bars: NOTHING_SHARED,
    },
    Row {
        name: "big-row",
        title: "one row of 100 kB, 4 clients",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::Sql("select value from big;\n"), "simple", 4),
        contestants: ALL,
        yardstick: PGBOUNCER,
        bars: LARGE_RESULT,
    },
    Row {
        name: "many-rows",
        title: "1,000 rows of 100 B, 4 clients",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::Sql("select value from many;\n"), "simple", 4),
        contestants: ALL,
        yardstick: PGBOUNCER,
        bars: LARGE_RESULT,
    },
    Row {
        name: "workers",
        title: "-S simple, 16 clients, two workers",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "simple", 16),
        contestants: &[PGWEIR, TWO_WORKERS],
        yardstick: PGBOUNCER,
        bars: &[bar(TWO_WORKERS, 1.15, PGWEIR)],
    },
    Row {
        name: "metrics",
        title: "-S simple, 16 clients, scraped every second",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: queries(Script::SelectOnly, "simple", 16),
        contestants: &[PGWEIR, SCRAPED],
        yardstick: PGBOUNCER,
        bars: &[bar(SCRAPED, 1.02, PGWEIR)],
    },
    Row {
        name: "scrape",
        title: "a scrape, 5,000 clients in 100 pools",
        unit: Unit::Milliseconds,
        auth: Auth::Trust,
        work: Work::Scrapes { what: Answer::Metrics, clients: 5_000, pools: 100 },
        contestants: &[SCRAPED],
        yardstick: PGBOUNCER,
        bars: &[alone(SCRAPED, 20.0)],
    },
    Row {
        name: "status",
        title: "the status page's numbers, 5,000 clients in 100 pools",
        unit: Unit::Milliseconds,
        auth: Auth::Trust,
        work: Work::Scrapes { what: Answer::Status, clients: 5_000, pools: 100 },
        contestants: &[SCRAPED],
        yardstick: PGBOUNCER,
        bars: &[alone(SCRAPED, 20.0)],
    },
    Row {
        name: "idle-memory",
        title: "memory per idle client, 5,000 clients",
        unit: Unit::BytesPerClient,
        auth: Auth::Trust,
        work: Work::IdleClients,
        contestants: PROXIES,
        yardstick: PGBOUNCER,
        bars: &[alone(PGWEIR, 2048.0)],
    },
    Row {
        name: "login-trust",
        title: "login + query + close, trust",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::Trust,
        work: Work::Logins,
        contestants: PROXIES,
        yardstick: PGBOUNCER,
        bars: &[bar(PGWEIR, 1.00, PGBOUNCER)],
    },
    Row {
        name: "login-scram",
        title: "login + query + close, SCRAM",
        unit: Unit::MicrosecondsOfCpu,
        auth: Auth::ScramSha256,
        work: Work::Logins,
        contestants: &[PGWEIR, PGWEIR_SECRET, PGBOUNCER, PGBOUNCER_SECRET],
        // Old versions do not cache the keys of plain passwords. With the secret stored every
        // version is at its best, and that is what has to be matched, however it is stored here.
        yardstick: PGBOUNCER_SECRET,
        bars: &[bar(PGWEIR, 1.00, PGBOUNCER_SECRET), bar(PGWEIR_SECRET, 1.00, PGBOUNCER_SECRET)],
    },
];

/// For a comparison with a build from before: apart from the others, because it needs one.
pub(crate) const COST: Row = Row {
    name: "cost",
    title: "-S simple, 16 clients",
    unit: Unit::MicrosecondsOfCpu,
    auth: Auth::Trust,
    work: queries(Script::SelectOnly, "simple", 16),
    contestants: &[PGWEIR, PGWEIR_BEFORE, PGBOUNCER],
    yardstick: PGBOUNCER,
    bars: &[bar(PGWEIR, 1.03, PGWEIR_BEFORE)],
};

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// The rows with these names, in the order of the table; all of them if there are no names.
pub(crate) fn select(names: &[String]) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
}
