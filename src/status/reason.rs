//! Why a pool is in the state that it is in: a sentence for people, who want to know what to do.

use crate::base::legible::safe;
use crate::control::holders::Holders;
use crate::pool::snapshot::PoolView;
use crate::pool::words::{counted, waits_for};
use crate::scheduler::{State, WaitCause, WaitLimit};
use std::time::Duration;

/// As the end of "it is shedding: ". Empty where all is well. Whatever clients call themselves, and
/// whatever Postgres says, it is one line that reads as it is written.
pub(super) fn of(pool: &PoolView, holders: &Holders) -> String {
    let parts = match pool.condition.state {
        State::Healthy => vec![],
        State::Busy => crowded(pool, holders),
        State::Shedding => {
            let mut parts = crowded(pool, holders);
            parts.push(shedding(pool));
            parts
        }
        State::ServerDown => {
            let mut parts = vec!["there is no server, and none to be had".to_owned()];
            parts.extend(waiting(pool));
            parts.extend(pool.failure.clone());
            parts
        }
        State::Paused => {
            let mut parts = vec!["an operator has paused it, until RESUME".to_owned()];
            parts.extend(waiting(pool));
            parts
        }
        State::Draining => vec!["the proxy stops, and lets nobody in".to_owned()],
    };
    safe(&parts.join("; "))
}

/// What there is too little of, and who has it.
fn crowded(pool: &PoolView, holders: &Holders) -> Vec<String> {
    let servers = pool.counts.live();
    let mut parts = Vec::new();
    match pool.condition.cause {
        Some(WaitCause::PoolFull) => {
            parts.push(format!("all {} busy", counted(servers, "server", "servers")));
        }
        Some(cause) => {
            parts.push(format!("clients wait for {}", waits_for(cause)));
            parts.push(format!("{} of {} servers busy", holders.all(), pool.size));
        }
        None => parts.push(format!("{} of {} servers busy", holders.all(), pool.size)),
    }
    if holders.all() > 0 {
        parts.push(holders.to_string());
    }
    parts.extend(waiting(pool));
    parts.extend(pool.failure.clone());
    parts
}

fn waiting(pool: &PoolView) -> Option<String> {
    let longest = length(pool.longest_wait);
    match pool.counts.waiting {
        0 => None,
        1 => Some(format!("1 client waiting, for {longest}")),
        waiting => Some(format!("{waiting} clients waiting, the longest for {longest}")),
    }
}

fn shedding(pool: &PoolView) -> String {
    let which = match pool.strain.limit {
        Some(WaitLimit { longest, patience: Some(patience) }) => format!(
            "requests that would wait for more than {} are refused, because clients were seen to give \
             up after {}",
            length(longest),
            length(patience)
        ),
        Some(WaitLimit { longest, patience: None }) => {
            format!("requests that would wait for more than {} are refused (shed)", length(longest))
        }
        None => "some requests are refused".to_owned(),
    };
    format!("{which}: {} in the last minute", pool.strain.refused)
}

/// A time, as precise as anybody wants it.
pub(super) fn length(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.as_millis());
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::{length, of};
    use crate::control::holders::{Holders, LongestIdle};
    use crate::pool::snapshot::PoolView;
    use crate::scheduler::{Scope, State, WaitCause, WaitLimit};
    use crate::status::tests::pool;
    use std::time::Duration;

    fn holders() -> Holders {
        let longest_idle = LongestIdle {
            idle_for: Duration::from_secs(47),
            application_name: "billing".to_owned(),
        };
        Holders {
            active: 14,
            idle_in_transaction: 6,
            kept_idle: 0,
            longest_idle: Some(longest_idle),
        }
    }

    fn crowded(state: State, cause: Option<WaitCause>) -> PoolView {
        let mut pool = pool("app");
        (pool.size, pool.counts.leased, pool.counts.waiting) = (20, 20, 31);
        pool.longest_wait = Duration::from_millis(4_250);
        (pool.condition.state, pool.condition.cause) = (state, cause);
        pool
    }

    #[test]
    fn what_is_well_needs_no_reason() {
        assert_eq!(of(&pool("app"), &Holders::default()), "");
    }

    #[test]
    fn a_pool_that_sheds_says_who_has_the_servers_and_what_follows() {
        let mut pool = crowded(State::Shedding, Some(WaitCause::PoolFull));
        let patience = Some(Duration::from_millis(500));
        pool.strain.limit = Some(WaitLimit { longest: Duration::from_millis(400), patience });
        pool.strain.refused = 120;
        let expected = "all 20 servers busy; 14 active, 6 idle in transaction (the longest for 47 s, \
                        application_name billing); 31 clients waiting, the longest for 4.2 s; \
                        requests that would wait for more than 400 ms are refused, because clients were \
                        seen to give up after 500 ms: 120 in the last minute";
        assert_eq!(of(&pool, &holders()), expected);
    }

    #[test]
    fn what_clients_call_themselves_does_not_turn_the_sentence_round() {
        let mut holders = holders();
        holders.longest_idle.as_mut().unwrap().application_name = "a\u{202e}b\n".to_owned();
        let reason = of(&crowded(State::Busy, None), &holders);
        assert!(reason.contains("application_name a\u{fffd}b\u{fffd})"), "{reason}");
    }

    #[test]
    fn a_quota_is_named_and_so_is_a_server_that_is_down() {
        let cause = WaitCause::InFlight { scope: Scope::Class, limit: 4 };
        let reason = of(&crowded(State::Busy, Some(cause)), &holders());
        let start = "clients wait for another of its class, which holds 4 servers (max_in_flight); 20 \
                     of 20 servers busy; 14 active";
        assert!(reason.starts_with(start), "{reason}");
        let mut down = crowded(State::ServerDown, None);
        (down.failure, down.counts.waiting) = (Some("connection refused".to_owned()), 1);
        let reason = of(&down, &Holders::default());
        assert_eq!(
            reason,
            "there is no server, and none to be had; 1 client waiting, for 4.2 s; connection refused"
        );
    }

    #[test]
    fn times_are_as_precise_as_they_are_long() {
        let texts = [3, 1_960, 59_000, 119_999, 120_000, 7_200_000]
            .map(|millis| length(Duration::from_millis(millis)));
        assert_eq!(texts, ["3 ms", "1.9 s", "59 s", "119 s", "2 min", "2 h"]);
    }
}
