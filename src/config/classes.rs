//! Classes: clients that share a priority, a fair share and a quota; and who is in which.

use super::{Config, User};
use crate::base::glob::Glob;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// A rule that is more than so many rules of one database, user, name and network each is not looked
/// at in such detail: each of a thousand classes is compared with all before it.
const PARTS_MAX: usize = 256;

/// A `[[classes]]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: String,
    /// `None`: only those who choose it are in it.
    pub rule: Option<Rule>,
    pub limits: ClassLimits,
}

/// Which clients a class is for: those of whom every part holds. An empty part holds for anybody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    pub database: Vec<Glob>,
    pub user: Vec<Glob>,
    pub application_name: Vec<Glob>,
    pub client: Vec<AddressRule>,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressRule {
    /// IPv4 is never written as IPv6 here.
    Network(IpNet),
    Unix,
}

/// Who a client is, as far as it has told. The names are its own, not those in Postgres.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Who<'a> {
    pub database: &'a str,
    pub user: &'a str,
    pub application_name: &'a str,
    /// `None`: over the unix socket.
    pub address: Option<IpAddr>,
}

/// What a class may have, and what it is worth beside others.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassLimits {
    pub priority: Priority,
    /// Its share of server time when there is not enough for all: 1 to 1000.
    pub weight: u32,
    /// Servers of a host that are kept back for it while it has use for them.
    pub reserved: u32,
    /// Of all its clients together.
    pub quota: Quota,
    /// Of each client address in it.
    pub per_address: Quota,
}

/// Limits. 0 and `None`: none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    pub max_clients: u32,
    /// Servers held at once, on one host.
    pub max_in_flight: u32,
    /// Requests that wait at once, on one host.
    pub max_queued: u32,
    pub rate: Option<Rate>,
    pub server_time: Option<ServerTime>,
}

/// Transactions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Positive and finite.
    pub per_second: f64,
    /// So many at once, after a pause. At least one.
    pub burst: u32,
    pub on_excess: Excess,
}

/// What becomes of a transaction that comes too soon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Excess {
    Delay,
    Reject,
}

/// Time for which servers are held. What exceeds it waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerTime {
    /// Seconds of server time for each second. Positive and finite.
    pub per_second: f64,
    /// So much at once, after a pause: what a second brings.
    pub burst: Duration,
}

/// Who is served before whom, and who is refused first. Ordered: later is served later.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Priority {
    Critical,
    Normal,
    Sheddable,
}

/// The classes that a user's clients may choose at startup, by `options=-c pgweir.class=NAME`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClassChoice {
    Any,
    Only(Vec<String>),
}

impl Config {
    /// The first class in the file whose rule holds. `None`: `default_class`, for each database
    /// and user its own.
    pub fn class_of(&self, who: &Who<'_>) -> Option<&Arc<Class>> {
        self.classes.iter().find(|class| class.rule.as_ref().is_some_and(|rule| rule.matches(who)))
    }

    /// The class of this name, or `other` if there is none.
    pub fn class<'a>(&'a self, name: &str, other: &'a Arc<Class>) -> &'a Arc<Class> {
        self.classes.iter().find(|class| class.name == name).unwrap_or(other)
    }

    /// The class that a client of `user` may have by choosing `name`.
    pub fn chosen_class(&self, user: Option<&User>, name: &str) -> Option<&Arc<Class>> {
        let may_choose = user.is_some_and(|user| user.choose_class.has(name));
        self.classes.iter().find(|class| may_choose && class.name == name)
    }
}

impl Rule {
    pub fn matches(&self, who: &Who<'_>) -> bool {
        let any = |globs: &[Glob], text| {
            globs.is_empty() || globs.iter().any(|glob: &Glob| glob.matches(text))
        };
        any(&self.database, who.database)
            && any(&self.user, who.user)
            && any(&self.application_name, who.application_name)
            && (self.client.is_empty() || self.client.iter().any(|rule| rule.matches(who.address)))
    }

    /// Whether whoever matches `other` matches this one too. `true` is certain, `false` is not.
    pub(super) fn covers(&self, other: &Self) -> bool {
        covers_names(&self.database, &other.database)
            && covers_names(&self.user, &other.user)
            && covers_names(&self.application_name, &other.application_name)
            && covers_addresses(&self.client, &other.client)
    }

    /// Which of these rules match, between them, whoever matches this one: for each database, user,
    /// name and network in it there is one. `None`: somebody is left, or it is not certain.
    pub(super) fn covered_by(&self, others: &[&Self]) -> Option<BTreeSet<usize>> {
        let first = |part: Self| others.iter().position(|other| other.covers(&part));
        self.parts()?.into_iter().map(first).collect()
    }

    /// Rules with one item in each list, which are this one together. `None`: too many.
    fn parts(&self) -> Option<Vec<Self>> {
        let anywhere = AddressRule::all();
        let client = if self.client.is_empty() { &anywhere } else { &self.client[..] };
        let names = [&self.database, &self.user, &self.application_name].map(Vec::len);
        let lengths = names.into_iter().chain([client.len()]).map(|length| length.max(1));
        if lengths.fold(1, usize::saturating_mul) > PARTS_MAX {
            return None;
        }
        let mut parts = vec![Self::default()];
        parts = split(&parts, &self.database, |part, glob| part.database = glob);
        parts = split(&parts, &self.user, |part, glob| part.user = glob);
        parts = split(&parts, &self.application_name, |part, glob| part.application_name = glob);
        Some(split(&parts, client, |part, rule| part.client = rule))
    }
}

/// Each of `parts` once for each of `items`; as it is where there are none, which is any.
fn split<T: Clone>(parts: &[Rule], items: &[T], set: impl Fn(&mut Rule, Vec<T>)) -> Vec<Rule> {
    if items.is_empty() {
        return parts.to_vec();
    }
    let with = |part: &Rule, item: &T| {
        let mut part = part.clone();
        set(&mut part, vec![item.clone()]);
        part
    };
    parts.iter().flat_map(|part| items.iter().map(|item| with(part, item))).collect()
}

/// Each glob by one of the others: what only several of them cover together is not found.
fn covers_names(wide: &[Glob], narrow: &[Glob]) -> bool {
    let is_covered = |glob: &Glob| wide.iter().any(|other| other.covers(glob));
    match narrow {
        _ if wide.is_empty() => true,
        [] => is_covered(&Glob::any()),
        _ => narrow.iter().all(is_covered),
    }
}

fn covers_addresses(wide: &[AddressRule], narrow: &[AddressRule]) -> bool {
    if wide.is_empty() {
        return true;
    }
    let networks = wide.iter().filter_map(AddressRule::network);
    // Two halves are a whole.
    let networks = IpNet::aggregate(&networks.collect());
    let is_covered = |rule: &AddressRule| match rule {
        AddressRule::Network(network) => networks.iter().any(|other| other.contains(network)),
        AddressRule::Unix => wide.contains(&AddressRule::Unix),
    };
    if narrow.is_empty() {
        AddressRule::all().iter().all(is_covered)
    } else {
        narrow.iter().all(is_covered)
    }
}

impl AddressRule {
    pub fn matches(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            // A socket for both families tells IPv4 as IPv6.
            (Self::Network(network), Some(address)) => network.contains(&address.to_canonical()),
            (Self::Unix, None) => true,
            _ => false,
        }
    }

    fn network(&self) -> Option<IpNet> {
        match self {
            Self::Network(network) => Some(*network),
            Self::Unix => None,
        }
    }

    /// Together: from anywhere.
    fn all() -> [Self; 3] {
        let all = |zero: IpAddr| IpNet::new_assert(zero, 0);
        [
            Self::Network(all(Ipv4Addr::UNSPECIFIED.into())),
            Self::Network(all(Ipv6Addr::UNSPECIFIED.into())),
            Self::Unix,
        ]
    }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl ClassChoice {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.iter().any(|other| other == name),
        }
    }
}

impl Default for ClassChoice {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

/// What holds for who is in no class of the file.
impl Default for ClassLimits {
    fn default() -> Self {
        Self {
            priority: Priority::Normal,
            weight: 1,
            reserved: 0,
            quota: Quota::default(),
            per_address: Quota::default(),
        }
    }
}

impl Priority {
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Sheddable => "sheddable",
        }
    }
}
