//! Collects what is wrong with a file, so that all of it is reported at once.

use super::overlay::NO_LINE;
use crate::base::finding::{Finding, Place, Severity};

/// What is wrong with a value, before it is known where it stands.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) action: String,
}

impl Problem {
    pub(super) fn new(
        code: &'static str,
        message: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), action: action.into() }
    }
}

/// The findings about one file and those it names.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), all: Vec::new() }
    }

    pub(super) fn error(&mut self, line: usize, problem: Problem) {
        self.push(self.file.clone(), line, Severity::Error, problem);
    }

    pub(super) fn warning(&mut self, line: usize, problem: Problem) {
        self.push(self.file.clone(), line, Severity::Warning, problem);
    }

    /// A finding about a file that this one names.
    pub(super) fn elsewhere(
        &mut self,
        file: &str,
        line: usize,
        severity: Severity,
        problem: Problem,
    ) {
        self.push(file.to_owned(), line, severity, problem);
    }

    /// Forgets the findings on `lines` and those for which `pred` holds: consequences of others.
    pub(super) fn forget(&mut self, pred: impl Fn(&Finding, usize) -> bool) {
        self.all
            .retain(|finding| !pred(finding, finding.place.as_ref().map_or(0, |place| place.line)));
    }

    pub(super) fn have_errors(&self) -> bool {
        self.errors() > 0
    }

    pub(super) fn errors(&self) -> usize {
        self.all.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// In the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        let key = |finding: &Finding| {
            finding.place.as_ref().map(|place| (place.file != self.file, place.line))
        };
        self.all.sort_by_key(key);
        self.all
    }

    fn push(&mut self, file: String, line: usize, severity: Severity, problem: Problem) {
        self.all.push(Finding {
            code: problem.code,
            severity,
            // What an operator has set stands in no file.
            place: (line != NO_LINE).then_some(Place { file, line }),
            message: problem.message,
            action: Some(problem.action).filter(|action| !action.is_empty()),
        });
    }
}
