//! Metrics as they are scraped, and as they are documented.

use super::exposition;
use crate::config::{Config, PoolMode};
use crate::metrics::names::{BUILD_INFO, HOST, Metric, POOL, PROCESS, Values};
use crate::pool::snapshot::{HostView, PoolView, Snapshot};
use crate::scheduler::Counts;
use crate::stats::pool::PoolTotals;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

fn snapshot() -> Snapshot {
    let counts = Counts { idle: 2, leased: 1, waiting: 3, ..Counts::default() };
    let totals = PoolTotals { queries: 7, query_time: 1_500_000, ..PoolTotals::default() };
    let pool = PoolView {
        database: "app".to_owned(),
        user: "we\"ird".to_owned(),
        host: "main".to_owned(),
        mode: PoolMode::Transaction,
        size: 20,
        reserve: 0,
        clients: 4,
        counts,
        longest_wait: Duration::from_millis(250),
        totals,
    };
    let host = HostView { name: "main".to_owned(), max_connections: None, counts, failure: None };
    Snapshot { pools: vec![pool], hosts: vec![host], clients: 5, consoles: 1 }
}

#[test]
fn a_scrape_has_every_value_with_its_labels() {
    let text = exposition(snapshot(), &Config::default()).unwrap();
    for line in [
        "# TYPE pgweir_pool_queries counter",
        "pgweir_pool_queries_total{database=\"app\",user=\"we\\\"ird\"} 7",
        "pgweir_pool_query_seconds_total{database=\"app\",user=\"we\\\"ird\"} 1.5",
        "pgweir_pool_servers{database=\"app\",user=\"we\\\"ird\",state=\"idle\"} 2.0",
        "pgweir_pool_clients{database=\"app\",user=\"we\\\"ird\",state=\"active\"} 1.0",
        "pgweir_pool_longest_wait_seconds{database=\"app\",user=\"we\\\"ird\"} 0.25",
        "pgweir_host_up{host=\"main\"} 1.0",
        "pgweir_clients 5.0",
        "pgweir_clients_max 1000.0",
    ] {
        assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

const HEAD: &str = "\
# Metrics

<!-- Made from src/metrics/names.rs: do not edit. PGWEIR_BLESS=1 cargo test writes it anew. -->

`GET /metrics` on `http_addr` answers in OpenMetrics text, which Prometheus reads. Counters are since
the start. Pools are those that were used since then: their number is that of databases and users.

Beside it: `GET /healthz` is 200 while the process answers at all. `GET /readyz` is 200 when it can serve
somebody: it listens, and at least one host is not failing; else 503 with the reason, also while it
stops.
";

fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    let (name, help) = BUILD_INFO;
    let _ = writeln!(text, "| `{name}` | gauge | `version` | {help} |");
    for (name, help, _) in PROCESS {
        let _ = writeln!(text, "| `{name}` | gauge | | {help} |");
    }
    describe(&mut text, HOST, "`host`");
    describe(&mut text, POOL, "`database`, `user`");
    text
}

fn describe<T>(text: &mut String, metrics: &[Metric<T>], labels: &str) {
    for Metric { name, help, values } in metrics {
        let (suffix, kind, state) = match values {
            Values::Count(_) | Values::Time(_) => ("_total", "counter", ""),
            Values::Gauge(_) => ("", "gauge", ""),
            Values::States(_) => ("", "gauge", ", `state`"),
        };
        let _ = writeln!(text, "| `{name}{suffix}` | {kind} | {labels}{state} | {help} |");
    }
}

#[test]
fn the_documented_table_is_what_the_code_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let expected = reference();
    if std::env::var_os("PGWEIR_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/metrics.md is out of date: PGWEIR_BLESS=1 cargo test");
}

#[test]
fn names_follow_prometheus_conventions() {
    let mut names: Vec<_> = PROCESS.iter().map(|(name, ..)| *name).collect();
    names.extend(HOST.iter().map(|metric| metric.name));
    names.extend(POOL.iter().map(|metric| metric.name));
    for name in &names {
        assert!(name.starts_with("pgweir_") && !name.ends_with("_total"), "{name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
