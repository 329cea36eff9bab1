//! Rules about the source that neither the compiler nor Clippy checks. Runs with the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up. A module may use those before it, and itself.
const LAYERS: &[&str] = &[
    "base",
    "end",
    "wire",
    "sql",
    "stats",
    "config",
    "auth",
    "session",
    "scheduler",
    "diagnose",
    "net",
    "server",
    "pool",
    "control",
    "client",
    "admin",
    "status",
    "metrics",
    "app",
    "top",
    "cli",
];
const FILE_LINES_MAX: usize = 500;
/// The one file that may have `unsafe`. The compiler denies it where nothing says that it is expected.
const UNSAFE_IN: &str = "net/low_water.rs";

#[test]
fn source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    for path in rust_files(&root) {
        let text = fs::read_to_string(&path).expect("source files are readable");
        let name = path.strip_prefix(&root).expect("a file under src").display().to_string();
        problems.extend(
            check_file(&name, &text).into_iter().map(|problem| format!("{name}: {problem}")),
        );
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        problems.push(format!("{lines} lines; split it before it passes {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//! ") {
        problems.push("starts without `//!` saying what the file is for".to_owned());
    }
    for banned in ["super::super::", "crate::{"] {
        if text.lines().any(|line| line.trim_start().starts_with("use ") && line.contains(banned)) {
            problems
                .push(format!("`{banned}` hides which module is used; write `crate::module::`"));
        }
    }
    let may_be_unsafe = |line: &str| line.contains("(unsafe_code") && !line.contains("forbid");
    if name != UNSAFE_IN && name != "tidy.rs" && text.lines().any(may_be_unsafe) {
        problems.push(format!("`unsafe` is for {UNSAFE_IN} alone"));
    }
    let module = name.split(['/', '.']).next().unwrap_or(name);
    let is_on_workers = ["admin", "client", "pool", "server", "session"].contains(&module);
    let code = text.split("mod tests {").next().unwrap_or(text);
    let needs_timers = |line: &str| {
        line.contains("tokio::time") || line.contains("net::worker::") && line.contains("within")
    };
    if is_on_workers && code.lines().any(needs_timers) {
        problems.push("workers have no timers: use the methods of `Worker`".to_owned());
    }
    if let Some(own) = layer(module) {
        for used in crate_paths(text) {
            match layer(used) {
                Some(theirs) if theirs > own => {
                    problems.push(format!("`{module}` may not use `{used}`, a higher layer"));
                }
                Some(_) => {}
                None => problems.push(format!("`crate::{used}` has no place in LAYERS")),
            }
        }
    }
    problems
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == module)
}

/// The first segment of every `crate::…` path.
fn crate_paths(text: &str) -> BTreeSet<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .filter(|name| !name.is_empty())
        .collect()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("source directories are readable") {
        let path = entry.expect("source directories are readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// What measures would find another test of the same run in its way.
#[test]
fn who_measures_runs_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = root.join("integration/cases");
    let measuring: BTreeSet<_> = rust_files(&cases)
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).expect("source files are readable");
            text.contains("use crate::harness::pulse::")
        })
        .map(|path| {
            let module = path.strip_prefix(&cases).expect("a file under cases").with_extension("");
            module.display().to_string().replace('/', "::")
        })
        .collect();
    let runner = fs::read_to_string(root.join(".config/nextest.toml")).expect("it is there");
    let (_, alone) = runner.split_once("test(/cases::(").expect("some run alone");
    let (alone, _) = alone.split_once(")::").expect("modules");
    let alone: BTreeSet<_> = alone.split('|').map(str::to_owned).collect();
    assert_eq!(measuring, alone);
}

#[test]
fn each_rule_fires() {
    assert_eq!(
        check_file("scheduler/mod.rs", "//! Fine.\nuse crate::end::EndReason;\n"),
        Vec::<String>::new()
    );
    assert_eq!(check_file("wire/frame.rs", "//! Up.\nuse crate::scheduler::Tenant;\n").len(), 1);
    assert_eq!(check_file("wire/frame.rs", "use std::io;\n").len(), 1);
    assert_eq!(
        check_file("wire/frame.rs", "//! Hides.\nuse crate::{scheduler::Tenant, end};\n").len(),
        1
    );
    for timed in ["use tokio::time::sleep;", "use crate::net::worker::{Worker, within};"] {
        assert_eq!(check_file("pool/mod.rs", &format!("//! Timed.\n{timed}\n")).len(), 1);
        assert_eq!(check_file("app/mod.rs", &format!("//! Timed.\n{timed}\n")).len(), 0);
    }
    assert_eq!(check_file("wire/frame.rs", &"//! Long.\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    let expects = "//! Bare.\n#[expect(unsafe_code, reason = \"\")]\n";
    assert_eq!(check_file("net/stream.rs", expects).len(), 1);
    assert_eq!(check_file(UNSAFE_IN, expects).len(), 0);
}
