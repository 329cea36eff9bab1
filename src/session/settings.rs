//! The settings a client asked for, and the least that must be sent when a server changes hands.

use std::fmt::Write as _;
use std::sync::Arc;

/// Settings that Postgres reports and that nobody can set: they say what the server is.
const REPORTED_ONLY: [&str; 7] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "scram_iterations",
    "server_encoding",
    "server_version",
    "session_authorization",
];

/// The most settings one client may bring: Postgres has some 350, and each costs memory.
pub const SETTINGS_MAX: usize = 64;

/// Settings by name, sorted; names compare without case, as Postgres compares them.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Settings(Vec<(Box<str>, Box<str>)>);

impl Settings {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.place(name).ok().map(|place| &*self.0[place].1)
    }

    /// Sets `name`; a later value wins over an earlier one.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.place(name) {
            Ok(place) => self.0[place].1 = value.into(),
            Err(place) => self.0.insert(place, (name.into(), value.into())),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Box<str>> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        fn folded(text: &str) -> impl Iterator<Item = u8> {
            text.bytes().map(|byte| byte.to_ascii_lowercase())
        }
        self.0.binary_search_by(|(found, _)| folded(found).cmp(folded(name)))
    }

    /// The server reported that `name` is now `value`, in the middle of a client's session: the
    /// client has set it, or something it called has. `None`: nothing to remember.
    pub fn reported(&self, name: &str, value: &str) -> Option<Self> {
        if REPORTED_ONLY.contains(&name) || self.value(name) == Some(value) {
            return None;
        }
        let mut settings = self.clone();
        settings.set(name, value);
        Some(settings)
    }

    /// The statements that turn a server with `self` into one with `wanted`, or `None` when there
    /// is nothing to do. One simple query: all of it happens, or nothing.
    pub fn change_to(&self, wanted: &Self) -> Option<String> {
        let mut sql = String::new();
        for (name, _) in self.iter().filter(|(name, _)| wanted.value(name).is_none()) {
            let parts: Vec<_> = name.split('.').map(quoted_name).collect();
            write!(sql, "RESET {};", parts.join(".")).expect("a String takes everything");
        }
        let new = wanted.iter().filter(|(name, value)| self.value(name) != Some(value));
        // `set_config` takes the text as a startup packet does; `SET` would read the value of
        // `search_path` as one name.
        let calls: Vec<_> = new
            .map(|(name, value)| {
                let (name, value) = (quoted_text(name), quoted_text(value));
                format!("pg_catalog.set_config({name},{value},false)")
            })
            .collect();
        if !calls.is_empty() {
            write!(sql, "SELECT {}", calls.join(",")).expect("a String takes everything");
        }
        (!sql.is_empty()).then_some(sql)
    }
}

/// What a server has, or a client wants: shared, and mostly the same one.
#[inline]
pub fn same(a: &Arc<Settings>, b: &Arc<Settings>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// A name as it is written in SQL, whatever is in it.
pub fn quoted_name(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// A literal of ASCII alone: the text goes out in the client encoding that the last client has set,
/// and must be read as what it is in any. With a backslash in it, it begins with an `E`: right
/// whatever `standard_conforming_strings` says.
fn quoted_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    let mut is_escaped = false;
    for char in text.chars() {
        match char {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            char if char.is_ascii() => quoted.push(char),
            char => {
                write!(quoted, "\\U{:08x}", u32::from(char)).expect("a String takes everything");
            }
        }
        is_escaped |= char == '\\' || !char.is_ascii();
    }
    format!("{}'{quoted}'", if is_escaped { " E" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use proptest::prelude::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        settings
    }

    #[test]
    fn only_what_differs_is_sent() {
        let server = settings(&[("TimeZone", "UTC"), ("work_mem", "4MB"), ("a.b", "1")]);
        let client = settings(&[("timezone", "UTC"), ("work_mem", "8MB"), ("search_path", "a, b")]);
        assert_eq!(
            server.change_to(&client).unwrap(),
            r#"RESET "a"."b";SELECT pg_catalog.set_config('search_path','a, b',false),pg_catalog.set_config('work_mem','8MB',false)"#
        );
        assert_eq!(server.change_to(&server), None);
    }

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        let client = settings(&[("application_name", r"o'x\'); DROP TABLE t; --")]);
        let sql = Settings::default().change_to(&client).unwrap();
        assert_eq!(
            sql,
            r"SELECT pg_catalog.set_config('application_name', E'o''x\\''); DROP TABLE t; --',false)"
        );
    }

    /// The last client may have set any encoding.
    #[test]
    fn what_is_sent_is_ascii_whatever_the_value() {
        let client = settings(&[("search_path", "école, 🐘")]);
        let sql = Settings::default().change_to(&client).unwrap();
        assert_eq!(
            sql,
            r"SELECT pg_catalog.set_config('search_path', E'\U000000e9cole, \U0001f418',false)"
        );
    }

    #[test]
    fn what_only_describes_the_server_is_not_remembered() {
        let settings = settings(&[("TimeZone", "UTC")]);
        assert_eq!(settings.reported("is_superuser", "off"), None);
        assert_eq!(settings.reported("TimeZone", "UTC"), None);
        let changed = settings.reported("TimeZone", "Asia/Tokyo").unwrap();
        assert_eq!(changed.value("timezone"), Some("Asia/Tokyo"));
    }

    proptest! {
        /// Applying the change, read as a list of sets and resets, gives what was wanted.
        #[test]
        fn names_are_unique_whatever_their_case(pairs: Vec<(String, String)>) {
            let mut settings = Settings::default();
            for (name, value) in &pairs {
                settings.set(name, value);
                settings.set(&name.to_ascii_uppercase(), value);
                prop_assert_eq!(settings.value(name), Some(value.as_str()));
            }
            let mut names: Vec<_> = settings.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            let len = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), len);
        }
    }
}
