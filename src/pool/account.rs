//! What clients of one database and user have in common, and what they obey.

use super::Pool;
use super::gate::{Gate, Pass};
use crate::base::ids::ClassId;
use crate::config::overload::ErrorCompat;
use crate::config::{ClientTimeouts, Listening, PoolMode, Sessions, Shortcuts};
use crate::end::EndReason;
use crate::session::statements::{Interner, Limits};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A database and a user, by the names in the client's DSN. Found once for each login.
///
/// What it [holds](Terms) for its clients changes with a reload. Each client keeps the terms that it has
/// taken up, so that a query reads plain memory that nobody writes; at each wake-up it compares a number
/// ([`Account::generation`]), which is one load of a line that all workers share and that only a reload
/// writes.
pub struct Account {
    pub database: String,
    pub user: String,
    pub(super) by_database: Arc<Gate>,
    pub(super) by_user: Arc<Gate>,
    generation: AtomicU64,
    terms: ArcSwap<Terms>,
}

/// What the clients of an account obey, until there are others.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Terms {
    /// Rises with each change.
    pub generation: u64,
    pub pool: Arc<Pool>,
    pub pool_mode: PoolMode,
    pub listen: Listening,
    /// Its clients may replicate.
    pub replication: bool,
    pub notification_buffer: u32,
    /// A server is reset after each lease.
    pub resets_always: bool,
    pub timeouts: ClientTimeouts,
    pub shortcuts: Shortcuts,
    pub sessions: Sessions,
    pub max_packet_size: u32,
    pub prepared: Limits,
    /// All statements that clients have.
    pub statements: Arc<Interner>,
    pub log_disconnections: bool,
    pub log_pooler_errors: bool,
    pub error_compat: ErrorCompat,
    /// The class of those that no section of the configuration puts into another.
    pub(super) own_class: ClassId,
    /// The database or the user is not configured any more. Those who are in are served under the last
    /// terms there were.
    pub is_gone: bool,
    /// Only the timeouts are those of its generation.
    pub is_partial: bool,
}

impl Terms {
    /// The same, but for how long who may take: for whom only that may change just now.
    #[must_use]
    pub fn with_timeouts_of(&self, other: &Self) -> Self {
        let (generation, timeouts) = (other.generation, other.timeouts.clone());
        Self { generation, timeouts, is_partial: true, ..self.clone() }
    }
}

impl Account {
    pub(super) fn new(
        (database, user): (String, String),
        [by_database, by_user]: [Arc<Gate>; 2],
        terms: Terms,
    ) -> Self {
        Self {
            database,
            user,
            by_database,
            by_user,
            generation: AtomicU64::new(terms.generation),
            terms: ArcSwap::from_pointee(terms),
        }
    }

    /// Which terms hold. Whoever has others takes up [`Account::terms`] when it can.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    pub(super) fn change(&self, terms: Terms) {
        let generation = terms.generation;
        self.terms.store(Arc::new(terms));
        // Behind it: who sees the number finds the terms.
        self.generation.store(generation, Ordering::Release);
    }

    /// Counts one more client of this database, this user and this pool: after it has proven who it
    /// is.
    ///
    /// # Errors
    ///
    /// When a limit is reached.
    pub fn enter(&self, terms: &Terms) -> Result<[Pass; 3], EndReason> {
        let by_database = self.by_database.enter().ok_or(EndReason::DatabaseClientLimit)?;
        let by_user = self.by_user.enter().ok_or(EndReason::UserClientLimit)?;
        Ok([by_database, by_user, terms.pool.clients.count()])
    }

    /// Counts a client that was let in before, by another process: limit or not.
    pub fn count(&self, terms: &Terms) -> [Pass; 3] {
        [self.by_database.count(), self.by_user.count(), terms.pool.clients.count()]
    }
}
