//! `SHOW OVERLOAD`: why the clients of each pool wait.

use super::View;
use crate::admin::table::{Row, int4, int8, text};
use crate::base::calendar;
use crate::control::holders::Holders;
use crate::pool::Pool;
use crate::pool::halts::SUSPENDED;
use crate::pool::snapshot::PoolView;
use crate::pool::words::waits_for;
use crate::scheduler::{Strain, WaitLimit};
use crate::wire::rows::{Cell, Column};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) const COLUMNS: &[Column] = &[
    text("database"),
    text("user"),
    text("host"),
    text("state"),
    text("since"),
    int8("seconds"),
    text("cause"),
    text("error"),
    int4("waiting"),
    int8("maxwait_us"),
    int8("limit_ms"),
    int8("patience_ms"),
    int4("refused_last_minute"),
    int4("abandoned_last_minute"),
    int4("pool_size"),
    int4("servers"),
    int4("connecting"),
    int4("active"),
    int4("idle_in_transaction"),
    int8("longest_idle_ms"),
    text("longest_idle_application"),
    int4("kept_idle"),
    int4("disabled"),
];

pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    let pools = view.console.registry.pools();
    let key = |pool: &Arc<Pool>| (pool.database.clone(), pool.user.clone());
    let pools: BTreeMap<_, _> = pools.iter().map(|pool| (key(pool), pool)).collect();
    let row = |of: &PoolView| {
        let pool = pools.get(&(of.database.clone(), of.user.clone()));
        let pool = pool.filter(|_| of.counts.leased > 0);
        let holders = pool.map(|pool| view.console.roster.holders(pool, view.now));
        row(view, of, holders.unwrap_or_default())
    };
    view.snapshot.pools.iter().map(row).collect()
}

/// While everybody is suspended, that is the state and the cause, whatever the scheduler makes of it: it
/// sees nobody.
fn row(view: &View<'_>, pool: &PoolView, holders: Holders) -> Row {
    let (counts, condition) = (&pool.counts, &pool.condition);
    let is_suspended = view.console.roster.is_suspended();
    let cause = condition.cause.filter(|_| counts.waiting > 0).map(waits_for);
    let lasts = view.now.saturating_duration_since(condition.since);
    let Strain { limit, refused, abandoned } = pool.strain;
    let (idle_for, application_name) = match holders.longest_idle {
        Some(longest) => (millis(longest.idle_for), longest.application_name.into()),
        None => (Cell::Null, Cell::Null),
    };
    vec![
        pool.database.clone().into(),
        pool.user.clone().into(),
        pool.host.clone().into(),
        if is_suspended { "suspended" } else { condition.state.label() }.into(),
        SystemTime::now().checked_sub(lasts).map(calendar::utc).into(),
        lasts.as_secs().into(),
        if is_suspended { Some(SUSPENDED.into()) } else { cause }.into(),
        pool.failure.clone().into(),
        counts.waiting.into(),
        u64::try_from(pool.longest_wait.as_micros()).unwrap_or(u64::MAX).into(),
        limit.map_or(Cell::Null, |WaitLimit { longest, .. }| millis(longest)),
        limit.and_then(|limit| limit.patience).map_or(Cell::Null, millis),
        refused.into(),
        abandoned.into(),
        pool.size.into(),
        counts.live().into(),
        counts.connecting.into(),
        holders.active.into(),
        holders.idle_in_transaction.into(),
        idle_for,
        application_name,
        holders.kept_idle.into(),
        u32::from(view.console.registry.halts.disables(&pool.database)).into(),
    ]
}

fn millis(time: Duration) -> Cell {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}
