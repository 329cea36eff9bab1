//! The configuration as a whole: files on disk, defaults, findings, properties.

mod changes;
mod class_findings;
mod class_warnings;
mod classes;
mod defaults;
mod findings;
mod properties;
mod resolved;

use super::{Config, Loaded, parse};
use std::io;
use std::path::Path;

/// No file but the one that is given.
fn no_files(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn try_parse(text: &str) -> Result<Loaded, Vec<String>> {
    let loaded = parse(text, "dir/proxy.toml", &no_files);
    loaded.map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

fn config(text: &str) -> Config {
    match try_parse(text) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{findings:#?}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    try_parse(text).map_or_else(|errors| errors, |loaded| panic!("valid: {loaded:?}"))
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = try_parse(text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// The only error of `text` is on `line`, has `code`, and contains `words`.
#[track_caller]
fn one_error(text: &str, line: usize, code: &str, words: &str) {
    let found = errors(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    let start = format!("dir/proxy.toml:{line}: error [{code}]: ");
    assert!(found[0].starts_with(&start) && found[0].contains(words), "{start}{words}\n{found:#?}");
}

#[track_caller]
fn one_warning(text: &str, line: usize, code: &str) {
    let found = warnings(text);
    let start = format!("dir/proxy.toml:{line}: warning [{code}]: ");
    assert!(found.len() == 1 && found[0].starts_with(&start), "{start}\n{found:#?}");
}

/// A file without findings, to build on.
const GOOD: &str = "\
[hosts.main]
[databases.app]
host = \"main\"
[users.app]
password = \"secret\"
";

fn with(more: &str) -> String {
    format!("{GOOD}{more}")
}
