//! What `[[classes]]` and `[overload]` mean.

use super::{config, errors, with};
use crate::config::Config;
use crate::config::classes::{ClassChoice, Excess, Priority, Quota, Rate, Rule, ServerTime, Who};
use crate::config::overload::{ErrorCompat, Shed};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::net::IpAddr;
use std::time::Duration;

const BATCH: &str = "\
[[classes]]
name = 'batch'
match = { user = 'etl', application_name = ['etl-*', 'nightly'], database = 'app', client = '10.0.0.0/8' }
priority = 'sheddable'
weight = 3
reserved = 2
max_clients = 200
max_in_flight = 4
max_queued = 100
transactions_per_second = 50
burst = 100
on_excess = 'reject'
server_seconds_per_second = 1.5
per_address = { max_clients = 10, max_in_flight = 1, max_queued = 5, transactions_per_second = 5.5, server_seconds_per_second = 0.5 }
";

fn who<'a>(user: &'a str, application_name: &'a str, address: &str) -> Who<'a> {
    let address = address.parse::<IpAddr>().ok();
    Who { database: "app", user, application_name, address }
}

/// The name of the class that somebody is in.
fn class_of<'a>(config: &'a Config, who: &Who<'_>) -> &'a str {
    config.class_of(who).map_or("", |class| &class.name)
}

/// The class of the application `name`, of users and from addresses that do not matter.
fn class_of_application<'a>(config: &'a Config, name: &str) -> &'a str {
    class_of(config, &who("app", name, "192.0.2.1"))
}

fn class_of_address<'a>(config: &'a Config, address: &str) -> &'a str {
    class_of(config, &who("app", "", address))
}

#[test]
fn a_class_has_what_is_written() {
    let config = config(&with(&format!("{BATCH}[users.etl]\npassword = 'x'\n")));
    let class = &config.classes[0];
    assert_eq!(class.name, "batch");
    let limits = &class.limits;
    assert_eq!((limits.priority, limits.weight, limits.reserved), (Priority::Sheddable, 3, 2));
    let rate = |per_second, burst| Rate { per_second, burst, on_excess: Excess::Reject };
    let server_time = |per_second, ms| ServerTime { per_second, burst: Duration::from_millis(ms) };
    assert_eq!(
        limits.quota,
        Quota {
            max_clients: 200,
            max_in_flight: 4,
            max_queued: 100,
            rate: Some(rate(50.0, 100)),
            server_time: Some(server_time(1.5, 1_500)),
        }
    );
    // The burst is what a second brings; what becomes of excess is as in the class.
    assert_eq!(
        limits.per_address,
        Quota {
            max_clients: 10,
            max_in_flight: 1,
            max_queued: 5,
            rate: Some(rate(5.5, 6)),
            server_time: Some(server_time(0.5, 500)),
        }
    );
}

#[test]
fn what_is_not_written_is_not_limited() {
    let config = config(&with("[[classes]]\nname = 'all'\nmatch = {}\n"));
    assert_eq!(config.classes[0].limits, config.default_class);
    assert_eq!(config.classes[0].rule, Some(Rule::default()));
    let slow = with("[[classes]]\nname = 'a'\nmatch = {}\ntransactions_per_second = 0.1\n");
    let rate = super::config(&slow).classes[0].limits.quota.rate.expect("a rate");
    assert_eq!((rate.burst, rate.on_excess), (1, Excess::Delay));
}

#[test]
fn parts_may_have_headers_of_their_own() {
    let text = "[[classes]]\nname = 'a'\n[classes.match]\nuser = 'app'\n[classes.per_address]\n\
                max_clients = 1\n[[classes]]\nname = 'b'\n[classes.match]\nuser = '*'\n\
                [users.ap]\npassword = 'x'\n";
    let config = config(&with(text));
    assert_eq!(config.classes[0].limits.per_address.max_clients, 1);
    assert_eq!(class_of(&config, &who("app", "", "")), "a");
    assert_eq!(class_of(&config, &who("ap", "", "")), "b");
}

#[test]
fn a_rule_holds_when_all_of_it_does() {
    let config = config(&with(BATCH));
    let is_in = |who: &Who<'_>| class_of(&config, who) == "batch";
    assert!(is_in(&who("etl", "etl-1", "10.1.2.3")));
    assert!(is_in(&who("etl", "nightly", "10.1.2.3")));
    assert!(!is_in(&who("etl", "etl", "10.1.2.3")));
    assert!(!is_in(&who("app", "etl-1", "10.1.2.3")));
    assert!(!is_in(&who("etl", "etl-1", "11.1.2.3")));
    assert!(!is_in(&who("etl", "etl-1", "a unix socket")));
    assert!(!is_in(&Who { database: "other", ..who("etl", "etl-1", "10.1.2.3") }));
}

#[test]
fn the_first_class_whose_rule_holds_is_it() {
    let text = "[[classes]]\nname = 'silent'\nmatch = { application_name = [''] }\n\
                [[classes]]\nname = 'jobs'\nmatch = { application_name = '*-job, job-?' }\n\
                [[classes]]\nname = 'rest'\nmatch = {}\n";
    let config = config(&with(text));
    assert_eq!(class_of_application(&config, ""), "silent");
    assert_eq!(class_of_application(&config, "a-job"), "jobs");
    assert_eq!(class_of_application(&config, "job-1"), "jobs");
    assert_eq!(class_of_application(&config, "job-10"), "rest");
}

#[test]
fn addresses_match_networks_of_their_family() {
    let text = "[[classes]]\nname = 'one'\nmatch = { client = ['192.0.2.7', '2001:db8::1'] }\n\
                [[classes]]\nname = 'v4'\nmatch = { client = '::ffff:192.0.2.0/120' }\n\
                [[classes]]\nname = 'v6'\nmatch = { client = '::/0' }\n\
                [[classes]]\nname = 'local'\nmatch = { client = 'unix' }\n";
    let config = config(&with(text));
    assert_eq!(class_of_address(&config, "192.0.2.7"), "one");
    assert_eq!(class_of_address(&config, "::ffff:192.0.2.7"), "one");
    assert_eq!(class_of_address(&config, "2001:db8::1"), "one");
    assert_eq!(class_of_address(&config, "192.0.2.8"), "v4");
    assert_eq!(class_of_address(&config, "192.0.3.8"), "");
    assert_eq!(class_of_address(&config, "::1"), "v6");
    assert_eq!(class_of_address(&config, "a unix socket"), "local");
}

#[test]
fn clients_choose_what_their_user_may() {
    let text = "choose_class = 'a, b'\n[users.any]\npassword = 'x'\nchoose_class = ['a', '*']\n\
                [users.none]\npassword = 'x'\n[[classes]]\nname = 'a'\n[[classes]]\nname = 'b'\n\
                [[classes]]\nname = 'c'\n";
    let config = config(&with(text));
    let may = |user: &str, name: &str| {
        let user = config.users.get(user).map(AsRef::as_ref);
        config.chosen_class(user, name).is_some_and(|class| class.name == name)
    };
    assert!(may("app", "a") && may("app", "b") && !may("app", "c"));
    assert!(may("any", "c") && !may("any", "d"));
    assert!(!may("none", "a") && !may("nobody", "a"));
    assert_eq!(config.users["any"].choose_class, ClassChoice::Any);
    // Without `match` nobody else is in them.
    assert_eq!(class_of(&config, &who("app", "", "")), "");
}

#[test]
fn overload_is_told_and_limited_as_written() {
    let text = "[overload]\nshed = '100ms'\nmax_queued = 7\nerror_compat = 'pgbouncer'\n\
                max_logins = 3\nlogins_per_second = 20\nlogins_per_second_per_address = 0.5\n\
                login_wait = 2\n";
    let overload = config(&with(text)).overload;
    assert_eq!(overload.shed, Shed::Within(Duration::from_millis(100)));
    assert_eq!((overload.max_queued, overload.error_compat), (7, ErrorCompat::PgBouncer));
    assert_eq!(overload.logins.max_at_once, 3);
    assert_eq!(overload.logins.per_second, Some(20.0));
    assert_eq!(overload.logins.per_second_per_address, Some(0.5));
    assert_eq!(overload.logins.wait, Duration::from_secs(2));
    let shed = |value: &str| config(&with(&format!("[overload]\nshed = {value}\n"))).overload.shed;
    assert_eq!(shed("'off'"), Shed::Off);
    assert_eq!(shed("'auto'"), Shed::Auto);
    assert_eq!(shed("0.5"), Shed::Within(Duration::from_millis(500)));
}

#[test]
fn the_timeout_under_pressure_is_merged_as_others_are() {
    let text = "[overload]\nidle_transaction_pressure_timeout = '5s'\n[databases.b]\nhost = 'main'\n\
                idle_transaction_pressure_timeout = 0\n[users.b]\npassword = 'x'\n\
                idle_transaction_pressure_timeout = '1s'\n";
    let config = config(&with(text));
    let of = |database: &str, user: &str| {
        let (database, user) = (&config.databases[database], &config.users[user]);
        config.client_timeouts(database, Some(user)).idle_transaction_pressure_timeout
    };
    assert_eq!(config.overload.idle_transaction_pressure_timeout, Some(Duration::from_secs(5)));
    assert_eq!(of("app", "app"), Some(Duration::from_secs(5)));
    assert_eq!(of("b", "app"), None);
    assert_eq!(of("b", "b"), Some(Duration::from_secs(1)));
}

#[test]
fn the_console_shows_what_holds_under_overload() {
    let config = config(&with("[overload]\nshed = '100ms'\nlogins_per_second = 2.5\n"));
    let shown = |name: &str| {
        let mut settings = config.settings();
        let setting = settings.find(|setting| setting.name == name).expect("an option");
        (setting.value.to_owned(), setting.default.expect("a default"))
    };
    assert_eq!(shown("shed"), ("0.1".to_owned(), "auto".to_owned()));
    assert_eq!(shown("logins_per_second"), ("2.5".to_owned(), "0".to_owned()));
    assert_eq!(shown("max_logins"), ("64".to_owned(), "64".to_owned()));
}

/// A `match`, small enough that rules often cover each other.
fn any_match() -> impl Strategy<Value = String> {
    let list = |item: &'static str| proptest::collection::vec(item, 1..3);
    let names = move |name: &'static str| {
        prop_oneof![
            Just(String::new()),
            list("'[ab*?]{1,3}'").prop_map(move |list| format!("{name} = [{}], ", list.join(",")))
        ]
    };
    let networks = proptest::collection::vec((0_u8..4, 6_u8..=8), 1..4).prop_map(|networks| {
        let network = |(low, bits): &(u8, u8)| {
            format!("'10.0.0.{}/{}'", low >> (8 - bits) << (8 - bits), 24 + bits)
        };
        format!("client = [{}], ", networks.iter().map(network).collect::<Vec<_>>().join(","))
    });
    let client = prop_oneof![Just(String::new()), networks, Just("client = ['unix'], ".to_owned())];
    (names("user"), names("application_name"), client).prop_map(|(user, name, client)| {
        format!("{{ {} }}", (user + &name + &client).trim_end_matches(", "))
    })
}

proptest! {
    /// A class is refused as shadowed only if nobody gets to it; then whoever matches it matches
    /// the one before.
    #[test]
    fn a_class_that_somebody_gets_to_is_not_refused(
        wide in any_match(),
        narrow in any_match(),
        names in proptest::collection::vec("[abz]{1,4}", 8),
    ) {
        let text = with(&format!(
            "[[classes]]\nname = 'wide'\nmatch = {wide}\n[[classes]]\nname = 'narrow'\n\
             match = {narrow}\n[proxy]\nauth_type = 'trust'\n"
        ));
        let loaded = super::try_parse(&text);
        let is_shadowed = loaded.is_err();
        if is_shadowed {
            prop_assert!(errors(&text)[0].contains("[shadowed-class]"), "{:?}", loaded);
        }
        // Each of them alone is fine.
        let alone = |rule: &str| config(&with(&format!("[[classes]]\nname = 'x'\nmatch = {rule}\n")));
        let (wide, narrow) = (alone(&wide), alone(&narrow));
        for (index, name) in names.iter().enumerate() {
            let address = ["10.0.0.0", "10.0.0.1", "10.0.0.3", "::1", "unix"][index % 5];
            let who = who(&names[(index + 1) % 8], name, address);
            let (by_wide, by_narrow) = (class_of(&wide, &who) == "x", class_of(&narrow, &who) == "x");
            prop_assert!(!is_shadowed || !by_narrow || by_wide, "{who:?}");
            if let Ok(loaded) = &loaded {
                let expected = if by_wide { "wide" } else if by_narrow { "narrow" } else { "" };
                prop_assert_eq!(class_of(&loaded.config, &who), expected);
            }
        }
    }
}
