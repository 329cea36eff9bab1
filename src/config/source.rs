//! The text of a configuration, kept: so that what an operator sets on the console is put beside what the
//! process has read, and not beside what somebody has begun to write since.

use super::findings::{Findings, Problem};
use super::load::{Loaded, parse_with};
use super::overlay::Overlay;
use super::{Origin, Shown};
use crate::base::finding::Finding;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs};
use zeroize::Zeroizing;

/// A file, and those that it names, as they were read. They have passwords in them.
#[derive(Clone)]
pub struct Source {
    path: PathBuf,
    text: Zeroizing<String>,
    /// What was read of others so far.
    files: BTreeMap<PathBuf, Zeroizing<String>>,
    /// What the environment says instead of `log_level`.
    log_filter: Option<String>,
}

impl Source {
    /// Reads the file. What it names is read when it is resolved.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Vec<Finding>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text: Zeroizing::new(text),
                files: BTreeMap::new(),
                log_filter: None,
            }),
            Err(error) => {
                let mut findings = Findings::new(&path.display().to_string());
                let message = format!("the file cannot be read: {error}.");
                let action = "Name one that exists with `-c FILE`.";
                findings.error(1, Problem::new("unreadable-file", message, action));
                Err(findings.into_sorted())
            }
        }
    }

    /// The same, as the files are now.
    ///
    /// # Errors
    ///
    /// When the first cannot be read.
    pub fn read_anew(self) -> Result<Self, Vec<Finding>> {
        Ok(Self { log_filter: self.log_filter, ..Self::read(&self.path)? })
    }

    /// Has this shown for `log_level`, whatever the file says.
    pub fn set_log_filter(&mut self, filter: Option<String>) {
        self.log_filter = filter;
    }

    /// What it means, with what was set beside it.
    ///
    /// # Errors
    ///
    /// Every finding: at least one is an error.
    pub fn resolve(&mut self, overlay: &Overlay) -> Result<Loaded, Vec<Finding>> {
        let files = RefCell::new(std::mem::take(&mut self.files));
        let read = |path: &Path| {
            if let Some(text) = files.borrow().get(path) {
                return Ok(text.to_string());
            }
            let text = fs::read_to_string(path)?;
            files.borrow_mut().insert(path.to_owned(), Zeroizing::new(text.clone()));
            Ok(text)
        };
        let mut loaded = parse_with(&self.text, &self.path.display().to_string(), overlay, &read);
        self.files = files.into_inner();
        if let (Ok(loaded), Some(value)) = (&mut loaded, self.log_filter.clone()) {
            let shown = Shown { value, origin: Origin::Environment, pending: None };
            loaded.config.shown.insert("log_level", shown);
        }
        loaded
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}
