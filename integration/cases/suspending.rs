//! SUSPEND: everybody rests, wherever they are, until RESUME.

use std::pin::pin;
use std::time::Duration;

use rustix::process::Signal;

use super::takeover::end_of;
use super::takeover_faults::hands_over;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Client;

async fn console(rig: &Rig) -> Client {
    Login::to(rig.address()).database("pgweir").connect().await
}

/// Much more than sockets hold: whoever does not read keeps some of it in the proxy.
const MUCH: &str = "select repeat('x', 1000) from generate_series(1, 100000)";

/// Somebody who has asked for much and takes nothing. Postgres waits now and then while the sockets fill,
/// too: they are full when nothing has come for a while.
async fn stuck(rig: &Rig) -> Client {
    let mut stuck = rig.client().await;
    stuck.send(Batch::new().query(MUCH)).await;
    let mut views = Console::open(rig).await;
    let (mut came, mut seen) = (String::new(), 0);
    eventually("nothing comes any more", async || {
        let waits = rig.postgres.servers("wait_event = 'ClientWrite'").await == 1;
        let so_far = views.row("SHOW STATS", "app").await?.remove("total_sent")?;
        seen = if waits && so_far == came { seen + 1 } else { 0 };
        came = so_far;
        (seen == 20).then_some(())
    })
    .await;
    stuck
}

const STATE: [&str; 3] = ["D(active,no)", "D(paused,no)", "D(suspended,yes)"];

#[test]
fn everybody_rests_where_they_are_and_goes_on_after_a_resume() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(2))).await;
        let mut watcher = console(&rig).await;
        let (mut idle, mut open) = (rig.client().await, rig.client().await);
        let (mut busy, mut waiter) = (rig.client().await, rig.client().await);
        open.query("begin").await;
        busy.send(Batch::new().query("select pg_sleep(0.3)")).await;
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        waiter.send(Batch::new().query("select 3")).await;
        // A query that runs, and one that waits, hold nothing up.
        assert_eq!(watcher.query("SUSPEND").await, ["C(SUSPEND)", "Z(I)"]);
        assert_eq!(watcher.query("SHOW STATE").await[1..4], STATE);
        for command in ["SUSPEND", "PAUSE"] {
            assert_eq!(watcher.error(command).await.message(), "already suspended/paused");
        }
        idle.send(Batch::new().query("select 1")).await;
        open.send(Batch::new().query("select 2")).await;
        let login = Login::to(rig.address());
        let coming = tokio::spawn(async move { login.connect().await.value("select 4").await });
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 0).await;
        for client in [&mut idle, &mut open, &mut busy, &mut waiter] {
            let answer = within(Duration::from_millis(50), client.wire.try_frame()).await;
            assert!(answer.is_none(), "{answer:?}");
        }
        assert!(!coming.is_finished(), "a login waits");
        assert_eq!(watcher.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
        assert_eq!(open.answer().await[1], "D(2)");
        assert_eq!(busy.answer().await.last().map(String::as_str), Some("Z(I)"));
        assert_eq!(waiter.answer().await[1], "D(3)");
        assert_eq!(idle.answer().await[1], "D(1)");
        assert_eq!(coming.await.expect("the login succeeds"), "4");
        assert_eq!(watcher.query("SHOW STATE").await[3], "D(suspended,no)");
        assert_eq!(watcher.error("RESUME").await.message(), "pooler is not paused/suspended");
        // A second one waits for everybody anew; and a signal ends it as well.
        assert_eq!(watcher.query("SUSPEND").await, ["C(SUSPEND)", "Z(I)"]);
        rig.proxy.process().signal(Signal::USR2);
        assert_eq!(open.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}

#[test]
fn a_suspend_that_is_cancelled_is_undone() {
    run(async {
        let settings = with_console(Settings::new().set("suspend_timeout", Duration::from_mins(1)));
        let rig = Rig::start(settings).await;
        let (mut suspending, mut watcher) = (console(&rig).await, console(&rig).await);
        let mut stuck = stuck(&rig).await;
        let mut other = rig.client().await;
        suspending.send(Batch::new().query("SUSPEND")).await;
        eventually("it suspends", async || {
            (watcher.query("SHOW STATE").await[3] == "D(suspended,yes)").then_some(())
        })
        .await;
        other.send(Batch::new().query("select 1")).await;
        suspending.cancel().await;
        assert_eq!(suspending.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        assert_eq!(other.answer().await[1], "D(1)");
        assert_eq!(watcher.query("SHOW STATE").await[3], "D(suspended,no)");
        // Who was held up has lost nothing. Another that is resumed by somebody else says so.
        suspending.send(Batch::new().query("SUSPEND")).await;
        eventually("it suspends", async || {
            (watcher.query("SHOW STATE").await[3] == "D(suspended,yes)").then_some(())
        })
        .await;
        watcher.query("RESUME").await;
        assert_eq!(suspending.answer().await, ["E(ERROR 55000)", "Z(I)"]);
        assert_eq!(stuck.wire.until_ready().await.len(), 100_003);
    });
}

#[test]
fn who_does_not_take_what_was_read_is_ended_after_suspend_timeout() {
    run(async {
        let settings = Settings::new().set("suspend_timeout", Duration::from_millis(100));
        let rig = Rig::start(with_console(settings)).await;
        let mut views = Console::open(&rig).await;
        let mut open = rig.client().await;
        open.query("begin").await;
        let stuck = stuck(&rig).await;
        let id = stuck.pid.to_string();
        let mut watcher = console(&rig).await;
        assert_eq!(watcher.query("SUSPEND").await, ["C(SUSPEND)", "Z(I)"]);
        eventually("it is ended", async || {
            let clients = views.rows("SHOW CLIENTS").await;
            clients.iter().all(|row| row["id"] != id).then_some(())
        })
        .await;
        assert_eq!(watcher.query("SHOW STATE").await[1..4], STATE);
        watcher.query("RESUME").await;
        assert_eq!(open.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}

/// Gives the order, which is not answered before somebody has taken what was read for them.
async fn suspend_waits_for(stuck: &mut Client, console: &mut Client) {
    console.send(Batch::new().query("SUSPEND")).await;
    let mut answer = pin!(console.answer());
    let early = within(Duration::from_millis(300), &mut answer).await;
    assert!(early.is_none(), "it waits: {early:?}");
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            frame = stuck.wire.try_frame() => assert!(frame.is_ok(), "it is not ended"),
        }
    };
    assert_eq!(answer, ["C(SUSPEND)", "Z(I)"]);
}

/// An order at either console is for the clients of both.
#[test]
fn while_another_process_takes_over_a_suspend_waits_for_those_of_both() {
    run(async {
        let settings = with_console(Settings::new().set("suspend_timeout", Duration::from_mins(1)));
        let mut rig = Rig::start(settings).await;
        let (mut kept, mut in_old) = (rig.client().await, stuck(&rig).await);
        kept.query("begin").await;
        let mut at_old = console(&rig).await;
        let old = rig.proxy.replace();
        hands_over(&old).await;
        eventually("newcomers are in the next one", async || {
            let clients = Console::open(&rig).await.rows("SHOW CLIENTS").await;
            clients.iter().all(|client| client["database"] != "app").then_some(())
        })
        .await;
        let mut at_new = console(&rig).await;
        suspend_waits_for(&mut in_old, &mut at_new).await;
        assert_eq!(at_new.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
        drop(in_old);
        rig.postgres.wait_for_servers("wait_event = 'ClientWrite'", 0).await;
        let mut in_new = stuck(&rig).await;
        suspend_waits_for(&mut in_new, &mut at_old).await;
        drop(in_new);
        assert_eq!(at_new.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
        assert_eq!(kept.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        end_of(old).await;
        // Nobody is left to be waited for but its own.
        assert_eq!(at_new.query("SUSPEND").await, ["C(SUSPEND)", "Z(I)"]);
    });
}

/// Who does not take it is ended there, too.
#[test]
fn in_the_process_before_suspend_timeout_holds_as_well() {
    run(async {
        let settings = Settings::new().set("suspend_timeout", Duration::from_millis(100));
        let mut rig = Rig::start(with_console(settings)).await;
        let mut in_old = stuck(&rig).await;
        let old = rig.proxy.replace();
        hands_over(&old).await;
        eventually("the order is given to the next one", async || {
            let mut console = console(&rig).await;
            let answer = console.query("SUSPEND").await;
            rig.proxy.process().log().contains("console: SUSPEND").then_some(answer)
        })
        .await;
        end_of(old).await;
        in_old.wire.until_closed().await;
    });
}
