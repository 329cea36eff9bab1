//! A scheduler and everybody around it: clients, servers, cancel requests, the clock.

use super::accounts::{Seat, Sure};
use super::broken::Broken;
use super::model::{Model, Server, State, Waiter};
use super::{COMMON, epoch};
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::config::classes::ClassLimits;
use crate::scheduler::Cancel;
use crate::scheduler::ClassFull;
use crate::scheduler::CloseReason;
use crate::scheduler::ConnectFailure;
use crate::scheduler::FailureScope;
use crate::scheduler::HostLimits;
use crate::scheduler::Lease;
use crate::scheduler::Member;
use crate::scheduler::PoolSpec;
use crate::scheduler::Refusal;
use crate::scheduler::Request;
use crate::scheduler::Ride;
use crate::scheduler::Scheduler;
use crate::scheduler::Site;
use crate::scheduler::SlotRef;
use crate::scheduler::Ticket;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(super) struct Numbers;

impl Site for Numbers {
    type Conn = u64;
    type Error = u32;
    type Handle = ClientId;
    type Key = u64;
}

/// What a test asks about afterwards.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    Checking(u64),
    Closed(PoolId, u64, CloseReason),
    Boarded(ClientId, u64),
    Connecting(PoolId),
    Driven(ClientId, u64),
    Granted(ClientId, u64),
    Refused(ClientId, Refusal<u32>),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) scheduler: Scheduler<Numbers>,
    pub(super) model: Model,
    /// What the scheduler does wrong.
    pub(super) broken: Option<Broken>,
    pub(super) connecting: Vec<SlotRef>,
    pub(super) leases: Vec<(ClientId, Lease<u64>)>,
    /// Shared servers.
    pub(super) drives: Vec<Lease<u64>>,
    /// A server that was shared, and is its driver's alone, who is about to give it back.
    pub(super) deserted: Option<SlotRef>,
    pub(super) checks: Vec<Lease<u64>>,
    pub(super) tidying: Vec<Lease<u64>>,
    pub(super) cancels: Vec<SlotRef>,
    pub(super) tickets: BTreeMap<ClientId, Ticket>,
    /// Who asks for what can share a server.
    pub(super) rides: BTreeMap<ClientId, Ride>,
    /// Whose server came back without a broken scheduler being told.
    pub(super) unseen: Option<ClientId>,
    /// Who has joined, for which pool.
    pub(super) chairs: BTreeMap<ClientId, Chair>,
    /// Since when those waited, or still do, who did not get a server at once, and for how long they may.
    pub(super) asked: BTreeMap<ClientId, (Instant, Option<Instant>)>,
    pub(super) events: Vec<Event>,
    /// Pools of which it was told in this step that servers are gone.
    pub(super) gone_of: BTreeSet<PoolId>,
    /// By pool, before the step: it had no server, it had no retired one.
    pub(super) left: Vec<(bool, bool)>,
    /// Slots that were discarded.
    pub(super) gone: Vec<SlotRef>,
    conns: u64,
}

/// Where a client has joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chair {
    pub(super) member: Member,
    pub(super) pool: PoolId,
    pub(super) seat: Seat,
}

impl World {
    pub(super) fn new(host: HostLimits, pools: &[PoolSpec], seed: u64) -> Self {
        let mut world = Self {
            now: epoch(),
            scheduler: Scheduler::new(epoch(), host, seed),
            model: Model::new(host),
            broken: None,
            connecting: Vec::new(),
            leases: Vec::new(),
            drives: Vec::new(),
            deserted: None,
            unseen: None,
            rides: BTreeMap::new(),
            checks: Vec::new(),
            tidying: Vec::new(),
            cancels: Vec::new(),
            tickets: BTreeMap::new(),
            chairs: BTreeMap::new(),
            asked: BTreeMap::new(),
            events: Vec::new(),
            gone_of: BTreeSet::new(),
            left: Vec::new(),
            gone: Vec::new(),
            conns: 0,
        };
        for spec in pools {
            world.scheduler.add_pool(world.now, spec.clone());
            world.model.add_pool(spec.clone());
        }
        assert_eq!(world.add_class(ClassLimits::default()), COMMON);
        world
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn add_class(&mut self, limits: ClassLimits) -> ClassId {
        let name = format!("class {}", self.model.accounts.limits.len());
        self.model.accounts.add(self.now, limits.clone());
        self.scheduler.add_class(self.now, name, self.told_class(limits))
    }

    fn told_class(&self, mut limits: ClassLimits) -> ClassLimits {
        self.broken.into_iter().for_each(|broken| broken.class(&mut limits));
        limits
    }

    pub(super) fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub(super) fn set_class(&mut self, class: ClassId, limits: ClassLimits) {
        self.model.accounts.set(self.now, class, limits.clone());
        self.scheduler.set_class(self.now, class, self.told_class(limits));
        self.told();
        self.settle(false);
    }

    /// A client connects.
    pub(super) fn come(&mut self, pool: PoolId, client: u64, seat: Seat) -> Result<(), ClassFull> {
        let expected = self.model.accounts.join(self.now, seat);
        let joined = self.scheduler.join(self.now, pool, seat.class, seat.address);
        assert_eq!(joined.map(|_| ()), expected);
        let member = joined?;
        self.chairs.insert(ClientId(client), Chair { member, pool, seat });
        self.settle(false);
        Ok(())
    }

    /// A client that neither waits nor has a server is gone.
    pub(super) fn part(&mut self, client: u64) {
        let chair = self.chairs.remove(&ClientId(client)).expect("it has come");
        self.model.accounts.part(chair.seat);
        if !self.is_broken(Broken::VanishedStay) {
            self.scheduler.part(chair.member);
        }
        self.settle(false);
    }

    /// A client asks as the proxy does: at once, or in line.
    pub(super) fn ask(&mut self, pool: PoolId, client: u64) {
        self.ask_as(pool, client, WorkerId(0), None);
    }

    /// A client of a class, from one of several addresses.
    pub(super) fn ask_in(&mut self, pool: PoolId, client: u64, class: ClassId, address: u8) {
        let address = Some(std::net::Ipv4Addr::new(10, 0, 0, address).into());
        if !self.chairs.contains_key(&ClientId(client)) {
            self.come(pool, client, Seat { class, address }).expect("there is room");
        }
        self.ask(pool, client);
    }

    pub(super) fn ask_as(
        &mut self,
        pool: PoolId,
        client: u64,
        worker: WorkerId,
        patience: Option<Duration>,
    ) {
        if !self.chairs.contains_key(&ClientId(client)) {
            self.come(pool, client, Seat { class: COMMON, address: None }).expect("no limits");
        }
        let client = ClientId(client);
        let Chair { member, pool: of, .. } = self.chairs[&client];
        assert_eq!(of, pool, "a client is of one pool");
        let lease = self.scheduler.try_acquire(self.now, member, client, worker);
        if let Some(lease) = lease {
            self.asked.remove(&client);
            self.obey_around(|world| world.lent(client, lease, worker));
            return self.settle(false);
        }
        // Whoever is not served at once gets in line.
        self.obey(false);
        self.line_up(client, worker, patience.map(|patience| self.now + patience), None);
    }

    /// `again`: since when it has waited, if it comes back to the front.
    pub(super) fn line_up(
        &mut self,
        client: ClientId,
        worker: WorkerId,
        deadline: Option<Instant>,
        again: Option<Instant>,
    ) {
        let Chair { member, seat, pool } = self.chairs[&client];
        let queued = self.model.accounts.queued(seat);
        let ride = self.rides.get(&client).copied();
        let first = again.or_else(|| self.told_first(pool, ride).then_some(self.now));
        let told = self.told_ride(ride);
        let unseen = self.take_unseen(pool, ride);
        let request =
            Request { again: first, client, deadline, handle: client, member, ride: told, worker };
        let (since, again) = (again.unwrap_or(self.now), again.is_some());
        let waiter = Waiter { client, seat, deadline, since, order: 0, again, ride };
        self.asked.insert(client, (since, deadline));
        if self.is_broken(Broken::WaitersThrottled) {
            self.scheduler.classes.of_mut(seat.class).throttle.refused();
        }
        match self.scheduler.enqueue(self.now, request) {
            Ok(ticket) => {
                self.model.enqueue(self.now, pool, waiter);
                self.tickets.insert(client, ticket);
            }
            Err((handle, refusal)) => {
                assert_eq!(handle, client);
                self.obey(false);
                self.model.check_refusal(self.now, (pool, seat), &refusal, false);
                self.events.push(Event::Refused(client, refusal));
            }
        }
        if let Some(lease) = unseen {
            self.obey(false);
            self.scheduler.give_back(self.now, lease, WorkerId(0));
        }
        self.settle(false);
        self.model.accounts.check_queued(seat, queued, again);
    }

    /// A client finds its server dead. It comes back to the front, or if it has not waited asks anew.
    pub(super) fn find_dead(&mut self, at: usize) {
        let (client, lease) = self.leases.swap_remove(at);
        self.model.undo(self.now, lease.slot);
        self.scheduler.was_dead(self.now, lease.slot);
        self.gone.push(lease.slot);
        self.settle(false);
        match self.asked.get(&client) {
            Some((since, deadline)) => {
                self.line_up(client, WorkerId(0), *deadline, Some(*since));
            }
            None => self.ask(self.chairs[&client].pool, client.0),
        }
    }

    /// A client was served at once.
    fn lent(&mut self, client: ClientId, lease: Lease<u64>, worker: WorkerId) {
        let Chair { pool, seat, .. } = self.chairs[&client];
        // Unless it was kept for them.
        let may_overtake = self.model.kept[pool.0 as usize] > 0;
        let ready = self.model.ready(self.now, pool, Sure::Certainly);
        assert!(may_overtake || ready == 0, "overtook");
        self.check_locality(pool, lease.slot, worker);
        self.model.on_lend(self.now, (client, seat), lease.slot, lease.conn);
        self.events.push(Event::Granted(client, lease.conn));
        self.leases.push((client, lease));
    }

    fn check_locality(&self, pool: PoolId, lent: SlotRef, worker: WorkerId) {
        let delay = self.model.spec(pool).limits.check_delay;
        let is_near = |server: &Server| {
            server.state == State::Idle
                && server.home == worker
                && delay.is_none_or(|delay| self.now - server.since <= delay)
        };
        // Round robin looks at its worker's longest idle only.
        let found = self.model.of(pool).any(is_near) && !self.model.spec(pool).limits.round_robin;
        let is_lent_near = self.model.of(pool).any(|server| server.slot == lent && is_near(server));
        assert!(!found || is_lent_near, "passed over a server of its own worker");
    }

    pub(super) fn leave(&mut self, client: u64) {
        let client = ClientId(client);
        if !self.is_broken(Broken::AbandonedStay) {
            let left = self.scheduler.leave(self.now, self.tickets[&client]);
            assert_eq!(left, Some(client));
        }
        self.model.leave(self.now, client);
        self.settle(false);
        assert_eq!(self.scheduler.leave(self.now, self.tickets[&client]), None, "left twice");
    }

    /// What is out of date does nothing, though its place may have been taken since.
    pub(super) fn repeat(&mut self, client: ClientId, gone: Option<SlotRef>) {
        let waits = self.model.lines.iter().flatten().any(|waiter| waiter.client == client);
        if !waits {
            assert_eq!(self.scheduler.leave(self.now, self.tickets[&client]), None);
        }
        if let Some(slot) = gone {
            let failure = ConnectFailure { definitive: true, error: 8, scope: FailureScope::Pool };
            self.scheduler.discard(self.now, slot);
            self.scheduler.connect_failed(self.now, slot, failure);
            self.scheduler.cancel_done(self.now, slot);
        }
        self.settle(false);
    }

    fn lease_of(&mut self, client: u64) -> Lease<u64> {
        let of_client = |(holder, _): &(ClientId, _)| *holder == ClientId(client);
        let at = self.leases.iter().position(of_client).expect("it has a lease");
        self.leases.swap_remove(at).1
    }

    pub(super) fn give_back(&mut self, client: u64) {
        let home = WorkerId(0);
        let lease = self.lease_of(client);
        self.model.put_back(self.now, lease.slot, home);
        self.scheduler.give_back(self.now, lease, home);
        self.settle(false);
    }

    pub(super) fn give_back_to(&mut self, at: usize, home: WorkerId) {
        if self.is_unseen(at) {
            return;
        }
        let (_, lease) = self.leases.swap_remove(at);
        self.model.put_back(self.now, lease.slot, home);
        if !self.is_broken(Broken::ReturnedLost) {
            self.scheduler.give_back(self.now, lease, home);
        }
        self.settle(false);
    }

    pub(super) fn tidy(&mut self, at: usize) {
        let (_, lease) = self.leases.swap_remove(at);
        self.scheduler.tidy(self.now, lease.slot);
        let server = self.model.server(lease.slot);
        (server.state, server.since) = (State::Tidying, self.now);
        self.tidying.push(lease);
        self.settle(false);
    }

    pub(super) fn tidied(&mut self, lease: Lease<u64>, home: WorkerId) {
        self.model.put_back(self.now, lease.slot, home);
        if !self.is_broken(Broken::TidiedLost) {
            self.scheduler.tidied(self.now, lease, home);
        }
        self.settle(false);
    }

    pub(super) fn discard(&mut self, slot: SlotRef) {
        self.model.remove(self.now, slot);
        self.scheduler.discard(self.now, slot);
        self.gone.push(slot);
        self.settle(false);
    }

    pub(super) fn connect_all(&mut self) {
        while !self.connecting.is_empty() {
            self.connected(0, WorkerId(0));
        }
    }

    pub(super) fn connected(&mut self, at: usize, home: WorkerId) {
        let slot = self.connecting.remove(at);
        self.conns += 1;
        let conn = self.conns;
        (self.model.server(slot).conn, self.model.server(slot).connected_at) = (conn, self.now);
        self.model.put_back(self.now, slot, home);
        if !self.model.server(slot).is_retired {
            self.model.ramp = (self.model.ramp * 2).min(32);
        }
        self.scheduler.connected(self.now, Lease { slot, conn }, conn, home);
        if self.is_broken(Broken::PlacesRestless) {
            self.scheduler.slots.at_mut(slot.index).connected_at -= Duration::from_secs(1);
        }
        self.settle(false);
    }

    pub(super) fn connect_failed(&mut self, at: usize, scope: FailureScope, definitive: bool) {
        let slot = self.connecting.remove(at);
        let was_retired = self.model.server(slot).is_retired;
        self.model.remove(self.now, slot);
        if scope == FailureScope::Host && !was_retired {
            self.model.ramp = 1;
        }
        let failure = ConnectFailure { definitive, error: 7, scope };
        self.scheduler.connect_failed(self.now, slot, failure);
        self.settle(false);
    }

    /// Answers with the server that the request is sent to.
    pub(super) fn cancel(&mut self, pool: PoolId, client: u64) -> Option<u64> {
        let client = ClientId(client);
        let key = match self.scheduler.cancel(self.now, pool, client) {
            Cancel::Nothing => None,
            Cancel::Queued(handle) => {
                assert_eq!((handle, self.model.leave(self.now, client)), (client, pool));
                None
            }
            Cancel::Riding { slot, .. } => {
                assert!(self.model.aboard(slot).contains(&client), "it rides elsewhere");
                None
            }
            Cancel::Running { slot, key } => {
                let server = self.model.server(slot);
                assert_eq!((server.state, server.conn), (State::Leased(client), key));
                server.cancels += 1;
                self.cancels.push(slot);
                if self.is_broken(Broken::CancelsForgotten) {
                    self.scheduler.cancel_done(self.now, slot);
                }
                Some(key)
            }
        };
        self.settle(false);
        key
    }

    pub(super) fn cancel_done(&mut self, at: usize) {
        let slot = self.cancels.remove(at);
        if let Some(server) = self.model.servers.iter_mut().find(|server| server.slot == slot) {
            server.cancels -= 1;
            if server.cancels == 0 && server.state == State::BeingCanceled {
                (server.state, server.since) = (State::Idle, self.now);
            }
        }
        self.scheduler.cancel_done(self.now, slot);
        self.settle(false);
    }

    /// Shows the idle servers; `dies` says which of them are dead.
    pub(super) fn look_at_idle(&mut self, mut dies: impl FnMut() -> bool) {
        let mut seen = 0;
        self.scheduler.with_idle(self.now, |_, _| {
            seen += 1;
            !dies()
        });
        let idle = self.model.servers.iter().filter(|server| server.state == State::Idle);
        assert_eq!(idle.count(), seen);
        self.settle(false);
    }

    /// The scheduler was told the time.
    fn told(&mut self) {
        self.model.accounts.notice(self.now);
        self.model.is_told = true;
    }

    pub(super) fn tick(&mut self) {
        if !self.is_broken(Broken::TimeForgotten) {
            self.scheduler.tick(self.now);
        }
        self.model.accounts.fade(self.now);
        self.told();
        self.settle(true);
        self.model.accounts.forget(self.now);
    }

    pub(super) fn pace(&mut self) {
        self.scheduler.pace(self.now);
        self.told();
        self.model.is_paced = true;
        self.settle(false);
        self.model.is_paced = false;
    }

    /// The most a test waits for: the clock moves by ticks.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(Duration::from_millis(100));
            self.tick();
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
