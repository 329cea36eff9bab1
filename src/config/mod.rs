//! The configuration: a value, resolved and immutable, shared as an `Arc`.
//!
//! `file` is what was written, `resolve` turns it into what is meant: after it there is no default
//! to look up, no unit to parse and nothing that can be wrong. [`options`] is the table that both
//! follow, and that the default file and the reference are made from.

pub mod classes;
mod compare;
mod file;
mod findings;
mod load;
mod lockout;
mod multiplex;
pub mod options;
pub mod overlay;
pub mod overload;
mod overrides;
mod reader;
pub mod reference;
pub mod report;
mod resolve;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
pub mod units;
mod users_file;
mod value;

pub use load::{Loaded, load, parse};
pub use multiplex::Multiplex;
pub use overrides::PoolOverrides;
pub use source::Source;

use crate::base::secret::Secret;
use classes::{Class, ClassChoice, ClassLimits};
use overload::Overload;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The names under which clients find the console; no section may have them.
pub const CONSOLE_DATABASES: [&str; 2] = ["pgweir", "pgbouncer"];

/// When a server goes back to its pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolMode {
    Session,
    Statement,
    Transaction,
}

/// What becomes of a `LISTEN` while clients share servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listening {
    /// The client keeps its server.
    Pin,
    /// One connection listens for all clients of a pool.
    Shared,
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthType {
    Md5,
    Plain,
    ScramSha256,
    Trust,
}

/// Where a Postgres instance listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostAddress {
    /// A name or an address, and a port.
    Tcp { host: String, port: u16 },
    /// The path of the socket itself: `/dir/.s.PGSQL.5432`.
    Unix(PathBuf),
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Everything, resolved. Durations of zero that mean "off" are `None` here.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub process: Process,
    pub clients: ClientLimits,
    pub auth: Auth,
    pub sockets: Sockets,
    /// By the name in `[hosts.NAME]`.
    pub hosts: BTreeMap<String, Arc<Host>>,
    /// By the name in the client's DSN; `*` for any other.
    pub databases: BTreeMap<String, Arc<Database>>,
    pub users: BTreeMap<String, Arc<User>>,
    /// What holds for a user that no section names.
    pub pool_defaults: PoolSettings,
    pub timeouts: ClientTimeouts,
    pub shortcuts: Shortcuts,
    pub sessions: Sessions,
    /// In the file's order: the first whose rule holds is a client's.
    pub classes: Vec<Arc<Class>>,
    /// What holds for who is in none of them.
    pub default_class: ClassLimits,
    /// What an operator has given to such a class on the console, by the name that it shows.
    pub own_classes: BTreeMap<String, ClassLimits>,
    pub overload: Overload,
    /// The options of `[proxy]` and `[overload]` by name, as `SHOW CONFIG` has them.
    pub shown: BTreeMap<&'static str, Shown>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    pub addresses: Vec<SocketAddr>,
    pub port: u16,
    /// The directory for `.s.PGSQL.<port>`; `None`: no unix socket.
    pub unix_socket_dir: Option<PathBuf>,
    pub unix_socket_mode: u32,
    pub backlog: u32,
    pub http: Option<SocketAddr>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option by itself")]
pub struct Process {
    /// Threads that serve clients. At least one.
    pub workers: u16,
    pub log_connections: bool,
    pub log_disconnections: bool,
    pub log_pooler_errors: bool,
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// How often a line with statistics is logged, and what averages are over.
    pub stats_period: Duration,
    pub log_stats: bool,
    /// How long the end of the process may take: until all were told, and until the rest is cut off.
    pub drain_time: Duration,
    pub drain_timeout: Duration,
    /// How long a `SUSPEND` may take.
    pub suspend_timeout: Duration,
    /// Where a process that takes over asks for the sockets and the clients.
    pub takeover_socket: Option<PathBuf>,
    /// How long those stay who cannot move.
    pub takeover_timeout: Duration,
    pub pid_file: Option<PathBuf>,
    pub reload: ReloadOn,
}

/// What makes the process read its files anew, beside an operator who says so on the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReloadOn {
    Signal,
    /// A change of the files, too.
    Watch,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    Json,
    /// As PgBouncer writes its lines.
    PgBouncer,
    Text,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    pub max_client_conn: u32,
    /// 0: no limit, as in PgBouncer; the same for the next.
    pub max_db_client_connections: u32,
    pub max_user_client_connections: u32,
    /// Cancel requests under way at once, over all hosts. A cancel never takes a client's place.
    pub max_cancels: u32,
    /// The longest message that is relayed, in bytes, head included.
    pub max_packet_size: u32,
    /// Statements on one server. 0: clients with statements keep theirs.
    pub max_prepared_statements: u32,
    /// Statements of one client.
    pub max_client_prepared_statements: u32,
    /// Bytes of their texts, over all clients.
    pub prepared_statement_memory: u32,
    pub client_login_timeout: Option<Duration>,
    pub cancel_wait_timeout: Option<Duration>,
    /// Startup parameters that are accepted and dropped.
    pub ignore_startup_parameters: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth {
    pub kind: AuthType,
    /// Its users are in [`Config::users`] already. Kept for those who ask where they come from.
    pub file: Option<PathBuf>,
    pub admin_users: Vec<String>,
    pub stats_users: Vec<String>,
    /// For secrets made from plain passwords.
    pub scram_iterations: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sockets {
    pub tcp_keepalive: bool,
    /// 0 in the file: the system's own. The same for the next three.
    pub tcp_keepidle: Option<Duration>,
    pub tcp_keepintvl: Option<Duration>,
    pub tcp_keepcnt: Option<u32>,
    pub tcp_user_timeout: Option<Duration>,
}

/// A Postgres instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    pub name: String,
    pub address: HostAddress,
    /// Never more servers than this over all pools; `None`: only the pools' own limits hold.
    pub max_connections: Option<u32>,
    pub server_connect_timeout: Option<Duration>,
    /// The longest wait between attempts to connect to a host that refuses.
    pub server_login_retry: Duration,
    /// How long clients wait for a host that is down before they are told so.
    pub server_down_hold: Duration,
}

/// What a pool obeys, after user, database and process were merged: the user's word wins over the
/// database's, the database's over the process'.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolSettings {
    pub pool_mode: PoolMode,
    pub listen: Listening,
    /// Clients may replicate.
    pub replication: bool,
    /// Bytes that may wait for one client.
    pub notification_buffer: u32,
    /// Servers of one pool. Never zero.
    pub pool_size: u32,
    pub min_pool_size: u32,
    pub reserve_pool_size: u32,
    pub reserve_pool_timeout: Option<Duration>,
    /// Zero: each server is used once, as in PgBouncer. `None` (which no file can say): for ever.
    pub server_lifetime: Option<Duration>,
    pub server_idle_timeout: Option<Duration>,
    /// Zero: always, as in PgBouncer. `None` (which no file can say): never checked.
    pub server_check_delay: Option<Duration>,
    /// Empty text: an empty query; `None`: servers are not checked.
    pub server_check_query: Option<String>,
    /// `None`: no reset.
    pub server_reset_query: Option<String>,
    pub server_reset_query_always: bool,
    /// First in, first out instead of last in, first out.
    pub server_round_robin: bool,
    pub multiplex: Multiplex,
    /// Servers over all users of a database, and over all databases of a user. 0: no limit.
    pub max_db_connections: u32,
    pub max_user_connections: u32,
}

/// What a client is answered without a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shortcuts {
    /// A `BEGIN` goes to Postgres with the first statement behind it.
    pub defers_begin: bool,
    pub pings: Pings,
}

/// How sessions are followed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sessions {
    pub state: SessionState,
    /// Functions that may do anything to the session they are called in.
    pub functions: Arc<[Box<str>]>,
}

/// What becomes of a client that does what cannot follow it to another server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SessionState {
    /// The next client may meet it.
    Ignore,
    /// The client keeps its server.
    #[default]
    Pin,
    /// Postgres refuses it.
    Refuse,
}

/// Which pings are answered without a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pings {
    Empty,
    /// Empty queries, and a plain `SELECT 1`.
    EmptyAndSelect,
    None,
}

/// How long a client may do what. `None`: for ever.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientTimeouts {
    pub query_wait_timeout: Option<Duration>,
    pub query_wait_notify: Option<Duration>,
    pub query_timeout: Option<Duration>,
    pub transaction_timeout: Option<Duration>,
    pub idle_transaction_timeout: Option<Duration>,
    /// The same while others wait for a server.
    pub idle_transaction_pressure_timeout: Option<Duration>,
    pub client_idle_timeout: Option<Duration>,
    /// A client that takes nothing for so long is let go.
    pub client_write_timeout: Option<Duration>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Database {
    pub name: String,
    pub host: Arc<Host>,
    /// The name in Postgres; `None` for `*`: the client's.
    pub dbname: Option<String>,
    /// Log in to Postgres as this user for all clients.
    pub server_login: Option<ServerLogin>,
    pub max_db_client_connections: u32,
    /// Run on each new server. Its errors are logged, not fatal.
    pub connect_query: Option<String>,
    /// What the file says about this database in particular: merged anew with each user's.
    pub overrides: PoolOverrides,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLogin {
    pub user: String,
    /// As written, or what clients log in as this user with: plain, `md5…` or `SCRAM-SHA-256$…`.
    pub password: Option<Secret>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    pub name: String,
    /// As in the file, or else in `auth_file`: plain, `md5…`, or `SCRAM-SHA-256$…`.
    pub password: Option<Secret>,
    pub server_login: Option<ServerLogin>,
    pub max_user_client_connections: u32,
    pub choose_class: ClassChoice,
    pub overrides: PoolOverrides,
}

/// One option of `[proxy]` or `[overload]`, for people and tools.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    pub name: &'static str,
    pub value: &'a str,
    pub default: Option<String>,
    pub origin: Origin,
    /// What the file says by now, which holds after a restart. `None`: the same.
    pub pending: Option<&'a str>,
    /// The header of its section.
    pub section: &'static str,
    /// Whether a reload takes a change up.
    pub is_live: bool,
    pub doc: &'static str,
}

/// A value as the console shows it, and where it is from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    pub value: String,
    pub origin: Origin,
    /// What it will be after a restart, if that is something else.
    pub pending: Option<String>,
}

/// Who says what an option is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    Default,
    /// A variable of the process' environment.
    Environment,
    File,
    /// An operator, on the console.
    Set,
}

impl Origin {
    pub fn label(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "PGWEIR_LOG",
            Self::File => "file",
            Self::Set => "SET",
        }
    }
}

impl Config {
    /// What the pool of `database` and `user` obeys.
    pub fn pool_settings(&self, database: &Database, user: Option<&User>) -> PoolSettings {
        let mut settings = self.pool_defaults.clone();
        database.overrides.apply_to_pool(&mut settings);
        if let Some(user) = user {
            user.overrides.apply_to_pool(&mut settings);
        }
        settings
    }

    /// How long a client of `database` and `user` may do what.
    pub fn client_timeouts(&self, database: &Database, user: Option<&User>) -> ClientTimeouts {
        let mut timeouts = self.timeouts.clone();
        database.overrides.apply_to_client(&mut timeouts);
        if let Some(user) = user {
            user.overrides.apply_to_client(&mut timeouts);
        }
        timeouts
    }

    /// How the sessions of a database and a user are followed.
    pub fn sessions(&self, database: &Database, user: Option<&User>) -> Sessions {
        let own = user.and_then(|user| user.overrides.session_state);
        let state = own.or(database.overrides.session_state).unwrap_or(self.sessions.state);
        Sessions { state, functions: Arc::clone(&self.sessions.functions) }
    }

    /// What is done for a client of `database` and `user` without a server.
    pub fn client_shortcuts(&self, database: &Database, user: Option<&User>) -> Shortcuts {
        let mut shortcuts = self.shortcuts;
        database.overrides.apply_to_shortcuts(&mut shortcuts);
        if let Some(user) = user {
            user.overrides.apply_to_shortcuts(&mut shortcuts);
        }
        shortcuts
    }

    /// The options of the process, with their values and defaults as the console shows them.
    pub fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        options::Section::SHOWN.into_iter().flat_map(move |section| {
            options::of(section).map(move |option| {
                let shown = self.shown.get(option.name);
                Setting {
                    name: option.name,
                    value: shown.map_or("", |shown| &shown.value),
                    default: reader::shown_default(option),
                    origin: shown.map_or(Origin::Default, |shown| shown.origin),
                    pending: shown.and_then(|shown| shown.pending.as_deref()),
                    section: section.header(),
                    is_live: option.change == options::Change::Live,
                    doc: option.doc,
                }
            })
        })
    }

    /// The section for a database by the name in the client's DSN.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name).or_else(|| self.databases.get("*"))
    }
}

impl Sockets {
    /// For a client's socket. Linux counts towards `tcp_user_timeout` the time in which a peer is
    /// alive but takes nothing (measured on 6.18), and a client that reads a large result slowly
    /// does that: there, `client_write_timeout` decides.
    #[must_use]
    pub fn for_clients(mut self, client_write_timeout: Option<Duration>) -> Self {
        self.tcp_user_timeout =
            self.tcp_user_timeout.zip(client_write_timeout).map(|(ours, theirs)| ours.max(theirs));
        self
    }
}
