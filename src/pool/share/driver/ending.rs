//! How a drive ends: the server is given back, or it is lost.

use super::{Driver, Lost};
use crate::pool::Lease;
use crate::pool::mailbox::{Outcome, Ridden};
use crate::pool::share::riders::Rider;

impl Driver {
    /// Nobody is aboard any more: the server is anybody's.
    pub(super) fn give_back(&mut self) {
        debug_assert!(self.riders.is_empty(), "the scheduler knows who is aboard");
        let Some(conn) = self.server.take() else { return };
        self.leave();
        // It is being tidied already. One that is not clean by now is given up: that is rare.
        let is_clean = conn.is_clean();
        let lease = Lease { slot: self.slot, conn };
        if self.tidying_since.is_some() {
            self.pool.after_upkeep(&self.worker, lease, is_clean);
        } else {
            self.pool.give_back(&self.worker, lease);
        }
    }

    fn leave(&mut self) {
        self.inflow.clear(&self.worker);
        self.pool.share.is_over(self.slot);
    }

    /// The server is gone. Everybody is told the truth, but those of whose requests nothing was sent: they are
    /// sent back to the queue. All of them when they are not aboard any more, as whoever is answered.
    pub(super) fn lose(&mut self, Lost { why, last_words }: Lost) {
        let Some(conn) = self.server.take() else { return };
        tracing::warn!(
            database = self.pool.database,
            user = self.pool.user,
            pid = conn.key.pid,
            server = %conn.key.place.address,
            "server was lost in use: {why}"
        );
        let mut is_cut = self.riders.to_come() > 0;
        let (sent, unsent) = self.riders.part();
        let (now, slot) = (self.worker.now(), self.slot);
        self.pool.host.scheduler.with(|scheduler| {
            scheduler.lost(slot);
            for rider in unsent.iter().filter(|rider| !rider.has_left) {
                let _next = scheduler.missed(now, slot, rider.client);
            }
        });
        if self.tidying_since.is_some() {
            // What nobody waits for runs on.
            self.pool.abort(&self.worker, Lease { slot, conn });
        } else {
            self.pool.discard(&self.worker, Lease { slot, conn });
        }
        self.leave();
        for rider in unsent.into_iter().filter(|rider| !rider.is_gone) {
            drop(rider.mailbox.deliver(rider.missed()));
        }
        for rider in sent {
            // Half a message of its answer may be on its way to the head.
            let is_cut = std::mem::take(&mut is_cut) && rider.fare.is_told();
            let last_words = last_words.clone();
            let Rider { fare, mailbox, is_gone, .. } = rider;
            let lost = Ridden::Lost { fare, last_words, is_cut };
            if !is_gone {
                drop(mailbox.deliver(Outcome::Ridden(lost)));
            }
        }
    }
}

impl Drop for Driver {
    /// A task that is dropped in the middle, by a panic or at shutdown, must not leave anybody waiting.
    fn drop(&mut self) {
        self.worker.courtesy.drive_ends();
        self.lose(Lost::because("its task ended"));
    }
}
