//! The section `[proxy]`.

use super::Files;
use crate::base::finding::Severity;
use crate::base::secret::Secret;
use crate::config::file::RawTable;
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::reader::Reader;
use crate::config::users_file;
use crate::config::{
    Auth, AuthType, ClientLimits, ClientTimeouts, Listen, Listening, LogFormat, Multiplex, Pings,
    PoolMode, PoolSettings, Process, ReloadOn, SessionState, Sessions, Shortcuts, Shown, Sockets,
};
use crate::sql::read::{NAME_MAX, Names};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

/// `[proxy]`, resolved, and what the other sections take from it.
pub(super) struct Proxy {
    pub(super) listen: Listen,
    pub(super) process: Process,
    pub(super) clients: ClientLimits,
    pub(super) auth: Auth,
    pub(super) sockets: Sockets,
    pub(super) pool_defaults: PoolSettings,
    pub(super) timeouts: ClientTimeouts,
    pub(super) shortcuts: Shortcuts,
    pub(super) sessions: Sessions,
    pub(super) server_connect_timeout: Option<Duration>,
    pub(super) server_login_retry: Duration,
    pub(super) server_down_hold: Duration,
    /// The secrets of `auth_file`.
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) shown: BTreeMap<&'static str, Shown>,
}

pub(super) fn resolve(table: &RawTable, files: Files<'_>, findings: &mut Findings) -> Proxy {
    let mut reader = Reader::new(Section::Proxy, table, findings);
    let reader = &mut reader;
    let auth = auth(reader, files);
    let mut proxy = Proxy {
        listen: listen(reader),
        process: process(reader, files),
        clients: clients(reader),
        sockets: sockets(reader),
        pool_defaults: pool(reader),
        timeouts: timeouts(reader),
        shortcuts: Shortcuts {
            defers_begin: reader.boolean("defer_begin"),
            pings: pings(reader.choice("answer_pings")),
        },
        sessions: Sessions {
            state: session_state(reader.choice("session_state")),
            functions: reader.list("session_functions").into_iter().map(String::into).collect(),
        },
        server_connect_timeout: reader.timeout("server_connect_timeout"),
        server_login_retry: reader.duration("server_login_retry"),
        server_down_hold: reader.duration("server_down_hold"),
        secrets: secrets(reader, auth.file.as_ref(), files),
        auth,
        shown: BTreeMap::new(),
    };
    proxy.process.takeover_socket = takeover_socket(reader, &proxy.listen, files);
    proxy.shown = std::mem::take(&mut reader.shown);
    proxy
}

pub(super) fn pool_mode(word: &str) -> PoolMode {
    match word {
        "session" => PoolMode::Session,
        "statement" => PoolMode::Statement,
        _ => PoolMode::Transaction,
    }
}

pub(super) fn is_auto(word: &str) -> bool {
    word == "auto"
}

pub(super) fn session_state(word: &str) -> SessionState {
    match word {
        "ignore" => SessionState::Ignore,
        "refuse" => SessionState::Refuse,
        _ => SessionState::Pin,
    }
}

pub(super) fn pings(word: &str) -> Pings {
    match word {
        "select" => Pings::EmptyAndSelect,
        "off" => Pings::None,
        _ => Pings::Empty,
    }
}

pub(super) fn listening(word: &str) -> Listening {
    if word == "pin" { Listening::Pin } else { Listening::Shared }
}

fn listen(reader: &mut Reader<'_>) -> Listen {
    let port = u16::try_from(reader.count("listen_port")).unwrap_or_default();
    Listen {
        addresses: addresses(reader, port),
        port,
        unix_socket_dir: unix_socket_dir(reader, port),
        unix_socket_mode: reader.count("unix_socket_mode"),
        backlog: reader.count("listen_backlog"),
        http: http_addr(reader),
    }
}

fn addresses(reader: &mut Reader<'_>, port: u16) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for text in reader.list("listen_addr") {
        match text.trim_start_matches('[').trim_end_matches(']') {
            "" => {}
            "*" => {
                found.extend([IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()]);
            }
            "localhost" => found.push(Ipv4Addr::LOCALHOST.into()),
            bare => match bare.parse() {
                Ok(address) => found.push(address),
                Err(_) => reader.error("listen_addr", bad_address(&text)),
            },
        }
    }
    // Binding the same address twice fails.
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

fn bad_address(text: &str) -> Problem {
    let action = match text.parse::<SocketAddr>() {
        Ok(socket) => {
            format!("Write \"{}\", and the port in `listen_port`.", socket.ip())
        }
        Err(_) => "Write an address such as \"127.0.0.1\" or \"::1\", or \"*\" for all.".into(),
    };
    let message = format!("`listen_addr` has `{text}`, which is not an address.");
    Problem::new("bad-value", message, action)
}

/// What `sockaddr_un` holds, less the zero at its end.
const UNIX_PATH_BYTES_MAX: usize = 107;

fn unix_socket_dir(reader: &mut Reader<'_>, port: u16) -> Option<PathBuf> {
    let directory = reader.text("unix_socket_dir")?;
    let bytes = format!("{directory}/.s.PGSQL.{port}").len();
    let (message, action) = if directory.starts_with('@') {
        ("is abstract, which pgweir does not have.", "Write a directory, such as \"/tmp\".")
    } else if !directory.starts_with('/') {
        ("is relative, so clients would not find it.", "Write it from the root, as in \"/tmp\".")
    } else if bytes > UNIX_PATH_BYTES_MAX {
        ("is too long: a socket's path has 107 bytes at most.", "Use a shorter path.")
    } else {
        return Some(PathBuf::from(directory));
    };
    let message = format!("`unix_socket_dir` {message}");
    reader.error("unix_socket_dir", Problem::new("bad-value", message, action));
    None
}

fn takeover_socket(reader: &mut Reader<'_>, listen: &Listen, files: Files<'_>) -> Option<PathBuf> {
    match reader.text("takeover_socket")?.as_str() {
        "auto" => {
            let directory = listen.unix_socket_dir.as_ref()?;
            Some(directory.join(format!(".s.PGWEIR.{}", listen.port)))
        }
        path => Some(files.directory.join(path)),
    }
}

fn http_addr(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.text("http_addr")?;
    let address = text.replacen("localhost:", "127.0.0.1:", 1).parse().ok();
    let address = address.filter(|address: &SocketAddr| address.port() > 0);
    if address.is_none() {
        let message = format!("`http_addr` is `{text}`, which is not an address and a port.");
        let action = "Write both, as in \"127.0.0.1:9432\", or \"\" to turn it off.";
        reader.error("http_addr", Problem::new("bad-value", message, action));
    }
    address
}

fn process(reader: &mut Reader<'_>, files: Files<'_>) -> Process {
    let workers = reader.auto_or_count("workers");
    let workers = workers.and_then(|workers| u16::try_from(workers).ok());
    let cores = || available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(1));
    Process {
        workers: workers.unwrap_or_else(cores),
        log_connections: reader.boolean("log_connections"),
        log_disconnections: reader.boolean("log_disconnections"),
        log_pooler_errors: reader.boolean("log_pooler_errors"),
        log_format: match reader.choice("log_format") {
            "json" => LogFormat::Json,
            "pgbouncer" => LogFormat::PgBouncer,
            _ => LogFormat::Text,
        },
        stats_period: reader.duration("stats_period"),
        log_stats: reader.boolean("log_stats"),
        log_level: reader.choice("log_level").to_owned(),
        drain_time: reader.duration("drain_time"),
        drain_timeout: reader.duration("drain_timeout"),
        suspend_timeout: reader.duration("suspend_timeout"),
        takeover_socket: None,
        takeover_timeout: reader.duration("takeover_timeout"),
        pid_file: reader.text("pidfile").map(|path| files.directory.join(path)),
        reload: match reader.choice("reload") {
            "watch" => ReloadOn::Watch,
            _ => ReloadOn::Signal,
        },
    }
}

fn clients(reader: &mut Reader<'_>) -> ClientLimits {
    ClientLimits {
        max_client_conn: reader.count("max_client_conn"),
        max_db_client_connections: reader.count("max_db_client_connections"),
        max_user_client_connections: reader.count("max_user_client_connections"),
        max_cancels: reader.count("max_cancels"),
        max_packet_size: reader.count("max_packet_size"),
        max_prepared_statements: reader.count("max_prepared_statements"),
        max_client_prepared_statements: reader.count("max_client_prepared_statements"),
        prepared_statement_memory: reader.count("prepared_statement_memory"),
        client_login_timeout: reader.timeout("client_login_timeout"),
        cancel_wait_timeout: reader.timeout("cancel_wait_timeout"),
        ignore_startup_parameters: reader.list("ignore_startup_parameters"),
    }
}

fn auth(reader: &mut Reader<'_>, files: Files<'_>) -> Auth {
    Auth {
        kind: match reader.choice("auth_type") {
            "md5" => AuthType::Md5,
            "plain" => AuthType::Plain,
            "trust" => AuthType::Trust,
            _ => AuthType::ScramSha256,
        },
        file: reader.text("auth_file").map(|path| files.directory.join(path)),
        admin_users: reader.list("admin_users"),
        stats_users: reader.list("stats_users"),
        scram_iterations: reader.count("scram_iterations"),
    }
}

fn secrets(
    reader: &mut Reader<'_>,
    path: Option<&PathBuf>,
    files: Files<'_>,
) -> BTreeMap<String, Secret> {
    let Some(path) = path else { return BTreeMap::new() };
    let name = path.display().to_string();
    let text = match (files.read)(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(error) => {
            let message = format!("`auth_file` is `{name}`, which cannot be read: {error}.");
            let action = "Name a file that the proxy may read.";
            reader.error("auth_file", Problem::new("unreadable-file", message, action));
            return BTreeMap::new();
        }
    };
    let file = users_file::parse(&text);
    for (line, problem) in file.errors {
        reader.findings.elsewhere(&name, line, Severity::Error, problem);
    }
    for (line, problem) in file.warnings {
        reader.findings.elsewhere(&name, line, Severity::Warning, problem);
    }
    file.users.into_iter().map(|(user, (secret, _))| (user, secret)).collect()
}

fn sockets(reader: &mut Reader<'_>) -> Sockets {
    Sockets {
        tcp_keepalive: reader.boolean("tcp_keepalive"),
        tcp_keepidle: whole_seconds(reader, "tcp_keepidle"),
        tcp_keepintvl: whole_seconds(reader, "tcp_keepintvl"),
        tcp_keepcnt: Some(reader.count("tcp_keepcnt")).filter(|count| *count > 0),
        tcp_user_timeout: reader.timeout("tcp_user_timeout"),
    }
}

/// The kernel counts seconds; less than one would be cut to zero, which it refuses.
fn whole_seconds(reader: &mut Reader<'_>, name: &str) -> Option<Duration> {
    let duration = reader.timeout(name)?;
    if duration.subsec_nanos() > 0 {
        let message = format!("`{name}` has a fraction of a second.");
        let action = "Write whole seconds, as in \"60s\".";
        reader.error(name, Problem::new("bad-value", message, action));
    }
    Some(duration)
}

fn pool(reader: &mut Reader<'_>) -> PoolSettings {
    PoolSettings {
        pool_mode: pool_mode(reader.choice("pool_mode")),
        listen: listening(reader.choice("listen")),
        replication: reader.boolean("replication"),
        notification_buffer: reader.count("notification_buffer"),
        pool_size: reader.count("default_pool_size"),
        min_pool_size: reader.count("min_pool_size"),
        reserve_pool_size: reader.count("reserve_pool_size"),
        reserve_pool_timeout: reader.timeout("reserve_pool_timeout"),
        // 0 is "use once" and "check always" here, not "off".
        server_lifetime: Some(reader.duration("server_lifetime")),
        server_check_delay: Some(reader.duration("server_check_delay")),
        server_idle_timeout: reader.timeout("server_idle_timeout"),
        server_check_query: reader.text("server_check_query").map(|query| match query.as_str() {
            "<empty>" => String::new(),
            _ => query,
        }),
        server_reset_query: reader.text("server_reset_query"),
        server_reset_query_always: reader.boolean("server_reset_query_always"),
        server_round_robin: reader.boolean("server_round_robin"),
        multiplex: multiplex(reader),
        max_db_connections: reader.count("max_db_connections"),
        max_user_connections: reader.count("max_user_connections"),
    }
}

fn multiplex(reader: &mut Reader<'_>) -> Multiplex {
    let functions = callable(reader, "multiplex_functions");
    let barred = barred(reader, "multiplex_except");
    Multiplex {
        is_on: is_auto(reader.choice("multiplex")),
        depth: reader.count("multiplex_depth"),
        max_service_time: reader.duration("multiplex_max_service_time"),
        names: Arc::new(Names::new(functions, barred)),
    }
}

/// Names of functions, as they are called without quotes.
fn callable(reader: &mut Reader<'_>, name: &str) -> Vec<String> {
    let functions = reader.list(name);
    for it in &functions {
        if it.contains('"') {
            let message = format!("`{name}` has `{it}`, which has to be called in quotes.");
            let action = "Give it a name that can be called without quotes, or leave it out: what calls \
                          a function in quotes has a server for itself.";
            reader.error(name, Problem::new("bad-value", message, action));
        } else if let Some((plain, _)) = it.split_once('(') {
            let message = format!("`{name}` has `{it}`, which is more than a name.");
            let action = format!("Write \"{}\", for all functions of that name.", plain.trim_end());
            reader.error(name, Problem::new("bad-value", message, action));
        }
    }
    functions
}

/// Names that bar a statement from sharing, as plain as they are looked for.
fn barred(reader: &mut Reader<'_>, name: &str) -> Vec<String> {
    let barred = reader.list(name);
    for it in &barred {
        let unquoted = it.trim_matches('"');
        let plain = unquoted.rsplit('.').next().unwrap_or_default().trim_matches('"');
        if it.contains(['.', '"']) {
            let message = format!("`{name}` has `{it}`, which is more than a name.");
            let action = format!(
                "Write \"{plain}\": what has that name is barred in all schemas, in quotes or not."
            );
            reader.error(name, Problem::new("bad-value", message, action));
        } else if it.is_empty() || it.len() > NAME_MAX {
            let message = format!("`{name}` has `{it}`, which can be no name in Postgres.");
            let action = format!("Write one of 1 to {NAME_MAX} bytes.");
            reader.error(name, Problem::new("bad-value", message, action));
        }
    }
    barred
}

fn timeouts(reader: &mut Reader<'_>) -> ClientTimeouts {
    ClientTimeouts {
        query_wait_timeout: reader.timeout("query_wait_timeout"),
        query_wait_notify: reader.timeout("query_wait_notify"),
        query_timeout: reader.timeout("query_timeout"),
        transaction_timeout: reader.timeout("transaction_timeout"),
        idle_transaction_timeout: reader.timeout("idle_transaction_timeout"),
        // Of `[overload]`.
        idle_transaction_pressure_timeout: None,
        client_idle_timeout: reader.timeout("client_idle_timeout"),
        client_write_timeout: reader.timeout("client_write_timeout"),
    }
}
