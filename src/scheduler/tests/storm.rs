//! A pool that is asked for more than it has, by few or by many more: who is refused, and what for. The model sees to it
//! that each who is would have waited too long.

use super::broken::Broken;
use super::world::{Event, World};
use super::{A, Random, host, ms, of_priority, sized, spec};
use crate::base::ids::{ClassId, ClientId, WorkerId};
use crate::config::classes::Priority;
use crate::config::overload::Shed;
use crate::scheduler::{HostLimits, Refusal, Shedding};

const SEEDS: u64 = 6;
const MILLIS: u64 = 1_500;
const LONGEST: u64 = 40;

#[test]
fn whoever_is_refused_would_have_waited_too_long() {
    let throttled: u32 = (1..=SEEDS).map(|seed| storm(seed, None)).sum();
    assert!(throttled > 100, "{throttled} were refused with nearly all of their class");
}

/// Whether it waits, or has a server.
fn is_busy(world: &World, client: u64) -> bool {
    let client = ClientId(client);
    world.leases.iter().any(|(holder, _)| *holder == client)
        || world.model.line(A).iter().any(|waiter| waiter.client == client)
}

/// Answers with how many were refused because nearly all of their class are.
pub(super) fn storm(seed: u64, broken: Option<Broken>) -> u32 {
    let mut random = Random::new(seed);
    let told = if broken == Some(Broken::ShedTooSoon) { LONGEST / 2 } else { LONGEST };
    let limits = |millis| HostLimits { shed: Shed::Within(ms(millis)), ..host(None) };
    let mut world = World::new(limits(told), &[spec("a", "x", sized(2))], seed);
    world.model.host = limits(LONGEST);
    world.broken = broken;
    let mut clients: Vec<(u64, ClassId)> = Vec::new();
    for priority in [Priority::Critical, Priority::Normal, Priority::Sheddable] {
        let class = world.add_class(of_priority(priority));
        let first = clients.len() as u64;
        clients.extend((0..2 + u64::from(random.below(40))).map(|at| (first + at, class)));
    }
    let mut throttled = 0;
    let is_throttled = |event: &Event| {
        let Event::Refused(_, Refusal::Shed { why, .. }) = event else { return false };
        matches!(why, Shedding::Throttled(_))
    };
    for millis in 1..=MILLIS {
        world.pass(ms(1));
        world.connect_all();
        for at in (0..world.leases.len()).rev() {
            if random.below(4) == 0 {
                world.give_back_to(at, WorkerId(0));
            }
        }
        if millis % 100 == 0 {
            world.tick();
        } else if millis % 5 == 0 {
            world.pace();
        }
        for &(client, class) in &clients {
            if random.below(10) == 0 && !is_busy(&world, client) {
                world.ask_in(A, client, class, 1);
            }
        }
        let events = world.take_events();
        throttled +=
            u32::try_from(events.iter().filter(|it| is_throttled(it)).count()).expect("few");
    }
    throttled
}

/// Of those that are broken: what only a storm shows.
#[test]
fn whatever_is_broken_about_shedding_is_caught() {
    for broken in Broken::OF_SHEDDING {
        let fails = |seed: &u64| std::panic::catch_unwind(|| storm(*seed, Some(broken))).is_err();
        assert!((1..=SEEDS).any(|seed| fails(&seed)), "{broken:?}: nobody noticed");
    }
}
