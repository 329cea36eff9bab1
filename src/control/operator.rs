//! Somebody at the console, as others see it.

use crate::base::ids::ClientId;
use crate::net::stream::{Near, Peer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Somebody at the console, as others see it.
pub struct Operator {
    pub id: ClientId,
    pub user: Box<str>,
    pub peer: Peer,
    pub near: Near,
    pub application_name: Box<str>,
    pub connected_at: Instant,
    /// Microseconds from `connected_at` to its last command.
    commanded: AtomicU64,
    /// Told when what it waits for is cancelled.
    pub canceled: Notify,
    /// Told when the process ends.
    pub dismissed: Notify,
}

impl Operator {
    pub fn new(
        (id, user): (ClientId, &str),
        (peer, near): (Peer, Near),
        application_name: &str,
        now: Instant,
    ) -> Self {
        Self {
            id,
            user: user.into(),
            peer,
            near,
            application_name: application_name.into(),
            connected_at: now,
            commanded: AtomicU64::new(0),
            canceled: Notify::new(),
            dismissed: Notify::new(),
        }
    }

    /// Its last command began now.
    pub fn commands(&self, now: Instant) {
        let age = now.saturating_duration_since(self.connected_at).as_micros();
        self.commanded.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When its last command began; when it came in, if it has given none.
    pub fn commanded_at(&self) -> Instant {
        self.connected_at + Duration::from_micros(self.commanded.load(Ordering::Relaxed))
    }
}
