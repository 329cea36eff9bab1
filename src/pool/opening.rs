//! Opens servers: connects or takes over another process', and gives each what it begins with.

use super::failures::failure_of;
use super::keeper::{SlotGuard, UPKEEP_MAX};
use super::{Lease, Pool, Setup};
use crate::net::worker::Worker;
use crate::scheduler::SlotRef;
use crate::server::connect::{ConnectError, Connected, connect};
use crate::server::exchange::{Inbox, News};
use crate::server::upkeep::{Beginning, UpkeepError};
use crate::session::traces::Trace;
use std::rc::Rc;
use std::sync::Arc;

impl Pool {
    /// Opens a server and brings it to the scheduler.
    pub(super) async fn open(self: Arc<Self>, worker: Rc<Worker>, slot: SlotRef) {
        let guard = SlotGuard::new(&self, &worker, slot);
        let setup = self.setup();
        let connected = match self.inherit(&setup, &worker).await {
            Some(inherited) => Ok(inherited),
            None => self.connect(&setup, &worker).await,
        };
        let now = worker.wake();
        let slot = guard.disarm();
        let action = match connected {
            Ok(Connected { server, params }) => {
                self.stats.of(worker.id).opened.add(1);
                self.catalog.learn_base(params);
                tracing::debug!(
                    database = self.database,
                    user = self.user,
                    pid = server.key.pid,
                    server = %server.key.place.address,
                    "server connected"
                );
                let key = server.key.clone();
                let lease = Lease { slot, conn: Box::new(server) };
                self.host.scheduler.with(|scheduler| {
                    scheduler.connected(now, lease, key, worker.id);
                    scheduler.next_action()
                })
            }
            Err(error) => {
                self.stats.of(worker.id).open_failed.add(1);
                let (host, server) = (&self.host.name, setup.target.place.address.to_string());
                tracing::warn!(database = self.database, user = self.user, host, server, "{error}");
                let failure = failure_of(error);
                self.host.scheduler.with(|scheduler| {
                    scheduler.connect_failed(now, slot, failure);
                    scheduler.next_action()
                })
            }
        };
        self.host.act(&worker, action);
    }

    /// A server that another process has given up, without what that has prepared on it. With a
    /// `connect_query`, it begins again: what it has below what clients have set the other process knows.
    async fn inherit(&self, setup: &Setup, worker: &Worker) -> Option<Connected> {
        let mut inherited = self.host.heirlooms.next(&setup.lineage(), worker).await?;
        let server = &mut inherited.server;
        if setup.connect_query.is_some() {
            server.traces.add(Trace::Unknown);
            let cleaned = server.clean(Inbox::default(), server.traces, (None, None));
            worker.within(Some(UPKEEP_MAX), cleaned).await.ok()?.ok()?;
        } else if server.has_strange_statements {
            worker.within(Some(UPKEEP_MAX), server.deallocate_all()).await.ok()?.ok()?;
        }
        server.has_strange_statements = false;
        self.run_connect_query(setup, inherited, worker).await.ok()
    }

    /// A new connection that has what each begins with.
    pub(super) async fn connect(
        &self,
        setup: &Setup,
        worker: &Worker,
    ) -> Result<Connected, ConnectError> {
        let limit = self.host.setup().server_connect_timeout;
        let connected = worker.within(limit, connect(&setup.target, worker)).await;
        let connected = connected.unwrap_or_else(|_| {
            let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "server_connect_timeout");
            Err(ConnectError::Unreachable(error))
        })?;
        self.run_connect_query(setup, connected, worker).await
    }

    /// Its errors are logged and the server is used all the same; one that it breaks is not.
    async fn run_connect_query(
        &self,
        setup: &Setup,
        mut connected: Connected,
        worker: &Worker,
    ) -> Result<Connected, ConnectError> {
        let Some(beginning) = setup.beginning() else { return Ok(connected) };
        let Connected { server, params } = &mut connected;
        // What is reported behind it is what its clients will find.
        let seen = |news: News<'_>| {
            if let News::Parameter(name, value) = news
                && let Some(param) = params.iter_mut().find(|(known, _)| known == name)
            {
                value.clone_into(&mut param.1);
            }
        };
        match worker.within(Some(UPKEEP_MAX), server.begin_anew(beginning, seen)).await {
            Ok(Ok(())) if server.ledger.is_settled() => Ok(connected),
            Ok(Err(UpkeepError::Refused(fields))) if server.ledger.is_settled() => {
                tracing::warn!(
                    database = self.database,
                    user = self.user,
                    "connect_query: {}",
                    fields.message
                );
                Ok(connected)
            }
            _ => Err(ConnectError::ConnectQuery),
        }
    }
}

impl Setup {
    /// What each server begins with, if anything.
    pub(super) fn beginning(&self) -> Option<Beginning<'_>> {
        let sql = self.connect_query.as_deref()?;
        Some(Beginning { sql, user: &self.target.user })
    }
}
