//! The sections `[[classes]]`, each by itself.

use crate::base::glob::{CHARS_MAX, Glob};
use crate::config::classes::{
    AddressRule, Class, ClassLimits, Excess, Priority, Quota, Rate, Rule, ServerTime,
};
use crate::config::file::{Entry, RawTable, RawValue};
use crate::config::findings::{Findings, Problem};
use crate::config::options::Section;
use crate::config::overlay::Unnamed;
use crate::config::reader::{Reader, line_of};
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Each login may look at all of them.
const CLASSES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 63;
/// What IPv4 addresses begin with when they are written as IPv6, in bits.
const MAPPED_BITS: u8 = 96;

/// A class, and where it stands.
pub(super) struct Placed<'a> {
    pub(super) class: Arc<Class>,
    pub(super) table: &'a RawTable,
    /// Nothing was left out of it because it was wrong.
    pub(super) is_sound: bool,
}

impl Placed<'_> {
    /// The line of an option of `match`.
    pub(super) fn rule_line(&self, name: &str) -> usize {
        self.part_line(Section::ClassMatch, name)
    }

    /// The line of an option of the class, or of a part of it.
    pub(super) fn part_line(&self, section: Section, name: &str) -> usize {
        match self.table.entries.get(section.name()).map(|entry| &entry.raw.value) {
            _ if section == Section::Class => line_of(self.table, name),
            Some(RawValue::Table(table)) => line_of(table, name),
            _ => self.table.line,
        }
    }
}

/// The tables under `[[classes]]`.
pub(super) fn tables<'a>(entry: &'a Entry, findings: &mut Findings) -> Vec<&'a RawTable> {
    let mut found = Vec::new();
    let mut error = |line, message: String, name: &str| {
        let action = format!("Write the header `[[classes]]` and `name = \"{name}\"` under it.");
        findings.error(line, Problem::new("wrong-type", message, action));
    };
    match &entry.raw.value {
        RawValue::List(items) => {
            for item in items {
                match &item.value {
                    RawValue::Table(table) => found.push(table),
                    other => {
                        let message = format!("`classes` has {} in it.", other.type_name());
                        error(item.line, message, "batch");
                    }
                }
            }
        }
        // `[classes.batch]`, as databases and users have it, or `[classes]`.
        RawValue::Table(table) => {
            let is_name = |name: &str, entry: &Entry| {
                matches!(entry.raw.value, RawValue::Table(_))
                    && Section::Class.parts().all(|part| part.name() != name)
            };
            let name = table.entries.iter().find(|(name, entry)| is_name(name, entry));
            let name = name.map_or("batch", |(name, _)| name.as_str());
            let message = "classes are a list: their order matters.".to_owned();
            error(entry.key_line, message, name);
        }
        other => {
            let message = format!("`classes` is {}, not a section.", other.type_name());
            error(entry.key_line, message, "batch");
        }
    }
    found
}

/// All of them, in the file's order.
pub(super) fn resolve<'a>(tables: &[&'a RawTable], findings: &mut Findings) -> Vec<Placed<'a>> {
    if let Some(table) = tables.get(CLASSES_MAX) {
        let message = format!("there are more than {CLASSES_MAX} classes.");
        let action = "Put those with the same limits into one, with lists in its `match`.";
        findings.error(table.line, Problem::new("too-many", message, action));
    }
    let tables = tables.iter().take(CLASSES_MAX);
    tables
        .map(|table| {
            let before = findings.errors();
            let class = Arc::new(class(table, findings));
            Placed { class, table, is_sound: findings.errors() == before }
        })
        .collect()
}

/// What was set for classes that the file does not name.
pub(super) fn resolve_unnamed(
    tables: &Unnamed,
    findings: &mut Findings,
) -> BTreeMap<String, ClassLimits> {
    let limits = tables.iter().map(|(name, table)| (name.clone(), class(table, findings).limits));
    limits.collect()
}

fn class(table: &RawTable, findings: &mut Findings) -> Class {
    let mut reader = Reader::new(Section::Class, table, findings);
    let name = name(&mut reader);
    let priority = match reader.choice("priority") {
        "critical" => Priority::Critical,
        "sheddable" => Priority::Sheddable,
        _ => Priority::Normal,
    };
    let rule = reader.part(Section::ClassMatch).map(|table| rule(table, reader.findings));
    let on_excess = excess(reader.choice("on_excess"));
    let quota = quota(&mut reader, on_excess);
    let mut limits = ClassLimits {
        priority,
        weight: reader.count("weight"),
        reserved: reader.count("reserved"),
        quota,
        per_address: Quota::default(),
    };
    if limits.quota.max_in_flight > 0 && limits.reserved > limits.quota.max_in_flight {
        let most = limits.quota.max_in_flight;
        let message =
            format!("`reserved` is {}, more than `max_in_flight`, {most}.", limits.reserved);
        let action = format!("Write {most} or less: more are never used.");
        reader.error("reserved", Problem::new("contradiction", message, action));
    }
    if limits.quota.max_clients > 0 && limits.reserved > limits.quota.max_clients {
        let most = limits.quota.max_clients;
        let message = format!(
            "`reserved` is {}, more than `max_clients`, {most}: each client has one server.",
            limits.reserved
        );
        let action = format!("Write {most} or less: more are never used.");
        reader.error("reserved", Problem::new("contradiction", message, action));
    }
    let part = reader.part(Section::ClassPerAddress);
    // What becomes of excess is what becomes of each address' too.
    let has_rate = |table: &RawTable| table.entries.contains_key("transactions_per_second");
    if !has_rate(table) && !part.is_some_and(has_rate) {
        needs_rate(&mut reader, "on_excess");
    }
    if let Some(part) = part {
        limits.per_address = per_address(part, &limits.quota, on_excess, reader.findings);
    }
    Class { name, rule, limits }
}

fn per_address(
    table: &RawTable,
    class: &Quota,
    on_excess: Excess,
    findings: &mut Findings,
) -> Quota {
    let mut reader = Reader::new(Section::ClassPerAddress, table, findings);
    let on_excess = reader.own_choice("on_excess").map_or(on_excess, excess);
    let each = quota(&mut reader, on_excess);
    if !reader.is_written("transactions_per_second") {
        needs_rate(&mut reader, "on_excess");
    }
    for ((name, each), (_, all)) in numbers(&each).into_iter().zip(numbers(class)) {
        if all > 0.0 && each > all && reader.is_written(name) {
            let message =
                format!("`{name}` of each address is {each}, more than that of the class, {all}.");
            let action = format!("Write {all} or less, or leave one of the two out.");
            reader.error(name, Problem::new("contradiction", message, action));
        }
    }
    each
}

/// What is limited, by name. 0: it is not.
fn numbers(quota: &Quota) -> [(&'static str, f64); 6] {
    [
        ("max_clients", quota.max_clients.into()),
        ("max_in_flight", quota.max_in_flight.into()),
        ("max_queued", quota.max_queued.into()),
        ("transactions_per_second", quota.rate.map_or(0.0, |rate| rate.per_second)),
        ("burst", quota.rate.map_or(0.0, |rate| rate.burst.into())),
        ("server_seconds_per_second", quota.server_time.map_or(0.0, |time| time.per_second)),
    ]
}

/// Reads all of a quota but `on_excess`, which is not the same in both places.
fn quota(reader: &mut Reader<'_>, on_excess: Excess) -> Quota {
    let per_second = reader.number("transactions_per_second");
    let burst = reader.own_count("burst");
    if !reader.is_written("transactions_per_second") {
        needs_rate(reader, "burst");
    }
    Quota {
        max_clients: reader.count("max_clients"),
        max_in_flight: reader.count("max_in_flight"),
        max_queued: reader.count("max_queued"),
        rate: per_second.map(|per_second| Rate {
            per_second,
            burst: burst.unwrap_or_else(|| whole(per_second)).max(1),
            on_excess,
        }),
        server_time: reader.number("server_seconds_per_second").map(|per_second| ServerTime {
            per_second,
            burst: Duration::from_secs_f64(per_second),
        }),
    }
}

/// Rounded up. Rates are positive and small: the options table says so.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.001 to 1,000,000")]
pub(super) fn whole(number: f64) -> u32 {
    number.ceil() as u32
}

fn excess(word: &str) -> Excess {
    if word == "reject" { Excess::Reject } else { Excess::Delay }
}

fn needs_rate(reader: &mut Reader<'_>, name: &str) {
    if reader.is_written(name) {
        let message = format!("`{name}` is there without `transactions_per_second`.");
        let action = "Write `transactions_per_second` too, or leave it out.";
        reader.error(name, Problem::new("contradiction", message, action));
    }
}

fn name(reader: &mut Reader<'_>) -> String {
    let Some(name) = reader.text("name") else {
        let action = "Write `name = \"batch\"`, or what it is to be called.";
        reader.error("name", Problem::new("missing-key", "the class has no `name`.", action));
        return String::new();
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(is_plain) || name.len() > NAME_BYTES_MAX {
        let message = format!("`name` is `{name}`, which cannot be the name of a class.");
        let action = "Write letters, digits, `-`, `_` and `.`, 63 at most.";
        reader.error("name", Problem::new("bad-name", message, action));
    }
    name
}

fn rule(table: &RawTable, findings: &mut Findings) -> Rule {
    let mut reader = Reader::new(Section::ClassMatch, table, findings);
    Rule {
        database: globs(&mut reader, "database"),
        user: globs(&mut reader, "user"),
        application_name: globs(&mut reader, "application_name"),
        client: addresses(&mut reader),
    }
}

/// What is written. Nothing written is everybody; a list with nothing in it would be nobody.
fn items(reader: &mut Reader<'_>, name: &str) -> Vec<String> {
    let items = reader.own_list(name);
    if items.as_ref().is_some_and(Vec::is_empty) {
        let action = match name {
            "application_name" => "Leave it out for any; `[\"\"]` is clients that give none.",
            _ => "Leave it out for any, or write whom it is for.",
        };
        let message = format!("`{name}` is empty: nobody is in the class.");
        reader.error(name, Problem::new("bad-value", message, action));
    }
    items.unwrap_or_default()
}

fn globs(reader: &mut Reader<'_>, name: &str) -> Vec<Glob> {
    let mut found = Vec::new();
    for text in items(reader, name) {
        // Everybody has a user and a database.
        if text.is_empty() && name != "application_name" {
            let problem = Problem::new(
                "bad-value",
                format!("`{name}` has an empty name, which nobody has."),
                "Take it out of the list.",
            );
            reader.error(name, problem);
        }
        if let Some(glob) = Glob::new(&text) {
            found.push(glob);
        } else {
            let message = format!("`{name}` has a pattern of more than {CHARS_MAX} characters.");
            let action = "No name is as long: write less, with `*` for the rest.";
            reader.error(name, Problem::new("bad-value", message, action));
        }
    }
    found
}

fn addresses(reader: &mut Reader<'_>) -> Vec<AddressRule> {
    let mut found = Vec::new();
    for text in items(reader, "client") {
        match address(&text) {
            Ok(rule) => found.push(rule),
            Err(action) => {
                let message =
                    format!("`client` has `{text}`, which is neither an address nor a network.");
                reader.error("client", Problem::new("bad-value", message, action));
            }
        }
    }
    found
}

/// An error is what to write instead.
fn address(text: &str) -> Result<AddressRule, String> {
    if text == "unix" {
        return Ok(AddressRule::Unix);
    }
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(AddressRule::Network(address.to_canonical().into()));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return Err("Write an address such as \"10.0.0.7\", a network such as \"10.0.0.0/8\", or \
                    \"unix\"."
            .to_owned());
    };
    if network.trunc() != network {
        let (network, address) = (network.trunc(), network.addr());
        return Err(format!("Write \"{network}\", or \"{address}\" for that address alone."));
    }
    Ok(AddressRule::Network(canonical(network)))
}

/// A network of IPv4 addresses as such, also if it is written as IPv6.
fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(bits)) if network.max_prefix_len() == 128 => {
            Ipv4Net::new(address, bits).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}
