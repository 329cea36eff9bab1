//! Classes that reserve, between them, every server of the pools that they use: whoever else uses these
//! waits for as long as they are busy.
//!
//! Looked at are the pools of each class, and all pools of a host: a class counts where its own pools are
//! among them. Where names are free, nobody knows how many pools there are, and nothing is said.

use super::class_checks::listed;
use super::classes::Placed;
use super::quota_checks::Pools;
use crate::base::glob::Glob;
use crate::config::classes::Rule;
use crate::config::findings::{Findings, Problem};
use crate::config::reader::line_of;
use crate::config::{Config, Host};
use std::collections::BTreeSet;

/// So many classes are compared, each with each.
const CLASSES_MAX: usize = 64;

/// Of no more pools than this is looked at who uses each.
const POOLS_MAX: usize = 256;

/// Pools by database and user.
type Names<'a> = BTreeSet<(&'a str, &'a str)>;

/// A class that keeps servers back, and all the pools that it may use on the host.
struct Reserving<'a> {
    placed: &'a Placed<'a>,
    pools: Names<'a>,
}

pub(super) fn check<'a>(
    config: &'a Config,
    host: &Host,
    classes: &'a [Placed<'a>],
    findings: &mut Findings,
) {
    let reserving = classes.iter().filter(|it| it.is_sound && it.class.limits.reserved > 0);
    let reserving = reserving.filter_map(|placed| Reserving::on(host, config, placed));
    let reserving: Vec<_> = reserving.take(CLASSES_MAX).collect();
    let rules = reserving.iter().filter_map(|it| it.placed.class.rule.as_ref());
    let anybody = Rule::default();
    let mut told = BTreeSet::new();
    for pools in rules.chain([&anybody]).map(|rule| Pools::matched(config, rule)) {
        let Some(names) = pools.named_on(host, POOLS_MAX) else { continue };
        let group: Vec<_> = reserving.iter().filter(|it| it.pools.is_subset(&names)).collect();
        let sum = group.iter().fold(0_u32, |sum, it| sum.saturating_add(it.reserved()));
        let size = pools.size(config, host, sum.saturating_add(1));
        let size = size.min(host.max_connections.unwrap_or(u32::MAX));
        // One that reserves all of its own pools by itself is told so, and one that reserves more than there are.
        let is_told = |it: &&Reserving<'_>| {
            it.reserved() > size || it.reserved() == size && it.pools == names
        };
        if sum < size || group.iter().any(is_told) || is_everybody(&names, &group) {
            continue;
        }
        let Some((last, earlier)) = group.split_last() else { continue };
        let earlier: Vec<_> = earlier.iter().map(|it| it.placed).collect();
        let line = line_of(last.placed.table, "reserved");
        if told.insert((line, earlier.iter().map(|it| it.table.line).collect::<Vec<_>>())) {
            let (on, reserves) =
                (format!("`[hosts.{}]`", host.name), format!("reserves {sum} servers"));
            let message = if earlier.is_empty() {
                format!(
                    "this {reserves}, all that there are on {on}: while they are busy, nobody in its other \
                     pools is served."
                )
            } else {
                format!(
                    "with {} this {reserves}, and their pools hold {size} on {on}: while they are busy, \
                     nobody else in them is served.",
                    listed(&earlier)
                )
            };
            let action = format!("Reserve less than {size} in all, or make the pools larger.");
            findings.warning(line, Problem::new("reserves-all", message, action));
        }
    }
}

impl<'a> Reserving<'a> {
    /// `None`: it has no pool there, or nobody knows which.
    fn on(host: &Host, config: &'a Config, placed: &'a Placed<'a>) -> Option<Self> {
        let class = &placed.class;
        let matched = class.rule.as_ref().map(|rule| Pools::matched(config, rule));
        let mut pools = Names::new();
        for part in matched.into_iter().chain(Pools::chosen(config, &class.name)) {
            pools.extend(part.named_on(host, POOLS_MAX)?);
        }
        (!pools.is_empty()).then_some(Self { placed, pools })
    }

    fn reserved(&self) -> u32 {
        self.placed.class.limits.reserved
    }
}

/// Whether all clients of these pools are in one of these classes.
fn is_everybody(pools: &Names<'_>, group: &[&Reserving<'_>]) -> bool {
    let rules: Vec<_> = group.iter().filter_map(|it| it.placed.class.rule.as_ref()).collect();
    pools.iter().all(|(database, user)| {
        let only = |name: &str| Glob::new(name).into_iter().collect();
        let clients = Rule { database: only(database), user: only(user), ..Rule::default() };
        clients.covered_by(&rules).is_some()
    })
}
