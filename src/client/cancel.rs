//! Cancel requests: whom they mean, and what becomes of them.
//!
//! A cancel reaches what its client waits for or runs at this moment, or nobody. The server that it
//! is for goes to nobody else until the request was delivered; the scheduler sees to that.

use crate::control::roster::{Roster, Who};
use crate::net::worker::Worker;
use crate::pool::Pool;
use crate::pool::gate::Gate;
use crate::pool::mailbox::Outcome;
use crate::scheduler::{Cancel, SlotRef};
use crate::server::BackendKey;
use crate::server::cancel::{CancelError, cancel};
use crate::stats::worker::CancelOutcome;
use std::rc::Rc;
use std::sync::Arc;

/// Cancel requests under way, no more than may be.
pub(super) struct Cancels(Arc<Gate>);

impl Cancels {
    pub(super) fn new(budget: Arc<Gate>) -> Self {
        Self(budget)
    }

    /// Does what a cancel request asks for. The caller then closes the connection: that is all the
    /// answer there is.
    pub(super) async fn serve(
        &self,
        roster: &Roster,
        worker: &Rc<Worker>,
        pid: u32,
        secret: &[u8],
    ) {
        let presence = match roster.find(pid, secret) {
            Some(Who::Client(presence)) => presence,
            Some(Who::Console(operator)) => return operator.canceled.notify_waiters(),
            None if roster.cancel_before(pid, secret) => return,
            None => {
                worker.cells.canceled(CancelOutcome::UnknownKey);
                return tracing::debug!(pid, "cancel request with an unknown key");
            }
        };
        let pool = presence.pool();
        let Some(pass) = self.0.enter() else {
            worker.cells.canceled(CancelOutcome::OverLimit);
            tracing::warn!(
                database = pool.database,
                user = pool.user,
                "cancel request dropped: max_cancels are under way"
            );
            return;
        };
        match pool.cancel(worker, presence.id) {
            Cancel::Nothing => worker.cells.canceled(CancelOutcome::Idle),
            Cancel::Queued(mailbox) => {
                worker.cells.canceled(CancelOutcome::Queued);
                // A client that has gone meanwhile does not mind.
                drop(mailbox.deliver(Outcome::Canceled));
            }
            Cancel::Riding { .. } => worker.cells.canceled(CancelOutcome::Running),
            Cancel::Running { slot, key } => {
                worker.cells.canceled(CancelOutcome::Running);
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
    let sent = cancel(&worker, &key, pool.host.setup().cancel_wait_timeout).await;
    if let Err(error) = &sent {
        tracing::warn!(
            database = pool.database,
            user = pool.user,
            pid = key.pid,
            server = %key.place.address,
            "cancel request could not be delivered: {error}"
        );
    }
    worker.wake();
    let is_over = !matches!(sent, Err(CancelError::Lost));
    pool.cancel_over(&worker, slot, is_over);
}
