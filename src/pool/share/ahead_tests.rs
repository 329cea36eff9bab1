//! What riders have prepared on a made-up Postgres whose tables change: each gets rows of the shape that it was
//! told of, Postgres' own error, or nothing; and nothing but its own.

use super::{Came, Rider, Riders};
use crate::base::ids::ClientId;
use crate::scheduler::Berth;
use crate::session::fare::{Fare, Front};
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Interner, Moment, Prepared, Statement, To};
use crate::wire::encode::{self, message};
use crate::wire::frame::{HEAD_LEN, Head, split_text};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const POOL: (&str, &str) = ("app", "app");
const TEXTS: usize = 4;
const KEPT: u32 = 2;

/// The rows of a text have so many columns, or it cannot be read any more.
type Shape = Option<u8>;

#[derive(Clone, Debug)]
enum Event {
    Alter(usize, Shape),
    /// A function drops what was prepared.
    DropAll,
    /// Riders with these texts, at once.
    Ride(Vec<usize>),
}

#[derive(Debug, Default)]
struct Backend {
    /// The text of each, and its shape when it was read.
    named: BTreeMap<Vec<u8>, (usize, Shape)>,
    shapes: [Shape; TEXTS],
    is_skipping: bool,
}

impl Backend {
    /// Answers all that was sent.
    fn answer(&mut self, mut sent: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bound = None;
        while let Ok(Some(head)) = Head::parse(sent, u32::MAX) {
            let body = &sent[HEAD_LEN..head.total];
            sent = &sent[head.total..];
            if head.tag == b'S' {
                self.is_skipping = false;
                encode::ready(&mut out, b'I');
            } else if !self.is_skipping {
                let code = self.step(head.tag, body, &mut bound, &mut out).err();
                self.is_skipping = code.is_some();
                if let Some(said) = code {
                    message(&mut out, b'E', |out| out.extend(said.as_bytes()));
                }
            }
        }
        out
    }

    fn step(
        &mut self,
        tag: u8,
        body: &[u8],
        bound: &mut Shape,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (name, rest) = match tag {
            b'B' | b'C' | b'D' => split_text(&body[1..]).unwrap(),
            b'P' => split_text(body).unwrap(),
            _ => (&b""[..], body),
        };
        match tag {
            b'C' => {
                self.named.remove(name);
                message(out, b'3', |_| {});
            }
            b'P' => {
                let text = usize::from(split_text(rest).unwrap().0[0] - b'0');
                message(out, b'N', |out| out.extend(b"SNOTICE\0\0"));
                self.shapes[text].ok_or(failed("42703", "no such column", ""))?;
                assert!(self.named.insert(name.into(), (text, self.shapes[text])).is_none());
                message(out, b'1', |_| {});
            }
            b'D' => {
                let shape = self.read(name)?.expect("it was read");
                message(out, b't', |out| out.extend([0, 0]));
                message(out, b'T', |out| columns(out, shape));
            }
            b'B' => {
                *bound = self.read(name)?;
                message(out, b'2', |_| {});
            }
            b'E' => {
                message(out, b'D', |out| out.push(bound.expect("it was bound")));
                message(out, b'C', |out| out.extend(b"SELECT 1\0"));
            }
            tag => panic!("{}", char::from(tag)),
        }
        Ok(())
    }

    fn read(&self, name: &[u8]) -> Result<Shape, String> {
        let name_shown = String::from_utf8_lossy(name);
        let missing = || failed("26000", &format!("prepared statement \"{name_shown}\""), "");
        let (text, shape) = *self.named.get(name).ok_or_else(missing)?;
        match self.shapes[text] {
            None => Err(failed("42703", "no such column", "")),
            now if now != shape => Err(failed("0A000", "cached plan", "RevalidateCachedQuery")),
            now => Ok(now),
        }
    }
}

fn failed(code: &str, text: &str, routine: &str) -> String {
    format!("SERROR\0C{code}\0M{text}\0R{routine}\0\0")
}

fn columns(out: &mut Vec<u8>, count: u8) {
    out.extend([0, count]);
    for column in 0..count {
        out.extend([b'a' + column, 0]);
        out.extend([0; 18]);
    }
}

/// What a client reads.
#[derive(Debug, Eq, PartialEq)]
enum Got {
    Error(String),
    Nothing,
    Rows(u8),
}

fn got(rider: &Rider) -> Got {
    if rider.is_hit {
        return Got::Nothing;
    }
    let mut answer = &rider.fare.answer[..];
    let (mut tags, mut got) = (Vec::new(), Got::Nothing);
    while let Ok(Some(head)) = Head::parse(answer, u32::MAX) {
        let body = &answer[HEAD_LEN..head.total];
        match head.tag {
            b'D' => got = Got::Rows(body[0]),
            b'E' => got = Got::Error(String::from_utf8_lossy(&body[8..13]).into_owned()),
            _ => {}
        }
        tags.push(head.tag);
        answer = &answer[head.total..];
    }
    assert!(answer.is_empty() && [&b"2DCZ"[..], b"EZ", b"2EZ"].contains(&&tags[..]), "{tags:?}");
    got
}

struct World {
    backend: Backend,
    statements: Vec<Arc<Statement>>,
    /// What the client of each was told of its rows, first.
    told: [Shape; TEXTS],
    prepared: Prepared,
    ledger: Ledger,
    riders: Riders,
    moment: Moment,
}

impl World {
    fn new() -> Self {
        let interner = Interner::new(1 << 20);
        let context = interner.context(&Settings::default(), POOL);
        let text = |n: usize| interner.intern(format!("{n}\0\0\0").as_bytes(), context).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
        let moment = Moment { at: Instant::now(), epoch: 0 };
        Self {
            backend: Backend { shapes: [Some(1); TEXTS], ..Backend::default() },
            statements: (0..TEXTS).map(text).collect(),
            told: [None; TEXTS],
            prepared: Prepared::default(),
            ledger: Ledger::default(),
            riders: Riders::default(),
            moment,
        }
    }

    fn ride(&mut self, texts: &[usize], cuts: &mut impl Iterator<Item = usize>) -> Vec<Got> {
        let mut sent = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            let mut batch = Vec::new();
            message(&mut batch, b'B', |out| out.extend(b"\0own\0\0\0\0\0\0\0"));
            message(&mut batch, b'E', |out| out.extend([0; 5]));
            encode::sync(&mut batch);
            let mut fare = Box::<Fare>::default();
            fare.statements_max = KEPT;
            let front = Front::read(&batch).expect("it may share");
            fare.take_up(&front, Some(&self.statements[*text]), &Arc::default());
            let is_sent = fare.send(To {
                prepared: &mut self.prepared,
                ledger: &mut self.ledger,
                out: &mut sent,
                pool: POOL,
                moment: self.moment,
            });
            assert!(is_sent);
            self.riders.push(Rider::new(
                (ClientId(n as u64), Berth::default()),
                Arc::default(),
                fare,
            ));
        }
        let answers = self.backend.answer(&sent);
        let (mut came, mut unseen, mut rest) = (Came::default(), Vec::new(), &answers[..]);
        while !rest.is_empty() {
            let (here, behind) = rest.split_at(cuts.next().unwrap().clamp(1, rest.len()));
            unseen.extend(here);
            rest = behind;
            let of = (&mut self.ledger, &mut self.prepared);
            self.riders.share_out(&unseen, of, &mut came).expect("it is well");
            unseen.drain(..came.len);
        }
        assert!(self.ledger.is_settled() && self.riders.is_empty());
        assert_eq!(came.answered.len(), texts.len());
        let all: Vec<_> = came.answered.iter().map(got).collect();
        for (got, text) in all.iter().zip(texts) {
            self.check(*text, got);
        }
        all
    }

    fn check(&mut self, text: usize, got: &Got) {
        let shape = self.backend.shapes[text];
        match got {
            Got::Rows(columns) => {
                assert_eq!(Some(*columns), shape);
                assert_eq!(*self.told[text].get_or_insert(*columns), *columns, "misread");
            }
            // It goes to a server of its own.
            Got::Nothing => {}
            Got::Error(code) => {
                assert_eq!(code, if shape.is_none() { "42703" } else { "0A000" });
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let shape = prop_oneof![5 => (1..4_u8).prop_map(Some), 1 => Just(None)];
    prop_oneof![
        2 => (0..TEXTS, shape).prop_map(|(text, shape)| Event::Alter(text, shape)),
        1 => Just(Event::DropAll),
        6 => prop::collection::vec(0..TEXTS, 1..8).prop_map(Event::Ride),
    ]
}

proptest! {
    #[test]
    fn rows_are_of_the_shape_that_was_told(
        events in prop::collection::vec(event(), 1..30),
        cuts in prop::collection::vec(1_usize..90, 1..9),
    ) {
        let mut world = World::new();
        let mut cuts = cuts.iter().copied().cycle();
        for event in &events {
            match event {
                Event::Alter(text, shape) => world.backend.shapes[*text] = *shape,
                Event::DropAll => world.backend.named.clear(),
                Event::Ride(texts) => drop(world.ride(texts, &mut cuts)),
            }
            // What is of no use is closed, some time.
            prop_assert!(world.backend.named.len() < 32);
        }
        // Once all is what it was, all get their rows.
        world.backend.shapes = world.told.map(|shape| shape.or(Some(1)));
        world.backend.named.clear();
        let all: Vec<_> = (0..TEXTS).collect();
        drop(world.ride(&all, &mut cuts));
        for _ in 0..2 {
            let got = world.ride(&all, &mut cuts);
            let wanted: Vec<_> = world.told.iter().map(|told| Got::Rows(told.unwrap())).collect();
            prop_assert_eq!(got, wanted);
        }
        prop_assert!(world.prepared.len() >= TEXTS);
    }
}
