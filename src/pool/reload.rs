//! Another configuration in the place of the one that holds.
//!
//! It was checked before: nothing here can fail, so that it is applied as a whole. What is in use and not
//! affected is not touched; what is affected ends by itself: servers that lead to where their pool no
//! longer does close as their leases end, and clients whose pool is another one now go there before their
//! next transaction.

use super::account::{Account, Terms};
use super::book::Book;
use super::mailbox::{Mailbox, Outcome};
use super::registry::Registry;
use super::{Host, Pool, PoolPlan, Setup, host_limits, host_setup, limits_of, sharing};
use crate::auth::{Credential, Stored};
use crate::config::{self, Config, User};
use crate::net::worker::Worker;
use crate::scheduler::{PoolLimits, Scheduler};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The pools that are to be, by database and user, and their hosts.
type Wanted = BTreeMap<(String, String), (Arc<Host>, PoolPlan)>;

/// An account, and the pool that it is to have. `None`: its database or its user is gone.
type Planned = (Arc<Account>, Option<PoolPlan>);

impl Registry {
    /// Obeys another configuration from now on. Answers with the accounts whose database or user it has no
    /// more: nobody can log in to them, and those who are in are served until somebody ends them.
    pub fn reload(&self, worker: &Rc<Worker>, config: &Arc<Config>) -> Vec<(String, String)> {
        let now = worker.now();
        let book = Arc::new(self.next_book(now, config));
        let (gone, sent_away) = self.making.with(|()| {
            self.book.store(Arc::clone(&book));
            let mut hosts: Vec<_> = book.hosts.values().cloned().collect();
            hosts.extend(self.hosts().filter(|host| !book.hosts.contains_key(&host.name)));
            self.hosts.store(Arc::new(hosts));
            for (name, host) in &book.hosts {
                host.obey(now, &config.hosts[name], config);
            }
            self.hosts().for_each(|host| host.obey_classes(now, config));
            let accounts = self.accounts_by(&book);
            let sent_away = self.obey_pools(now, &book, &accounts);
            let gone = self.obey_accounts(now, &book, accounts);
            self.set_gates(&book);
            (gone, sent_away)
        });
        for mailbox in sent_away {
            // Who has gone meanwhile does not mind.
            drop(mailbox.deliver(Outcome::Moved));
        }
        self.door.set_limits(now, config.overload.logins.clone());
        for host in self.hosts() {
            let action = host.scheduler.with(Scheduler::next_action);
            host.act(worker, action);
        }
        gone
    }

    /// Lets go of pools and hosts that are configured no more and that nobody uses any longer. To be called
    /// from time to time.
    pub fn sweep(&self, worker: &Rc<Worker>) {
        let leaving = self.leaving.with(|leaving| leaving.clone());
        for pool in leaving.iter().filter(|pool| pool.clients.used() == 0) {
            let action = pool.host.scheduler.with(|scheduler| {
                scheduler.retire(worker.now(), pool.id);
                scheduler.next_action()
            });
            pool.host.act(worker, action);
        }
        drop(leaving);
        self.leaving.with(|leaving| leaving.retain(|pool| !pool.is_over()));
        // Nearly always there is nothing to let go of.
        if self.hosts.load().len() > self.book.load().hosts.len() {
            self.making.with(|()| self.sweep_hosts());
        }
        if self.has_gone.swap(false, Ordering::Relaxed) {
            self.accounts.retain(|_, account| {
                let is_gone = account.terms().is_gone;
                let is_used = Arc::strong_count(account) > 1;
                // To be looked at again.
                self.has_gone.fetch_or(is_gone && is_used, Ordering::Relaxed);
                !is_gone || is_used
            });
        }
    }

    fn sweep_hosts(&self) {
        let book = self.book.load();
        let mut hosts = Vec::clone(&self.hosts.load());
        hosts.retain(|host| {
            let has_pools =
                host.pools.with(|pools| pools.all.iter().any(|pool| pool.strong_count() > 0));
            book.hosts.contains_key(&host.name)
                || has_pools
                || host.scheduler.with(|scheduler| scheduler.host_counts().open() > 0)
        });
        self.hosts.store(Arc::new(hosts));
    }

    /// Pools that no new client comes into, and that are not gone yet.
    pub fn leaving(&self) -> Vec<Arc<Pool>> {
        self.leaving.with(|leaving| leaving.clone())
    }

    fn next_book(&self, now: Instant, config: &Arc<Config>) -> Book {
        let before = self.book.load();
        let host = |host: &config::Host| {
            let known = self.hosts().find(|other| other.name == host.name);
            let gone = Arc::clone(&self.halts.changed);
            known.unwrap_or_else(|| Host::new(now, host, config, self.tasks.clone(), gone))
        };
        let same_cost = before.config.auth.scram_iterations == config.auth.scram_iterations;
        let credential = |user: &User, stored: Stored| {
            // Keys are worth keeping; but those of a plain password must look as those of users do that
            // there are not.
            let keeps = same_cost || !matches!(stored, Stored::Plain(_));
            let known = before.credentials.get(&user.name);
            match known.filter(|known| keeps && known.is_made_of(&user.name, &stored)) {
                Some(known) => Arc::clone(known),
                None => Arc::new(Credential::new(&user.name, stored)),
            }
        };
        Book::new(Arc::clone(config), host, credential)
    }

    fn accounts_by(&self, book: &Book) -> Vec<Planned> {
        let accounts = self.accounts.iter().map(|entry| Arc::clone(entry.value()));
        accounts
            .map(|account| {
                let plan = book.plan_of(&account);
                (account, plan)
            })
            .collect()
    }

    /// Makes the pools be what they are to be. Answers with those who waited in one that is another now.
    fn obey_pools(&self, now: Instant, book: &Book, accounts: &[Planned]) -> Vec<Arc<Mailbox>> {
        let wanted = self.wanted(book, accounts);
        let is_wanted = |pool: &Arc<Pool>| {
            let key = (pool.database.clone(), pool.user.clone());
            wanted.get(&key).is_some_and(|(host, _)| Arc::ptr_eq(host, &pool.host))
        };
        let mut unwanted = self.pools();
        unwanted.retain(|pool| !is_wanted(pool));
        // Those of which somebody has another pool now.
        let moved = accounts.iter().filter(|(_, plan)| plan.is_some());
        let moved: Vec<_> = moved.map(|(account, _)| Arc::clone(&account.terms().pool)).collect();
        let moved: HashSet<_> = moved.iter().map(Arc::as_ptr).collect();
        let mut sent_away = Vec::new();
        for pool in unwanted {
            self.pools.remove(&(pool.database.clone(), pool.user.clone()));
            sent_away.extend(self.dismiss(now, &pool, moved.contains(&Arc::as_ptr(&pool))));
        }
        for (key, (host, plan)) in wanted {
            let known = self.pools.get(&key).map(|pool| Arc::clone(pool.value()));
            match known {
                Some(pool) => pool.take_up(now, plan.setup),
                None => drop(self.make_pool(now, &host, plan)),
            }
        }
        sent_away
    }

    /// The pools that those who have come so far are to have, and those that are known before.
    fn wanted(&self, book: &Book, accounts: &[Planned]) -> Wanted {
        let mut wanted = Wanted::new();
        let expected = book.expected();
        let found = accounts.iter().filter_map(|(_, plan)| plan.clone());
        for plan in found.chain(expected) {
            let Some(database) = book.config.database(&plan.database) else { continue };
            let host = Arc::clone(&book.hosts[&database.host.name]);
            let key = (plan.database.clone(), plan.user.clone());
            let known = self.pools.get(&key).map(|pool| pool.made_for.clone());
            // Where users that share a pool differ, the first to come still decides.
            if known.is_some_and(|made_for| made_for == plan.made_for) {
                wanted.insert(key, (host, plan));
            } else {
                wanted.entry(key).or_insert((host, plan));
            }
        }
        wanted
    }

    /// A pool that no new client comes into. Those who are in it go on there if they have no other; if
    /// they have, its servers are closed as they come back, and whoever waits goes to the other at once.
    fn dismiss(&self, now: Instant, pool: &Arc<Pool>, is_moved: bool) -> Vec<Arc<Mailbox>> {
        self.leaving.with(|leaving| leaving.push(Arc::clone(pool)));
        pool.host.scheduler.with(|scheduler| {
            // Nothing is kept ready for those who do not come any more.
            let limits = PoolLimits { min: 0, ..limits_of(&pool.setup().settings) };
            scheduler.set_limits(now, pool.id, limits);
            if !is_moved {
                return vec![];
            }
            scheduler.retire(now, pool.id);
            scheduler.send_away(now, pool.id)
        })
    }

    /// Gives each account its new terms. Answers with those that are gone.
    fn obey_accounts(
        &self,
        now: Instant,
        book: &Book,
        accounts: Vec<Planned>,
    ) -> Vec<(String, String)> {
        let mut gone = Vec::new();
        for (account, plan) in accounts {
            let (name, user) = (account.database.as_str(), account.user.as_str());
            let of_user = (user, book.config.users.get(user).map(Arc::as_ref));
            let found = book.config.database(name).zip(plan).and_then(|(database, plan)| {
                let pool = self.pools.get(&(plan.database, plan.user))?;
                Some((database, Arc::clone(pool.value())))
            });
            if let Some((database, pool)) = found {
                account.change(self.terms(now, book, (name, database), of_user, pool));
                continue;
            }
            let terms = account.terms();
            if !terms.is_gone {
                gone.push((name.to_owned(), user.to_owned()));
                self.has_gone.store(true, Ordering::Relaxed);
                let generation = self.next_generation();
                account.change(Terms { is_gone: true, generation, ..Terms::clone(&terms) });
            }
        }
        gone
    }

    fn set_gates(&self, book: &Book) {
        let limits = &book.config.clients;
        self.clients.set_max(limits.max_client_conn);
        self.cancels.set_max(limits.max_cancels);
        self.statements.set_limit(limits.prepared_statement_memory as usize);
        self.statements.set_functions(&book.config.sessions.functions);
        for entry in &self.database_gates {
            entry.value().set_max(book.max_of_database(entry.key()));
        }
        for entry in &self.user_gates {
            entry.value().set_max(book.max_of_user(entry.key()));
        }
    }
}

impl Book {
    /// The pool that an account is to have. `None`: its database or its user is gone.
    fn plan_of(&self, account: &Account) -> Option<PoolPlan> {
        let (name, user) = (account.database.as_str(), account.user.as_str());
        let database = self.config.database(name).filter(|_| self.knows_user(user))?;
        let of_user = self.config.users.get(user).map(Arc::as_ref);
        Some(self.plan((name, database), (user, of_user)))
    }
}

impl Host {
    /// Is from now on what the configuration says.
    fn obey(&self, now: Instant, host: &config::Host, config: &Config) {
        let setup = host_setup(host, config);
        let before = self.setup.swap(Arc::new(setup.clone()));
        let limits = host_limits(host, config);
        self.scheduler.with(|scheduler| {
            if before.address != setup.address {
                // Its pools are redirected one by one.
                scheduler.host_moved();
            }
            if *scheduler.host_limits() != limits {
                scheduler.set_host_limits(now, limits);
            }
        });
    }
}

impl Pool {
    /// Is from now on what the configuration says.
    pub(super) fn take_up(&self, now: Instant, mut setup: Setup) {
        let before = self.setup();
        let is_own = setup.has_own_credential && before.has_own_credential;
        if is_own && setup.secret == before.secret && setup.target.user == before.target.user {
            // Its keys are worth keeping.
            setup.target.credential.clone_from(&before.target.credential);
        }
        let is_redirected = setup.leads_elsewhere(&before);
        let limits = limits_of(&setup.settings);
        self.share.take_up(sharing(&setup.settings));
        self.setup.store(Arc::new(setup));
        if is_redirected {
            self.catalog.forget();
            self.hub.wake();
        }
        self.host.scheduler.with(|scheduler| {
            if is_redirected {
                // First: nothing is opened only to be closed.
                scheduler.redirect(now, self.id);
            }
            if *scheduler.pool_limits(self.id) != limits {
                scheduler.set_limits(now, self.id, limits);
            }
        });
    }

    /// Nobody uses it any more, and nothing of it is left.
    fn is_over(&self) -> bool {
        self.clients.used() == 0
            && self.host.scheduler.with(|scheduler| {
                let counts = scheduler.counts(self.id);
                counts.open() == 0 && counts.waiting == 0
            })
    }
}

impl Setup {
    /// Whether a server of `before` is not what one of this pool is.
    fn leads_elsewhere(&self, before: &Self) -> bool {
        let (target, other) = (&self.target, &before.target);
        target.place.address != other.place.address
            || (&target.user, &target.dbname) != (&other.user, &other.dbname)
            || self.secret != before.secret
            || self.connect_query != before.connect_query
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;
    use crate::base::ids::WorkerId;
    use crate::config::{Config, parse};
    use crate::net::worker::Worker;
    use std::rc::Rc;
    use std::sync::Arc;
    use tokio_util::task::TaskTracker;

    const HOSTS: &str = "[hosts.one]\n[hosts.two]\nport = 5433\n";

    fn config(text: &str) -> Arc<Config> {
        let text = format!("{HOSTS}{text}\n[users.app]\npassword = 'x'\n");
        let loaded = parse(&text, "proxy.toml", &|_| unreachable!("it names no other file"));
        Arc::new(loaded.unwrap_or_else(|findings| panic!("{findings:?}")).config)
    }

    fn registry(config: &Arc<Config>) -> (Registry, Rc<Worker>) {
        let worker = Rc::new(Worker::new(WorkerId::MAIN));
        (Registry::new(worker.now(), config, &TaskTracker::new()), worker)
    }

    const HERE: &str = "[databases.app]\nhost = 'one'";
    const THERE: &str = "[databases.app]\nhost = 'two'";
    const NONE: &str = "[databases.other]\nhost = 'one'";

    #[test]
    fn what_goes_and_comes_back_is_the_same_again() {
        let here = config(HERE);
        let (registry, worker) = registry(&here);
        let account = registry.account(worker.now(), "app", "app").unwrap();
        let before = account.terms();
        let name = ("app".to_owned(), "app".to_owned());
        assert_eq!(registry.reload(&worker, &config(NONE)), [name]);
        assert!(account.terms().is_gone && account.generation() > before.generation);
        assert!(registry.account(worker.now(), "app", "app").is_err());
        assert_eq!((registry.pools().len(), registry.leaving().len()), (0, 1));
        assert_eq!(registry.reload(&worker, &here), []);
        let terms = account.terms();
        assert!(!terms.is_gone && Arc::ptr_eq(&terms.pool, &before.pool));
        assert_eq!((registry.pools().len(), registry.leaving().len()), (1, 0));
    }

    #[test]
    fn what_nobody_uses_is_swept_away_and_its_id_is_used_again() {
        let here = config(HERE);
        let (registry, worker) = registry(&here);
        let id = registry.account(worker.now(), "app", "app").unwrap().terms().pool.id;
        registry.reload(&worker, &config(NONE));
        registry.sweep(&worker);
        assert_eq!((registry.accounts.len(), registry.leaving().len()), (0, 0));
        registry.reload(&worker, &here);
        let again = registry.account(worker.now(), "app", "app").unwrap().terms();
        assert_eq!(again.pool.id, id);
    }

    #[test]
    fn an_account_moves_with_its_database_and_hosts_go_with_their_last_pool() {
        let (registry, worker) = registry(&config(HERE));
        let account = registry.account(worker.now(), "app", "app").unwrap();
        let before = account.terms();
        let client = before.pool.clients.count();
        registry.reload(&worker, &config(THERE));
        assert_eq!(account.terms().pool.host.name, "two");
        let only_two = parse(
            &format!("[hosts.two]\nport = 5433\n{THERE}\n[users.app]\npassword = 'x'\n"),
            "proxy.toml",
            &|_| unreachable!("it names no other file"),
        );
        registry.reload(&worker, &Arc::new(only_two.unwrap().config));
        registry.sweep(&worker);
        assert_eq!(registry.hosts().count(), 2, "somebody is in a pool of the other");
        drop((client, before));
        registry.sweep(&worker);
        registry.sweep(&worker);
        assert_eq!(registry.hosts().count(), 1);
    }

    /// Keys are slow to make, and what a client's proof has taught cannot be made at all.
    #[test]
    fn a_credential_that_is_the_same_is_kept() {
        let (registry, worker) = registry(&config(HERE));
        let known = registry.credential("app").unwrap();
        registry.reload(&worker, &config(THERE));
        assert!(Arc::ptr_eq(&known, &registry.credential("app").unwrap()));
        let costly = format!("{HERE}\n[proxy]\nscram_iterations = 5000");
        registry.reload(&worker, &config(&costly));
        let remade = registry.credential("app").unwrap();
        assert!(!Arc::ptr_eq(&known, &remade), "or it would look unlike a user that there is not");
    }
}
