//! What is written: TOML, with the line of every key and value.

use super::findings::{Findings, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};
use zeroize::Zeroizing;

/// A value and its line. No `Debug`: it may be a password.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) line: usize,
    pub(super) value: RawValue,
}

#[derive(Clone)]
pub(super) enum RawValue {
    Boolean(bool),
    Datetime,
    /// As written, without underscores.
    Float(String),
    /// The digits, and what they count to. `None`: more than fits.
    Integer {
        text: String,
        radix: u32,
        value: Option<i64>,
    },
    List(Vec<Raw>),
    Table(RawTable),
    Text(Zeroizing<String>),
}

#[derive(Clone, Default)]
pub(super) struct RawTable {
    pub(super) line: usize,
    pub(super) entries: BTreeMap<String, Entry>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key_line: usize,
    pub(super) raw: Raw,
}

impl RawValue {
    /// With an article, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Float(_) => "a fraction",
            Self::Integer { .. } => "a number",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
            Self::Text(_) => "a text",
        }
    }
}

/// The whole file, and the lines that are not TOML.
pub(super) struct Document {
    pub(super) root: RawTable,
    pub(super) broken: BTreeSet<usize>,
    /// One of them is a section's header.
    pub(super) lost_section: bool,
}

/// How often a file is read again without the lines that are not TOML. Each time finds at least
/// one more of them; a file with more is no TOML at all.
const ROUNDS_MAX: usize = 50;

/// Reads the file as far as it can be read.
pub(super) fn read(text: &str, findings: &mut Findings) -> Document {
    let lines = Lines::new(text);
    let mut readable = Zeroizing::new(text.to_owned());
    let mut broken = BTreeSet::new();
    let mut round = 0;
    // The parser skips some broken lines, and gives up at others.
    while round < ROUNDS_MAX && blank_broken_lines(&mut readable, &lines, &mut broken, findings) {
        round += 1;
    }
    let (root, _) = DeTable::parse_recoverable(&readable);
    let lost_section = broken.iter().any(|line| lines.is_header(*line));
    Document { root: table(root.get_ref(), root.span().start, &lines), broken, lost_section }
}

/// Reports the lines that are not TOML and takes them out. Whether there were any.
fn blank_broken_lines(
    text: &mut String,
    lines: &Lines<'_>,
    broken: &mut BTreeSet<usize>,
    findings: &mut Findings,
) -> bool {
    let mut found_any = false;
    let (_, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = lines.of(span.start);
        // One finding a line: what follows is mostly the parser finding its feet again.
        if !broken.insert(line) {
            continue;
        }
        if error.message().starts_with("duplicate key") {
            let key = lines.text.get(span).unwrap_or("this");
            findings.error(line, duplicate(key));
            continue;
        }
        let action = syntax_action(lines.line(line));
        let problem = Problem::new("toml-syntax", format!("{}.", error.message()), action);
        findings.error(line, problem);
        found_any = true;
        for line in lines.spoiled_by(line) {
            let range = lines.range(line);
            let blank = " ".repeat(range.len());
            text.replace_range(range, &blank);
        }
    }
    found_any
}

/// The value that `text` is. For the defaults in the options table.
pub(super) fn read_value(text: &str) -> Option<Raw> {
    let parsed = DeValue::parse(text).ok()?;
    Some(raw(&parsed, &Lines::new(text)))
}

fn duplicate(key: &str) -> Problem {
    let message = format!("`{}` is there twice.", key.trim());
    Problem::new("duplicate-key", message, "Keep one of the two.")
}

/// What to write instead of a line that is not TOML. Never with the value: it may be a password.
fn syntax_action(line: &str) -> String {
    let line = line.trim();
    if line.starts_with(';') || line.starts_with("--") || line.starts_with("//") {
        return "Comments start with `#`.".to_owned();
    }
    if line.starts_with('%') {
        return "Files cannot be included; write one file.".to_owned();
    }
    let Some((key, value)) = line.split_once('=') else { return String::new() };
    let (key, value) = (key.trim(), value.trim());
    if value.is_empty() {
        return format!("Write a value, or `{key} = \"\"` for none.");
    }
    if key == "*" {
        return "Put the name in quotes: `\"*\"`.".to_owned();
    }
    if !value.starts_with(['"', '\'', '[', '{']) {
        return format!("Put the value in quotes: `{key} = \"...\"`.");
    }
    String::new()
}

fn table(found: &DeTable<'_>, start: usize, lines: &Lines<'_>) -> RawTable {
    let entries = found.iter().map(|(key, value)| {
        let key_line = lines.of(key.span().start);
        let mut raw = raw(value, lines);
        if let RawValue::Table(table) = &mut raw.value {
            table.line = key_line;
        }
        (key.get_ref().to_string(), Entry { key_line, raw })
    });
    RawTable { line: lines.of(start), entries: entries.collect() }
}

fn list(found: &DeArray<'_>, lines: &Lines<'_>) -> Vec<Raw> {
    found.iter().map(|item| raw(item, lines)).collect()
}

fn raw(found: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Raw {
    let start = found.span().start;
    let value = match found.get_ref() {
        DeValue::String(text) => RawValue::Text(Zeroizing::new(text.to_string())),
        DeValue::Integer(integer) => RawValue::Integer {
            text: integer.to_string(),
            radix: integer.radix(),
            value: i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        },
        DeValue::Float(float) => RawValue::Float(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => RawValue::Boolean(*boolean),
        DeValue::Datetime(_) => RawValue::Datetime,
        DeValue::Array(array) => RawValue::List(list(array, lines)),
        DeValue::Table(found) => RawValue::Table(table(found, start, lines)),
    };
    Raw { line: lines.of(start), value }
}

/// Byte offsets to lines.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Counted from 1. The end of a text that ends with a newline belongs to its last line.
    fn of(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len().saturating_sub(1));
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// The bytes of a line, without its newline.
    fn range(&self, line: usize) -> Range<usize> {
        let start = self.starts.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    fn line(&self, line: usize) -> &'a str {
        &self.text[self.range(line)]
    }

    /// The lines that mean nothing when `line` is broken: of a header, also those under it, which
    /// would go to the section before.
    fn spoiled_by(&self, line: usize) -> Range<usize> {
        let mut end = line + 1;
        while self.is_header(line) && end <= self.starts.len() && !self.is_header(end) {
            end += 1;
        }
        line..end
    }

    fn is_header(&self, line: usize) -> bool {
        self.line(line).trim_start().starts_with('[')
    }
}

#[cfg(test)]
mod tests {
    use super::{RawValue, read, read_value};
    use crate::config::findings::Findings;

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Findings::new("f");
        read(text, &mut findings);
        findings.into_sorted().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_and_values_know_their_lines() {
        let text =
            "# one\n[proxy]\nlisten_addr = [\n  \"a\",\n  \"b\",\n]\n[hosts.a]\nport = 0x10\n";
        let mut none = Findings::new("f");
        let document = read(text, &mut none);
        assert!(!none.have_errors());
        let proxy = &document.root.entries["proxy"];
        assert_eq!(proxy.key_line, 2);
        let RawValue::Table(proxy) = &proxy.raw.value else { panic!("a table") };
        let RawValue::List(items) = &proxy.entries["listen_addr"].raw.value else {
            panic!("a list")
        };
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [4, 5]);
        let RawValue::Table(hosts) = &document.root.entries["hosts"].raw.value else {
            panic!("a table")
        };
        assert_eq!(hosts.entries["a"].key_line, 7);
    }

    #[test]
    fn every_broken_line_is_reported_with_what_to_write() {
        let found = findings(
            "; ini\n[proxy]\nquery_wait_timeout = 10s\nlisten_port = 1\nlisten_port = 2\nhost =\n",
        );
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("f:1: error [toml-syntax]"), "{found:#?}");
        assert!(found[0].ends_with("Comments start with `#`."), "{found:#?}");
        assert!(found[1].starts_with("f:3: "), "{found:#?}");
        assert!(found[1].ends_with("`query_wait_timeout = \"...\"`."), "{found:#?}");
        assert!(found[2].contains("f:5: error [duplicate-key]: `listen_port`"), "{found:#?}");
        assert!(found[3].starts_with("f:6: "), "{found:#?}");
    }

    #[test]
    fn a_password_without_quotes_is_not_repeated() {
        let found = findings("[users.app]\npassword = hunter2\nserver_password = \"hunter2\n");
        assert!(!found.is_empty() && !found.join("").contains("hunter2"), "{found:#?}");
    }

    #[test]
    fn integers_that_do_not_fit_are_kept_as_text() {
        let raw = read_value("99999999999999999999").expect("TOML");
        assert!(matches!(raw.value, RawValue::Integer { value: None, .. }));
    }
}
