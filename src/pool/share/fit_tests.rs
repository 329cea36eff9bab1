//! Riders with settings of their own on a made-up Postgres: each is answered under its own, or not at all.

use super::{Came, Lost, Rider, Riders};
use crate::base::ids::ClientId;
use crate::scheduler::Berth;
use crate::session::fare::{Fare, Front};
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Interner, Moment, Prepared, Statement, To};
use crate::wire::encode::{self, message};
use crate::wire::frame::{HEAD_LEN, Head};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

const POOL: (&str, &str) = ("app", "app");

/// Postgres does not take this one.
const REFUSED: u8 = 5;

/// How a server becomes of no use.
const MISFIT: &str = "it did not take the settings of those aboard";

/// A rider: what its settings are, and whether it executes what is to be prepared first.
#[derive(Clone, Copy, Debug)]
struct Asks {
    zone: u8,
    named: bool,
}

fn asks(zones: u8) -> impl Strategy<Value = Asks> {
    (0..zones, any::<bool>()).prop_map(|(zone, named)| Asks { zone, named })
}

/// `0`: none of its own.
fn settings(zone: u8) -> Settings {
    let mut settings = Settings::default();
    if zone > 0 {
        settings.set("TimeZone", &zone.to_string());
    }
    settings
}

/// What a session has set, and answers with.
#[derive(Debug, Default)]
struct Backend {
    zone: u8,
}

impl Backend {
    fn answer(&mut self, mut sent: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Ok(Some(head)) = Head::parse(sent, u32::MAX) {
            self.step(head.tag, &sent[HEAD_LEN..head.total], &mut out);
            sent = &sent[head.total..];
        }
        assert!(sent.is_empty(), "whole messages");
        out
    }

    fn step(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(body);
        match tag {
            b'Q' if text.starts_with("select") => self.row(out),
            b'Q' => self.change(&text, out),
            b'P' => message(out, b'1', |_| {}),
            b'B' => message(out, b'2', |_| {}),
            b'C' => message(out, b'3', |_| {}),
            b'D' => {
                message(out, b't', |out| out.extend([0, 0]));
                column(out);
            }
            b'E' => self.row(out),
            b'S' => {}
            tag => panic!("{}", char::from(tag)),
        }
        if matches!(tag, b'Q' | b'S') {
            encode::ready(out, b'I');
        }
    }

    /// Some say so before they are through, some when they are.
    fn change(&mut self, text: &str, out: &mut Vec<u8>) {
        message(out, b'N', |out| out.extend(b"SNOTICE\0\0"));
        let set = "SELECT pg_catalog.set_config('TimeZone','";
        let to = text.strip_prefix(set).map_or(0, |value| value.as_bytes()[0] - b'0');
        assert!(to > 0 || text == "RESET \"TimeZone\"\0", "{text}");
        if to == REFUSED {
            return message(out, b'E', |out| out.extend(b"SERROR\0C22023\0Mno such zone\0\0"));
        }
        self.zone = to;
        if to.is_multiple_of(2) {
            message(out, b'S', |out| out.extend(format!("TimeZone\0{to}\0").bytes()));
        }
        if to > 0 {
            column(out);
            message(out, b'D', |out| out.extend(b"\0\x01\0\0\0\x011"));
        }
        message(out, b'C', |out| out.extend(b"SELECT 1\0"));
        if !to.is_multiple_of(2) {
            message(out, b'S', |out| out.extend(format!("TimeZone\0{to}\0").bytes()));
        }
    }

    fn row(&self, out: &mut Vec<u8>) {
        message(out, b'D', |out| out.push(self.zone));
        message(out, b'C', |out| out.extend(b"SELECT 1\0"));
    }
}

fn column(out: &mut Vec<u8>) {
    message(out, b'T', |out| {
        out.extend(b"\0\x01a\0");
        out.extend([0; 18]);
    });
}

/// What a client reads: the kinds of messages, and its row.
fn read(rider: &Rider) -> (String, u8) {
    let (mut tags, mut row) = (String::new(), u8::MAX);
    let mut answer = &rider.fare.answer[..];
    while let Ok(Some(head)) = Head::parse(answer, u32::MAX) {
        tags.push(head.tag.into());
        if head.tag == b'D' {
            row = answer[HEAD_LEN];
        }
        answer = &answer[head.total..];
    }
    assert!(answer.is_empty(), "half a message");
    (tags, row)
}

struct World {
    backend: Backend,
    interner: Arc<Interner>,
    applied: Arc<Settings>,
    prepared: Prepared,
    ledger: Ledger,
    riders: Riders,
    sent: Vec<u8>,
    count: u64,
}

impl World {
    fn new() -> Self {
        Self {
            backend: Backend::default(),
            interner: Interner::new(1 << 20),
            applied: Arc::default(),
            prepared: Prepared::default(),
            ledger: Ledger::default(),
            riders: Riders::default(),
            sent: Vec::new(),
            count: 0,
        }
    }

    fn statement(&self, settings: &Settings) -> Arc<Statement> {
        let context = self.interner.context(settings, POOL);
        self.interner.intern(b"select 1\0\0\0", context).unwrap()
    }

    /// As a driver does it.
    fn put_on(&mut self, asks: Asks) {
        let wanted = Arc::new(settings(asks.zone));
        let mut request = Vec::new();
        let statement = if asks.named {
            message(&mut request, b'B', |out| out.extend(b"\0own\0\0\0\0\0\0\0"));
            message(&mut request, b'E', |out| out.extend([0; 5]));
            encode::sync(&mut request);
            Some(self.statement(&wanted))
        } else {
            encode::query(&mut request, "select 1");
            None
        };
        let mut fare = Box::<Fare>::default();
        fare.statements_max = 2;
        fare.take_up(&Front::read(&request).unwrap(), statement.as_ref(), &wanted);
        let client = (ClientId(self.count), Berth::default());
        let mut rider = Rider::new(client, Arc::default(), fare);
        self.count += 1;
        let mut out = Vec::new();
        if let Some(sql) = self.applied.change_to(&wanted, &Settings::default()) {
            rider.fit(&sql, &mut self.ledger, &mut out);
            self.applied = wanted;
        }
        #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
        let moment = Moment { at: Instant::now(), epoch: 0 };
        let (prepared, ledger) = (&mut self.prepared, &mut self.ledger);
        let to = To { prepared, ledger, out: &mut out, pool: POOL, moment };
        assert!(rider.fare.send(to));
        rider.begins = self.riders.out.end();
        self.riders.out.bytes().extend(&out);
        self.riders.push(rider);
        self.sent.extend(out);
    }

    /// Gives all that was asked so far its answers.
    fn answer(&mut self, cuts: &mut impl Iterator<Item = usize>) -> (Came, Result<(), Lost>) {
        let answers = self.backend.answer(&std::mem::take(&mut self.sent));
        self.riders.out.wrote(self.riders.out.rest().len());
        let (mut came, mut unseen, mut rest) = (Came::default(), Vec::new(), &answers[..]);
        while !rest.is_empty() {
            let (here, behind) = rest.split_at(cuts.next().unwrap().clamp(1, rest.len()));
            unseen.extend(here);
            rest = behind;
            let of = (&mut self.ledger, &mut self.prepared);
            if let Err(lost) = self.riders.share_out(&unseen, of, &mut came) {
                return (came, Err(lost));
            }
            unseen.drain(..came.len);
        }
        (came, Ok(()))
    }
}

fn check(rider: &Rider, asks: Asks) {
    let tags = if asks.named { "2DCZ" } else { "DCZ" };
    assert_eq!(read(rider), (tags.to_owned(), asks.zone));
    assert!(!rider.is_hit);
}

proptest! {
    #[test]
    fn each_is_answered_under_its_own_settings(
        trips in prop::collection::vec(prop::collection::vec(asks(REFUSED), 1..8), 1..6),
        cuts in prop::collection::vec(1_usize..70, 1..9),
    ) {
        let mut world = World::new();
        let mut cuts = cuts.into_iter().cycle();
        for trip in trips {
            for asks in &trip {
                world.put_on(*asks);
            }
            let (came, lost) = world.answer(&mut cuts);
            lost.expect("it takes them all");
            prop_assert_eq!(came.answered.len(), trip.len());
            came.answered.iter().zip(&trip).for_each(|(rider, asks)| check(rider, *asks));
            prop_assert!(came.reported.is_empty(), "that was our own doing");
            prop_assert!(world.riders.is_empty() && world.ledger.is_settled());
        }
    }

    /// Whoever comes before one whose settings are refused is answered; that one and those behind it are not,
    /// though Postgres has answered them.
    #[test]
    fn nobody_is_answered_behind_settings_that_were_refused(
        trip in prop::collection::vec(asks(REFUSED + 1), 1..12),
        cuts in prop::collection::vec(1_usize..70, 1..9),
    ) {
        let mut world = World::new();
        for asks in &trip {
            world.put_on(*asks);
        }
        let served = trip.iter().position(|asks| asks.zone == REFUSED);
        let (came, lost) = world.answer(&mut cuts.into_iter().cycle());
        prop_assert_eq!(came.answered.len(), served.unwrap_or(trip.len()));
        came.answered.iter().zip(&trip).for_each(|(rider, asks)| check(rider, *asks));
        let Some(served) = served else { return Ok(()) };
        prop_assert_eq!(lost.expect_err("it is of no use").why, MISFIT);
        let (sent, unsent) = world.riders.part();
        prop_assert!(sent.is_empty(), "what they have asked was written, and is no use");
        prop_assert_eq!(unsent.len(), trip.len() - served);
        prop_assert!(unsent.iter().all(|rider| rider.fare.answer.is_empty()));
        // Nothing is known of what was prepared under settings that are not its own.
        for Asks { zone, .. } in &trip[served..] {
            let statement = world.statement(&settings(*zone));
            let is_known = world.prepared.name_of(&statement).is_some();
            prop_assert!(!is_known || trip[..served].iter().any(|asks| asks.zone == *zone));
        }
    }
}

/// The server's configuration changes while one waits for its settings: that is told apart.
#[test]
fn a_change_of_the_configuration_is_seen_between_settings() {
    let mut world = World::new();
    for zone in [1, 2] {
        world.put_on(Asks { zone, named: false });
    }
    let mut news = Vec::new();
    message(&mut news, b'S', |out| out.extend(b"IntervalStyle\0iso_8601\0"));
    let mut answers = world.backend.answer(&world.sent);
    // In front of the row of the first.
    let at = answers.windows(2).position(|it| it == b"Z\0").unwrap() + 6;
    answers.splice(at..at, news.clone());
    let (mut came, of) = (Came::default(), (&mut world.ledger, &mut world.prepared));
    world.riders.share_out(&answers, of, &mut came).expect("it is well");
    let reported = [("IntervalStyle".to_owned(), "iso_8601".to_owned())];
    assert_eq!(came.reported, reported);
    assert!(came.answered[0].fare.answer.starts_with(&news));
    assert_eq!(read(&came.answered[1]), ("DCZ".to_owned(), 2));
}

/// Nothing of it was written: it waits as if it had not asked. Of what goes ahead, a byte is enough.
#[test]
fn what_goes_ahead_is_part_of_the_request() {
    let mut world = World::new();
    world.put_on(Asks { zone: 0, named: false });
    let first = world.sent.len();
    world.put_on(Asks { zone: 1, named: false });
    for (written, unsent) in [(first, 1), (1, 0)] {
        world.riders.out.wrote(written);
        let mut parted = world.riders.part();
        assert_eq!(parted.1.len(), unsent);
        parted.0.append(&mut parted.1);
        parted.0.into_iter().for_each(|rider| world.riders.push(rider));
    }
}
