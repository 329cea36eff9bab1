//! The proxy's configuration as a test states it: the same names give `pgweir` its TOML and, while a
//! test is being written, PgBouncer its ini file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Options that PgBouncer does not have.
const OWN_OPTIONS: &[&str] =
    &["http_addr", "server_down_hold", "defer_begin", "answer_pings", "workers"];

#[derive(Clone)]
pub(crate) enum Value {
    Boolean(bool),
    List(Vec<String>),
    Number(u32),
    Real(f64),
    Text(String),
    Time(Duration),
}

impl From<bool> for Value {
    fn from(is_on: bool) -> Self {
        Self::Boolean(is_on)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<&[&str]> for Value {
    fn from(texts: &[&str]) -> Self {
        Self::List(texts.iter().map(|text| (*text).to_owned()).collect())
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(texts: [&str; N]) -> Self {
        Self::List(texts.map(str::to_owned).into())
    }
}

type Section = BTreeMap<String, Value>;

#[derive(Clone)]
pub(crate) struct Settings {
    proxy: Section,
    host: Section,
    overload: Section,
    classes: Vec<String>,
    databases: BTreeMap<String, Section>,
    users: BTreeMap<String, Section>,
}

/// Where a proxy listens and where its Postgres is.
pub(crate) struct Places<'a> {
    pub(crate) listen_port: u16,
    pub(crate) directory: &'a Path,
    pub(crate) postgres: SocketAddr,
}

impl Settings {
    /// Transaction pooling, five servers, no passwords asked for, two workers (`workers` may say otherwise).
    pub(crate) fn new() -> Self {
        let empty = Self {
            proxy: Section::new(),
            host: Section::new(),
            overload: Section::new(),
            classes: vec![],
            databases: BTreeMap::new(),
            users: BTreeMap::new(),
        };
        empty
            .set("pool_mode", "transaction")
            .set("auth_type", "trust")
            .set("default_pool_size", 5)
            .set("query_wait_timeout", Duration::from_secs(10))
            .set("server_login_retry", Duration::from_millis(200))
            .user("app", "app-secret")
            .user("other", "other-secret")
            .database("app", "dbname", "app")
            .database("second", "dbname", "second")
            .host("max_connections", 80)
    }

    pub(crate) fn pool_size(self, size: u32) -> Self {
        self.set("default_pool_size", size)
    }

    pub(crate) fn pool_mode(self, mode: &str) -> Self {
        self.set("pool_mode", mode)
    }

    /// An option of `[proxy]`.
    pub(crate) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.proxy.insert(name.to_owned(), value.into());
        self
    }

    /// An option of the Postgres host.
    pub(crate) fn host(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.host.insert(name.to_owned(), value.into());
        self
    }

    /// An option of `[overload]`.
    pub(crate) fn overload(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.overload.insert(name.to_owned(), value.into());
        self
    }

    /// A `[[classes]]` section, after those there are, with these lines of TOML.
    pub(crate) fn class(mut self, name: &str, lines: &str) -> Self {
        self.classes.push(format!("name = '{name}'\n{lines}\n"));
        self
    }

    pub(crate) fn database(mut self, database: &str, name: &str, value: impl Into<Value>) -> Self {
        let section = self.databases.entry(database.to_owned()).or_default();
        section.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn user(self, user: &str, password: &str) -> Self {
        self.user_set(user, "password", password)
    }

    pub(crate) fn user_set(mut self, user: &str, name: &str, value: impl Into<Value>) -> Self {
        let section = self.users.entry(user.to_owned()).or_default();
        section.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn toml(&self, places: &Places<'_>) -> String {
        let mut text = format!(
            "[proxy]\nlisten_port = {}\nunix_socket_dir = \"{}\"\n",
            places.listen_port,
            places.directory.display()
        );
        if !self.proxy.contains_key("workers") {
            text.push_str("workers = 2\n");
        }
        if !self.proxy.contains_key("listen_addr") {
            text.push_str("listen_addr = \"127.0.0.1\"\n");
        }
        if !self.proxy.contains_key("http_addr") {
            text.push_str("http_addr = \"\"\n");
        }
        write_toml(&mut text, &self.proxy);
        let (address, port) = (places.postgres.ip(), places.postgres.port());
        write!(text, "\n[hosts.main]\nhost = \"{address}\"\nport = {port}\n").expect("to a String");
        write_toml(&mut text, &self.host);
        for (name, section) in &self.databases {
            write!(text, "\n[databases.{name}]\nhost = \"main\"\n").expect("to a String");
            write_toml(&mut text, section);
        }
        for (name, section) in &self.users {
            write!(text, "\n[users.{name}]\n").expect("to a String");
            write_toml(&mut text, section);
        }
        for class in &self.classes {
            write!(text, "\n[[classes]]\n{class}").expect("to a String");
        }
        text.push_str("\n[overload]\n");
        write_toml(&mut text, &self.overload);
        text
    }

    /// PgBouncer's configuration and its list of users.
    pub(crate) fn ini(&self, places: &Places<'_>) -> (String, String) {
        let directory = places.directory.display();
        let mut text = "[databases]\n".to_owned();
        let (address, port) = (places.postgres.ip(), places.postgres.port());
        for (name, section) in &self.databases {
            let options = joined(section, &[]);
            writeln!(text, "{name} = host={address} port={port} {options}").expect("to a String");
        }
        text.push_str("[users]\n");
        let mut list = String::new();
        for (name, section) in &self.users {
            if let Some(Value::Text(password)) = section.get("password") {
                writeln!(list, "\"{name}\" \"{password}\"").expect("to a String");
            }
            let options = joined(section, &["password"]);
            if !options.is_empty() {
                writeln!(text, "{name} = {options}").expect("to a String");
            }
        }
        write!(
            text,
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir = {directory}\n\
             auth_file = {directory}/users.txt\n",
            places.listen_port
        )
        .expect("to a String");
        let known = self.proxy.iter().filter(|(name, _)| !OWN_OPTIONS.contains(&name.as_str()));
        for (name, value) in known {
            writeln!(text, "{name} = {}", plain(value)).expect("to a String");
        }
        (text, list)
    }
}

fn write_toml(text: &mut String, section: &Section) {
    for (name, value) in section {
        let value = match value {
            Value::Boolean(is_on) => is_on.to_string(),
            Value::List(texts) => format!("{texts:?}"),
            Value::Number(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) if text.contains('\'') => format!("'''{text}'''"),
            Value::Text(text) => format!("'{text}'"),
            Value::Time(time) => format!("\"{}ms\"", time.as_millis()),
        };
        writeln!(text, "{name} = {value}").expect("to a String");
    }
}

fn joined(section: &Section, except: &[&str]) -> String {
    let kept = section.iter().filter(|(name, _)| !except.contains(&name.as_str()));
    kept.map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Boolean(is_on) => u8::from(*is_on).to_string(),
        Value::List(texts) => texts.join(","),
        Value::Number(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Time(time) => time.as_secs_f64().to_string(),
    }
}
