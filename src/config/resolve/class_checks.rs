//! What only shows when a class is seen beside others, and beside users, databases and hosts.

use super::checks::Tables;
use super::classes::Placed;
use super::{quota_checks, reserve_checks};
use crate::base::glob::Glob;
use crate::config::classes::{ClassChoice, Rule};
use crate::config::findings::{Findings, Problem};
use crate::config::reader::line_of;
use crate::config::{AuthType, Config, Host, suggest};
use std::collections::HashMap;

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
            Some(rule) => strangers(config, placed, rule, findings),
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
        let Some(first) = rules[..index].iter().position(|earlier| earlier.covers(rule)) else {
            if let Some(several) = rule.covered_by(&rules[..index]) {
                let several: Vec<_> = several.into_iter().map(|at| placed[at]).collect();
                let problem = shadowed(config, placed[index], &several);
                findings.warning(placed[index].rule_line(""), problem);
            }
            continue;
        };
        let problem = shadowed(config, placed[index], &[placed[first]]);
        findings.error(placed[index].rule_line(""), problem);
    }
}

/// So many classes are named.
const NAMED_MAX: usize = 4;

fn shadowed(config: &Config, placed: &Placed<'_>, by: &[&Placed<'_>]) -> Problem {
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
    Problem::new("shadowed-class", format!("{nobody}: {others} {holds} them all before."), action)
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
        let ClassChoice::Only(names) = &user.choose_class else { continue };
        let known = || config.classes.iter().map(|class| class.name.as_str());
        for name in names.iter().filter(|name| known().all(|other| other != name.as_str())) {
            let action = match suggest::nearest(name, known()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("Add `[[classes]]` with `name = \"{name}\"`, or take it out."),
            };
            let message = format!("`choose_class` has `{name}`, but there is no such class.");
            let line = tables.line("users", &user.name, "choose_class");
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
