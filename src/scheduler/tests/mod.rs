//! The scheduler is a value, so a whole day of traffic is a loop.
//!
//! Rules are tested through a [`world::World`], which checks all invariants after every step against
//! a [`model::Model`]; the simulation is random traffic through the same. What comes of the rules
//! under load is tested through a [`play::Play`]: clients, servers and a clock, seconds in
//! milliseconds.

mod accounts;
mod apart;
mod broken;
mod caps;
mod census;
mod classes;
mod contention;
mod crowd;
mod drivers;
mod health;
mod keeping;
mod leases;
mod model;
mod neighbours;
mod operators;
mod overload;
mod pausing;
mod play;
mod quotas;
mod renewing;
mod riding;
mod rules;
mod sharing;
mod simulation;
mod storm;
mod strain;
mod watch;
mod world;
mod worth;
mod yielding;

use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::{ClassLimits, Excess, Priority, Quota, Rate, ServerTime};
use crate::config::overload::Shed;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolLimits;
use crate::scheduler::PoolSpec;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
pub(in crate::scheduler) fn epoch() -> Instant {
    use std::sync::OnceLock;
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    // Some way from the machine's start, so that times before it exist.
    *EPOCH.get_or_init(|| Instant::now() + Duration::from_hours(1))
}

pub(in crate::scheduler) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The seeds of random runs: from 1 to this. `PGWEIR_SEEDS` says to which number instead, or from which as
/// well, as `500..600`.
fn seeds(usual: u64) -> RangeInclusive<u64> {
    let wanted = std::env::var("PGWEIR_SEEDS").unwrap_or_else(|_| usual.to_string());
    let (first, last) = wanted.split_once("..").unwrap_or(("1", &wanted));
    let number = |text: &str| text.parse().expect("a seed is a number");
    number(first)..=number(last)
}

fn host(max_connections: Option<u32>) -> HostLimits {
    HostLimits {
        down_hold: ms(2_000),
        login_retry: ms(1_000),
        max_connections,
        max_queued: 0,
        shed: Shed::Off,
    }
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
        share: None,
        size,
        user_max: 0,
    }
}

fn spec(database: &str, user: &str, limits: PoolLimits) -> PoolSpec {
    PoolSpec { database: database.to_owned(), user: user.to_owned(), limits }
}

fn weighing(weight: u32) -> ClassLimits {
    ClassLimits { weight, ..ClassLimits::default() }
}

fn of_priority(priority: Priority) -> ClassLimits {
    ClassLimits { priority, ..ClassLimits::default() }
}

fn within(quota: Quota) -> ClassLimits {
    ClassLimits { quota, ..ClassLimits::default() }
}

fn per_address(per_address: Quota) -> ClassLimits {
    ClassLimits { per_address, ..ClassLimits::default() }
}

fn in_flight(max_in_flight: u32) -> Quota {
    Quota { max_in_flight, ..Quota::default() }
}

fn rated(per_second: f64, burst: u32, on_excess: Excess) -> Quota {
    Quota { rate: Some(Rate { per_second, burst, on_excess }), ..Quota::default() }
}

fn server_time(per_second: f64, burst: Duration) -> Quota {
    Quota { server_time: Some(ServerTime { per_second, burst }), ..Quota::default() }
}

const A: PoolId = PoolId(0);
const B: PoolId = PoolId(1);

/// The class that everybody is in who is in no other, without limits.
const COMMON: ClassId = ClassId(0);

/// Xorshift: good enough to shuffle a test, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 33) % u64::from(bound)).expect("less than a u32")
    }

    fn index(&mut self, len: usize) -> Option<usize> {
        let len = u32::try_from(len).expect("test sizes are small");
        (len > 0).then(|| self.below(len) as usize)
    }
}
