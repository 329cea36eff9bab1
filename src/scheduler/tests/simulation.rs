//! Random traffic, with every invariant checked after every step. A failure prints the seed.

use super::accounts::Seat;
use super::broken::Broken;
use super::drivers::random_share;
use super::world::World;
use super::{Random, host, ms, seeds, sized, spec};
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::config::classes::{ClassLimits, Excess, Priority, Quota, Rate, ServerTime};
use crate::config::overload::Shed;
use crate::scheduler::FailureScope;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolLimits;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const SEEDS: u64 = 300;
const STEPS: u32 = 1_500;
const POOLS: u32 = 5;
/// Beside the one without limits.
const CLASSES: u32 = 4;

#[test]
fn random_traffic_keeps_every_invariant() {
    let fails = |seed: &u64| std::panic::catch_unwind(|| simulate(*seed, None)).is_err();
    let failed: Vec<u64> = seeds(SEEDS).filter(fails).collect();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

/// `broken`: so is the scheduler.
pub(super) fn simulate(seed: u64, broken: Option<Broken>) {
    live(Day::new(seed, broken, false));
}

/// The same where servers are shared.
pub(super) fn simulate_sharing(seed: u64, broken: Option<Broken>) {
    live(Day::new(seed, broken, true));
}

fn live(mut day: Day) {
    for _ in 0..STEPS {
        day.step();
    }
    day.recover();
    day.end();
}

pub(super) struct Day {
    pub(super) random: Random,
    pub(super) world: World,
    shares: bool,
    clients: u64,
    is_host_down: bool,
    /// By pool: its login fails, and whether for good.
    logins: Vec<Option<bool>>,
}

impl Day {
    fn new(seed: u64, broken: Option<Broken>, shares: bool) -> Self {
        let mut random = Random::new(seed);
        let names = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "z")];
        let host = random_host(&mut random);
        // A cap belongs to its database or user: the last one set holds, as in the scheduler.
        let mut world =
            World::new(host, &names.map(|(database, user)| spec(database, user, sized(2))), seed);
        world.broken = broken;
        let logins = vec![None; POOLS as usize];
        let mut day = Self { random, world, shares, clients: 0, is_host_down: false, logins };
        for pool in 0..POOLS {
            let limits = day.random_limits();
            day.world.set_limits(PoolId(pool), limits);
        }
        for _ in 0..CLASSES {
            let limits = random_class(&mut day.random);
            day.world.add_class(limits);
        }
        day
    }

    fn step(&mut self) {
        self.world.events.clear();
        let passes = match self.random.below(200) {
            0 => 2_000_000,
            1..=10 => self.random.below(400_000),
            11..=70 => self.random.below(8_000),
            71..=140 => self.random.below(400),
            _ => 0,
        };
        if self.shares && self.random.below(5) > 0 {
            return self.rush();
        }
        self.world.pass(Duration::from_micros(passes.into()));
        match self.random.below(100) {
            0..=29 => self.arrive(),
            30..=44 => self.finish(),
            45..=64 => self.answer_connect(),
            65..=70 => self.answer_check(),
            71..=75 => self.answer_tidying(),
            76..=78 => self.leave(),
            79 => self.vanish(),
            80..=83 => self.cancel(),
            84..=87 => self.cancel_done(),
            88 => self.operate(),
            89 => self.change_limits(),
            90 => self.change_weather(),

            91 => self.repeat(),
            92..=93 => {
                let Self { random, world, .. } = self;
                world.look_at_idle(|| random.below(4) == 0);
            }
            94..=96 => self.world.pace(),
            _ => self.world.tick(),
        }
    }

    fn arrive(&mut self) {
        let pool = PoolId(self.random.below(POOLS));
        self.arrive_in(pool);
    }

    pub(super) fn arrive_in(&mut self, pool: PoolId) {
        let worker = WorkerId(u16::try_from(self.random.below(3)).expect("small"));
        let patience = (self.random.below(3) > 0).then(|| ms(self.random.below(1_500).into()));
        let idle = self.idle_clients();
        if self.random.below(3) > 0
            && let Some(at) = self.random.index(idle.len())
        {
            let pool = self.world.chairs[&idle[at]].pool;
            self.ask_for(idle[at]);
            return self.world.ask_as(pool, idle[at].0, worker, patience);
        }
        self.clients += 1;
        let seat = self.seat();
        if self.world.come(pool, self.clients, seat).is_ok() {
            self.ask_for(ClientId(self.clients));
            self.world.ask_as(pool, self.clients, worker, patience);
        }
    }

    fn ask_for(&mut self, client: ClientId) {
        if self.shares {
            self.choose_ride(client);
        }
    }

    fn random_limits(&mut self) -> PoolLimits {
        let limits = random_limits(&mut self.random);
        let share = if self.shares { random_share(&mut self.random) } else { None };
        PoolLimits { share, ..limits }
    }

    fn seat(&mut self) -> Seat {
        let class = ClassId(self.random.below(1 + CLASSES));
        let last = u8::try_from(self.random.below(3)).expect("small");
        let address = match self.random.below(4) {
            0 => None,
            // What a socket for both families says of the same one.
            1 => Some(Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().into()),
            _ => Some(Ipv4Addr::new(10, 0, 0, last).into()),
        };
        Seat { class, address: address.map(|address: IpAddr| address.to_canonical()) }
    }

    /// Who neither waits nor has a server.
    fn idle_clients(&self) -> Vec<ClientId> {
        let (world, lines) = (&self.world, &self.world.model.lines);
        let is_idle = |client: &&ClientId| {
            !world.leases.iter().any(|(holder, _)| holder == *client)
                && !self.is_aboard(**client)
                && !lines.iter().flatten().any(|waiter| waiter.client == **client)
        };
        world.chairs.keys().filter(is_idle).copied().collect()
    }

    /// A client goes away, whatever it is doing.
    fn vanish(&mut self) {
        let Some(at) = self.random.index(self.world.chairs.len()) else { return };
        let client = *self.world.chairs.keys().nth(at).expect("so many");
        if self.is_aboard(client) {
            // What is answered to it is swallowed, and then it is gone.
            return;
        }
        if let Some(at) = self.world.leases.iter().position(|(holder, _)| *holder == client) {
            if self.random.below(2) == 0 {
                self.world.tidy(at);
            } else {
                let (_, lease) = self.world.leases.swap_remove(at);
                self.world.discard(lease.slot);
            }
        } else if self.world.model.lines.iter().flatten().any(|waiter| waiter.client == client) {
            self.world.leave(client.0);
        }
        self.world.part(client.0);
    }

    pub(super) fn finish(&mut self) {
        let Some(at) = self.random.index(self.world.leases.len()) else { return };
        match self.random.below(11) {
            10 => self.world.find_dead(at),
            0 => {
                let (_, lease) = self.world.leases.swap_remove(at);
                self.world.discard(lease.slot);
            }
            1..=2 => self.world.tidy(at),
            _ => {
                let home = WorkerId(u16::try_from(self.random.below(3)).expect("small"));
                self.world.give_back_to(at, home);
            }
        }
    }

    pub(super) fn answer_connect(&mut self) {
        let Some(at) = self.random.index(self.world.connecting.len()) else { return };
        let slot = self.world.connecting[at];
        let login = self.logins[slot.pool.0 as usize];
        if self.is_host_down {
            self.world.connect_failed(at, FailureScope::Host, false);
        } else if let Some(definitive) = login {
            self.world.connect_failed(at, FailureScope::Pool, definitive);
        } else if self.random.below(30) == 0 {
            self.world.connecting.remove(at);
            self.world.discard(slot);
        } else {
            let home = WorkerId(u16::try_from(self.random.below(3)).expect("small"));
            self.world.connected(at, home);
        }
    }

    fn answer_check(&mut self) {
        let Some(at) = self.random.index(self.world.checks.len()) else { return };
        let lease = self.world.checks.swap_remove(at);
        if self.random.below(3) == 0 {
            self.world.discard(lease.slot);
        } else {
            self.world.tidied(lease, WorkerId(1));
        }
    }

    fn answer_tidying(&mut self) {
        let Some(at) = self.random.index(self.world.tidying.len()) else { return };
        let lease = self.world.tidying.swap_remove(at);
        if self.random.below(3) == 0 {
            self.world.discard(lease.slot);
        } else {
            self.world.tidied(lease, WorkerId(0));
        }
    }

    fn waiter(&mut self) -> Option<(PoolId, ClientId)> {
        let pool = PoolId(self.random.below(POOLS));
        let at = self.random.index(self.world.model.waiting(pool))?;
        Some((pool, self.world.model.lines[pool.0 as usize][at].client))
    }

    fn leave(&mut self) {
        if let Some((_, client)) = self.waiter() {
            self.world.leave(client.0);
        }
    }

    fn repeat(&mut self) {
        let Some(at) = self.random.index(self.world.tickets.len()) else { return };
        let client = *self.world.tickets.keys().nth(at).expect("so many");
        let gone = self.random.index(self.world.gone.len()).map(|at| self.world.gone[at]);
        self.world.repeat(client, gone);
    }

    fn cancel(&mut self) {
        if self.random.below(4) == 0 {
            if let Some((pool, client)) = self.waiter() {
                assert_eq!(self.world.cancel(pool, client.0), None);
            }
        } else if let Some(at) = self.random.index(self.world.leases.len()) {
            let (client, lease) = &self.world.leases[at];
            let (pool, conn, client) = (lease.slot.pool, lease.conn, client.0);
            assert_eq!(self.world.cancel(pool, client), Some(conn));
        }
    }

    fn cancel_done(&mut self) {
        if let Some(at) = self.random.index(self.world.cancels.len()) {
            self.world.cancel_done(at);
        }
    }

    fn change_limits(&mut self) {
        match self.random.below(4) {
            0 => {
                let limits = random_host(&mut self.random);
                self.world.set_host_limits(limits);
            }
            1 => {
                let class = ClassId(1 + self.random.below(CLASSES));
                let limits = random_class(&mut self.random);
                self.world.set_class(class, limits);
            }
            _ => {
                let pool = PoolId(self.random.below(POOLS));
                let limits = self.random_limits();
                self.world.set_limits(pool, limits);
            }
        }
    }

    /// What operators do.
    fn operate(&mut self) {
        let pool = PoolId(self.random.below(POOLS));
        match self.random.below(5) {
            0 => self.world.pause(pool),
            1 => self.world.retire(pool),
            _ => self.world.resume(pool),
        }
    }

    fn change_weather(&mut self) {
        if self.random.below(3) == 0 {
            self.is_host_down = !self.is_host_down;
        } else {
            let pool = self.random.below(POOLS) as usize;
            self.logins[pool] = match self.random.below(4) {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            };
        }
    }

    /// From any state, once everything works again: everybody who still waits is served.
    fn recover(&mut self) {
        (0..POOLS).for_each(|pool| self.world.resume(PoolId(pool)));
        for _ in 0..3_000 {
            self.world.events.clear();
            let is_done = self.world.scheduler.host_counts().waiting == 0;
            let world = &self.world;
            let is_done = is_done && world.leases.is_empty() && world.drives.is_empty();
            if is_done && world.cancels.is_empty() {
                return;
            }
            self.world.pass(ms(50));
            self.world.tick();
            self.world.connect_all();
            while !self.world.cancels.is_empty() {
                self.world.cancel_done(0);
            }
            while let Some(lease) = self.world.checks.pop().or_else(|| self.world.tidying.pop()) {
                self.world.tidied(lease, WorkerId(0));
            }
            if !self.world.leases.is_empty() {
                self.world.give_back_to(0, WorkerId(0));
            }
            for at in (0..self.world.drives.len()).rev() {
                self.world.answered(at, WorkerId(0));
            }
        }
        panic!("somebody waits for ever");
    }

    fn end(&mut self) {
        for pool in 0..POOLS {
            self.world.set_limits(PoolId(pool), sized(0));
        }
        while let Some(slot) = self.world.connecting.pop() {
            self.world.discard(slot);
        }
        while let Some(lease) = self.world.checks.pop().or_else(|| self.world.tidying.pop()) {
            self.world.tidied(lease, WorkerId(0));
        }
        assert_eq!(self.world.scheduler.host_counts().open(), 0, "a slot leaked");
        assert!(self.world.model.servers.is_empty());
        while let Some(client) = self.world.chairs.keys().next().copied() {
            self.world.part(client.0);
        }
        for class in self.world.scheduler.classes() {
            let view = self.world.scheduler.class(self.world.now, class);
            assert_eq!((view.clients, view.in_flight, view.queued), (0, 0, 0));
        }
        for line in 0..self.world.scheduler.queue.lines() {
            assert!(self.world.scheduler.queue.line(line).flow.share.is_settled(), "on account");
        }
        // Long enough for every allowance to be full again, however long servers were held.
        self.world.pass(Duration::from_hours(1));
        self.world.tick();
        assert_eq!(self.world.scheduler.classes.known_sources(), 0, "an address is remembered");
    }
}

fn random_host(random: &mut Random) -> HostLimits {
    HostLimits {
        down_hold: ms(u64::from(random.below(4)) * 300),
        login_retry: ms(500),
        max_queued: if random.below(3) == 0 { 5 + random.below(30) } else { 0 },
        shed: match random.below(4) {
            0 => Shed::Off,
            1 => Shed::Within(ms(20 + u64::from(random.below(400)))),
            _ => Shed::Auto,
        },
        ..host((random.below(3) > 0).then(|| 1 + random.below(8)))
    }
}

fn random_limits(random: &mut Random) -> PoolLimits {
    let mut maybe = |odds: u32, most: u32| {
        (random.below(odds) == 0).then(|| ms((1 + random.below(most)).into()))
    };
    let (check_delay, idle_timeout) = (maybe(2, 60), maybe(2, 800));
    let (lifetime, reserve_timeout) = (maybe(3, 2_000), maybe(2, 200));
    let shared = |draw: u32| if draw < 3 { draw + 1 } else { 0 };
    PoolLimits {
        check_delay,
        database_max: shared(random.below(6)),
        idle_timeout,
        lifetime,
        min: random.below(3),
        reserve: random.below(3),
        reserve_timeout,
        round_robin: random.below(4) == 0,
        share: None,
        size: 1 + random.below(4),
        user_max: shared(random.below(6)),
    }
}

fn random_class(random: &mut Random) -> ClassLimits {
    let priorities = [Priority::Critical, Priority::Normal, Priority::Sheddable];
    ClassLimits {
        priority: priorities[random.below(3) as usize],
        weight: 1 + random.below(5),
        reserved: if random.below(3) == 0 { 1 + random.below(3) } else { 0 },
        quota: random_quota(random, 4),
        per_address: if random.below(2) == 0 { random_quota(random, 2) } else { Quota::default() },
    }
}

/// Of each limit one in three is set; `most` servers at once.
fn random_quota(random: &mut Random, most: u32) -> Quota {
    let mut maybe =
        |least: u32, most: u32| if random.below(3) == 0 { least + random.below(most) } else { 0 };
    let (max_clients, max_in_flight, max_queued) = (maybe(3, 10), maybe(1, most), maybe(1, 6));
    let on_excess = if maybe(1, 1) == 0 { Excess::Delay } else { Excess::Reject };
    let (per_second, burst) = (maybe(5, 200), 1 + maybe(1, 5));
    let server_time = maybe(100, 2_000);
    Quota {
        max_clients,
        max_in_flight,
        max_queued,
        rate: (per_second > 0).then_some(Rate {
            per_second: f64::from(per_second),
            burst,
            on_excess,
        }),
        server_time: (server_time > 0).then(|| ServerTime {
            per_second: f64::from(server_time) / 1_000.0,
            burst: ms(server_time.into()),
        }),
    }
}

/// A simulated second is a fraction of a real one: this is where a year would go.
#[test]
fn a_long_quiet_night_changes_nothing() {
    let mut world = World::new(host(Some(4)), &[spec("a", "x", sized(2))], 1);
    world.ask(super::A, 1);
    world.connect_all();
    world.give_back(1);
    world.run(Duration::from_mins(10));
    assert_eq!(world.scheduler.counts(super::A).idle, 1);
}
