//! What operators do to databases: pause them, shut them to new clients, have their servers replaced.
//!
//! What is said of a database holds for all its pools, also for those that are made later; so it is
//! kept here, by name, and told to the scheduler of each pool.

use super::Pool;
use super::registry::Registry;
use crate::base::ids::ClientId;
use crate::base::shared::Shared;
use crate::net::worker::Worker;
use crate::scheduler::Scheduler;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What holds for which database, until somebody says otherwise or the process ends.
#[derive(Debug, Default)]
pub struct Halts {
    said: Shared<Said>,
    /// Another process said some of it before.
    is_inherited: AtomicBool,
    /// Told when anything said here changes, and when servers are gone that somebody waits for.
    pub(super) changed: Arc<Notify>,
}

/// What was said so far: the next process goes on with it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Said {
    /// All databases are paused, whatever is said of each.
    is_paused: bool,
    paused: BTreeSet<String>,
    disabled: BTreeSet<String>,
}

impl Said {
    fn pauses(&self, database: &str) -> bool {
        self.is_paused || self.paused.contains(database)
    }

    /// Whether one database was paused, or all of them at once.
    fn is_said_of(&self, database: Option<&str>) -> bool {
        database.map_or(self.is_paused, |name| self.paused.contains(name))
    }

    /// Says whether that is news.
    fn set_paused(&mut self, database: Option<&str>, is_paused: bool) -> bool {
        match database {
            None => std::mem::replace(&mut self.is_paused, is_paused) != is_paused,
            Some(name) if is_paused => self.paused.insert(name.to_owned()),
            Some(name) => self.paused.remove(name),
        }
    }
}

impl Halts {
    pub fn said(&self) -> Said {
        self.said.with(|said| said.clone())
    }

    /// Goes on where another process was, before there is any pool.
    pub fn inherit(&self, said: &Said) {
        self.said.with(|own| own.clone_from(said));
        self.is_inherited.store(true, Ordering::Relaxed);
    }

    /// Whether this process goes on where another was.
    pub(super) fn are_inherited(&self) -> bool {
        self.is_inherited.load(Ordering::Relaxed)
    }

    /// Whether one database was paused by its name, or with `None` all of them together.
    pub fn is_said_to_pause(&self, database: Option<&str>) -> bool {
        self.said.with(|said| said.is_said_of(database))
    }

    /// Whether the clients of a database wait, however that came about.
    pub fn pauses(&self, database: &str) -> bool {
        self.said.with(|said| said.pauses(database))
    }

    /// The databases that were paused each by its name.
    pub fn paused_by_name(&self) -> Vec<String> {
        self.said.with(|said| said.paused.iter().cloned().collect())
    }

    /// Whether nobody new is let in to a database.
    pub fn disables(&self, database: &str) -> bool {
        self.said.with(|said| said.disabled.contains(database))
    }

    pub fn set_disabled(&self, database: &str, is_disabled: bool) {
        self.said.with(|said| {
            if is_disabled {
                said.disabled.insert(database.to_owned());
            } else {
                said.disabled.remove(database);
            }
        });
        self.changed.notify_waiters();
    }

    /// What was said, of these databases and others.
    pub(super) fn view<'a>(
        &self,
        databases: impl Iterator<Item = &'a String>,
        is_suspended: bool,
    ) -> HaltsView {
        self.said.with(|said| {
            let mut names: BTreeSet<_> = databases.collect();
            names.extend(said.paused.iter().chain(&said.disabled));
            let of_database = |name: &String| DatabaseHalts {
                is_paused: said.pauses(name),
                is_disabled: said.disabled.contains(name),
                name: name.clone(),
            };
            let databases = names.into_iter().map(of_database).collect();
            HaltsView { is_suspended, databases }
        })
    }

    /// Waits until something said here changes, or may have.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whoever waits for servers to be gone looks again.
    pub fn look_again(&self) {
        self.changed.notify_waiters();
    }

    /// Tells a pool that is about to be used for the first time.
    pub(super) fn tell(&self, now: Instant, pool: &Pool) {
        // Under the lock of what is said, so that nothing else is said meanwhile.
        self.said.with(|said| {
            let is_paused = said.pauses(&pool.database);
            pool.host.scheduler.with(|scheduler| scheduler.set_paused(now, pool.id, is_paused));
            pool.hub.set_paused(is_paused);
        });
    }
}

/// What operators have stopped, at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HaltsView {
    /// Nothing that is sent is read, from either side.
    pub is_suspended: bool,
    /// Every database that is configured, or of which something was said; by name.
    pub databases: Vec<DatabaseHalts>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DatabaseHalts {
    pub name: String,
    /// Its clients wait, by its name or because all do.
    pub is_paused: bool,
    /// Nobody new is let in.
    pub is_disabled: bool,
}

impl HaltsView {
    /// Why nobody new is served: all clients are suspended, or each database is stopped.
    pub fn all(&self) -> Option<&'static str> {
        let is_stopped = |it: &DatabaseHalts| it.is_paused || it.is_disabled;
        if self.is_suspended {
            return Some(SUSPENDED);
        }
        let (first, others) = self.databases.split_first()?;
        let are_stopped = is_stopped(first) && others.iter().all(is_stopped);
        are_stopped.then_some(if self.databases.iter().all(|it| it.is_paused) {
            "an operator has paused all databases, until RESUME"
        } else {
            "an operator has paused or disabled all databases, until RESUME or ENABLE"
        })
    }
}

/// As the end of "nobody is served: ".
pub const SUSPENDED: &str = "an operator has suspended all clients, until RESUME";

/// The pause that somebody waited for was ended by another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resumed;

impl Registry {
    /// Pauses a database, or with `None` all of them: nothing is lent or opened, and servers close as
    /// they come back. Says whether that is news.
    pub fn pause(&self, worker: &Rc<Worker>, database: Option<&str>) -> bool {
        self.set_paused(worker, database, true)
    }

    /// Ends such a pause: of one database, or that of all; a database that is paused by its name as well
    /// stays so. Says whether that is news.
    pub fn resume(&self, worker: &Rc<Worker>, database: Option<&str>) -> bool {
        self.set_paused(worker, database, false)
    }

    fn set_paused(&self, worker: &Rc<Worker>, database: Option<&str>, is_paused: bool) -> bool {
        let is_news = self.halts.said.with(|said| said.set_paused(database, is_paused));
        self.tell_pools(worker, database);
        is_news
    }

    /// Does as another process was told.
    pub fn follow(&self, worker: &Rc<Worker>, said: &Said) {
        self.halts.said.with(|own| own.clone_from(said));
        self.tell_pools(worker, None);
    }

    /// Has the pools of a database, or with `None` all of them, do what is said of it.
    fn tell_pools(&self, worker: &Rc<Worker>, database: Option<&str>) {
        for pool in self.pools_of(database) {
            self.halts.tell(worker.now(), &pool);
            pool.obey(worker);
        }
        self.halts.changed.notify_waiters();
    }

    /// Has every server of a database replaced, as soon as nobody has it; with `None` of all of them.
    pub fn reconnect(&self, worker: &Rc<Worker>, database: Option<&str>) {
        self.hosts().for_each(|host| host.heirlooms.retire(worker.now(), database));
        for pool in self.pools_of(database) {
            pool.host.scheduler.with(|scheduler| scheduler.retire(worker.now(), pool.id));
            pool.hub.retire();
            pool.obey(worker);
        }
    }

    /// Has one server replaced, by its process id in Postgres. Answers with the client that has it, if
    /// anybody has. `None`: there is no such server.
    pub fn retire_server(&self, worker: &Rc<Worker>, pid: u32) -> Option<Option<ClientId>> {
        let listens = |pool: &&Arc<Pool>| pool.hub.listener().is_some_and(|it| it.key.pid == pid);
        if let Some(pool) = self.pools().iter().find(listens) {
            pool.hub.retire();
            return Some(None);
        }
        self.hosts().find_map(|host| {
            let (holder, action) = host.scheduler.with(|scheduler| {
                let holder = scheduler.retire_one(worker.now(), |key| key.pid == pid);
                (holder, scheduler.next_action())
            });
            host.act(worker, action);
            holder
        })
    }

    /// Waits until a database that is being paused, or with `None` all of them, has no server left.
    ///
    /// # Errors
    ///
    /// When somebody else ends the pause.
    pub async fn paused(&self, database: Option<&str>) -> Result<(), Resumed> {
        let is_out = |pool: &Arc<Pool>| {
            pool.host.scheduler.with(|scheduler| scheduler.is_out(pool.id)) && pool.hub.is_out()
        };
        self.until(|| {
            if !self.halts.is_said_to_pause(database) {
                return Some(Err(Resumed));
            }
            let is_out =
                !self.has_servers_before(database) && self.pools_of(database).iter().all(is_out);
            is_out.then_some(Ok(()))
        })
        .await
    }

    /// Whether the process before this one may still have servers of a database, or with `None` of any.
    fn has_servers_before(&self, database: Option<&str>) -> bool {
        let config = self.config();
        let host = database.and_then(|name| config.database(name)).map(|it| &it.host.name);
        self.hosts().any(|it| host.is_none_or(|host| *host == it.name) && it.heirlooms.is_open())
    }

    /// Waits until every server of a database that is to be replaced is closed; with `None` of all.
    pub async fn reconnected(&self, database: Option<&str>) {
        let is_new = |pool: &Arc<Pool>| {
            pool.host.scheduler.with(|scheduler| scheduler.retired(pool.id)) == 0
                && !pool.hub.is_retiring()
        };
        self.until(|| {
            let are_before = self.hosts().any(|host| host.heirlooms.are_retired(database));
            (!are_before && self.pools_of(database).iter().all(is_new)).then_some(())
        })
        .await;
    }

    /// Looks now, and whenever something has changed.
    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.halts.changed.notified());
            // Before the look, so that nothing is missed that happens after it.
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }

    fn pools_of(&self, database: Option<&str>) -> Vec<Arc<Pool>> {
        let mut pools = self.pools();
        pools.extend(self.leaving());
        pools.retain(|pool| database.is_none_or(|name| pool.database == name));
        pools
    }
}

impl Pool {
    /// Whether nothing is lent until an operator says so.
    pub fn is_paused(&self) -> bool {
        self.host.scheduler.with(|scheduler| scheduler.is_paused(self.id))
    }

    /// Does what its scheduler says.
    fn obey(&self, worker: &Rc<Worker>) {
        let action = self.host.scheduler.with(Scheduler::next_action);
        self.host.act(worker, action);
    }
}

#[cfg(test)]
mod tests {
    use super::{Halts, SUSPENDED};

    #[test]
    fn nobody_is_served_once_all_databases_are_stopped() {
        let halts = Halts::default();
        let databases = ["app".to_owned(), "second".to_owned()];
        let all = |halts: &Halts, is_suspended| halts.view(databases.iter(), is_suspended).all();
        assert_eq!(halts.view([].iter(), false).all(), None, "there is nothing to stop");
        assert_eq!(all(&halts, false), None);
        assert_eq!(all(&halts, true), Some(SUSPENDED));
        halts.set_disabled("app", true);
        assert_eq!(all(&halts, false), None, "one is served");
        halts.said.with(|said| said.set_paused(Some("second"), true));
        assert!(all(&halts, false).is_some_and(|why| why.contains("RESUME or ENABLE")));
        halts.said.with(|said| said.set_paused(None, true));
        assert!(all(&halts, false).is_some_and(|why| why.ends_with("until RESUME")));
        // One that no section names.
        halts.said.with(|said| said.set_paused(None, false));
        halts.set_disabled("third", true);
        let view = halts.view(databases.iter(), false);
        assert!(view.databases.iter().any(|it| it.name == "third" && it.is_disabled));
    }
}
