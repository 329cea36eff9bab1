//! Whatever comes from a shared server, and however it is cut, each rider gets its own.

use super::{Came, Lost, Rider, Riders, ends};
use crate::base::ids::ClientId;
use crate::pool::mailbox::Outcome;
use crate::scheduler::Berth;
use crate::session::ledger::{Ledger, Origin, Request};
use crate::session::statements::Prepared;
use crate::wire::encode;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a server answers.
#[derive(Clone, Debug)]
enum Answer {
    Error(&'static str),
    /// Rows of these lengths.
    Rows(Vec<usize>),
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Error(code) => {
                let fields = format!("SERROR\0C{code}\0Mit failed\0\0");
                encode::message(&mut out, b'E', |out| out.extend(fields.as_bytes()));
            }
            Self::Rows(lengths) => {
                encode::message(&mut out, b'T', |out| out.extend([0, 0]));
                for length in lengths {
                    encode::message(&mut out, b'D', |out| out.extend(vec![b'x'; *length]));
                }
                encode::message(&mut out, b'N', |out| out.extend(b"SNOTICE\0\0"));
                encode::message(&mut out, b'C', |out| out.extend(b"SELECT 1\0"));
            }
        }
        encode::ready(&mut out, b'I');
        out
    }
}

/// Riders with a simple query each, under way.
fn riders(count: usize) -> (Riders, Ledger) {
    let (mut riders, mut ledger) = (Riders::default(), Ledger::default());
    for number in 0..count {
        ledger.sent(Request::Query, Origin::Client);
        riders.push(Rider::new(
            (ClientId(number as u64), Berth::default()),
            Arc::default(),
            Box::default(),
        ));
    }
    (riders, ledger)
}

/// Gives the riders what comes, `cuts` at a time, as a buffer would: what was not looked at stays.
fn share_out(
    (riders, ledger): &mut (Riders, Ledger),
    bytes: &[u8],
    cuts: &[usize],
) -> Result<Came, (Came, Lost)> {
    let (mut came, mut unseen) = (Came::default(), Vec::new());
    let mut cuts = cuts.iter().copied().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (here, behind) = rest.split_at(cuts.next().expect("endless").clamp(1, rest.len()));
        unseen.extend_from_slice(here);
        rest = behind;
        let mut prepared = Prepared::default();
        if let Err(lost) = riders.share_out(&unseen, (ledger, &mut prepared), &mut came) {
            return Err((came, lost));
        }
        unseen.drain(..came.len);
    }
    Ok(came)
}

fn answer() -> impl Strategy<Value = Answer> {
    let rows = prop::collection::vec(0_usize..3_000, 0..5).prop_map(Answer::Rows);
    let error = prop::sample::select(vec!["22012", "57014"]).prop_map(Answer::Error);
    prop_oneof![4 => rows, 1 => error]
}

proptest! {
    /// Wherever a read ends, each has its own answer, byte for byte.
    #[test]
    fn each_has_its_own_answer(
        answers in prop::collection::vec(answer(), 1..8),
        cuts in prop::collection::vec(1_usize..900, 1..9),
    ) {
        let mut all = riders(answers.len());
        let bytes: Vec<u8> = answers.iter().flat_map(Answer::bytes).collect();
        let came = share_out(&mut all, &bytes, &cuts).expect("it is well");
        let got: Vec<_> =
            came.answered.iter().map(|rider| (rider.client.0, &rider.fare.answer)).collect();
        let wanted: Vec<_> = answers.iter().map(Answer::bytes).collect();
        let wanted: Vec<_> = wanted.iter().enumerate().map(|(at, it)| (at as u64, it)).collect();
        prop_assert_eq!(got, wanted);
        prop_assert!(all.0.is_empty() && all.1.is_settled());
    }

    /// A server that ends in the middle: the head has all that came for it, to the byte, and it is known
    /// whether that ends with half a message.
    #[test]
    fn what_has_come_is_the_heads(
        answers in prop::collection::vec(answer(), 1..5),
        cuts in prop::collection::vec(1_usize..900, 1..9),
        end in 0_usize..10_000,
    ) {
        let mut all = riders(answers.len());
        let bytes: Vec<u8> = answers.iter().flat_map(Answer::bytes).collect();
        let came = share_out(&mut all, &bytes[..end.min(bytes.len() - 1)], &cuts).expect("so far");
        let told: usize = came.answered.iter().map(|rider| rider.fare.answer.len()).sum();
        let head = all.0.head().expect("not all are answered");
        let answer = answers[came.answered.len()].bytes();
        prop_assert!(answer.starts_with(&head.fare.answer));
        prop_assert!(told + head.fare.answer.len() <= end);
        let mut edges = vec![0];
        while let Some(head) = answer.get(*edges.last().unwrap()..).filter(|rest| rest.len() > 4) {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            edges.push(edges.last().unwrap() + 1 + length);
        }
        let here = head.fare.answer.len();
        let edge = edges.into_iter().find(|edge| *edge >= here).expect("the answer's end");
        prop_assert_eq!(all.0.to_come(), edge - here);
        prop_assert_eq!(all.0.is_mid_message(), edge > here);
    }

    /// Nothing that a server sends makes it panic.
    #[test]
    fn anything_may_come(bytes: Vec<u8>, cuts in prop::collection::vec(1_usize..9, 1..9)) {
        drop(share_out(&mut riders(3), &bytes, &cuts));
    }
}

fn lost(bytes: &[u8]) -> (Came, Lost) {
    share_out(&mut riders(2), bytes, &[5_000]).expect_err("it is of no use any more")
}

#[test]
fn an_error_of_any_length_is_told_to_whom_it_concerns() {
    let mut long = Vec::new();
    let fields = format!("SERROR\0C22P02\0Mno number: {}\0\0", "x".repeat(100_000));
    encode::message(&mut long, b'E', |out| out.extend(fields.as_bytes()));
    encode::ready(&mut long, b'I');
    let rows = Answer::Rows(vec![3]).bytes();
    for cut in [900, 20_000, 200_000] {
        let came = share_out(&mut riders(2), &[&long[..], &rows].concat(), &[cut]).unwrap();
        let got: Vec<_> = came.answered.iter().map(|rider| &rider.fare.answer).collect();
        assert_eq!(got, [&long, &rows], "{cut}");
    }
}

/// However much was written: who is not answered is lost if anything of its request was, and missed else.
#[test]
fn of_a_lost_server_those_are_missed_who_were_not_sent() {
    let request = b"Q\0\0\0\x0dselect 1\0";
    for written in 0..=3 * request.len() {
        for answered in 0..=written / request.len() {
            let (mut riders, mut ledger) = (Riders::default(), Ledger::default());
            for number in 0..3 {
                let mut rider = Rider::new(
                    (ClientId(number), Berth::default()),
                    Arc::default(),
                    Box::default(),
                );
                rider.begins = riders.out.end();
                riders.out.bytes().extend(request);
                ledger.sent(Request::Query, Origin::Client);
                riders.push(rider);
            }
            riders.out.wrote(written);
            let answers = Answer::Rows(vec![3]).bytes().repeat(answered);
            let mut all = (riders, ledger);
            let came = share_out(&mut all, &answers, &[5_000]).expect("it is well");
            assert_eq!(came.answered.len(), answered);
            let (sent, unsent) = all.0.part();
            assert_eq!(sent.len(), written.div_ceil(request.len()) - answered);
            assert_eq!(sent.len() + unsent.len(), 3 - answered);
            let order: Vec<_> = sent.iter().chain(&unsent).map(|rider| rider.client.0).collect();
            assert_eq!(order, (answered as u64..3).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_server_that_says_more_than_it_was_asked_is_lost() {
    let answers = [Answer::Rows(vec![3]).bytes(), Answer::Error("22012").bytes()].concat();
    let (came, lost) = lost(&[&answers[..], b"Z\0\0\0\x05I"].concat());
    assert_eq!(came.answered.len(), 2, "those who were answered are");
    assert_eq!(lost.why, "it sent a reply that nobody asked for");
}

#[test]
fn a_server_that_begins_a_transaction_is_lost() {
    let (came, lost) = lost(b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T");
    assert!(came.answered.is_empty());
    assert_eq!(lost.why, "a statement that was taken to be a read began a transaction");
}

#[test]
fn the_last_words_of_a_server_are_kept() {
    let mut bytes = Answer::Rows(vec![3]).bytes();
    let fields = b"SFATAL\0C57P01\0Mterminating\0\0";
    encode::message(&mut bytes, b'E', |out| out.extend(fields));
    let (came, lost) = lost(&bytes);
    assert_eq!(came.answered.len(), 1);
    assert_eq!(lost.last_words.expect("it said why").code, "57P01");
}

#[test]
fn only_who_may_be_hit_by_anothers_cancel_is() {
    let canceled = Answer::Error("57014");
    let hit = |exposed: bool, own: bool, told: bool| {
        let mut all = riders(1);
        let head = all.0.head().unwrap();
        (head.is_exposed, head.is_to_be_canceled) = (exposed, own);
        head.fare.told = usize::from(told);
        let came = share_out(&mut all, &canceled.bytes(), &[5_000]).unwrap();
        came.answered[0].is_hit
    };
    assert!(hit(true, false, false));
    assert!(!hit(false, false, false), "Postgres has its own reasons: statement_timeout");
    assert!(!hit(true, true, false));
    assert!(!hit(true, false, true));
}

#[test]
fn whose_request_failed_is_known() {
    let answers = [Answer::Rows(vec![3]), Answer::Error("22012"), Answer::Rows(vec![])];
    let bytes: Vec<u8> = answers.iter().flat_map(Answer::bytes).collect();
    let came = share_out(&mut riders(3), &bytes, &[7]).unwrap();
    let failed: Vec<_> = came.answered.iter().map(|rider| rider.has_failed).collect();
    assert_eq!(failed, [false, true, false]);
}

#[test]
fn notifications_are_nobodys() {
    let mut bytes = Answer::Rows(vec![3]).bytes();
    let whole = bytes.clone();
    let mut news = Vec::new();
    encode::message(&mut news, b'A', |out| out.extend(b"\0\0\0\x01channel\0payload\0"));
    bytes.splice(0..0, news.clone());
    let ready = bytes.len() - 6;
    bytes.splice(ready..ready, news);
    for cut in [1, 7, 5_000] {
        let came = share_out(&mut riders(1), &bytes, &[cut]).unwrap();
        assert_eq!(came.answered[0].fare.answer, whole);
        assert!(came.is_notified);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what counts is what passes after it")]
fn the_time_of_answers_that_come_at_once_is_split_as_was_expected() {
    let us = Duration::from_micros;
    let mut all = riders(3);
    for (rider, expected) in all.0.iter_mut().zip([10, 30, 0]) {
        rider.fare.expected = us(expected);
    }
    let answered: Vec<_> = all.0.part().1.into();
    let since = Instant::now();
    let after = |count: usize| {
        let ends = ends(since, since + us(80), &answered[..count]);
        ends.map(|end| (end - since).as_micros()).collect::<Vec<_>>()
    };
    assert_eq!(after(3), [20, 80, 80]);
    assert_eq!(after(2), [20, 80]);
    assert_eq!(after(1), [80]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what counts is what passes after it")]
fn a_change_of_settings_counts_for_whose_they_are_and_not_as_its_statement() {
    let us = Duration::from_micros;
    let mut all = riders(2);
    let (mut ledger, mut out) = (Ledger::default(), Vec::new());
    for (rider, fits) in all.0.iter_mut().zip([false, true]) {
        rider.fare.expected = us(50);
        if fits {
            rider.fit("set x to y", &mut ledger, &mut out);
        }
    }
    let answered: Vec<_> = all.0.part().1.into();
    let since = Instant::now();
    let ends: Vec<_> = ends(since, since + us(300), &answered).map(|end| end - since).collect();
    assert_eq!(ends, [us(100), us(300)]);
    assert_eq!(answered[0].of_request(us(100)), us(100));
    assert_eq!(answered[1].of_request(us(200)), us(100));
    assert_eq!(answered[1].expected(), us(100));
}

#[test]
fn who_wants_no_answer_does_not_ask_again() {
    let mut all = riders(1);
    let rider = all.0.head().unwrap();
    assert!(matches!(rider.missed(), Outcome::Missed));
    rider.is_to_be_canceled = true;
    assert!(matches!(rider.missed(), Outcome::Canceled));
}

#[test]
fn who_has_left_is_answered_in_turn_and_has_nothing_of_it() {
    let mut all = riders(3);
    let mut left = 0;
    while let Some(rider) = all.0.behind() {
        assert!(matches!(rider.leave(), Some(Outcome::Missed)));
        left += 1;
    }
    assert_eq!(left, 2);
    let answers = [Answer::Rows(vec![3]), Answer::Rows(vec![900; 9]), Answer::Error("22012")];
    let bytes: Vec<u8> = answers.iter().flat_map(Answer::bytes).collect();
    let came = share_out(&mut all, &bytes, &[7]).unwrap();
    let got: Vec<_> = came.answered.iter().map(|rider| rider.fare.answer.len()).collect();
    assert_eq!(got, [answers[0].bytes().len(), 0, 0]);
}
