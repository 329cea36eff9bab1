//! Who is in, which servers there are, and who has which: for whoever asks for each of them by itself.
//!
//! Each pool is of one moment, and the clients are of a moment after that: what moves meanwhile may
//! show as it was or as it is. Nothing waits for a lock longer than for one pool.

use super::holders::HolderState;
use super::roster::{Presence, Roster};
use crate::base::ids::ClientId;
use crate::pool::Pool;
use crate::pool::census::{About, PoolCensus};
use crate::pool::registry::Registry;
use crate::scheduler::SlotView;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Everybody who is in, and every server.
pub struct Census {
    /// By database and user.
    pub(super) pools: Vec<OfPool>,
    clients: Vec<Arc<Presence>>,
    by_id: HashMap<ClientId, usize>,
}

pub(super) struct OfPool {
    pub(super) pool: Arc<Pool>,
    /// The place of its host among all.
    host: usize,
    pub(super) census: PoolCensus,
}

/// A server.
#[derive(Clone, Copy)]
pub struct ServerOf<'a> {
    pub pool: &'a Arc<Pool>,
    pub server: &'a SlotView<About>,
    /// `None`: nobody has it, or somebody who is still logging in.
    pub holder: Option<&'a Arc<Presence>>,
    host: usize,
}

/// What a client does.
#[derive(Clone, Copy)]
pub enum Doing<'a> {
    Idle,
    Waiting { since: Instant },
    Active(ServerOf<'a>),
}

impl Roster {
    /// Looks at everything.
    pub fn census(&self, registry: &Registry, now: Instant) -> Census {
        let mut pools = registry.pools();
        // Of those that are on their way out, clients may still have servers.
        pools.extend(registry.leaving());
        pools.sort_unstable_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        let hosts: Vec<_> = registry.hosts().map(|host| host.name.clone()).collect();
        let of_pool = |pool: Arc<Pool>| OfPool {
            host: hosts.iter().position(|name| *name == pool.host.name).unwrap_or(hosts.len()),
            census: pool.census(now),
            pool,
        };
        let pools = pools.into_iter().map(of_pool).collect();
        let clients = self.clients();
        let by_id = clients.iter().enumerate().map(|(place, client)| (client.id, place)).collect();
        Census { pools, clients, by_id }
    }
}

impl Census {
    /// All servers, by database and user.
    pub fn servers(&self) -> impl Iterator<Item = ServerOf<'_>> {
        self.pools.iter().flat_map(move |of| {
            of.census.servers.iter().map(move |server| ServerOf {
                pool: &of.pool,
                server,
                holder: server.client.and_then(|client| self.client(client)),
                host: of.host,
            })
        })
    }

    /// The servers that clients have.
    pub fn holdings(&self) -> impl Iterator<Item = ServerOf<'_>> {
        self.servers().filter(|of| of.server.client.is_some())
    }

    /// All clients that are logged in, in the order they came, and what each of them does.
    pub fn clients(&self) -> impl Iterator<Item = (&Arc<Presence>, Doing<'_>)> {
        let mut doing: Vec<_> = self.clients.iter().map(|_| Doing::Idle).collect();
        for waiter in self.pools.iter().flat_map(|of| &of.census.waiters) {
            if let Some(place) = self.by_id.get(&waiter.client) {
                doing[*place] = Doing::Waiting { since: waiter.since };
            }
        }
        for of in self.holdings() {
            if let Some(place) = of.server.client.and_then(|client| self.by_id.get(&client)) {
                doing[*place] = Doing::Active(of);
            }
        }
        for of in self.servers().filter(|of| of.server.riders > 1) {
            for follower in self.followers(of) {
                if let Some(place) = self.by_id.get(&follower) {
                    doing[*place] = Doing::Active(of);
                }
            }
        }
        self.clients.iter().zip(doing)
    }

    /// Who shares a server behind the client that has it.
    fn followers<'a>(&'a self, of: ServerOf<'a>) -> impl Iterator<Item = ClientId> + 'a {
        let own = self.pools.iter().filter(move |other| Arc::ptr_eq(&other.pool, of.pool));
        let followers = own.flat_map(|own| &own.census.followers);
        followers.filter(move |(_, slot)| *slot == of.server.slot).map(|(client, _)| *client)
    }

    pub(super) fn client(&self, id: ClientId) -> Option<&Arc<Presence>> {
        self.by_id.get(&id).map(|place| &self.clients[*place])
    }
}

impl ServerOf<'_> {
    /// A name for this connection that no other has while both are there, and that looks like an
    /// address in memory: tools of PgBouncer's join clients and servers by it.
    pub fn pointer(&self) -> String {
        format!("0x5{:02x}{:09x}", self.host, self.server.slot.number())
    }

    /// What its holder does with it.
    pub fn holder_state(&self) -> HolderState {
        HolderState::of(self.holder.map(AsRef::as_ref))
    }
}

impl Presence {
    /// The same for a client.
    pub fn pointer(&self) -> String {
        pointer_of(self.id)
    }
}

pub fn pointer_of(client: ClientId) -> String {
    format!("0xc{:011x}", client.0)
}
