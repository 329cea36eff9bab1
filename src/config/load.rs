//! From a file to a [`Config`]: reading, and all findings at once.

use super::Config;
use super::file;
use super::findings::{Findings, Problem};
use super::resolve::{self, Files};
use crate::base::finding::Finding;
use std::fs;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Finding>,
}

/// What an empty file means: no hosts, no databases, no users.
impl Default for Config {
    fn default() -> Self {
        let no_files = |_: &Path| Err(io::ErrorKind::NotFound.into());
        parse("", "", &no_files).expect("an empty file has no errors: tests read it").config
    }
}

/// Reads `path` and the files that it names. An error is every finding: at least one is an error.
pub fn load(path: &Path) -> Result<Loaded, Vec<Finding>> {
    let name = path.display().to_string();
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => parse(&text, &name, &|path| fs::read_to_string(path)),
        Err(error) => {
            let mut findings = Findings::new(&name);
            let message = format!("the file cannot be read: {error}.");
            let action = "Name one that exists with `-c FILE`.";
            findings.error(1, Problem::new("unreadable-file", message, action));
            Err(findings.into_sorted())
        }
    }
}

/// Resolves `text`, which is called `name` in findings. `read` reads the files that it names;
/// their relative paths start at the directory of `name`. An empty text is every default.
pub fn parse(
    text: &str,
    name: &str,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Vec<Finding>> {
    let mut findings = Findings::new(name);
    let document = file::read(text, &mut findings);
    let directory = Path::new(name).parent().unwrap_or(Path::new(""));
    let config = resolve::resolve(&document, Files { directory, read }, &mut findings);
    if !document.broken.is_empty() {
        findings.forget(|finding, line| {
            let lost = document.lost_section;
            let is_syntax = matches!(finding.code, "toml-syntax" | "duplicate-key");
            !is_syntax
                && (document.broken.contains(&line)
                    || resolve::may_be_about_lost_lines(finding, lost))
        });
    }
    if findings.have_errors() {
        Err(findings.into_sorted())
    } else {
        Ok(Loaded { config, warnings: findings.into_sorted() })
    }
}
