//! `SHOW CLASSES`: who shares a quota and a fair share, and what each of them has.

use crate::admin::table::{Row, int4, int8, numeric, text};
use crate::pool::snapshot::ClassOfHost;
use crate::wire::rows::{Cell, Column};
use std::time::Duration;

pub(super) const COLUMNS: &[Column] = &[
    text("name"),
    text("host"),
    text("priority"),
    int4("weight"),
    int4("clients"),
    int4("in_flight"),
    int4("max_in_flight"),
    int4("queued"),
    numeric("granted"),
    numeric("delayed"),
    numeric("abandoned"),
    numeric("refused"),
    int8("wait_p50_us"),
    int8("wait_p99_us"),
    int8("service_p50_us"),
    int8("service_p99_us"),
    text("server_seconds"),
    int8("patience_ms"),
    int4("shedding"),
];

/// By name, and by host.
pub(super) fn rows(mut classes: Vec<ClassOfHost>) -> Vec<Row> {
    classes.sort_by(|a, b| (&a.class.name, &a.host).cmp(&(&b.class.name, &b.host)));
    classes.into_iter().map(row).collect()
}

fn row(ClassOfHost { host, class }: ClassOfHost) -> Row {
    let (limits, counters) = (&class.limits, &class.counters);
    vec![
        class.name.into(),
        host.into(),
        limits.priority.name().into(),
        limits.weight.into(),
        class.clients.into(),
        class.in_flight.into(),
        limits.quota.max_in_flight.into(),
        class.queued.into(),
        counters.granted.into(),
        counters.delayed.into(),
        counters.abandoned.into(),
        counters.refused_in_all().into(),
        micros(counters.waits.quantile(0.5)),
        micros(counters.waits.quantile(0.99)),
        micros(counters.service.quantile(0.5)),
        micros(counters.service.quantile(0.99)),
        format!("{:.3}", class.server_time.as_secs_f64()).into(),
        class.patience.map_or(Cell::Null, millis),
        u32::from(class.is_shedding).into(),
    ]
}

fn micros(time: Duration) -> Cell {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

fn millis(time: Duration) -> Cell {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}
