//! `SHOW STATS`, `STATS_TOTALS`, `STATS_AVERAGES` and `TOTALS`: the same numbers, four times.

use super::View;
use crate::admin::averages::Rates;
use crate::admin::table::{Row, numeric, text};
use crate::stats::pool::PoolTotals;
use crate::wire::rows::{Cell, Column};

pub(super) const STATS: &[Column] = &[
    text("database"),
    numeric("total_server_assignment_count"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("total_client_parse_count"),
    numeric("total_server_parse_count"),
    numeric("total_bind_count"),
    numeric("total_client_login_count"),
    numeric("avg_server_assignment_count"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
    numeric("avg_client_login_count"),
];

pub(super) const TOTALS: &[Column] = &[
    text("database"),
    numeric("server_assignment_count"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("client_parse_count"),
    numeric("server_parse_count"),
    numeric("bind_count"),
    numeric("client_login_count"),
];

/// The names are PgBouncer's, with and without `avg_`.
pub(super) const AVERAGES: &[Column] = &[
    text("database"),
    numeric("server_assignment_count"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
    numeric("avg_client_login_count"),
];

pub(super) const SUMS: &[Column] = &[text("name"), numeric("value")];

/// The rows of `SHOW TOTALS`, without `total_` and `avg_`.
const SUM_NAMES: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// In the order of the columns.
fn numbers(totals: &PoolTotals) -> [u64; 12] {
    [
        totals.assignments,
        totals.xacts,
        totals.queries,
        totals.received,
        totals.sent,
        totals.xact_time,
        totals.query_time,
        totals.wait_time,
        totals.parses,
        totals.server_parses(),
        totals.binds,
        totals.logins,
    ]
}

/// Counts and bytes per second, times per piece.
fn per_second(rates: &Rates) -> [u64; 12] {
    let mut averages = numbers(&rates.done).map(|number| rates.per_second(number));
    let done = &rates.done;
    averages[5] = done.xact_time / done.xacts.max(1);
    averages[6] = done.query_time / done.queries.max(1);
    averages[7] = done.wait_time / done.assignments.max(1);
    averages
}

fn row(database: String, numbers: impl IntoIterator<Item = u64>) -> Row {
    std::iter::once(Cell::from(database)).chain(numbers.into_iter().map(Cell::from)).collect()
}

pub(super) fn totals(view: &View<'_>) -> Vec<Row> {
    view.databases().into_iter().map(|(name, totals)| row(name, numbers(&totals))).collect()
}

pub(super) fn averages(view: &View<'_>) -> Vec<Row> {
    let of = |(name, totals): (String, PoolTotals)| {
        let rates = view.console.rates(view.now, &name, &totals);
        row(name, per_second(&rates))
    };
    view.databases().into_iter().map(of).collect()
}

pub(super) fn stats(view: &View<'_>) -> Vec<Row> {
    let of = |(name, totals): (String, PoolTotals)| {
        let rates = view.console.rates(view.now, &name, &totals);
        row(name, numbers(&totals).into_iter().chain(per_second(&rates)))
    };
    view.databases().into_iter().map(of).collect()
}

pub(super) fn sums(view: &View<'_>) -> Vec<Row> {
    let (mut all, mut lately) = (PoolTotals::default(), Rates::default());
    for (name, totals) in view.databases() {
        lately += view.console.rates(view.now, &name, &totals);
        all += totals;
    }
    let rows = |prefix: &'static str, numbers: [u64; 12]| {
        let names = SUM_NAMES.into_iter().zip(numbers);
        names.map(move |(name, number)| vec![format!("{prefix}{name}").into(), number.into()])
    };
    rows("total_", numbers(&all)).chain(rows("avg_", per_second(&lately))).collect()
}
