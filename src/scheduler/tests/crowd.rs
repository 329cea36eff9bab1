//! A pool that is never free: in each class somebody waits all the time. So the rules between classes show,
//! which in random traffic decide about little.

use super::broken::Broken;
use super::world::World;
use super::{A, Random, host, ms, sized, spec};
use crate::base::ids::ClassId;
use crate::config::classes::{ClassLimits, Priority};
use crate::config::overload::Shed;
use crate::scheduler::HostLimits;
use std::collections::BTreeMap;
use std::time::Duration;

const SEEDS: u64 = 20;
const TURNS: u32 = 1_200;
const CLIENTS_OF_EACH: u64 = 3;

#[test]
fn classes_share_by_weight_and_priority() {
    (1..=SEEDS).for_each(|seed| crowd(seed, None));
}

/// The model sees to it that priorities are obeyed, and to their floor. Here: who has had how much.
pub(super) fn crowd(seed: u64, broken: Option<Broken>) {
    let mut random = Random::new(seed);
    let limits = HostLimits { shed: Shed::Off, ..host(None) };
    let mut world = World::new(limits, &[spec("a", "x", sized(1))], seed);
    world.broken = broken;
    let weights = [1, 2 + random.below(4)];
    let priorities = [Priority::Normal, Priority::Normal, Priority::Sheddable];
    let classes: Vec<ClassId> = priorities
        .into_iter()
        .zip(weights.into_iter().chain([1]))
        .map(|(priority, weight)| {
            world.add_class(ClassLimits { priority, weight, ..ClassLimits::default() })
        })
        .collect();
    for (client, at) in (0..CLIENTS_OF_EACH * 3).zip((0..3).cycle()) {
        world.ask_in(A, client, classes[at], 1);
    }
    world.connect_all();
    let mut had: BTreeMap<ClassId, Duration> = BTreeMap::new();
    for _ in 0..TURNS {
        let time = ms((1 + random.below(10)).into());
        world.pass(time);
        let client = world.leases[0].0;
        let class = world.chairs[&client].seat.class;
        *had.entry(class).or_default() += time;
        world.give_back(client.0);
        world.ask_in(A, client.0, class, 1);
        world.take_events();
    }
    let share = |at: usize| had[&classes[at]].as_secs_f64() / f64::from(weights[at]);
    let ratio = share(0) / share(1);
    assert!((0.9..1.1).contains(&ratio), "seed {seed}: {weights:?} had {had:?}");
    let floor = had[&classes[2]].as_secs_f64() / had.values().sum::<Duration>().as_secs_f64();
    assert!((0.03..0.07).contains(&floor), "seed {seed}: {floor} of all for the lowest");
}
