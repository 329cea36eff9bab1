//! Where and when a text is read: what decides about its meaning beside itself.

use std::time::{Duration, Instant};

/// For so long what Postgres said of a text is taken to be what it would say again, unless a change of
/// schema is seen meanwhile.
const FRESH: Duration = Duration::from_secs(10);

/// Settings that decide nothing about what a statement means or returns.
const HARMLESS: [&str; 12] = [
    "application_name",
    "client_connection_check_interval",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
    "lock_timeout",
    "maintenance_work_mem",
    "statement_timeout",
    "temp_buffers",
    "transaction_timeout",
    "work_mem",
];

/// Whether a setting decides nothing about what a statement means or returns.
pub fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|harmless| name.eq_ignore_ascii_case(harmless))
}

/// Where a text is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    pub(super) digest: u64,
    /// Texts are UTF-8 there, for sure.
    pub(super) is_utf8: bool,
    pub(super) pool: (&'a str, &'a str),
}

/// A moment, as far as it matters to what Postgres said before.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Instant,
    /// Rises when tables and the like are changed.
    pub epoch: u64,
}

impl Moment {
    /// Whether what was so at `before` can be taken to be so now.
    pub(super) fn is_soon_after(&self, before: &Self) -> bool {
        before.epoch == self.epoch && self.at.saturating_duration_since(before.at) < FRESH
    }
}
