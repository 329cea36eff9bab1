//! What is in `deploy/` is compared with the metrics that there are.

use super::all;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// What is a metric's name in a text, by its beginning. Not the names of recording rules, which have a
/// colon, nor of alerts, which begin with a capital.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_name(c));
    let begins = |word: &&str| word.starts_with("pgweir_") || word.starts_with("process_");
    words.filter(begins).filter(|word| !word.contains(':')).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for row in all() {
        if row.kind == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", row.name)));
        } else {
            known.insert(row.name);
        }
    }
    for file in ["prometheus-rules.yml", "prometheus-rules-test.yml", "grafana.json"] {
        let text = fs::read_to_string(path(file)).unwrap();
        let used = names_in(&text);
        assert!(used.len() > 5, "{file} uses no metrics");
        for name in used {
            assert!(known.contains(name), "{file}: there is no metric {name}");
        }
    }
}

/// That it has what Grafana needs of a dashboard, beside being JSON.
#[test]
fn the_dashboard_is_one() {
    let text = fs::read_to_string(path("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["schemaVersion"].is_u64());
    let mut ids = BTreeSet::new();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        let [x, width] = ["x", "w"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + width <= 24, "{title} is wider than the grid");
        let targets = panel["targets"].as_array();
        for target in targets.into_iter().flatten() {
            assert!(!names_in(target["expr"].as_str().unwrap()).is_empty(), "{title}");
            queries += 1;
        }
    }
    assert!(queries > 20);
}

/// Each alert has what whoever is woken needs, and a case in which it fires.
#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let rules = fs::read_to_string(path("prometheus-rules.yml")).unwrap();
    let cases = fs::read_to_string(path("prometheus-rules-test.yml")).unwrap();
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 15);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["severity: ", "summary: ", "description: ", "runbook: "] {
            assert_eq!(alert.matches(part).count(), 1, "{name}: {part}");
        }
        assert!(cases.contains(&format!("alertname=\"{name}\"")), "{name} has no case");
    }
}
