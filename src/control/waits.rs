//! Who waits for a server, what for, and behind whom.

use super::census::{Census, OfPool, ServerOf};
use super::holders::Holders;
use super::roster::Presence;
use crate::base::ids::{ClassId, PoolId};
use crate::pool::Pool;
use crate::scheduler::{Scope, WaitCause, WaiterView};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Somebody who waits.
pub struct Wait<'a> {
    pub pool: &'a Arc<Pool>,
    pub waiter: WaiterView,
    /// `None`: it logs in just now, and its settings are to be tried.
    pub client: Option<&'a Arc<Presence>>,
    pub cause: WaitCause,
    pub behind: Behind<'a>,
}

/// Those who have what somebody waits for.
#[derive(Clone)]
pub struct Behind<'a> {
    pub whose: Whose,
    pub holders: Holders,
    /// The server that was lent first.
    pub longest: Option<ServerOf<'a>>,
}

/// Whose servers somebody waits for one of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Whose {
    /// Those that its own address has, within its class.
    Address,
    Class,
    Host,
    Pool,
}

impl Whose {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Class => "class",
            Self::Host => "host",
            Self::Pool => "pool",
        }
    }

    const fn of(cause: WaitCause) -> Self {
        match cause {
            WaitCause::InFlight { scope, .. }
            | WaitCause::Rate { scope }
            | WaitCause::ServerTime { scope } => match scope {
                Scope::Address => Self::Address,
                Scope::Class => Self::Class,
                Scope::Host => Self::Host,
            },
            WaitCause::SharedFull(_) => Self::Host,
            WaitCause::Opening
            | WaitCause::Paused
            | WaitCause::PoolFull
            | WaitCause::ServerDown => Self::Pool,
        }
    }
}

/// Who is counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Group {
    whose: Whose,
    pool: PoolId,
    class: ClassId,
    address: Option<IpAddr>,
}

impl Census {
    /// Those who have waited longest first, `most` of them, and how many there are in all.
    pub fn waits(&self, now: Instant, most: usize) -> (Vec<Wait<'_>>, usize) {
        let of_pool = |of| Self::waiters_of(of).map(move |waiter| (of, waiter));
        let mut waiters: Vec<(&OfPool, WaiterView)> = self.pools.iter().flat_map(of_pool).collect();
        let all = waiters.len();
        waiters.sort_unstable_by_key(|(_, waiter)| waiter.since);
        waiters.truncate(most);
        let causes = causes(now, &waiters);
        let mut known = HashMap::new();
        let waits = waiters.into_iter().zip(causes).filter_map(|((of, waiter), cause)| {
            // Who has been served meanwhile does not wait.
            let (pool, cause) = (&of.pool, cause?);
            let client = self.client(waiter.client);
            let group = group(pool, &waiter, client, cause);
            let key = (Arc::as_ptr(&pool.host), group);
            let behind = known.entry(key).or_insert_with(|| self.behind(pool, group)).clone();
            Some(Wait { pool, waiter, client, cause, behind })
        });
        (waits.collect(), all)
    }

    fn waiters_of(of: &OfPool) -> impl Iterator<Item = WaiterView> {
        of.census.waiters.iter().copied()
    }

    fn behind(&self, pool: &Arc<Pool>, group: Group) -> Behind<'_> {
        let mut behind = Behind { whose: group.whose, holders: Holders::default(), longest: None };
        let on_host = self.holdings().filter(|of| Arc::ptr_eq(&of.pool.host, &pool.host));
        for of in on_host.filter(|of| group.has(of)) {
            behind.holders.count(of.holder_state());
            if behind.longest.is_none_or(|longest| of.server.since < longest.server.since) {
                behind.longest = Some(of);
            }
        }
        behind
    }
}

/// Asked pool by pool, so that no lock is taken for each.
fn causes(now: Instant, waiters: &[(&OfPool, WaiterView)]) -> Vec<Option<WaitCause>> {
    let mut causes = vec![None; waiters.len()];
    let mut by_pool: HashMap<_, Vec<usize>> = HashMap::new();
    for (place, (of, _)) in waiters.iter().enumerate() {
        by_pool.entry(Arc::as_ptr(&of.pool)).or_default().push(place);
    }
    for places in by_pool.into_values() {
        let tickets: Vec<_> = places.iter().map(|place| waiters[*place].1.ticket).collect();
        let of_pool = waiters[places[0]].0.pool.causes(now, &tickets);
        for (place, cause) in places.into_iter().zip(of_pool) {
            causes[place] = cause;
        }
    }
    causes
}

fn group(
    pool: &Pool,
    waiter: &WaiterView,
    client: Option<&Arc<Presence>>,
    cause: WaitCause,
) -> Group {
    let whose = Whose::of(cause);
    let address = client.and_then(|client| client.peer.ip()).map(|ip| ip.to_canonical());
    Group {
        whose,
        // What does not matter is the same for all, so that they are one group.
        pool: if whose == Whose::Pool { pool.id } else { PoolId(0) },
        class: if matches!(whose, Whose::Class | Whose::Address) {
            waiter.class
        } else {
            ClassId(0)
        },
        address: address.filter(|_| whose == Whose::Address),
    }
}

impl Group {
    /// Whether this server, of the same host, is one of theirs.
    fn has(&self, of: &ServerOf<'_>) -> bool {
        let is_of_class = || of.holder.is_some_and(|holder| holder.class() == self.class);
        let address = || of.holder.and_then(|holder| holder.peer.ip()).map(|ip| ip.to_canonical());
        match self.whose {
            Whose::Host => true,
            Whose::Pool => of.pool.id == self.pool,
            Whose::Class => is_of_class(),
            Whose::Address => is_of_class() && address() == self.address,
        }
    }
}
