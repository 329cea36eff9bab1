//! What one database or user has otherwise than all.

use super::{ClientTimeouts, Listening, Pings, PoolMode, PoolSettings, SessionState, Shortcuts};
use std::time::Duration;

/// What a `[databases]` or `[users]` section says beside the defaults. `None`: nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolOverrides {
    pub pool_mode: Option<PoolMode>,
    pub defers_begin: Option<bool>,
    pub pings: Option<Pings>,
    pub listen: Option<Listening>,
    pub replication: Option<bool>,
    pub session_state: Option<SessionState>,
    pub multiplex: Option<bool>,
    pub pool_size: Option<u32>,
    pub min_pool_size: Option<u32>,
    pub reserve_pool_size: Option<u32>,
    pub server_lifetime: Option<Option<Duration>>,
    pub max_db_connections: Option<u32>,
    pub max_user_connections: Option<u32>,
    pub query_wait_timeout: Option<Option<Duration>>,
    pub query_timeout: Option<Option<Duration>>,
    pub transaction_timeout: Option<Option<Duration>>,
    pub idle_transaction_timeout: Option<Option<Duration>>,
    pub idle_transaction_pressure_timeout: Option<Option<Duration>>,
    pub client_idle_timeout: Option<Option<Duration>>,
}

impl PoolOverrides {
    pub(super) fn apply_to_pool(&self, settings: &mut PoolSettings) {
        let set = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
        settings.pool_mode = self.pool_mode.unwrap_or(settings.pool_mode);
        settings.listen = self.listen.unwrap_or(settings.listen);
        settings.replication = self.replication.unwrap_or(settings.replication);
        settings.multiplex.is_on = self.multiplex.unwrap_or(settings.multiplex.is_on);
        set(&mut settings.pool_size, self.pool_size);
        set(&mut settings.min_pool_size, self.min_pool_size);
        set(&mut settings.reserve_pool_size, self.reserve_pool_size);
        set(&mut settings.max_db_connections, self.max_db_connections);
        set(&mut settings.max_user_connections, self.max_user_connections);
        settings.server_lifetime = self.server_lifetime.unwrap_or(settings.server_lifetime);
    }

    pub(super) fn apply_to_shortcuts(&self, shortcuts: &mut Shortcuts) {
        shortcuts.defers_begin = self.defers_begin.unwrap_or(shortcuts.defers_begin);
        shortcuts.pings = self.pings.unwrap_or(shortcuts.pings);
    }

    pub(super) fn apply_to_client(&self, timeouts: &mut ClientTimeouts) {
        let set = |to: &mut Option<Duration>, from: Option<Option<Duration>>| {
            *to = from.unwrap_or(*to);
        };
        set(&mut timeouts.query_wait_timeout, self.query_wait_timeout);
        set(&mut timeouts.query_timeout, self.query_timeout);
        set(&mut timeouts.transaction_timeout, self.transaction_timeout);
        set(&mut timeouts.idle_transaction_timeout, self.idle_transaction_timeout);
        set(
            &mut timeouts.idle_transaction_pressure_timeout,
            self.idle_transaction_pressure_timeout,
        );
        set(&mut timeouts.client_idle_timeout, self.client_idle_timeout);
    }
}
