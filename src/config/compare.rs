//! Two configurations side by side: what differs, and what of it only a restart takes up.

use super::options::{self, Change, Section};
use super::{Config, Shown};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

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
        if (&before.classes, &before.own_classes) != (&self.classes, &self.own_classes) {
            found.push("classes".to_owned());
        }
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
