//! A head that takes its time: when it counts as stalled, and what becomes of its kind.

use std::time::Duration;

use super::known::ask_all;
use super::seen::refused_for;
use super::{LOCKED, Shared, all_have_their_own, nap, settings, stuck};
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
use crate::harness::settings::Settings;
use crate::harness::time::run;

/// Nothing but a stall keeps a statement here from sharing, however long it has taken.
fn patient() -> Settings {
    settings()
        .set("multiplex_max_service_time", Duration::from_secs(10))
        .set("multiplex_functions", ["pg_sleep"])
}

/// Postgres keeps the time: by its answer, a head has stalled or not.
#[test]
fn a_head_stalls_after_ten_times_what_was_expected_and_50_ms_at_least() {
    run(async {
        for (usual, takes, stalls) in [(0.0, 3.0, true), (0.06, 3.0, true), (0.2, 0.6, false)] {
            let mut shared = Shared::start(patient()).await;
            let mut clients = shared.clients(2).await;
            shared.learn(&mut clients[0], || nap(usual)).await;
            shared.hold().await;
            shared.queue(&mut clients[0], nap(takes)).await;
            shared.queue(&mut clients[1], nap(usual)).await;
            shared.let_go().await;
            clients[0].answer().await;
            let has_stalled = shared.number("stall_count").await > 0;
            assert_eq!(has_stalled, stalls, "{takes} s, and {usual} as a rule");
            clients[1].answer().await;
            assert_eq!(shared.shared().await, 2);
        }
    });
}

#[test]
fn a_kind_that_has_stalled_proves_itself_anew_and_twice_as_often_the_next_time() {
    run(async {
        let http = Port::take();
        let settings = patient().set("http_addr", http.address().as_str());
        let mut shared = Shared::start(settings).await;
        let mut clients = shared.clients(3).await;
        let locked = || Batch::new().query(LOCKED);
        for (times, probation) in [(1, 5), (2, 10)] {
            let lock = stuck(&mut shared, &mut clients).await;
            shared.becomes("stall_count", times).await;
            lock.batch_execute("commit").await.expect("it is over");
            assert_eq!(clients[0].answer().await[1], "D(9)");
            all_have_their_own(&mut clients[1..]).await;
            for n in 1..=probation {
                let before = refused_for(&http, "slow").await;
                shared.hold().await;
                shared.queue(&mut clients[0], locked()).await;
                shared.let_go().await;
                assert_eq!(clients[0].answer().await[1], "D(9)");
                let more = refused_for(&http, "slow").await - before;
                assert_eq!(more, 1, "{n} of {probation}");
            }
            assert_eq!(ask_all(&mut shared, &mut clients, locked).await, 3, "{probation}");
        }
    });
}
