//! Two configurations side by side: what differs, and what of it only a restart takes up.

use super::classes::{Class, ClassLimits, Quota, Rate};
use super::options::{self, Change, Section};
use super::{Config, Shown};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

impl Config {
    /// Keeps what the running process cannot change, and answers with the options that would have been
    /// otherwise.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let shown = Section::SHOWN.into_iter().flat_map(options::of);
        let fixed = shown.filter(|option| option.change == Change::Restart);
        let mut differ = Vec::new();
        for option in fixed {
            let (Some(new), Some(old)) =
                (self.shown.get_mut(option.name), running.shown.get(option.name))
            else {
                continue;
            };
            let pending = (new.value != old.value).then(|| std::mem::take(&mut new.value));
            if pending.is_some() {
                differ.push(option.name);
            }
            *new = Shown { pending, ..old.clone() };
        }
        self.listen = running.listen.clone();
        self.process.workers = running.process.workers;
        self.process.log_format = running.process.log_format;
        self.process.pid_file.clone_from(&running.process.pid_file);
        self.process.takeover_socket.clone_from(&running.process.takeover_socket);
        differ
    }

    /// What differs, by name: options with their values, sections without, because they have passwords.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, new) in &self.shown {
            match before.shown.get(name) {
                Some(old) if old.value != new.value => {
                    found.push(format!("{name} {} -> {}", quoted(&old.value), quoted(&new.value)));
                }
                _ => {}
            }
        }
        changed("hosts", &before.hosts, &self.hosts, &mut found);
        changed("databases", &before.databases, &self.databases, &mut found);
        changed("users", &before.users, &self.users, &mut found);
        class_changes(before, self, &mut found);
        found
    }

    /// What tells two configurations apart, for people who compare processes. Passwords are not in it:
    /// whoever reads it could try them out.
    pub fn hash(&self) -> String {
        let bare = Self { shown: BTreeMap::new(), ..self.clone() };
        // Secrets print nothing of themselves.
        let hash = Sha256::digest(format!("{bare:?}"));
        hash.iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn quoted(value: &str) -> String {
    if value.is_empty() || value.contains(' ') { format!("{value:?}") } else { value.to_owned() }
}

fn changed<T: PartialEq>(
    section: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    found: &mut Vec<String>,
) {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    found.extend(gone.map(|name| format!("{section}.{name} removed")));
    for (name, new) in after {
        match before.get(name) {
            None => found.push(format!("{section}.{name} added")),
            Some(old) if old != new => found.push(format!("{section}.{name}")),
            Some(_) => {}
        }
    }
}

/// Classes by name, with each limit that differs: who looks for the reason of a wait wants to know.
fn class_changes(before: &Config, after: &Config, found: &mut Vec<String>) {
    let so_far = found.len();
    let of = |config: &Config, name: &str| -> Option<Arc<Class>> {
        config.classes.iter().find(|class| class.name == name).cloned()
    };
    for class in &before.classes {
        if of(after, &class.name).is_none() {
            found.push(format!("classes.{} removed", class.name));
        }
    }
    for class in &after.classes {
        let name = &class.name;
        match of(before, name) {
            None => found.push(format!("classes.{name} added")),
            Some(old) => {
                if old.rule != class.rule {
                    found.push(format!("classes.{name} match"));
                }
                limit_changes(name, &old.limits, &class.limits, found);
            }
        }
    }
    let names: BTreeSet<_> = before.own_classes.keys().chain(after.own_classes.keys()).collect();
    for name in names {
        let old = before.own_class(name, &before.default_class);
        limit_changes(name, old, after.own_class(name, &after.default_class), found);
    }
    let is_same = (&before.classes, &before.own_classes) == (&after.classes, &after.own_classes);
    if !is_same && found.len() == so_far {
        found.push("classes in another order".to_owned());
    }
}

fn limit_changes(name: &str, old: &ClassLimits, new: &ClassLimits, found: &mut Vec<String>) {
    for ((option, old), (_, new)) in limits(old).into_iter().zip(limits(new)) {
        if old != new {
            found.push(format!("classes.{name} {option} {old} -> {new}"));
        }
    }
}

/// By the names of the options.
fn limits(of: &ClassLimits) -> Vec<(String, String)> {
    let text = |name: &str, value: String| (name.to_owned(), value);
    let mut all = vec![
        text("priority", format!("{:?}", of.priority).to_lowercase()),
        text("weight", of.weight.to_string()),
        text("reserved", of.reserved.to_string()),
    ];
    all.extend(quota("", &of.quota));
    all.extend(quota("per_address.", &of.per_address));
    all
}

fn quota(prefix: &str, quota: &Quota) -> Vec<(String, String)> {
    let count = |most: u32| if most == 0 { NONE.to_owned() } else { most.to_string() };
    let of_rate =
        |text: &dyn Fn(&Rate) -> String| quota.rate.as_ref().map_or(NONE.to_owned(), text);
    let server_time = quota.server_time.map(|it| it.per_second.to_string());
    [
        ("max_clients", count(quota.max_clients)),
        ("max_in_flight", count(quota.max_in_flight)),
        ("max_queued", count(quota.max_queued)),
        ("transactions_per_second", of_rate(&|rate| rate.per_second.to_string())),
        ("burst", of_rate(&|rate| rate.burst.to_string())),
        ("on_excess", of_rate(&|rate| format!("{:?}", rate.on_excess).to_lowercase())),
        ("server_seconds_per_second", server_time.unwrap_or_else(|| NONE.to_owned())),
    ]
    .map(|(name, value)| (format!("{prefix}{name}"), value))
    .into()
}

/// What a limit is called that is not there.
const NONE: &str = "none";
