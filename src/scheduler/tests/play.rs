//! Clients, servers and a clock around a scheduler: what comes of its rules under load.
//!
//! Clients are in crowds of the same kind. Each asks, is served, thinks and asks again; gives up
//! when its patience is at an end, and connects anew; and asks again a little later when it is
//! refused. The clock jumps from event to event.

use super::world::Numbers;
use super::{Random, epoch, ms};
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::config::classes::ClassLimits;
use crate::scheduler::{
    Action, ClassView, HostLimits, Lease, Member, PoolSpec, Refusal, Request, Ride, Scheduler,
    SlotRef, State, Ticket,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::{Duration, Instant};

/// As the program does: see `app`.
const TICK: Duration = ms(100);
const PACE: Duration = ms(5);
const PACE_FOR: Duration = ms(1_000);
/// A connection and a login at Postgres; and a `ROLLBACK` behind a cancel request.
const CONNECT: Duration = ms(10);
const CLEAN: Duration = ms(2);
/// A client that gave up connects to the proxy and logs in.
const RECONNECT: Duration = ms(20);

/// Clients of one kind.
#[derive(Clone)]
pub(super) struct Crowd {
    pub(super) pool: PoolId,
    pub(super) class: ClassId,
    pub(super) clients: u32,
    /// How long a server is held, in microseconds.
    pub(super) service: fn(&mut Random) -> u64,
    /// Between an answer and the next request.
    pub(super) think: Duration,
    /// From the request to the answer.
    pub(super) patience: Option<Duration>,
    /// How long the proxy lets it wait.
    pub(super) deadline: Option<Duration>,
    /// Clients come from so many addresses.
    pub(super) addresses: u8,
    /// When its clients are there, from the beginning on.
    pub(super) there: Range<Duration>,
    /// Its requests can share a server, and are expected to take so long.
    pub(super) ride: Option<Duration>,
}

impl Crowd {
    pub(super) fn new(clients: u32, service: fn(&mut Random) -> u64) -> Self {
        Self {
            pool: super::A,
            class: super::COMMON,
            clients,
            service,
            think: Duration::ZERO,
            patience: None,
            deadline: None,
            addresses: 1,
            there: Duration::ZERO..Duration::MAX,
            ride: None,
        }
    }
}

/// What became of one crowd.
#[derive(Default)]
pub(super) struct Record {
    /// When, and after how long.
    pub(super) answers: Vec<(Duration, Duration)>,
    gave_up: Vec<Duration>,
    refused: Vec<(Duration, Refusal<u32>)>,
    /// Server time: when a holding ended, and how long it was.
    pub(super) held: Vec<(Duration, Duration)>,
}

impl Record {
    pub(super) fn answered(&self, during: Range<u64>) -> usize {
        let is_in = |at: &Duration| ms(during.start) <= *at && *at < ms(during.end);
        self.answers.iter().filter(|(at, _)| is_in(at)).count()
    }

    pub(super) fn gave_up(&self, during: Range<u64>) -> usize {
        self.gave_up.iter().filter(|at| ms(during.start) <= **at && **at < ms(during.end)).count()
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = &Refusal<u32>> {
        self.refused.iter().map(|(_, refusal)| refusal)
    }

    pub(super) fn shed(&self) -> usize {
        self.refusals().filter(|refusal| matches!(refusal, Refusal::Shed { .. })).count()
    }

    pub(super) fn server_time(&self, during: Range<u64>) -> f64 {
        let (start, end) = (ms(during.start), ms(during.end));
        let parts = self.held.iter().map(|(ended, took)| {
            let began = ended.saturating_sub(*took).max(start);
            (*ended).min(end).saturating_sub(began)
        });
        parts.sum::<Duration>().as_secs_f64()
    }

    /// Of the answers: so long or shorter were `share` of them.
    pub(super) fn quantile(&self, share: f64, during: Range<u64>) -> Duration {
        let is_in = |at: &Duration| ms(during.start) <= *at && *at < ms(during.end);
        let answers = self.answers.iter().filter(|(at, _)| is_in(at));
        let mut latencies: Vec<_> = answers.map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let at = (latencies.len() as f64 * share) as usize;
        latencies.get(at.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

pub(super) enum Phase {
    Away,
    Waiting(Ticket),
    Leased(Lease<u64>, Instant),
    /// Aboard a shared server.
    Riding,
}

pub(super) struct Actor {
    pub(super) crowd: usize,
    address: IpAddr,
    member: Option<Member>,
    pub(super) phase: Phase,
    pub(super) asked: Instant,
    /// Rises with every request, so that what was to happen to an earlier one does not.
    pub(super) request: u64,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Event {
    Clock,
    Ask(usize),
    /// A shared server has answered its head.
    Answered(usize),
    Done(usize, u64),
    GiveUp(usize, u64),
    Connected(usize),
    Clean(usize),
    /// One who waits is killed, and another in a while.
    Kill(Duration),
}

pub(super) struct Play {
    pub(super) scheduler: Scheduler<Numbers>,
    pub(super) records: Vec<Record>,
    pub(super) now: Instant,
    pub(super) states: Vec<(Duration, State)>,
    frozen: Range<Duration>,
    pub(super) crowds: Vec<Crowd>,
    pub(super) actors: Vec<Actor>,
    /// Each with its head, and since when it is that.
    pub(super) shared: Vec<Option<(Lease<u64>, usize, Instant)>>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    slots: Vec<SlotRef>,
    unclean: Vec<Option<Lease<u64>>>,
    next_tick: Instant,
    paced_until: Instant,
    count: u64,
    pub(super) random: Random,
}

impl Play {
    /// The first class is [`COMMON`](super::COMMON), and those of `classes` follow.
    pub(super) fn new(host: HostLimits, pools: &[PoolSpec], classes: &[ClassLimits]) -> Self {
        let now = epoch();
        let mut scheduler = Scheduler::new(now, host, 1);
        for pool in pools {
            scheduler.add_pool(now, pool.clone());
        }
        scheduler.add_class(now, "common".to_owned(), ClassLimits::default());
        for (at, limits) in classes.iter().enumerate() {
            scheduler.add_class(now, format!("class {at}"), limits.clone());
        }
        let mut play = Self {
            scheduler,
            records: Vec::new(),
            now,
            states: Vec::new(),
            frozen: Duration::MAX..Duration::MAX,
            crowds: Vec::new(),
            actors: Vec::new(),
            shared: Vec::new(),
            events: BinaryHeap::new(),
            slots: Vec::new(),
            unclean: Vec::new(),
            next_tick: now + TICK,
            paced_until: now,
            count: 0,
            random: Random::new(7),
        };
        play.at(now + TICK, Event::Clock);
        play
    }

    pub(super) fn add(&mut self, crowd: Crowd) -> usize {
        let at = self.crowds.len();
        for client in 0..crowd.clients {
            let last = u8::try_from(client % u32::from(crowd.addresses)).expect("fewer than 256");
            self.actors.push(Actor {
                crowd: at,
                address: Ipv4Addr::new(10, 0, 0, last).into(),
                member: None,
                phase: Phase::Away,
                asked: self.now,
                request: 0,
            });
            // All within the first 50 ms, but not at once.
            let later = Duration::from_micros(self.random.below(50_000).into());
            let start = epoch() + crowd.there.start + later;
            self.at(start, Event::Ask(self.actors.len() - 1));
        }
        self.crowds.push(crowd);
        self.records.push(Record::default());
        at
    }

    /// No server does anything for this time.
    pub(super) fn freeze(&mut self, during: Range<u64>) {
        self.frozen = ms(during.start)..ms(during.end);
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.count += 1;
        self.events.push(Reverse((when, self.count, event)));
    }

    pub(super) fn after(&mut self, time: Duration, event: Event) {
        self.at(self.now + time, event);
    }

    pub(super) fn run_until(&mut self, millis: u64) {
        let end = epoch() + ms(millis);
        while let Some(&Reverse((at, _, event))) = self.events.peek()
            && at <= end
        {
            self.events.pop();
            self.now = at;
            self.happens(event);
            self.obey();
        }
        self.now = end;
    }

    /// How many servers were opened.
    pub(super) fn opened(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn passed(&self) -> Duration {
        self.now - epoch()
    }

    fn happens(&mut self, event: Event) {
        let is_work =
            !matches!(event, Event::Clock | Event::Ask(_) | Event::GiveUp(..) | Event::Kill(_));
        if is_work && self.frozen.contains(&self.passed()) {
            let pause = self.frozen.end.saturating_sub(self.frozen.start);
            return self.after(pause, event);
        }
        match event {
            Event::Clock => self.clock(),
            Event::Answered(at) => self.answered(at),
            Event::Ask(actor) => self.ask(actor),
            Event::Done(actor, request) => self.done(actor, request),
            Event::GiveUp(actor, request) => self.give_up(actor, request),
            Event::Connected(at) => {
                let slot = self.slots[at];
                let lease = Lease { slot, conn: at as u64 };
                self.scheduler.connected(self.now, lease, at as u64, WorkerId(1));
            }
            Event::Clean(at) => {
                let lease = self.unclean[at].take().expect("cleaned once");
                self.scheduler.tidied(self.now, lease, WorkerId(1));
            }
            Event::Kill(every) => self.kill(every),
        }
    }

    /// Every so often a client is killed while it waits, for reasons of its own.
    pub(super) fn kill(&mut self, every: Duration) {
        let waits = |at: &usize| matches!(self.actors[*at].phase, Phase::Waiting(_));
        let waiting: Vec<_> = (0..self.actors.len()).filter(waits).collect();
        if let Some(at) = self.random.index(waiting.len()) {
            self.vanish(waiting[at]);
        }
        self.after(every, Event::Kill(every));
    }

    fn clock(&mut self) {
        if self.scheduler.is_pacing() {
            self.paced_until = self.now + PACE_FOR;
        }
        if self.now >= self.next_tick {
            self.scheduler.tick(self.now);
            self.next_tick = self.now + TICK;
        } else {
            self.scheduler.pace(self.now);
        }
        if self.scheduler.is_pacing() {
            self.paced_until = self.now + PACE_FOR;
        }
        let next = if self.now < self.paced_until { PACE } else { TICK };
        self.after(next, Event::Clock);
    }

    fn ask(&mut self, actor: usize) {
        let crowd = &self.crowds[self.actors[actor].crowd];
        let (is_there, class, pool) =
            (crowd.there.contains(&self.passed()), crowd.class, crowd.pool);
        let (patience, deadline) = (crowd.patience, crowd.deadline);
        let ride = crowd.ride;
        let of = &mut self.actors[actor];
        if !is_there {
            if let Some(member) = of.member.take() {
                self.scheduler.part(member);
            }
            return;
        }
        of.asked = self.now;
        of.request += 1;
        let request = of.request;
        let member = *of.member.get_or_insert_with(|| {
            let joined = self.scheduler.join(self.now, pool, class, Some(of.address));
            joined.expect("no limit of clients here")
        });
        if let Some(patience) = patience {
            self.after(patience, Event::GiveUp(actor, request));
        }
        let client = ClientId(actor as u64);
        if let Some(lease) = self.scheduler.try_acquire(self.now, member, client, WorkerId(1)) {
            return self.served(actor, lease);
        }
        let worker = WorkerId(1);
        let deadline = deadline.map(|deadline| self.now + deadline);
        let ride = ride.map(|expected| Ride { expected, settings: 0 });
        let request =
            Request { again: None, client, deadline, handle: client, member, ride, worker };
        match self.scheduler.enqueue(self.now, request) {
            Ok(ticket) => self.actors[actor].phase = Phase::Waiting(ticket),
            Err((_, refusal)) => self.refused(actor, refusal),
        }
    }

    fn served(&mut self, actor: usize, lease: Lease<u64>) {
        let crowd = &self.crowds[self.actors[actor].crowd];
        let took = Duration::from_micros((crowd.service)(&mut self.random));
        self.actors[actor].phase = Phase::Leased(lease, self.now);
        self.after(took, Event::Done(actor, self.actors[actor].request));
    }

    fn refused(&mut self, actor: usize, refusal: Refusal<u32>) {
        let of = &mut self.actors[actor];
        of.phase = Phase::Away;
        of.request += 1;
        let passed = self.now - epoch();
        self.records[of.crowd].refused.push((passed, refusal));
        let backoff = ms(50 + u64::from(self.random.below(100)));
        self.after(backoff, Event::Ask(actor));
    }

    fn take_lease(&mut self, actor: usize) -> Lease<u64> {
        let of = &mut self.actors[actor];
        let Phase::Leased(lease, since) = std::mem::replace(&mut of.phase, Phase::Away) else {
            panic!("it has a server");
        };
        let passed = self.now - epoch();
        self.records[of.crowd].held.push((passed, self.now - since));
        lease
    }

    fn done(&mut self, actor: usize, request: u64) {
        if self.actors[actor].request != request {
            return;
        }
        let lease = self.take_lease(actor);
        let (passed, of) = (self.passed(), &mut self.actors[actor]);
        of.request += 1;
        self.records[of.crowd].answers.push((passed, self.now - of.asked));
        let think = self.crowds[of.crowd].think;
        self.after(think, Event::Ask(actor));
        self.scheduler.give_back(self.now, lease, WorkerId(1));
    }

    fn give_up(&mut self, actor: usize, request: u64) {
        let is_riding = matches!(self.actors[actor].phase, Phase::Riding);
        if self.actors[actor].request != request || is_riding {
            return;
        }
        let passed = self.passed();
        self.records[self.actors[actor].crowd].gave_up.push(passed);
        self.vanish(actor);
    }

    /// Those of these clients who wait are killed. Answers with how many they were.
    pub(super) fn kill_waiting(&mut self, clients: Range<usize>) -> usize {
        let waits = |at: &usize| matches!(self.actors[*at].phase, Phase::Waiting(_));
        let waiting: Vec<_> = clients.filter(waits).collect();
        for at in &waiting {
            self.vanish(*at);
        }
        self.obey();
        waiting.len()
    }

    /// A client closes its connection, wherever it is, and connects anew.
    fn vanish(&mut self, actor: usize) {
        if let Phase::Waiting(ticket) = self.actors[actor].phase {
            let left = self.scheduler.leave(self.now, ticket);
            assert!(left.is_some(), "it waits");
        } else {
            let lease = self.take_lease(actor);
            self.scheduler.tidy(self.now, lease.slot);
            self.unclean.push(Some(lease));
            self.after(CLEAN, Event::Clean(self.unclean.len() - 1));
        }
        let of = &mut self.actors[actor];
        of.phase = Phase::Away;
        of.request += 1;
        self.scheduler.part(of.member.take().expect("it is a client"));
        self.after(RECONNECT, Event::Ask(actor));
    }

    fn obey(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Changed { condition, .. } => {
                    self.states.push((self.passed(), condition.state));
                }
                Action::Board { client, slot, waited } => {
                    assert!(self.scheduler.take_up(slot).is_some_and(|it| it.client == client));
                    self.boards(client, slot, waited);
                }
                Action::Check { .. } => panic!("no check is configured"),
                Action::Close { .. } | Action::Gone { .. } => {}
                Action::Connect { slot } => {
                    self.slots.push(slot);
                    self.after(CONNECT, Event::Connected(self.slots.len() - 1));
                }
                Action::Drive { client, lease, waited, .. } => self.drives(client, lease, waited),
                Action::Grant { to, lease, waited } => {
                    let actor = usize::try_from(to.0).expect("it was one");
                    assert_eq!(waited, self.now - self.actors[actor].asked);
                    self.served(actor, lease);
                }
                Action::Miss { to } => panic!("{to:?} was taken up at once"),
                Action::Refuse { to, refusal } => {
                    self.refused(usize::try_from(to.0).expect("it was one"), refusal);
                }
            }
        }
    }

    pub(super) fn class(&self, class: ClassId) -> ClassView {
        self.scheduler.class(self.now, class)
    }
}
