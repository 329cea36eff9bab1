//! From a file to a [`Config`]: reading, and all findings at once.

use super::Config;
use super::file;
use super::findings::Findings;
use super::overlay::Overlay;
use super::resolve::{self, Files};
use super::source::Source;
use crate::base::finding::Finding;
use std::io;
use std::path::Path;

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
    Source::read(path)?.resolve(&Overlay::default())
}

/// Resolves `text`, which is called `name` in findings. `read` reads the files that it names;
/// their relative paths start at the directory of `name`. An empty text is every default.
pub fn parse(
    text: &str,
    name: &str,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Vec<Finding>> {
    parse_with(text, name, &Overlay::default(), read)
}

/// The same, with what an operator has set written over it.
pub(super) fn parse_with(
    text: &str,
    name: &str,
    overlay: &Overlay,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Loaded, Vec<Finding>> {
    let mut findings = Findings::new(name);
    let mut document = file::read(text, &mut findings);
    let unnamed = overlay.apply(&mut document);
    let directory = Path::new(name).parent().unwrap_or(Path::new(""));
    let config = resolve::resolve(&document, &unnamed, Files { directory, read }, &mut findings);
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
