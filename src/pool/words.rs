//! Waiting and refusing, in words: for clients and for the log.

use crate::scheduler::{Scope, SharedCap, SharedFull, Shedding, WaitCause};
use std::time::Duration;

/// What somebody waits for, as the end of "waits for".
pub fn waits_for(cause: WaitCause) -> String {
    match cause {
        WaitCause::InFlight { scope, limit } => {
            let limit = counted(limit, "server", "servers");
            format!("another of {}, which holds {limit} (max_in_flight)", whose(scope))
        }
        WaitCause::Rate { scope } => {
            format!("the rate of {} (transactions_per_second)", whose(scope))
        }
        WaitCause::ServerTime { scope } => {
            format!("the server time of {} (server_seconds_per_second)", whose(scope))
        }
        WaitCause::Paused => "RESUME: an operator has paused the database".to_owned(),
        WaitCause::PoolFull => "a server: all of the pool are in use (pool_size)".to_owned(),
        WaitCause::SharedFull(SharedFull { cap, limit }) => {
            let (whose, setting) = match cap {
                SharedCap::Database => ("database", "max_db_connections"),
                SharedCap::User => ("user", "max_user_connections"),
                SharedCap::Host => ("host", "max_connections"),
            };
            format!("a server: the pools of its {whose} have {limit} between them ({setting})")
        }
        WaitCause::Opening => "a server that is being opened".to_owned(),
        WaitCause::ServerDown => "the database server, which cannot be reached".to_owned(),
    }
}

/// So many of something.
pub fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Whose limit it is.
pub fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::Address => "its address",
        Scope::Class => "its class",
        Scope::Host => "its host",
    }
}

/// Why a request was refused for overload.
pub fn shed_because(why: Shedding, limit: Duration, patience: Option<Duration>) -> String {
    let limit = match patience {
        Some(patience) => format!(
            "at most {} ms, for clients were seen to give up after {} ms",
            limit.as_millis(),
            patience.as_millis()
        ),
        None => format!("at most {} ms (shed)", limit.as_millis()),
    };
    match why {
        Shedding::Predicted(wait) => {
            format!("it would have waited for about {} ms, and may wait {limit}", wait.as_millis())
        }
        Shedding::Waited(waited) => {
            format!("it has waited for {} ms, and may wait {limit}", waited.as_millis())
        }
        Shedding::Throttled(wait) => format!(
            "nearly all of its class are refused; it would have waited for about {} ms, and may wait {limit}",
            wait.as_millis()
        ),
    }
}
