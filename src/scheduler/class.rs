//! What a class, and each client address in it, may have and has.
//!
//! # Invariants
//!
//! - What is held is counted from the grant until the server is free again, cleaning included:
//!   a client that vanishes gives nothing back early.
//! - A source (a client address within a class) is forgotten only once it holds nothing and its
//!   allowance is full again: coming back is no way to get a new one.

use super::budget::Budget;
use super::counters::{ClassCounters, DelayedFor};
use super::held::{Held, Moment};
use super::patience::Patience;
use super::terms::{Member, Scope};
use super::throttle::Throttle;
use crate::base::bucket::Bucket;
use crate::base::ids::ClassId;
use crate::config::classes::{ClassLimits, Excess, Quota};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much a new service time counts in the mean: the last sixteen decide.
const NEWS: f64 = 1.0 / 16.0;

/// How fast the time that is rarely exceeded follows: from one millisecond to a second in seventy
/// that take a second.
const STEP: f64 = 0.1;

/// It has to start somewhere, in seconds.
const LEAST_HOLD: f64 = 1e-4;

/// While somebody waits for a rate, the time is told every 5 ms, or somewhat later. What a rate
/// brings meanwhile is kept beyond the burst, or one without would lose a part of every interval.
pub(super) const TOLD_EVERY: Duration = Duration::from_millis(8);

/// Rounding must not keep a whole token from being one.
const NEARLY: f64 = 1e-6;

/// What counts against one quota.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) clients: u32,
    /// Servers, as long as they work for these: what time is charged for.
    pub(super) held: Held,
    /// Granted a server that works for others until it is their turn.
    following: u32,
    pub(super) queued: u32,
    rate: Option<Bucket>,
    time: Option<Budget>,
}

impl Usage {
    fn new(now: Instant, moment: Moment, quota: &Quota) -> Self {
        let mut usage = Self {
            clients: 0,
            held: Held::default(),
            following: 0,
            queued: 0,
            rate: None,
            time: None,
        };
        usage.obey(now, moment, quota);
        usage
    }

    /// Follows a quota that has changed.
    fn obey(&mut self, now: Instant, moment: Moment, quota: &Quota) {
        self.rate = quota.rate.map(|rate| {
            let told_late = rate.per_second * TOLD_EVERY.as_secs_f64();
            let (per_second, burst) = (rate.per_second, f64::from(rate.burst) + told_late);
            match self.rate.take() {
                Some(mut bucket) => {
                    bucket.change(now, per_second, burst);
                    bucket
                }
                None => Bucket::new(now, per_second, burst),
            }
        });
        self.time = quota.server_time.map(|quota| match self.time.take() {
            Some(mut budget) => {
                budget.change(moment, self.held.count(), quota);
                budget
            }
            None => Budget::new(moment, quota),
        });
    }

    /// How many transactions may begin now.
    #[inline]
    pub(super) fn allowance(
        &self,
        now: Instant,
        moment: impl FnOnce() -> Moment,
        quota: &Quota,
    ) -> u32 {
        let mut allowance = or_unlimited(quota.max_in_flight).saturating_sub(self.in_flight());
        if let Some(rate) = &self.rate {
            allowance = allowance.min(whole(rate.level(now)));
        }
        if let Some(time) = &self.time
            && time.left(moment(), self.held.count()) <= 0.0
        {
            allowance = 0;
        }
        allowance
    }

    /// What counts against `max_in_flight`.
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.held.count() + self.following
    }

    /// How many transactions its rate has left. `None`: it has none.
    pub(super) fn transactions_left(&self, now: Instant) -> Option<f64> {
        self.rate.as_ref().map(|rate| rate.level(now))
    }

    /// How many seconds of server time are left.
    pub(super) fn server_time_left(&self, now: Moment) -> Option<f64> {
        self.time.as_ref().map(|time| time.left(now, self.held.count()))
    }

    /// Which part of the quota keeps the next transaction back, behind so many that are `ahead` of it.
    pub(super) fn limit(&self, now: Instant, quota: &Quota, ahead: u32) -> Option<DelayedFor> {
        if self.in_flight().saturating_add(ahead) >= or_unlimited(quota.max_in_flight) {
            return Some(DelayedFor::InFlight);
        }
        match &self.rate {
            Some(rate) if whole(rate.level(now)) <= ahead => Some(DelayedFor::Rate),
            _ => self.time.is_some().then_some(DelayedFor::ServerTime),
        }
    }

    /// How long until one more may begin, if its rate forbids it and says that it is to be refused.
    pub(super) fn too_soon(&self, now: Instant, quota: &Quota) -> Option<Duration> {
        let (bucket, rate) = (self.rate.as_ref()?, quota.rate?);
        // Those who wait for a server will take a token each. But as long as nothing is used, it is not
        // the rate that keeps them, however many they are.
        let wanted = f64::from(self.queued.saturating_add(1).min(rate.burst));
        let is_over = rate.on_excess == Excess::Reject && bucket.level(now) + NEARLY < wanted;
        is_over.then(|| bucket.time_to(now, wanted))
    }

    #[inline]
    pub(super) fn began(&mut self, now: Instant, moment: Moment) {
        self.hold(moment, moment);
        self.take(now, 1.0);
    }

    /// What began has not happened.
    pub(super) fn undone(&mut self, now: Instant, moment: Moment, began: Moment) {
        self.ended(moment, began, began);
        self.take(now, -1.0);
    }

    /// One more follows others.
    pub(super) fn boarded(&mut self, now: Instant) {
        self.following += 1;
        self.take(now, 1.0);
    }

    /// One who followed others is at the head, since `at`.
    pub(super) fn led(&mut self, now: Moment, at: Moment) {
        self.following -= 1;
        self.hold(now, at);
    }

    /// One who followed others follows them no more. `undone`: it has not happened.
    pub(super) fn alighted(&mut self, now: Instant, undone: bool) {
        self.following -= 1;
        if undone {
            self.take(now, -1.0);
        }
    }

    #[inline]
    fn take(&mut self, now: Instant, transactions: f64) {
        if let Some(rate) = &mut self.rate {
            rate.take(now, transactions);
        }
    }

    #[inline]
    fn hold(&mut self, now: Moment, at: Moment) {
        if let Some(time) = &mut self.time {
            time.begin(now, self.held.count(), at);
        }
        self.held.begin(at);
    }

    /// What began then is held no more, since `at`.
    #[inline]
    pub(super) fn ended(&mut self, now: Moment, began: Moment, at: Moment) {
        if let Some(time) = &mut self.time {
            time.end(now, self.held.count(), at.max(began));
        }
        self.held.end(began);
    }

    fn is_fresh(&self, now: Instant, moment: Moment) -> bool {
        self.in_flight() == 0
            && self.queued == 0
            && self.rate.as_ref().is_none_or(|rate| rate.is_full(now))
            && self.time.as_ref().is_none_or(|time| time.is_full(moment, 0))
    }
}

pub(super) struct Class {
    pub(super) name: String,
    pub(super) limits: ClassLimits,
    pub(super) usage: Usage,
    /// See [`Contention`](super::contention::Contention).
    pub(super) is_contended: Arc<AtomicBool>,
    /// One for each pool that its clients use.
    pub(super) lines: Vec<u32>,
    /// How long a server is held, in seconds.
    pub(super) mean_hold: f64,
    /// Nineteen in twenty take less, in seconds.
    long_hold: f64,
    pub(super) patience: Patience,
    pub(super) throttle: Throttle,
    pub(super) counters: ClassCounters,
}

impl Class {
    fn new(now: Instant, moment: Moment, name: String, limits: ClassLimits) -> Self {
        let class = Self {
            usage: Usage::new(now, moment, &limits.quota),
            is_contended: Arc::default(),
            name,
            limits,
            lines: Vec::new(),
            mean_hold: 0.0,
            long_hold: 0.0,
            patience: Patience::new(now),
            throttle: Throttle::new(now),
            counters: ClassCounters::default(),
        };
        class.tell();
        class
    }

    /// Somebody of it begins to wait, or does so no more.
    pub(super) fn waits(&mut self, begins: bool) {
        self.usage.queued = if begins { self.usage.queued + 1 } else { self.usage.queued - 1 };
        if self.usage.queued == u32::from(begins) {
            self.tell();
        }
    }

    /// Tells its clients that have servers whether they are to ask for each transaction: each is counted,
    /// or one of them waits, perhaps in another pool, for what they have.
    fn tell(&self) {
        let counts = |quota: &Quota| quota.rate.is_some() || quota.server_time.is_some();
        let is_counted = counts(&self.limits.quota) || counts(&self.limits.per_address);
        let is_contended = is_counted || self.usage.queued > 0 && self.is_limited();
        self.is_contended.store(is_contended, Ordering::Relaxed);
    }

    pub(super) fn weight(&self) -> f64 {
        f64::from(self.limits.weight.max(1))
    }

    /// Whether a server that comes back may let somebody go on who waits elsewhere.
    pub(super) fn is_limited(&self) -> bool {
        limits_servers(&self.limits.quota) || self.limits_addresses()
    }

    /// The same, where it counts against an address.
    pub(super) fn limits_addresses(&self) -> bool {
        limits_servers(&self.limits.per_address)
    }

    /// How long a server is held at most, but for one time in twenty.
    pub(super) fn long_hold(&self) -> Duration {
        Duration::try_from_secs_f64(self.long_hold).unwrap_or(Duration::MAX)
    }

    pub(super) fn took(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let weight = if self.counters.service.count() == 0 { 1.0 } else { NEWS };
        self.mean_hold += (seconds - self.mean_hold) * weight;
        // Up by so much for each that takes longer, down by a nineteenth of that for each that does
        // not: at rest where one in twenty does (Ma, Muthukrishnan and Sandler, "Frugal streaming",
        // 2013, with steps in proportion).
        let step = if seconds > self.long_hold { 1.0 + STEP } else { 1.0 - STEP / 19.0 };
        self.long_hold = (self.long_hold * step).max(LEAST_HOLD);
        self.counters.service.record(time);
    }
}

/// A client address within a class.
#[derive(Debug)]
pub(super) struct Source {
    class: ClassId,
    address: Option<IpAddr>,
    pub(super) usage: Usage,
    /// It is in the list of those that may be forgotten.
    is_abandoned: bool,
}

/// All classes, and who is in them.
pub(super) struct Classes {
    /// Of its moments.
    epoch: Instant,
    all: Vec<Class>,
    sources: Vec<Option<Source>>,
    free: Vec<u32>,
    by_address: BTreeMap<(ClassId, Option<IpAddr>), u32>,
    /// Sources that nobody is in any more.
    abandoned: Vec<u32>,
}

impl Classes {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            all: Vec::new(),
            sources: Vec::new(),
            free: Vec::new(),
            by_address: BTreeMap::new(),
            abandoned: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, now: Instant, name: String, limits: ClassLimits) -> ClassId {
        self.all.push(Class::new(now, Moment::new(self.epoch, now), name, limits));
        ClassId(u32::try_from(self.all.len() - 1).expect("fewer classes than memory"))
    }

    pub(super) fn set_limits(&mut self, now: Instant, class: ClassId, limits: ClassLimits) {
        let moment = Moment::new(self.epoch, now);
        for source in self.sources.iter_mut().flatten().filter(|source| source.class == class) {
            source.usage.obey(now, moment, &limits.per_address);
        }
        let class = self.of_mut(class);
        class.usage.obey(now, moment, &limits.quota);
        class.limits = limits;
        class.tell();
    }

    #[inline]
    pub(super) fn of(&self, class: ClassId) -> &Class {
        &self.all[class.0 as usize]
    }

    #[inline]
    pub(super) fn of_mut(&mut self, class: ClassId) -> &mut Class {
        &mut self.all[class.0 as usize]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ClassId, &mut Class)> {
        self.ids().zip(&mut self.all)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ClassId> + use<> {
        (0..u32::try_from(self.all.len()).expect("counted when added")).map(ClassId)
    }

    #[inline]
    pub(super) fn source(&self, source: u32) -> &Source {
        self.sources[source as usize].as_ref().expect("somebody is in it")
    }

    #[inline]
    pub(super) fn source_mut(&mut self, source: u32) -> &mut Source {
        self.sources[source as usize].as_mut().expect("somebody is in it")
    }

    /// What each address in a class has.
    pub(super) fn sources_of(&self, class: ClassId) -> impl Iterator<Item = &Usage> {
        let from = (class, None);
        let own = self.by_address.range(from..).take_while(move |((of, _), _)| *of == class);
        own.map(|(_, source)| &self.source(*source).usage)
    }

    pub(super) fn class_of(&self, source: u32) -> ClassId {
        self.source(source).class
    }

    /// How many sources there are, vacant places included.
    pub(super) fn sources(&self) -> u32 {
        u32::try_from(self.sources.len()).expect("fewer sources than clients")
    }

    /// Whether one more client may come in: or which limit it is, and how much.
    pub(super) fn has_room(
        &self,
        class: ClassId,
        address: Option<IpAddr>,
    ) -> Result<(), (Scope, u32)> {
        let of = self.of(class);
        let (quota, per_address) = (&of.limits.quota, &of.limits.per_address);
        if of.usage.clients >= or_unlimited(quota.max_clients) {
            return Err((Scope::Class, quota.max_clients));
        }
        let known = self.by_address.get(&(class, address)).copied();
        let there = known.map_or(0, |source| self.source(source).usage.clients);
        if there >= or_unlimited(per_address.max_clients) {
            return Err((Scope::Address, per_address.max_clients));
        }
        Ok(())
    }

    /// Counts one more client, and answers with its source.
    pub(super) fn join(&mut self, now: Instant, class: ClassId, address: Option<IpAddr>) -> u32 {
        let per_address = &self.all[class.0 as usize].limits.per_address;
        let key = (class, address);
        let known = self.by_address.get(&key).copied();
        let source = known.unwrap_or_else(|| {
            let usage = Usage::new(now, Moment::new(self.epoch, now), per_address);
            let source = self.free.pop().unwrap_or_else(|| {
                self.sources.push(None);
                u32::try_from(self.sources.len() - 1).expect("fewer sources than clients")
            });
            self.sources[source as usize] =
                Some(Source { class, address, usage, is_abandoned: false });
            self.by_address.insert(key, source);
            source
        });
        self.source_mut(source).usage.clients += 1;
        self.of_mut(class).usage.clients += 1;
        source
    }

    #[cfg(test)]
    pub(super) fn known_sources(&self) -> usize {
        self.by_address.len()
    }

    /// A client has gone.
    pub(super) fn part(&mut self, member: Member) {
        self.of_mut(member.class).usage.clients -= 1;
        let source = self.source_mut(member.source);
        source.usage.clients -= 1;
        if source.usage.clients == 0 && !std::mem::replace(&mut source.is_abandoned, true) {
            self.abandoned.push(member.source);
        }
    }

    /// Forgets sources that nobody is in and that are owed nothing.
    /// Answers with their numbers.
    pub(super) fn forget_sources(&mut self, now: Instant) -> Vec<u32> {
        let moment = Moment::new(self.epoch, now);
        let mut forgotten = Vec::new();
        for at in (0..self.abandoned.len()).rev() {
            let index = self.abandoned[at];
            let source = self.source_mut(index);
            if source.usage.clients > 0 {
                source.is_abandoned = false;
                self.abandoned.swap_remove(at);
            } else if source.usage.is_fresh(now, moment) {
                let key = (source.class, source.address);
                self.by_address.remove(&key);
                self.sources[index as usize] = None;
                self.free.push(index);
                self.abandoned.swap_remove(at);
                forgotten.push(index);
            }
        }
        forgotten
    }
}

/// Whether the quota is about servers, not only about who waits.
fn limits_servers(quota: &Quota) -> bool {
    quota.max_in_flight > 0 || quota.rate.is_some() || quota.server_time.is_some()
}

/// Where 0 means none.
pub(super) fn or_unlimited(max: u32) -> u32 {
    if max == 0 { u32::MAX } else { max }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is negative is none, and what is too much is a lot: `as` saturates"
)]
fn whole(level: f64) -> u32 {
    (level + NEARLY) as u32
}
