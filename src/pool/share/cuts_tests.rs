//! Whatever bytes come from a shared server, what is made of them does not depend on where a read ends.

use super::{Came, IMPOSSIBLE, Rider, Riders};
use crate::base::ids::ClientId;
use crate::scheduler::Berth;
use crate::session::fare::{Fare, Front};
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Interner, Moment, Prepared, Statement, To};
use crate::wire::encode::{self, message};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

const POOL: (&str, &str) = ("app", "app");

/// What a rider asks.
#[derive(Clone, Copy, Debug)]
enum Asks {
    /// What the server has not prepared.
    Named,
    Query,
    Unnamed,
}

/// What answers settings that go ahead.
const FITS: &[u8] = b"NTDSCSZ";

impl Asks {
    fn request(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Query => encode::query(&mut out, "select 1"),
            Self::Unnamed => encode::parse(&mut out, b"", b"select 1\0\0\0"),
            Self::Named => {}
        }
        if !matches!(self, Self::Query) {
            let name: &[u8] = if matches!(self, Self::Named) { b"own" } else { b"" };
            let bind = [b"\0", name, b"\0\0\0\0\0\0\0"].concat();
            message(&mut out, b'B', |out| out.extend(bind));
            message(&mut out, b'D', |out| out.extend(b"P\0"));
            message(&mut out, b'E', |out| out.extend([0; 5]));
            encode::sync(&mut out);
        }
        out
    }

    /// The kinds of messages that answer it.
    fn answer(self) -> &'static [u8] {
        match self {
            Self::Named => b"1tT2TDDCZ",
            Self::Query => b"TDDCZ",
            Self::Unnamed => b"12TDCZ",
        }
    }
}

/// A message, perhaps with a body that is none of its kind.
fn one(kind: u8, variant: u8) -> Vec<u8> {
    let body: Vec<u8> = match (kind, variant % 8) {
        (b'Z', 0) => b"T".to_vec(),
        (b'Z', _) => b"I".to_vec(),
        (b'E', 0) => b"SFATAL\0C57P01\0Mit ends\0\0".to_vec(),
        (b'E', 1) => b"SERROR\0C57014\0Mit was canceled\0\0".to_vec(),
        (b'E', 2) => b"SERROR\0C26000\0M\"pgweir_1\" does not exist\0\0".to_vec(),
        (b'E', _) => b"SERROR\0C22012\0Mdivision by zero\0\0".to_vec(),
        (b't', _) => vec![0, 0],
        (b'T', 0) => [&[0, 1, b'b', 0][..], &[0; 18]].concat(),
        (b'T', _) => [&[0, 1, b'a', 0][..], &[0; 18]].concat(),
        (b'S', _) => b"TimeZone\0UTC\0".to_vec(),
        (b'N' | b'D', 0) => vec![b'x'; 200],
        (b'C', _) => b"SELECT 1\0".to_vec(),
        (b'1' | b'2' | b'n', _) => Vec::new(),
        (_, n) => vec![b'x'; n.into()],
    };
    let mut out = Vec::new();
    message(&mut out, kind, |out| out.extend(body));
    out
}

/// What goes wrong with the messages that should come.
#[derive(Clone, Debug)]
enum Wrong {
    Another(u8, u8),
    Bytes(Vec<u8>),
    Gone,
    Length([u8; 4]),
}

fn wrong() -> impl Strategy<Value = Wrong> {
    let kind = prop::sample::select(&b"12nNtTDCEASZIGs3"[..]);
    prop_oneof![
        6 => (kind, any::<u8>()).prop_map(|(kind, variant)| Wrong::Another(kind, variant)),
        1 => prop::collection::vec(any::<u8>(), 1..9).prop_map(Wrong::Bytes),
        2 => Just(Wrong::Gone),
        1 => any::<[u8; 4]>().prop_map(Wrong::Length),
    ]
}

/// What should come, but for what goes wrong.
fn stream(asks: &[(Asks, bool)], variants: &[u8], wrong: &[(usize, Wrong)]) -> Vec<u8> {
    let kinds = asks.iter().flat_map(|(asks, fits)| {
        let ahead = if *fits { FITS } else { b"" };
        ahead.iter().chain(asks.answer())
    });
    let mut variants = variants.iter().cycle();
    let mut all: Vec<_> =
        kinds.map(|kind| one(*kind, 1 | variants.next().expect("endless"))).collect();
    for (at, wrong) in wrong {
        let at = at % (all.len() + 1);
        match wrong {
            Wrong::Another(kind, variant) => all.insert(at, one(*kind, *variant)),
            Wrong::Bytes(bytes) => all.insert(at, bytes.clone()),
            Wrong::Gone if at < all.len() => drop(all.remove(at)),
            Wrong::Length(length) if all.get(at).is_some_and(|it| it.len() > 4) => {
                all[at][1..5].copy_from_slice(length);
            }
            Wrong::Gone | Wrong::Length(_) => {}
        }
    }
    all.concat()
}

/// What was made of it all.
#[derive(Debug, Default, Eq, PartialEq)]
struct Made {
    /// Who was answered, and with what, if it was for them.
    answered: Vec<(u64, Option<Vec<u8>>)>,
    /// What the head has of its answer.
    head: Option<Vec<u8>>,
    is_mid_message: bool,
    reported: Vec<(String, String)>,
    told: [bool; 2],
    lost: Option<&'static str>,
    owed: usize,
    prepared: usize,
}

fn statement() -> Arc<Statement> {
    let interner = Interner::new(1 << 20);
    let context = interner.context(&Settings::default(), POOL);
    interner.intern(b"select 1\0\0\0", context).unwrap()
}

/// Gives riders who ask this the bytes, `cuts` at a time.
fn made_of(asks: &[(Asks, bool)], exposed: bool, bytes: &[u8], cuts: &[usize]) -> Made {
    let (mut riders, mut ledger, mut prepared) =
        (Riders::default(), Ledger::default(), Prepared::default());
    let statement = statement();
    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    let moment = Moment { at: Instant::now(), epoch: 0 };
    for (number, (asks, fits)) in asks.iter().enumerate() {
        let (request, mut fare) = (asks.request(), Box::<Fare>::default());
        fare.take_up(&Front::read(&request).unwrap(), Some(&statement), &Arc::default());
        let mut rider =
            Rider::new((ClientId(number as u64), Berth::default()), Arc::default(), fare);
        let (out, prepared, ledger) = (&mut Vec::new(), &mut prepared, &mut ledger);
        if *fits {
            rider.fit("set", ledger, out);
        }
        assert!(rider.fare.send(To { prepared, ledger, out, pool: POOL, moment }));
        rider.is_exposed = exposed;
        riders.push(rider);
    }
    let (mut came, mut made, mut unseen) = (Came::default(), Made::default(), Vec::new());
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    while !rest.is_empty() && made.lost.is_none() {
        let (here, behind) = rest.split_at((*cuts.next().expect("endless")).clamp(1, rest.len()));
        unseen.extend_from_slice(here);
        rest = behind;
        let shared = riders.share_out(&unseen, (&mut ledger, &mut prepared), &mut came);
        made.lost = shared.err().map(|lost| lost.why);
        unseen.drain(..came.len);
    }
    let answer = |rider: &Rider| (!rider.is_hit).then(|| rider.fare.answer.clone());
    made.answered = came.answered.iter().map(|rider| (rider.client.0, answer(rider))).collect();
    (made.reported, made.told) = (came.reported, [came.is_notified, came.is_plan_changed]);
    made.is_mid_message = riders.is_mid_message();
    // Rows in front of one with an impossible length are given, or not.
    let head = riders.head().filter(|_| made.lost != Some(IMPOSSIBLE));
    made.head = head.and_then(|rider| answer(rider));
    (made.owed, made.prepared) = (ledger.len(), prepared.len());
    made
}

fn asks() -> impl Strategy<Value = (Asks, bool)> {
    (prop::sample::select(vec![Asks::Named, Asks::Query, Asks::Unnamed]), any::<bool>())
}

proptest! {
    #[test]
    fn what_is_made_of_it_does_not_depend_on_cuts(
        asks in prop::collection::vec(asks(), 1..5),
        exposed: bool,
        variants in prop::collection::vec(any::<u8>(), 1..20),
        wrong in prop::collection::vec((0_usize..99, wrong()), 0..4),
        cuts in prop::collection::vec(1_usize..60, 1..9),
    ) {
        let bytes = stream(&asks, &variants, &wrong);
        let whole = made_of(&asks, exposed, &bytes, &[usize::MAX]);
        let cut = made_of(&asks, exposed, &bytes, &cuts);
        if wrong.is_empty() {
            prop_assert_eq!(whole.answered.len(), asks.len());
            prop_assert_eq!((whole.lost, whole.owed), (None, 0));
        }
        prop_assert_eq!(whole, cut);
    }
}
