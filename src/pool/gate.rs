//! Limits on how many may be in, counted exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A limit on clients, counted exactly.
#[derive(Debug)]
pub struct Gate {
    used: AtomicU32,
    /// `u32::MAX`: no limit.
    max: AtomicU32,
}

/// One client counted in a [`Gate`], until this is dropped.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

impl Gate {
    /// A gate for `max` clients; 0: no limit, as in PgBouncer.
    pub fn new(max: u32) -> Arc<Self> {
        let gate = Self { used: AtomicU32::new(0), max: AtomicU32::new(0) };
        gate.set_max(max);
        Arc::new(gate)
    }

    /// Another limit for those who come. Who is in stays in, and is counted.
    pub fn set_max(&self, max: u32) {
        self.max.store(if max == 0 { u32::MAX } else { max }, Ordering::Relaxed);
    }

    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        self.enter_but(0)
    }

    /// Counts one more, if so many places are left free for others.
    pub fn enter_but(self: &Arc<Self>, kept: u32) -> Option<Pass> {
        let max = self.max.load(Ordering::Relaxed).saturating_sub(kept);
        let one_more = |used: u32| (used < max).then(|| used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Pass(Arc::clone(self)))
    }

    /// Counts one more, limit or not.
    pub fn count(self: &Arc<Self>) -> Pass {
        self.used.fetch_add(1, Ordering::Relaxed);
        Pass(Arc::clone(self))
    }

    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// `None`: no limit.
    pub fn max(&self) -> Option<u32> {
        let max = self.max.load(Ordering::Relaxed);
        (max != u32::MAX).then_some(max)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}
