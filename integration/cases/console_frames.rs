//! Any frames, in any order, at the console: each request is answered, and nobody else notices.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};

use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::random::{Seed, one_in};
use crate::harness::settings::Settings;
use crate::harness::time::run_within;

use std::time::Duration;

/// How many sessions; `PGWEIR_STEPS` is more of them.
const SESSIONS: usize = 1_500;

const NAMES: &[&str] = &["", "a", "b"];

/// What changes nothing, whoever says it.
const TEXTS: &[&str] = &[
    "SHOW STATE",
    "SHOW POOLS",
    "SHOW CLIENTS",
    "SHOW HELP",
    "SHOW CONFIG",
    "BEGIN",
    "COMMIT",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "SELECT 1",
    "show lists; show mem",
    "'",
    "",
];

/// What the console may say.
const ANSWERS: &[u8] = b"12345CDEINSTZnst";

fn any<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).expect("there are some")
}

/// One message as a driver would send it.
fn message(random: &mut StdRng) -> Vec<u8> {
    let (name, other) = (any(random, NAMES), any(random, NAMES));
    let (text, batch) = (any(random, TEXTS), Batch::new());
    let batch = match random.random_range(0..12) {
        0 | 1 => batch.query(text),
        2 | 3 => batch.parse(name, text),
        4 => batch.bind_to(name, other, &[]),
        5 => batch.bind_to(name, other, &["1"]),
        6 | 7 => batch.execute_rows(name, random.random_range(-1..4)),
        8 => batch.describe_statement(name),
        9 => batch.describe_portal(name),
        10 => batch.close_statement(name),
        _ if one_in(random, 2) => batch.flush(),
        _ => batch.sync(),
    };
    batch.0
}

/// A message with something in it that is not as it should be; its length is.
fn spoiled(random: &mut StdRng) -> Vec<u8> {
    if one_in(random, 3) {
        let tag = *b"QPBDECSHdcf".choose(random).expect("there are some");
        let body: Vec<u8> = (0..random.random_range(0..60)).map(|_| random.random()).collect();
        return Batch::new().raw(tag, &body).0;
    }
    let mut message = message(random);
    let tag = message[0];
    let mut body = message.split_off(5);
    for _ in 0..random.random_range(1..4) {
        match random.random_range(0..3) {
            0 => body.truncate(random.random_range(0..=body.len())),
            1 => body.push(random.random()),
            _ => {
                if let Some(byte) = body.choose_mut(random) {
                    *byte = random.random();
                }
            }
        }
    }
    Batch::new().raw(tag, &body).0
}

/// What nobody can go on behind: a tag that is none, a length that cannot be, or a goodbye.
fn last(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..4) {
        0 => Batch::new().terminate().0,
        1 => Batch::new().raw(*b"?\0F\xff".choose(random).expect("some"), b"x").0,
        2 => [&b"Q"[..], &random.random_range(0..4_u32).to_be_bytes()].concat(),
        _ => [&b"P"[..], &random.random_range(1_u32 << 17..=u32::MAX).to_be_bytes()].concat(),
    }
}

#[test]
fn any_frames_are_answered_and_disturb_nobody() {
    run_within(Duration::from_mins(5), async {
        let rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let mut watcher = Console::open(&rig).await;
        let mut client = rig.client().await;
        let sessions = std::env::var("PGWEIR_STEPS").ok().and_then(|steps| steps.parse().ok());
        let seed = Seed::of_run();
        for number in 0..sessions.unwrap_or(SESSIONS) {
            let mut random = seed.actor(number as u64);
            let mut session = Login::to(rig.address()).database("pgweir").connect().await;
            let mut sent = Vec::new();
            let mut readies = 0;
            for _ in 0..random.random_range(1..30) {
                let spoils = one_in(&mut random, 3);
                let next = if spoils { spoiled(&mut random) } else { message(&mut random) };
                readies += usize::from(matches!(next[0], b'Q' | b'S'));
                sent.extend(next);
            }
            let is_last = one_in(&mut random, 3);
            sent.extend(if is_last { last(&mut random) } else { Batch::new().sync().0 });
            session.wire.send(&sent).await;
            let mut frames: Vec<Frame> = Vec::new();
            if is_last {
                frames.extend(session.wire.until_closed().await);
            } else {
                for _ in 0..=readies {
                    frames.extend(session.wire.until_ready().await);
                }
                readies += 1;
            }
            let strange = frames.iter().find(|frame| !ANSWERS.contains(&frame.tag));
            assert!(strange.is_none(), "session {number}: {strange:?}");
            // Whoever is turned out has not asked for all of what was to come.
            let ready = frames.iter().filter(|frame| frame.tag == b'Z').count();
            assert!(ready == readies || is_last && ready <= readies, "session {number}: {ready}");
            if number % 20 == 0 {
                assert_eq!(watcher.rows("SHOW STATE").await.len(), 3, "session {number}");
                assert_eq!(client.value("select 1").await, "1", "session {number}");
            }
        }
        assert_eq!(watcher.rows("SHOW POOLS").await.len(), 2);
        let log = rig.proxy.process().log();
        assert!(!log.contains("panicked"), "{log}");
    });
}
