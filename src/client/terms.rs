//! A client takes up what a reload has changed for it.

use super::Client;
use crate::control::roster::Order;
use crate::end::EndReason;
use crate::pool::Terms;
use std::sync::Arc;

impl Client {
    /// Takes up the terms that hold now. Called for each wake-up while the client has no server: a transaction ends under
    /// the terms that it has begun under, and a session in session mode, which keeps its server, stays in
    /// that mode until it ends.
    #[inline]
    pub(super) fn take_up_terms(&mut self) {
        if self.terms.is_partial || self.account.generation() != self.terms.generation {
            self.take_up(self.account.terms());
        }
    }

    #[cold]
    fn take_up(&mut self, terms: Arc<Terms>) {
        if !Arc::ptr_eq(&terms.pool, &self.pool) {
            self.move_to_pool(&terms);
        }
        if terms.is_gone {
            // Whoever ends those who are in may not have found it yet.
            self.here.call(Order::Leave(EndReason::AccountRemoved));
        }
        self.terms = terms;
    }

    /// Its pool is another one now: with another login, or on another host.
    fn move_to_pool(&mut self, terms: &Terms) {
        let now = self.worker.now();
        let about = &mut self.about;
        let from = (&*self.pool, self.member);
        about.membership = terms.pool.take_over(now, from, self.here.peer.ip());
        about.in_pool = terms.pool.clients.count();
        self.member = about.membership.member;
        self.here.moves(&terms.pool, self.member.class);
        self.pool = Arc::clone(&terms.pool);
        self.listen_there();
    }

    /// Takes up what may change under a transaction: how long who may take. The rest follows when the
    /// client has no server any more.
    #[inline]
    pub(super) fn take_up_timeouts(&mut self) {
        if self.account.generation() != self.terms.generation {
            self.terms = Arc::new(self.terms.with_timeouts_of(&self.account.terms()));
        }
    }
}
