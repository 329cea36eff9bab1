//! `SHOW WAITS` and `SHOW HOLDERS`: who waits, what for and behind whom; and who has which server.

use super::sockets::application_name;
use crate::admin::Console;
use crate::admin::table::{Row, int4, int8, text};
use crate::base::calendar::utc;
use crate::base::ids::ClassId;
use crate::control::census::ServerOf;
use crate::control::holders::HolderState;
use crate::control::roster::{Presence, pid_of};
use crate::control::waits::Wait;
use crate::net::stream::Peer;
use crate::pool::Host;
use crate::pool::words::waits_for;
use crate::wire::rows::{Cell, Column};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of one answer: more nobody reads, and a pool may have as many waiters as clients.
const ROWS_MAX: usize = 1_000;

pub(super) const WAITS: &[Column] = &[
    int4("id"),
    text("user"),
    text("database"),
    text("application_name"),
    text("addr"),
    int4("port"),
    text("class"),
    text("host"),
    text("since"),
    int8("wait_us"),
    text("cause"),
    text("waits_for"),
    text("behind"),
    int4("holders"),
    int4("active"),
    int4("idle_in_transaction"),
    int4("kept_idle"),
    int4("longest_pid"),
    int8("longest_us"),
    text("longest_state"),
    int4("longest_id"),
    text("longest_application_name"),
    text("longest_addr"),
];

pub(super) const HOLDERS: &[Column] = &[
    int4("pid"),
    text("database"),
    text("user"),
    text("host"),
    text("state"),
    text("since"),
    int8("held_us"),
    int8("idle_us"),
    int4("id"),
    text("application_name"),
    text("addr"),
    int4("port"),
    text("class"),
    int4("waiting"),
    int4("close_needed"),
];

/// What was left out of an answer.
pub(super) struct LeftOut {
    all: usize,
    first: &'static str,
}

impl LeftOut {
    fn of(all: usize, first: &'static str) -> Option<Self> {
        (all > ROWS_MAX).then_some(Self { all, first })
    }

    pub(super) fn notice(&self) -> String {
        format!("{ROWS_MAX} of {} are shown: those that {}", self.all, self.first)
    }
}

/// The longest waiting first.
pub(super) fn waits(console: &Console, now: Instant) -> (Vec<Row>, Option<LeftOut>) {
    let census = console.roster.census(&console.registry, now);
    let (waits, all) = census.waits(now, ROWS_MAX);
    let mut writer = Writer { console, now, classes: HashMap::new() };
    let rows = waits.iter().map(|wait| writer.wait(wait)).collect();
    (rows, LeftOut::of(all, "have waited longest"))
}

/// Those first that were lent longest ago.
pub(super) fn holders(console: &Console, now: Instant) -> (Vec<Row>, Option<LeftOut>) {
    let census = console.roster.census(&console.registry, now);
    let mut holdings: Vec<_> = census.holdings().collect();
    let all = holdings.len();
    holdings.sort_by_key(|of| of.server.since);
    holdings.truncate(ROWS_MAX);
    let mut writer = Writer { console, now, classes: HashMap::new() };
    let rows = holdings.iter().map(|of| writer.holding(of)).collect();
    (rows, LeftOut::of(all, "have had their server longest"))
}

struct Writer<'a> {
    console: &'a Console,
    now: Instant,
    /// Names of classes, which are asked for under a lock.
    classes: HashMap<(String, ClassId), String>,
}

impl Writer<'_> {
    fn wait(&mut self, wait: &Wait<'_>) -> Row {
        let (host, holders) = (&wait.pool.host, &wait.behind.holders);
        let longest = wait.behind.longest.as_ref();
        let longest_client = longest.and_then(|of| of.holder);
        let user = wait.client.map_or(&*wait.pool.user, |client| &client.user);
        let mut row = vec![
            pid_of(wait.waiter.client).into(),
            user.to_owned().into(),
            wait.pool.database.clone().into(),
            wait.client.map(name).into(),
            wait.client.map(address).into(),
            wait.client.map(port).into(),
            self.class(host, wait.waiter.class).into(),
            host.name.clone().into(),
            self.at(wait.waiter.since),
            self.since(wait.waiter.since),
            wait.cause.label().into(),
            waits_for(wait.cause).into(),
            wait.behind.whose.label().into(),
        ];
        let counts =
            [holders.all(), holders.active, holders.idle_in_transaction, holders.kept_idle];
        row.extend(counts.map(Cell::from));
        row.extend([
            longest.and_then(|of| of.server.about.pid).into(),
            longest.map(|of| self.since(of.server.since)).into(),
            longest.map(|of| state(of)).into(),
            longest.and_then(|of| of.server.client).map(pid_of).into(),
            longest_client.map(name).into(),
            longest_client.map(address).into(),
        ]);
        row
    }

    fn holding(&mut self, of: &ServerOf<'_>) -> Row {
        let (pool, server) = (of.pool, of.server);
        let idle = match of.holder_state() {
            HolderState::IdleInTransaction { since } => Some(self.since(since)),
            HolderState::Active | HolderState::KeptIdle => None,
        };
        let waiting = pool.host.scheduler.with(|scheduler| scheduler.counts(pool.id).waiting);
        vec![
            server.about.pid.into(),
            pool.database.clone().into(),
            pool.user.clone().into(),
            pool.host.name.clone().into(),
            state(of).into(),
            self.at(server.since),
            self.since(server.since),
            idle.into(),
            server.client.map(pid_of).into(),
            of.holder.map(name).into(),
            of.holder.map(address).into(),
            of.holder.map(port).into(),
            of.holder.map(|holder| self.class(&pool.host, holder.class())).into(),
            waiting.into(),
            u32::from(server.is_retired).into(),
        ]
    }

    fn at(&self, moment: Instant) -> Cell {
        utc(self.console.registry.calendar(moment)).into()
    }

    fn since(&self, moment: Instant) -> Cell {
        micros(self.now.saturating_duration_since(moment))
    }

    fn class(&mut self, host: &Host, class: ClassId) -> String {
        let name = || host.scheduler.with(|scheduler| scheduler.class_name(class).to_owned());
        self.classes.entry((host.name.clone(), class)).or_insert_with(name).clone()
    }
}

fn micros(time: Duration) -> Cell {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

/// What is done with a server that is on loan.
fn state(of: &ServerOf<'_>) -> &'static str {
    if of.holder.is_some() { of.holder_state().label() } else { "login" }
}

fn name(client: &Arc<Presence>) -> String {
    application_name(&client.settings())
}

fn address(client: &Arc<Presence>) -> String {
    client.peer.ip().map_or_else(|| "unix".to_owned(), |ip| ip.to_string())
}

fn port(client: &Arc<Presence>) -> Option<u32> {
    match client.peer {
        Peer::Tcp(address) => Some(address.port().into()),
        Peer::Unix => None,
    }
}
