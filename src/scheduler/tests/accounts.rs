//! What each class, and each address in it, has and may have, counted once more: by plain sums, and
//! over windows of time.

use super::model::Waiter;
use super::worth::Worth;
use crate::base::ids::ClassId;
use crate::config::classes::{ClassLimits, Excess, Quota};
use crate::scheduler::class::TOLD_EVERY;
use crate::scheduler::{ClassFull, Refusal, Scope};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// More than sums of floats are off by, and less than anybody would notice.
pub(super) const CRUMB: f64 = 1e-3;

/// Who a client is to the scheduler.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Seat {
    pub(super) class: ClassId,
    pub(super) address: Option<IpAddr>,
}

/// How sure it is that somebody may have something: what time has brought since the scheduler was
/// last told the time is there, but need not have been noticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sure {
    Certainly,
    Perhaps,
}

/// An allowance that time fills.
#[derive(Clone, Debug)]
struct Fill {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
    /// As of when the scheduler was last told the time.
    noticed: f64,
    taken: Vec<(Instant, f64)>,
}

impl Fill {
    fn follow(this: &mut Option<Self>, now: Instant, wanted: Option<(f64, f64)>) {
        let level = this.as_ref().map(|fill| fill.level_at(now));
        *this = wanted.map(|(per_second, burst)| {
            let level = level.unwrap_or(burst).min(burst);
            Self { per_second, burst, level, at: now, noticed: level, taken: Vec::new() }
        });
    }

    fn level_at(&self, now: Instant) -> f64 {
        (self.level + (now - self.at).as_secs_f64() * self.per_second).min(self.burst)
    }

    fn notice(&mut self, now: Instant) {
        (self.level, self.at) = (self.level_at(now), now);
        self.noticed = self.level;
    }

    fn level(&self, now: Instant, sure: Sure) -> f64 {
        match sure {
            Sure::Certainly => self.noticed - CRUMB,
            Sure::Perhaps => self.level_at(now) + CRUMB,
        }
    }

    fn take(&mut self, now: Instant, amount: f64) {
        (self.level, self.at) = (self.level_at(now) - amount, now);
        self.noticed -= amount;
        self.taken.push((now, amount));
        if self.taken.len() > 200 {
            self.taken.drain(..100);
        }
    }

    /// No window has more than a pause may have saved and it has itself brought.
    fn check_windows(&self, now: Instant) {
        let mut sum = 0.0;
        for (at, amount) in self.taken.iter().rev() {
            sum += amount;
            let allowed = self.burst + (now - *at).as_secs_f64() * self.per_second;
            assert!(sum <= allowed + CRUMB, "{sum} where {allowed} is allowed");
        }
    }
}

/// What counts against one quota.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) clients: u32,
    pub(super) queued: u32,
    /// Since when each server is held.
    pub(super) held: Vec<Instant>,
    /// Granted servers that work for others still.
    pub(super) following: u32,
    /// For how long servers were held that are not any more.
    pub(super) used: Duration,
    rate: Option<Fill>,
    time: Option<Worth>,
}

impl Account {
    fn follow(&mut self, now: Instant, quota: &Quota) {
        let rate = quota.rate.map(|rate| {
            let told_late = rate.per_second * TOLD_EVERY.as_secs_f64();
            (rate.per_second, f64::from(rate.burst) + told_late)
        });
        let time = quota.server_time.map(|time| (time.per_second, time.burst.as_secs_f64()));
        Fill::follow(&mut self.rate, now, rate);
        Worth::follow(&mut self.time, now, time, &self.held);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is negative is none"
    )]
    fn allowance(&self, now: Instant, quota: &Quota, sure: Sure) -> u32 {
        let servers = unlimited(quota.max_in_flight).saturating_sub(self.in_flight());
        let begins = self.rate.as_ref().map_or(u32::MAX, |rate| rate.level(now, sure) as u32);
        let is_spent = |time: &Worth| time.level(now, sure) <= 0.0;
        if self.time.as_ref().is_some_and(is_spent) { 0 } else { servers.min(begins) }
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.held.len()).expect("few") + self.following
    }

    fn begin(&mut self, now: Instant, quota: &Quota) {
        self.hold(now, now);
        self.take(now, quota);
    }

    fn hold(&mut self, now: Instant, at: Instant) {
        self.held.push(at);
        if let Some(time) = &mut self.time {
            time.begin(now, at);
        }
    }

    fn board(&mut self, now: Instant, quota: &Quota) {
        self.following += 1;
        self.take(now, quota);
    }

    fn lead(&mut self, now: Instant, at: Instant) {
        self.following -= 1;
        self.hold(now, at);
    }

    fn alight(&mut self, now: Instant, undone: bool) {
        self.following -= 1;
        if undone {
            self.untake(now);
        }
    }

    fn take(&mut self, now: Instant, quota: &Quota) {
        if let Some(time) = &self.time {
            assert!(time.level(now, Sure::Perhaps) > 0.0, "no server time left");
        }
        if let Some(rate) = &mut self.rate {
            rate.take(now, 1.0);
            assert!(rate.level > -CRUMB, "above its rate");
            rate.check_windows(now);
        }
        assert!(self.in_flight() <= unlimited(quota.max_in_flight), "above its quota");
    }

    fn end(&mut self, now: Instant, at: Instant, began: Instant) {
        let place = self.held.iter().position(|since| *since == began).expect("it is held");
        self.held.swap_remove(place);
        self.used += at - began;
        if let Some(time) = &mut self.time {
            time.end(now, at, began);
        }
    }

    /// What began has not happened.
    fn undo(&mut self, now: Instant, began: Instant) {
        let at = self.held.iter().position(|since| *since == began).expect("it is held");
        self.held.swap_remove(at);
        if let Some(time) = &mut self.time {
            time.end(now, began, began);
        }
        self.untake(now);
    }

    fn untake(&mut self, now: Instant) {
        if let Some(rate) = &mut self.rate {
            rate.take(now, -1.0);
            rate.noticed = rate.noticed.min(rate.burst);
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.clients == 0
            && self.queued == 0
            && self.in_flight() == 0
            && self.rate.as_ref().is_none_or(|rate| rate.level_at(now) >= rate.burst)
            && self.time.as_ref().is_none_or(|time| time.left(now) >= time.burst)
    }

    fn is_too_soon(&self, now: Instant, quota: &Quota, sure: Sure) -> bool {
        let Some(limit) = quota.rate else { return false };
        let wanted = f64::from((self.queued + 1).min(limit.burst));
        let is_short = |rate: &Fill| rate.level(now, sure) < wanted;
        limit.on_excess == Excess::Reject && self.rate.as_ref().is_some_and(is_short)
    }
}

/// What happened to the requests of a class, and how its clients left.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) granted: u64,
    pub(super) queued: u64,
    pub(super) refused: u64,
    pub(super) abandoned: u64,
    /// After a wait that may have been the reason.
    pub(super) gave_up: u64,
    /// How many were served, or were not because it would have been too late; and how many were served. What
    /// was five seconds old at the last tick counts for half.
    decided: (f64, f64),
    faded_at: Option<Instant>,
    /// When one was last refused for overload.
    shed_at: Option<Instant>,
}

impl Tally {
    pub(super) fn decide(&mut self, is_served: bool) {
        let (all, served) = self.decided;
        self.decided = (all + 1.0, served + f64::from(u8::from(is_served)));
    }

    fn fade(&mut self, now: Instant) {
        let passed = self.faded_at.map_or(Duration::ZERO, |at| now - at);
        let factor = 0.5_f64.powf(passed.as_secs_f64() / 5.0);
        let (all, served) = self.decided;
        self.decided = (all * factor, served * factor);
        self.faded_at = Some(now);
    }

    pub(super) fn shed(&mut self, now: Instant) {
        self.shed_at = Some(now);
    }

    /// Others were refused just now, and of late nearly all. The scheduler begins anew where next to nothing
    /// is left of what it knew, so that it may be wrong by a little.
    pub(super) fn are_nearly_all_refused(&self, now: Instant) -> bool {
        let (all, served) = self.decided;
        served * 9.0 <= all && self.shed_at.is_some_and(|at| now - at < Duration::from_secs(1))
    }
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) limits: Vec<ClassLimits>,
    pub(super) classes: Vec<Account>,
    pub(super) tallies: Vec<Tally>,
    pub(super) seats: BTreeMap<Seat, Account>,
}

impl Accounts {
    pub(super) fn add(&mut self, now: Instant, limits: ClassLimits) {
        let mut account = Account::default();
        account.follow(now, &limits.quota);
        self.classes.push(account);
        self.tallies.push(Tally { faded_at: Some(now), ..Tally::default() });
        self.limits.push(limits);
    }

    pub(super) fn set(&mut self, now: Instant, class: ClassId, limits: ClassLimits) {
        for (_, account) in self.seats.iter_mut().filter(|(seat, _)| seat.class == class) {
            account.follow(now, &limits.per_address);
        }
        self.classes[class.0 as usize].follow(now, &limits.quota);
        self.limits[class.0 as usize] = limits;
    }

    /// The scheduler was told the time.
    pub(super) fn notice(&mut self, now: Instant) {
        for account in self.classes.iter_mut().chain(self.seats.values_mut()) {
            account.rate.iter_mut().for_each(|rate| rate.notice(now));
            account.time.iter_mut().for_each(|time| time.notice(now));
        }
    }

    /// It has forgotten addresses that it owes nothing.
    pub(super) fn forget(&mut self, now: Instant) {
        self.seats.retain(|_, account| !account.is_fresh(now));
    }

    pub(super) fn of(&self, class: ClassId) -> &ClassLimits {
        &self.limits[class.0 as usize]
    }

    pub(super) fn tally(&mut self, class: ClassId) -> &mut Tally {
        &mut self.tallies[class.0 as usize]
    }

    /// Both accounts of a client, with the quota that they obey.
    fn both(&mut self, seat: Seat) -> [(&mut Account, &Quota); 2] {
        let limits = &self.limits[seat.class.0 as usize];
        let of_seat = self.seats.get_mut(&seat).expect("somebody came from there");
        let of_class = &mut self.classes[seat.class.0 as usize];
        [(of_class, &limits.quota), (of_seat, &limits.per_address)]
    }

    pub(super) fn join(&mut self, now: Instant, seat: Seat) -> Result<(), ClassFull> {
        let limits = &self.limits[seat.class.0 as usize];
        let there = self.seats.get(&seat).map_or(0, |account| account.clients);
        let all = self.classes[seat.class.0 as usize].clients;
        for (clients, limit, scope) in [
            (all, limits.quota.max_clients, Scope::Class),
            (there, limits.per_address.max_clients, Scope::Address),
        ] {
            if clients >= unlimited(limit) {
                self.tallies[seat.class.0 as usize].refused += 1;
                return Err(ClassFull { scope, limit });
            }
        }
        let account = self.seats.entry(seat).or_insert_with(|| {
            let mut account = Account::default();
            account.follow(now, &limits.per_address);
            account
        });
        account.clients += 1;
        self.classes[seat.class.0 as usize].clients += 1;
        Ok(())
    }

    pub(super) fn part(&mut self, seat: Seat) {
        self.both(seat).into_iter().for_each(|(account, _)| account.clients -= 1);
    }

    /// `again` goes before all limits.
    pub(super) fn queue(&mut self, now: Instant, seat: Seat, again: bool) {
        for (account, quota) in self.both(seat) {
            assert!(again || !account.is_too_soon(now, quota, Sure::Perhaps), "not refused");
            account.queued += 1;
        }
        self.tally(seat.class).queued += 1;
    }

    pub(super) fn queued(&self, seat: Seat) -> [u32; 2] {
        [self.classes[seat.class.0 as usize].queued, self.seats[&seat].queued]
    }

    /// After a request: no more wait than may, or than did before.
    pub(super) fn check_queued(&self, seat: Seat, before: [u32; 2], again: bool) {
        let limits = self.of(seat.class);
        let most = [&limits.quota, &limits.per_address].map(|quota| unlimited(quota.max_queued));
        let after = self.queued(seat);
        for at in 0..2 {
            assert!(again || after[at] <= most[at].max(before[at]), "too many wait");
        }
    }

    pub(super) fn unqueue(&mut self, seat: Seat) {
        self.both(seat).into_iter().for_each(|(account, _)| account.queued -= 1);
    }

    pub(super) fn fade(&mut self, now: Instant) {
        self.tallies.iter_mut().for_each(|tally| tally.fade(now));
    }

    pub(super) fn begin(&mut self, now: Instant, seat: Seat) {
        self.both(seat).into_iter().for_each(|(account, quota)| account.begin(now, quota));
        self.tally(seat.class).decide(true);
        self.tally(seat.class).granted += 1;
    }

    /// Held until `at`, which is known now.
    pub(super) fn end(&mut self, now: Instant, at: Instant, (seat, began): (Seat, Instant)) {
        self.both(seat).into_iter().for_each(|(account, _)| account.end(now, at, began));
    }

    pub(super) fn undo(&mut self, now: Instant, (seat, began): (Seat, Instant)) {
        self.both(seat).into_iter().for_each(|(account, _)| account.undo(now, began));
        self.tally(seat.class).granted -= 1;
    }

    pub(super) fn board(&mut self, now: Instant, seat: Seat) {
        self.both(seat).into_iter().for_each(|(account, quota)| account.board(now, quota));
        self.tally(seat.class).decide(true);
        self.tally(seat.class).granted += 1;
    }

    /// One who was aboard behind others is at the head, since `at`, which is known now.
    pub(super) fn lead(&mut self, now: Instant, at: Instant, seat: Seat) {
        self.both(seat).into_iter().for_each(|(account, _)| account.lead(now, at));
    }

    /// One who was aboard behind others is not any more. `undone`: as if it had not been.
    pub(super) fn alight(&mut self, now: Instant, seat: Seat, undone: bool) {
        self.both(seat).into_iter().for_each(|(account, _)| account.alight(now, undone));
        self.tally(seat.class).granted -= u64::from(undone);
    }

    pub(super) fn class_allowance(&self, now: Instant, class: ClassId, sure: Sure) -> u32 {
        self.classes[class.0 as usize].allowance(now, &self.of(class).quota, sure)
    }

    pub(super) fn seat_allowance(&self, now: Instant, seat: Seat, sure: Sure) -> u32 {
        self.seats[&seat].allowance(now, &self.of(seat.class).per_address, sure)
    }

    pub(super) fn may_begin(&self, now: Instant, seat: Seat, sure: Sure) -> bool {
        self.class_allowance(now, seat.class, sure) > 0 && self.seat_allowance(now, seat, sure) > 0
    }

    /// Whether time alone can take from some of these what they may have.
    pub(super) fn has_clock(&self, waiters: &[Waiter]) -> bool {
        waiters.iter().any(|waiter| {
            let limits = self.of(waiter.seat.class);
            [&limits.quota, &limits.per_address].iter().any(|quota| quota.server_time.is_some())
        })
    }

    /// It holds fewer servers than are kept back for it.
    pub(super) fn is_guaranteed(&self, class: ClassId) -> bool {
        self.classes[class.0 as usize].in_flight() < self.of(class).reserved
    }

    /// A newcomer was refused for a quota: there must be one, and it must be used up.
    pub(super) fn check_refusal(&self, now: Instant, seat: Seat, refusal: &Refusal<u32>) {
        let limits = self.of(seat.class);
        let of = |scope| match scope {
            Scope::Address => Some((&self.seats[&seat], &limits.per_address)),
            Scope::Class => Some((&self.classes[seat.class.0 as usize], &limits.quota)),
            Scope::Host => None,
        };
        match refusal {
            Refusal::QueueFull { scope, limit } => {
                if let Some((account, quota)) = of(*scope) {
                    assert_eq!(*limit, quota.max_queued);
                    assert!(account.queued >= *limit, "there was room");
                }
            }
            Refusal::RateLimited { scope, retry_after } => {
                let (account, quota) = of(*scope).expect("a host has no rate");
                assert!(account.is_too_soon(now, quota, Sure::Certainly), "not too soon");
                let then = now + *retry_after;
                assert!(!account.is_too_soon(then, quota, Sure::Perhaps), "still too soon");
            }
            _ => {}
        }
    }
}

pub(super) fn unlimited(max: u32) -> u32 {
    if max == 0 { u32::MAX } else { max }
}
