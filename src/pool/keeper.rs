//! Does what the scheduler says: has servers opened, closes them, checks them, hands them over; and
//! cleans those that a client left in the middle of something. All of it beside the clients.

use super::mailbox::Outcome;
use super::words::waits_for;
use super::{Host, Lease, Pool, Postgres, Setup};
use crate::base::ids::PoolId;
use crate::net::stream::Link;
use crate::net::worker::Worker;
use crate::scheduler::{Action, CloseReason, Condition, Scheduler, SlotRef, State, Strain};
use crate::server::Server;
use crate::server::cancel::{CancelError, cancel};
use crate::server::exchange::Inbox;
use crate::server::upkeep::{Beginning, Reset, discards_all};
use crate::session::ledger::Status;
use crate::session::traces::{Trace, Traces};
use crate::wire::encode;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// The longest a server may take to be cleaned or checked. Longer, and a new one is had sooner.
pub(super) const UPKEEP_MAX: Duration = Duration::from_secs(5);

/// What becomes of what a server still runs of a client that has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rest {
    Canceled,
    /// It may end, for so long or for [`UPKEEP_MAX`], and is cancelled then. `None`: however long it takes. Its
    /// server is in use meanwhile.
    Ends(Option<Duration>),
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Says goodbye and closes. What Postgres did not take at once is lost: closing says the same.
pub(super) fn close(mut server: Box<Server>) {
    let mut message = Vec::with_capacity(5);
    encode::terminate(&mut message);
    let cx = &mut Context::from_waker(Waker::noop());
    drop(server.stream().poll_write(cx, &message));
}

/// Vacates the slot if its task ends without having said what became of it.
pub(super) struct SlotGuard {
    pool: Arc<Pool>,
    worker: Rc<Worker>,
    slot: Option<SlotRef>,
}

impl SlotGuard {
    pub(super) fn new(pool: &Arc<Pool>, worker: &Rc<Worker>, slot: SlotRef) -> Self {
        Self { pool: Arc::clone(pool), worker: Rc::clone(worker), slot: Some(slot) }
    }

    /// The task says itself what became of the slot.
    pub(super) fn disarm(mut self) -> SlotRef {
        self.slot.take().expect("armed until now")
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.pool.discard_slot(&self.worker, slot);
        }
    }
}

impl Host {
    #[cold]
    pub(super) fn act_all(self: &Arc<Self>, worker: &Rc<Worker>, first: Action<Postgres>) {
        let mut next = Some(first);
        while let Some(action) = next {
            self.act_once(worker, action);
            next = self.scheduler.with(Scheduler::next_action);
        }
    }

    fn act_once(self: &Arc<Self>, worker: &Rc<Worker>, action: Action<Postgres>) {
        match action {
            Action::Changed { pool, before, condition } => {
                self.log_change(worker.now(), pool, before, condition);
            }
            Action::Check { lease } => {
                if let Some(pool) = self.keeper_of(worker, lease.slot) {
                    self.tasks.spawn_local(pool.check(Rc::clone(worker), lease));
                }
            }
            Action::Close { conn, pool, why } => {
                self.note_close(worker, pool, &conn, why);
                close(conn);
            }
            Action::Connect { slot } => {
                if let Some(pool) = self.keeper_of(worker, slot) {
                    self.tasks.spawn_local(pool.open(Rc::clone(worker), slot));
                }
            }
            Action::Board { slot, .. } => {
                if let Some(pool) = self.pool(slot.pool) {
                    pool.share.boarded(slot);
                }
            }
            Action::Drive { to, client, lease, waited } => {
                let pool = self.pool(lease.slot.pool);
                let granted = Outcome::Granted { lease, waited, is_shared: true };
                if let Err(Outcome::Granted { lease, .. }) = to.deliver(granted)
                    && let Some(pool) = pool
                {
                    // Its client has just gone; others may be aboard already.
                    pool.drive(worker, lease, client, None);
                }
            }
            Action::Gone { pool } => {
                if let Some(pool) = self.pool(pool) {
                    pool.hub.wake();
                }
                self.gone.notify_waiters();
            }
            Action::Grant { to, lease, waited } => {
                let pool = self.pool(lease.slot.pool);
                let granted = Outcome::Granted { lease, waited, is_shared: false };
                if let Err(Outcome::Granted { lease, .. }) = to.deliver(granted)
                    && let Some(pool) = pool
                {
                    // Its client has just gone; the next in line gets it.
                    pool.give_back(worker, lease);
                }
            }
            Action::Miss { to } => drop(to.deliver(Outcome::Missed)),
            Action::Refuse { to, refusal } => {
                // A client that has gone meanwhile does not mind.
                drop(to.deliver(Outcome::Refused(refusal)));
            }
        }
    }

    /// The pool of a slot; if it is gone, the slot goes too.
    fn keeper_of(self: &Arc<Self>, worker: &Rc<Worker>, slot: SlotRef) -> Option<Arc<Pool>> {
        let pool = self.pool(slot.pool);
        if pool.is_none() {
            self.scheduler.with(|scheduler| scheduler.discard(worker.now(), slot));
        }
        pool
    }

    fn note_close(&self, worker: &Worker, pool: PoolId, server: &Server, why: CloseReason) {
        if let Some(pool) = self.pool(pool) {
            pool.stats.of(worker.id).closed[why as usize].add(1);
            tracing::info!(
                database = pool.database,
                user = pool.user,
                pid = server.key.pid,
                server = %server.key.place.address,
                age_s = worker.now().saturating_duration_since(server.connected_at).as_secs(),
                why = why.label(),
                "server closed"
            );
        }
    }

    fn log_change(&self, now: Instant, pool: PoolId, before: State, condition: Condition) {
        let Some(pool) = self.pool(pool) else { return };
        let (database, user) = (&pool.database, &pool.user);
        let (state, was) = (condition.state.label(), before.label());
        let waits_for = condition.cause.map(waits_for).unwrap_or_default();
        // Being busy is what pools are for; the rest somebody should know of.
        if condition.state.max(before) <= State::Busy {
            tracing::debug!(database, user, state, was, waits_for, "pool state changed");
        } else if condition.state == State::Shedding
            && let Strain { limit: Some(limit), refused, abandoned } =
                self.scheduler.with(|scheduler| scheduler.strain(now, pool.id))
        {
            tracing::warn!(
                database,
                user,
                state,
                was,
                waits_for,
                may_wait_ms = millis(limit.longest),
                patience_ms = limit.patience.map(millis),
                refused,
                abandoned,
                "pool state changed"
            );
        } else {
            tracing::warn!(database, user, state, was, waits_for, "pool state changed");
        }
    }

    /// What time brings about: called several times a second by the main thread.
    pub fn tick(self: &Arc<Self>, worker: &Rc<Worker>) {
        let now = worker.wake();
        let action = self.scheduler.with(|scheduler| {
            scheduler.tick(now);
            scheduler.next_action()
        });
        self.act(worker, action);
    }

    /// Whether somebody waits for whom time decides.
    pub fn is_pacing(&self) -> bool {
        self.scheduler.with(|scheduler| scheduler.is_pacing())
    }

    /// Lets those go on for whom it is time. Called often while there are any.
    pub fn pace(self: &Arc<Self>, worker: &Rc<Worker>) {
        let now = worker.wake();
        let action = self.scheduler.with(|scheduler| {
            scheduler.pace(now);
            scheduler.next_action()
        });
        self.act(worker, action);
    }

    /// The process is about to end: its pools say so from now on. Or not, if nobody takes over after all.
    pub fn set_draining(self: &Arc<Self>, worker: &Rc<Worker>, is_draining: bool) {
        let now = worker.wake();
        let action = self.scheduler.with(|scheduler| {
            scheduler.set_draining(now, is_draining);
            scheduler.next_action()
        });
        self.act(worker, action);
    }

    /// Says goodbye to every idle server: the process ends.
    pub fn close_idle_servers(self: &Arc<Self>, worker: &Rc<Worker>) {
        let now = worker.wake();
        let action = self.scheduler.with(|scheduler| {
            scheduler.close_all_idle(now);
            scheduler.next_action()
        });
        self.act(worker, action);
    }

    /// Has pools take in what has come of another process' servers, where nobody waits for one.
    /// Answers whether any are left.
    pub fn take_in(self: &Arc<Self>, worker: &Rc<Worker>) -> bool {
        let now = worker.wake();
        let lineages = self.heirlooms.lineages();
        let pools = self.pools.with(|pools| pools.all.clone());
        for pool in pools.iter().filter_map(Weak::upgrade) {
            if lineages.contains(&pool.setup().lineage()) {
                let action = self.scheduler.with(|scheduler| {
                    scheduler.open_one(now, pool.id);
                    scheduler.next_action()
                });
                self.act(worker, action);
            }
        }
        !lineages.is_empty()
    }

    /// Gives its idle servers away, each with its pool.
    pub fn take_idle_servers(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
    ) -> Vec<(Arc<Pool>, Box<Server>)> {
        let now = worker.wake();
        let (taken, action) = self.scheduler.with(|scheduler| {
            let taken = scheduler.take_idle(now);
            (taken, scheduler.next_action())
        });
        self.act(worker, action);
        let with_pool = |(pool, server)| Some((self.pool(pool)?, server));
        taken.into_iter().filter_map(with_pool).collect()
    }

    /// Reads what idle servers said unasked, and closes those that are gone.
    pub fn hear_idle_servers(self: &Arc<Self>, worker: &Rc<Worker>) {
        let now = worker.wake();
        let action = self.scheduler.with(|scheduler| {
            scheduler.with_idle(now, |_, server| {
                // Only what the runtime has noticed: no system call under the lock, unless there is
                // something to hear.
                !server.stream().is_readable() || server.read_unasked()
            });
            scheduler.next_action()
        });
        self.act(worker, action);
    }
}

impl Pool {
    /// Asks an idle server whether it still works.
    async fn check(self: Arc<Self>, worker: Rc<Worker>, lease: Lease) {
        let Lease { slot, mut conn } = lease;
        let guard = SlotGuard::new(&self, &worker, slot);
        let setup = self.setup();
        let sql = setup.settings.server_check_query.as_deref().unwrap_or_default();
        let works = conn.adopt(&worker).is_ok_and(|unasked| !unasked || conn.read_unasked())
            && matches!(worker.within(Some(UPKEEP_MAX), conn.run(sql)).await, Ok(Ok(())));
        self.after_upkeep(&worker, Lease { slot: guard.disarm(), conn }, works);
    }

    pub(super) fn after_upkeep(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease, is_fit: bool) {
        worker.wake();
        if !is_fit {
            return self.discard(worker, lease);
        }
        let home = lease.conn.home();
        let action = self.host.scheduler.with(|scheduler| {
            scheduler.tidied(worker.now(), lease, home);
            scheduler.next_action()
        });
        self.host.act(worker, action);
    }

    /// Makes a server fit for the next client: rolls back, resets; cancels first what still runs.
    /// `left`: what has come of answers that the client did not take; `running`: what becomes of what still runs.
    pub fn clean(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease, left: Inbox, running: Rest) {
        let is_worth_it = self.host.scheduler.with(|scheduler| {
            // Else it would be cleaned for nobody.
            let is_worth_it = running != Rest::Canceled || scheduler.is_kept(lease.slot);
            if is_worth_it {
                scheduler.tidy(worker.now(), lease.slot);
            }
            is_worth_it
        });
        if !is_worth_it {
            let is_quiet = lease.conn.ledger.is_quiet();
            return if is_quiet { self.dismiss(worker, lease) } else { self.abort(worker, lease) };
        }
        self.stats.of(worker.id).resets.add(1);
        let cleaning = Arc::clone(self).clean_now(Rc::clone(worker), lease, left, running);
        self.host.tasks.spawn_local(cleaning);
    }

    /// Closes a server that is not to be kept, in good form: Postgres rolls back what is open.
    fn dismiss(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease) {
        let Lease { slot, conn } = lease;
        close(conn);
        self.discard_slot(worker, slot);
    }

    /// Closes a server that is in the middle of something and cannot be cleaned; what it runs is
    /// cancelled, for Postgres would run it to its end.
    pub fn abort(self: &Arc<Self>, worker: &Rc<Worker>, lease: Lease) {
        let host = Arc::clone(&self.host);
        let key = lease.conn.key.clone();
        self.discard(worker, lease);
        let worker = Rc::clone(worker);
        host.tasks.spawn_local(async move {
            let limit = Some(UPKEEP_MAX);
            if let Err(error) = cancel(&worker, &key, limit).await {
                tracing::debug!(pid = key.pid, "cannot cancel what a closed server runs: {error}");
            }
        });
    }

    async fn clean_now(
        self: Arc<Self>,
        worker: Rc<Worker>,
        lease: Lease,
        left: Inbox,
        running: Rest,
    ) {
        let Lease { slot, mut conn } = lease;
        let guard = SlotGuard::new(&self, &worker, slot);
        let (mut is_fit, mut is_late) = (conn.adopt(&worker).is_ok(), false);
        if is_fit && running == Rest::Canceled && !conn.ledger.is_quiet() {
            let sent = cancel(&worker, &conn.key, Some(UPKEEP_MAX)).await;
            // One that may still be on its way would hit the next client.
            is_fit = !matches!(sent, Err(CancelError::Lost));
        }
        if is_fit {
            let setup = self.setup();
            let (traces, reset, again) = resets(&setup, &conn);
            let removed = &self.stats.of(worker.id).traces;
            traces.iter().for_each(|it| removed[it as usize].add(1));
            conn.is_to_be_reset = false;
            let cleaned = conn.clean(left, traces, (reset, again));
            let limit = match running {
                Rest::Ends(limit) => limit.map(|limit| limit.max(UPKEEP_MAX)),
                Rest::Canceled => Some(UPKEEP_MAX),
            };
            let cleaned = worker.within(limit, cleaned).await;
            is_late = cleaned.is_err();
            let failure = match cleaned {
                Ok(cleaned) => cleaned.err().map(|error| error.to_string()),
                Err(_) => limit.map(|limit| format!("it took longer than {} s", limit.as_secs())),
            };
            is_fit = failure.is_none();
            if let Some(why) = failure {
                tracing::warn!(
                    database = self.database,
                    user = self.user,
                    pid = conn.key.pid,
                    server = %conn.key.place.address,
                    "server could not be made fit for the next client: {why}"
                );
            }
        }
        let lease = Lease { slot: guard.disarm(), conn };
        if is_late {
            // Its place will be another's, beside whom it must not run on.
            return self.abort(&worker, lease);
        }
        self.after_upkeep(&worker, lease, is_fit);
    }
}

/// What cleans this server. A client's traces go whatever the configuration says. What is still to be
/// answered may leave some that nobody will see.
fn resets<'a>(
    setup: &'a Setup,
    server: &Server,
) -> (Traces, Option<Reset<'a>>, Option<Beginning<'a>>) {
    let mut traces = server.traces;
    traces.add_if(!server.ledger.is_quiet(), Trace::Unknown);
    let is_open = server.ledger.status() != Status::Idle;
    let is_wanted = is_open || traces.has(Trace::Unknown) || server.is_to_be_reset;
    let own = setup.settings.server_reset_query.as_deref().filter(|_| is_wanted);
    let again = setup.beginning().filter(|_| !traces.is_empty() || own.is_some());
    match own {
        Some(sql) if discards_all(sql) => traces = Traces::default(),
        // What another one does to the settings on the server, nobody knows; `connect_query` may write
        // over them.
        _ if own.is_some() || again.is_some() => {
            traces.add_if(!server.applied.is_empty(), Trace::Setting);
        }
        _ => {}
    }
    let reset = own.map(|sql| Reset { name: "server_reset_query", sql });
    (traces, reset, again)
}
