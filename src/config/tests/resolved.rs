//! What a valid file means.

use super::{GOOD, config, errors, no_files, with};
use crate::base::finding::Finding;
use crate::base::secret::Secret;
use crate::config::{HostAddress, Loaded, PoolMode, load, parse};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn the_user_wins_over_the_database_and_the_database_over_the_proxy() {
    let config = config(
        "[proxy]\ndefault_pool_size = 1\nquery_timeout = 1\nserver_lifetime = 1\n\
         [hosts.main]\n[databases.app]\nhost = 'main'\npool_size = 2\nserver_lifetime = 0\n\
         idle_transaction_timeout = '2s'\nquery_wait_timeout = 0\n\
         [users.app]\npassword = 'x'\npool_size = 3\npool_mode = 'session'\nquery_timeout = 3\n",
    );
    let (database, user) = (&config.databases["app"], &config.users["app"]);
    let alone = config.pool_settings(database, None);
    assert_eq!((alone.pool_size, alone.pool_mode), (2, PoolMode::Transaction));
    // Zero: each server is used once.
    assert_eq!(alone.server_lifetime, Some(Duration::ZERO));
    let both = config.pool_settings(database, Some(user));
    assert_eq!((both.pool_size, both.pool_mode), (3, PoolMode::Session));
    let timeouts = config.client_timeouts(database, Some(user));
    assert_eq!(timeouts.query_timeout, Some(Duration::from_secs(3)));
    assert_eq!(timeouts.idle_transaction_timeout, Some(Duration::from_secs(2)));
    // Zero turns it off, though the default is not off.
    assert_eq!(timeouts.query_wait_timeout, None);
}

#[test]
fn addresses_are_one_or_several_or_none() {
    let listen = |value: &str| {
        let text = with(&format!("[proxy]\nlisten_addr = {value}\n"));
        let addresses = config(&text).listen.addresses;
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listen("'127.0.0.1, ::1'"), ["127.0.0.1:6432", "[::1]:6432"]);
    assert_eq!(listen("['127.0.0.1', '127.0.0.1']"), ["127.0.0.1:6432"]);
    assert_eq!(listen("'*'"), ["0.0.0.0:6432", "[::]:6432"]);
    assert_eq!(listen("'localhost'"), ["127.0.0.1:6432"]);
    assert!(listen("''").is_empty());
    assert!(listen("[]").is_empty());
}

#[test]
fn a_host_is_a_name_an_address_or_a_directory() {
    let address = |host: &str| {
        let text = format!("[hosts.main]\nhost = '{host}'\nport = 5433\n");
        config(&text).hosts["main"].address.clone()
    };
    let tcp = |host: &str| HostAddress::Tcp { host: host.to_owned(), port: 5433 };
    assert_eq!(address("db.internal"), tcp("db.internal"));
    assert_eq!(address("::1"), tcp("::1"));
    assert_eq!(address("[::1]"), tcp("::1"));
    let socket = HostAddress::Unix(PathBuf::from("/run/pg/.s.PGSQL.5433"));
    assert_eq!(address("/run/pg"), socket);
}

#[test]
fn the_star_keeps_the_clients_name() {
    let config =
        config("[hosts.main]\n[databases.'*']\nhost = 'main'\n[databases.a]\nhost='main'\n");
    assert_eq!(config.database("other").expect("a star").dbname, None);
    assert_eq!(config.database("a").expect("a").dbname.as_deref(), Some("a"));
}

#[test]
fn zero_and_one_are_booleans_and_modes_are_octal() {
    let config = config(&with(
        "[proxy]\nlog_connections = 0\nserver_round_robin = 1\nunix_socket_mode = '0750'\n\
         tcp_user_timeout = 1500\nmax_packet_size = '1MB'\nhttp_addr = ''\n",
    ));
    assert!(!config.process.log_connections && config.pool_defaults.server_round_robin);
    assert_eq!(config.listen.unix_socket_mode, 0o750);
    assert_eq!(config.sockets.tcp_user_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(config.clients.max_packet_size, 1 << 20);
    assert_eq!(config.listen.http, None);
}

fn with_auth_file(text: &str, users: &str) -> Result<Loaded, Vec<Finding>> {
    let users = users.to_owned();
    parse(text, "dir/proxy.toml", &move |path: &Path| match path.to_str() {
        Some("dir/users.txt") => Ok(users.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

const AUTH_FILE: &str = "[proxy]\nauth_file = 'users.txt'\n";

#[test]
fn users_come_from_both_places_and_the_section_wins() {
    let loaded = with_auth_file(
        &with(&format!("[users.b]\npool_size = 3\n{AUTH_FILE}")),
        "\"app\" \"other\"\n\"b\" \"from file\"\n\"c\" \"c\"\n",
    )
    .expect("valid");
    let password = |name: &str| loaded.config.users[name].password.as_ref().map(Secret::reveal);
    assert_eq!(password("app"), Some("secret"));
    assert_eq!(password("b"), Some("from file"));
    assert_eq!(password("c"), Some("c"));
    assert_eq!(loaded.config.users["b"].overrides.pool_size, Some(3));
    assert_eq!(loaded.config.auth.file.as_deref(), Some(Path::new("dir/users.txt")));
    let codes: Vec<_> = loaded.warnings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["password-twice"]);
}

#[test]
fn findings_in_the_auth_file_have_its_name_and_line() {
    let found = with_auth_file(&with(AUTH_FILE), "\"a\" \"x\"\nb y\n").expect_err("broken");
    assert!(
        found[0].to_string().starts_with("dir/users.txt:2: error [auth-file-line]"),
        "{found:?}"
    );
    let found = parse(&with(AUTH_FILE), "proxy.toml", &no_files).expect_err("no such file");
    assert!(found[0].to_string().starts_with("proxy.toml:7: error [unreadable-file]"), "{found:?}");
}

#[test]
fn a_server_user_has_the_password_of_its_user() {
    let config = config(&with(
        "[databases.b]\nhost = 'main'\nserver_user = 'app'\n\
         [databases.c]\nhost = 'main'\nserver_user = 'app'\nserver_password = 'own'\n\
         [databases.d]\nhost = 'main'\nserver_user = 'nobody'\n",
    ));
    let password = |name: &str| {
        let login = config.databases[name].server_login.as_ref().expect("a server user");
        login.password.as_ref().map(Secret::reveal)
    };
    assert_eq!(password("b"), Some("secret"));
    assert_eq!(password("c"), Some("own"));
    assert_eq!(password("d"), None);
    let found = errors(&with("[databases.e]\nhost = 'main'\nserver_password = 'x'\n"));
    assert!(found[0].contains("without `server_user`"), "{found:?}");
}

#[test]
fn files_are_found_beside_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("proxy.toml");
    fs::write(&path, with(&format!("{AUTH_FILE}pidfile = 'pid'\n"))).expect("a file in it");
    fs::write(directory.path().join("users.txt"), "\"x\" \"y\"\n").expect("a file in it");
    let loaded = load(&path).expect("valid");
    assert!(loaded.config.users.contains_key("x"));
    assert_eq!(loaded.config.process.pid_file, Some(directory.path().join("pid")));
}

#[test]
fn secrets_are_not_in_debug_output() {
    let shown = format!("{:?}", config(GOOD));
    assert!(!shown.contains("\"secret\""), "{shown}");
}
