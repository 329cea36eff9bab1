//! Properties over many files.

use super::{no_files, try_parse, with};
use crate::config::options::{self, Kind, Opt, Section};
use crate::config::reader::off_if_zero;
use crate::config::{parse, units};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::time::Duration;

fn any_option() -> impl Strategy<Value = (Section, &'static Opt)> {
    let all: Vec<_> = Section::ALL
        .into_iter()
        .flat_map(|section| options::of(section).map(move |option| (section, option)))
        .collect();
    (0..all.len()).prop_map(move |index| all[index])
}

/// Texts that a value may be, right and wrong.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        "[^'\r\n]{0,20}".prop_map(|text| format!("'{text}'")),
        "-?[0-9]{1,25}(ms|s|min|h|d|kB|MB)".prop_map(|text| format!("'{text}'")),
        "'[a-z0-9.:,/*@-]{0,12}'".prop_map(|text| format!("[{text}]")),
        Just("{ a = 1 }".to_owned()),
        Just("1979-05-27".to_owned()),
    ]
}

/// A text that is valid for the option.
fn valid_value(kind: &Kind) -> String {
    match kind {
        Kind::AutoOrCount { least, .. } | Kind::Count { least, .. } => (least + 1).to_string(),
        Kind::Boolean => "true".to_owned(),
        Kind::Choice(words) => format!("'{}'", words[words.len() - 1]),
        Kind::Duration { .. } => "'7s'".to_owned(),
        Kind::List => "['127.0.0.1']".to_owned(),
        Kind::Mode => "'0700'".to_owned(),
        Kind::Number { .. } => "1.5".to_owned(),
        Kind::Secret => "'x'".to_owned(),
        Kind::Size { .. } => "'2MB'".to_owned(),
        Kind::Text => "''".to_owned(),
        Kind::WordOrDuration { .. } => "'70ms'".to_owned(),
    }
}

fn header(section: Section) -> &'static str {
    match section {
        Section::Proxy => "[proxy]\n",
        Section::Host => "[hosts.x]\n",
        Section::Database => "[databases.x]\n",
        Section::User => "[users.x]\n",
        Section::Class => "[[classes]]\n",
        Section::ClassMatch => "[[classes]]\nname = 'x'\n[classes.match]\n",
        Section::ClassPerAddress => "[[classes]]\nname = 'x'\n[classes.per_address]\n",
        Section::Overload => "[overload]\n",
    }
}

/// What an option's section needs beside it.
fn beside(section: Section, name: &str) -> &'static str {
    match (section, name) {
        (Section::Class, "burst" | "on_excess") => "name = 'x'\ntransactions_per_second = 1\n",
        (Section::ClassPerAddress, "burst" | "on_excess") => "transactions_per_second = 1\n",
        (Section::Class, "name") | (Section::Database, "host") => "",
        (Section::Class, _) => "name = 'x'\n",
        (Section::Database, "server_password") => "host = 'main'\nserver_user = 'x'\n",
        (Section::Database, _) => "host = 'main'\n",
        (_, "server_password") => "server_user = 'x'\n",
        (Section::User, "choose_class") => "[[classes]]\nname = 'x'\n",
        _ => "",
    }
}

/// A file with one option in it, and what its section needs beside it.
fn file_with((section, option): (Section, &Opt), value: &str) -> String {
    let beside = beside(section, option.name);
    with(&format!("{}{} = {value}\n{beside}", header(section), option.name))
}

#[test]
fn every_option_takes_a_valid_value() {
    for section in Section::ALL {
        for option in options::of(section) {
            let value = match (section, option.name) {
                (Section::Database, "host") => "'main'".to_owned(),
                (Section::Host, "host") => "'db'".to_owned(),
                (Section::Class, "name") => "'x'".to_owned(),
                (Section::User, "choose_class") => "'*'".to_owned(),
                (_, "multiplex_except") => "['report']".to_owned(),
                _ => valid_value(&option.kind),
            };
            let loaded = try_parse(&file_with((section, option), &value));
            assert!(loaded.is_ok(), "{} = {value}: {loaded:?}", option.name);
        }
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let dotted = format!("{}a = 1\n", "a.".repeat(50_000));
    let nested = format!("a = {}\n", "[".repeat(50_000));
    for text in [dotted, nested] {
        assert!(parse(&text, "f", &no_files).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in ".*", lines in "([a-z_.\\[\\]\"'=#0-9{},-]{0,12}[ \n]){0,30}") {
        for text in [&text, &lines] {
            if let Err(findings) = parse(text, "f", &no_files) {
                prop_assert!(!findings.is_empty());
                prop_assert!(findings.iter().all(|finding| finding.place.is_some()));
            }
        }
    }

    /// A wrong value is an error on its line, a right one is none; never a panic.
    #[test]
    fn any_value_of_any_option_is_judged(option in any_option(), value in any_value()) {
        if let Err(findings) = try_parse(&file_with(option, &value)) {
            prop_assert!(findings.iter().all(|text| text.starts_with("dir/proxy.toml:")), "{findings:?}");
        }
    }

    #[test]
    fn cut_files_are_read_without_a_panic(cut in 0_usize..25_000) {
        let text = crate::config::reference::default_file().replace("\n#", "\n");
        let cut = text.floor_char_boundary(cut.min(text.len()));
        drop(parse(&text[..cut], "f", &no_files));
    }

    #[test]
    fn valid_values_survive(ms in 0_u64..315_360_000_000, size in 1_u32..100_000, bytes in 1024_u32..=2_147_483_647) {
        let duration = Duration::from_millis(ms);
        let text = with(&format!(
            "[proxy]\nquery_timeout = '{}'\nmin_pool_size = {size}\ndefault_pool_size = {size}\n\
             max_packet_size = '{}'\n",
            units::show_duration(duration),
            units::show_size(bytes.into()),
        ));
        let config = try_parse(&text).expect("valid").config;
        prop_assert_eq!(config.timeouts.query_timeout, off_if_zero(duration));
        prop_assert_eq!(config.pool_defaults.pool_size, size);
        prop_assert_eq!(config.clients.max_packet_size, bytes);
    }

    /// Line numbers are right wherever the problem is.
    #[test]
    fn a_finding_is_on_its_line(before in 0_usize..50) {
        let text = with(&format!("[proxy]\n{}listen_port = 0\n", "# é\n".repeat(before)));
        let found = try_parse(&text).expect_err("out of range");
        let start = format!("dir/proxy.toml:{}: ", before + 7);
        prop_assert!(found[0].starts_with(&start), "{found:?}");
    }
}
