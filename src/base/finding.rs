//! Something an operator should know: what, where, and what to do.

use std::fmt;

/// How bad a [`Finding`] is. Ordered: later is worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Legal, but probably not what was meant.
    Warning,
    /// The configuration cannot be used.
    Error,
}

/// Where in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

/// Something an operator should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Stable, `kebab-case`: what documentation and tools refer to.
    pub code: &'static str,
    pub severity: Severity,
    pub place: Option<Place>,
    /// What is wrong, with the value that is there.
    pub message: String,
    /// What to write or do instead.
    pub action: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}:{}: ", place.file, place.line)?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity} [{}]: {}", self.code, self.message)?;
        if let Some(action) = &self.action {
            write!(f, " {action}")?;
        }
        Ok(())
    }
}
