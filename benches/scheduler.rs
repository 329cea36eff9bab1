//! What a decision costs: a server acquired and given back, with nobody waiting and with thousands.
//!
//! `./dev bench scheduler`. The time stands still: whoever calls has read the clock already.

#![expect(clippy::disallowed_methods, reason = "a bench has no worker to lend it a clock")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir::base::ids::{ClientId, PoolId, WorkerId};
use pgweir::scheduler::{
    Action, HostLimits, Lease, PoolLimits, PoolSpec, Request, Scheduler, Site,
};

const SERVERS: u32 = 4;
/// How many may wait while a server changes hands in under a microsecond.
const WAITERS: [u64; 3] = [1, 100, 2000];
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
    pool: PoolId,
    next_client: u64,
}

impl Host {
    fn new() -> Self {
        let now = Instant::now();
        let limits =
            HostLimits { down_hold: HOLD, login_retry: HOLD, max_connections: Some(SERVERS) };
        let mut scheduler = Scheduler::new(limits, 1);
        let spec = PoolSpec {
            database: "app".to_owned(),
            limits: limits_of_pool(),
            user: "app".to_owned(),
        };
        let pool = scheduler.add_pool(now, spec);
        let mut host = Self { scheduler, now, pool, next_client: 0 };
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

    fn try_acquire(&mut self) -> Lease<u32> {
        let client = self.client();
        let lease = self.scheduler.try_acquire(self.now, self.pool, client, WORKER);
        lease.expect("nobody else wants one")
    }

    fn enqueue(&mut self) {
        let client = self.client();
        let request = Request {
            again: false,
            client,
            deadline: Some(self.now + HOLD),
            handle: client.0,
            pool: self.pool,
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
    let mut host = Host::new();
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
    for waiters in WAITERS {
        let mut host = Host::new();
        let mut leases: Vec<_> = (0..SERVERS).map(|_| host.try_acquire()).collect();
        let mut slot = leases.pop().expect("there are several servers").slot;
        for _ in 1..waiters {
            host.enqueue();
        }
        let name = format!("acquire and give back, {waiters} wait");
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| {
                host.enqueue();
                host.give_back(Lease { slot, conn: 0 });
                slot = host.granted().slot;
            });
        });
    }
}

criterion_group!(benches, nobody_waits, many_wait);
criterion_main!(benches);
