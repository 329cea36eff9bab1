//! What happens when there is more to do than Postgres can: `[overload]`.

use std::time::Duration;

/// The section `[overload]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Overload {
    pub shed: Shed,
    /// Requests that wait at once, for each host. 0: no limit.
    pub max_queued: u32,
    /// For whom neither database nor user says anything else: `Config::client_timeouts` knows.
    pub idle_transaction_pressure_timeout: Option<Duration>,
    pub error_compat: ErrorCompat,
    pub logins: LoginGate,
}

/// When a request that waits is refused before its time is up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shed {
    /// When it would be served later than clients were seen to wait.
    Auto,
    Off,
    /// When the queue's delay stays above this.
    Within(Duration),
}

/// How overload is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorCompat {
    /// `FATAL` 08P01, and the connection is closed.
    PgBouncer,
    /// `ERROR` 57014, and the session goes on.
    Postgres,
}

/// Logins, so that a storm of them starves no query.
#[derive(Clone, Debug, PartialEq)]
pub struct LoginGate {
    /// Under way at once. At least one.
    pub max_at_once: u32,
    /// `None`: no limit. Else positive and finite; the same for the next.
    pub per_second: Option<f64>,
    pub per_second_per_address: Option<f64>,
    /// How long a login waits for its turn before it is refused.
    pub wait: Duration,
}
