//! The console: what an operator asks, in the protocol of Postgres, on the databases `pgweir` and
//! `pgbouncer`. Commands, columns and texts are PgBouncer's, so that its tools work.
//!
//! [`parse`] reads a command, [`show`] answers it or [`act`] does it, [`session`] speaks the simple protocol and the
//! extended one. A session is a task of the worker that has its socket; it takes snapshots and holds
//! nothing up.
//!
//! # Invariants
//!
//! - What a session may make us keep is bounded: messages, statements, portals, answers unsent.
//! - Whatever it sends, it disturbs no client.

mod act;
mod averages;
mod change;
mod extended;
mod input;
mod parse;
mod session;
mod show;
mod sightings;
mod table;

use self::averages::{Averages, Rates};
use self::parse::Command;
use self::session::Session;
use self::sightings::{LastSeen, Sightings};
use crate::base::shared::Shared;
use crate::client::console::ConsoleLogin;
use crate::config::Process;
use crate::control::reload::Orders;
use crate::control::roster::Roster;
use crate::control::shutdown::Shutdown;
use crate::end::End;
use crate::net::worker::Worker;
use crate::pool::process::Ends;
use crate::pool::registry::Registry;
use crate::pool::snapshot::Snapshot;
use crate::stats::pool::PoolTotals;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A command as it was understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Understood {
    /// What is told when it is done.
    pub tag: String,
    /// Whether looking at things is not enough of a right for it.
    pub needs_admin: bool,
}

/// What a text asks for, which is not done.
///
/// # Errors
///
/// When the console knows no such command.
pub fn understand(text: &str) -> Result<Vec<Understood>, End> {
    let understood = |it: &Command| Understood { tag: it.tag(), needs_admin: it.needs_admin() };
    Ok(Command::parse_all(text)?.iter().map(understood).collect())
}

/// What the console's sessions share.
pub struct Console {
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    shutdown: Arc<Shutdown>,
    orders: Orders,
    averages: Shared<Averages>,
    sightings: Shared<Sightings>,
    logins: AtomicU64,
    commands: AtomicU64,
}

impl Console {
    pub fn new(
        now: Instant,
        registry: Arc<Registry>,
        roster: Arc<Roster>,
        shutdown: Arc<Shutdown>,
        orders: Orders,
    ) -> Self {
        Self {
            registry,
            roster,
            shutdown,
            orders,
            averages: Shared::new(Averages::new(now)),
            sightings: Shared::new(Sightings::new(now)),
            logins: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        }
    }

    /// Serves somebody who may use the console, until one of the two leaves.
    pub async fn serve(self: &Arc<Self>, worker: &Rc<Worker>, login: ConsoleLogin) {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let config = self.registry.config();
        let (client, user) = (login.client.0, login.user.clone());
        if config.process.log_connections {
            tracing::info!(client, user, address = %login.peer, role = login.role.label(), "console: logged in");
        }
        let end = Session::new(self, worker, login).run().await;
        if config.process.log_disconnections {
            tracing::info!(client, user, reason = end.reason.account().label, "console: left");
        }
    }

    /// Keeps the totals from time to time, for averages; and what was counted, for when.
    pub fn tick(&self, now: Instant) {
        if self.sightings.with(|sightings| sightings.is_due(now)) {
            self.see_ends(now, &self.registry.ends());
        }
        let config = self.registry.config();
        let Process { stats_period, log_stats, .. } = config.process;
        if !self.averages.with(|averages| averages.is_due(now, stats_period)) {
            return;
        }
        let totals = self.totals(&self.registry.snapshot(now));
        let lately = self.averages.with(|averages| {
            let lately = averages.lately(now, &totals);
            averages.keep(now, totals);
            lately
        });
        if log_stats {
            tracing::info!("{}", stats_line(&lately));
        }
    }

    /// Notes which reasons for an ending were counted since the last look.
    fn see_ends(&self, now: Instant, ends: &Ends) -> LastSeen {
        self.sightings.with(|sightings| sightings.look(now, ends))
    }

    fn rates(&self, now: Instant, database: &str, totals: &PoolTotals) -> Rates {
        self.averages.with(|averages| averages.rates(now, database, totals))
    }

    /// Totals by database. The console is one of them, under PgBouncer's name.
    fn totals(&self, snapshot: &Snapshot) -> BTreeMap<String, PoolTotals> {
        let commands = self.commands.load(Ordering::Relaxed);
        let own = PoolTotals {
            xacts: commands,
            queries: commands,
            logins: self.logins.load(Ordering::Relaxed),
            ..PoolTotals::default()
        };
        let mut databases = BTreeMap::from([(show::OWN.to_owned(), own)]);
        for name in self.registry.config().databases.keys().filter(|name| *name != "*") {
            databases.entry(name.clone()).or_default();
        }
        for pool in &snapshot.pools {
            *databases.entry(pool.database.clone()).or_default() += pool.totals;
        }
        databases
    }
}

/// PgBouncer's words, which tools look for in its log.
fn stats_line(lately: &Rates) -> String {
    let done = &lately.done;
    let per_second = |number| lately.per_second(number);
    let each = |micros: u64, count: u64| micros / count.max(1);
    format!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, \
         {} client logins/s, in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        per_second(done.xacts),
        per_second(done.queries),
        per_second(done.parses),
        per_second(done.server_parses()),
        per_second(done.binds),
        per_second(done.logins),
        per_second(done.received),
        per_second(done.sent),
        each(done.xact_time, done.xacts),
        each(done.query_time, done.queries),
        each(done.wait_time, done.assignments),
    )
}
