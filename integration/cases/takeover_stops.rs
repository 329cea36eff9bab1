//! What operators have stopped when another process takes over, and what they stop and let go on meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::takeover::end_of;
use super::takeover_faults::{HELLO, READY, pretender, runs, say};
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::process::Process;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::{Client, Wire};

async fn rig() -> Rig {
    Rig::start(with_console(Settings::new().pool_size(2))).await
}

/// Another process takes over, and may not get everybody so far. Newcomers are there from here on.
async fn handing_over(rig: &mut Rig) -> Process {
    let old = rig.proxy.replace();
    runs(rig).await;
    eventually("it hands over", async || old.log().contains("handing over").then_some(())).await;
    old
}

async fn is_silent(client: &mut Client) {
    let answer = within(Duration::from_millis(100), client.wire.try_frame()).await;
    assert!(answer.is_none(), "{answer:?}");
}

async fn state(console: &mut Console, name: &str) -> String {
    let mut row = console.row("SHOW STATE", name).await.expect("a state");
    row.remove("value").expect("a column")
}

/// Those who can move rest there, those who cannot rest where they are, and so do logins; until RESUME.
#[test]
fn a_suspend_holds_in_the_next_process() {
    run(async {
        let mut rig = rig().await;
        // Accepted by the old process, and not a client for long.
        let wire = Wire::connect(rig.address()).await;
        let (mut idle, mut open) = (rig.client().await, rig.client().await);
        open.query("begin").await;
        Console::open(&rig).await.order("SUSPEND").await;
        idle.send(Batch::new().query("select 1")).await;
        open.send(Batch::new().query("select 2; commit")).await;
        let old = handing_over(&mut rig).await;
        let mut console = Console::open(&rig).await;
        assert_eq!(state(&mut console, "suspended").await, "yes");
        let login = Login::to(rig.address());
        let (old_login, new_login) = (login.clone(), login);
        let in_old = tokio::spawn(async move {
            old_login.attempt_over(wire).await.expect("it is let in").value("select 3").await
        });
        let in_new = tokio::spawn(async move { new_login.connect().await.value("select 4").await });
        is_silent(&mut idle).await;
        is_silent(&mut open).await;
        assert!(!in_old.is_finished() && !in_new.is_finished());
        console.order("RESUME").await;
        assert_eq!(idle.answer().await[1], "D(1)");
        assert_eq!(open.answer().await[1], "D(2)");
        assert_eq!(in_old.await.expect("it is served"), "3");
        assert_eq!(in_new.await.expect("it is served"), "4");
        end_of(old).await;
        assert_eq!(open.value("select 5").await, "5");
        assert_eq!(state(&mut console, "suspended").await, "no");
    });
}

#[test]
fn a_suspend_holds_where_the_next_process_dies() {
    run(async {
        let mut rig = rig().await;
        let mut open = rig.client().await;
        open.query("begin").await;
        let mut console = Console::open(&rig).await;
        console.order("SUSPEND").await;
        let old = handing_over(&mut rig).await;
        rig.proxy.put_back(old).signal_family(Signal::KILL);
        eventually("the old one goes on", async || {
            rig.proxy.process().log().contains("this one goes on").then_some(())
        })
        .await;
        open.send(Batch::new().query("select 1")).await;
        is_silent(&mut open).await;
        assert_eq!(state(&mut console, "suspended").await, "yes");
        console.order("RESUME").await;
        assert_eq!(open.answer().await[1], "D(1)");
    });
}

/// It has asked for what only a server knows, and its pool lends none.
#[test]
fn a_login_that_waits_in_a_paused_pool_goes_on_after_a_resume_there() {
    run(async {
        let mut rig = rig().await;
        assert_eq!(rig.client().await.value("select 1").await, "1");
        let mut console = Console::open(&rig).await;
        console.order("PAUSE").await;
        let login = Login::to(rig.address()).with("extra_float_digits", "2");
        let coming = tokio::spawn(async move {
            let mut client = login.connect().await;
            client.value("show extra_float_digits").await
        });
        eventually("it waits", async || {
            let waits = console.row("SHOW POOLS", "app").await?;
            (waits["cl_waiting"] == "1").then_some(())
        })
        .await;
        let old = handing_over(&mut rig).await;
        let mut console = Console::open(&rig).await;
        assert_eq!(state(&mut console, "paused").await, "yes");
        assert!(!coming.is_finished());
        console.order("RESUME").await;
        assert_eq!(coming.await.expect("it is served"), "2");
        end_of(old).await;
    });
}

/// Whoever is still at the old one's console is heard.
#[test]
fn what_is_said_at_the_old_console_holds_in_the_next_process() {
    run(async {
        let mut rig = rig().await;
        let (mut moved, mut open) = (rig.client().await, rig.client().await);
        open.query("begin").await;
        let mut console = Console::open(&rig).await;
        let old = handing_over(&mut rig).await;
        let mut next = Console::open(&rig).await;
        for (command, now) in [("SUSPEND", "yes"), ("RESUME", "no")] {
            console.order(command).await;
            let is_so = async || (state(&mut next, "suspended").await == now).then_some(());
            eventually(command, is_so).await;
        }
        console.order("DISABLE second").await;
        console.begin("PAUSE").await;
        eventually("it is heard", async || {
            (state(&mut next, "paused").await == "yes").then_some(())
        })
        .await;
        moved.send(Batch::new().query("select 1")).await;
        is_silent(&mut moved).await;
        next.order("RESUME").await;
        assert_eq!(moved.answer().await[1], "D(1)");
        // Somebody else has ended what was begun there.
        console.answered().await;
        let second = Login::to(rig.address()).database("second").error().await;
        assert!(second.message().contains("disabled"), "{second:?}");
        drop(open);
        end_of(old).await;
    });
}

/// It has read the files before, and would go back to what they said.
#[test]
fn nobody_takes_over_what_has_changed_since_it_asked() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let mut peer = pretender(&rig, &[HELLO]).await;
        eventually("it is asked", async || {
            rig.proxy.process().log().contains("wants to take over").then_some(())
        })
        .await;
        rig.configure(&settings.set("default_pool_size", 7));
        console.order("RELOAD").await;
        say(&mut peer, &[READY]).await;
        let mut told = Vec::new();
        // Cut off with what it was sent and did not read.
        let _cut = peer.read_to_end(&mut told).await;
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("configuration has changed meanwhile"), "{told}");
        assert!(!rig.proxy.process().log().contains("handing over"));
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}
