//! What is written, as what is meant. Every problem is a finding; nothing stops at the first.

mod checks;
mod class_checks;
mod classes;
mod overload;
mod proxy;
mod quota_checks;
mod reserve_checks;
mod sections;

pub(super) use checks::may_be_about_lost_lines;

use super::Config;
use super::file::{Document, Raw, RawTable, RawValue};
use super::findings::{Findings, Problem};
use super::options::Section;
use super::overlay::Unnamed;
use super::suggest;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Where the files that the configuration names are, and how to read them.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) directory: &'a Path,
    pub(super) read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Resolves the whole file. With errors among the findings the answer is of no use.
pub(super) fn resolve(
    document: &Document,
    unnamed: &Unnamed,
    files: Files<'_>,
    findings: &mut Findings,
) -> Config {
    let empty = RawTable { line: 1, ..RawTable::default() };
    let mut found = find_sections(document, findings);
    let proxy_table = found.single.remove(&Section::Proxy).unwrap_or(&empty);
    let overload_table = found.single.remove(&Section::Overload).unwrap_or(&empty);
    let mut proxy = proxy::resolve(proxy_table, files, findings);
    let (overload, shown) = overload::resolve(overload_table, findings);
    proxy.timeouts.idle_transaction_pressure_timeout = overload.idle_transaction_pressure_timeout;
    proxy.shown.extend(shown);
    let named = [Section::Host, Section::Database, Section::User]
        .map(|section| found.named.remove(&section).unwrap_or_default());
    let mut config = sections::resolve(proxy, overload, named, findings);
    let placed = classes::resolve(&found.classes, findings);
    config.classes = placed.iter().map(|placed| placed.class.clone()).collect();
    config.own_classes = classes::resolve_unnamed(unnamed, findings);
    let tables = checks::Tables { proxy: proxy_table, overload: overload_table, document };
    checks::check(&config, &tables, findings);
    class_checks::check(&config, &placed, &tables, findings);
    config
}

/// The tables of the file, by what they are.
#[derive(Default)]
struct Found<'a> {
    single: BTreeMap<Section, &'a RawTable>,
    named: BTreeMap<Section, BTreeMap<&'a str, &'a RawTable>>,
    classes: Vec<&'a RawTable>,
}

fn find_sections<'a>(document: &'a Document, findings: &mut Findings) -> Found<'a> {
    let mut found = Found::default();
    for (name, entry) in &document.root.entries {
        let section = Section::top().find(|section| section.name() == name);
        match (section, &entry.raw.value) {
            (Some(section @ (Section::Proxy | Section::Overload)), RawValue::Table(table)) => {
                found.single.insert(section, table);
            }
            (Some(Section::Class), _) => found.classes = classes::tables(entry, findings),
            (Some(section), RawValue::Table(tables)) => {
                found.named.insert(section, named_sections(section, tables, findings));
            }
            (Some(section), other) => findings.error(entry.key_line, not_a_section(section, other)),
            (None, value) => {
                let is_table = match value {
                    RawValue::Table(_) => true,
                    // `[[name]]`
                    RawValue::List(items) => items.iter().any(is_table),
                    _ => false,
                };
                findings.error(entry.key_line, suggest::unknown_section(name, is_table));
            }
        }
    }
    found
}

fn is_table(raw: &Raw) -> bool {
    matches!(raw.value, RawValue::Table(_))
}

/// The `[section.NAME]` tables of one kind.
fn named_sections<'a>(
    section: Section,
    tables: &'a RawTable,
    findings: &mut Findings,
) -> BTreeMap<&'a str, &'a RawTable> {
    let mut found = BTreeMap::new();
    for (name, entry) in &tables.entries {
        match &entry.raw.value {
            _ if name.is_empty() => findings.error(
                entry.key_line,
                Problem::new(
                    "bad-name",
                    "the name is empty.",
                    format!("Write {}.", section.header()),
                ),
            ),
            RawValue::Table(table) => {
                found.insert(name.as_str(), table);
            }
            _ => findings.error(entry.key_line, not_a_named_section(section, name)),
        }
    }
    found
}

fn not_a_section(section: Section, found: &RawValue) -> Problem {
    Problem::new(
        "wrong-type",
        format!("`{}` is {}, not a section.", section.name(), found.type_name()),
        format!("Write the header {} and options under it.", section.header()),
    )
}

fn not_a_named_section(section: Section, name: &str) -> Problem {
    let kind = section.name();
    // `[databases]` with `app = "host=..."` is PgBouncer's form; `host = "x"` forgot the name.
    if super::options::find(section, name).is_some() {
        let message = format!("`{name}` stands under `[{kind}]`, which has no name.");
        return Problem::new(
            "wrong-type",
            message,
            format!("Write the header {}.", section.header()),
        );
    }
    Problem::new(
        "wrong-type",
        format!("`{name}` is not a section."),
        format!("Write the header `[{kind}.{}]` and one option per line under it.", key(name)),
    )
}

/// A name as TOML takes it in a header.
fn key(name: &str) -> Cow<'_, str> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(toml::Value::from(name).to_string())
}
