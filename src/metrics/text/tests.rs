//! Metrics as they are scraped.

use super::{Format, SERIES_MAX, Scrape, exposition};
use crate::base::ids::PoolId;
use crate::config::classes::ClassLimits;
use crate::config::{Config, PoolMode};
use crate::metrics::names::pool::Pool;
use crate::metrics::names::process::Process;
use crate::metrics::names::system::System;
use crate::pool::halts::DatabaseHalts;
use crate::pool::registry::Registry;
use crate::pool::snapshot::{ClassOfHost, HostView, PoolView, Snapshot};
use crate::scheduler::logins::{LoginCounters, LoginsView};
use crate::scheduler::{ClassCounters, ClassView, Condition, Counts, Rides, Room, State, Strain};
use crate::stats::pool::{PoolTimes, PoolTotals};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio_util::task::TaskTracker;

#[expect(clippy::disallowed_methods, reason = "it does not matter when")]
fn now() -> Instant {
    Instant::now()
}

fn pool(host: &str, id: u32, database: &str, user: &str) -> PoolView {
    let counts = Counts { idle: 2, leased: 1, waiting: 3, ..Counts::default() };
    let (opened, pins, closed) = (4, [0, 0, 0, 0, 5, 0, 0, 0, 0, 0], [0, 0, 6, 0, 0, 0, 0, 0]);
    let mut times = PoolTimes::default();
    (times.query.counts[0], times.query.counts[3], times.query.counts[15]) = (1, 2, 1);
    PoolView {
        id: PoolId(id),
        database: database.to_owned(),
        user: user.to_owned(),
        host: host.to_owned(),
        mode: PoolMode::Transaction,
        size: 20,
        reserve: 0,
        clients: 4,
        counts,
        rides: Rides::default(),
        to_be_checked: 0,
        longest_wait: Duration::from_millis(250),
        condition: Condition::new(now()),
        strain: Strain::default(),
        failure: None,
        totals: PoolTotals { queries: 7, opened, pins, closed, ..PoolTotals::default() },
        times,
    }
}

fn class(host: &str, name: &str) -> ClassOfHost {
    let mut counters = ClassCounters::default();
    counters.granted = 3;
    for millis in [1, 7, 7, 70_000] {
        counters.waits.record(Duration::from_millis(millis));
    }
    let mut limits = ClassLimits::default();
    limits.quota.max_in_flight = 8;
    let class = ClassView {
        name: name.to_owned(),
        limits,
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

fn rows(views: Vec<PoolView>, most: usize) -> Vec<Pool> {
    Pool::rows(views, most, &|_| SystemTime::UNIX_EPOCH + Duration::from_millis(1_500))
}

fn scrape(format: Format) -> String {
    let config = Arc::new(Config::default());
    let registry = Registry::new(now(), &config, &TaskTracker::new());
    let counts = Counts { idle: 2, leased: 1, waiting: 3, ..Counts::default() };
    let host = HostView { name: "main".to_owned(), max_connections: None, counts, failure: None };
    let counters = LoginCounters { refused: 9, ..LoginCounters::default() };
    let logins = LoginsView { under_way: 2, waiting: 0, counters };
    let snapshot = Snapshot { pools: vec![], hosts: vec![], clients: 5, consoles: 1, logins };
    let process = registry.process(true);
    let scrape = Scrape {
        system: System::look(process.began),
        process: Process::new(&config, &snapshot, &process),
        config: process.config,
        workers: process.workers,
        limits: process.limits,
        halts: vec![DatabaseHalts { name: "app".to_owned(), is_paused: true, is_disabled: false }],
        hosts: vec![host],
        pools: rows(vec![pool("main", 0, "app", "we\"ird\\\n")], SERIES_MAX),
        classes: vec![class("main", "app/app")],
    };
    exposition(scrape, format, 0)
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
}

#[test]
fn a_scrape_has_every_value_with_its_labels() {
    let text = scrape(Format::Prometheus);
    let of_pool = r#"database="app",user="we\"ird\\\n""#;
    for (name, more, value) in [
        ("queries_total", "", "7"),
        ("servers", ",state=\"idle\"", "2"),
        ("clients", ",state=\"active\"", "1"),
        ("longest_wait_seconds", "", "0.25"),
        ("state", ",state=\"healthy\"", "1"),
        ("state", ",state=\"shedding\"", "0"),
        ("state_since_timestamp_seconds", "", "1.5"),
        ("wait_cause", ",cause=\"pool_full\"", "0"),
        ("pins_total", ",cause=\"named_statement\"", "5"),
        ("server_connects_total", "", "4"),
        ("server_closes_total", ",reason=\"idle_timeout\"", "6"),
        ("query_seconds_bucket", ",le=\"0.0001\"", "1"),
        ("query_seconds_bucket", ",le=\"0.001\"", "3"),
        ("query_seconds_bucket", ",le=\"30.0\"", "3"),
        ("query_seconds_bucket", ",le=\"+Inf\"", "4"),
        ("query_seconds_count", "", "4"),
        ("query_seconds_sum", "", "0"),
    ] {
        has(&text, &format!("pgweir_pool_{name}{{{of_pool}{more}}} {value}"));
    }
    for line in [
        "pgweir_suspended 1",
        "pgweir_database_paused{database=\"app\"} 1",
        "pgweir_database_disabled{database=\"app\"} 0",
        "# TYPE pgweir_pool_queries_total counter",
        "# TYPE pgweir_class_wait_seconds histogram",
        "pgweir_host_up{host=\"main\"} 1",
        "pgweir_host_servers_max{host=\"main\"} +Inf",
        "pgweir_class_in_flight{host=\"main\",class=\"app/app\"} 1",
        "pgweir_class_in_flight_max{host=\"main\",class=\"app/app\"} 8",
        "pgweir_class_waiting_max{host=\"main\",class=\"app/app\"} +Inf",
        "pgweir_class_granted_total{host=\"main\",class=\"app/app\"} 3",
        "pgweir_class_refused_total{host=\"main\",class=\"app/app\",reason=\"rate\"} 0",
        "pgweir_class_patience_seconds{host=\"main\",class=\"app/app\"} +Inf",
        "pgweir_class_wait_seconds_count{host=\"main\",class=\"app/app\"} 4",
        "pgweir_class_wait_seconds_bucket{host=\"main\",class=\"app/app\",le=\"0.0005\"} 0",
        "pgweir_class_wait_seconds_bucket{host=\"main\",class=\"app/app\",le=\"0.002\"} 1",
        "pgweir_class_wait_seconds_bucket{host=\"main\",class=\"app/app\",le=\"+Inf\"} 4",
        "pgweir_login_failures_total{reason=\"authentication_failed\"} 0",
        "pgweir_cancels_total{outcome=\"queued\"} 0",
        "pgweir_worker_connections{worker=\"0\"} 0",
        "pgweir_config_last_reload_successful 1",
        "pgweir_logins_under_way 2",
        "pgweir_logins_refused_total 9",
        "pgweir_clients 5",
        "pgweir_clients_max 1000",
    ] {
        has(&text, line);
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

#[test]
fn open_metrics_has_units_and_an_end() {
    let text = scrape(Format::OpenMetrics);
    for line in [
        "# TYPE pgweir_pool_queries counter",
        "# UNIT pgweir_worker_busy_seconds seconds",
        "# UNIT pgweir_pool_sent_bytes bytes",
        "pgweir_class_granted_total{host=\"main\",class=\"app/app\"} 3",
    ] {
        has(&text, line);
    }
    assert!(text.ends_with("\n# EOF\n"));
}

/// Both formats ask for it: all lines of a metric are together, behind its head.
#[test]
fn lines_of_a_metric_are_together() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = scrape(format);
        let (mut seen, mut current) = (std::collections::HashSet::new(), "");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().unwrap();
                assert!(seen.insert(current), "{current} comes twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(current), "{line} is not of {current}");
            }
        }
        assert!(seen.len() > 50);
    }
}

#[test]
fn pools_beyond_many_are_one_together() {
    let mut views: Vec<_> = (0..5).map(|id| pool("main", id, &format!("d{id}"), "u")).collect();
    // By name it is the first, by age the last.
    views[4].database = "a".to_owned();
    views.push(pool("second", 0, "z", "u"));
    views.sort_by(|a, b| a.database.cmp(&b.database));
    let mut page = super::Page::new(Format::Prometheus, 0);
    page.write(&rows(views, 3));
    let text = page.text;
    let values = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(values("pgweir_pool_queries_total{"), 3 + 1 + 1);
    for line in [
        "pgweir_pool_queries_total{database=\"d2\",user=\"u\"} 7",
        "pgweir_pool_queries_total{database=\"z\",user=\"u\"} 7",
        "pgweir_pool_queries_total{database=\"(others)\",user=\"(others)\"} 14",
        "pgweir_pool_state{database=\"(others)\",user=\"(others)\",state=\"healthy\"} 2",
        "pgweir_pool_query_seconds_count{database=\"(others)\",user=\"(others)\"} 8",
        "pgweir_pool_servers_max{database=\"(others)\",user=\"(others)\"} 40",
    ] {
        has(&text, line);
    }
}

#[test]
fn every_state_of_a_pool_has_a_series() {
    let text = scrape(Format::Prometheus);
    for state in State::ALL {
        let state = format!("state=\"{}\"", state.label());
        assert!(text.lines().any(|it| it.starts_with("pgweir_pool_state") && it.contains(&state)));
    }
}
