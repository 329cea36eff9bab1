//! What a decision costs: a server acquired and given back, with nobody waiting and with thousands.
//!
//! `./dev bench scheduler`. The time stands still: whoever calls has read the clock already.

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "a bench has no worker to lend it a clock")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use pgweir::config::classes::{ClassLimits, Quota};
use pgweir::config::overload::Shed;
use pgweir::scheduler::{
    Action, HostLimits, Lease, Member, PoolLimits, PoolSpec, Request, Scheduler, Site,
};

const SERVERS: u32 = 4;
/// How many may wait while a server changes hands in under a microsecond.
const WAITERS: [u64; 3] = [1, 100, 2000];
/// Over how many classes they are spread: each pool has one for each user, mostly one.
const CLASSES: [usize; 3] = [1, 4, 50];
const WORKER: WorkerId = WorkerId(1);
const HOLD: Duration = Duration::from_secs(10);
const POOLS: u8 = 100;
/// What passes from one decision to the next, where nobody is to wait for long.
const MOMENT: Duration = Duration::from_nanos(1);
/// The same where everybody of 2,000 waits for 200 ms.
const A_WHILE: Duration = Duration::from_micros(100);

/// Numbers for everything.
struct Numbers;

impl Site for Numbers {
    type Conn = u32;
    type Error = ();
    /// Which member asks.
    type Handle = usize;
    type Key = ();
}

/// A scheduler with one pool, whose servers all have arrived.
struct Host {
    scheduler: Scheduler<Numbers>,
    now: Instant,
    /// One in each class.
    members: Vec<Member>,
    next_client: u64,
    /// How much time passes with each decision.
    step: Duration,
}

impl Host {
    /// One pool, with so many classes.
    fn new(classes: usize) -> Self {
        let mut host = Self::empty(Some(SERVERS));
        let pool = host.add_pool("app");
        for _ in 0..classes {
            let class = host.add_class(ClassLimits::default());
            host.join(pool, class, None);
        }
        host.open(SERVERS);
        host
    }

    /// One class, in each of so many pools.
    fn wide(pools: u8, max_connections: Option<u32>) -> Self {
        let mut host = Self::empty(max_connections);
        let class = host.add_class(ClassLimits::default());
        for at in 0..pools {
            let pool = host.add_pool(&format!("app{at}"));
            host.join(pool, class, Some(address(at)));
        }
        host
    }

    fn limit(&mut self, limits: ClassLimits) {
        self.scheduler.set_class(self.now, self.members[0].class, limits);
    }

    fn empty(max_connections: Option<u32>) -> Self {
        let now = Instant::now();
        let limits = HostLimits {
            down_hold: HOLD,
            login_retry: HOLD,
            max_connections,
            max_queued: 0,
            shed: Shed::Auto,
        };
        let scheduler = Scheduler::new(now, limits, 1);
        Self { scheduler, now, members: Vec::new(), next_client: 0, step: MOMENT }
    }

    fn add_pool(&mut self, database: &str) -> PoolId {
        let spec = PoolSpec {
            database: database.to_owned(),
            limits: limits_of_pool(),
            user: "app".to_owned(),
        };
        self.scheduler.add_pool(self.now, spec)
    }

    fn add_class(&mut self, limits: ClassLimits) -> ClassId {
        self.scheduler.add_class(self.now, "a class".to_owned(), limits)
    }

    fn join(&mut self, pool: PoolId, class: ClassId, address: Option<IpAddr>) {
        let joined = self.scheduler.join(self.now, pool, class, address);
        self.members.push(joined.expect("there is no limit"));
    }

    /// So many servers are there, and idle.
    fn open(&mut self, servers: u32) {
        let leases: Vec<_> = (0..servers).map(|_| self.first_lease()).collect();
        for lease in leases {
            self.give_back(lease);
        }
    }

    /// Waits, and opens whatever is to be opened, until it is served.
    fn first_lease(&mut self) -> Lease<u32> {
        self.enqueue();
        loop {
            match self.scheduler.next_action().expect("somebody waits and there is room") {
                Action::Connect { slot } => {
                    self.scheduler.connected(self.now, Lease { slot, conn: 0 }, (), WORKER);
                }
                Action::Grant { lease, .. } => return lease,
                Action::Close { .. } => {}
                _ => panic!("nothing else is to be done"),
            }
        }
    }

    fn client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    /// They come by turns.
    fn next_member(&self) -> usize {
        usize::try_from(self.next_client).expect("64 bits") % self.members.len()
    }

    fn try_acquire(&mut self) -> Lease<u32> {
        let (member, client) = (self.members[self.next_member()], self.client());
        let lease = self.scheduler.try_acquire(self.now, member, client, WORKER);
        lease.expect("nobody else wants one")
    }

    fn enqueue(&mut self) {
        self.enqueue_as(self.next_member());
    }

    fn enqueue_as(&mut self, at: usize) {
        let request = Request {
            again: None,
            client: self.client(),
            deadline: Some(self.now + HOLD),
            handle: at,
            member: self.members[at],
            ride: None,
            worker: WORKER,
        };
        assert!(self.scheduler.enqueue(self.now, request).is_ok(), "the host works");
    }

    fn give_back(&mut self, lease: Lease<u32>) {
        self.scheduler.give_back(self.now, lease, WORKER);
    }

    /// Who is next, and its server.
    fn granted(&mut self) -> (usize, Lease<u32>) {
        match self.scheduler.next_action() {
            Some(Action::Grant { to, lease, .. }) => (to, lease),
            _ => panic!("a server came back, and somebody waits"),
        }
    }
}

fn limits_of_pool() -> PoolLimits {
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
        size: SERVERS,
        user_max: 0,
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn in_flight(max_in_flight: u32) -> Quota {
    Quota { max_in_flight, ..Quota::default() }
}

fn nobody_waits(criterion: &mut Criterion) {
    let mut host = Host::new(1);
    criterion.bench_function("acquire and give back, nobody waits", |bencher| {
        bencher.iter(|| {
            let lease = host.try_acquire();
            host.give_back(lease);
            assert!(host.scheduler.next_action().is_none(), "there is nothing to do");
        });
    });
}

fn many_wait(criterion: &mut Criterion) {
    for (waiters, classes) in WAITERS.into_iter().flat_map(|it| CLASSES.map(|other| (it, other))) {
        let mut host = Host::new(classes);
        let leases: Vec<_> = (0..SERVERS).map(|_| host.try_acquire()).collect();
        let name = format!("acquire and give back, {waiters} wait in {classes} classes");
        relay(criterion, &name, &mut host, (leases, waiters));
    }
}

/// The same, of a class that allows each of a hundred addresses one server.
fn many_addresses_wait(criterion: &mut Criterion) {
    let mut host = Host::empty(Some(SERVERS));
    let pool = host.add_pool("app");
    let class = host.add_class(ClassLimits { per_address: in_flight(1), ..ClassLimits::default() });
    (0..100).for_each(|last| host.join(pool, class, Some(address(last))));
    let leases: Vec<_> = (0..SERVERS).map(|_| host.first_lease()).collect();
    let name = "acquire and give back, 2000 wait from 100 addresses with quotas";
    relay(criterion, name, &mut host, (leases, 2000));
}

/// A class that may have four servers wants one in each of so many pools: beside idle ones in all of
/// them, and where there are four for all.
fn many_pools_wait(criterion: &mut Criterion) {
    for pools in [1, 10, 100] {
        for (beside, max_connections) in [("idle servers", None), ("none", Some(SERVERS))] {
            let mut host = Host::wide(pools, max_connections);
            host.open(max_connections.unwrap_or(u32::from(pools).max(SERVERS)));
            let quota = in_flight(SERVERS);
            host.limit(ClassLimits { quota, ..ClassLimits::default() });
            let leases: Vec<_> = (0..SERVERS).map(|_| host.first_lease()).collect();
            let name = format!("a class limited over {pools} pools, beside {beside}, 2000 wait");
            relay(criterion, &name, &mut host, (leases, 2000));
        }
    }
}

/// A class of its own in each of a hundred pools: with as many servers as each may have, and with one each,
/// which is all that the host allows. Who comes is served within moments, or after so long that pools are
/// compared, which have a place too many and which lack one.
fn many_full_pools_wait(criterion: &mut Criterion) {
    let full = ("with all they may have", None, u32::from(POOLS) * SERVERS);
    let alike = ("with a server each", Some(POOLS.into()), POOLS.into());
    for (with, max_connections, servers) in [full, alike] {
        for (step, so_long) in [(MOMENT, ""), (A_WHILE, " for 200 ms")] {
            let mut host = Host::empty(max_connections);
            host.step = step;
            for at in 0..POOLS {
                let pool = host.add_pool(&format!("app{at}"));
                let class = host.add_class(ClassLimits::default());
                host.join(pool, class, None);
            }
            let leases: Vec<_> = (0..servers).map(|_| host.first_lease()).collect();
            let name = format!("a class in each of {POOLS} pools {with}, 2000 wait{so_long}");
            relay(criterion, &name, &mut host, (leases, 2000));
        }
    }
}

/// As many always wait: who is served asks again, and the servers come back by turns.
fn relay(
    criterion: &mut Criterion,
    name: &str,
    host: &mut Host,
    (leases, waiters): (Vec<Lease<u32>>, u64),
) {
    let mut slots: VecDeque<_> = leases.into_iter().map(|lease| lease.slot).collect();
    for _ in 0..waiters {
        host.enqueue();
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            // Not as much as this takes: deadlines would pass.
            host.now += host.step;
            let slot = slots.pop_front().expect("there are several servers");
            host.give_back(Lease { slot, conn: 0 });
            let (served, lease) = host.granted();
            slots.push_back(lease.slot);
            host.enqueue_as(served);
        });
    });
}

criterion_group!(
    benches,
    nobody_waits,
    many_wait,
    many_addresses_wait,
    many_pools_wait,
    many_full_pools_wait
);
criterion_main!(benches);
