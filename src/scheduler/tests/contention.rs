//! What those are told who have servers: whether others wait for them.

use super::world::World;
use super::{A, B, COMMON, host, in_flight, rated, server_time, sized, spec, within};
use crate::base::ids::{ClassId, PoolId};
use crate::config::classes::{ClassLimits, Excess};
use crate::scheduler::PoolSpec;
use std::time::Duration;

const C: PoolId = PoolId(2);

/// Two of one database, and one that has nothing in common with them.
fn three() -> [PoolSpec; 3] {
    [spec("a", "x", sized(1)), spec("a", "y", sized(1)), spec("b", "z", sized(1))]
}

impl World {
    /// Whether those of a class who have servers of a pool are told to ask for each transaction.
    fn is_contended(&self, pool: PoolId, class: ClassId) -> bool {
        let mut lines = self.scheduler.queue.lines_of(pool).iter();
        let lines = lines.by_ref().map(|line| self.scheduler.queue.line(*line));
        let mut own = lines.filter(|line| line.class == class);
        own.next().is_some_and(|line| line.contention.is_any())
    }

    /// What is told is so, for every line.
    pub(super) fn check_contention(&self) {
        let scheduler = &self.scheduler;
        for line in (0..scheduler.queue.lines()).map(|line| scheduler.queue.line(line)) {
            let waits = |pool: PoolId| scheduler.queue.waiting(pool) > 0;
            let waits_in = |group| {
                let mut pools = scheduler.slots.pools();
                scheduler.slots.groups.of(group).is_full()
                    && pools
                        .any(|pool| waits(pool) && scheduler.slots.groups_of(pool).contains(&group))
            };
            let class = scheduler.classes.of(line.class);
            let quotas = [&class.limits.quota, &class.limits.per_address];
            let is_counted =
                quotas.iter().any(|quota| quota.rate.is_some() || quota.server_time.is_some());
            let is_limited = quotas.iter().any(|quota| quota.max_in_flight > 0);
            let expected = waits(line.pool)
                || scheduler.slots.groups_of(line.pool).into_iter().any(waits_in)
                || is_counted
                || is_limited && class.usage.queued > 0;
            assert_eq!(line.contention.is_any(), expected, "{:?} {:?}", line.pool, line.class);
        }
    }
}

#[test]
fn who_has_a_server_is_told_as_long_as_somebody_waits_for_it() {
    let mut world = World::new(host(None), &three(), 1);
    for (pool, client) in [(A, 1), (B, 2)] {
        world.ask(pool, client);
    }
    world.connect_all();
    assert!(!world.is_contended(A, COMMON));
    world.ask(A, 3);
    world.ask(A, 4);
    assert!(world.is_contended(A, COMMON));
    assert!(!world.is_contended(B, COMMON), "nobody waits there");
    world.leave(4);
    assert!(world.is_contended(A, COMMON));
    world.give_back(1);
    assert!(!world.is_contended(A, COMMON));
}

#[test]
fn a_full_cap_is_contended_in_every_pool_under_it() {
    let mut specs = three();
    specs[0].limits.database_max = 1;
    specs[1].limits.database_max = 1;
    let mut world = World::new(host(None), &specs, 1);
    for (pool, client) in [(A, 1), (C, 2)] {
        world.ask(pool, client);
    }
    world.connect_all();
    world.ask(B, 3);
    assert!(world.is_contended(A, COMMON));
    assert!(!world.is_contended(C, COMMON), "its place is of no use to them");
}

#[test]
fn a_quota_for_transactions_tells_its_class_alone_and_at_once() {
    let mut world = World::new(host(None), &three(), 1);
    let class = world.add_class(ClassLimits::default());
    world.ask_in(A, 1, class, 1);
    world.ask(A, 2);
    world.connect_all();
    world.give_back(1);
    let second = Duration::from_secs(1);
    for quota in [rated(1.0, 1, Excess::Delay), server_time(1.0, second)] {
        assert!(!world.is_contended(A, class));
        world.set_class(class, within(quota));
        assert!(world.is_contended(A, class));
        assert!(!world.is_contended(A, COMMON));
        world.set_class(class, within(in_flight(1)));
    }
}
