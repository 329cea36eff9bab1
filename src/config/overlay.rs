//! What an operator has set on the console, beside the file: written over what the file says, before it
//! is read. So a value is checked as it would be in the file, and together with all others.

use super::classes::ClassLimits;
use super::file::{Document, Entry, Raw, RawTable, RawValue, read_value};
use super::options::{self, Kind, Opt, Section};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// Where something stands that no file says.
pub(super) const NO_LINE: usize = 0;

/// What was set. Empty: what the file says, and nothing else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overlay {
    options: BTreeMap<&'static str, String>,
    /// By the class' name, and the option's, with `per_address.` before those of that section.
    classes: BTreeMap<String, BTreeMap<String, ClassValue>>,
}

/// What an option of a class was set to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClassValue {
    /// Whatever the file says about it: nothing.
    Absent,
    Text(String),
}

/// One of those, as it travels to the next process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SetOption {
    class: Option<String>,
    name: String,
    /// `None`: no limit.
    value: Option<String>,
}

impl fmt::Display for SetOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, name, value } = self;
        let class = class.as_ref().map(|class| format!("CLASS {class} ")).unwrap_or_default();
        write!(f, "SET {class}{name} = {}", value.as_deref().unwrap_or("NONE"))
    }
}

/// The sections of a class that may be set. Who is in it may not: those who are in already would stay.
const OF_CLASS: [Section; 2] = [Section::Class, Section::ClassPerAddress];

/// Limits that were set for classes that no section of the file names, by the name that the console
/// shows: as tables, to be read.
pub(super) type Unnamed = BTreeMap<String, RawTable>;

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.classes.is_empty()
    }

    /// Sets an option of `[proxy]` or `[overload]`. `None`: as the file says. `false`: there is no such
    /// option.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> bool {
        let Some((_, option)) = find(name) else { return false };
        match value {
            Some(value) => self.options.insert(option.name, value.to_owned()),
            None => self.options.remove(option.name),
        };
        true
    }

    /// Sets an option of a class. `None`: as the file says. `false`: there is no such option.
    pub fn set_class(&mut self, class: &str, name: &str, value: Option<ClassValue>) -> bool {
        if find_of_class(name).is_none() {
            return false;
        }
        let options = self.classes.entry(class.to_owned()).or_default();
        match value {
            Some(value) => options.insert(name.to_owned(), value),
            None => options.remove(name),
        };
        self.classes.retain(|_, options| !options.is_empty());
        true
    }

    /// All of it.
    pub fn listed(&self) -> Vec<SetOption> {
        let option = |class: Option<&String>, name: &str, value: Option<&String>| SetOption {
            class: class.cloned(),
            name: name.to_owned(),
            value: value.cloned(),
        };
        let own = self.options.iter().map(|(name, value)| option(None, name, Some(value)));
        let of_classes = self.classes.iter().flat_map(|(class, options)| {
            options.iter().map(move |(name, value)| {
                let text = match value {
                    ClassValue::Absent => None,
                    ClassValue::Text(text) => Some(text),
                };
                option(Some(class), name, text)
            })
        });
        own.chain(of_classes).collect()
    }

    /// Sets what another process had set. `false`: there is no such option here.
    pub fn inherit(&mut self, set: &SetOption) -> bool {
        let SetOption { class, name, value } = set;
        match class {
            Some(class) => {
                let value = value.clone().map_or(ClassValue::Absent, ClassValue::Text);
                self.set_class(class, name, Some(value))
            }
            None => self.set(name, value.as_deref()),
        }
    }

    /// Writes it over what the file says.
    pub(super) fn apply(&self, document: &mut Document) -> Unnamed {
        for (name, text) in &self.options {
            let Some((section, option)) = find(name) else { continue };
            // Where the file has something else in its place, that is an error of its own.
            if let Some(table) = part_table(&mut document.root, section) {
                table.entries.insert(option.name.to_owned(), entry(option, text));
            }
        }
        let mut unnamed = Unnamed::new();
        for (name, options) in &self.classes {
            let table = match class_table(&mut document.root, name) {
                Some(table) => table,
                None => unnamed.entry(name.clone()).or_insert_with(nameless),
            };
            apply_to_class(table, options);
        }
        unnamed
    }
}

/// An option of the sections that hold for the whole process.
pub fn find(name: &str) -> Option<(Section, &'static Opt)> {
    Section::SHOWN.into_iter().find_map(|section| Some((section, options::find(section, name)?)))
}

/// An option of a class that may be set: its section, and the option.
fn find_of_class(name: &str) -> Option<(Section, &'static Opt)> {
    OF_CLASS.into_iter().find_map(|section| {
        let name = match section {
            Section::Class => name,
            part => name.strip_prefix(part.name())?.strip_prefix('.')?,
        };
        let option = options::find(section, name)?;
        (option.name != "name").then_some((section, option))
    })
}

fn apply_to_class(table: &mut RawTable, options: &BTreeMap<String, ClassValue>) {
    for (name, value) in options {
        let Some((section, option)) = find_of_class(name) else { continue };
        let table = match section {
            Section::Class => Some(&mut *table),
            part => part_table(table, part),
        };
        let Some(table) = table else { continue };
        match value {
            ClassValue::Absent => table.entries.remove(option.name),
            ClassValue::Text(text) => {
                table.entries.insert(option.name.to_owned(), entry(option, text))
            }
        };
    }
}

fn part_table(table: &mut RawTable, part: Section) -> Option<&mut RawTable> {
    let empty = || {
        let value = RawValue::Table(RawTable { line: NO_LINE, ..RawTable::default() });
        Entry { key_line: NO_LINE, raw: Raw { line: NO_LINE, value } }
    };
    let entry = table.entries.entry(part.name().to_owned()).or_insert_with(empty);
    match &mut entry.raw.value {
        RawValue::Table(table) => Some(table),
        _ => None,
    }
}

fn class_table<'a>(root: &'a mut RawTable, name: &str) -> Option<&'a mut RawTable> {
    let entry = root.entries.get_mut(Section::Class.name())?;
    let RawValue::List(items) = &mut entry.raw.value else { return None };
    let mut tables = items.iter_mut().filter_map(|item| match &mut item.value {
        RawValue::Table(table) => Some(table),
        _ => None,
    });
    tables.find(|table| {
        let written = table.entries.get("name").map(|entry| &entry.raw.value);
        matches!(written, Some(RawValue::Text(text)) if text.as_str() == name)
    })
}

/// A class of the file has a name, and those that no section names have one that no section may have.
fn nameless() -> RawTable {
    let raw = Raw { line: NO_LINE, value: RawValue::Text(Zeroizing::new("own".to_owned())) };
    let name = ("name".to_owned(), Entry { key_line: NO_LINE, raw });
    RawTable { line: NO_LINE, entries: [name].into() }
}

fn entry(option: &Opt, text: &str) -> Entry {
    Entry { key_line: NO_LINE, raw: Raw { line: NO_LINE, value: value_of(&option.kind, text) } }
}

/// A value as people type it, without the quotes that the file wants.
fn value_of(kind: &Kind, text: &str) -> RawValue {
    let as_text = || RawValue::Text(Zeroizing::new(text.to_owned()));
    match kind {
        Kind::Choice(_) | Kind::Secret | Kind::Text => as_text(),
        // `5s` is no TOML, and neither is a list with commas only.
        _ => read_value(text).map_or_else(as_text, |raw| raw.value),
    }
}

impl super::Config {
    /// What holds for a class that no section names, by the name that the console shows; `usual`, unless
    /// an operator has set something else.
    pub fn own_class<'a>(&'a self, name: &str, usual: &'a ClassLimits) -> &'a ClassLimits {
        self.own_classes.get(name).unwrap_or(usual)
    }
}
