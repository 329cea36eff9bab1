//! The settings a client asked for, and the least that must be sent when a server changes hands.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
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

/// Those that say who somebody is: reset before all others, and set behind them, because others may need
/// rights that these take away.
const IDENTITY: [&str; 2] = ["session_authorization", "role"];

/// Settings by name, sorted; names compare without case, as Postgres compares them.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Settings(Vec<(Box<str>, Value)>);

/// What a setting is set to. Alphabetical.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Value {
    /// The text that Postgres shows, and that a startup packet has.
    Given(Box<str>),
    /// What a server shows, whether that was set or is what it has by itself: after a rollback it may be
    /// either. Equal to nothing that a client wants, so it will be set.
    Shown(Box<str>),
    /// As it was written in a `SET`, quotes and all.
    Written(Box<str>),
}

impl Settings {
    /// Names and values. Those as written in a `SET` come with their quotes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.text()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.place(name).ok().map(|place| self.0[place].1.text())
    }

    /// Whether texts are UTF-8 under these, for sure.
    pub fn are_utf8(&self) -> bool {
        let encoding = self.value("client_encoding").unwrap_or_default();
        ["utf8", "utf-8", "unicode"].iter().any(|it| it.eq_ignore_ascii_case(encoding))
    }

    /// Sets `name`; a later value wins over an earlier one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.put(name, Value::Given(value.into()));
    }

    /// Sets `name` to what was written in a `SET`.
    pub fn write(&mut self, name: &str, value: &str) {
        self.put(name, Value::Written(value.into()));
    }

    fn put(&mut self, name: &str, value: Value) {
        match self.place(name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name.into(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Box<str>> {
        let place = self.place(name).ok()?;
        let (Value::Given(text) | Value::Shown(text) | Value::Written(text)) =
            self.0.remove(place).1;
        Some(text)
    }

    /// Sets `name` to what it is in `other`, if it is there.
    pub fn take_from(&mut self, other: &Self, name: &str) {
        match other.place(name) {
            Ok(place) => self.put(name, other.0[place].1.clone()),
            Err(_) => drop(self.remove(name)),
        }
    }

    /// Takes in what only `other` has.
    pub fn fill_from(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            if self.place(name).is_err() {
                self.put(name, value.clone());
            }
        }
    }

    /// What `RESET ALL` leaves.
    pub fn reset_all(&mut self) {
        self.0.retain(|(name, _)| is_identity(name));
    }

    /// A `RESET` went past what there was below these settings, and that is missing now.
    pub fn lacks(&mut self, name: &str) {
        self.put(name, Value::Shown(Box::default()));
    }

    /// The same of `RESET ALL`.
    pub fn lacks_all(&mut self, base: &Self) {
        for (name, _) in base.0.iter().filter(|(name, _)| !is_identity(name)) {
            self.lacks(name);
        }
    }

    /// Leaves out who somebody is.
    pub fn drop_identity(&mut self) {
        self.0.retain(|(name, _)| !is_identity(name));
    }

    /// A server that has `base` below what clients set shows `self`: what of it clients have set, and what
    /// is missing below.
    pub fn split_from(self, base: &Self) -> (Self, Self) {
        let is_own = |name: &str, value: &Value| base.value(name) != Some(value.text());
        let missing = base.iter().filter(|(name, _)| self.value(name).is_none());
        let missing: Vec<_> = missing.map(|(name, _)| name.to_owned()).collect();
        let own = Self(self.0.into_iter().filter(|(name, value)| is_own(name, value)).collect());
        let mut applied = own.clone();
        for name in missing {
            applied.lacks(&name);
        }
        (own, applied)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        fn folded(text: &str) -> impl Iterator<Item = u8> {
            text.bytes().map(|byte| byte.to_ascii_lowercase())
        }
        self.0.binary_search_by(|(found, _)| folded(found).cmp(folded(name)))
    }

    fn found(&self, name: &str) -> Option<&Value> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// As names and values that another process can read. The name of a value that is as written in a
    /// `SET` has an `=` behind it, which no name has; of one that is shown, a `?`.
    pub fn listed(&self) -> Vec<(String, String)> {
        let listed = self.0.iter().map(|(name, value)| match value {
            Value::Given(value) => (name.to_string(), value.to_string()),
            Value::Shown(value) => (format!("{name}?"), value.to_string()),
            Value::Written(value) => (format!("{name}="), value.to_string()),
        });
        listed.collect()
    }

    /// Reads what [`Settings::listed`] has written.
    pub fn from_listed(listed: &[(String, String)]) -> Self {
        let mut settings = Self::default();
        for (name, value) in listed {
            if let Some(name) = name.strip_suffix('=') {
                settings.write(name, value);
            } else if let Some(name) = name.strip_suffix('?') {
                settings.put(name, Value::Shown(value.as_str().into()));
            } else {
                settings.set(name, value);
            }
        }
        settings
    }

    /// The same of what the server has: nobody knows whether that was set.
    pub fn shown(&self, name: &str, value: &str) -> Option<Self> {
        let mut settings = self.reported(name, value)?;
        settings.put(name, Value::Shown(value.into()));
        Some(settings)
    }

    /// The server reported that `name` is now `value`, in the middle of a client's session: the
    /// client has set it, or something it called has. `None`: nothing to remember.
    pub fn reported(&self, name: &str, value: &str) -> Option<Self> {
        let is_known = matches!(self.found(name), Some(Value::Given(known)) if **known == *value);
        if REPORTED_ONLY.contains(&name) || is_known {
            return None;
        }
        let mut settings = self.clone();
        settings.set(name, value);
        Some(settings)
    }

    /// Tells settings apart from others, but for those of which `leaves_out` says so.
    pub fn hash_others(&self, leaves_out: impl Fn(&str) -> bool, state: &mut impl Hasher) {
        for (name, value) in self.0.iter().filter(|(name, _)| !leaves_out(name)) {
            name.to_ascii_lowercase().hash(state);
            value.hash(state);
        }
    }

    /// The statements that turn a server with `self` into one with `wanted`, or `None` when there
    /// is nothing to do. One simple query: all of it happens, or nothing. `base`: what the server has below
    /// what clients set, and must have again where they want nothing else.
    pub fn change_to(&self, wanted: &Self, base: &Self) -> Option<String> {
        let mut change = Change::default();
        let differs = |name: &str| self.found(name) != wanted.found(name);
        // Another user has no role so far.
        let is_other = |name: &str| differs(name) || differs(IDENTITY[0]);
        let is_set = |name: &str| self.found(name).or_else(|| base.found(name)).is_some();
        for name in IDENTITY.iter().filter(|name| is_set(name) && is_other(name)) {
            change.reset(name);
        }
        let gone = self.0.iter().filter(|(name, _)| wanted.found(name).is_none());
        let gone = gone.filter(|(name, _)| !is_identity(name));
        let (back, gone): (Vec<_>, Vec<_>) = gone.partition(|(name, _)| base.found(name).is_some());
        for (name, _) in gone {
            change.reset(name);
        }
        for (name, _) in back {
            base.found(name).iter().for_each(|value| change.set(name, value));
        }
        let new = wanted.0.iter().filter(|(name, _)| differs(name));
        for (name, value) in new.filter(|(name, _)| !is_identity(name)) {
            change.set(name, value);
        }
        for name in IDENTITY.iter().filter(|name| is_other(name)) {
            if let Some(value) = wanted.found(name).or_else(|| base.found(name)) {
                change.set(name, value);
            }
        }
        change.finish()
    }
}

impl Value {
    fn text(&self) -> &str {
        let (Self::Given(text) | Self::Shown(text) | Self::Written(text)) = self;
        text
    }
}

fn is_identity(name: &str) -> bool {
    IDENTITY.iter().any(|identity| identity.eq_ignore_ascii_case(name))
}

/// Statements that change settings.
#[derive(Default)]
struct Change {
    sql: String,
    /// Calls that follow, in one `SELECT`.
    calls: Vec<String>,
}

impl Change {
    fn reset(&mut self, name: &str) {
        write!(self.sql, "RESET {};", quoted_setting(name)).expect("a String takes everything");
    }

    fn set(&mut self, name: &str, value: &Value) {
        match value {
            // `set_config` takes the text as a startup packet does; `SET` would read the value of
            // `search_path` as one name.
            Value::Given(value) | Value::Shown(value) => {
                let (name, value) = (quoted_text(name), quoted_text(value));
                self.calls.push(format!("pg_catalog.set_config({name},{value},false)"));
            }
            Value::Written(value) => {
                self.call();
                let name = quoted_setting(name);
                write!(self.sql, "SET {name} TO {value};").expect("a String takes everything");
            }
        }
    }

    fn call(&mut self) {
        if !self.calls.is_empty() {
            let calls = std::mem::take(&mut self.calls).join(",");
            write!(self.sql, "SELECT {calls};").expect("a String takes everything");
        }
    }

    fn finish(mut self) -> Option<String> {
        self.call();
        (!self.sql.is_empty()).then(|| self.sql.trim_end_matches(';').to_owned())
    }
}

fn quoted_setting(name: &str) -> String {
    let parts: Vec<_> = name.split('.').map(quoted_name).collect();
    parts.join(".")
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
pub(super) fn quoted_text(text: &str) -> String {
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

    fn none() -> Settings {
        Settings::default()
    }

    #[test]
    fn what_is_undone_is_as_it_was_below() {
        let base = settings(&[("role", "red"), ("search_path", "a, b"), ("app.x", "1")]);
        let mut server = settings(&[("search_path", "c"), ("work_mem", "8MB")]);
        assert_eq!(
            server.change_to(&none(), &base).unwrap(),
            r#"RESET "work_mem";SELECT pg_catalog.set_config('search_path','a, b',false)"#
        );
        // What others set may need rights that the role below takes away.
        server.write("role", "green");
        assert_eq!(
            server
                .change_to(&settings(&[("search_path", "c"), ("work_mem", "9MB")]), &base)
                .unwrap(),
            "RESET \"role\";SELECT pg_catalog.set_config('work_mem','9MB',false),\
             pg_catalog.set_config('role','red',false)"
        );
        let mut other = none();
        other.write("session_authorization", "bob");
        assert_eq!(
            none().change_to(&other, &settings(&[("role", "red")])).unwrap(),
            "RESET \"role\";SET \"session_authorization\" TO bob;\
             SELECT pg_catalog.set_config('role','red',false)"
        );
        assert_eq!(none().change_to(&none(), &base), None);
    }

    #[test]
    fn what_a_server_shows_is_its_clients_or_what_was_below() {
        let base = settings(&[("search_path", "a"), ("work_mem", "4096"), ("app.x", "1")]);
        let shown = settings(&[("search_path", "a"), ("work_mem", "8192"), ("TimeZone", "UTC")]);
        let (own, applied) = shown.split_from(&base);
        assert_eq!(own, settings(&[("TimeZone", "UTC"), ("work_mem", "8192")]));
        assert_eq!(
            applied.change_to(&own, &base).unwrap(),
            "SELECT pg_catalog.set_config('app.x','1',false)"
        );
    }

    #[test]
    fn only_what_differs_is_sent() {
        let server = settings(&[("TimeZone", "UTC"), ("work_mem", "4MB"), ("a.b", "1")]);
        let client = settings(&[("timezone", "UTC"), ("work_mem", "8MB"), ("search_path", "a, b")]);
        assert_eq!(
            server.change_to(&client, &none()).unwrap(),
            r#"RESET "a"."b";SELECT pg_catalog.set_config('search_path','a, b',false),pg_catalog.set_config('work_mem','8MB',false)"#
        );
        assert_eq!(server.change_to(&server, &none()), None);
    }

    #[test]
    fn a_value_cannot_break_out_of_its_quotes() {
        let client = settings(&[("application_name", r"o'x\'); DROP TABLE t; --")]);
        let sql = none().change_to(&client, &none()).unwrap();
        assert_eq!(
            sql,
            r"SELECT pg_catalog.set_config('application_name', E'o''x\\''); DROP TABLE t; --',false)"
        );
    }

    /// The last client may have set any encoding.
    #[test]
    fn what_is_sent_is_ascii_whatever_the_value() {
        let client = settings(&[("search_path", "école, 🐘")]);
        let sql = none().change_to(&client, &none()).unwrap();
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

    #[test]
    fn what_was_written_is_written_again_and_who_somebody_is_comes_last() {
        let mut server = Settings::default();
        server.write("role", "bob");
        server.write("app.x", "1");
        let mut client = Settings::default();
        client.write("role", "alice");
        client.write("work_mem", "'1MB'");
        client.set("search_path", "a, b");
        assert_eq!(
            server.change_to(&client, &none()).unwrap(),
            "RESET \"role\";RESET \"app\".\"x\";SELECT pg_catalog.set_config('search_path','a, b',\
             false);SET \"work_mem\" TO '1MB';SET \"role\" TO alice"
        );
        let again = Settings::from_listed(&client.listed());
        assert_eq!(again, client);
        client.reset_all();
        assert_eq!(client.iter().collect::<Vec<_>>(), [("role", "alice")]);
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
