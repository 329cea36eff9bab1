//! Clients that wait: first come, first served within a pool, and numbered in order of arrival over
//! all pools.
//!
//! This is where classes, weights and quotas will decide who is next (the queue of a pool becomes
//! one line per class); nothing outside asks for more than [`Queue::first`] and [`Queue::nth`].
//!
//! # Invariants
//!
//! - Arrival numbers rise along every line.
//! - `hungry` has each pool with a line that is not empty, once.

use super::list::{Linked, Links, List};
use super::terms::{Request, Ticket};
use crate::base::ids::ClientId;
use crate::base::ids::PoolId;
use std::time::{Duration, Instant};

/// Arrival numbers start in the middle: who comes back to the front gets a lower one than anybody.
const FIRST_ARRIVAL: u64 = 1 << 63;

pub(super) struct Waiter<H> {
    pub(super) arrival: u64,
    pub(super) since: Instant,
    pub(super) request: Request<H>,
}

struct Place<H> {
    waiter: Option<Waiter<H>>,
    generation: u32,
    links: Links,
}

impl<H> Linked<0> for Place<H> {
    fn links(&self) -> Links {
        self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

struct Line {
    list: List<0>,
    /// Where in `hungry` this line's pool is.
    hungry_at: usize,
}

pub(super) struct Queue<H> {
    places: Vec<Place<H>>,
    free: Vec<u32>,
    lines: Vec<Line>,
    hungry: Vec<PoolId>,
    next_arrival: u64,
    next_front: u64,
    /// Nobody's deadline is before this one. It may be early: who leaves does not move it.
    next_deadline: Option<Instant>,
    len: u32,
}

impl<H> Queue<H> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            lines: Vec::new(),
            hungry: Vec::new(),
            next_arrival: FIRST_ARRIVAL,
            next_front: FIRST_ARRIVAL - 1,
            next_deadline: None,
            len: 0,
        }
    }

    pub(super) fn add_pool(&mut self) {
        self.lines.push(Line { list: List::new(), hungry_at: 0 });
    }

    pub(super) fn push(&mut self, now: Instant, request: Request<H>) -> Ticket {
        let (pool, again) = (request.pool, request.again);
        if let Some(deadline) = request.deadline {
            let next = self.next_deadline.map_or(deadline, |next| next.min(deadline));
            self.next_deadline = Some(next);
        }
        let arrival = if again {
            self.next_front -= 1;
            self.next_front + 1
        } else {
            self.next_arrival += 1;
            self.next_arrival - 1
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { waiter: None, generation: 0, links: Links::UNLINKED });
            u32::try_from(self.places.len() - 1).expect("fewer waiters than clients")
        });
        self.places[index as usize].waiter = Some(Waiter { arrival, since: now, request });
        let line = &mut self.lines[pool.0 as usize];
        if line.list.len() == 0 {
            line.hungry_at = self.hungry.len();
            self.hungry.push(pool);
        }
        if again {
            line.list.push_front(&mut self.places, index);
        } else {
            line.list.push_back(&mut self.places, index);
        }
        self.len += 1;
        Ticket { index, generation: self.places[index as usize].generation }
    }

    /// `None`: it no longer waits.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter<H>> {
        let place = self.places.get(ticket.index as usize)?;
        if place.generation == ticket.generation { self.take(ticket.index) } else { None }
    }

    pub(super) fn pop(&mut self, pool: PoolId) -> Option<Waiter<H>> {
        self.take(self.lines[pool.0 as usize].list.front()?)
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
                Some(deadline) if deadline <= now => late.extend(self.take(index)),
                Some(deadline) => {
                    let next = self.next_deadline.map_or(deadline, |next| next.min(deadline));
                    self.next_deadline = Some(next);
                }
                None => {}
            }
        }
        late
    }

    fn take(&mut self, index: u32) -> Option<Waiter<H>> {
        let place = &mut self.places[index as usize];
        let waiter = place.waiter.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        let line = &mut self.lines[waiter.request.pool.0 as usize];
        line.list.remove(&mut self.places, index);
        self.len -= 1;
        if line.list.len() == 0 {
            let hungry_at = line.hungry_at;
            self.hungry.swap_remove(hungry_at);
            if let Some(moved) = self.hungry.get(hungry_at) {
                self.lines[moved.0 as usize].hungry_at = hungry_at;
            }
        }
        Some(waiter)
    }

    pub(super) fn first(&self, pool: PoolId) -> Option<&Waiter<H>> {
        self.nth(pool, 0)
    }

    /// Who is served after `before` others.
    pub(super) fn nth(&self, pool: PoolId, before: u32) -> Option<&Waiter<H>> {
        self.line(pool).nth(before as usize).map(|(_, waiter)| waiter)
    }

    /// Looks at everybody in line: a cancel request brings a socket and a handshake of its own,
    /// beside which this is little, and an index would be kept up by every waiter that never
    /// cancels.
    pub(super) fn find(&self, pool: PoolId, client: ClientId) -> Option<Ticket> {
        let (index, _) = self.line(pool).find(|(_, waiter)| waiter.request.client == client)?;
        Some(Ticket { index, generation: self.places[index as usize].generation })
    }

    fn line(&self, pool: PoolId) -> impl Iterator<Item = (u32, &Waiter<H>)> {
        self.lines[pool.0 as usize].list.iter(&self.places).map(|index| {
            let waiter = self.places[index as usize].waiter.as_ref();
            (index, waiter.expect("a place in line is taken"))
        })
    }

    /// How long the one has waited who has waited longest. Those who came back to the front arrived
    /// after some who stand behind them.
    pub(super) fn longest_wait(&self, now: Instant, pool: PoolId) -> Duration {
        let mut longest = Duration::ZERO;
        for (_, waiter) in self.line(pool) {
            longest = longest.max(now.saturating_duration_since(waiter.since));
            if !waiter.request.again {
                break;
            }
        }
        longest
    }

    /// The pools for which somebody waits, in no order.
    pub(super) fn hungry(&self) -> &[PoolId] {
        &self.hungry
    }

    pub(super) fn waiting(&self, pool: PoolId) -> u32 {
        self.lines[pool.0 as usize].list.len()
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
