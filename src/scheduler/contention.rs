//! Whether others wait: what a client that has a server looks at without the lock, between two
//! transactions that it has sent at once.
//!
//! # Invariants
//!
//! - Only who has the scheduler writes it; anybody reads it, at any time. Whoever sees it late sends one
//!   transaction more.
//! - A [`Crowd`] has the pools that somebody waits for, who stands aside included: as many as
//!   [`Queue`](super::queue::Queue) has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Those who wait for a pool, or for the pools under a shared cap.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// How many pools they wait for.
    pools: AtomicU32,
    /// No server more may be opened: else they do not wait for each other's.
    is_full: AtomicBool,
}

impl Crowd {
    pub(super) fn of_pool() -> Self {
        Self { pools: AtomicU32::new(0), is_full: AtomicBool::new(true) }
    }

    pub(super) fn is_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Somebody waits for one pool more.
    pub(super) fn grow(&self) {
        self.pools.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody waits any more for one of them.
    pub(super) fn shrink(&self) {
        self.pools.fetch_sub(1, Ordering::Relaxed);
    }

    fn waits(&self) -> bool {
        self.pools.load(Ordering::Relaxed) > 0 && self.is_full.load(Ordering::Relaxed)
    }
}

/// Of a pool and of the caps that it shares.
pub(super) type Crowds = [Arc<Crowd>; 4];

/// What clients of one class in one pool look at.
#[derive(Debug)]
pub struct Contention {
    pub(super) crowds: Crowds,
    /// Each transaction of the class is to be asked for.
    pub(super) of_class: Arc<AtomicBool>,
}

impl Contention {
    /// Whether a client with a server is to ask anew for each transaction: its class has a quota for
    /// them, or somebody waits who might have its server.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.of_class.load(Ordering::Relaxed) || self.crowds.iter().any(|crowd| crowd.waits())
    }
}
