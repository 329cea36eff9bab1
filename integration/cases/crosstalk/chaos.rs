//! What goes wrong around the clients: servers are terminated, and Postgres crashes and comes back.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::actor::Tally;
use crate::harness::postgres::Postgres;
use crate::harness::time::Watch;

/// Often enough that a short run has two.
const RESTART_EVERY: Duration = Duration::from_secs(4);

/// Disturbs until enough was checked.
pub(super) async fn disturb(postgres: &mut Postgres, tally: &Tally, mut random: StdRng) {
    let mut since_restart = Watch::start();
    let mut crash = true;
    while !tally.done() {
        sleep(Duration::from_millis(random.random_range(20..200))).await;
        postgres
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where usename = 'app' order by random() limit 1",
            )
            .await;
        if since_restart.elapsed() > RESTART_EVERY {
            if crash {
                postgres.crash();
            } else {
                postgres.shut_down();
            }
            crash = !crash;
            sleep(Duration::from_millis(random.random_range(0..500))).await;
            postgres.resume().await;
            since_restart = Watch::start();
        }
    }
}
