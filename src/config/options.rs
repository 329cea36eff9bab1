//! Every option, as data. Reading the file, the default file, the reference and the suggestions
//! for misspelt names all come from this table.

mod classes;
mod clients;
mod listen;
mod overload;
mod pools;
mod section;
mod sections;
mod servers;

pub use section::Section;

use super::units::Plain;
use std::time::Duration;

/// What may be written.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `"auto"` or a whole number.
    AutoOrCount {
        least: u32,
        most: u32,
    },
    /// `true` or `false`; also 1 or 0, as in PgBouncer.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Count {
        least: u32,
        most: u32,
    },
    /// `"5s"`, or a plain number of what `plain` says.
    Duration {
        plain: Plain,
        least: Duration,
        most: Duration,
    },
    /// A list of texts, or one text with commas as in PgBouncer.
    List,
    /// File permissions, in octal.
    Mode,
    /// A number that may have a fraction.
    Number {
        least: f64,
        most: f64,
    },
    /// A text that is never shown.
    Secret,
    /// `"64kB"`, or a plain number of bytes.
    Size {
        least: u32,
        most: u32,
    },
    Text,
    /// One of these words, or a duration; a plain number is seconds.
    WordOrDuration {
        words: &'static [&'static str],
        least: Duration,
        most: Duration,
    },
}

/// Where an option's default comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Default {
    /// This value, as written in the file.
    Value(&'static str),
    /// There is none, and what that means. The other text is an example.
    Absent { example: &'static str, means: &'static str },
    /// The option of this name in another section.
    Of(Section, &'static str),
    /// There is none: the option must be written. The text is an example.
    Required(&'static str),
}

/// When a changed value is taken up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    Live,
    Restart,
}

/// What PgBouncer has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PgBouncer {
    /// The same name and meaning.
    Same,
    /// The same, with another default; the text is PgBouncer's.
    OtherDefault(&'static str),
    /// The same meaning under this name.
    Named(&'static str),
    /// Nothing.
    Nothing,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
    pub change: Change,
    pub pgbouncer: PgBouncer,
    /// What it does, in sentences.
    pub doc: &'static str,
}

/// Options that are documented together.
#[derive(Debug)]
pub struct Group {
    pub section: Section,
    pub title: &'static str,
    pub options: &'static [Opt],
}

/// Every option, in the order of the documentation.
pub const GROUPS: &[Group] = &[
    Group { section: Section::Proxy, title: "Where clients connect", options: listen::LISTEN },
    Group { section: Section::Proxy, title: "The process and its log", options: listen::PROCESS },
    Group { section: Section::Proxy, title: "Who may log in", options: clients::AUTH },
    Group { section: Section::Proxy, title: "How many clients", options: clients::LIMITS },
    Group { section: Section::Proxy, title: "How long clients may take", options: clients::TIMES },
    Group { section: Section::Proxy, title: "Pools", options: pools::POOLS },
    Group { section: Section::Proxy, title: "Servers", options: servers::SERVERS },
    Group { section: Section::Proxy, title: "TCP", options: servers::TCP },
    Group { section: Section::Host, title: "Hosts", options: sections::HOST },
    Group { section: Section::Database, title: "Databases", options: sections::DATABASE },
    Group { section: Section::User, title: "Users", options: sections::USER },
    Group { section: Section::Class, title: "Classes", options: classes::CLASS },
    Group { section: Section::ClassMatch, title: "Who is in it", options: classes::MATCH },
    Group {
        section: Section::ClassPerAddress,
        title: "What each address may have",
        options: classes::PER_ADDRESS,
    },
    Group { section: Section::Overload, title: "Overload", options: overload::OVERLOAD },
];

/// The options of a section, in the order of the documentation.
pub fn of(section: Section) -> impl Iterator<Item = &'static Opt> {
    GROUPS.iter().filter(move |group| group.section == section).flat_map(|group| group.options)
}

pub fn find(section: Section, name: &str) -> Option<&'static Opt> {
    of(section).find(|option| option.name == name)
}

impl Opt {
    /// The default as it is written in the file, wherever it comes from. `None`: there is none.
    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            Default::Value(text) => Some(text),
            Default::Of(section, name) => find(section, name).and_then(Self::default_text),
            Default::Absent { .. } | Default::Required(_) => None,
        }
    }
}

/// An option that PgBouncer has too, and that a reload takes up. The methods below say otherwise.
const fn option(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Opt {
    Opt {
        name,
        kind,
        default: Default::Value(default),
        change: Change::Live,
        pgbouncer: PgBouncer::Same,
        doc,
    }
}

impl Opt {
    const fn restart(mut self) -> Self {
        self.change = Change::Restart;
        self
    }

    const fn ours(mut self) -> Self {
        self.pgbouncer = PgBouncer::Nothing;
        self
    }

    const fn not_as_in_pgbouncer(mut self, default: &'static str) -> Self {
        self.pgbouncer = PgBouncer::OtherDefault(default);
        self
    }

    const fn pgbouncer_says(mut self, name: &'static str) -> Self {
        self.pgbouncer = PgBouncer::Named(name);
        self
    }

    const fn as_in_proxy(self, name: &'static str) -> Self {
        self.as_in(Section::Proxy, name)
    }

    const fn as_in(mut self, section: Section, name: &'static str) -> Self {
        self.default = Default::Of(section, name);
        self
    }

    const fn absent(mut self, example: &'static str, means: &'static str) -> Self {
        self.default = Default::Absent { example, means };
        self
    }

    const fn required(mut self, example: &'static str) -> Self {
        self.default = Default::Required(example);
        self
    }
}

/// Long enough for anything, short enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_hours(24 * 3_650);
/// Seconds, as most of PgBouncer's settings; 0 has the meaning that the option's text says.
const SECONDS: Kind = seconds(Duration::ZERO, LONGEST);
/// A number where 0 is "no limit".
const COUNT: Kind = count(0, i32::MAX.cast_unsigned());
const TEXT: Kind = Kind::Text;
/// What a pool may hold. A server is a process in Postgres: more is a typing mistake.
const POOL: Kind = count(1, 100_000);
const EXTRA: Kind = count(0, 100_000);
/// What one who shares a server may take.
const MULTIPLEX_TIME: Kind = Kind::Duration {
    plain: Plain::Milliseconds,
    least: Duration::from_micros(100),
    most: Duration::from_secs(10),
};

const fn count(least: u32, most: u32) -> Kind {
    Kind::Count { least, most }
}

const fn seconds(least: Duration, most: Duration) -> Kind {
    Kind::Duration { plain: Plain::Seconds, least, most }
}

#[cfg(test)]
mod tests {
    use super::{Default, GROUPS, Section, find, of};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_in_their_section_and_documented() {
        for section in Section::ALL {
            let names: Vec<_> = of(section).map(|option| option.name).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{section:?}");
        }
        for option in GROUPS.iter().flat_map(|group| group.options) {
            assert!(option.doc.ends_with('.'), "{}", option.name);
            assert!(!option.doc.contains('\n') && !option.doc.contains("  "), "{}", option.name);
        }
    }

    #[test]
    fn what_a_section_takes_from_another_is_there() {
        for option in GROUPS.iter().flat_map(|group| group.options) {
            if let Default::Of(section, name) = option.default {
                assert!(find(section, name).is_some(), "{name}");
                assert!(option.default_text().is_some(), "{name}");
            }
        }
    }
}
