//! Logins are let in one by one, and as random crowds that a second, simple book is kept of.

use super::{Entry, HELD_MAX, LoginPlace, LoginTicket, Logins, SOURCES_MAX};
use crate::config::overload::LoginGate;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
fn epoch() -> Instant {
    Instant::now()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn gate(max_at_once: u32) -> LoginGate {
    LoginGate { max_at_once, per_second: None, per_second_per_address: None, wait: ms(1_000) }
}

#[expect(clippy::unnecessary_wraps, reason = "the unix socket has none")]
fn from(number: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from(0x0a00_0000 + number).into())
}

/// A gate, a clock, and names for those who come.
struct Door {
    logins: Logins<u32>,
    start: Instant,
    now: Instant,
    came: u32,
}

impl Door {
    fn new(limits: LoginGate) -> Self {
        let start = epoch();
        Self { logins: Logins::new(start, limits), start, now: start, came: 0 }
    }

    fn at(&mut self, millis: u64) {
        self.now = self.start + ms(millis);
    }

    fn enter(&mut self, address: Option<IpAddr>) -> Entry {
        self.came += 1;
        let name = self.came;
        self.logins.enter(self.now, address, || name)
    }

    fn begins(&mut self, address: Option<IpAddr>) -> LoginPlace {
        match self.enter(address) {
            Entry::Begins(place) => place,
            other => panic!("number {} does not begin: {other:?}", self.came),
        }
    }

    fn waits(&mut self, address: Option<IpAddr>) -> LoginTicket {
        match self.enter(address) {
            Entry::Waits(ticket) => ticket,
            other => panic!("number {} does not wait: {other:?}", self.came),
        }
    }

    /// Who was told since the last time: that it begins, or that it does not.
    fn told(&mut self) -> (Vec<u32>, Vec<u32>) {
        let (mut begun, mut refused) = (vec![], vec![]);
        while let Some((name, place)) = self.logins.next_outcome() {
            if place.is_some() { &mut begun } else { &mut refused }.push(name);
        }
        (begun, refused)
    }

    fn tick(&mut self) -> (Vec<u32>, Vec<u32>) {
        self.logins.tick(self.now);
        self.told()
    }
}

#[test]
fn so_many_are_under_way_and_the_first_who_waits_is_next() {
    let mut door = Door::new(gate(2));
    let (one, two) = (door.begins(None), door.begins(None));
    door.waits(None);
    let gives_up = door.waits(None);
    door.waits(None);
    assert!(door.logins.abandon(door.now, gives_up));
    assert!(!door.logins.abandon(door.now, gives_up), "it has left");
    door.logins.leave(door.now, one);
    assert_eq!(door.told(), (vec![3], vec![]));
    door.logins.leave(door.now, one);
    assert_eq!(door.told(), (vec![], vec![]), "nobody leaves twice");
    door.logins.leave(door.now, two);
    assert_eq!(door.told(), (vec![5], vec![]));
    let view = door.logins.view();
    assert_eq!((view.under_way, view.waiting), (2, 0));
    assert_eq!((view.counters.begun, view.counters.delayed), (4, 3));
    assert_eq!((view.counters.abandoned, view.counters.refused), (1, 0));
}

#[test]
fn nobody_waits_for_longer_than_the_limit() {
    let mut door = Door::new(LoginGate { per_second: Some(0.5), ..gate(1) });
    let _place = door.begins(None);
    door.waits(None);
    door.at(50);
    door.waits(None);
    door.at(999);
    assert_eq!(door.tick(), (vec![], vec![]));
    door.at(1_000);
    assert_eq!(door.tick(), (vec![], vec![2]));
    door.at(1_050);
    assert_eq!(door.tick(), (vec![], vec![3]));
    assert_eq!(door.logins.view().counters.refused, 2);
}

#[test]
fn with_no_time_to_wait_the_answer_is_immediate() {
    let mut door = Door::new(LoginGate { wait: Duration::ZERO, ..gate(1) });
    let place = door.begins(None);
    assert_eq!(door.enter(None), Entry::Refused);
    door.logins.leave(door.now, place);
    door.begins(None);
}

/// A client that does not answer costs the others a tenth of a second, and only when they need it.
#[test]
fn a_slow_login_loses_its_place_to_the_next_and_to_nobody_else() {
    let mut door = Door::new(gate(1));
    let slow = door.begins(None);
    door.at(5_000);
    assert_eq!(door.tick(), (vec![], vec![]));
    assert_eq!(door.logins.view().under_way, 1, "nobody needs it");
    let next = door.begins(None);
    assert_ne!(slow, next);
    door.logins.leave(door.now, slow);
    door.waits(None);
    assert_eq!(door.logins.view().under_way, 1, "the place is another's");
    door.logins.leave(door.now, next);
    assert_eq!(door.told(), (vec![3], vec![]));
}

#[test]
fn other_limits_hold_for_those_who_wait() {
    let mut door = Door::new(LoginGate { per_second_per_address: Some(1.0), ..gate(3) });
    let places: Vec<_> = (1..=3).map(|number| door.begins(from(number))).collect();
    door.waits(from(4));
    door.waits(from(1));
    door.waits(from(1));
    door.logins.set_limits(door.now, gate(4));
    assert_eq!(door.told(), (vec![4], vec![]), "one more");
    door.logins.set_limits(door.now, gate(2));
    door.logins.leave(door.now, places[0]);
    door.logins.leave(door.now, places[1]);
    assert_eq!(door.told(), (vec![], vec![]), "two are under way already");
    door.logins.leave(door.now, places[2]);
    assert_eq!(door.told(), (vec![5], vec![]), "addresses have no rate any more");
    // Those who are slow do not keep a lower limit from holding.
    door.at(150);
    door.logins.set_limits(door.now, gate(1));
    assert_eq!(door.tick(), (vec![6], vec![]));
    assert_eq!(door.logins.view().under_way, 1);
    door.logins.set_limits(door.now, LoginGate { per_second: Some(1.0), ..gate(9) });
    door.begins(None);
    door.waits(None);
}

#[test]
fn a_rate_is_met_and_a_pause_saves_up_one_second() {
    let mut door = Door::new(LoginGate { per_second: Some(10.0), ..gate(1_000) });
    let burst = (0..20).filter(|_| matches!(door.enter(None), Entry::Begins(_))).count();
    assert_eq!(burst, 10);
    let mut begun = 0;
    for millis in (0..=900).step_by(5) {
        door.at(millis);
        begun += door.tick().0.len();
    }
    assert_eq!(begun, 9);
    door.at(60_000);
    door.tick();
    let burst = (0..20).filter(|_| matches!(door.enter(None), Entry::Begins(_))).count();
    assert_eq!(burst, 10);
}

#[test]
fn an_address_at_its_rate_stops_nobody_else() {
    let mut door = Door::new(LoginGate { per_second_per_address: Some(2.0), ..gate(4) });
    let loud = from(1);
    let places = [door.begins(loud), door.begins(loud)];
    door.waits(loud);
    door.waits(loud);
    // Written as IPv6 it is the same.
    let Some(IpAddr::V4(v4)) = loud else { unreachable!("an IPv4 address") };
    door.waits(Some(v4.to_ipv6_mapped().into()));
    door.begins(from(2));
    door.begins(None);
    for place in places {
        door.logins.leave(door.now, place);
    }
    assert_eq!(door.told(), (vec![], vec![]));
    assert!(door.logins.is_pacing());
    door.at(500);
    assert_eq!(door.tick(), (vec![3], vec![]));
    door.at(999);
    assert_eq!(door.tick(), (vec![], vec![]));
    door.at(1_000);
    assert_eq!(door.tick(), (vec![], vec![4, 5]), "in time for its token, too late for the limit");
    assert!(!door.logins.is_pacing());
}

#[test]
fn addresses_are_forgotten_and_bounded() {
    let mut door = Door::new(LoginGate { per_second_per_address: Some(1.0), ..gate(u32::MAX) });
    for number in 0..SOURCES_MAX {
        door.begins(from(u32::try_from(number).unwrap()));
    }
    // Those above share a rate; those that are known keep theirs.
    door.begins(from(0x00ff_0000));
    door.waits(from(0x00ff_0001));
    door.waits(from(7));
    assert_eq!(door.logins.sources.len(), SOURCES_MAX + 1);
    door.at(2_000);
    for _ in 0..SOURCES_MAX / 100 {
        door.tick();
    }
    assert_eq!(door.logins.sources.len(), 0);
    door.begins(from(0x00ff_0001));
}

/// What the book says of somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Waits(LoginTicket),
    Begun(LoginPlace, Duration),
    Over,
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u32),
    /// One of those under way is done.
    Leave(usize),
    /// One of those who wait gives up.
    Abandon(usize),
    Pass(u64),
    /// Time passes, and nobody looks.
    Drift(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u32).prop_map(Step::Enter),
        3 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Abandon),
        2 => prop_oneof![Just(5), Just(60), Just(130), Just(700)].prop_map(Step::Pass),
        2 => (1..150_u64).prop_map(Step::Drift),
    ]
}

/// Everybody who came, and when who began: checked against the limits by counting.
struct Book {
    door: Door,
    limits: LoginGate,
    millis: u64,
    /// How long ago the last tick was.
    unticked: Duration,
    people: BTreeMap<u32, (u32, Duration, Fate)>,
    /// When, and from where.
    begun: Vec<(Duration, u32)>,
}

impl Book {
    fn new(limits: LoginGate) -> Self {
        let door = Door::new(limits.clone());
        Self { door, limits, millis: 0, unticked: ms(0), people: BTreeMap::new(), begun: vec![] }
    }

    fn now(&self) -> Duration {
        ms(self.millis)
    }

    fn since(&self, at: Duration) -> Duration {
        self.now().saturating_sub(at)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Enter(address) => self.enter(*address),
            Step::Leave(which) => {
                let place = |fate: Fate| match fate {
                    Fate::Begun(place, _) => Some(place),
                    _ => None,
                };
                let Some((name, place)) = self.pick(*which, place) else { return };
                self.set(name, Fate::Over);
                self.door.logins.leave(self.door.now, place);
            }
            Step::Abandon(which) => {
                let ticket = |fate: Fate| match fate {
                    Fate::Waits(ticket) => Some(ticket),
                    _ => None,
                };
                let Some((name, ticket)) = self.pick(*which, ticket) else { return };
                self.set(name, Fate::Over);
                assert!(self.door.logins.abandon(self.door.now, ticket), "{name} waits");
            }
            Step::Drift(millis) => {
                self.millis += millis;
                self.unticked += ms(*millis);
                self.door.at(self.millis);
            }
            Step::Pass(millis) => {
                self.millis += millis;
                self.door.at(self.millis);
                self.door.logins.tick(self.door.now);
                self.unticked = ms(0);
            }
        }
        self.hear();
        if matches!(step, Step::Pass(_)) {
            self.check_idleness();
        }
        self.check_counts();
    }

    fn enter(&mut self, address: u32) {
        let entry = self.door.enter(from(address));
        let name = self.door.came;
        let fate = match entry {
            Entry::Refused => panic!("there is time to wait"),
            Entry::Waits(ticket) => Fate::Waits(ticket),
            Entry::Begins(place) => Fate::Begun(place, self.now()),
        };
        self.people.insert(name, (address, self.now(), fate));
        if let Fate::Begun(..) = fate {
            self.begins(name, address);
        }
    }

    fn pick<T>(&self, which: usize, what: impl Fn(Fate) -> Option<T>) -> Option<(u32, T)> {
        let mut all: Vec<_> = self.people.iter().map(|(name, of)| (*name, of.2)).collect();
        all.retain(|(_, fate)| what(*fate).is_some());
        let (name, fate) = *all.get(which.checked_rem(all.len())?)?;
        Some((name, what(fate)?))
    }

    fn set(&mut self, name: u32, fate: Fate) {
        self.people.get_mut(&name).expect("it came").2 = fate;
    }

    fn hear(&mut self) {
        while let Some((name, place)) = self.door.logins.next_outcome() {
            let (address, came, fate) = self.people[&name];
            assert!(matches!(fate, Fate::Waits(_)), "{name} is told twice");
            if let Some(place) = place {
                assert!(
                    self.since(came) < self.limits.wait + self.unticked.max(ms(1)),
                    "{name} is late"
                );
                self.set(name, Fate::Begun(place, self.now()));
                self.begins(name, address);
            } else {
                assert!(self.since(came) >= self.limits.wait, "{name} had time left");
                self.set(name, Fate::Over);
            }
        }
    }

    fn begins(&mut self, name: u32, address: u32) {
        let before = self.people.range(..name).filter(|(_, of)| matches!(of.2, Fate::Waits(_)));
        for (other, (from, ..)) in before {
            assert!(*from != address, "{name} overtakes {other} of its own address");
            let has_rate = self.limits.per_second_per_address.is_some();
            assert!(has_rate, "{name} overtakes {other}, which nothing keeps back");
        }
        self.begun.push((self.now(), address));
        self.check_rate(self.limits.per_second, |_| true);
        self.check_rate(self.limits.per_second_per_address, |from| from == address);
    }

    /// In no stretch of time up to now have more begun than its rate and a second's worth allow.
    fn check_rate(&self, per_second: Option<f64>, counts: impl Fn(u32) -> bool) {
        let Some(per_second) = per_second else { return };
        let mut count = 0.0;
        for (at, _) in self.begun.iter().rev().filter(|(_, address)| counts(*address)) {
            count += 1.0;
            let most = per_second.max(1.0) + per_second * self.since(*at).as_secs_f64();
            assert!(count <= most + 1e-3, "{count} logins since {at:?}, now {:?}", self.now());
        }
    }

    /// After a tick whoever waits has a reason to.
    fn check_idleness(&self) {
        let view = self.door.logins.view();
        let is_slow = |(_, _, fate): &(u32, Duration, Fate)| matches!(fate, Fate::Begun(_, since) if self.since(*since) >= HELD_MAX);
        let is_open = view.under_way < self.limits.max_at_once
            // Some of them may have lost their place before.
            || self.people.values().filter(|of| matches!(of.2, Fate::Begun(..))).all(is_slow);
        for (name, (address, came, fate)) in &self.people {
            if matches!(fate, Fate::Waits(_)) {
                assert!(self.since(*came) < self.limits.wait, "{name} waits for too long");
                let is_kept = self.is_spent(self.limits.per_second, |_| true)
                    || self.is_spent(self.limits.per_second_per_address, |from| from == *address);
                assert!(!is_open || is_kept, "{name} waits for nothing");
            }
        }
    }

    /// Whether one more would be one too many: by adding up, from the first on.
    fn is_spent(&self, per_second: Option<f64>, counts: impl Fn(u32) -> bool) -> bool {
        let Some(per_second) = per_second else { return false };
        let burst = per_second.max(1.0);
        let (mut level, mut last) = (burst, Duration::ZERO);
        for (at, _) in self.begun.iter().filter(|(_, address)| counts(*address)) {
            level = (level + per_second * at.saturating_sub(last).as_secs_f64()).min(burst) - 1.0;
            last = *at;
        }
        (level + per_second * self.since(last).as_secs_f64()).min(burst) < 1.0
    }

    fn check_counts(&self) {
        let view = self.door.logins.view();
        let count = |is: fn(&Fate) -> bool| self.people.values().filter(|of| is(&of.2)).count();
        let waiting = count(|fate| matches!(fate, Fate::Waits(_)));
        let under_way = count(|fate| matches!(fate, Fate::Begun(..)));
        assert_eq!(view.waiting as usize, waiting);
        assert!(view.under_way <= self.limits.max_at_once);
        assert!(view.under_way as usize <= under_way);
        let fresh =
            |fate: &Fate| matches!(fate, Fate::Begun(_, since) if self.since(*since) < HELD_MAX);
        let fresh = self.people.values().filter(|of| fresh(&of.2)).count();
        assert!(view.under_way as usize >= fresh, "a place was lost before its time");
        assert_eq!(view.counters.begun, self.begun.len() as u64);
    }
}

fn limits() -> impl Strategy<Value = LoginGate> {
    let rate = || prop_oneof![Just(None), Just(Some(0.7)), Just(Some(3.0)), Just(Some(25.0))];
    (1..4_u32, rate(), rate()).prop_map(|(max_at_once, per_second, per_second_per_address)| {
        LoginGate { max_at_once, per_second, per_second_per_address, wait: ms(1_000) }
    })
}

proptest! {
    #[test]
    fn random_crowds_keep_every_limit(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut book = Book::new(limits);
        for step in &steps {
            book.take(step);
        }
        // At the end nothing is left behind.
        for _ in 0..steps.len() {
            book.take(&Step::Leave(0));
            book.take(&Step::Abandon(0));
        }
        for _ in 0..4 {
            book.take(&Step::Pass(700));
        }
        let view = book.door.logins.view();
        prop_assert_eq!((view.under_way, view.waiting), (0, 0));
        prop_assert_eq!(book.door.logins.sources.len(), 0);
    }
}
