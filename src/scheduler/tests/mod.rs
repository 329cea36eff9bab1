//! The scheduler is a value, so a whole day of traffic is a loop.
//!
//! Everything here, the simulation and every other test, drives it through a [`world::World`], which
//! checks all invariants after every step against a [`model::Model`].

mod caps;
mod health;
mod leases;
mod model;
mod simulation;
mod world;

use crate::base::ids::PoolId;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolLimits;
use crate::scheduler::PoolSpec;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn host(max_connections: Option<u32>) -> HostLimits {
    HostLimits { down_hold: ms(2_000), login_retry: ms(1_000), max_connections }
}

fn sized(size: u32) -> PoolLimits {
    PoolLimits {
        check_delay: None,
        database_max: 0,
        idle_timeout: None,
        lifetime: None,
        min: 0,
        reserve: 0,
        reserve_timeout: None,
        round_robin: false,
        size,
        user_max: 0,
    }
}

fn spec(database: &str, user: &str, limits: PoolLimits) -> PoolSpec {
    PoolSpec { database: database.to_owned(), user: user.to_owned(), limits }
}

const A: PoolId = PoolId(0);
const B: PoolId = PoolId(1);
