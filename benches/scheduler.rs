//! What a decision costs: a server acquired and given back, with nobody waiting and with thousands.
//!
//! `./dev bench scheduler`. The time stands still: whoever calls has read the clock already.

#![expect(clippy::disallowed_methods, reason = "a bench has no worker to lend it a clock")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir::base::ids::{ClientId, WorkerId};
use pgweir::config::classes::ClassLimits;
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

/// Numbers for everything.
struct Numbers;

impl Site for Numbers {
    type Conn = u32;
    type Error = ();
    type Handle = u64;
    type Key = ();
}

/// A scheduler with one pool, whose servers all have arrived.
struct Host {
    scheduler: Scheduler<Numbers>,
    now: Instant,
    /// One in each class.
    members: Vec<Member>,
    next_client: u64,
}

impl Host {
    fn new(classes: usize) -> Self {
        let now = Instant::now();
        let limits = HostLimits {
            down_hold: HOLD,
            login_retry: HOLD,
            max_connections: Some(SERVERS),
            max_queued: 0,
            shed: Shed::Auto,
        };
        let mut scheduler = Scheduler::new(now, limits, 1);
        let spec = PoolSpec {
            database: "app".to_owned(),
            limits: limits_of_pool(),
            user: "app".to_owned(),
        };
        let pool = scheduler.add_pool(now, spec);
        let member = |class| {
            let class = scheduler.add_class(now, format!("{class}"), ClassLimits::default());
            scheduler.join(now, pool, class, None).expect("there is no limit")
        };
        let members = (0..classes).map(member).collect();
        let mut host = Self { scheduler, now, members, next_client: 0 };
        let leases: Vec<_> = (0..SERVERS).map(|_| host.first_lease()).collect();
        for lease in leases {
            host.give_back(lease);
        }
        host
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
                _ => panic!("nothing else is to be done"),
            }
        }
    }

    fn client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    /// They come by turns.
    fn member(&self) -> Member {
        self.members[usize::try_from(self.next_client).expect("64 bits") % self.members.len()]
    }

    fn try_acquire(&mut self) -> Lease<u32> {
        let (client, member) = (self.client(), self.member());
        let lease = self.scheduler.try_acquire(self.now, member, client, WORKER);
        lease.expect("nobody else wants one")
    }

    fn enqueue(&mut self) {
        let (client, member) = (self.client(), self.member());
        let request = Request {
            again: false,
            client,
            deadline: Some(self.now + HOLD),
            handle: client.0,
            member,
            worker: WORKER,
        };
        assert!(self.scheduler.enqueue(self.now, request).is_ok(), "the host works");
    }

    fn give_back(&mut self, lease: Lease<u32>) {
        self.scheduler.give_back(self.now, lease, WORKER);
    }

    /// The server of the waiter who is next.
    fn granted(&mut self) -> Lease<u32> {
        match self.scheduler.next_action() {
            Some(Action::Grant { lease, .. }) => lease,
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
        size: SERVERS,
        user_max: 0,
    }
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

/// As many always wait: one comes for each who is served.
fn many_wait(criterion: &mut Criterion) {
    for (waiters, classes) in WAITERS.into_iter().flat_map(|it| CLASSES.map(|other| (it, other))) {
        let mut host = Host::new(classes);
        let mut leases: Vec<_> = (0..SERVERS).map(|_| host.try_acquire()).collect();
        let mut slot = leases.pop().expect("there are several servers").slot;
        for _ in 1..waiters {
            host.enqueue();
        }
        let name = format!("acquire and give back, {waiters} wait in {classes} classes");
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| {
                // Whoever has waited for long would be refused, and deadlines would pass.
                host.now += Duration::from_nanos(1);
                host.enqueue();
                host.give_back(Lease { slot, conn: 0 });
                slot = host.granted().slot;
            });
        });
    }
}

criterion_group!(benches, nobody_waits, many_wait);
criterion_main!(benches);
