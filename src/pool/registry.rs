//! Finds what a client asks for: its database, its user, its pool; and counts who is in.
//!
//! What is configured is a [`Book`], which is never changed: a reload puts another in its place
//! ([`reload`](super::reload)). Whatever is made by it and kept is made under a lock, `making`, that a reload
//! takes too: so nothing is made by an old book after the new one was applied to all that was there.

use super::account::{Account, Terms};
use super::book::Book;
use super::gate::{Gate, Pass};
use super::halts::Halts;
use super::logins::Door;
use super::process::{ConfigView, LimitView};
use super::{Host, Pool, PoolPlan};
use crate::auth::Credential;
use crate::auth::scram::ClientKey;
use crate::base::ids::{ClassId, WorkerId};
use crate::base::shared::Shared;
use crate::config::classes::Who;
use crate::config::overlay::Overlay;
use crate::config::{Config, Database, PoolMode, User};
use crate::end::{End, EndReason};
use crate::session::statements::{Interner, Limits};
use crate::stats::worker::WorkerCells;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tokio_util::task::TaskTracker;

/// Sessions of the console at once. A budget of its own: the console works when the clients have
/// used up theirs, and takes no client's place.
pub const CONSOLES_MAX: u32 = 32;

/// Of these, for admins only: whoever looks, or tries to get in, must not keep out who can do something.
const CONSOLES_OF_ADMINS: u32 = 8;

/// Who comes to the console, as far as is known before anything was proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Visitor {
    /// A process of the proxy's own user: who could end the proxy always gets in.
    Own,
    /// Has the name of an admin.
    Admin,
    Other,
}

/// Pools at most, over all hosts. Each costs memory, and a moment under its host's lock ten times a
/// second; no real setup has nearly as many.
const POOLS_MAX: usize = 2_000;

/// Databases and users that were used together, at most. With `trust`, anybody may be any user.
const ACCOUNTS_MAX: usize = 20_000;

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
    loaded: Shared<ConfigView>,
    /// What the main thread and each worker counts.
    workers: Box<[Arc<WorkerCells>]>,
    pub(super) book: ArcSwap<Book>,
    pub(super) making: Shared<()>,
    pub(super) pools: DashMap<(String, String), Arc<Pool>>,
    /// Pools that no new client comes into, until the last one has left.
    pub(super) leaving: Shared<Vec<Arc<Pool>>>,
    /// Those of the book, and those that are configured no more, until their last pool is gone.
    pub(super) hosts: ArcSwap<Vec<Arc<Host>>>,
    pub(super) accounts: DashMap<(String, String), Arc<Account>>,
    /// Some of them are gone: see [`Terms::is_gone`].
    pub(super) has_gone: AtomicBool,
    pools_max: usize,
    pub(super) clients: Arc<Gate>,
    consoles: Arc<Gate>,
    pub(super) database_gates: DashMap<String, Arc<Gate>>,
    pub(super) user_gates: DashMap<String, Arc<Gate>>,
    /// How many terms were made: each has a number of its own.
    generations: AtomicU64,
    /// All that clients have prepared.
    pub statements: Arc<Interner>,
    pub(super) tasks: TaskTracker,
}

impl Registry {
    pub fn new(now: Instant, config: &Arc<Config>, tasks: &TaskTracker) -> Self {
        let halts = Halts::default();
        let book = Book::new(
            Arc::clone(config),
            |host| Host::new(now, host, config, tasks.clone(), Arc::clone(&halts.changed)),
            |user, stored| Arc::new(Credential::new(&user.name, stored)),
        );
        let (hash, loaded_at) = (config.hash(), SystemTime::now());
        let loaded =
            ConfigView { hash, loaded_at, is_last_load_ok: true, overlay: Overlay::default() };
        Self {
            loaded: Shared::new(loaded),
            door: Door::new(now, config.overload.logins.clone()),
            began: (now, loaded_at),
            workers: (0..=config.process.workers).map(|_| Arc::default()).collect(),
            halts,
            cancels: Gate::new(config.clients.max_cancels),
            making: Shared::default(),
            pools: DashMap::new(),
            leaving: Shared::default(),
            hosts: ArcSwap::from_pointee(book.hosts.values().cloned().collect()),
            accounts: DashMap::new(),
            has_gone: AtomicBool::new(false),
            pools_max: POOLS_MAX,
            clients: Gate::new(config.clients.max_client_conn),
            consoles: Gate::new(CONSOLES_MAX),
            database_gates: DashMap::new(),
            user_gates: DashMap::new(),
            generations: AtomicU64::new(0),
            statements: Interner::new(config.clients.prepared_statement_memory as usize),
            tasks: tasks.clone(),
            book: ArcSwap::from_pointee(book),
        }
    }

    /// What holds now. Whoever asks for several things asks once, or may get some of before a reload
    /// and some of after it.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.book.load().config)
    }

    /// The same for those who watch the process.
    pub fn loaded(&self) -> ConfigView {
        self.loaded.with(|loaded| loaded.clone())
    }

    /// A change was made, or an attempt came to nothing.
    pub fn note_loaded(&self, loaded: ConfigView) {
        self.loaded.with(|known| *known = loaded);
    }

    /// Those of the configuration, and those that were and still have pools.
    pub fn hosts(&self) -> impl Iterator<Item = Arc<Host>> + use<> {
        let hosts = self.hosts.load_full();
        (0..hosts.len()).map(move |at| Arc::clone(&hosts[at]))
    }

    /// What a worker, or the main thread, counts.
    pub fn worker(&self, id: WorkerId) -> &Arc<WorkerCells> {
        &self.workers[usize::from(id.0)]
    }

    /// The main thread first.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<WorkerCells>> {
        self.workers.iter()
    }

    /// Every pool that was used so far, and is to be used again.
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
    pub fn credential(&self, user: &str) -> Option<Arc<Credential>> {
        self.book.load().credentials.get(user).cloned()
    }

    /// What clients' proofs revealed of users with a SCRAM secret, by name.
    pub fn learned_keys(&self) -> Vec<(String, [u8; 32])> {
        let book = self.book.load();
        let known = book.credentials.iter();
        known
            .filter_map(|(user, credential)| Some((user.clone(), *credential.learned()?)))
            .collect()
    }

    /// Learns what another process has learned. What does not fit the configuration is forgotten.
    pub fn learn_keys(&self, keys: &[(String, [u8; 32])]) {
        let book = self.book.load();
        for (user, key) in keys {
            if let Some(credential) = book.credentials.get(user) {
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
    pub fn admit_to_console(&self, visitor: Visitor) -> Result<Pass, EndReason> {
        let pass = match visitor {
            Visitor::Own => Some(self.consoles.count()),
            Visitor::Admin => self.consoles.enter(),
            Visitor::Other => self.consoles.enter_but(CONSOLES_OF_ADMINS),
        };
        pass.ok_or(EndReason::ConsoleLimit)
    }

    /// What the clients of this database and user have in common, by the names in their DSN.
    ///
    /// # Errors
    ///
    /// When there is no such database; or when there are too many accounts: whoever may ask for anything
    /// could make one for any name.
    pub fn account(&self, now: Instant, name: &str, user: &str) -> Result<Arc<Account>, End> {
        let key = (name.to_owned(), user.to_owned());
        if let Some(account) = self.accounts.get(&key)
            && !account.terms().is_gone
        {
            return Ok(Arc::clone(account.value()));
        }
        self.making.with(|()| {
            let book = self.book.load();
            let database = book.config.database(name).ok_or_else(|| {
                let message = format!("database \"{name}\" does not exist");
                End::from(EndReason::DatabaseUnknown).with_message(message)
            })?;
            // Another may have been faster.
            if let Some(account) = self.accounts.get(&key) {
                return Ok(Arc::clone(account.value()));
            }
            if self.accounts.len() >= ACCOUNTS_MAX {
                return Err(EndReason::PoolLimit.into());
            }
            let of_user = book.config.users.get(user).map(Arc::as_ref);
            let plan = book.plan((name, database), (user, of_user));
            let pool = self.pool(now, &book.hosts[&database.host.name], plan)?;
            let terms = self.terms(now, &book, (name, database), (user, of_user), pool);
            let by_database = gate(&self.database_gates, name, book.max_of_database(name));
            let by_user = gate(&self.user_gates, user, book.max_of_user(user));
            let account = Arc::new(Account::new(key.clone(), [by_database, by_user], terms));
            self.accounts.insert(key, Arc::clone(&account));
            Ok(account)
        })
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What clients of a database and a user obey, in a pool.
    pub(super) fn terms(
        &self,
        now: Instant,
        book: &Book,
        (name, database): (&str, &Database),
        (user, of_user): (&str, Option<&User>),
        pool: Arc<Pool>,
    ) -> Terms {
        let config = &book.config;
        let settings = &pool.setup().settings;
        let pool_mode = settings.pool_mode;
        let limits = config.own_class(&format!("{name}/{user}"), &config.default_class);
        Terms {
            generation: self.next_generation(),
            pool_mode,
            listen: settings.listen,
            replication: settings.replication,
            notification_buffer: settings.notification_buffer,
            resets_always: settings.server_reset_query.is_some()
                && (settings.server_reset_query_always || pool_mode == PoolMode::Session),
            timeouts: config.client_timeouts(database, of_user),
            shortcuts: config.client_shortcuts(database, of_user),
            sessions: config.sessions(database, of_user),
            max_packet_size: config.clients.max_packet_size,
            prepared: Limits {
                of_server: config.clients.max_prepared_statements,
                of_client: config.clients.max_client_prepared_statements,
            },
            statements: Arc::clone(&self.statements),
            log_disconnections: config.process.log_disconnections,
            log_pooler_errors: config.process.log_pooler_errors,
            error_compat: config.overload.error_compat,
            own_class: pool.host.own_class(now, (name, user), limits),
            is_gone: false,
            is_partial: false,
            pool,
        }
    }

    /// The class of a client: the one it chose, or the first whose rule holds, or its own. And the
    /// terms that it comes in under.
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
    ) -> Result<(ClassId, Arc<Terms>), EndReason> {
        let (config, terms) = (self.config(), account.terms());
        if terms.is_gone {
            return Err(EndReason::DatabaseUnknown);
        }
        let user = config.users.get(who.user).map(Arc::as_ref);
        let class = match chosen {
            Some(name) => Some(config.chosen_class(user, name).ok_or(EndReason::ClassDenied)?),
            None => config.class_of(who),
        };
        let host = &terms.pool.host;
        let class = match class {
            None => terms.own_class,
            Some(class) => host.known_class(&class.name).unwrap_or_else(|| {
                // One that nobody was in so far gets the limits that hold.
                self.making.with(|()| host.class(now, self.config().class(&class.name, class)))
            }),
        };
        Ok((class, terms))
    }

    /// Whether somebody can log in as this user at all.
    pub fn knows_user(&self, user: &str) -> bool {
        self.book.load().knows_user(user)
    }

    /// The class of a client that was in the one of this name in another process: that, if it is still
    /// there, or what the rules say now.
    pub fn class_again(
        &self,
        now: Instant,
        account: &Account,
        who: &Who<'_>,
        name: &str,
    ) -> (ClassId, Arc<Terms>) {
        self.making.with(|()| {
            let (config, terms) = (self.config(), account.terms());
            let before = config.classes.iter().find(|class| class.name == name);
            let class = before.or_else(|| config.class_of(who));
            let class = class.map_or(terms.own_class, |class| terms.pool.host.class(now, class));
            (class, terms)
        })
    }

    /// Makes the pools that are known before anybody comes, and has them filled.
    pub fn prepare(&self, now: Instant) {
        self.making.with(|()| {
            let book = self.book.load();
            for plan in book.expected() {
                let database = &book.config.databases[&plan.database];
                if let Ok(pool) = self.pool(now, &book.hosts[&database.host.name], plan) {
                    pool.host.scheduler.with(|scheduler| scheduler.expect(now, pool.id));
                }
            }
        });
    }

    /// The pool of a plan; made now, if there is none.
    fn pool(&self, now: Instant, host: &Arc<Host>, plan: PoolPlan) -> Result<Arc<Pool>, EndReason> {
        let key = (plan.database.clone(), plan.user.clone());
        if let Some(pool) = self.pools.get(&key) {
            return Ok(Arc::clone(pool.value()));
        }
        if self.pools.len() >= self.pools_max {
            return Err(EndReason::PoolLimit);
        }
        Ok(self.make_pool(now, host, plan))
    }

    /// Makes a pool, or takes up again one that was about to go.
    pub(super) fn make_pool(&self, now: Instant, host: &Arc<Host>, plan: PoolPlan) -> Arc<Pool> {
        let key = (plan.database.clone(), plan.user.clone());
        let pool = host.add_pool(now, plan);
        self.leaving.with(|leaving| leaving.retain(|other| !Arc::ptr_eq(other, &pool)));
        self.halts.tell(now, &pool);
        self.pools.insert(key, Arc::clone(&pool));
        pool
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

    #[test]
    fn a_gate_that_gets_narrower_counts_those_who_are_in() {
        let gate = Gate::new(3);
        let mut passes: Vec<_> = (0..3).map(|_| gate.enter().unwrap()).collect();
        gate.set_max(2);
        assert!(gate.enter().is_none());
        passes.pop();
        assert!(gate.enter().is_none(), "two are in");
        passes.pop();
        assert!(gate.enter().is_some());
        gate.set_max(0);
        assert!(gate.enter().is_some(), "0 is no limit");
    }

    /// Whoever may ask for any database could make a pool for any name.
    #[test]
    fn pools_are_limited_and_those_that_are_there_go_on() {
        let text = "[proxy]\nauth_type = 'trust'\n[hosts.main]\n[databases.'*']\nhost = 'main'\n";
        let loaded = parse(text, "proxy.toml", &|_| unreachable!("it names no other file"));
        let config = Arc::new(loaded.unwrap().config);
        let now = Worker::new(WorkerId::MAIN).now();
        let mut registry = Registry::new(now, &config, &TaskTracker::new());
        registry.pools_max = 2;
        let pool = |name: &str, user: &str| {
            let account = registry.account(now, name, user).map_err(|end| end.reason);
            account.map(|account| account.terms().pool.id)
        };
        let (first, second) = (pool("a", "x").unwrap(), pool("b", "x").unwrap());
        assert_eq!(pool("c", "x"), Err(EndReason::PoolLimit));
        assert_eq!(pool("a", "y"), Err(EndReason::PoolLimit));
        assert_eq!((pool("a", "x"), pool("b", "x")), (Ok(first), Ok(second)));
        assert_eq!(registry.pools().len(), 2);
    }
}
