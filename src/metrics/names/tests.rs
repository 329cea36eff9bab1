//! The metrics as they are documented.

use super::{Row, all};
use crate::end::EndReason;
use crate::scheduler::CloseReason;
use crate::session::pins::Cause;
use crate::session::traces::Trace;
use crate::stats::worker::CancelOutcome;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

const MARK: &str = "<!-- From here on made from src/metrics/names: PGWEIR_BLESS=1 cargo test -->\n";

fn reference() -> String {
    let mut text = format!("{MARK}\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for Row { name, kind, labels, help } in all() {
        let labels: Vec<_> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    text
}

#[test]
fn the_documented_table_is_what_the_code_has() {
    let path = path("docs/metrics.md");
    let found = fs::read_to_string(&path).unwrap();
    let by_hand = found.find(MARK).map(|at| &found[..at]).expect("the mark is there");
    let expected = format!("{by_hand}{}", reference());
    if std::env::var_os("PGWEIR_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(found == expected, "docs/metrics.md is out of date: PGWEIR_BLESS=1 cargo test");
}

/// What is counted by place is shown by place.
#[test]
fn places_of_counters_are_those_of_their_names() {
    fn places<T: Copy, const N: usize>(all: [T; N], place: fn(T) -> usize) {
        assert!(all.map(place).into_iter().eq(0..N));
    }
    places(EndReason::ALL, |reason| reason as usize);
    places(CloseReason::ALL, |reason| reason as usize);
    places(Cause::ALL, |cause| cause as usize);
    places(Trace::ALL, |trace| trace as usize);
    places(CancelOutcome::ALL, |outcome| outcome as usize);
}

#[test]
fn names_follow_prometheus_conventions() {
    let mut names = BTreeSet::new();
    for Row { name, kind, labels, help } in all() {
        assert!(name.starts_with("pgweir_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!help.contains(['\n', '\\', '"', '|']), "{name}: {help}");
        for label in labels {
            assert!(!name.contains(&format!("_by_{label}")), "{name}");
        }
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}
