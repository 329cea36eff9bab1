//! Cancel keys: which client a cancel request means.
//!
//! A cancel reaches what its client waits for or runs at this moment, or nobody. The server that it
//! is for goes to nobody else until the request was delivered; the scheduler sees to that.

use crate::base::ids::ClientId;
use crate::net::worker::Worker;
use crate::pool::Pool;
use crate::pool::mailbox::Outcome;
use crate::pool::registry::Gate;
use crate::scheduler::{Cancel, SlotRef};
use crate::server::BackendKey;
use crate::server::cancel::{CancelError, cancel};
use dashmap::DashMap;
use std::rc::Rc;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// All keys that were handed out.
pub struct CancelKeys {
    /// By the number that stands for a process id.
    clients: DashMap<u32, Entry>,
    /// Cancel requests under way: a budget of their own, so that they take no client's place.
    budget: Arc<Gate>,
}

struct Entry {
    secret: [u8; 32],
    len: u8,
    client: ClientId,
    pool: Arc<Pool>,
}

/// A client's key, known until this is dropped.
pub struct CancelKey {
    keys: Arc<CancelKeys>,
    pid: u32,
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.keys.clients.remove(&self.pid);
    }
}

impl CancelKeys {
    pub fn new(max_cancels: u32) -> Arc<Self> {
        Arc::new(Self { clients: DashMap::new(), budget: Gate::new(max_cancels) })
    }

    /// Makes a key for a client: what goes into `BackendKeyData`, and what keeps it known.
    ///
    /// Protocol 3.0 has room for four bytes of secret; 3.2 takes up to 256, of which 32 are enough.
    pub fn register(
        self: &Arc<Self>,
        client: ClientId,
        pool: &Arc<Pool>,
        minor: u16,
    ) -> (u32, Vec<u8>, CancelKey) {
        let len: u8 = if minor >= 2 { 32 } else { 4 };
        let secret: [u8; 32] = rand::random();
        // Drivers read a process id as a positive number; ids of clients that live at the same time
        // differ in these bits.
        let pid = u32::try_from(client.0 & 0x7fff_ffff).expect("31 bits fit");
        self.clients.insert(pid, Entry { secret, len, client, pool: Arc::clone(pool) });
        let shown = secret[..usize::from(len)].to_vec();
        (pid, shown, CancelKey { keys: Arc::clone(self), pid })
    }

    fn find(&self, pid: u32, secret: &[u8]) -> Option<(ClientId, Arc<Pool>)> {
        let entry = self.clients.get(&pid)?;
        let matches = bool::from(entry.secret[..usize::from(entry.len)].ct_eq(secret));
        matches.then(|| (entry.client, Arc::clone(&entry.pool)))
    }

    /// Does what a cancel request asks for. The caller then closes the connection: that is all the
    /// answer there is.
    pub async fn serve(&self, worker: &Rc<Worker>, pid: u32, secret: &[u8]) {
        let Some((client, pool)) = self.find(pid, secret) else {
            tracing::debug!(pid, "cancel request with an unknown key");
            return;
        };
        let Some(pass) = self.budget.enter() else {
            tracing::warn!(
                database = pool.database,
                user = pool.user,
                "cancel request dropped: max_cancels are under way"
            );
            return;
        };
        match pool.cancel(worker, client) {
            Cancel::Nothing => {}
            Cancel::Queued(mailbox) => {
                // A client that has gone meanwhile does not mind.
                drop(mailbox.deliver(Outcome::Canceled));
            }
            Cancel::Running { slot, key } => {
                // A task of its own: the server waits for its end, whatever becomes of the client.
                let delivery = deliver(Rc::clone(worker), Arc::clone(&pool), slot, key);
                let within_budget = async move {
                    delivery.await;
                    drop(pass);
                };
                drop(pool.host.spawn(within_budget).await);
            }
        }
    }
}

async fn deliver(worker: Rc<Worker>, pool: Arc<Pool>, slot: SlotRef, key: BackendKey) {
    let host = &pool.host;
    let sent = cancel(&host.address, &host.sockets, &key, host.cancel_wait_timeout).await;
    if let Err(error) = &sent {
        tracing::warn!(
            database = pool.database,
            user = pool.user,
            pid = key.pid,
            "cancel request could not be delivered: {error}"
        );
    }
    worker.wake();
    let is_over = !matches!(sent, Err(CancelError::Lost));
    pool.cancel_over(&worker, slot, is_over);
}
