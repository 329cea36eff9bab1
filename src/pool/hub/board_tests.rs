//! Who is told what, and what Postgres is told.

use super::{Board, Channel, Subscriber};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

impl Subscriber for u8 {
    fn key(&self) -> usize {
        usize::from(*self)
    }
}

type Numbers = Board<u8, u32>;

fn channel(name: u8) -> Channel {
    format!("c{name}").into()
}

#[test]
fn a_channel_is_listened_to_once_however_many_want_it() {
    let mut board = Numbers::default();
    board.subscribe(&channel(1), &1);
    board.subscribe(&channel(1), &2);
    board.subscribe(&channel(1), &1);
    board.ask(7);
    assert_eq!(board.next_batch().unwrap(), r#"LISTEN "c1";"#);
    assert_eq!(board.next_batch(), None, "one at a time");
    assert_eq!(board.is_done().asked, [7]);
    assert_eq!(board.subscribers("c1").keys().collect::<Vec<_>>(), [&1, &2]);
    board.unsubscribe(&channel(1), &1);
    assert_eq!(board.next_batch(), None);
    board.unsubscribe(&channel(1), &2);
    assert_eq!(board.next_batch().unwrap(), r#"UNLISTEN "c1";"#);
    board.is_done();
    assert!(board.is_idle());
}

#[test]
fn a_name_cannot_break_out_of_its_quotes() {
    let mut board = Numbers::default();
    board.subscribe(&r#"a"; DROP TABLE t; --"#.into(), &1);
    assert_eq!(board.next_batch().unwrap(), r#"LISTEN "a""; DROP TABLE t; --";"#);
}

/// Who asks while a batch is under way waits for the next: its channel may not be in this one.
#[test]
fn who_asks_is_told_when_a_later_batch_is_done() {
    let mut board = Numbers::default();
    board.ask(1);
    assert_eq!(board.next_batch().unwrap(), "");
    board.subscribe(&channel(1), &1);
    board.ask(2);
    assert_eq!(board.is_done().asked, [1]);
    assert_eq!(board.next_batch().unwrap(), r#"LISTEN "c1";"#);
    assert_eq!(board.is_done().asked, [2]);
}

#[test]
fn who_listened_to_a_lost_connection_is_known_and_all_is_listened_to_again() {
    let mut board = Numbers::default();
    board.subscribe(&channel(1), &1);
    board.next_batch();
    board.is_done();
    board.subscribe(&channel(2), &2);
    board.ask(3);
    assert_eq!(board.is_lost(), [3]);
    assert_eq!(board.next_batch().unwrap(), r#"LISTEN "c1";LISTEN "c2";"#);
    // Lost again, before it could be told.
    board.is_lost();
    board.next_batch();
    assert_eq!(board.is_done().bereft, [1]);
    board.subscribe(&channel(2), &3);
    assert_eq!(board.next_batch(), None);
    assert!(board.is_done().bereft.is_empty(), "told once");
}

/// Somebody who has listened elsewhere may have missed something, until all of it is heard here.
#[test]
fn who_has_listened_elsewhere_is_told_when_it_is_heard_here() {
    let mut board = Numbers::default();
    board.subscribe(&channel(1), &1);
    board.next_batch();
    board.subscribe(&channel(1), &2);
    board.subscribe(&channel(2), &2);
    board.bereave(&2);
    assert!(board.is_done().bereft.is_empty(), "not all is heard");
    assert_eq!(board.next_batch().unwrap(), r#"LISTEN "c2";"#);
    assert_eq!(board.is_done().bereft, [2]);
}

/// What may happen to a board.
#[derive(Clone, Copy, Debug)]
enum Step {
    Subscribe(u8, u8),
    Unsubscribe(u8, u8),
    Ask,
    Send,
    Done,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..4_u8).prop_map(|(channel, who)| Step::Subscribe(channel, who)),
        4 => (0..4_u8, 0..4_u8).prop_map(|(channel, who)| Step::Unsubscribe(channel, who)),
        2 => Just(Step::Ask),
        3 => Just(Step::Send),
        3 => Just(Step::Done),
        1 => Just(Step::Lost),
    ]
}

/// A Postgres that does what the batches say.
#[derive(Default)]
struct Postgres {
    heard: BTreeSet<String>,
    batch: Option<String>,
}

impl Postgres {
    fn run(&mut self) {
        for statement in self.batch.take().unwrap_or_default().split_terminator(';') {
            match statement.split_once(' ').unwrap() {
                ("LISTEN", name) => drop(self.heard.insert(name.trim_matches('"').to_owned())),
                (_, name) => drop(self.heard.remove(name.trim_matches('"'))),
            }
        }
    }
}

proptest! {
    /// Whoever is told that it is done is heard; and everybody is told, once.
    #[test]
    fn whoever_is_told_is_heard(steps in prop::collection::vec(step(), 0..60)) {
        let (mut board, mut postgres) = (Numbers::default(), Postgres::default());
        let mut wanted: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        // By question: who wanted what when it was asked.
        let mut asked: BTreeMap<u32, BTreeMap<u8, BTreeSet<u8>>> = BTreeMap::new();
        let mut questions = 0;
        let rest = std::iter::repeat_n([Step::Done, Step::Send], 4).flatten();
        for step in steps.into_iter().chain(rest) {
            match step {
                Step::Subscribe(name, who) => {
                    board.subscribe(&channel(name), &who);
                    wanted.entry(name).or_default().insert(who);
                }
                Step::Unsubscribe(name, who) => {
                    board.unsubscribe(&channel(name), &who);
                    wanted.entry(name).or_default().remove(&who);
                    for before in asked.values_mut() {
                        before.entry(name).or_default().remove(&who);
                    }
                }
                Step::Ask => {
                    questions += 1;
                    board.ask(questions);
                    asked.insert(questions, wanted.clone());
                }
                Step::Send => {
                    if let Some(sql) = board.next_batch() {
                        prop_assert!(postgres.batch.replace(sql).is_none());
                    }
                }
                Step::Done => {
                    if postgres.batch.is_some() {
                        postgres.run();
                        for question in board.is_done().asked {
                            let before = asked.remove(&question);
                            for (name, who) in before.expect("told once") {
                                let is_heard = postgres.heard.contains(&*channel(name));
                                prop_assert!(who.is_empty() || is_heard, "c{}", name);
                            }
                        }
                    }
                }
                Step::Lost => {
                    postgres = Postgres::default();
                    for question in board.is_lost() {
                        prop_assert!(asked.remove(&question).is_some(), "told once");
                    }
                }
            }
            for (name, who) in &wanted {
                let subscribers = board.subscribers(&channel(*name));
                prop_assert_eq!(subscribers.values().copied().collect::<BTreeSet<_>>(), who.clone());
            }
        }
        prop_assert!(asked.is_empty(), "not told: {:?}", asked.keys());
        let heard = wanted.iter().filter(|(_, who)| !who.is_empty());
        let heard: BTreeSet<_> = heard.map(|(name, _)| channel(*name).to_string()).collect();
        prop_assert_eq!(postgres.heard, heard);
    }
}
