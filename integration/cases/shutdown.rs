//! How the process ends: nobody new, a transaction at a time, and not for ever.

use std::time::Duration;

use rustix::process::Signal;

use super::http::get;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, eventually, run, throughout};
use crate::harness::wire::Client;

const TOLD: &str = "E(FATAL 57P01)";

/// Waits until the proxy has ended, and answers whether it did so successfully.
async fn end_of(rig: &mut Rig) -> bool {
    eventually("the proxy has ended", async || rig.proxy.ended()).await.success()
}

async fn last_words(client: &mut Client) -> String {
    let frames = client.wire.until_closed().await;
    assert_eq!(frames.len(), 1, "nothing but the reason: {frames:?}");
    assert_eq!(
        frames[0].message(),
        "terminating connection due to administrator command",
        "SQLAlchemy looks for these words"
    );
    frames[0].shown()
}

#[test]
fn a_transaction_ends_before_its_session_does() {
    run(async {
        let mut rig = Rig::start_default().await;
        let (mut idle, mut busy) = (rig.client().await, rig.client().await);
        busy.query("begin; create table kept (n int); insert into kept values (1)").await;
        rig.proxy.process().signal(Signal::INT);
        assert_eq!(last_words(&mut idle).await, TOLD);
        // The other goes on, and what it commits is there.
        assert_eq!(busy.value("select n from kept").await, "1");
        assert_eq!(busy.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(last_words(&mut busy).await, TOLD);
        assert!(end_of(&mut rig).await);
        let mut direct = Client::connect(&rig.postgres.address()).await;
        assert_eq!(direct.value("select n from kept").await, "1");
        let servers = "select count(*) from pg_stat_activity \
                       where backend_type = 'client backend' and pid <> pg_backend_pid()";
        eventually("no server is left", async || {
            (direct.value(servers).await == "0").then_some(())
        })
        .await;
    });
}

#[test]
fn while_it_drains_it_says_so_and_lets_nobody_in() {
    run(async {
        let http = Port::take();
        let address = format!("127.0.0.1:{}", http.number);
        let settings = Settings::new().set("admin_users", "app").set("http_addr", address.as_str());
        let mut rig = Rig::start(settings).await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        let console = Login::to(rig.address()).database("pgweir");
        rig.proxy.process().signal(Signal::INT);
        eventually("it is not ready", async || {
            (get(&http, "/readyz").await.0 == 503).then_some(())
        })
        .await;
        assert_eq!(get(&http, "/healthz").await.0, 200, "it is not dead, either");
        let error = eventually("newcomers are refused", async || {
            Login::to(rig.address()).attempt().await.err()?.frames.pop()
        })
        .await;
        assert_eq!(error.shown(), "E(FATAL 57P03)");
        assert_eq!(error.message(), "the pooler is shutting down");
        let mut console = console.connect().await;
        assert!(console.value("show version").await.starts_with("PgBouncer "));
        busy.query("rollback").await;
        assert_eq!(last_words(&mut busy).await, TOLD);
        assert!(end_of(&mut rig).await);
    });
}

/// In the middle of a batch without its `Sync`, nothing is torn.
#[test]
fn a_batch_that_has_begun_is_answered_first() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut client = rig.client().await;
        let (mut slow, sleeping) = (rig.client().await, "select pg_sleep(0.3)");
        slow.send(Batch::new().query(sleeping).query("select 2")).await;
        client.send(Batch::new().parse("", "select 1").flush()).await;
        client.wire.until(b'1').await;
        rig.proxy.process().signal(Signal::INT);
        assert_eq!(slow.answer().await.last().expect("an answer"), "Z(I)");
        assert_eq!(slow.answer().await, ["T(?column?)", "D(2)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(last_words(&mut slow).await, TOLD);
        let rest = Batch::new().bind("", &[]).execute().sync();
        assert_eq!(client.ask(rest).await, ["2", "D(1)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(last_words(&mut client).await, TOLD);
        assert!(end_of(&mut rig).await);
    });
}

#[test]
fn clients_are_told_bit_by_bit() {
    run(async {
        let settings = Settings::new().set("drain_time", Duration::from_secs(2));
        let mut rig = Rig::start(settings).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(rig.client().await);
        }
        let watch = Watch::start();
        rig.proxy.process().signal(Signal::TERM);
        let (mut first, mut last) = (clients.remove(0), clients.pop().expect("twenty came"));
        last_words(&mut first).await;
        let early = watch.elapsed();
        // Those whose turn is later go on meanwhile.
        assert_eq!(last.value("select 1").await, "1");
        last_words(&mut last).await;
        let late = watch.elapsed();
        assert!(late >= early + Duration::from_secs(1), "{early:?} and {late:?}");
        assert!(end_of(&mut rig).await);
    });
}

#[test]
fn who_does_not_come_to_an_end_is_cut_off() {
    run(async {
        let settings = Settings::new().set("drain_timeout", Duration::from_millis(300));
        let mut rig = Rig::start(settings).await;
        let mut client = rig.client().await;
        client.query("begin").await;
        rig.proxy.process().signal(Signal::INT);
        assert_eq!(last_words(&mut client).await, TOLD);
        assert!(end_of(&mut rig).await);
    });
}

#[test]
fn who_asks_twice_does_not_want_to_wait() {
    run(async {
        let mut rig = Rig::start_default().await;
        let (mut waiting, mut running) = (rig.client().await, rig.client().await);
        waiting.query("begin").await;
        running.send(Batch::new().query("select pg_sleep(60)")).await;
        let process = rig.proxy.process();
        process.signal(Signal::TERM);
        eventually("it has heard", async || process.log().contains("SIGTERM").then_some(())).await;
        process.signal(Signal::TERM);
        assert_eq!(last_words(&mut waiting).await, TOLD);
        assert_eq!(last_words(&mut running).await, TOLD);
        assert!(end_of(&mut rig).await);
        // What ran was cancelled: it would keep its server for a minute.
        let mut direct = Client::connect(&rig.postgres.address()).await;
        let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        eventually("nothing runs any more", async || {
            (direct.value(asleep).await == "0").then_some(())
        })
        .await;
    });
}

/// They wait for a `RESUME` that does not come any more.
#[test]
fn who_waits_in_a_pause_leaves_at_a_shutdown() {
    run(async {
        for how in ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"] {
            let settings = with_console(Settings::new())
                .set("drain_time", Duration::from_secs(1))
                .set("drain_timeout", Duration::from_mins(5));
            let mut rig = Rig::start(settings).await;
            let mut waiting = rig.client().await;
            let mut console = Console::open(&rig).await;
            console.order("PAUSE").await;
            waiting.send(Batch::new().query("select 1")).await;
            eventually("it waits", async || {
                let pool = console.row("SHOW POOLS", "app").await?;
                (pool["cl_waiting"] == "1").then_some(())
            })
            .await;
            console.order(&format!("SHUTDOWN {how}")).await;
            let told = shown(&waiting.wire.until_closed().await);
            assert_eq!(told.last().map(String::as_str), Some(TOLD));
            assert!(!told.contains(&"Z(I)".to_owned()), "{told:?}");
            assert!(end_of(&mut rig).await);
        }
    });
}

/// The same, the other way round.
#[test]
fn who_waits_at_a_shutdown_leaves_at_a_pause() {
    run(async {
        let settings = with_console(Settings::new())
            .pool_size(1)
            .set("drain_timeout", Duration::from_mins(5))
            // Nothing else wakes it up.
            .set("query_wait_notify", 0)
            .set("query_wait_timeout", 0);
        let mut rig = Rig::start(settings).await;
        let (mut holder, mut waiting) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        waiting.send(Batch::new().query("select 1")).await;
        let mut console = Console::open(&rig).await;
        eventually("it waits", async || {
            let pool = console.row("SHOW POOLS", "app").await?;
            (pool["cl_waiting"] == "1").then_some(())
        })
        .await;
        let mut idle = rig.client().await;
        console.order("SHUTDOWN WAIT_FOR_SERVERS").await;
        // Told after the others.
        assert_eq!(last_words(&mut idle).await, TOLD);
        // It may be served still. Nor is there anything left that wakes it up, of its login or before.
        throughout(Duration::from_millis(1_500), "it waits", async || {
            let pool = console.row("SHOW POOLS", "app").await;
            pool.is_some_and(|pool| pool["cl_waiting"] == "1")
        })
        .await;
        console.begin("PAUSE").await;
        let told = shown(&waiting.wire.until_closed().await);
        assert_eq!(told.last().map(String::as_str), Some(TOLD));
        assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert!(end_of(&mut rig).await);
    });
}

#[test]
fn sessions_of_the_console_are_told_at_the_end() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        let mut console = Login::to(rig.address()).database("pgweir").connect().await;
        let mut waiting = Login::to(rig.address()).database("pgweir").connect().await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        waiting.send(Batch::new().query("PAUSE")).await;
        eventually("it is paused", async || {
            let state = console.query("SHOW STATE").await;
            state.contains(&"D(paused,yes)".to_owned()).then_some(())
        })
        .await;
        rig.proxy.process().signal(Signal::INT);
        assert_eq!(busy.value("select 1").await, "1");
        assert!(console.query("SHOW LISTS").await.len() > 2, "it is there until the end");
        busy.query("commit").await;
        assert_eq!(last_words(&mut busy).await, TOLD);
        assert_eq!(last_words(&mut console).await, TOLD);
        assert!(end_of(&mut rig).await);
        let log = rig.proxy.process().log();
        assert!(log.lines().any(|line| line.ends_with("the process ends")), "{log}");
        assert!(
            log.contains("role=\"admin\"") && log.contains("how=\"wait_for_servers\""),
            "{log}"
        );
    });
}
