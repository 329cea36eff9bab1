//! Tries a client's settings on a server while it logs in.
//!
//! Postgres alone knows whether a setting exists, may be set, and what it is reported as. The first
//! client with certain settings waits for a server to ask it; those after it need none.

use super::login::refused;
use crate::base::ids::ClientId;
use crate::end::{End, EndReason};
use crate::net::worker::Worker;
use crate::pool::mailbox::{Mailbox, Outcome};
use crate::pool::welcome::Welcome;
use crate::pool::{Lease, Pool, Refusal, Terms};
use crate::scheduler::{Member, WaitCause};
use crate::server::exchange::Inbox;
use crate::session::settings::Settings;
use std::rc::Rc;
use std::sync::Arc;

/// A lease that is cleaned or closed if the login is broken off.
struct Borrowed<'a> {
    pool: &'a Arc<Pool>,
    worker: &'a Rc<Worker>,
    lease: Option<Lease>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool.abort(self.worker, lease);
        }
    }
}

/// Takes a server, gives it the settings, and keeps what it reports.
///
/// # Errors
///
/// When there is no server, or Postgres refuses a setting: with Postgres' own words.
pub(super) async fn try_settings(
    worker: &Rc<Worker>,
    client: (ClientId, Member),
    terms: &Terms,
    settings: &Settings,
) -> Result<Arc<Welcome>, End> {
    let pool = &terms.pool;
    let lease = match pool.try_lease(worker, client.0, client.1) {
        Some(lease) => lease,
        None => wait(worker, client, terms).await?,
    };
    let mut borrowed = Borrowed { pool, worker, lease: Some(lease) };
    let server = &mut borrowed.lease.as_mut().expect("it was just lent").conn;
    server.is_to_be_reset = terms.resets_always;
    let mut changes = Vec::new();
    let wanted = Arc::new(settings.clone());
    let applied = server
        .apply(&wanted, |name, value| changes.push((name.to_owned(), value.to_owned())))
        .await;
    worker.wake();
    let lease = borrowed.lease.take().expect("it was not given back so far");
    match applied {
        Ok(()) => {
            pool.give_back(worker, lease);
            Ok(pool.catalog.learn(settings.clone(), &changes))
        }
        Err(error) => {
            pool.clean(worker, lease, Inbox::default(), true);
            Err(refused(&error))
        }
    }
}

async fn wait(
    worker: &Rc<Worker>,
    client: (ClientId, Member),
    terms: &Terms,
) -> Result<Lease, End> {
    let deadline = terms.timeouts.query_wait_timeout.map(|limit| worker.now() + limit);
    let mailbox = Arc::new(Mailbox::default());
    let waiting = terms.pool.wait(worker, client, &mailbox, deadline);
    let mut waiting = waiting.map_err(told_at_login)?;
    let outcome = std::future::poll_fn(|cx| waiting.poll(cx)).await;
    worker.wake();
    match outcome {
        Outcome::Granted { lease, .. } => Ok(lease),
        Outcome::Refused(refusal) => Err(told_at_login(refusal)),
        // Whoever comes again finds the other pool.
        Outcome::Moved => Err(EndReason::ServerDown.into()),
        Outcome::Canceled => Err(EndReason::CanceledInQueue.into()),
    }
}

/// No details before the client is in, but for what Postgres itself would tell it.
fn told_at_login(refusal: Refusal) -> End {
    match refusal {
        Refusal::LoginFailed { error } => {
            End::from(EndReason::ServerRefused).verbatim((*error).clone())
        }
        // Postgres is full, not down: drivers retry on that, too, and it is the truth.
        Refusal::ServerDown { error, .. } if error.code == "53300" => {
            End::from(EndReason::ServerRefused).verbatim((*error).clone())
        }
        Refusal::ServerDown { .. } => EndReason::ServerDown.into(),
        Refusal::QueueFull { .. } => EndReason::QueueFull.into(),
        Refusal::RateLimited { .. } => EndReason::RateLimited.into(),
        Refusal::Shed { .. } => EndReason::Shed.into(),
        Refusal::WaitTimeout { cause: WaitCause::Paused, .. } => EndReason::DatabasePaused.into(),
        Refusal::WaitTimeout { .. } => EndReason::WaitTimeout.into(),
    }
}
