//! Several answers of a shared server are waited for at once: what comes of it if they are shorter than expected,
//! and that nothing is left of it behind the last.

use std::time::Duration;

use super::{Shared, answers, settings};
use crate::harness::frames::Batch;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Client;

/// All clients of a round. Nothing is waited for before so many are answered, `FIRST` of them.
const CLIENTS: usize = 14;
const FIRST: usize = 8;

const LONG: usize = 1_000;

/// What the log has each time that answers were late.
const LATE: &str = "had to wait for more";

/// Each answer shows whose it is, however long it is. `kind`: of those with another nothing is known.
fn text(kind: usize, n: usize, len: usize) -> Batch {
    Batch::new().query(&format!("select {n} as n{kind}, repeat('x', {len})"))
}

/// It holds the others up, so that they are waited for; not for long, and as a rule for no time.
fn pause(kind: usize, n: usize, s: f64) -> Batch {
    Batch::new().query(&format!("select {n} as n{kind}, 'x', pg_sleep({s:.3})"))
}

fn patient() -> Settings {
    settings()
        .set("multiplex_max_service_time", Duration::from_secs(10))
        .set("multiplex_functions", ["pg_sleep"])
        .set("multiplex_depth", 16)
        .set("log_level", "debug")
}

/// All of them ask and share, if nothing stalls; each has its own answer.
async fn round(shared: &mut Shared, clients: &mut [Client], batch: impl Fn(usize) -> Batch) {
    for (n, answer) in answers(shared, clients, batch).await.into_iter().enumerate() {
        assert!(answer[1].starts_with(&format!("D({n},")), "{n}: {answer:?}");
        assert_eq!(answer[3], "Z(I)");
    }
}

/// Has it learned that the answers of a kind are long, and how long those of a pause are.
async fn learn(shared: &mut Shared, clients: &mut [Client], kind: usize) {
    shared.learn(&mut clients[0], || text(kind, 0, LONG)).await;
    shared.learn(&mut clients[0], || pause(kind, 0, 0.0)).await;
    for _ in 0..2 {
        round(shared, clients, |n| text(kind, n, LONG)).await;
        round(shared, clients, |n| pause(kind, n, 0.0)).await;
    }
}

/// Behind those that have to be answered first: one that takes a moment, and behind it answers of these lengths.
async fn waited_for(
    shared: &mut Shared,
    clients: &mut [Client],
    kind: usize,
    len: impl Fn(usize) -> usize,
) {
    round(shared, clients, |n| match n {
        ..FIRST => text(kind, n, LONG),
        FIRST => pause(kind, n, 0.002),
        _ => text(kind, n, len(n)),
    })
    .await;
}

/// How often the log says that answers were late, by now: the order behind them is in there. `ordered`: how often
/// that was.
async fn late(shared: &mut Shared, ordered: &mut usize) -> usize {
    *ordered += 1;
    shared.console.order("RELOAD").await;
    eventually("it is in the log", async || {
        let log = shared.rig.proxy.process().log();
        let is_there = log.matches("console: RELOAD").count() == *ordered;
        is_there.then(|| log.matches(LATE).count())
    })
    .await
}

/// They are waited for if they are expected to be there soon, which is up to the machine.
#[test]
fn answers_that_are_shorter_than_expected_are_late_once() {
    run(async {
        let mut shared = Shared::start(patient()).await;
        let (mut clients, mut ordered) = (shared.clients(CLIENTS).await, 0);
        for kind in 0.. {
            learn(&mut shared, &mut clients, kind).await;
            let before = late(&mut shared, &mut ordered).await;
            waited_for(&mut shared, &mut clients, kind, |_| 1).await;
            let once = late(&mut shared, &mut ordered).await;
            if once == before {
                continue;
            }
            for _ in 0..2 {
                waited_for(&mut shared, &mut clients, kind, |_| 1).await;
            }
            assert_eq!(late(&mut shared, &mut ordered).await, once, "of the same kind");
            break;
        }
    });
}

/// One that is shorter than expected has the others wait for the last of them: with that one the server is given
/// back, which waits for more still.
#[test]
fn a_server_that_was_shared_answers_the_next_at_once() {
    run(async {
        let mut shared = Shared::start(patient()).await;
        let mut clients = shared.clients(CLIENTS).await;
        for kind in 0..3 {
            learn(&mut shared, &mut clients, kind).await;
            let len = |n| if n == FIRST + 2 { 1 } else { LONG };
            waited_for(&mut shared, &mut clients, kind, len).await;
            let value = within(Duration::from_secs(10), clients[0].value("select 'well'")).await;
            assert_eq!(value.as_deref(), Some("well"));
        }
    });
}
