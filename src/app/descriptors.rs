//! File descriptors: each client and each server needs one.

use crate::config::Config;
use crate::pool::registry::CONSOLES_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Listeners, logs, runtimes, what libraries open, and a few who scrape.
const OVERHEAD: u64 = 64;

/// How many descriptors this configuration may need.
pub fn needed(config: &Config) -> u64 {
    let clients = u64::from(config.clients.max_client_conn);
    let cancels = 2 * u64::from(config.clients.max_cancels);
    let servers: u64 = config
        .databases
        .values()
        .map(|database| {
            let settings = config.pool_settings(database, None);
            u64::from(settings.pool_size) + u64::from(settings.reserve_pool_size)
        })
        .sum();
    clients + cancels + servers + u64::from(CONSOLES_MAX) + OVERHEAD
}

/// Raises the limit as far as the system lets us, and says so if that is too little: better now
/// than when the last client is refused.
pub(super) fn raise(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let have = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(u64::MAX),
    };
    let needed = needed(config);
    if have < needed {
        tracing::warn!(
            "this process may open {have} files, but max_client_conn and the pools need {needed}: \
             raise the limit (LimitNOFILE= in systemd, ulimit -n) or lower max_client_conn"
        );
    }
}
