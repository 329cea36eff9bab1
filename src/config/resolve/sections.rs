//! The sections `[hosts.NAME]`, `[databases.NAME]` and `[users.NAME]`.

use super::proxy::{Proxy, is_auto, listening, pings, pool_mode, session_state};
use crate::base::secret::Secret;
use crate::config::classes::{ClassChoice, ClassLimits};
use crate::config::file::RawTable;
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::overload::Overload;
use crate::config::reader::{Reader, line_of};
use crate::config::suggest;
use crate::config::{
    CONSOLE_DATABASES, Config, Database, Host, HostAddress, PoolOverrides, ServerLogin, User,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(super) type Named<'a> = BTreeMap<&'a str, &'a RawTable>;

pub(super) fn resolve(
    proxy: Proxy,
    overload: Overload,
    sections: [Named<'_>; 3],
    findings: &mut Findings,
) -> Config {
    let [hosts, databases, users] = sections;
    let hosts = hosts
        .into_iter()
        .map(|(name, table)| (name.to_owned(), Arc::new(host(name, table, &proxy, findings))));
    let hosts: BTreeMap<_, _> = hosts.collect();
    // Users first: a database's `server_user` may have its password there.
    let mut secrets = proxy.secrets.clone();
    let mut found_users = BTreeMap::new();
    for (name, table) in users {
        let user = user(name, table, &proxy, findings);
        if let Some(secret) = &user.password {
            let in_file = secrets.insert(name.to_owned(), secret.clone());
            if in_file.is_some_and(|other| other != *secret) {
                findings.warning(line_of(table, "password"), password_twice(name));
            }
        }
        found_users.insert(name.to_owned(), user);
    }
    for (name, secret) in &proxy.secrets {
        let from_file = || plain_user(name, &proxy);
        let user = found_users.entry(name.clone()).or_insert_with(from_file);
        // The section wins: `secrets` has its password if it has one.
        user.password.get_or_insert_with(|| secret.clone());
    }
    for user in found_users.values_mut() {
        fill_password(user.server_login.as_mut(), &secrets);
    }
    let mut found_databases = BTreeMap::new();
    for (name, table) in databases {
        if let Some(mut database) = database(name, table, &hosts, &proxy, findings) {
            fill_password(database.server_login.as_mut(), &secrets);
            found_databases.insert(name.to_owned(), Arc::new(database));
        }
    }
    Config {
        listen: proxy.listen,
        process: proxy.process,
        clients: proxy.clients,
        auth: proxy.auth,
        sockets: proxy.sockets,
        hosts,
        databases: found_databases,
        users: found_users.into_iter().map(|(name, user)| (name, Arc::new(user))).collect(),
        pool_defaults: proxy.pool_defaults,
        timeouts: proxy.timeouts,
        shortcuts: proxy.shortcuts,
        sessions: proxy.sessions,
        classes: Vec::new(),
        default_class: ClassLimits::default(),
        own_classes: BTreeMap::new(),
        overload,
        shown: proxy.shown,
    }
}

fn host(name: &str, table: &RawTable, proxy: &Proxy, findings: &mut Findings) -> Host {
    let mut reader = Reader::new(Section::Host, table, findings);
    let port = u16::try_from(reader.count("port")).unwrap_or_default();
    let text = reader.text("host").unwrap_or_default();
    if let Some(problem) = bad_host(&text) {
        reader.error("host", problem);
    }
    let address = if text.starts_with('/') {
        HostAddress::Unix(Path::new(&text).join(format!(".s.PGSQL.{port}")))
    } else {
        let host = text.trim_start_matches('[').trim_end_matches(']').to_owned();
        HostAddress::Tcp { host, port }
    };
    Host {
        name: name.to_owned(),
        address,
        max_connections: reader.auto_or_count("max_connections"),
        server_connect_timeout: proxy.server_connect_timeout,
        server_login_retry: proxy.server_login_retry,
        server_down_hold: proxy.server_down_hold,
    }
}

fn bad_host(text: &str) -> Option<Problem> {
    let host_and_port = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok());
    let (message, action) = if text.is_empty() {
        ("is empty.", "Write a name, an address, or the directory of a unix socket.".to_owned())
    } else if text.contains(',') {
        ("has several hosts.", "Write one; pgweir does not spread over several yet.".to_owned())
    } else if text.starts_with('@') {
        ("is abstract, which pgweir does not have.", "Write the socket's directory.".to_owned())
    } else if let Some((host, port)) = host_and_port {
        ("has a port in it.", format!("Write `host = \"{host}\"` and `port = {port}`."))
    } else if text.contains(char::is_whitespace) || text.contains("://") {
        ("is neither a name, an address nor a directory.", "Write one of them.".to_owned())
    } else {
        return None;
    };
    Some(Problem::new("bad-value", format!("`host` {message}"), action))
}

fn database(
    name: &str,
    table: &RawTable,
    hosts: &BTreeMap<String, Arc<Host>>,
    proxy: &Proxy,
    findings: &mut Findings,
) -> Option<Database> {
    if CONSOLE_DATABASES.contains(&name) {
        let message = format!("`{name}` is the name of the console.");
        findings.error(table.line, Problem::new("reserved-name", message, "Take another name."));
    }
    let mut reader = Reader::new(Section::Database, table, findings);
    let dbname = reader.text("dbname").or_else(|| (name != "*").then(|| name.to_owned()));
    let max_clients = reader.own_count("max_db_client_connections");
    let overrides = PoolOverrides {
        min_pool_size: reader.own_count("min_pool_size"),
        server_lifetime: reader.own_duration("server_lifetime").map(Some),
        max_db_connections: reader.own_count("max_db_connections"),
        listen: reader.own_choice("listen").map(listening),
        replication: reader.own_boolean("replication"),
        ..shared_overrides(&mut reader)
    };
    let connect_query = reader.text("connect_query");
    let server_login = server_login(&mut reader);
    let host = find_host(&mut reader, hosts)?;
    Some(Database {
        name: name.to_owned(),
        host,
        dbname,
        server_login,
        max_db_client_connections: max_clients.unwrap_or(proxy.clients.max_db_client_connections),
        connect_query,
        overrides,
    })
}

fn find_host(reader: &mut Reader<'_>, hosts: &BTreeMap<String, Arc<Host>>) -> Option<Arc<Host>> {
    let written = reader.text("host");
    let names = || hosts.keys().map(String::as_str);
    let Some(name) = written else {
        let example = names().next().unwrap_or("main");
        let action = format!("Write `host = \"{example}\"`, the name of a `[hosts.NAME]` section.");
        reader.error("host", Problem::new("missing-key", "the database has no `host`.", action));
        return None;
    };
    if let Some(host) = hosts.get(&name) {
        return Some(host.clone());
    }
    let is_address = name.contains(['.', '/', ':']) || name == "localhost";
    let action = match suggest::nearest(&name, names()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None if is_address => format!(
            "`host` is the name of a section: add `[hosts.main]` with `host = \"{name}\"`, and \
             write `host = \"main\"` here."
        ),
        None => format!("Add the section `[hosts.{name}]`."),
    };
    let message = format!("there is no `[hosts.{name}]`.");
    reader.error("host", Problem::new("unknown-host", message, action));
    None
}

fn user(name: &str, table: &RawTable, proxy: &Proxy, findings: &mut Findings) -> User {
    let mut reader = Reader::new(Section::User, table, findings);
    let max_clients = reader.own_count("max_user_client_connections");
    User {
        name: name.to_owned(),
        password: reader.secret("password"),
        server_login: server_login(&mut reader),
        max_user_client_connections: max_clients
            .unwrap_or(proxy.clients.max_user_client_connections),
        choose_class: class_choice(reader.list("choose_class")),
        overrides: PoolOverrides {
            max_user_connections: reader.own_count("max_user_connections"),
            ..shared_overrides(&mut reader)
        },
    }
}

fn password_twice(name: &str) -> Problem {
    let message = format!("`{name}` has another password in `auth_file`; this one holds.");
    Problem::new("password-twice", message, "Remove one of the two.")
}

/// A user that only `auth_file` has.
fn plain_user(name: &str, proxy: &Proxy) -> User {
    User {
        name: name.to_owned(),
        password: None,
        server_login: None,
        max_user_client_connections: proxy.clients.max_user_client_connections,
        choose_class: ClassChoice::default(),
        overrides: PoolOverrides::default(),
    }
}

fn class_choice(names: Vec<String>) -> ClassChoice {
    if names.iter().any(|name| name == "*") { ClassChoice::Any } else { ClassChoice::Only(names) }
}

/// What databases and users both may say.
fn shared_overrides(reader: &mut Reader<'_>) -> PoolOverrides {
    PoolOverrides {
        pool_mode: reader.own_choice("pool_mode").map(pool_mode),
        defers_begin: reader.own_boolean("defer_begin"),
        pings: reader.own_choice("answer_pings").map(pings),
        session_state: reader.own_choice("session_state").map(session_state),
        multiplex: reader.own_choice("multiplex").map(is_auto),
        pool_size: reader.own_count("pool_size"),
        reserve_pool_size: reader.own_count("reserve_pool_size"),
        query_wait_timeout: reader.own_timeout("query_wait_timeout"),
        query_timeout: reader.own_timeout("query_timeout"),
        transaction_timeout: reader.own_timeout("transaction_timeout"),
        idle_transaction_timeout: reader.own_timeout("idle_transaction_timeout"),
        idle_transaction_pressure_timeout: reader.own_timeout("idle_transaction_pressure_timeout"),
        client_idle_timeout: reader.own_timeout("client_idle_timeout"),
        ..PoolOverrides::default()
    }
}

fn server_login(reader: &mut Reader<'_>) -> Option<ServerLogin> {
    let password = reader.secret("server_password");
    let user = reader.text("server_user");
    if user.is_none() && password.is_some() {
        let message = "`server_password` is there without `server_user`.";
        let problem = Problem::new("missing-key", message, "Write `server_user` too.");
        reader.error("server_password", problem);
    }
    user.map(|user| ServerLogin { user, password })
}

/// As in PgBouncer, a server user without a password has the one that clients log in with.
fn fill_password(login: Option<&mut ServerLogin>, secrets: &BTreeMap<String, Secret>) {
    if let Some(login) = login
        && login.password.is_none()
    {
        login.password = secrets.get(&login.user).cloned();
    }
}
