//! Whose turn it is to log in: so that a storm of logins starves no query.
//!
//! A login costs a hundred times what a query does, and those who storm in come again when they are
//! refused. So only so many are under way at once, and so many begin in a second, in all and from
//! each address. The others wait for their turn, for a short while.
//!
//! # Invariants
//!
//! - No more than `max_at_once` have a place, and none begins that a rate forbids.
//! - First come, first served. Who comes from an address that is at its rate stands aside, and stops
//!   nobody.
//! - A place is worth [`HELD_MAX`]: then it goes to the next in line, if there is one. A client that
//!   does not answer, or is far away, delays nobody; its own login goes on without a place.
//! - Nobody waits past the first tick after their time is up.

use super::list::{Linked, Links, List};
use crate::base::bucket::Bucket;
use crate::config::overload::LoginGate;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::{Duration, Instant};

/// How long a login may keep its place from others. All that a login computes takes some
/// milliseconds, and so do its three round trips from the same data center; whatever takes longer
/// waits for the client, and that costs nothing.
pub const HELD_MAX: Duration = Duration::from_millis(100);

/// Addresses whose rate is known, at most: about two megabytes. Those above it share one rate.
const SOURCES_MAX: usize = 16_384;

/// How many of them a tick looks at, to forget those that are owed nothing.
const LOOKED_AT: usize = 256;

/// Rounding must not keep a whole token from being one.
const NEARLY: f64 = 1e-6;

/// Decides who may begin to log in. `H` is how to reach somebody who waits.
pub struct Logins<H> {
    limits: LoginGate,
    rate: Option<Bucket>,
    places: Vec<Place>,
    free: Vec<u32>,
    /// The places that are taken, in the order they were.
    under_way: List<0>,
    /// By their number, in order of arrival.
    waiters: BTreeMap<u64, Waiter<H>>,
    /// Those of them who wait for a place, or for the rate of all.
    line: BTreeSet<u64>,
    /// Empty if addresses have no rate.
    sources: BTreeMap<Source, Pace>,
    /// Sources of whom somebody stands aside.
    aside: BTreeSet<Source>,
    outcomes: VecDeque<(H, Option<LoginPlace>)>,
    next_number: u64,
    /// Up to where sources were looked at.
    looked_at: Option<Source>,
    counters: LoginCounters,
}

/// A place of a login that has begun. It means nothing once it was lost to somebody else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginPlace {
    index: u32,
    generation: u32,
}

/// A place in line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoginTicket(u64);

/// What becomes of a login that has just come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entry {
    Begins(LoginPlace),
    Refused,
    /// [`Logins::next_outcome`] will tell.
    Waits(LoginTicket),
}

/// What happened to logins. All of it only grows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LoginCounters {
    /// Left while they waited.
    pub abandoned: u64,
    pub begun: u64,
    /// Had to wait, whatever became of them.
    pub delayed: u64,
    pub refused: u64,
}

/// All of it at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LoginsView {
    pub under_way: u32,
    pub waiting: u32,
    pub counters: LoginCounters,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    generation: u32,
    links: Links,
}

impl Linked<0> for Place {
    fn links(&self) -> Links {
        self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

struct Waiter<H> {
    handle: H,
    since: Instant,
    source: Option<Source>,
}

/// Where logins come from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Source {
    /// `None`: over the unix socket.
    Address(Option<IpAddr>),
    /// Those for whom there was no room.
    Others,
}

/// How fast a source may log in, and who of it waits.
struct Pace {
    rate: Bucket,
    in_line: u32,
    aside: BTreeSet<u64>,
}

impl Pace {
    /// Whether one more may get in line: there is a token for it.
    fn has_room(&self, now: Instant) -> bool {
        self.rate.level(now) + NEARLY >= f64::from(self.in_line) + 1.0
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.in_line == 0 && self.aside.is_empty() && self.rate.is_full(now)
    }
}

/// What a second brings may come at once, and at least one.
fn bucket(now: Instant, per_second: f64) -> Bucket {
    Bucket::new(now, per_second, per_second.max(1.0))
}

fn changed(now: Instant, mut rate: Bucket, per_second: f64) -> Bucket {
    rate.change(now, per_second, per_second.max(1.0));
    rate
}

impl<H> Logins<H> {
    pub fn new(now: Instant, limits: LoginGate) -> Self {
        Self {
            rate: limits.per_second.map(|per_second| bucket(now, per_second)),
            limits,
            places: Vec::new(),
            free: Vec::new(),
            under_way: List::new(),
            waiters: BTreeMap::new(),
            line: BTreeSet::new(),
            sources: BTreeMap::new(),
            aside: BTreeSet::new(),
            outcomes: VecDeque::new(),
            next_number: 0,
            looked_at: None,
            counters: LoginCounters::default(),
        }
    }

    /// Somebody wants to log in. `handle` is asked for if it has to wait.
    pub fn enter(
        &mut self,
        now: Instant,
        address: Option<IpAddr>,
        handle: impl FnOnce() -> H,
    ) -> Entry {
        let source = self.source_of(now, address);
        let may_stand = source.is_none_or(|source| {
            let pace = &self.sources[&source];
            pace.aside.is_empty() && pace.has_room(now)
        });
        if may_stand && self.line.is_empty() && self.has_room(now) {
            return Entry::Begins(self.begin(now, source));
        }
        if self.limits.wait.is_zero() {
            self.counters.refused += 1;
            return Entry::Refused;
        }
        self.counters.delayed += 1;
        let number = self.next_number;
        self.next_number += 1;
        self.waiters.insert(number, Waiter { handle: handle(), since: now, source });
        match source.filter(|_| !may_stand) {
            None => self.stand_in_line(number, source),
            Some(source) => {
                self.pace_mut(source).aside.insert(number);
                self.aside.insert(source);
            }
        }
        // A place that was held for too long is taken when somebody needs it.
        self.serve(now);
        Entry::Waits(LoginTicket(number))
    }

    /// Goes on with other limits. Who is under way stays; rates begin with what their buckets have.
    pub fn set_limits(&mut self, now: Instant, limits: LoginGate) {
        self.rate = match (self.rate.take(), limits.per_second) {
            (Some(rate), Some(per_second)) => Some(changed(now, rate, per_second)),
            (None, Some(per_second)) => Some(bucket(now, per_second)),
            (_, None) => None,
        };
        match limits.per_second_per_address {
            Some(per_second) => {
                for pace in self.sources.values_mut() {
                    pace.rate = changed(now, pace.rate.clone(), per_second);
                }
            }
            None => self.forget_addresses(),
        }
        self.limits = limits;
        self.serve(now);
    }

    /// Addresses have no rate any more: nobody stands aside.
    fn forget_addresses(&mut self) {
        self.sources.clear();
        self.aside.clear();
        for (number, waiter) in &mut self.waiters {
            waiter.source = None;
            self.line.insert(*number);
        }
    }

    /// A login is over, or needs its place no longer.
    pub fn leave(&mut self, now: Instant, place: LoginPlace) {
        if self.places[place.index as usize].generation == place.generation {
            self.vacate(place.index);
            self.serve(now);
        }
    }

    /// Somebody who waits gives up. `false`: an outcome says otherwise.
    pub fn abandon(&mut self, now: Instant, ticket: LoginTicket) -> bool {
        let Some(waiter) = self.remove(ticket.0) else { return false };
        self.counters.abandoned += 1;
        if let Some(source) = waiter.source {
            self.call_in(now, source);
            self.serve(now);
        }
        true
    }

    /// What became of somebody who waited: its place, or none. Drain this after every call.
    pub fn next_outcome(&mut self) -> Option<(H, Option<LoginPlace>)> {
        self.outcomes.pop_front()
    }

    /// What time brings about. To be called every 100 ms, and every few milliseconds while
    /// [`is_pacing`](Self::is_pacing).
    pub fn tick(&mut self, now: Instant) {
        while let Some((number, waiter)) = self.waiters.first_key_value()
            && now.saturating_duration_since(waiter.since) >= self.limits.wait
        {
            let number = *number;
            let waiter = self.remove(number).expect("it is the first");
            self.counters.refused += 1;
            self.outcomes.push_back((waiter.handle, None));
        }
        for source in self.aside.clone() {
            self.call_in(now, source);
        }
        while self.under_way.len() > self.limits.max_at_once && self.is_first_slow(now) {
            let slowest = self.under_way.front().expect("more than none are under way");
            self.vacate(slowest);
        }
        self.serve(now);
        self.forget_sources(now);
    }

    /// Whether somebody waits for a rate.
    pub fn is_pacing(&self) -> bool {
        !self.aside.is_empty() || (self.rate.is_some() && !self.line.is_empty())
    }

    pub fn view(&self) -> LoginsView {
        LoginsView {
            under_way: self.under_way.len(),
            waiting: u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
            counters: self.counters,
        }
    }

    /// Where somebody comes from, as it is counted. `None`: it is not.
    fn source_of(&mut self, now: Instant, address: Option<IpAddr>) -> Option<Source> {
        let per_second = self.limits.per_second_per_address?;
        let mut source = Source::Address(address.map(|address| address.to_canonical()));
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            source = Source::Others;
        }
        self.sources.entry(source).or_insert_with(|| Pace {
            rate: bucket(now, per_second),
            in_line: 0,
            aside: BTreeSet::new(),
        });
        Some(source)
    }

    fn pace_mut(&mut self, source: Source) -> &mut Pace {
        self.sources.get_mut(&source).expect("somebody of it waits or begins")
    }

    /// Whether one more may begin now, in place of one that was slow if need be.
    fn has_room(&self, now: Instant) -> bool {
        if self.rate.as_ref().is_some_and(|rate| rate.level(now) + NEARLY < 1.0) {
            return false;
        }
        // Where the limit was lowered, it holds again before anybody begins.
        let (under_way, most) = (self.under_way.len(), self.limits.max_at_once);
        under_way < most || (under_way == most && self.is_first_slow(now))
    }

    fn is_first_slow(&self, now: Instant) -> bool {
        self.under_way.front().is_some_and(|place| {
            now.saturating_duration_since(self.places[place as usize].since) >= HELD_MAX
        })
    }

    fn begin(&mut self, now: Instant, source: Option<Source>) -> LoginPlace {
        self.counters.begun += 1;
        if let Some(rate) = &mut self.rate {
            rate.take(now, 1.0);
        }
        if let Some(source) = source {
            self.pace_mut(source).rate.take(now, 1.0);
        }
        if self.under_way.len() >= self.limits.max_at_once {
            let slowest = self.under_way.front().expect("at least one may be under way");
            self.vacate(slowest);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { since: now, generation: 0, links: Links::UNLINKED });
            u32::try_from(self.places.len() - 1).expect("fewer places than `max_at_once`")
        });
        self.under_way.push_back(&mut self.places, index);
        let place = &mut self.places[index as usize];
        place.since = now;
        LoginPlace { index, generation: place.generation }
    }

    fn vacate(&mut self, index: u32) {
        self.under_way.remove(&mut self.places, index);
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
    }

    fn stand_in_line(&mut self, number: u64, source: Option<Source>) {
        self.line.insert(number);
        if let Some(source) = source {
            self.pace_mut(source).in_line += 1;
        }
    }

    /// Those in line begin, as many as may.
    fn serve(&mut self, now: Instant) {
        while let Some(first) = self.line.first().copied()
            && self.has_room(now)
        {
            let waiter = self.remove(first).expect("who is in line waits");
            let place = self.begin(now, waiter.source);
            self.outcomes.push_back((waiter.handle, Some(place)));
        }
    }

    /// Those of a source who stood aside and need not any more get in line.
    fn call_in(&mut self, now: Instant, source: Source) {
        let pace = self.pace_mut(source);
        let mut called = Vec::new();
        while pace.has_room(now)
            && let Some(number) = pace.aside.pop_first()
        {
            pace.in_line += 1;
            called.push(number);
        }
        if pace.aside.is_empty() {
            self.aside.remove(&source);
        }
        self.line.extend(called);
    }

    /// Takes somebody out of wherever it waits.
    fn remove(&mut self, number: u64) -> Option<Waiter<H>> {
        let waiter = self.waiters.remove(&number)?;
        let was_in_line = self.line.remove(&number);
        if let Some(source) = waiter.source {
            let pace = self.pace_mut(source);
            if was_in_line {
                pace.in_line -= 1;
            } else {
                pace.aside.remove(&number);
                if pace.aside.is_empty() {
                    self.aside.remove(&source);
                }
            }
        }
        Some(waiter)
    }

    /// Forgets sources that are owed nothing and owe nothing, some at a time: this is under a lock.
    fn forget_sources(&mut self, now: Instant) {
        let after = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.sources.range((after, Bound::Unbounded)).take(LOOKED_AT);
        let (mut last, mut count, mut idle) = (None, 0, Vec::new());
        for (source, pace) in some {
            (last, count) = (Some(*source), count + 1);
            if pace.is_forgettable(now) {
                idle.push(*source);
            }
        }
        self.looked_at = last.filter(|_| count == LOOKED_AT);
        for source in idle {
            self.sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests;
