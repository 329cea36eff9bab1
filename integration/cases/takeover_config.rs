//! Takeovers by a process that is configured otherwise, and such that meet a reload.

use std::time::Duration;

use super::reload::with_passwords;
use super::takeover::end_of;
use super::takeover_faults::runs;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::process::Process;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Client;

const PID: &str = "select pg_backend_pid()";

/// Another process takes over, with these settings.
fn replace_with(rig: &mut Rig, settings: &Settings) -> Process {
    rig.configure(settings);
    rig.proxy.replace()
}

/// In session mode a client keeps its server from its first request there, in transaction mode no longer
/// than its transaction.
#[test]
fn another_pool_mode_holds_from_the_next_request() {
    run(async {
        let settings = with_console(Settings::new().pool_size(1));
        let mut rig = Rig::start(settings.clone()).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        assert_eq!(first.value(PID).await, second.value(PID).await);
        let old = replace_with(&mut rig, &settings.clone().pool_mode("session"));
        end_of(old).await;
        let pid = first.value(PID).await;
        second.send(Batch::new().query(PID)).await;
        let answer = within(Duration::from_millis(200), second.wire.try_frame()).await;
        assert!(answer.is_none(), "{answer:?}");
        // And back: who keeps a server stays with the process that lent it until it leaves.
        let mut old = replace_with(&mut rig, &settings);
        runs(&rig).await;
        assert_ne!(second.answer().await[1], format!("D({pid})"));
        assert_eq!(first.value(PID).await, pid);
        assert!(old.ended().is_none());
        drop(first);
        end_of(old).await;
        let mut third = rig.client().await;
        second.query("begin; rollback").await;
        assert_eq!(third.value(PID).await, second.value(PID).await);
    });
}

/// A transaction that has begun ends under the terms it began under; the client's next one ends the session.
#[test]
fn in_statement_mode_there_are_no_transactions_any_more() {
    run(async {
        let settings = Settings::new().pool_size(2);
        let mut rig = Rig::start(settings.clone()).await;
        let (mut idle, mut open) = (rig.client().await, rig.client().await);
        open.query("begin").await;
        let old = replace_with(&mut rig, &settings.pool_mode("statement"));
        runs(&rig).await;
        assert_eq!(open.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        end_of(old).await;
        for client in [&mut idle, &mut open] {
            assert_eq!(client.value("select 1").await, "1");
            client.send(Batch::new().query("begin")).await;
            let told = shown(&client.wire.until_closed().await);
            assert_eq!(told.last().map(String::as_str), Some("E(FATAL 0A000)"));
        }
    });
}

/// A client stays in its class if there is one of that name, whatever its limits are now; otherwise the rules
/// say which it is in.
#[test]
fn classes_may_be_others() {
    run(async {
        let batch =
            |limit: u32| format!("match = {{ application_name = 'etl' }}\nmax_in_flight = {limit}");
        let settings = with_console(Settings::new().pool_size(4));
        let mut rig = Rig::start(settings.clone().class("batch", &batch(3))).await;
        let etl = Login::to(rig.address()).with("application_name", "etl");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(etl.connect().await);
        }
        let old = replace_with(&mut rig, &settings.clone().class("batch", &batch(1)));
        end_of(old).await;
        let mut console = Console::open(&rig).await;
        clients[0].query("begin").await;
        clients[1].send(Batch::new().query("select 1")).await;
        console.wait_for("batch", "queued", 1).await;
        assert_eq!(console.number("batch", "max_in_flight").await, 1);
        clients[0].query("commit").await;
        assert_eq!(clients[1].answer().await[1], "D(1)");
        // It is called otherwise; what it was called is nobody's.
        let old = replace_with(&mut rig, &settings.clone().class("loads", &batch(2)));
        end_of(old).await;
        let mut console = Console::open(&rig).await;
        assert_eq!(clients[2].value("select 2").await, "2");
        assert_eq!(console.number("loads", "clients").await, 3);
        assert_eq!(console.text("batch", "clients").await, None);
        // And none is left.
        let old = replace_with(&mut rig, &settings);
        end_of(old).await;
        assert_eq!(clients[2].value("select 3").await, "3");
        assert_eq!(Console::open(&rig).await.text("loads", "clients").await, None);
    });
}

/// As at a reload: at once if they are idle, otherwise when their transaction is over.
#[test]
fn who_is_not_configured_any_more_is_told_so() {
    run(async {
        let mut rig = Rig::start(with_passwords()).await;
        let text = rig.proxy.written();
        let without = |section: &str| {
            let (before, after) = text.split_once(section).expect("it is there");
            let rest = after.split_once("\n[").map_or("", |(_, rest)| rest);
            format!("{before}\n[{rest}")
        };
        let login = Login::to(rig.address());
        for (section, gone) in [
            ("[databases.second]", login.clone().database("second")),
            ("[users.other]", login.clone().user("other", "other-secret")),
        ] {
            let (idle, mut busy) = (gone.connect().await, gone.connect().await);
            busy.query("begin").await;
            let mut stays = login.connect().await;
            rig.proxy.rewrite(&without(section));
            let old = rig.proxy.replace();
            runs(&rig).await;
            assert_told(idle).await;
            assert_eq!(busy.value("select 1").await, "1", "its transaction goes on");
            assert_eq!(busy.query("commit").await, ["C(COMMIT)", "Z(I)"]);
            assert_told(busy).await;
            end_of(old).await;
            assert_eq!(stays.value("select 1").await, "1");
            assert!(gone.attempt().await.is_err());
            rig.proxy.rewrite(&text);
            let old = rig.proxy.replace();
            end_of(old).await;
            assert_eq!(gone.connect().await.value("select 1").await, "1");
        }
    });
}

async fn assert_told(mut client: Client) {
    let frames = client.wire.until_closed().await;
    assert_eq!(shown(&frames), ["E(FATAL 57P01)"]);
    assert_eq!(frames[0].field(b'R').as_deref(), Some("pooler_account_removed"));
}

/// Whichever process hears the last `RELOAD`, it holds when all is over; and no client notices any of it.
#[test]
fn a_reload_in_the_middle_is_not_forgotten() {
    run(async {
        let settings = with_console(Settings::new());
        let mut rig = Rig::start(settings.clone()).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(rig.client().await);
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let busy = tokio::spawn(async move {
            let mut asked = 0;
            while !*stopped.borrow() {
                for client in &mut clients {
                    assert_eq!(client.value("select 1").await, "1");
                    asked += 1;
                }
            }
            asked
        });
        for size in 6..16 {
            let mut console = Login::to(rig.address()).database("pgweir").connect().await;
            let old = rig.proxy.replace();
            // The next one has read the file by now, or not.
            if size % 2 == 0 {
                runs(&rig).await;
            }
            rig.configure(&settings.clone().set("default_pool_size", size));
            console.send(Batch::new().query("RELOAD")).await;
            let is_heard = is_done(&mut console).await;
            let last = settled(&mut rig, old).await;
            if is_heard {
                let (value, _) = Console::open(&rig).await.setting("default_pool_size").await;
                assert_eq!(value, size.to_string(), "{last}");
            }
        }
        stop.send_replace(true);
        assert!(busy.await.expect("nobody noticed") > 0);
    });
}

/// Whether a command was done. It may end with its process, or be refused.
async fn is_done(console: &mut Client) -> bool {
    loop {
        match console.wire.try_frame().await {
            Ok(Some(frame)) if frame.tag == b'C' => return true,
            Ok(Some(frame)) if frame.tag != b'E' => {}
            _ => return false,
        }
    }
}

/// Waits until one of two processes is left, and has that be the rig's. Answers with which it is.
async fn settled(rig: &mut Rig, old: Process) -> &'static str {
    let mut old = Some(old);
    eventually("one of them is left", async || {
        if old.as_mut()?.ended().is_some() {
            return Some("the next one");
        }
        rig.proxy.ended()?;
        rig.proxy.put_back(old.take()?);
        Some("the old one")
    })
    .await
}
