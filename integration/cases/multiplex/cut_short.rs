//! A session that ends in the middle of an answer: what comes behind half a message would be read as its rest.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{Shared, number, settings};
use crate::harness::frames::Batch;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

/// So many bytes of each row are its value.
const VALUE: usize = 300;

/// Rows of which the hundredth takes its time. By then 24 KiB of those before it have left Postgres, which end
/// within a row that lacks fewer bytes than any error has.
fn rows(count: usize, nap: usize) -> Batch {
    Batch::new().query(&format!(
        "select case when g = 100 then pg_sleep({nap})::text else repeat('x', {VALUE}) end \
         from generate_series(1, {count}) as gg(g)"
    ))
}

/// One is in the middle of its answer when its session ends; of that it has the beginning, and nothing else.
async fn nothing_is_behind_half_a_message(settings: Settings, end: impl AsyncFn(&mut Shared)) {
    for (multiplex, aboard) in [("auto", 2), ("off", 0)] {
        let settings = settings.clone().set("multiplex", multiplex);
        let mut shared = Shared::start(settings.set("multiplex_functions", ["pg_sleep"])).await;
        let mut clients = shared.clients(2).await;
        shared.learn(&mut clients[0], || rows(1, 0)).await;
        shared.learn(&mut clients[1], || number(0)).await;
        shared.hold().await;
        shared.queue(&mut clients[0], rows(200, 60)).await;
        shared.queue(&mut clients[1], number(0)).await;
        shared.let_go().await;
        let client = &mut clients[0];
        assert_eq!(client.wire.frame().await.tag, b'T');
        let row = client.wire.frame().await;
        for _ in 0..50 {
            assert_eq!(client.wire.frame().await, row, "{multiplex}");
        }
        shared.becomes("cl_riding", aboard).await;
        end(&mut shared).await;
        let rest = client.wire.bytes_until_closed().await;
        let length = u32::try_from(row.body.len() + 4).expect("a short row").to_be_bytes();
        let row = [&[row.tag][..], &length, &row.body].concat();
        let (mut rows, half) = (rest.chunks_exact(row.len()), rest.len() % row.len());
        assert!(rows.all(|it| it == row), "{multiplex}: {:?}", String::from_utf8_lossy(&rest));
        let end = &rest[rest.len() - half..];
        assert!(
            half > 0 && row.starts_with(end),
            "{multiplex}: {:?}",
            String::from_utf8_lossy(end)
        );
    }
}

#[test]
fn an_answer_is_cut_short_by_a_server_that_is_lost() {
    run(async {
        Box::pin(nothing_is_behind_half_a_message(settings(), async |shared: &mut Shared| {
            // It says nothing itself.
            let naps =
                "select coalesce(max(pid), 0) from pg_stat_activity where wait_event = 'PgSleep'";
            let pid = eventually("it sleeps", async || {
                Some(shared.rig.postgres.value(naps).await).filter(|pid| pid != "0")
            })
            .await;
            let killed = Command::new("kill").args(["-9", &pid]).status();
            assert!(killed.expect("there is such a program").success());
        }))
        .await;
    });
}

#[test]
fn an_answer_is_cut_short_by_kill() {
    run(async {
        Box::pin(nothing_is_behind_half_a_message(settings(), async |shared: &mut Shared| {
            shared.console.order("KILL app").await;
        }))
        .await;
    });
}

#[test]
fn an_answer_is_cut_short_by_shutdown() {
    run(async {
        let settings = settings().set("drain_timeout", Duration::from_secs(1));
        Box::pin(nothing_is_behind_half_a_message(settings, async |shared: &mut Shared| {
            shared.rig.proxy.process().signal(Signal::INT);
        }))
        .await;
    });
}

#[test]
fn an_answer_is_cut_short_by_limits() {
    run(async {
        for limit in ["query_timeout", "transaction_timeout"] {
            let settings = settings().set(limit, Duration::from_secs(2));
            Box::pin(nothing_is_behind_half_a_message(settings, async |_: &mut Shared| {})).await;
        }
    });
}
