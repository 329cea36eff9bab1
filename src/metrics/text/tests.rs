//! Metrics as they are scraped, and as they are documented.

use super::exposition;
use crate::config::classes::ClassLimits;
use crate::config::{Config, PoolMode};
use crate::metrics::names::{BUILD_INFO, CLASS, HOST, LOGINS, Metric, POOL, PROCESS, Values};
use crate::pool::snapshot::{ClassOfHost, HostView, PoolView, Snapshot};
use crate::scheduler::logins::{LoginCounters, LoginsView};
use crate::scheduler::{ClassCounters, ClassView, Condition, Counts, Room, State, Strain};
use crate::stats::pool::PoolTotals;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "it does not matter when")]
fn condition() -> Condition {
    Condition::new(Instant::now())
}

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
        condition: condition(),
        strain: Strain::default(),
        failure: None,
        totals,
    };
    let host = HostView { name: "main".to_owned(), max_connections: None, counts, failure: None };
    let counters = LoginCounters { refused: 9, ..LoginCounters::default() };
    let logins = LoginsView { under_way: 2, waiting: 0, counters };
    Snapshot { pools: vec![pool], hosts: vec![host], clients: 5, consoles: 1, logins }
}

fn class(host: &str, name: &str) -> ClassOfHost {
    let mut counters = ClassCounters::default();
    counters.granted = 3;
    for millis in [1, 7, 7, 70_000] {
        counters.waits.record(Duration::from_millis(millis));
    }
    let class = ClassView {
        name: name.to_owned(),
        limits: ClassLimits::default(),
        clients: 2,
        in_flight: 1,
        queued: 0,
        patience: None,
        is_shedding: false,
        server_time: Duration::from_millis(1_500),
        shares: None,
        room: Room::default(),
        counters,
    };
    ClassOfHost { host: host.to_owned(), class }
}

fn scrape(classes: Vec<ClassOfHost>) -> String {
    exposition(snapshot(), classes, &Config::default()).unwrap()
}

#[test]
fn a_scrape_has_every_value_with_its_labels() {
    let text = scrape(vec![class("main", "app/app")]);
    for line in [
        "# TYPE pgweir_pool_queries counter",
        "pgweir_pool_queries_total{database=\"app\",user=\"we\\\"ird\"} 7",
        "pgweir_pool_query_seconds_total{database=\"app\",user=\"we\\\"ird\"} 1.5",
        "pgweir_pool_servers{database=\"app\",user=\"we\\\"ird\",state=\"idle\"} 2.0",
        "pgweir_pool_clients{database=\"app\",user=\"we\\\"ird\",state=\"active\"} 1.0",
        "pgweir_pool_longest_wait_seconds{database=\"app\",user=\"we\\\"ird\"} 0.25",
        "pgweir_host_up{host=\"main\"} 1.0",
        "pgweir_pool_state{database=\"app\",user=\"we\\\"ird\",state=\"healthy\"} 1.0",
        "pgweir_pool_state{database=\"app\",user=\"we\\\"ird\",state=\"shedding\"} 0.0",
        "pgweir_class_in_flight{host=\"main\",class=\"app/app\"} 1.0",
        "pgweir_class_granted_total{host=\"main\",class=\"app/app\"} 3",
        "pgweir_class_refused_total{host=\"main\",class=\"app/app\",reason=\"rate\"} 0",
        "pgweir_class_patience_seconds{host=\"main\",class=\"app/app\"} inf",
        "# TYPE pgweir_class_wait_seconds histogram",
        "pgweir_class_wait_seconds_count{host=\"main\",class=\"app/app\"} 4",
        "pgweir_class_wait_seconds_bucket{le=\"0.0005\",host=\"main\",class=\"app/app\"} 0",
        "pgweir_class_wait_seconds_bucket{le=\"0.002\",host=\"main\",class=\"app/app\"} 1",
        "pgweir_class_wait_seconds_bucket{le=\"5.0\",host=\"main\",class=\"app/app\"} 3",
        "pgweir_class_wait_seconds_bucket{le=\"+Inf\",host=\"main\",class=\"app/app\"} 4",
        "pgweir_logins_under_way 2.0",
        "pgweir_logins_refused_total 9",
        "pgweir_clients 5.0",
        "pgweir_clients_max 1000.0",
    ] {
        assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn classes_beyond_many_are_one_together() {
    let classes = (0..300).map(|n| class("main", &format!("app/user{n}")));
    let text = scrape(classes.chain([class("second", "app/user299")]).collect());
    let granted = |name: &str, count: u32| {
        let line = format!("pgweir_class_granted_total{{{name}}} {count}");
        assert!(text.lines().any(|other| other == line), "no {line}");
    };
    granted("host=\"main\",class=\"app/user255\"", 3);
    granted("host=\"main\",class=\"(others)\"", 44 * 3);
    granted("host=\"second\",class=\"app/user299\"", 3);
    assert!(!text.contains("host=\"main\",class=\"app/user256\""));
    assert_eq!(text.matches("pgweir_class_clients{").count(), 256 + 2);
}

#[test]
fn every_state_of_a_pool_has_a_series() {
    let text = scrape(vec![]);
    for state in State::ALL {
        let state = format!("state=\"{}\"", state.label());
        assert!(text.lines().any(|it| it.starts_with("pgweir_pool_state") && it.contains(&state)));
    }
}

const HEAD: &str = "\
# Metrics

<!-- Made from src/metrics/names.rs: do not edit. PGWEIR_BLESS=1 cargo test writes it anew. -->

`GET /metrics` on `http_addr` answers in OpenMetrics text, which Prometheus reads. Counters are since
the start. Pools are those that were used since then: their number is that of databases and users. Classes
are those of `[[classes]]` and those of each database and user, as far as they have clients or were used:
256 for each host, and the others added up as `(others)`.

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
    describe(&mut text, LOGINS, "");
    describe(&mut text, HOST, "`host`");
    describe(&mut text, POOL, "`database`, `user`");
    describe(&mut text, CLASS, "`host`, `class`");
    text
}

fn describe<T>(text: &mut String, metrics: &[Metric<T>], labels: &str) {
    for Metric { name, help, values } in metrics {
        let (suffix, kind, state) = match values {
            Values::Count(_) | Values::Seconds(_) | Values::Time(_) => ("_total", "counter", ""),
            Values::Gauge(_) => ("", "gauge", ""),
            Values::Histogram(_) => ("", "histogram", ", `le`"),
            Values::Reasons(_) => ("_total", "counter", ", `reason`"),
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
    names.extend(CLASS.iter().map(|metric| metric.name));
    names.extend(LOGINS.iter().map(|metric| metric.name));
    for name in &names {
        assert!(name.starts_with("pgweir_") && !name.ends_with("_total"), "{name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
