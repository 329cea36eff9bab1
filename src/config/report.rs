//! What `pgweir check` says, and the exit code that goes with it.

use super::{Loaded, load};
use crate::base::finding::{Finding, Severity};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// How a report is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    Json,
    Text,
}

/// Everything that was found, worst or not, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    pub file: String,
    pub findings: Vec<Finding>,
}

/// Reads the configuration as the proxy would.
pub fn check(path: &Path) -> Report {
    let findings = match load(path) {
        Ok(Loaded { warnings, .. }) => warnings,
        Err(findings) => findings,
    };
    Report { file: path.display().to_string(), findings }
}

impl Report {
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// 0: the proxy would start. 1: it would not. 2, only if `strict`: it would, with warnings.
    pub fn exit_code(&self, strict: bool) -> u8 {
        match (self.errors(), self.warnings()) {
            (1.., _) => 1,
            (0, 1..) if strict => 2,
            _ => 0,
        }
    }

    /// With a newline at its end.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Text => self.text(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let _ = writeln!(text, "{finding}");
        }
        let counted = |count: usize, what: &str| match count {
            0 => format!("no {what}s"),
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let errors = counted(self.errors(), "error");
        let warnings = counted(self.warnings(), "warning");
        let _ = writeln!(text, "{}: {errors}, {warnings}", self.file);
        text
    }

    fn json(&self) -> String {
        let findings = self.findings.iter().map(|finding| JsonFinding {
            code: finding.code,
            severity: match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            file: finding.place.as_ref().map(|place| place.file.as_str()),
            line: finding.place.as_ref().map(|place| place.line),
            message: &finding.message,
            action: finding.action.as_deref(),
        });
        let report = JsonReport {
            file: &self.file,
            errors: self.errors(),
            warnings: self.warnings(),
            findings: findings.collect(),
        };
        let text = serde_json::to_string_pretty(&report).expect("texts and numbers serialize");
        text + "\n"
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    file: &'a str,
    errors: usize,
    warnings: usize,
    findings: Vec<JsonFinding<'a>>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    code: &'a str,
    severity: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    message: &'a str,
    action: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::{Format, check};
    use std::fs;

    fn report(text: &str) -> super::Report {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("proxy.toml");
        fs::write(&path, text).expect("a file in it");
        let mut report = check(&path);
        report.file = "proxy.toml".to_owned();
        for place in report.findings.iter_mut().filter_map(|finding| finding.place.as_mut()) {
            place.file = "proxy.toml".to_owned();
        }
        report
    }

    const GOOD: &str = "[hosts.main]\n[databases.app]\nhost = 'main'\n[users.a]\npassword = 'x'\n";

    #[test]
    fn exit_codes_tell_errors_from_warnings() {
        let good = report(GOOD);
        assert_eq!((good.exit_code(false), good.exit_code(true)), (0, 0), "{good:?}");
        let warned = report("");
        assert_eq!((warned.exit_code(false), warned.exit_code(true)), (0, 2));
        let wrong = report("[proxy]\nlisten_port = 'x'\n");
        assert_eq!((wrong.exit_code(false), wrong.exit_code(true)), (1, 1));
    }

    #[test]
    fn text_is_one_line_a_finding_and_a_summary() {
        let wrong = report(&format!("{GOOD}[proxy]\nlisten_prot = 1\n"));
        assert_eq!(
            wrong.render(Format::Text),
            "proxy.toml:7: error [unknown-key]: `listen_prot` is no option of [proxy]. \
             Did you mean `listen_port`?\nproxy.toml: 1 error, no warnings\n"
        );
        assert_eq!(report(GOOD).render(Format::Text), "proxy.toml: no errors, no warnings\n");
    }

    #[test]
    fn json_has_the_same_in_fields() {
        let wrong = report(&format!("{GOOD}[proxy]\nlisten_prot = 1\n"));
        let json: serde_json::Value =
            serde_json::from_str(&wrong.render(Format::Json)).expect("JSON");
        assert_eq!(json["errors"], 1);
        assert_eq!(json["findings"][0]["line"], 7);
        assert_eq!(json["findings"][0]["code"], "unknown-key");
    }

    #[test]
    fn a_missing_file_is_a_finding() {
        let report = check(std::path::Path::new("/nowhere/proxy.toml"));
        assert_eq!(report.exit_code(false), 1);
        assert_eq!(report.findings[0].code, "unreadable-file");
    }
}
