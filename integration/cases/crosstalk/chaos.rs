//! What goes wrong around the clients: servers are terminated, and Postgres crashes and comes back.
//!
//! All of it by the answers that were checked, and not by the clock: a slow machine is to see no more of it for each
//! answer than a fast one, or it never comes to its end.

use std::ops::Range;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::actor::Tally;
use crate::harness::postgres::Postgres;

/// A server is terminated after so many answers: ten to a hundred in the time between two restarts.
const TERMINATE_AFTER: Range<u64> = 150..1_500;

/// Postgres ends after so many answers, or after a third of those that are wanted: twice at least.
const RESTART_AFTER: u64 = 15_000;

/// Disturbs until enough was checked.
pub(super) async fn disturb(postgres: &mut Postgres, tally: &Tally, mut random: StdRng) {
    let restart_after = RESTART_AFTER.min(tally.wanted() / 3);
    let (mut terminate_at, mut restart_at) = (0, restart_after);
    let mut crash = true;
    while !tally.done() {
        sleep(Duration::from_millis(5)).await;
        let right = tally.right();
        if right >= terminate_at {
            terminate_at = right + random.random_range(TERMINATE_AFTER);
            postgres
                .sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity \
                     where usename = 'app' order by random() limit 1",
                )
                .await;
        }
        if right >= restart_at {
            restart_at = right + restart_after;
            if crash {
                postgres.crash();
            } else {
                postgres.shut_down();
            }
            crash = !crash;
            sleep(Duration::from_millis(random.random_range(0..500))).await;
            postgres.resume().await;
        }
    }
}
