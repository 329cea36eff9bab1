//! Tries a client's settings on a server while it logs in.
//!
//! Postgres alone knows whether a setting exists, may be set, and what it is reported as. The first
//! client with certain settings waits for a server to ask it; those after it need none, and those who
//! come meanwhile wait for its answer.

use crate::base::ids::ClientId;
use crate::end::{End, EndReason, ErrorFields};
use crate::net::worker::{Late, Worker};
use crate::pool::mailbox::Mailbox;
use crate::pool::waiting::Waited;
use crate::pool::welcome::{Look, Trial, Verdict, Welcome};
use crate::pool::{Lease, Pool, Refusal, Rest, Terms};
use crate::scheduler::{Member, WaitCause};
use crate::server::exchange::{Inbox, News};
use crate::server::upkeep::UpkeepError;
use crate::session::settings::Settings;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a login waits for another's trial before it asks for a server itself. Longer than any trial
/// takes that has its server; whoever waits for one in vain shall not hold up others who might get it.
const FOLLOW_MAX: Duration = Duration::from_secs(1);

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

/// Why a login is told nothing so far.
pub(super) enum Untold {
    Ended(End),
    /// Its pool may be another one now, or the trial that it waited for was broken off: it is to begin anew.
    AskAgain,
}

impl From<End> for Untold {
    fn from(end: End) -> Self {
        Self::Ended(end)
    }
}

/// Finds out what clients with these settings are told. The login waits since then.
///
/// # Errors
///
/// When there is no server, or Postgres refuses a setting: with Postgres' own words.
pub(super) async fn try_settings(
    worker: &Rc<Worker>,
    (client, since): ((ClientId, Member), Instant),
    terms: &Terms,
    settings: &Settings,
) -> Result<Arc<Welcome>, Untold> {
    let limit = terms.timeouts.query_wait_timeout;
    let deadline = limit.map(|limit| since + limit);
    let verdict = match terms.pool.catalog.look(settings) {
        Look::Known(welcome) => return Ok(welcome),
        Look::Untried(trial) => {
            let verdict = ask_server(worker, client, terms, settings, deadline).await?;
            tell(trial, &verdict);
            verdict
        }
        Look::Tried(trying) => {
            let follows_until = since + limit.map_or(FOLLOW_MAX, |limit| limit.min(FOLLOW_MAX));
            let left = follows_until.saturating_duration_since(worker.now());
            match worker.within(Some(left), trying.ended()).await {
                Ok(verdict) => verdict.ok_or(Untold::AskAgain)?,
                Err(Late) => ask_server(worker, client, terms, settings, deadline).await?,
            }
        }
    };
    verdict.map_err(|error| in_its_words(error).into())
}

/// Others wait for what holds for them as well: not that the server has gone.
fn tell(trial: Trial<'_>, verdict: &Verdict) {
    if verdict.as_ref().err().is_none_or(|error| error.severity == "ERROR") {
        trial.end(verdict.clone());
    }
}

fn in_its_words(error: Arc<ErrorFields>) -> End {
    End::from(EndReason::SettingRefused).verbatim(Arc::unwrap_or_clone(error))
}

/// Takes a server, gives it the settings, and keeps what it reports.
async fn ask_server(
    worker: &Rc<Worker>,
    client: (ClientId, Member),
    terms: &Terms,
    settings: &Settings,
    deadline: Option<Instant>,
) -> Result<Verdict, Untold> {
    let pool = &terms.pool;
    let lease = lease(worker, client, terms, deadline).await?;
    if let Some(welcome) = pool.catalog.find(settings) {
        // Somebody else has found out.
        pool.give_back(worker, lease);
        return Ok(Ok(welcome));
    }
    let mut borrowed = Borrowed { pool, worker, lease: Some(lease) };
    let server = &mut borrowed.lease.as_mut().expect("it was just lent").conn;
    server.is_to_be_reset = terms.resets_always;
    let mut changes = Vec::new();
    let mut seen = |news: News<'_>| {
        if let News::Parameter(name, value) = news {
            changes.push((name.to_owned(), value.to_owned()));
        }
    };
    // What it has already it would not report.
    let mut applied = server.apply(&Arc::default(), &mut seen).await;
    if applied.is_ok() {
        applied = server.apply(&Arc::new(settings.clone()), seen).await;
    }
    worker.wake();
    let lease = borrowed.lease.take().expect("it was not given back so far");
    let error = match applied {
        Ok(()) => {
            pool.give_back(worker, lease);
            return Ok(Ok(pool.catalog.learn(settings.clone(), &changes)));
        }
        Err(error) => error,
    };
    pool.clean(worker, lease, Inbox::default(), Rest::Canceled);
    match error {
        UpkeepError::Refused(fields) => Ok(Err(Arc::new(*fields))),
        _ => Err(End::from(EndReason::ServerLost).into()),
    }
}

/// A server, now or when its turn comes.
///
/// # Errors
///
/// When there is none.
pub(super) async fn lease(
    worker: &Rc<Worker>,
    client: (ClientId, Member),
    terms: &Terms,
    deadline: Option<Instant>,
) -> Result<Lease, Untold> {
    match terms.pool.try_lease(worker, client.0, client.1) {
        Some(lease) => Ok(lease),
        None => wait(worker, client, terms, deadline).await,
    }
}

async fn wait(
    worker: &Rc<Worker>,
    client: (ClientId, Member),
    terms: &Terms,
    deadline: Option<Instant>,
) -> Result<Lease, Untold> {
    let mailbox = Arc::new(Mailbox::default());
    let waiting = terms.pool.wait(worker, client, &mailbox, deadline, None);
    let mut waiting = waiting.map_err(told_at_login)?;
    let waited = std::future::poll_fn(|cx| waiting.poll(cx)).await;
    worker.wake();
    match waited {
        Waited::Granted { lease, .. } => Ok(lease),
        Waited::Refused(refusal) => Err(told_at_login(refusal).into()),
        // It has offered no request that could be answered elsewhere.
        Waited::Moved | Waited::Ridden(_) => Err(Untold::AskAgain),
        Waited::Canceled => Err(End::from(EndReason::CanceledInQueue).into()),
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
