//! Servers that another process hands over, on their way into their pools.
//!
//! While a process takes over, a pool that would open a connection waits a moment for one that the
//! other process gives up: that is sooner there, and Postgres never has both processes' connections.

use super::Setup;
use crate::base::shared::Shared;
use crate::net::stream::Detached;
use crate::net::worker::Worker;
use crate::server::connect::{Connected, Target};
use crate::server::{BackendKey, Server};
use crate::session::settings::Settings;
use crate::wire::encode;
use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a pool waits for one at most. A server is handed over within milliseconds once its
/// transaction is over; whose transaction is longer keeps it.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// A server between two processes: nobody's, owing nothing.
#[derive(Debug)]
pub struct Heirloom {
    /// Where it leads, as [`Setup::lineage`] says.
    pub lineage: String,
    /// Of the pool that it was in.
    pub database: String,
    pub socket: Detached,
    pub key: BackendKey,
    pub applied: Settings,
    /// It has statements that nobody here knows.
    pub has_statements: bool,
    /// What it reported when it let us in.
    pub params: Vec<(String, String)>,
    pub connected_at: Instant,
}

impl Setup {
    /// What two servers have in common of which either may take the other's place.
    pub fn lineage(&self) -> String {
        lineage(&self.target, self.connect_query.as_deref())
    }
}

fn lineage(target: &Target, connect_query: Option<&str>) -> String {
    let Target { place, dbname, user, .. } = target;
    format!("{:?} {dbname:?} {user:?} {connect_query:?}", place.address)
}

/// Those that have come and are in no pool so far.
#[derive(Debug, Default)]
pub struct Heirlooms {
    waiting: Shared<Vec<Heirloom>>,
    is_open: Shared<bool>,
    /// Of these databases, or with `None` of all, no server is wanted that was there at that time.
    retired: Shared<Vec<(Option<String>, Instant)>>,
    news: Notify,
}

impl Heirlooms {
    /// Servers may come from now on.
    pub fn open(&self) {
        self.is_open.with(|is_open| *is_open = true);
    }

    /// Whether another process may still have servers.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.with(|is_open| *is_open)
    }

    /// Those that the other process has of a database, or with `None` of all, are to be replaced: they are
    /// let go when they come.
    pub(super) fn retire(&self, now: Instant, database: Option<&str>) {
        if !self.is_open() {
            return;
        }
        self.retired.with(|retired| retired.push((database.map(str::to_owned), now)));
        for heirloom in self.waiting.with(std::mem::take) {
            self.add(heirloom);
        }
    }

    /// Whether the other process may still have some that are to be replaced.
    pub(super) fn are_retired(&self, database: Option<&str>) -> bool {
        self.retired.with(|retired| {
            retired.iter().any(|(name, _)| match (name.as_deref(), database) {
                (Some(name), Some(database)) => name == database,
                _ => true,
            })
        })
    }

    fn is_retired(&self, heirloom: &Heirloom) -> bool {
        self.retired.with(|retired| {
            retired.iter().any(|(name, at)| {
                name.as_ref().is_none_or(|name| *name == heirloom.database)
                    && heirloom.connected_at <= *at
            })
        })
    }

    /// One has come.
    pub fn add(&self, heirloom: Heirloom) {
        if self.is_retired(&heirloom) {
            return heirloom.let_go();
        }
        self.waiting.with(|waiting| waiting.push(heirloom));
        self.news.notify_waiters();
    }

    /// No more come. Those that nobody wanted are let go.
    pub fn close(&self) {
        self.is_open.with(|is_open| *is_open = false);
        self.news.notify_waiters();
        self.retired.with(Vec::clear);
        self.waiting.with(std::mem::take).into_iter().for_each(Heirloom::let_go);
    }

    /// One of this lineage, if one comes in time. At once `None` while no other process hands anything
    /// over.
    pub(super) async fn next(&self, lineage: &str, worker: &Worker) -> Option<Connected> {
        if !self.is_open() {
            return None;
        }
        let found = worker.within(Some(WAIT_MAX), async {
            loop {
                // Asked to tell first: one that comes in between is not missed.
                let mut news = std::pin::pin!(self.news.notified());
                news.as_mut().enable();
                if let Some(heirloom) = self.take(lineage) {
                    return Some(heirloom);
                }
                if !self.is_open() {
                    return None;
                }
                news.await;
            }
        });
        found.await.ok().flatten()?.settled(worker)
    }

    /// Where those lead that are in no pool so far.
    pub(super) fn lineages(&self) -> HashSet<String> {
        let lineage = |heirloom: &Heirloom| heirloom.lineage.clone();
        self.waiting.with(|waiting| waiting.iter().map(lineage).collect())
    }

    fn take(&self, lineage: &str) -> Option<Heirloom> {
        self.waiting.with(|waiting| {
            let place = waiting.iter().position(|heirloom| heirloom.lineage == lineage)?;
            Some(waiting.remove(place))
        })
    }
}

impl Heirloom {
    /// Nobody wants it.
    fn let_go(self) {
        let mut goodbye = Vec::with_capacity(5);
        encode::terminate(&mut goodbye);
        // Closing says the same.
        let _said = match self.socket {
            Detached::Tcp(mut socket) => socket.write(&goodbye),
            Detached::Unix(mut socket) => socket.write(&goodbye),
        };
    }

    /// As a server of this process. `None`: it is dead, or the kernel has no room for it.
    fn settled(self, worker: &Worker) -> Option<Connected> {
        let stream = self.socket.attach().ok()?;
        let mut server = Server::new(stream, worker.id, self.key, self.connected_at);
        server.applied = Arc::new(self.applied);
        server.has_strange_statements = self.has_statements;
        if server.stream().has_input() && !server.read_unasked() {
            return None;
        }
        Some(Connected { server, params: self.params })
    }
}

#[cfg(test)]
mod tests {
    use super::{Heirloom, Heirlooms, lineage};
    use crate::base::expiry::TICK;
    use crate::base::ids::WorkerId;
    use crate::config::{Config, HostAddress};
    use crate::net::stream::Detached;
    use crate::net::worker::{Worker, read_clock};
    use crate::server::connect::Target;
    use crate::server::{BackendKey, Place};
    use crate::session::settings::Settings;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    fn place() -> Arc<Place> {
        let address = HostAddress::Tcp { host: "here".to_owned(), port: 1 };
        Arc::new(Place { address, sockets: Config::default().sockets })
    }

    fn leading_to(dbname: &str) -> String {
        let target = Target {
            place: place(),
            user: "app".to_owned(),
            dbname: dbname.to_owned(),
            credential: None,
        };
        lineage(&target, None)
    }

    fn heirloom(dbname: &str, pid: u32) -> (UnixStream, Heirloom) {
        let (far, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let heirloom = Heirloom {
            lineage: leading_to(dbname),
            database: dbname.to_owned(),
            socket: Detached::Unix(socket),
            key: BackendKey { pid, secret: [1, 2, 3, 4].into(), place: place(), ends: None },
            applied: Settings::default(),
            has_statements: false,
            params: vec![],
            connected_at: read_clock(),
        };
        (far, heirloom)
    }

    #[tokio::test]
    async fn each_goes_where_it_leads_and_nobody_waits_for_ever() {
        let worker = Worker::new(WorkerId(1));
        tokio::select! {
            () = takes_turns(&worker) => {}
            () = keeps_time(&worker) => {}
        }
    }

    async fn keeps_time(worker: &Worker) {
        loop {
            tokio::time::sleep(TICK).await;
            worker.tick();
        }
    }

    async fn takes_turns(worker: &Worker) {
        let heirlooms = Heirlooms::default();
        assert!(heirlooms.next(&leading_to("a"), worker).await.is_none(), "nothing is handed over");
        heirlooms.open();
        let wanted = leading_to("a");
        let waiting = heirlooms.next(&wanted, worker);
        let coming = async {
            tokio::task::yield_now().await;
            heirlooms.add(heirloom("b", 1).1);
            heirlooms.add(heirloom("a", 2).1);
        };
        let (found, ()) = tokio::join!(waiting, coming);
        // Its other end has gone: it is not lent to anybody.
        assert!(found.is_none());
        let (_far, alive) = heirloom("a", 3);
        heirlooms.add(alive);
        let found = heirlooms.next(&leading_to("a"), worker).await.unwrap();
        assert_eq!(found.server.key.pid, 3);
        assert!(heirlooms.next(&leading_to("a"), worker).await.is_none(), "not for ever");
        let (mut unwanted, left) = heirloom("c", 4);
        heirlooms.add(left);
        heirlooms.close();
        let mut goodbye = Vec::new();
        unwanted.read_to_end(&mut goodbye).unwrap();
        assert_eq!(goodbye, b"X\0\0\0\x04");
    }

    #[test]
    fn what_is_to_be_replaced_is_not_taken() {
        let heirlooms = Heirlooms::default();
        heirlooms.open();
        let (early, late) = (heirloom("a", 1), heirloom("a", 2));
        heirlooms.add(early.1);
        heirlooms.retire(read_clock(), Some("a"));
        assert!(heirlooms.are_retired(Some("a")) && heirlooms.are_retired(None));
        assert!(!heirlooms.are_retired(Some("b")));
        heirlooms.add(late.1);
        let other = heirloom("b", 3);
        heirlooms.add(other.1);
        assert_eq!(heirlooms.lineages().into_iter().collect::<Vec<_>>(), [leading_to("b")]);
        // One that was opened since.
        let new = heirloom("a", 4);
        heirlooms.add(new.1);
        assert_eq!(heirlooms.lineages().len(), 2);
        heirlooms.close();
        assert!(!heirlooms.are_retired(None));
    }
}
