//! A server that replicates, in the place of one on loan: so it counts under every limit that others do.

use super::keeper::{SlotGuard, close};
use super::{Lease, Pool};
use crate::net::worker::Worker;
use crate::server::connect::{ConnectError, Connected, connect_with};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

impl Pool {
    /// Closes the server of a lease and opens one in its place with these parameters, `replication` among
    /// them. Answers with what it reports, too. The lease must end by [`Pool::end_replication`].
    ///
    /// # Errors
    ///
    /// When Postgres cannot be reached or refuses it: the lease is over then.
    pub async fn replicate(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        lease: Lease,
        params: &[(String, String)],
    ) -> Result<(Lease, Vec<(String, String)>), ConnectError> {
        let Lease { slot, conn } = lease;
        let guard = SlotGuard::new(self, worker, slot);
        // Before the other is opened: Postgres may have no place for both.
        close(conn);
        let setup = self.setup();
        let limit = self.host.setup().server_connect_timeout;
        let connected = worker.within(limit, connect_with(&setup.target, params, worker)).await;
        worker.wake();
        let Connected { server, params } = connected.unwrap_or_else(|_| {
            let error = io::Error::new(io::ErrorKind::TimedOut, "server_connect_timeout");
            Err(ConnectError::Unreachable(error))
        })?;
        self.stats.of(worker.id).opened.add(1);
        let key = server.key.clone();
        self.host.scheduler.with(|scheduler| scheduler.replace_key(slot, key));
        Ok((Lease { slot: guard.disarm(), conn: Box::new(server) }, params))
    }

    /// Closes a server that has replicated: it is of no use to anybody else.
    pub fn end_replication(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease) {
        // Without a goodbye: the last thing sent may be half a message.
        let Lease { slot, conn } = lease;
        drop(conn);
        self.discard_slot(worker, slot);
    }
}
