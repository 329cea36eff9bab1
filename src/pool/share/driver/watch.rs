//! A head that takes its time: it stalls, it is cancelled, and those behind it go on elsewhere.

use super::{Driver, Lost, Over};
use crate::pool::keeper::UPKEEP_MAX;
use crate::pool::mailbox::{Outcome, Ridden};
use crate::pool::share::riders::Rider;
use crate::server::cancel::{CancelError, cancel};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// How much longer than expected a head may take before it counts as stalled.
const STALL: u32 = 10;
const STALL_LEAST: Duration = Duration::from_millis(50);

impl Driver {
    pub(super) fn stall(&mut self) {
        self.is_stalled = true;
        self.pool.stats.of(self.worker.id).stalls.add(1);
        self.pool.host.scheduler.with(|scheduler| scheduler.stalled(self.slot));
    }

    /// Looks at the time that the head takes, and sees to it that the task wakes when more is to be done.
    pub(super) fn watch(&mut self, cx: &Context<'_>) -> Result<(), Over> {
        let now = self.worker.now();
        if let Some(since) = self.tidying_since {
            let due = since + UPKEEP_MAX;
            self.deadline.watch(&self.worker, cx, due);
            let lost = Lost::because("it has not answered those who have left in time");
            return if due <= now { Err(lost.into()) } else { Ok(()) };
        }
        let is_stalled = self.is_stalled;
        let Some(head) = self.riders.head() else { return Ok(()) };
        let stalls_at = self.since + (head.expected() * STALL).max(STALL_LEAST);
        let mut due = stalls_at;
        let profile = head.fare.profile;
        if let Some((limit, reason)) = head.fare.limit
            && !head.is_gone
        {
            let ends_at = self.since + limit;
            if ends_at <= now {
                let ended = Ridden::Ended(reason);
                drop(head.mailbox.deliver(Outcome::Ridden(ended)));
                (head.is_gone, head.is_to_be_canceled) = (true, true);
            }
            due = due.min(ends_at);
        }
        if stalls_at <= now {
            if !head.is_gone && head.mailbox.is_closed() {
                (head.is_gone, head.is_to_be_canceled) = (true, true);
            }
            due = now + STALL_LEAST;
            if !is_stalled {
                self.stall();
                self.pool.share.profiles.stalled(profile);
            }
            self.let_go()?;
        }
        self.cancel_head();
        self.deadline.watch(&self.worker, cx, due);
        Ok(())
    }

    /// The head holds up those behind it: where there are other servers, they ask again for one of their own.
    fn let_go(&mut self) -> Result<(), Over> {
        let pool = self.slot.pool;
        if self.riders.behind().is_none()
            || self.pool.host.scheduler.with(|scheduler| scheduler.counts(pool).live() < 2)
        {
            return Ok(());
        }
        while let Some(rider) = self.riders.behind() {
            let (client, mailbox, missed) =
                (rider.client, Arc::clone(&rider.mailbox), rider.leave());
            let newcomers = self.miss(client);
            // It may be aboard of another as soon as it knows.
            if let Some(missed) = missed {
                drop(mailbox.deliver(missed));
            }
            self.put_all_on(newcomers?)?;
        }
        Ok(())
    }

    /// Sends a cancel request for the head, if that is to be. Nobody gets aboard until it is over.
    pub(super) fn cancel_head(&mut self) {
        let slot = self.slot;
        if self.is_canceling {
            return;
        }
        let wants = |head: &&mut Rider| head.is_to_be_canceled && !head.is_canceled;
        let Some(head) = self.riders.head().filter(wants) else { return };
        let client = head.client;
        let key = self.pool.host.scheduler.with(|scheduler| scheduler.cancel_head(slot, client));
        let Some(key) = key else { return };
        (self.is_canceling, head.is_canceled) = (true, true);
        for rider in self.riders.iter_mut() {
            rider.is_exposed |= rider.client != client;
        }
        let (pool, worker) = (Arc::clone(&self.pool), Rc::clone(&self.worker));
        let bell = Arc::clone(&self.bell);
        self.pool.host.tasks.spawn_local(async move {
            let limit = pool.host.setup().cancel_wait_timeout;
            let sent = cancel(&worker, &key, limit).await;
            worker.wake();
            if let Err(error) = &sent {
                let (database, user, pid) = (&pool.database, &pool.user, key.pid);
                tracing::warn!(
                    database,
                    user,
                    pid,
                    "cancel request could not be delivered: {error}"
                );
            }
            pool.cancel_over(&worker, slot, !matches!(sent, Err(CancelError::Lost)));
            bell.ring(|news| news.is_cancel_over = true);
        });
    }
}
