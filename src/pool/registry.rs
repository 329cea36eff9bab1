//! Finds what a client asks for: its database, its user, its pool; and counts who is in.

use super::halts::Halts;
use super::logins::Door;
use super::process::{ConfigView, LimitView};
use super::{Host, Pool, PoolPlan};
use crate::auth::scram::ClientKey;
use crate::auth::{Credential, Stored};
use crate::base::ids::{ClassId, WorkerId};
use crate::config::classes::{ClassLimits, Who};
use crate::config::{ClientTimeouts, Config, Database, ServerLogin, User};
use crate::end::EndReason;
use crate::net::worker::Worker;
use crate::server::connect::Target;
use crate::stats::worker::WorkerCells;
use dashmap::DashMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};
use tokio_util::task::TaskTracker;

/// Sessions of the console at once. A budget of its own: the console works when the clients have
/// used up theirs, and takes no client's place.
pub const CONSOLES_MAX: u32 = 32;

/// Pools at most, over all hosts. Each costs memory, and a moment under its host's lock ten times a
/// second; no real setup has nearly as many.
const POOLS_MAX: usize = 2_000;

/// Databases and users that were used together, at most. With `trust`, anybody may be any user.
const ACCOUNTS_MAX: usize = 20_000;

/// A limit on clients, counted exactly.
#[derive(Debug)]
pub struct Gate {
    used: AtomicU32,
    /// `u32::MAX`: no limit.
    max: u32,
}

/// One client counted in a [`Gate`], until this is dropped.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

impl Gate {
    /// A gate for `max` clients; 0: no limit, as in PgBouncer.
    pub fn new(max: u32) -> Arc<Self> {
        let max = if max == 0 { u32::MAX } else { max };
        Arc::new(Self { used: AtomicU32::new(0), max })
    }

    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        let one_more = |used: u32| (used < self.max).then(|| used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Pass(Arc::clone(self)))
    }

    /// Counts one more, limit or not.
    pub fn count(self: &Arc<Self>) -> Pass {
        self.used.fetch_add(1, Ordering::Relaxed);
        Pass(Arc::clone(self))
    }

    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// `None`: no limit.
    pub fn max(&self) -> Option<u32> {
        (self.max != u32::MAX).then_some(self.max)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What clients of one database and user have in common. Found once for each login.
pub struct Account {
    pub pool: Arc<Pool>,
    pub timeouts: Arc<ClientTimeouts>,
    /// The class of those that no section of the configuration puts into another.
    own_class: ClassId,
    by_database: Arc<Gate>,
    by_user: Arc<Gate>,
}

impl Account {
    /// Counts one more client of this database, this user and this pool: after it has proven who it
    /// is.
    ///
    /// # Errors
    ///
    /// When a limit is reached.
    pub fn enter(&self) -> Result<[Pass; 3], EndReason> {
        let by_database = self.by_database.enter().ok_or(EndReason::DatabaseClientLimit)?;
        let by_user = self.by_user.enter().ok_or(EndReason::UserClientLimit)?;
        Ok([by_database, by_user, self.pool.clients.count()])
    }

    /// Counts a client that was let in before, by another process: limit or not.
    pub fn count(&self) -> [Pass; 3] {
        [self.by_database.count(), self.by_user.count(), self.pool.clients.count()]
    }
}

/// All hosts and pools, and who may use them.
pub struct Registry {
    /// What a login passes before it proves who it is.
    pub door: Arc<Door>,
    /// What operators have said of databases.
    pub halts: Halts,
    /// Cancel requests under way: a budget of their own, so that they take no client's place.
    pub cancels: Arc<Gate>,
    /// When it was made, by both clocks: what turns the one's times into the other's.
    pub(super) began: (Instant, SystemTime),
    pub(super) loaded: ConfigView,
    /// What the main thread and each worker counts.
    workers: Box<[Arc<WorkerCells>]>,
    config: Arc<Config>,
    hosts: BTreeMap<String, Arc<Host>>,
    credentials: BTreeMap<String, Arc<Credential>>,
    pools: DashMap<(String, String), Arc<Pool>>,
    accounts: DashMap<(String, String), Arc<Account>>,
    pools_max: usize,
    clients: Arc<Gate>,
    consoles: Arc<Gate>,
    database_gates: DashMap<String, Arc<Gate>>,
    user_gates: DashMap<String, Arc<Gate>>,
}

impl Registry {
    pub fn new(now: Instant, config: Arc<Config>, tasks: &TaskTracker) -> Self {
        let halts = Halts::default();
        let hosts = config.hosts.iter().map(|(name, host)| {
            let gone = Arc::clone(&halts.changed);
            (name.clone(), Host::new(now, host, &config, tasks.clone(), gone))
        });
        let credential = |user: &Arc<User>| {
            let stored = Stored::parse(user.password.as_ref()?.reveal());
            Some((user.name.clone(), Arc::new(Credential::new(&user.name, stored))))
        };
        let (hash, loaded_at) = (config.hash(), SystemTime::now());
        let loaded = ConfigView { hash, loaded_at, is_last_load_ok: true };
        Self {
            loaded,
            door: Door::new(now, config.overload.logins.clone()),
            cancels: Gate::new(config.clients.max_cancels),
            began: (now, loaded_at),
            workers: (0..=config.process.workers).map(|_| Arc::default()).collect(),
            hosts: hosts.collect(),
            halts,
            credentials: config.users.values().filter_map(credential).collect(),
            pools: DashMap::new(),
            accounts: DashMap::new(),
            pools_max: POOLS_MAX,
            clients: Gate::new(config.clients.max_client_conn),
            consoles: Gate::new(CONSOLES_MAX),
            database_gates: DashMap::new(),
            user_gates: DashMap::new(),
            config,
        }
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.values()
    }

    /// What a worker, or the main thread, counts.
    pub fn worker(&self, id: WorkerId) -> &Arc<WorkerCells> {
        &self.workers[usize::from(id.0)]
    }

    /// The main thread first.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<WorkerCells>> {
        self.workers.iter()
    }

    /// Every pool that was used so far.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    pub fn clients(&self) -> u32 {
        self.clients.used()
    }

    /// Sessions of the console, those that log in included.
    pub fn consoles(&self) -> u32 {
        self.consoles.used()
    }

    /// Clients of this user, over all databases.
    pub fn clients_of_user(&self, user: &str) -> u32 {
        self.user_gates.get(user).map_or(0, |gate| gate.used())
    }

    /// How many clients each database, and each user, has and may have: those that are limited.
    pub(super) fn limits(&self) -> [Vec<LimitView>; 2] {
        [&self.database_gates, &self.user_gates].map(|gates| {
            let limited = gates.iter().filter_map(|gate| {
                let (used, max) = (gate.used(), gate.max()?);
                Some(LimitView { name: gate.key().clone(), used, max })
            });
            let mut limited: Vec<_> = limited.collect();
            limited.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            limited
        })
    }

    /// What a user proves itself with. `None`: no such user, or no password to check.
    pub fn credential(&self, user: &str) -> Option<&Arc<Credential>> {
        self.credentials.get(user)
    }

    /// What clients' proofs revealed of users with a SCRAM secret, by name.
    pub fn learned_keys(&self) -> Vec<(String, [u8; 32])> {
        let known = self.credentials.iter();
        known
            .filter_map(|(user, credential)| Some((user.clone(), *credential.learned()?)))
            .collect()
    }

    /// Learns what another process has learned. What does not fit the configuration is forgotten.
    pub fn learn_keys(&self, keys: &[(String, [u8; 32])]) {
        for (user, key) in keys {
            if let Some(credential) = self.credentials.get(user) {
                credential.learn(&ClientKey::of(*key));
            }
        }
    }

    /// Counts one more client.
    ///
    /// # Errors
    ///
    /// When `max_client_conn` is reached.
    pub fn admit(&self) -> Result<Pass, EndReason> {
        self.clients.enter().ok_or(EndReason::ClientLimit)
    }

    /// Counts a client that was let in before, by another process: limit or not.
    pub fn count(&self) -> Pass {
        self.clients.count()
    }

    /// Counts one more session of the console.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn admit_to_console(&self) -> Result<Pass, EndReason> {
        self.consoles.enter().ok_or(EndReason::ConsoleLimit)
    }

    /// What the clients of this database and user have in common, by the names in their DSN.
    ///
    /// # Errors
    ///
    /// When there are too many: whoever may ask for anything could make one for any name.
    pub fn account(
        &self,
        now: Instant,
        database: &Database,
        name: &str,
        user: &str,
    ) -> Result<Arc<Account>, EndReason> {
        let key = (name.to_owned(), user.to_owned());
        if let Some(account) = self.accounts.get(&key) {
            return Ok(Arc::clone(account.value()));
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            return Err(EndReason::PoolLimit);
        }
        let of_user = self.config.users.get(user).map(Arc::as_ref);
        let pool = self.pool(now, (name, database), (user, of_user))?;
        let limits = &self.config.clients;
        let own = database.max_db_client_connections;
        let max = if own == 0 { limits.max_db_client_connections } else { own };
        let by_database = gate(&self.database_gates, name, max);
        let own = of_user.map_or(0, |user| user.max_user_client_connections);
        let max = if own == 0 { limits.max_user_client_connections } else { own };
        let by_user = gate(&self.user_gates, user, max);
        let timeouts = Arc::new(self.config.client_timeouts(database, of_user));
        let own_class = pool.host.own_class(now, (name, user), &self.config.default_class);
        let account = Account { pool, timeouts, own_class, by_database, by_user };
        Ok(Arc::clone(self.accounts.entry(key).or_insert_with(|| Arc::new(account)).value()))
    }

    /// The class of a client: the one it chose, or the first whose rule holds, or its own.
    ///
    /// # Errors
    ///
    /// When it may not have the one it chose.
    pub fn class(
        &self,
        now: Instant,
        account: &Account,
        who: &Who<'_>,
        chosen: Option<&str>,
    ) -> Result<ClassId, EndReason> {
        let user = self.config.users.get(who.user).map(Arc::as_ref);
        let class = match chosen {
            Some(name) => Some(self.config.chosen_class(user, name).ok_or(EndReason::ClassDenied)?),
            None => self.config.class_of(who),
        };
        Ok(class.map_or(account.own_class, |class| account.pool.host.class(now, class)))
    }

    /// The class of a client that was in the one of this name in another process: that, if it is still
    /// there, or what the rules say now.
    pub fn class_again(
        &self,
        now: Instant,
        account: &Account,
        who: &Who<'_>,
        name: &str,
    ) -> ClassId {
        let before = self.config.classes.iter().find(|class| class.name == name);
        let class = before.or_else(|| self.config.class_of(who));
        class.map_or(account.own_class, |class| account.pool.host.class(now, class))
    }

    /// Changes what a class may have, on every host, until the process ends. `false`: there is none of
    /// this name.
    pub fn set_class(&self, worker: &Rc<Worker>, name: &str, limits: &ClassLimits) -> bool {
        let configured = self.config.classes.iter().find(|class| class.name == name);
        let mut is_found = false;
        for host in self.hosts() {
            if let Some(class) = configured {
                // Also where nobody has used it so far.
                host.class(worker.now(), class);
            }
            is_found |= host.set_class(worker, name, limits);
        }
        is_found
    }

    /// Makes the pools that are known before anybody comes, and has them filled: those of databases
    /// with a `server_user`, where servers are to be kept ready.
    pub fn prepare(&self, now: Instant) {
        for (name, database) in &self.config.databases {
            let Some(login) = &database.server_login else { continue };
            let settings = self.config.pool_settings(database, None);
            // Where users have pool settings of their own, those of the first to come hold.
            let is_known = name != "*"
                && self.config.users.values().all(|user| {
                    user.server_login.is_some()
                        || self.config.pool_settings(database, Some(user)) == settings
                });
            if settings.min_pool_size > 0
                && is_known
                && let Ok(pool) = self.pool(now, (name, database), (&login.user, None))
            {
                pool.host.scheduler.with(|scheduler| scheduler.expect(now, pool.id));
            }
        }
    }

    /// The pool of a database and a user; made now, if there is none.
    fn pool(
        &self,
        now: Instant,
        (name, database): (&str, &Database),
        (user, of_user): (&str, Option<&User>),
    ) -> Result<Arc<Pool>, EndReason> {
        let login = of_user.and_then(|user| user.server_login.as_ref());
        let login = login.or(database.server_login.as_ref());
        let pool_user = login.map_or(user, |login| &login.user);
        let key = (name.to_owned(), pool_user.to_owned());
        if self.pools.len() >= self.pools_max && !self.pools.contains_key(&key) {
            return Err(EndReason::PoolLimit);
        }
        let pool = self.pools.entry(key).or_insert_with(|| {
            let host = &self.hosts[&database.host.name];
            let pool = host.add_pool(
                now,
                PoolPlan {
                    database: name.to_owned(),
                    user: pool_user.to_owned(),
                    settings: self.config.pool_settings(database, of_user),
                    target: self.target(host, database, name, login, pool_user),
                    connect_query: database.connect_query.clone(),
                    workers: self.config.process.workers,
                },
            );
            self.halts.tell(now, &pool);
            pool
        });
        Ok(Arc::clone(pool.value()))
    }

    fn target(
        &self,
        host: &Host,
        database: &Database,
        name: &str,
        login: Option<&ServerLogin>,
        user: &str,
    ) -> Target {
        // A password of the login's own, or what the user logs in to the proxy with.
        let own = login.and_then(|login| login.password.as_ref());
        let credential = match own {
            Some(password) => {
                let stored = Stored::parse(password.reveal());
                Some(Arc::new(Credential::new(user, stored)))
            }
            None => self.credentials.get(user).cloned(),
        };
        Target {
            address: host.address.clone(),
            sockets: host.sockets,
            user: user.to_owned(),
            dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
            credential,
        }
    }
}

fn gate(gates: &DashMap<String, Arc<Gate>>, name: &str, max: u32) -> Arc<Gate> {
    Arc::clone(gates.entry(name.to_owned()).or_insert_with(|| Gate::new(max)).value())
}

#[cfg(test)]
mod tests {
    use super::{Gate, Registry};
    use crate::base::ids::WorkerId;
    use crate::config::parse;
    use crate::end::EndReason;
    use crate::net::worker::Worker;
    use std::sync::Arc;
    use tokio_util::task::TaskTracker;

    #[test]
    fn a_gate_counts_exactly_and_forgets_those_who_left() {
        let gate = Gate::new(2);
        let first = gate.enter().unwrap();
        let _second = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
        assert!(Gate::new(0).enter().is_some(), "0 is no limit");
    }

    /// Whoever may ask for any database could make a pool for any name.
    #[test]
    fn pools_are_limited_and_those_that_are_there_go_on() {
        let text = "[proxy]\nauth_type = 'trust'\n[hosts.main]\n[databases.'*']\nhost = 'main'\n";
        let loaded = parse(text, "proxy.toml", &|_| unreachable!("it names no other file"));
        let config = Arc::new(loaded.unwrap().config);
        let now = Worker::new(WorkerId::MAIN).now();
        let mut registry = Registry::new(now, Arc::clone(&config), &TaskTracker::new());
        registry.pools_max = 2;
        let database = &config.databases["*"];
        let pool = |name: &str, user: &str| {
            registry.account(now, database, name, user).map(|account| account.pool.id)
        };
        let (first, second) = (pool("a", "x").unwrap(), pool("b", "x").unwrap());
        assert_eq!(pool("c", "x"), Err(EndReason::PoolLimit));
        assert_eq!(pool("a", "y"), Err(EndReason::PoolLimit));
        assert_eq!((pool("a", "x"), pool("b", "x")), (Ok(first), Ok(second)));
        assert_eq!(registry.pools().len(), 2);
    }
}
