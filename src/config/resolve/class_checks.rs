//! What only shows when a class is seen beside others, and beside users, databases and hosts.

use super::checks::Tables;
use super::classes::Placed;
use super::{quota_checks, reserve_checks};
use crate::base::glob::Glob;
use crate::config::classes::{AddressRule, ClassChoice, Rule};
use crate::config::findings::{Findings, Problem};
use crate::config::reader::line_of;
use crate::config::{AuthType, Config, Host, suggest};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) fn check(
    config: &Config,
    classes: &[Placed<'_>],
    tables: &Tables<'_>,
    findings: &mut Findings,
) {
    names(classes, findings);
    shadows(config, classes, findings);
    choices(config, tables, findings);
    for host in config.hosts.values() {
        reserves(config, host, classes, findings);
        reserve_checks::check(config, host, classes, findings);
    }
    for placed in classes.iter().filter(|placed| placed.is_sound) {
        quota_checks::check(config, placed, findings);
        match &placed.class.rule {
            Some(rule) => {
                strangers(config, placed, rule, findings);
                without_socket(config, placed, rule, findings);
            }
            None => nobody(config, placed, findings),
        }
    }
}

fn names(classes: &[Placed<'_>], findings: &mut Findings) {
    let mut lines = HashMap::new();
    for placed in classes.iter().filter(|placed| !placed.class.name.is_empty()) {
        let (name, line) = (placed.class.name.as_str(), line_of(placed.table, "name"));
        if let Some(first) = lines.get(name) {
            let message = format!("there is a class `{name}` on line {first} already.");
            let problem = Problem::new("class-twice", message, "Take another name.");
            findings.error(line, problem);
        } else {
            lines.insert(name, line);
        }
    }
}

/// Rules that never hold, because those before them always do.
fn shadows(config: &Config, classes: &[Placed<'_>], findings: &mut Findings) {
    let sound = classes.iter().filter(|placed| placed.is_sound);
    let (placed, rules): (Vec<_>, Vec<_>) =
        sound.filter_map(|placed| Some((placed, placed.class.rule.as_ref()?))).unzip();
    for (index, rule) in rules.iter().enumerate() {
        let earlier = &rules[..index];
        let by_all = || rule.covered_by(earlier).map(|by| (by, "them all"));
        let one = earlier.iter().position(|earlier| earlier.covers(rule));
        let one = one.map(|first| (BTreeSet::from([first]), "them all"));
        let line = placed[index].rule_line("");
        let by = |by: BTreeSet<usize>| by.into_iter().map(|at| placed[at]).collect::<Vec<_>>();
        if let Some((others, whom)) = one.or_else(by_all) {
            findings.error(line, shadowed(config, placed[index], &by(others), whom));
        } else if let Some((others, whom)) = by_names(config, rule, earlier) {
            // Somebody may come who is in none of these: whoever is left is a good class to end with.
            findings.warning(line, shadowed(config, placed[index], &by(others), whom));
        }
    }
}

/// The rules that match, between them, all users and databases there are of those that this one is for;
/// where these are known.
fn by_names(
    config: &Config,
    rule: &Rule,
    earlier: &[&Rule],
) -> Option<(BTreeSet<usize>, &'static str)> {
    // With trust, anybody is any user.
    let users = (config.auth.kind != AuthType::Trust).then(|| {
        let others: Vec<_> = earlier.iter().map(|earlier| &earlier.user[..]).collect();
        alike(config.users.keys(), &rule.user, &others)
    });
    let databases = (!config.databases.contains_key("*")).then(|| {
        let others: Vec<_> = earlier.iter().map(|earlier| &earlier.database[..]).collect();
        alike(config.databases.keys(), &rule.database, &others)
    });
    let (users, databases) = (users.flatten(), databases.flatten());
    let of_users = users.clone().map(|user| Rule { user, ..(*rule).clone() });
    let of_databases = databases.clone().map(|database| Rule { database, ..(*rule).clone() });
    let of_both = users.zip(databases);
    let of_both = of_both.map(|(user, database)| Rule { database, user, ..(*rule).clone() });
    let named = [
        (of_users, "all users there are"),
        (of_databases, "all databases there are"),
        (of_both, "all users and databases there are"),
    ];
    named.into_iter().find_map(|(rule, whom)| Some((rule?.covered_by(earlier)?, whom)))
}

/// So many names and rules are compared for each class, of which there may be a thousand.
const COMPARED_MAX: usize = 10_000;

/// Of the names that one of `globs` matches, one each of those that all of `others` treat alike: there may
/// be thousands. `None`: nobody has such a name, or there is too much to compare.
fn alike<'a>(
    names: impl ExactSizeIterator<Item = &'a String>,
    globs: &[Glob],
    others: &[&[Glob]],
) -> Option<Vec<Glob>> {
    let any = |globs: &[Glob], name: &str| globs.iter().any(|glob| glob.matches(name));
    if names.len().saturating_mul(others.len()) > COMPARED_MAX {
        return None;
    }
    let mut found = BTreeMap::new();
    for name in names.filter(|name| globs.is_empty() || any(globs, name)) {
        let by: Vec<bool> = others.iter().map(|globs| any(globs, name)).collect();
        if let Entry::Vacant(entry) = found.entry(by) {
            entry.insert(Glob::new(name)?);
        }
    }
    (!found.is_empty()).then(|| found.into_values().collect())
}

/// So many classes are named.
const NAMED_MAX: usize = 4;

fn shadowed(config: &Config, placed: &Placed<'_>, by: &[&Placed<'_>], whom: &str) -> Problem {
    let name = &placed.class.name;
    let others = listed(by);
    let (holds, them, their_match) = match by {
        [one] => {
            let other = &one.class.name;
            ("matches", format!("`{other}`"), format!("the `match` of `{other}`"))
        }
        _ => ("match", "them".to_owned(), "their `match`".to_owned()),
    };
    let (nobody, action) = if is_chosen(config, name) {
        (
            format!("nobody is in class `{name}` by its `match`, only who chooses it"),
            format!("Leave its `match` out, move it before {them}, or narrow {their_match}."),
        )
    } else {
        (
            format!("no client gets to class `{name}`"),
            format!("Move `{name}` before {them}, or narrow {their_match}."),
        )
    };
    Problem::new("shadowed-class", format!("{nobody}: {others} {holds} {whom} before."), action)
}

/// Classes, by name and line.
pub(super) fn listed(classes: &[&Placed<'_>]) -> String {
    let named =
        |other: &&Placed<'_>| format!("`{}` on line {}", other.class.name, other.table.line);
    let mut others: Vec<_> = classes.iter().take(NAMED_MAX).map(named).collect();
    if classes.len() > NAMED_MAX {
        others.push(format!("{} more", classes.len() - NAMED_MAX));
    }
    let last = others.pop().unwrap_or_default();
    match others.as_slice() {
        [] => last,
        _ => format!("{} and {last}", others.join(", ")),
    }
}

/// Classes that users may choose, and that are not there.
fn choices(config: &Config, tables: &Tables<'_>, findings: &mut Findings) {
    for user in config.users.values() {
        let line = tables.line("users", &user.name, "choose_class");
        let ClassChoice::Only(names) = &user.choose_class else {
            if config.classes.is_empty() {
                let message = "`choose_class` is `*`, but there are no classes to choose from.";
                let action = "Add `[[classes]]`, or take it out.";
                findings.error(line, Problem::new("unknown-class", message, action));
            }
            continue;
        };
        let known = || config.classes.iter().map(|class| class.name.as_str());
        for name in names.iter().filter(|name| known().all(|other| other != name.as_str())) {
            let action = match suggest::nearest(name, known()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("Add `[[classes]]` with `name = \"{name}\"`, or take it out."),
            };
            let message = format!("`choose_class` has `{name}`, but there is no such class.");
            findings.error(line, Problem::new("unknown-class", message, action));
        }
    }
}

/// More servers of a host kept back than it has.
fn reserves(config: &Config, host: &Host, classes: &[Placed<'_>], findings: &mut Findings) {
    let Some(most) = host.max_connections else { return };
    let mut sum = 0_u32;
    for placed in classes.iter().filter(|placed| placed.is_sound) {
        let reserved = placed.class.limits.reserved;
        if reserved == 0 || !may_be_on(config, host, placed) {
            continue;
        }
        sum = sum.saturating_add(reserved);
        if sum > most {
            let message = format!(
                "with this, classes reserve {sum} servers of `[hosts.{}]`, which has {most} in all.",
                host.name
            );
            let action = "Reserve less: what is left over is for everybody else.";
            let problem = Problem::new("contradiction", message, action);
            findings.error(line_of(placed.table, "reserved"), problem);
            return;
        }
    }
}

fn may_be_on(config: &Config, host: &Host, placed: &Placed<'_>) -> bool {
    let mut here = config.databases.values().filter(|database| database.host.name == host.name);
    let Some(rule) = &placed.class.rule else {
        return is_chosen(config, &placed.class.name) && here.next().is_some();
    };
    let is_for = |name: &str| {
        let is_other =
            |glob: &Glob| glob.is_literal() && config.databases.contains_key(glob.as_str());
        rule.database.is_empty()
            || rule.database.iter().any(|glob| match name {
                "*" => !is_other(glob),
                _ => glob.matches(name),
            })
    };
    here.any(|database| is_for(&database.name))
}

fn is_chosen(config: &Config, name: &str) -> bool {
    config.users.values().any(|user| user.choose_class.has(name))
}

/// Names in a rule that no client can have.
fn strangers(config: &Config, placed: &Placed<'_>, rule: &Rule, findings: &mut Findings) {
    let mut warn = |option, glob: &Glob, known: Vec<&str>| {
        let near = suggest::nearest(glob.as_str(), known.into_iter());
        let action = match near.filter(|_| glob.is_literal()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Add it to `[{option}s]`, or take it out."),
        };
        let message = format!("`{option}` has `{glob}`, but there is no such {option}.");
        let problem = Problem::new(
            if option == "user" { "unknown-user" } else { "unknown-database" },
            message,
            action,
        );
        findings.warning(placed.rule_line(option), problem);
    };
    if !config.databases.contains_key("*") {
        let known = || config.databases.keys().map(String::as_str);
        for glob in rule.database.iter().filter(|glob| !known().any(|name| glob.matches(name))) {
            warn("database", glob, known().collect());
        }
    }
    // With trust, anybody is any user. Those of `auth_file` are among the users.
    if config.auth.kind != AuthType::Trust {
        let known = || config.users.keys().map(String::as_str);
        for glob in rule.user.iter().filter(|glob| !known().any(|name| glob.matches(name))) {
            warn("user", glob, known().collect());
        }
    }
}

/// Clients over a socket that is turned off.
fn without_socket(config: &Config, placed: &Placed<'_>, rule: &Rule, findings: &mut Findings) {
    let is_unix = |rule: &AddressRule| *rule == AddressRule::Unix;
    if config.listen.unix_socket_dir.is_some() || !rule.client.iter().any(is_unix) {
        return;
    }
    let line = placed.rule_line("client");
    let message = "`client` has `unix`, but `unix_socket_dir` is empty: there is no such socket.";
    let action = "Set `unix_socket_dir`, or write other addresses.";
    if rule.client.iter().all(is_unix) {
        findings.error(line, Problem::new("contradiction", message, action));
    } else {
        let action = "Set `unix_socket_dir`, or take it out.";
        findings.warning(line, Problem::new("never-reached", message, action));
    }
}

/// A class that nobody is in.
fn nobody(config: &Config, placed: &Placed<'_>, findings: &mut Findings) {
    let name = &placed.class.name;
    if is_chosen(config, name) {
        return;
    }
    let problem = Problem::new(
        "class-without-clients",
        format!(
            "no client can be in class `{name}`: it has no `match`, and no user may choose it."
        ),
        "Write `match = { ... }`, or name it in the `choose_class` of a user.",
    );
    findings.warning(placed.table.line, problem);
}
