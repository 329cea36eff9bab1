//! Servers on loan.
//!
//! A [`Host`] is one Postgres instance: its scheduler decides, behind one short lock, who gets
//! which server of which pool. A [`Pool`] is what clients of one database and user use. [`keeper`]
//! does what the scheduler says; [`registry`] finds the pool for a client; [`logins`] bounds how many
//! come in at once; [`halts`] is what operators do to databases.
//!
//! # Invariants
//!
//! - A server is in the scheduler, in one lease, or in one task of the keeper: ownership says so.
//! - A lease ends by [`Pool::give_back`] with nothing owed, or its server is cleaned or closed.
//! - No lock is held while anything is sent, awaited or logged.

mod account;
mod book;
pub mod census;
mod failures;
pub mod gate;
pub mod halts;
pub mod heirlooms;
pub mod hub;
pub mod keeper;
pub mod logins;
pub mod mailbox;
pub mod membership;
mod opening;
pub mod process;
pub mod registry;
mod reload;
mod replication;
pub mod share;
pub mod snapshot;
pub mod waiting;
pub mod welcome;
pub mod words;

pub use self::account::{Account, Terms};
use self::gate::Gate;
use self::heirlooms::Heirlooms;
use self::hub::Hub;
pub use self::keeper::Rest;
use self::mailbox::Mailbox;
use self::membership::Classes;
use self::share::Share;
use self::welcome::Catalog;
use crate::base::ids::{ClientId, PoolId};
use crate::base::muffle::Muffle;
use crate::base::secret::Secret;
use crate::base::shared::Shared;
use crate::config::{self, HostAddress, Multiplex, PoolMode, PoolSettings};
use crate::end::ErrorFields;
use crate::net::worker::Worker;
use crate::scheduler::{
    self, Action, Cancel, Holder, HostLimits, Member, PoolLimits, PoolSpec, Scheduler, Site,
    SlotRef, State,
};
use crate::server::connect::Target;
use crate::server::exchange::Inbox;
use crate::server::{BackendKey, Server};
use crate::stats::pool::PoolStats;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// What the scheduler schedules here.
#[derive(Debug)]
pub struct Postgres;

impl Site for Postgres {
    type Conn = Box<Server>;
    type Error = Arc<ErrorFields>;
    type Handle = Arc<Mailbox>;
    type Key = BackendKey;
}

/// A server on loan.
pub type Lease = scheduler::Lease<Box<Server>>;

/// Why a waiter does not get a server.
pub type Refusal = scheduler::Refusal<Arc<ErrorFields>>;

/// One Postgres instance.
pub struct Host {
    pub name: String,
    setup: ArcSwap<HostSetup>,
    pub scheduler: Shared<Scheduler<Postgres>>,
    pools: Shared<Pools>,
    /// Connecting, cleaning, checking: what runs beside the clients.
    tasks: TaskTracker,
    classes: Classes,
    /// Told when the last server is closed that somebody waits to be gone.
    gone: Arc<Notify>,
    /// Servers of a process before, that pools take instead of opening their own.
    pub heirlooms: Heirlooms,
    /// How often something changed that statements may depend on: tables, views, functions.
    schemas: AtomicU64,
}

/// What a host is at the moment. A reload puts another in its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostSetup {
    pub address: HostAddress,
    pub server_connect_timeout: Option<Duration>,
    pub cancel_wait_timeout: Option<Duration>,
    /// Over all pools; `None`: no limit.
    pub max_connections: Option<u32>,
}

/// After an answer Postgres counts as alive for so long. Frozen, or behind a network that is gone, it shows
/// in nothing else than that answers do not come.
const NEWS_MAX: Duration = Duration::from_secs(5);

/// The pools of a host. One that is gone keeps its id, for when it comes back.
#[derive(Default)]
struct Pools {
    /// By [`PoolId`].
    all: Vec<Weak<Pool>>,
    ids: BTreeMap<(String, String), PoolId>,
}

/// The servers of one database and user.
pub struct Pool {
    pub id: PoolId,
    pub host: Arc<Host>,
    /// The names that clients and operators know.
    pub database: String,
    pub user: String,
    /// The first user to come: where users that share the pool differ, its settings hold. `None`: it was
    /// made before anybody came.
    made_for: Option<String>,
    setup: ArcSwap<Setup>,
    pub catalog: Catalog,
    pub stats: PoolStats,
    /// Who is in; no limit.
    pub clients: Arc<Gate>,
    /// What is sent to channels that clients listen to.
    pub hub: Hub,
    /// What its clients share servers by.
    pub share: Share,
    /// Of the requests that are refused, the log tells of some.
    pub refusals: Shared<Muffle>,
}

/// What a pool obeys at the moment. A reload puts another in its place.
#[derive(Clone, Debug)]
pub struct Setup {
    pub settings: PoolSettings,
    pub target: Target,
    /// What the target's credential is made of.
    secret: Option<Secret>,
    /// The credential is the pool's own, and not that of a user.
    has_own_credential: bool,
    pub connect_query: Option<String>,
}

/// What makes a pool, beside its host.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    pub database: String,
    pub user: String,
    pub made_for: Option<String>,
    pub setup: Setup,
    pub workers: u16,
}

impl Host {
    pub fn new(
        now: Instant,
        host: &config::Host,
        config: &config::Config,
        tasks: TaskTracker,
        gone: Arc<Notify>,
    ) -> Arc<Self> {
        let limits = host_limits(host, config);
        Arc::new(Self {
            name: host.name.clone(),
            setup: ArcSwap::from_pointee(host_setup(host, config)),
            scheduler: Shared::new(Scheduler::new(now, limits, rand::random())),
            pools: Shared::default(),
            tasks,
            classes: Classes::default(),
            heirlooms: Heirlooms::default(),
            schemas: AtomicU64::new(0),
            gone,
        })
    }

    pub fn setup(&self) -> Arc<HostSetup> {
        self.setup.load_full()
    }

    /// Makes a pool on this host; or takes up again one that was about to go.
    pub fn add_pool(self: &Arc<Self>, now: Instant, plan: PoolPlan) -> Arc<Pool> {
        let key = (plan.database.clone(), plan.user.clone());
        let limits = limits_of(&plan.setup.settings);
        // Under the lock of `pools`, so that ids and places agree.
        self.pools.with(|pools| {
            let known = pools.ids.get(&key).copied();
            if let Some(pool) = known.and_then(|id| pools.all[id.0 as usize].upgrade()) {
                pool.take_up(now, plan.setup);
                return pool;
            }
            let id = known.unwrap_or_else(|| {
                let (database, user) = key.clone();
                let spec = PoolSpec { database, user, limits: limits.clone() };
                let id = self.scheduler.with(|scheduler| scheduler.add_pool(now, spec));
                pools.all.push(Weak::new());
                pools.ids.insert(key, id);
                id
            });
            if known.is_some() {
                self.scheduler.with(|scheduler| scheduler.set_limits(now, id, limits));
            }
            let pool = Arc::new(Pool {
                id,
                host: Arc::clone(self),
                database: plan.database,
                user: plan.user,
                made_for: plan.made_for,
                share: Share::new(sharing(&plan.setup.settings)),
                setup: ArcSwap::from_pointee(plan.setup),
                catalog: Catalog::default(),
                stats: PoolStats::new(plan.workers),
                clients: Gate::new(0),
                hub: Hub::default(),
                refusals: Shared::default(),
            });
            pools.all[id.0 as usize] = Arc::downgrade(&pool);
            pool
        })
    }

    /// What Postgres would say of a statement may be something else from now on.
    pub fn schema_changed(&self) {
        self.schemas.fetch_add(1, Ordering::Relaxed);
    }

    /// Which state of the schemas this is.
    #[inline]
    pub fn schema_epoch(&self) -> u64 {
        self.schemas.load(Ordering::Relaxed)
    }

    /// Runs something beside the clients, to its end.
    pub fn spawn<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        self.tasks.spawn_local(work)
    }

    fn pool(&self, id: PoolId) -> Option<Arc<Pool>> {
        self.pools.with(|pools| pools.all.get(id.0 as usize).and_then(Weak::upgrade))
    }
}

fn host_setup(host: &config::Host, config: &config::Config) -> HostSetup {
    HostSetup {
        address: host.address.clone(),
        server_connect_timeout: host.server_connect_timeout,
        cancel_wait_timeout: config.clients.cancel_wait_timeout,
        max_connections: host.max_connections,
    }
}

fn host_limits(host: &config::Host, config: &config::Config) -> HostLimits {
    HostLimits {
        max_connections: host.max_connections,
        max_queued: config.overload.max_queued,
        shed: config.overload.shed,
        login_retry: host.server_login_retry,
        down_hold: host.server_down_hold,
    }
}

fn limits_of(settings: &PoolSettings) -> PoolLimits {
    PoolLimits {
        size: settings.pool_size,
        min: settings.min_pool_size,
        reserve: settings.reserve_pool_size,
        reserve_timeout: settings.reserve_pool_timeout,
        lifetime: settings.server_lifetime,
        idle_timeout: settings.server_idle_timeout,
        check_delay: settings.server_check_query.as_ref().and(settings.server_check_delay),
        round_robin: settings.server_round_robin,
        database_max: settings.max_db_connections,
        user_max: settings.max_user_connections,
        share: share::limits(&sharing(settings)),
    }
}

/// How servers of a pool are shared. In session mode each is one client's.
fn sharing(settings: &PoolSettings) -> Multiplex {
    let rules = &settings.multiplex;
    let is_on = rules.is_on && rules.depth > 1 && settings.pool_mode != PoolMode::Session;
    Multiplex { is_on, ..rules.clone() }
}

impl Pool {
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// Whether Postgres would answer, as far as is known: the pool has a server open, lends what it has,
    /// and had an answer within seconds.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.host.scheduler.with(|scheduler| {
            let counts = scheduler.counts(self.id);
            counts.idle + counts.leased > 0
                && scheduler.condition(self.id).state <= State::Shedding
                && scheduler.has_answered(self.id, now, NEWS_MAX)
        })
    }

    /// A server at once, or not at all.
    #[inline]
    pub fn try_lease(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        client: ClientId,
        member: Member,
    ) -> Option<Lease> {
        loop {
            let (lease, action) = self.host.scheduler.with(|scheduler| {
                let lease = scheduler.try_acquire(worker.now(), member, client, worker.id);
                (lease, scheduler.next_action())
            });
            self.host.act(worker, action);
            if let Some(lease) = self.check_arrival(worker, lease?) {
                return Some(lease);
            }
        }
    }

    /// Makes a server that was just lent fit for this worker, and hears what it said while it was
    /// idle. `None`: it is dead, and closed now.
    #[inline]
    pub fn check_arrival(self: &Arc<Self>, worker: &Rc<Worker>, mut lease: Lease) -> Option<Lease> {
        let usable = match lease.conn.adopt(worker) {
            Ok(false) => true,
            Ok(true) => lease.conn.read_unasked(),
            Err(_) => false,
        };
        if usable {
            return Some(lease);
        }
        tracing::info!(
            database = self.database,
            user = self.user,
            pid = lease.conn.key.pid,
            server = %lease.conn.key.place.address,
            "server was lost while idle"
        );
        let Lease { slot, conn } = lease;
        drop(conn);
        self.stats.of(worker.id).lost.add(1);
        let action = self.host.scheduler.with(|scheduler| {
            scheduler.was_dead(worker.now(), slot);
            scheduler.next_action()
        });
        self.share.is_over(slot);
        self.host.act(worker, action);
        None
    }

    /// Takes a server back that owes nothing.
    #[inline]
    pub fn give_back(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease) {
        if !lease.conn.is_clean() {
            let ledger = &lease.conn.ledger;
            let is_lost = ledger.is_uncertain() || !ledger.is_settled();
            if is_lost {
                self.discard(worker, lease);
            } else {
                self.clean(worker, lease, Inbox::default(), Rest::Canceled);
            }
            return;
        }
        let home = lease.conn.home();
        let action = self.host.scheduler.with(|scheduler| {
            scheduler.give_back(worker.now(), lease, home);
            scheduler.next_action()
        });
        self.host.act(worker, action);
    }

    /// Closes a server that cannot be used any more.
    pub fn discard(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease) {
        // Without a goodbye: the last thing sent may be half a message, which it would complete.
        let Lease { slot, conn } = lease;
        drop(conn);
        self.stats.of(worker.id).lost.add(1);
        self.discard_slot(worker, slot);
    }

    fn discard_slot(self: &Arc<Self>, worker: &Rc<Worker>, slot: SlotRef) {
        let action = self.host.scheduler.with(|scheduler| {
            scheduler.discard(worker.now(), slot);
            scheduler.next_action()
        });
        self.host.act(worker, action);
    }

    /// Cancels what a client waits for or runs. Answers what there was.
    pub fn cancel(self: &Arc<Self>, worker: &Rc<Worker>, client: ClientId) -> Cancel<Postgres> {
        let (found, action) = self.host.scheduler.with(|scheduler| {
            let found = scheduler.cancel(worker.now(), self.id, client);
            let aboard = match found {
                // As long as it is shared for certain: else nobody would let go of the bell.
                Cancel::Riding { slot, berth } => Some((self.share.bell(slot), berth)),
                _ => None,
            };
            ((found, aboard), scheduler.next_action())
        });
        let (found, aboard) = found;
        if let Some((bell, berth)) = aboard {
            bell.cancel(berth);
        }
        self.host.act(worker, action);
        found
    }

    /// The clients that have a server.
    pub fn holders(&self) -> Vec<ClientId> {
        let client = |holder: Holder| holder.client;
        self.host.scheduler.with(|scheduler| scheduler.holders(self.id).map(client).collect())
    }

    /// Whether a client that has been idle in its transaction since `since` has to let go for others.
    pub fn must_yield(&self, now: Instant, slot: SlotRef, since: Instant) -> bool {
        self.host.scheduler.with(|scheduler| scheduler.must_yield(now, slot, since))
    }

    /// A client that had asked whether it must yield goes on.
    pub fn is_active(&self, slot: SlotRef) {
        self.host.scheduler.with(|scheduler| scheduler.is_active(slot));
    }

    /// A cancel request is over; or else nobody knows, and its server must not be lent again.
    pub fn cancel_over(self: &Arc<Self>, worker: &Rc<Worker>, slot: SlotRef, is_over: bool) {
        let action = self.host.scheduler.with(|scheduler| {
            if is_over {
                scheduler.cancel_done(worker.now(), slot);
            } else {
                scheduler.cancel_lost(worker.now(), slot);
            }
            scheduler.next_action()
        });
        self.host.act(worker, action);
    }
}

impl Host {
    /// Does what the scheduler says, until it has nothing more to say.
    #[inline]
    pub fn act(self: &Arc<Self>, worker: &Rc<Worker>, first: Option<Action<Postgres>>) {
        // Mostly there is nothing to do: keep that test on the hot path and the rest off it.
        if let Some(action) = first {
            self.act_all(worker, action);
        }
    }
}
