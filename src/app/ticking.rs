//! Tells the schedulers the time.

use super::TICK;
use super::worker::Shared;
use crate::metrics::Metrics;
use crate::net::worker::Worker;
use crate::pool::registry::Registry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often, while somebody waits for whom time decides: a rate of two hundred a second is even.
const PACE: Duration = Duration::from_millis(5);

/// How long after that it goes on. Who is let go on comes back in no time, and would find the clock slow
/// again: what a rate brings meanwhile is lost beyond its burst.
const PACE_FOR: Duration = Duration::from_secs(1);

/// Every so many ticks, idle servers are listened to.
const TICKS_TO_HEAR: u32 = 5;

/// Every so many, what is configured no more is let go.
const TICKS_TO_SWEEP: u32 = 5;

/// Keeps time for the schedulers.
pub(super) async fn tick(main: Rc<Worker>, shared: Arc<Shared>, metrics: Option<Arc<Metrics>>) {
    let registry = &shared.frontend.registry;
    let (mut ticks, mut due) = (0_u32, main.wake());
    let mut paced_until = due;
    loop {
        tokio::time::sleep(if main.now() < paced_until { PACE } else { TICK }).await;
        main.tick();
        // Asked before anybody is let go on: afterwards nobody may be left who waits.
        if is_pacing(registry) {
            paced_until = main.now() + PACE_FOR;
        }
        registry.door.tick(main.now());
        if main.now() < due {
            registry.hosts().for_each(|host| host.pace(&main));
            continue;
        }
        due = main.now() + TICK;
        ticks = ticks.wrapping_add(1);
        for host in registry.hosts() {
            host.tick(&main);
            if ticks.is_multiple_of(TICKS_TO_HEAR) {
                host.hear_idle_servers(&main);
            }
        }
        if ticks.is_multiple_of(TICKS_TO_SWEEP) {
            registry.sweep(&main);
        }
        // And now it may be known how long they wait.
        if is_pacing(registry) {
            paced_until = main.now() + PACE_FOR;
        }
        shared.console.tick(main.now());
        if let Some(metrics) = &metrics {
            metrics.tick(main.now());
        }
    }
}

/// Whether somebody waits for whom time decides.
fn is_pacing(registry: &Registry) -> bool {
    registry.door.is_pacing() || registry.hosts().any(|host| host.is_pacing())
}
