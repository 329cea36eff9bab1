//! Who waits for a server, and who has one: by name, those that matter most.

use super::rates::seconds;
use crate::base::ids::ClientId;
use crate::control::census::{Census, ServerOf};
use crate::control::holders::{HolderState, Holders, short_name};
use crate::control::roster::{Presence, Roster};
use crate::control::waits::Wait;
use crate::pool::Pool;
use crate::pool::registry::Registry;
use crate::pool::snapshot::Snapshot;
use crate::pool::words::waits_for;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of each kind, by name. All are counted.
const SHOWN_MAX: usize = 50;

/// Who has a server for less is not why others wait.
const LONG: Duration = Duration::from_secs(1);

/// All of a kind, and some of them.
#[derive(Debug, Serialize)]
pub(super) struct People<T> {
    all: usize,
    shown: Vec<T>,
}

pub(super) struct Everybody {
    pub(super) waiting: People<Waiter>,
    pub(super) holding: People<Holder>,
    /// What those do who have the servers of each pool.
    pub(super) holders: BTreeMap<Name, Holders>,
}

/// A pool's database and user.
pub(super) type Name = (String, String);

/// A client. One that logs in just now has no name so far.
#[derive(Debug, Serialize)]
struct Who {
    client: u64,
    database: String,
    user: String,
    application: String,
    address: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Waiter {
    #[serde(flatten)]
    who: Who,
    waited: f64,
    cause: &'static str,
    waits_for: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Holder {
    #[serde(flatten)]
    who: Who,
    /// In Postgres.
    pid: Option<u32>,
    state: &'static str,
    /// For how long it has been in this state.
    lasts: f64,
    held: f64,
    /// Whether others wait for a server of its pool.
    is_in_the_way: bool,
}

/// Looks at everybody. Only those who are shown are asked who they are.
pub(super) fn look(
    registry: &Registry,
    roster: &Roster,
    snapshot: &Snapshot,
    now: Instant,
) -> Everybody {
    let census = roster.census(registry, now);
    let (waits, all) = census.waits(now, SHOWN_MAX);
    let shown = waits.iter().map(|wait| Waiter::new(wait, now)).collect();
    Everybody {
        waiting: People { all, shown },
        holding: holding(&census, snapshot, now),
        holders: census.holders(now),
    }
}

fn holding(census: &Census, snapshot: &Snapshot, now: Instant) -> People<Holder> {
    let crowded = snapshot.pools.iter().filter(|pool| pool.counts.waiting > 0);
    let crowded: BTreeSet<_> = crowded.map(|pool| (&*pool.database, &*pool.user)).collect();
    let is_in_the_way = |of: &ServerOf<'_>| crowded.contains(&(&*of.pool.database, &*of.pool.user));
    let mut holding: Vec<_> = census.holdings().map(|of| (is_in_the_way(&of), of)).collect();
    let all = holding.len();
    // First who has kept others waiting for a while; last who keeps a server that nobody misses.
    holding.sort_by_key(|(is_in_the_way, of)| {
        let is_long = now.saturating_duration_since(of.server.since) >= LONG;
        let is_missed = *is_in_the_way || of.holder_state() != HolderState::KeptIdle;
        (Reverse(*is_in_the_way && is_long), Reverse(is_missed), of.server.since)
    });
    holding.truncate(SHOWN_MAX);
    let shown = holding.iter().map(|(is_in_the_way, of)| Holder::new(of, *is_in_the_way, now));
    People { all, shown: shown.collect() }
}

impl Who {
    fn new(client: ClientId, presence: Option<&Arc<Presence>>, pool: &Pool) -> Self {
        Self {
            client: client.0,
            database: pool.database.clone(),
            user: pool.user.clone(),
            application: presence.map(|it| short_name(&it.settings())).unwrap_or_default(),
            address: presence.map(|it| it.peer.to_string()).unwrap_or_default(),
        }
    }
}

impl Waiter {
    fn new(wait: &Wait<'_>, now: Instant) -> Self {
        Self {
            who: Who::new(wait.waiter.client, wait.client, wait.pool),
            waited: seconds(now.saturating_duration_since(wait.waiter.since)),
            cause: wait.cause.label(),
            waits_for: waits_for(wait.cause),
        }
    }
}

impl Holder {
    fn new(of: &ServerOf<'_>, is_in_the_way: bool, now: Instant) -> Self {
        let (state, held_since) = (of.holder_state(), of.server.since);
        let since = match state {
            HolderState::IdleInTransaction { since } => since,
            HolderState::Active | HolderState::KeptIdle => {
                of.holder.map_or(held_since, |holder| holder.requested_at().max(held_since))
            }
        };
        let client = of.server.client.expect("somebody has it");
        Self {
            who: Who::new(client, of.holder, of.pool),
            pid: of.server.about.pid,
            state: state.label(),
            lasts: seconds(now.saturating_duration_since(since)),
            held: seconds(now.saturating_duration_since(held_since)),
            is_in_the_way,
        }
    }
}
