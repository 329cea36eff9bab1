//! `SHOW CLASSES`: who shares a quota and a fair share, and what each of them has.

use crate::admin::table::{Row, int4, int8, numeric, text};
use crate::config::classes::{ClassLimits, Excess, Quota};
use crate::pool::snapshot::ClassOfHost;
use crate::scheduler::{ClassCounters, ClassView, DelayedFor, RefusedFor, Room};
use crate::wire::rows::{Cell, Column};
use std::time::Duration;

/// In the order of `limits`, `uses` and so on, below. A limit of 0 is none, a rate of NULL.
pub(super) const COLUMNS: &[Column] = &[
    text("name"),
    text("host"),
    text("priority"),
    int4("weight"),
    int4("clients"),
    int4("max_clients"),
    int4("in_flight"),
    int4("reserved"),
    int4("max_in_flight"),
    int4("queued"),
    int4("max_queued"),
    text("transactions_left"),
    text("transactions_per_second"),
    int4("burst"),
    text("on_excess"),
    text("server_seconds_left"),
    text("server_seconds_per_second"),
    int4("addresses"),
    int4("address_clients"),
    int4("address_max_clients"),
    int4("address_in_flight"),
    int4("address_max_in_flight"),
    int4("address_queued"),
    int4("address_max_queued"),
    text("address_transactions_per_second"),
    int4("address_burst"),
    text("address_on_excess"),
    text("address_server_seconds_per_second"),
    numeric("granted"),
    numeric("queued_total"),
    numeric("delayed"),
    numeric("delayed_in_flight"),
    numeric("delayed_rate"),
    numeric("delayed_server_time"),
    numeric("abandoned"),
    numeric("refused"),
    numeric("refused_client_limit"),
    numeric("refused_login_failed"),
    numeric("refused_queue_full"),
    numeric("refused_rate"),
    numeric("refused_server_down"),
    numeric("refused_shed_on_arrival"),
    numeric("refused_shed_in_queue"),
    numeric("refused_throttled"),
    numeric("refused_wait_timeout"),
    int8("wait_p50_us"),
    int8("wait_p99_us"),
    int8("service_p50_us"),
    int8("service_p99_us"),
    text("server_seconds"),
    text("share_percent"),
    text("fair_percent"),
    int8("patience_ms"),
    int4("shedding"),
];

/// By name, and by host.
pub(super) fn rows(mut classes: Vec<ClassOfHost>) -> Vec<Row> {
    classes.sort_by(|a, b| (&a.class.name, &a.host).cmp(&(&b.class.name, &b.host)));
    classes.into_iter().map(row).collect()
}

fn row(ClassOfHost { host, class }: ClassOfHost) -> Row {
    let limits = &class.limits;
    let mut row = vec![
        class.name.clone().into(),
        host.into(),
        limits.priority.name().into(),
        limits.weight.into(),
    ];
    row.extend(of_class(&class, limits));
    row.extend(of_addresses(&class.room, &limits.per_address));
    row.extend(counted(&class.counters));
    row.extend([
        seconds(class.server_time.as_secs_f64()),
        class.shares.map(|shares| percent(shares.had)).into(),
        class.shares.map(|shares| percent(shares.fair)).into(),
        class.patience.map_or(Cell::Null, millis),
        u32::from(class.is_shedding).into(),
    ]);
    row
}

fn of_class(class: &ClassView, ClassLimits { reserved, quota, .. }: &ClassLimits) -> [Cell; 13] {
    let [per_second, burst, on_excess, server_time] = rates(quota);
    [
        class.clients.into(),
        quota.max_clients.into(),
        class.in_flight.into(),
        (*reserved).into(),
        quota.max_in_flight.into(),
        class.queued.into(),
        quota.max_queued.into(),
        class.room.transactions.map(|left| format!("{left:.1}")).into(),
        per_second,
        burst,
        on_excess,
        class.room.server_time.map_or(Cell::Null, seconds),
        server_time,
    ]
}

/// The most that any of them has, beside what each may have.
fn of_addresses(room: &Room, quota: &Quota) -> [Cell; 11] {
    let [per_second, burst, on_excess, server_time] = rates(quota);
    [
        room.addresses.into(),
        room.clients.into(),
        quota.max_clients.into(),
        room.in_flight.into(),
        quota.max_in_flight.into(),
        room.queued.into(),
        quota.max_queued.into(),
        per_second,
        burst,
        on_excess,
        server_time,
    ]
}

fn rates(quota: &Quota) -> [Cell; 4] {
    let on_excess = |excess| match excess {
        Excess::Delay => "delay",
        Excess::Reject => "reject",
    };
    [
        quota.rate.map(|rate| rate.per_second.to_string()).into(),
        quota.rate.map(|rate| rate.burst).into(),
        quota.rate.map(|rate| on_excess(rate.on_excess)).into(),
        quota.server_time.map(|time| time.per_second.to_string()).into(),
    ]
}

fn counted(counters: &ClassCounters) -> impl Iterator<Item = Cell> {
    let (waits, service) = (&counters.waits, &counters.service);
    let [in_flight, rate, server_time] = DelayedFor::ALL.map(|limit| counters.delayed_for(limit));
    let requests = [
        counters.granted,
        counters.queued,
        counters.delayed(),
        in_flight,
        rate,
        server_time,
        counters.abandoned,
        counters.refused_in_all(),
    ];
    let refused = RefusedFor::ALL.map(|reason| counters.refused_for(reason));
    let times =
        [waits.quantile(0.5), waits.quantile(0.99), service.quantile(0.5), service.quantile(0.99)];
    let requests = requests.into_iter().chain(refused).map(Cell::from);
    requests.chain(times.into_iter().map(micros))
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn seconds(seconds: f64) -> Cell {
    format!("{seconds:.3}").into()
}

fn micros(time: Duration) -> Cell {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

fn millis(time: Duration) -> Cell {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::COLUMNS;
    use crate::scheduler::{DelayedFor, RefusedFor};

    #[test]
    fn each_reason_has_a_column() {
        let after = |prefix| -> Vec<_> {
            COLUMNS.iter().filter_map(|column| column.name.strip_prefix(prefix)).collect()
        };
        assert_eq!(after("refused_"), RefusedFor::ALL.map(RefusedFor::label));
        assert_eq!(after("delayed_"), DelayedFor::ALL.map(DelayedFor::label));
    }
}
