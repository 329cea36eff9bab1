//! What an operator sets beside the file, and what differs between two configurations.

use super::{GOOD, config, no_files, with};
use crate::config::load::parse_with;
use crate::config::options::{Change, Kind, Section};
use crate::config::overlay::{ClassValue, Overlay};
use crate::config::{Config, Origin, PoolMode, options};
use std::time::Duration;

fn overlaid(text: &str, overlay: &Overlay) -> Result<Config, Vec<String>> {
    let loaded = parse_with(text, "dir/proxy.toml", overlay, &no_files);
    let loaded = loaded.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
    loaded.map(|loaded| loaded.config)
}

fn set(text: &str, name: &str, value: &str) -> Result<Config, Vec<String>> {
    let mut overlay = Overlay::default();
    assert!(overlay.set(name, Some(value)), "{name}");
    overlaid(text, &overlay)
}

fn origin(config: &Config, name: &str) -> Origin {
    config.settings().find(|setting| setting.name == name).expect("an option").origin
}

#[test]
fn what_is_set_is_read_as_if_it_stood_in_the_file() {
    let text = with("[proxy]\ndefault_pool_size = 7\nquery_timeout = '9s'\n");
    let config = set(&text, "default_pool_size", "12").expect("valid");
    assert_eq!(config.pool_defaults.pool_size, 12);
    assert_eq!(config.timeouts.query_timeout, Some(Duration::from_secs(9)), "the rest stays");
    assert_eq!(origin(&config, "default_pool_size"), Origin::Set);
    assert_eq!(origin(&config, "query_timeout"), Origin::File);
    assert_eq!(origin(&config, "max_client_conn"), Origin::Default);
    // As people type it, without the quotes that the file wants.
    assert_eq!(
        set(GOOD, "query_timeout", "5s").unwrap().timeouts.query_timeout.unwrap().as_secs(),
        5
    );
    assert_eq!(
        set(GOOD, "query_timeout", "5").unwrap().timeouts.query_timeout.unwrap().as_secs(),
        5
    );
    assert_eq!(
        set(GOOD, "pool_mode", "session").unwrap().pool_defaults.pool_mode,
        PoolMode::Session
    );
    assert!(!set(GOOD, "log_connections", "0").unwrap().process.log_connections);
    assert_eq!(set(GOOD, "admin_users", "a, b").unwrap().auth.admin_users, ["a", "b"]);
    assert_eq!(set(GOOD, "server_reset_query", "").unwrap().pool_defaults.server_reset_query, None);
    assert_eq!(set(GOOD, "max_queued", "9").unwrap().overload.max_queued, 9, "of [overload]");
}

#[test]
fn what_is_set_wrong_is_refused_beside_the_rest() {
    let wrong = set(GOOD, "default_pool_size", "many").unwrap_err();
    assert!(wrong[0].starts_with("error [wrong-type]: `default_pool_size`"), "{wrong:?}");
    let zero = set(GOOD, "default_pool_size", "0").unwrap_err();
    assert!(zero[0].starts_with("error [pool-size-zero]"), "{zero:?}");
    // The other half of a contradiction stands in the file.
    let text = with("[proxy]\n[overload]\nlogins_per_second = 5\n");
    let contradiction = set(&text, "logins_per_second_per_address", "9").unwrap_err();
    assert!(contradiction[0].contains("[contradiction]"), "{contradiction:?}");
    assert!(!Overlay::default().set("nosuch", Some("1")));
    assert!(!Overlay::default().set("password", Some("x")));
}

#[test]
fn what_is_set_is_taken_back_by_name() {
    let mut overlay = Overlay::default();
    assert!(overlay.set("default_pool_size", Some("12")) && overlay.set("shed", Some("off")));
    assert!(overlay.set("default_pool_size", None));
    let config = overlaid(GOOD, &overlay).expect("valid");
    assert_eq!(config.pool_defaults.pool_size, 20);
    assert_eq!(origin(&config, "shed"), Origin::Set);
    assert!(overlay.set("shed", None) && overlay.is_empty());
}

const CLASS: &str = "[[classes]]\nname = 'batch'\nmatch = { user = 'etl' }\nmax_in_flight = 4\n";

#[test]
fn limits_of_classes_are_set_too() {
    let text = with(CLASS);
    let value = |text: &str| Some(ClassValue::Text(text.to_owned()));
    let mut overlay = Overlay::default();
    assert!(overlay.set_class("batch", "max_queued", value("9")));
    assert!(overlay.set_class("batch", "per_address.max_clients", value("2")));
    assert!(overlay.set_class("app/app", "max_in_flight", value("3")));
    let config = overlaid(&text, &overlay).expect("valid");
    let batch = &config.classes[0];
    assert_eq!((batch.limits.quota.max_in_flight, batch.limits.quota.max_queued), (4, 9));
    assert_eq!(batch.limits.per_address.max_clients, 2);
    assert_eq!(config.classes.len(), 1, "no class is made of it");
    let usual = &config.default_class;
    assert_eq!(config.own_class("app/app", usual).quota.max_in_flight, 3);
    assert_eq!(config.own_class("app/other", usual), usual);
    assert!(overlay.set_class("batch", "max_in_flight", Some(ClassValue::Absent)));
    let config = overlaid(&text, &overlay).expect("valid");
    assert_eq!(config.classes[0].limits.quota.max_in_flight, 0, "no limit");
    for name in ["name", "match", "match.user", "nosuch", "per_address", "per_address.weight"] {
        assert!(!overlay.set_class("batch", name, value("x")), "{name}");
    }
    assert!(overlay.set_class("batch", "per_address.max_clients", value("0")));
    let wrong = overlaid(&text, &overlay).unwrap_err();
    assert!(wrong[0].starts_with("error [out-of-range]: `max_clients`"), "{wrong:?}");
}

/// A value that is not the default.
fn other_value(option: &options::Opt) -> &'static str {
    match (option.name, option.kind) {
        ("listen_addr", _) => "'127.0.0.2'",
        ("http_addr", _) => "'127.0.0.1:1'",
        ("unix_socket_dir", _) => "'/run'",
        (_, Kind::Mode) => "'0700'",
        (_, Kind::Choice(words)) => match words {
            ["text", "json", ..] => "'json'",
            words => panic!("{}: {words:?}", option.name),
        },
        (_, Kind::Text) => "'elsewhere'",
        (_, Kind::Count { .. } | Kind::AutoOrCount { .. }) => "17",
        (_, kind) => panic!("{}: {kind:?}", option.name),
    }
}

#[test]
fn what_needs_a_restart_stays_and_is_named() {
    let running = config(GOOD);
    for section in Section::SHOWN {
        for option in options::of(section).filter(|it| it.change == Change::Restart) {
            let line = format!("{}\n{} = {}\n", section.header(), option.name, other_value(option));
            let mut changed = config(&with(&line));
            assert_ne!(changed, running, "{}", option.name);
            let named = changed.keep_until_restart(&running);
            assert!(named.contains(&option.name), "{}: {named:?}", option.name);
            let shown = changed.shown.get_mut(option.name).expect("an option");
            assert!(shown.pending.take().is_some(), "{}: what waits shows", option.name);
            changed.shown.values_mut().for_each(|shown| shown.pending = None);
            assert_eq!(changed, running, "{} changes something all the same", option.name);
        }
    }
}

#[test]
fn differences_are_named_without_secrets() {
    let before = config(&with("[proxy]\nadmin_users = ['root']\n"));
    let text = GOOD.replace("secret", "hunter2");
    let text = format!(
        "{text}[proxy]\ndefault_pool_size = 9\n[users.new]\npassword = 'x'\n[hosts.other]\n{CLASS}"
    );
    let after = config(&text);
    assert_eq!(
        after.differences(&before),
        [
            "admin_users root -> \"\"",
            "default_pool_size 20 -> 9",
            "hosts.other added",
            "users.app",
            "users.new added",
            "classes.batch added"
        ]
    );
    assert_eq!(before.differences(&after)[2], "hosts.other removed");
    assert!(after.differences(&after).is_empty());
    let limited = config(&text.replace("max_in_flight = 4", "max_in_flight = 3"));
    assert_eq!(limited.differences(&after), ["classes.batch max_in_flight 4 -> 3"]);
}

#[test]
fn a_hash_tells_what_holds_and_nothing_of_passwords() {
    let one = config(GOOD).hash();
    assert_eq!(one.len(), 16);
    assert_eq!(one, config(&GOOD.replace("secret", "hunter2")).hash());
    assert_eq!(one, config(&with("[proxy]\ndefault_pool_size = 20\n")).hash());
    assert_ne!(one, config(&with("[proxy]\ndefault_pool_size = 21\n")).hash());
}
