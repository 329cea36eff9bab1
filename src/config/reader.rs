//! One section, read option by option. What is not written has the default of the options table.

use super::file::{Raw, RawTable, RawValue, read_value};
use super::findings::{Findings, Problem};
use super::options::{self, Default, Opt, Section};
use super::overlay::NO_LINE;
use super::suggest;
use super::value::{self, Value};
use super::{Origin, Shown};
use crate::base::secret::Secret;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reads a section. Each problem is a finding, and the default stands in for the value.
pub(super) struct Reader<'a> {
    section: Section,
    table: &'a RawTable,
    pub(super) findings: &'a mut Findings,
    /// What was read, as the console shows it.
    pub(super) shown: BTreeMap<&'static str, Shown>,
    #[cfg(test)]
    asked: std::collections::BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(section: Section, table: &'a RawTable, findings: &'a mut Findings) -> Self {
        for (name, entry) in &table.entries {
            let is_part = section.parts().any(|part| part.name() == name);
            if options::find(section, name).is_none() && !is_part {
                findings.error(entry.key_line, suggest::unknown_key(section, name));
            }
        }
        Self {
            section,
            table,
            findings,
            shown: BTreeMap::new(),
            #[cfg(test)]
            asked: std::collections::BTreeSet::new(),
        }
    }

    /// The line of an option, or of the section's header when it is not written.
    pub(super) fn line(&self, name: &str) -> usize {
        line_of(self.table, name)
    }

    fn origin(&self, name: &str) -> Origin {
        match self.table.entries.get(name) {
            None => Origin::Default,
            Some(entry) if entry.key_line == NO_LINE => Origin::Set,
            Some(_) => Origin::File,
        }
    }

    pub(super) fn is_written(&self, name: &str) -> bool {
        self.table.entries.contains_key(name)
    }

    /// A section within this one. `None`: not written, or an error.
    pub(super) fn part(&mut self, part: Section) -> Option<&'a RawTable> {
        let name = part.name();
        let entry = self.table.entries.get(name)?;
        if let RawValue::Table(table) = &entry.raw.value {
            return Some(table);
        }
        let message = format!("`{name}` is {}, not a section.", entry.raw.value.type_name());
        let action = format!("Write `{name} = {{ ... }}`, or the header {}.", part.header());
        self.findings.error(entry.raw.line, Problem::new("wrong-type", message, action));
        None
    }

    pub(super) fn error(&mut self, name: &str, problem: Problem) {
        self.findings.error(self.line(name), problem);
    }

    pub(super) fn boolean(&mut self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Boolean(true)))
    }

    pub(super) fn choice(&mut self, name: &str) -> &'static str {
        match self.value(name) {
            Some(Value::Choice(word)) => word,
            _ => "",
        }
    }

    /// A number, a size or a file mode.
    pub(super) fn count(&mut self, name: &str) -> u32 {
        match self.value(name) {
            Some(Value::Count(count)) => count,
            _ => 0,
        }
    }

    /// `None`: `"auto"`.
    pub(super) fn auto_or_count(&mut self, name: &str) -> Option<u32> {
        match self.value(name) {
            Some(Value::Count(count)) => Some(count),
            _ => None,
        }
    }

    pub(super) fn duration(&mut self, name: &str) -> Duration {
        match self.value(name) {
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    /// `None`: zero, where that means "off".
    pub(super) fn timeout(&mut self, name: &str) -> Option<Duration> {
        off_if_zero(self.duration(name))
    }

    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        self.own_list(name).unwrap_or_default()
    }

    /// `None`: zero, where that means "no limit".
    pub(super) fn number(&mut self, name: &str) -> Option<f64> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(number).filter(|number| *number > 0.0),
            _ => None,
        }
    }

    pub(super) fn word_or_duration(&mut self, name: &str) -> Result<Duration, &'static str> {
        match self.value(name) {
            Some(Value::Duration(duration)) => Ok(duration),
            Some(Value::Choice(word)) => Err(word),
            _ => Err(""),
        }
    }

    /// `None`: empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// `None`: empty.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        match self.value(name) {
            Some(Value::Secret(text)) if !text.is_empty() => {
                Some(Secret::new(text.as_str().to_owned()))
            }
            _ => None,
        }
    }

    // The same for options that have no default, or another section's: `None` when not written.

    /// Also `None` when it is wrong and has no default.
    pub(super) fn own_list(&mut self, name: &str) -> Option<Vec<String>> {
        match self.value(name) {
            Some(Value::List(list)) => Some(list),
            _ => None,
        }
    }

    pub(super) fn own_choice(&mut self, name: &str) -> Option<&'static str> {
        let asked = self.choice(name);
        self.is_written(name).then_some(asked)
    }

    pub(super) fn own_boolean(&mut self, name: &str) -> Option<bool> {
        let asked = self.boolean(name);
        self.is_written(name).then_some(asked)
    }

    pub(super) fn own_count(&mut self, name: &str) -> Option<u32> {
        let asked = self.count(name);
        self.is_written(name).then_some(asked)
    }

    pub(super) fn own_duration(&mut self, name: &str) -> Option<Duration> {
        let asked = self.duration(name);
        self.is_written(name).then_some(asked)
    }

    #[expect(clippy::option_option, reason = "not written, and written as off, are different")]
    pub(super) fn own_timeout(&mut self, name: &str) -> Option<Option<Duration>> {
        self.own_duration(name).map(off_if_zero)
    }

    /// `None` only for an option without a default that is not written, or wrong.
    fn value(&mut self, name: &str) -> Option<Value> {
        let option = options::find(self.section, name).expect("only options of the table are read");
        let value = self.checked_value(option)?;
        let (text, origin) = (value::shown(&option.kind, &value), self.origin(option.name));
        let shown = Shown { value: text, origin, pending: None };
        self.shown.insert(option.name, shown);
        Some(value)
    }

    fn checked_value(&mut self, option: &'static Opt) -> Option<Value> {
        let name = option.name;
        #[cfg(test)]
        self.asked.insert(option.name);
        if let Some(entry) = self.table.entries.get(name) {
            match read(option, &entry.raw) {
                Ok(value) => return Some(value),
                Err(problem) => {
                    let message = format!("`{name}` {}", problem.message);
                    let mut action = problem.action;
                    if let Default::Absent { means, .. } = option.default
                        && problem.code == "out-of-range"
                    {
                        action = format!("{action} Leave it out for {means}.");
                    }
                    self.findings.error(entry.raw.line, Problem { message, action, ..problem });
                }
            }
        }
        default_of(option)
    }
}

/// Every option of the section was asked for: none is in the table and nowhere else.
#[cfg(test)]
impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let missed: Vec<_> = options::of(self.section)
            .filter(|option| !self.asked.contains(option.name))
            .map(|option| option.name)
            .collect();
        assert!(missed.is_empty(), "{} does not read {missed:?}", self.section.header());
    }
}

pub(super) fn line_of(table: &RawTable, name: &str) -> usize {
    table.entries.get(name).map_or(table.line, |entry| entry.raw.line)
}

pub(super) fn off_if_zero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

/// The default of an option as the console shows it.
pub(super) fn shown_default(option: &Opt) -> Option<String> {
    default_of(option).map(|value| value::shown(&option.kind, &value))
}

fn default_of(option: &Opt) -> Option<Value> {
    let raw = read_value(option.default_text()?).expect("defaults are TOML: a test reads them all");
    Some(value::read(&option.kind, &raw).expect("defaults are valid: a test reads them all"))
}

fn read(option: &Opt, raw: &Raw) -> Result<Value, Problem> {
    let is_zero = matches!(raw.value, RawValue::Integer { value: Some(0), .. });
    if is_zero && matches!(option.name, "default_pool_size" | "pool_size") {
        return Err(Problem::new(
            "pool-size-zero",
            "is 0. PgBouncer takes that for \"no limit\", and one burst of clients then uses up \
             Postgres' connections for everybody.",
            "Write a limit that Postgres can carry, such as 20.",
        ));
    }
    value::read(&option.kind, raw)
}

#[cfg(test)]
mod tests {
    use super::{default_of, options};
    use crate::config::options::{Default, Section};

    #[test]
    fn every_default_is_valid() {
        for section in Section::ALL {
            for option in options::of(section) {
                let has_none =
                    matches!(option.default, Default::Absent { .. } | Default::Required(_));
                assert_eq!(default_of(option).is_none(), has_none, "{}", option.name);
            }
        }
    }
}
