//! `SHOW POOLS`.

use super::{OWN, View};
use crate::admin::table::{Row, int4, int8, text};
use crate::config::PoolMode;
use crate::pool::snapshot::PoolView;
use crate::wire::rows::{Cell, Column};

pub(super) const COLUMNS: &[Column] = &[
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("sv_shared"),
    int4("cl_riding"),
    int8("shared_count"),
    int8("stall_count"),
];

pub(super) fn rows(view: &View<'_>) -> Vec<Row> {
    let snapshot = &view.snapshot;
    let mut rows: Vec<Row> = snapshot.pools.iter().map(row).collect();
    let mut own: Row = vec![OWN.into(), OWN.into(), snapshot.consoles.into()];
    own.extend(std::iter::repeat_n(Cell::Number(0), 12));
    own.extend([mode(PoolMode::Statement).into(), Cell::Null]);
    own.extend(std::iter::repeat_n(Cell::Number(0), 4));
    let place = snapshot.pools.partition_point(|pool| pool.database.as_str() < OWN);
    rows.insert(place, own);
    rows
}

fn row(pool: &PoolView) -> Row {
    let counts = &pool.counts;
    vec![
        pool.database.clone().into(),
        pool.user.clone().into(),
        pool.active_clients().into(),
        counts.waiting.into(),
        // Cancel requests are counted for the process, not for a pool, and hold no server.
        Cell::Number(0),
        Cell::Number(0),
        counts.leased.into(),
        Cell::Number(0),
        counts.being_canceled.into(),
        counts.idle.saturating_sub(pool.to_be_checked).into(),
        pool.to_be_checked.into(),
        (counts.checking + counts.tidying).into(),
        counts.connecting.into(),
        pool.longest_wait.as_secs().into(),
        pool.longest_wait.subsec_micros().into(),
        mode(pool.mode).into(),
        Cell::Null,
        pool.rides.shared.into(),
        (pool.rides.shared + pool.rides.followers).into(),
        pool.totals.rides.into(),
        pool.totals.stalls.into(),
    ]
}

pub(super) const fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
        PoolMode::Transaction => "transaction",
    }
}
