//! Clients that wait, in lines: one for each class in each pool, in order of arrival. Who comes from
//! an address that is at its quota stands aside, in a line of that address, and stops nobody.
//!
//! # Invariants
//!
//! - A waiter is in exactly one list: its line, or its address' list of those who stand aside.
//! - Arrival numbers rise along every list.
//! - `hungry` has each pool with somebody in line once; so has a pool's `hungry` its lines.

mod look;

use super::contention::{Contention, Crowds};
use super::flow::Flow;
use super::fronts::Fronts;
use super::list::{Linked, Links, List};
use super::overdue::Overdue;
use super::parties::Parties;
use super::terms::{Member, Request, Ticket};
use crate::base::ids::{ClassId, PoolId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Arrival numbers start in the middle: who comes back to the front gets a lower one than anybody.
const FIRST_ARRIVAL: u64 = 1 << 63;

/// The list of a line.
const LINE: usize = 0;

pub(super) struct Waiter<H> {
    pub(super) arrival: u64,
    pub(super) since: Instant,
    pub(super) request: Request<H>,
    /// Waits longer than it would have to, to show how long that may be.
    pub(super) is_probe: bool,
    stands_aside: bool,
}

struct Place<H> {
    waiter: Option<Waiter<H>>,
    generation: u32,
    links: [Links; 2],
}

impl<H, const WHICH: usize> Linked<WHICH> for Place<H> {
    fn links(&self) -> Links {
        self.links[WHICH]
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links[WHICH]
    }
}

pub(super) struct Line {
    pub(super) pool: PoolId,
    pub(super) class: ClassId,
    pub(super) flow: Flow,
    pub(super) contention: Arc<Contention>,
    /// Clients of this class in this pool.
    members: u32,
    list: List<LINE>,
    /// When the first in it came, as `fronts` knows it.
    front: Option<u64>,
    /// Where in its pool's `hungry` this line is.
    hungry_at: usize,
}

struct Pool {
    /// One for each class that has or had clients here.
    lines: Vec<u32>,
    /// How many of them have clients.
    peopled: u32,
    /// Lines with somebody in them.
    hungry: Vec<u32>,
    /// Where in the queue's `hungry` this pool is.
    hungry_at: usize,
    /// Who waits, those who stand aside included.
    waiting: u32,
    /// What is told of that.
    crowds: Crowds,
    /// Those of them who can share a server.
    riding: u32,
}

pub(super) struct Queue<H> {
    places: Vec<Place<H>>,
    free: Vec<u32>,
    lines: Vec<Line>,
    pools: Vec<Pool>,
    pub(super) parties: Parties,
    hungry: Vec<PoolId>,
    pub(super) fronts: Fronts,
    overdue: Overdue,
    next_arrival: u64,
    next_front: u64,
    /// Nobody's deadline is before this one. It may be early: who leaves does not move it.
    next_deadline: Option<Instant>,
    len: u32,
    aside: u32,
}

impl<H> Queue<H> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            lines: Vec::new(),
            pools: Vec::new(),
            parties: Parties::default(),
            hungry: Vec::new(),
            fronts: Fronts::default(),
            overdue: Overdue::default(),
            next_arrival: FIRST_ARRIVAL,
            next_front: FIRST_ARRIVAL - 1,
            next_deadline: None,
            len: 0,
            aside: 0,
        }
    }

    pub(super) fn add_pool(&mut self, crowds: Crowds) {
        self.overdue.add_pool();
        self.pools.push(Pool {
            lines: Vec::new(),
            peopled: 0,
            hungry: Vec::new(),
            hungry_at: 0,
            waiting: 0,
            crowds,
            riding: 0,
        });
    }

    pub(super) fn add_line(
        &mut self,
        now: Instant,
        (pool, class): (PoolId, ClassId),
        of_class: Arc<AtomicBool>,
    ) -> u32 {
        let crowds = self.pools[pool.0 as usize].crowds.clone();
        let flow = Flow::new(now);
        let others = self.lines.iter().zip(0..).filter(|(other, _)| other.class == class);
        self.fronts.add_line(class, others.filter_map(|(other, line)| Some((other.front?, line))));
        self.lines.push(Line {
            pool,
            class,
            flow,
            contention: Arc::new(Contention { crowds, of_class }),
            members: 0,
            list: List::new(),
            front: None,
            hungry_at: 0,
        });
        let line = u32::try_from(self.lines.len() - 1).expect("fewer lines than memory");
        self.pools[pool.0 as usize].lines.push(line);
        line
    }

    /// A client comes into the class and pool of a line.
    pub(super) fn join(&mut self, line: u32) {
        let line = &mut self.lines[line as usize];
        line.members += 1;
        if line.members == 1 {
            self.pools[line.pool.0 as usize].peopled += 1;
        }
    }

    /// One has gone.
    pub(super) fn part(&mut self, line: u32) {
        let line = &mut self.lines[line as usize];
        line.members -= 1;
        if line.members == 0 {
            self.pools[line.pool.0 as usize].peopled -= 1;
        }
    }

    /// `aside`: its address is at its quota.
    pub(super) fn push(&mut self, now: Instant, request: Request<H>, aside: bool) -> Ticket {
        if let Some(deadline) = request.deadline {
            let next = self.next_deadline.map_or(deadline, |next| next.min(deadline));
            self.next_deadline = Some(next);
        }
        let since = request.again.unwrap_or(now);
        let arrival = if request.again.is_some() {
            self.next_front -= 1;
            self.next_front + 1
        } else {
            self.next_arrival += 1;
            self.next_arrival - 1
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { waiter: None, generation: 0, links: [Links::UNLINKED; 2] });
            u32::try_from(self.places.len() - 1).expect("fewer waiters than clients")
        });
        let pool = self.lines[request.member.line as usize].pool;
        self.len += 1;
        let of = &mut self.pools[pool.0 as usize];
        of.waiting += 1;
        of.riding += u32::from(request.ride.is_some());
        if of.waiting == 1 {
            of.crowds.iter().for_each(|crowd| crowd.grow());
        }
        let waiter = Waiter { arrival, since, request, is_probe: false, stands_aside: false };
        self.places[index as usize].waiter = Some(waiter);
        if aside {
            self.stand_aside(index);
        } else {
            self.stand_in_line(now, index);
        }
        self.ticket(index)
    }

    fn stand_in_line(&mut self, now: Instant, index: u32) {
        let waiter = self.places[index as usize].waiter.as_mut().expect("somebody waits there");
        waiter.stands_aside = false;
        let (arrival, since, member) = (waiter.arrival, waiter.since, waiter.request.member);
        self.parties.of_mut(member).in_line += 1;
        let line = &mut self.lines[member.line as usize];
        self.overdue.came(line.pool, since);
        if line.list.len() == 0 {
            line.flow.pace.begin(now);
            let pool = &mut self.pools[line.pool.0 as usize];
            if pool.hungry.is_empty() {
                pool.hungry_at = self.hungry.len();
                self.hungry.push(line.pool);
            }
            line.hungry_at = pool.hungry.len();
            pool.hungry.push(member.line);
        }
        // Nearly always it came last. Who stood aside came before most.
        let came_before = |other: u32| self.places[other as usize].arrival() < arrival;
        if line.list.back().is_none_or(came_before) {
            line.list.push_back(&mut self.places, index);
        } else {
            let next = line.list.iter(&self.places).find(|other| !came_before(*other));
            line.list.insert_before(&mut self.places, index, next.expect("not all came before"));
        }
        self.note_front(member.line);
    }

    /// Somebody has come into a line, or has left it.
    fn note_front(&mut self, line: u32) {
        let front = self.first_arrival(line);
        let of = &mut self.lines[line as usize];
        let before = std::mem::replace(&mut of.front, front);
        if before != front {
            self.fronts.moved(of.class, line, before, front);
        }
    }

    fn stand_aside(&mut self, index: u32) {
        let waiter = self.places[index as usize].waiter.as_mut().expect("somebody waits there");
        waiter.stands_aside = true;
        let (arrival, member) = (waiter.arrival, waiter.request.member);
        let aside = &mut self.parties.of_mut(member).aside;
        self.aside += 1;
        // Nearly always it came last.
        let came_after = |other: &u32| self.places[*other as usize].arrival() > arrival;
        let is_last = aside.back().is_none_or(|last| !came_after(&last));
        let next = if is_last { None } else { aside.iter(&self.places).find(came_after) };
        match next {
            Some(next) => aside.insert_before(&mut self.places, index, next),
            None => aside.push_back(&mut self.places, index),
        }
    }

    /// Takes those of an address out of a line that turned out to be at its quota: all of them, or one
    /// who came later would be in line before one who stands aside.
    pub(super) fn put_aside(&mut self, member: Member) {
        let is_of_it = |index: &u32| self.at(*index).request.member.source == member.source;
        let in_line = self.party_of(member).0 as usize;
        let all: Vec<u32> = self.in_line(member.line).filter(is_of_it).take(in_line).collect();
        for index in all {
            self.leave_list(index);
            self.stand_aside(index);
        }
    }

    /// Whether anybody of this source stands aside.
    #[inline]
    pub(super) fn stands_aside(&self, source: u32) -> bool {
        self.aside > 0 && self.parties.of_source(source).iter().any(|party| party.aside.len() > 0)
    }

    /// Of a source, the first who stands aside for a line in which fewer than `most` of it are.
    pub(super) fn first_aside(&self, source: u32, most: u32) -> Option<u32> {
        let parties = self.parties.of_source(source).iter();
        let mut parties = parties.filter(|party| party.in_line < most);
        parties.find_map(|party| party.aside.front())
    }

    /// Somebody who stands aside gets in line.
    pub(super) fn call_in(&mut self, now: Instant, index: u32) {
        self.leave_list(index);
        self.stand_in_line(now, index);
    }

    fn leave_list(&mut self, index: u32) {
        let waiter = self.places[index as usize].waiter.as_ref().expect("somebody waits there");
        let member = waiter.request.member;
        let stands_aside = waiter.stands_aside;
        let party = self.parties.of_mut(member);
        if stands_aside {
            party.aside.remove(&mut self.places, index);
            self.aside -= 1;
            return;
        }
        party.in_line -= 1;
        let line = &mut self.lines[member.line as usize];
        line.list.remove(&mut self.places, index);
        let (length, hungry_at, of) = (line.list.len(), line.hungry_at, line.pool);
        self.note_front(member.line);
        if length > 0 {
            return;
        }
        let pool = &mut self.pools[of.0 as usize];
        pool.hungry.swap_remove(hungry_at);
        if let Some(moved) = pool.hungry.get(hungry_at) {
            self.lines[*moved as usize].hungry_at = hungry_at;
        }
        if pool.hungry.is_empty() {
            let hungry_at = pool.hungry_at;
            self.hungry.swap_remove(hungry_at);
            if let Some(moved) = self.hungry.get(hungry_at) {
                self.pools[moved.0 as usize].hungry_at = hungry_at;
            }
        }
    }

    /// `None`: it no longer waits.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter<H>> {
        let place = self.places.get(ticket.index as usize)?;
        let is_there = place.generation == ticket.generation && place.waiter.is_some();
        is_there.then(|| self.take(ticket.index))
    }

    pub(super) fn take(&mut self, index: u32) -> Waiter<H> {
        self.leave_list(index);
        let pool = self.line_of(index).pool;
        let place = &mut self.places[index as usize];
        let waiter = place.waiter.take().expect("somebody waits there");
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        self.len -= 1;
        let of = &mut self.pools[pool.0 as usize];
        of.waiting -= 1;
        of.riding -= u32::from(waiter.request.ride.is_some());
        if of.waiting == 0 {
            of.crowds.iter().for_each(|crowd| crowd.shrink());
        }
        waiter
    }

    /// Takes everybody whose deadline has passed.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Waiter<H>> {
        let mut late = Vec::new();
        if self.next_deadline.is_none_or(|next| now < next) {
            return late;
        }
        self.next_deadline = None;
        for index in 0..u32::try_from(self.places.len()).expect("counted when added") {
            let waiter = self.places[index as usize].waiter.as_ref();
            match waiter.and_then(|waiter| waiter.request.deadline) {
                Some(deadline) if deadline <= now => late.push(self.take(index)),
                Some(deadline) => {
                    let next = self.next_deadline.map_or(deadline, |next| next.min(deadline));
                    self.next_deadline = Some(next);
                }
                None => {}
            }
        }
        late
    }

    /// Takes everybody who waits for this pool.
    pub(super) fn take_all(&mut self, pool: PoolId) -> Vec<Waiter<H>> {
        let mut all = Vec::new();
        for index in 0..u32::try_from(self.places.len()).expect("counted when added") {
            if self.waiting(pool) == 0 {
                break;
            }
            if self.places[index as usize].waiter.is_some() && self.line_of(index).pool == pool {
                all.push(self.take(index));
            }
        }
        all.sort_unstable_by_key(|waiter| waiter.arrival);
        all
    }

    pub(super) fn at(&self, index: u32) -> &Waiter<H> {
        self.places[index as usize].waiter.as_ref().expect("somebody waits there")
    }

    /// Who waits on this ticket.
    pub(super) fn holder(&self, ticket: Ticket) -> Option<&Waiter<H>> {
        let place = self.places.get(ticket.index as usize)?;
        place.waiter.as_ref().filter(|_| place.generation == ticket.generation)
    }

    fn line_of(&self, index: u32) -> &Line {
        &self.lines[self.at(index).request.member.line as usize]
    }

    #[inline]
    pub(super) fn line(&self, line: u32) -> &Line {
        &self.lines[line as usize]
    }

    #[inline]
    pub(super) fn line_mut(&mut self, line: u32) -> &mut Line {
        &mut self.lines[line as usize]
    }

    pub(super) fn lines(&self) -> u32 {
        u32::try_from(self.lines.len()).expect("counted when added")
    }

    /// The one who has been in this line for longest, and the one who came last.
    pub(super) fn ends(&self, line: u32) -> Option<(u32, u32)> {
        let list = &self.lines[line as usize].list;
        list.front().zip(list.back())
    }

    /// When the first in this line came.
    pub(super) fn first_arrival(&self, line: u32) -> Option<u64> {
        self.ends(line).map(|(first, _)| self.at(first).arrival)
    }

    /// Who is in this line, in order of arrival.
    pub(super) fn in_line(&self, line: u32) -> impl Iterator<Item = u32> + '_ {
        self.lines[line as usize].list.iter(&self.places)
    }

    /// How many stand in this line.
    #[inline]
    pub(super) fn length(&self, line: u32) -> u32 {
        self.lines[line as usize].list.len()
    }

    /// How many of the same address are in the same line, and whether others stand aside.
    #[inline]
    pub(super) fn party_of(&self, member: Member) -> (u32, bool) {
        let party = self.parties.find(member);
        party.map_or((0, false), |party| (party.in_line, party.aside.len() > 0))
    }

    pub(super) fn ticket(&self, index: u32) -> Ticket {
        Ticket { index, generation: self.places[index as usize].generation }
    }

    pub(super) fn make_probe(&mut self, ticket: Ticket) {
        if let Some(waiter) = &mut self.places[ticket.index as usize].waiter {
            waiter.is_probe = true;
        }
    }

    /// The pools that somebody is in line for, in no order.
    pub(super) fn hungry(&self) -> &[PoolId] {
        &self.hungry
    }

    /// All lines of a pool.
    pub(super) fn lines_of(&self, pool: PoolId) -> &[u32] {
        &self.pools[pool.0 as usize].lines
    }

    /// How many lines of a pool have clients, waiting or not.
    #[inline]
    pub(super) fn peopled(&self, pool: PoolId) -> u32 {
        self.pools[pool.0 as usize].peopled
    }

    /// The lines of a pool with somebody in them, in no order.
    #[inline]
    pub(super) fn hungry_lines(&self, pool: PoolId) -> &[u32] {
        &self.pools[pool.0 as usize].hungry
    }

    pub(super) fn waiting(&self, pool: PoolId) -> u32 {
        self.pools[pool.0 as usize].waiting
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<H> Place<H> {
    fn arrival(&self) -> u64 {
        self.waiter.as_ref().map_or(0, |waiter| waiter.arrival)
    }
}
