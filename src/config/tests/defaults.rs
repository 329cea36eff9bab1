//! The default file and the reference: on disk, and in agreement with the code.

use super::{config, try_parse};
use crate::config::classes::{Priority, Quota};
use crate::config::options::{self, Section};
use crate::config::overload::{ErrorCompat, Shed};
use crate::config::{AuthType, Config, Origin, PoolMode, reference};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn same_on_disk(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("PGWEIR_BLESS").is_some() {
        fs::write(&path, made).expect("the file is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "{name} is out of date; PGWEIR_BLESS=1 cargo test writes it anew");
}

#[test]
fn the_default_file_and_the_reference_are_made_from_the_options() {
    same_on_disk("proxy.toml", &reference::default_file());
    same_on_disk("docs/config.md", &reference::reference());
}

#[test]
fn the_default_file_is_every_default() {
    assert_eq!(config(&reference::default_file()), config(""));
    assert_eq!(Config::default(), config(""));
}

/// Takes the `#` from every line that has no space after it.
fn uncomment(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_file_with_every_option_written_is_every_default() {
    let text = uncomment(&reference::default_file());
    for section in Section::ALL {
        for option in options::of(section) {
            let written = text.lines().any(|line| line.starts_with(&format!("{} = ", option.name)));
            assert!(written, "{}", option.name);
        }
    }
    let mut written = config(&text);
    let short = config("[hosts.main]\n[databases.app]\nhost = \"main\"\n[users.app]\n");
    // What is written as an override is none to those who ask.
    let (database, user) = (&written.databases["app"], &written.users["app"]);
    assert_eq!(database.host, short.hosts["main"]);
    assert_eq!(
        written.pool_settings(database, Some(user)),
        short.pool_settings(&short.databases["app"], Some(&short.users["app"]))
    );
    assert_eq!(
        written.client_timeouts(database, Some(user)),
        short.client_timeouts(&short.databases["app"], None)
    );
    assert_eq!((&user.password, &user.server_login), (&None, &None));
    assert_eq!(database.dbname.as_deref(), Some("app"));
    // Classes have no defaults to write out, but examples.
    assert_eq!(written.classes.len(), 1);
    written.classes.clear();
    written.databases.clear();
    written.users.clear();
    written.hosts.clear();
    // But for where it is from.
    written.shown.values_mut().for_each(|shown| shown.origin = Origin::Default);
    assert_eq!(written, config(""));
}

#[test]
fn the_shortest_useful_file_has_no_findings() {
    let text = reference::default_file();
    let short: Vec<_> = text
        .lines()
        .skip_while(|line| !line.contains("shortest"))
        .skip(1)
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let short = short.join("\n");
    let loaded = try_parse(&short).expect("valid");
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.database("anything").is_some(), "{short}");
}

/// The decisions, where PgBouncer's defaults are not kept, and a few where they are.
#[test]
fn the_defaults_are_those_of_the_design() {
    let defaults = config("");
    assert_eq!(defaults.listen.addresses, ["127.0.0.1:6432".parse().expect("an address")]);
    assert_eq!(defaults.listen.http, "127.0.0.1:9432".parse().ok());
    assert_eq!(defaults.listen.unix_socket_mode, 0o777);
    assert_eq!(defaults.clients.max_client_conn, 1000);
    assert_eq!(defaults.auth.kind, AuthType::ScramSha256);
    assert_eq!(defaults.pool_defaults.pool_mode, PoolMode::Transaction);
    assert_eq!(defaults.pool_defaults.pool_size, 20);
    assert_eq!(defaults.pool_defaults.server_check_query.as_deref(), Some(""));
    assert_eq!(defaults.timeouts.query_wait_timeout, Some(Duration::from_secs(10)));
    assert_eq!(defaults.timeouts.query_timeout, None);
    assert_eq!(defaults.sockets.tcp_user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(defaults.clients.max_packet_size, 2_147_483_647);
    assert_eq!(defaults.overload.shed, Shed::Auto);
    assert_eq!(defaults.overload.max_queued, 0);
    assert_eq!(defaults.overload.error_compat, ErrorCompat::Postgres);
    assert_eq!(defaults.overload.logins.max_at_once, 64);
    assert_eq!(defaults.overload.logins.per_second, None);
    assert_eq!(defaults.overload.logins.wait, Duration::from_secs(1));
    assert_eq!(defaults.default_class.priority, Priority::Normal);
    assert_eq!(defaults.default_class.quota, Quota::default());
    assert!(defaults.process.workers >= 1);
}

#[test]
fn a_client_that_reads_slowly_outlives_the_tcp_user_timeout() {
    let sockets = config("").sockets;
    let minutes = Duration::from_mins(5);
    assert_eq!(sockets.for_clients(Some(minutes)).tcp_user_timeout, Some(minutes));
    assert_eq!(sockets.for_clients(None).tcp_user_timeout, None);
}
