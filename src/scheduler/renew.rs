//! What a new configuration brings about: a pool that leads elsewhere from now on.

use super::Scheduler;
use super::health::Reach;
use super::terms::Site;
use crate::base::ids::PoolId;
use std::time::Instant;

impl<S: Site> Scheduler<S> {
    /// A pool leads elsewhere from now on, or logs in otherwise: what it has is [retired](super::pause), and
    /// what was known of its login holds no longer.
    pub fn redirect(&mut self, now: Instant, pool: PoolId) {
        self.of_mut(pool).login = Reach::new(self.limits.login_retry);
        self.retire(now, pool);
    }

    /// The host is at another address from now on: what was known of it holds no longer. For the caller
    /// to [`redirect`](Self::redirect) its pools.
    pub fn host_moved(&mut self) {
        self.host = Reach::new(self.limits.login_retry);
    }

    /// Sends away all who wait for a pool, for them to ask elsewhere. Nobody has refused them, and they
    /// have not given up: where they ask next they count once more among those who were queued.
    pub fn send_away(&mut self, now: Instant, pool: PoolId) -> Vec<S::Handle> {
        let waiters = self.queue.take_all(pool);
        for waiter in &waiters {
            self.left(now, waiter.request.member);
        }
        waiters.into_iter().map(|waiter| waiter.request.handle).collect()
    }
}
