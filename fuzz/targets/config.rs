//! Any text as a configuration, or anywhere in one with every option: a value that means the same the
//! next time, or findings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::config::classes::{ClassLimits, Who};
use pgweir::config::{parse, reference};
use std::io;
use std::path::Path;
use std::sync::LazyLock;

/// A file with every option in it.
static EVERYTHING: LazyLock<String> =
    LazyLock::new(|| reference::default_file().replace("\n#", "\n"));

fuzz_target!(|input: (bool, u16, u8, &str, &str)| {
    let (is_inside, at, lost, text, users) = input;
    let text = if is_inside { put_inside(at, lost, text) } else { text.to_owned() };
    // The only file that it can name.
    let read = |path: &Path| match path.to_str() {
        Some("dir/users.txt") => Ok(users.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    match parse(&text, "dir/proxy.toml", &read) {
        Ok(loaded) => {
            let again = parse(&text, "dir/proxy.toml", &read).expect("as the first time");
            assert_eq!(again.config, loaded.config);
            for database in loaded.config.databases.values() {
                let settings = loaded.config.pool_settings(database, None);
                assert!(settings.pool_size > 0, "a pool that can serve nobody");
            }
            assert!(loaded.config.process.workers > 0, "nobody serves clients");
            for class in &loaded.config.classes {
                judge(&class.limits);
            }
            // `users` is as good as any text for what a client calls itself.
            let who = Who { database: "app", user: "app", application_name: users, address: None };
            if let Some(class) = loaded.config.class_of(&who) {
                assert!(class.rule.as_ref().is_some_and(|rule| rule.matches(&who)));
            }
        }
        Err(findings) => assert!(!findings.is_empty()),
    }
});

/// Limits that can be obeyed, and serve somebody.
fn judge(limits: &ClassLimits) {
    assert!((1..=1_000).contains(&limits.weight), "no share");
    let most = limits.quota.max_in_flight;
    assert!(most == 0 || limits.reserved <= most, "more reserved than is ever used");
    for quota in [&limits.quota, &limits.per_address] {
        for per_second in quota
            .rate
            .map(|rate| rate.per_second)
            .into_iter()
            .chain(quota.server_time.map(|time| time.per_second))
        {
            assert!(per_second.is_finite() && per_second > 0.0, "never served");
        }
        assert!(quota.rate.is_none_or(|rate| rate.burst > 0), "never served");
        assert!(quota.server_time.is_none_or(|time| !time.burst.is_zero()), "never served");
    }
}

/// The text in the place of `lost` bytes.
fn put_inside(at: u16, lost: u8, text: &str) -> String {
    let cut = |at: usize| EVERYTHING.floor_char_boundary(at.min(EVERYTHING.len()));
    let at = usize::from(at);
    let (before, after) = (&EVERYTHING[..cut(at)], &EVERYTHING[cut(at + usize::from(lost))..]);
    [before, text, after].concat()
}
