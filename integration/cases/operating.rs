//! What operators do while clients are in: PAUSE, RESUME, RECONNECT, DISABLE, KILL and the like.

use std::time::Duration;

use rustix::process::Signal;

use super::console::row;
use crate::harness::console::{Console, with_console};
use crate::harness::crowd::{Crowd, unleash_while};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, throughout};
use crate::harness::wire::{Client, cancel, only_error};

const APP: &str = "datname = 'app'";

async fn rig(settings: Settings) -> Rig {
    Rig::start(with_console(settings)).await
}

async fn console(rig: &Rig) -> Client {
    Login::to(rig.address()).database("pgweir").connect().await
}

async fn pool_waits(console: &mut Client, count: &str) {
    eventually("they wait", async || {
        let pool = row(console, "SHOW POOLS", "app").await;
        (pool[3].as_deref() == Some(count)).then_some(())
    })
    .await;
}

/// The value in a column of `SHOW DATABASES`, from the end.
async fn database(console: &mut Client, from_end: usize) -> String {
    let row = row(console, "SHOW DATABASES", "app").await;
    row[row.len() - from_end].clone().expect("a number")
}

#[test]
fn a_pause_waits_for_transactions_and_a_resume_lets_everybody_go_on() {
    run(async {
        let rig = rig(Settings::new()).await;
        let (mut busy, mut other) = (rig.client().await, rig.client().await);
        busy.query("begin").await;
        other.query("select 1").await;
        let (mut pausing, mut watcher) = (console(&rig).await, console(&rig).await);
        pausing.send(Batch::new().query("PAUSE")).await;
        rig.postgres.wait_for_servers(APP, 1).await;
        assert_eq!(row(&mut watcher, "SHOW STATE", "paused").await[1].as_deref(), Some("yes"));
        assert_eq!(row(&mut watcher, "SHOW STATE", "active").await[1].as_deref(), Some("no"));
        assert_eq!(database(&mut watcher, 2).await, "1");
        // The transaction goes on to its end; a query waits.
        assert_eq!(busy.value("select 2").await, "2");
        other.send(Batch::new().query("select 3")).await;
        pool_waits(&mut watcher, "1").await;
        busy.query("commit").await;
        assert_eq!(pausing.answer().await, ["C(PAUSE)", "Z(I)"]);
        // All are closed when it is answered; their backends take a moment to go.
        rig.postgres.wait_for_servers(APP, 0).await;
        busy.send(Batch::new().query("select 4")).await;
        pool_waits(&mut watcher, "2").await;
        // It is answered at once by now, and says so.
        assert_eq!(watcher.error("PAUSE").await.message(), "already suspended/paused");
        assert_eq!(watcher.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
        assert_eq!(other.answer().await, ["T(?column?)", "D(3)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(busy.answer().await, ["T(?column?)", "D(4)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(watcher.error("RESUME").await.message(), "pooler is not paused/suspended");
        assert_eq!(database(&mut watcher, 2).await, "0");
    });
}

#[test]
fn nobody_notices_that_postgres_was_restarted_under_a_pause() {
    run(async {
        let mut rig = rig(Settings::new()).await;
        let login = Login::to(rig.address());
        let crowd = Crowd::new(&login, 20, "select 1", Duration::from_secs(6));
        let crowd = crowd.patience(Duration::from_secs(30));
        let tallies = unleash_while(&[crowd], async || {
            let mut console = console(&rig).await;
            assert_eq!(console.query("PAUSE app").await, ["C(PAUSE)", "Z(I)"]);
            rig.postgres.shut_down();
            rig.postgres.resume().await;
            assert_eq!(console.query("RESUME app").await, ["C(RESUME)", "Z(I)"]);
        })
        .await;
        assert_eq!((tallies[0].refused, tallies[0].given_up), (0, 0));
        assert!(tallies[0].answers.len() > 20, "they went on");
    });
}

#[test]
fn a_pause_that_is_cancelled_or_left_is_undone() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        let (mut pausing, mut watcher) = (console(&rig).await, console(&rig).await);
        for command in ["PAUSE", "PAUSE app"] {
            // A key that is not its own does nothing.
            pausing.send(Batch::new().query(command)).await;
            let paused = async |watcher: &mut Client| database(watcher, 2).await == "1";
            eventually("it pauses", async || paused(&mut watcher).await.then_some(())).await;
            cancel(rig.address(), pausing.pid, &[0; 4]).await;
            cancel(rig.address(), watcher.pid, &watcher.secret).await;
            assert!(paused(&mut watcher).await);
            pausing.cancel().await;
            assert_eq!(pausing.answer().await, ["E(ERROR 57014)", "Z(I)"], "{command}");
            assert!(!paused(&mut watcher).await, "{command}");
            // Of a session that waits for nothing a cancel means nothing.
            pausing.cancel().await;
        }
        pausing.send(Batch::new().query("PAUSE")).await;
        eventually("it pauses", async || (database(&mut watcher, 2).await == "1").then_some(()))
            .await;
        drop(pausing);
        eventually("it is undone", async || (database(&mut watcher, 2).await == "0").then_some(()))
            .await;
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_resume_ends_the_pause_that_another_waits_for() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        let (mut pausing, mut watcher) = (console(&rig).await, console(&rig).await);
        pausing.send(Batch::new().query("PAUSE app")).await;
        eventually("it pauses", async || (database(&mut watcher, 2).await == "1").then_some(()))
            .await;
        let error = watcher.error("RESUME").await;
        assert_eq!(error.message(), "pooler is not paused/suspended", "it has a name");
        watcher.query("RESUME app").await;
        assert_eq!(pausing.answer().await, ["E(ERROR 55000)", "Z(I)"]);
        assert_eq!(busy.value("select 1").await, "1");
        let error = watcher.error("RESUME app").await;
        assert_eq!(error.message(), "database app is not paused");
    });
}

#[test]
fn a_pause_is_of_one_database_also_of_pools_that_come_later() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut early = rig.client().await;
        let mut console = console(&rig).await;
        assert_eq!(console.query("PAUSE app").await, ["C(PAUSE)", "Z(I)"]);
        let second = Login::to(rig.address()).database("second");
        assert_eq!(second.connect().await.value("select 1").await, "1");
        let mut settings = Console::open(&rig).await;
        settings.order("SET query_wait_timeout = '400ms'").await;
        let error = early.error("select 1").await;
        assert_eq!(error.shown(), "E(ERROR 57014)");
        let detail = error.field(b'D').unwrap_or_default();
        assert!(detail.contains("for RESUME: an operator has paused the database"), "{detail}");
        // Nobody knows this pool's settings: the login waits for a server, and says what happened.
        let late = Login::to(rig.address()).user("other", "other-secret");
        let error = late.error().await;
        assert_eq!(
            (error.shown().as_str(), error.message().as_str()),
            ("E(FATAL 57P03)", "the database is paused")
        );
        rig.postgres.wait_for_servers(APP, 0).await;
        settings.order("SET query_wait_timeout = '1min'").await;
        console.query("RESUME app").await;
        assert_eq!(early.value("select 1").await, "1");
        assert_eq!(late.connect().await.value("select 1").await, "1");
    });
}

#[test]
fn signals_pause_and_resume() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        rig.proxy.process().signal(Signal::USR1);
        rig.postgres.wait_for_servers(APP, 0).await;
        let mut console = console(&rig).await;
        client.send(Batch::new().query("select 2")).await;
        pool_waits(&mut console, "1").await;
        rig.proxy.process().signal(Signal::USR2);
        assert_eq!(client.answer().await, ["T(?column?)", "D(2)", "C(SELECT 1)", "Z(I)"]);
        // Twice is no harm.
        rig.proxy.process().signal(Signal::USR2);
        assert_eq!(client.value("select 3").await, "3");
    });
}

const PID: &str = "select pg_backend_pid()";

#[test]
fn reconnect_replaces_servers_and_wait_close_waits_for_it() {
    run(async {
        let rig = rig(Settings::new()).await;
        let (mut busy, mut idle) = (rig.client().await, rig.client().await);
        busy.query("begin").await;
        let old = busy.value(PID).await;
        let idle_before = idle.value(PID).await;
        let (mut waiting, mut watcher) = (console(&rig).await, console(&rig).await);
        assert_eq!(watcher.query("WAIT_CLOSE").await, ["C(WAIT_CLOSE)", "Z(I)"]);
        assert_eq!(watcher.query("RECONNECT app").await, ["C(RECONNECT)", "Z(I)"]);
        assert_ne!(idle.value(PID).await, idle_before, "what was idle is closed at once");
        waiting.send(Batch::new().query("WAIT_CLOSE app")).await;
        assert_eq!(busy.value(PID).await, old, "a transaction keeps its server");
        let still = format!("pid = {old}");
        throughout(Duration::from_millis(200), "it is there", async || {
            rig.postgres.servers(&still).await == 1
        })
        .await;
        busy.query("commit").await;
        assert_eq!(waiting.answer().await, ["C(WAIT_CLOSE)", "Z(I)"]);
        rig.postgres.wait_for_servers(&still, 0).await;
        assert_ne!(busy.value(PID).await, old);
        // Waiting for it can be cancelled, and changes nothing.
        busy.query("begin").await;
        watcher.query("RECONNECT").await;
        waiting.send(Batch::new().query("WAIT_CLOSE")).await;
        eventually("it waits", async || {
            waiting.cancel().await;
            let answer = waiting.wire.until_ready();
            crate::harness::time::within(Duration::from_millis(50), answer).await
        })
        .await;
    });
}

#[test]
fn disabled_databases_let_nobody_new_in() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut client = rig.client().await;
        let mut console = console(&rig).await;
        assert_eq!(console.query("DISABLE app").await, ["C(DISABLE)", "Z(I)"]);
        assert_eq!(database(&mut console, 1).await, "1");
        let error = Login::to(rig.address()).error().await;
        assert_eq!(
            (error.shown().as_str(), error.message().as_str()),
            ("E(FATAL 57P03)", "database \"app\" is disabled")
        );
        assert_eq!(client.value("select 1").await, "1", "who is in goes on");
        let second = Login::to(rig.address()).database("second");
        assert_eq!(second.connect().await.value("select 1").await, "1");
        assert_eq!(console.query("ENABLE app").await, ["C(ENABLE)", "Z(I)"]);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

const KILLED: (&str, &str) = ("E(FATAL 57P01)", "admin forced disconnect");

async fn is_killed(client: &mut Client) {
    let error = only_error(client.wire.until_closed().await);
    assert_eq!((error.shown().as_str(), error.message().as_str()), KILLED);
}

#[test]
fn a_kill_ends_clients_and_servers_at_once_and_newcomers_wait() {
    run(async {
        let rig = rig(Settings::new()).await;
        let (mut idle, mut open, mut running) =
            (rig.client().await, rig.client().await, rig.client().await);
        idle.query("select 1").await;
        open.query("begin").await;
        running.send(Batch::new().query("select pg_sleep(60)")).await;
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        let mut elsewhere = Login::to(rig.address()).database("second").connect().await;
        let mut console = console(&rig).await;
        assert_eq!(console.query("KILL app").await, ["C(KILL)", "Z(I)"]);
        for client in [&mut idle, &mut open, &mut running] {
            is_killed(client).await;
        }
        rig.postgres.wait_for_servers(APP, 0).await;
        assert_eq!(elsewhere.value("select 1").await, "1");
        let mut late = rig.client().await;
        late.send(Batch::new().query("select 2")).await;
        pool_waits(&mut console, "1").await;
        assert_eq!(console.query("RESUME app").await, ["C(RESUME)", "Z(I)"]);
        assert_eq!(late.answer().await, ["T(?column?)", "D(2)", "C(SELECT 1)", "Z(I)"]);
        assert_eq!(console.query("KILL").await, ["C(KILL)", "Z(I)"]);
        is_killed(&mut late).await;
        is_killed(&mut elsewhere).await;
        assert_eq!(console.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
    });
}

#[test]
fn one_client_or_one_server_is_killed() {
    run(async {
        let rig = rig(Settings::new()).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        let mut console = console(&rig).await;
        first.query("begin").await;
        // What a client is told is its process id is its id here.
        let command = format!("KILL_CLIENT {}", first.pid);
        assert_eq!(console.query(&command).await, ["C(KILL_CLIENT)", "Z(I)"]);
        is_killed(&mut first).await;
        eventually("it is gone", async || {
            let error = only_error(console.ask_frames(Batch::new().query(&command)).await);
            (error.message() == "client not found").then_some(())
        })
        .await;
        second.query("begin").await;
        let pid = second.value(PID).await;
        let command = format!("KILL_SERVER {pid}");
        assert_eq!(console.query(&command).await, ["C(KILL_SERVER)", "Z(I)"]);
        is_killed(&mut second).await;
        rig.postgres.wait_for_servers(&format!("pid = {pid}"), 0).await;
        let mut third = rig.client().await;
        let pid = third.value(PID).await;
        eventually("it is idle", async || {
            let pool = row(&mut console, "SHOW POOLS", "app").await;
            (pool[9].as_deref() == Some("1")).then_some(())
        })
        .await;
        console.query(&format!("KILL_SERVER {pid}")).await;
        rig.postgres.wait_for_servers(&format!("pid = {pid}"), 0).await;
        assert_ne!(third.value(PID).await, pid, "of an idle server nobody is told");
    });
}

#[test]
fn what_makes_no_sense_is_told_in_pgbouncers_words() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut console = console(&rig).await;
        for (command, message) in [
            ("DISABLE", "a database is required"),
            ("ENABLE", "a database is required"),
            ("DISABLE nosuch", "no such database: nosuch"),
            ("PAUSE nosuch", "no such database: nosuch"),
            ("RECONNECT nosuch", "no such database: nosuch"),
            ("PAUSE pgbouncer", "cannot pause admin db"),
            ("RESUME pgweir", "cannot resume admin db"),
            ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
            ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
            ("RESUME app", "database app is not paused"),
            ("KILL_CLIENT", "invalid client pointer supplied"),
            ("KILL_CLIENT abc", "invalid client pointer supplied"),
            ("KILL_CLIENT 999999", "client not found"),
            ("KILL_SERVER 1", "server not found"),
            ("RELOAD now", "invalid command 'RELOAD now', use SHOW HELP;"),
        ] {
            assert_eq!(console.error(command).await.message(), message, "{command}");
        }
    });
}

/// Those who wait move on with their requests: nothing of theirs may run.
#[test]
fn the_next_process_is_paused_as_well() {
    run(async {
        let mut rig = rig(Settings::new()).await;
        let mut waiting = rig.client().await;
        let mut before = console(&rig).await;
        before.query("PAUSE app").await;
        before.query("DISABLE second").await;
        waiting.send(Batch::new().query("select 1")).await;
        pool_waits(&mut before, "1").await;
        drop(before);
        let mut old = rig.proxy.replace();
        eventually("the old process has ended", async || old.ended()).await;
        let mut after = console(&rig).await;
        pool_waits(&mut after, "1").await;
        rig.postgres.wait_for_servers(APP, 0).await;
        let second = Login::to(rig.address()).database("second");
        assert_eq!(second.error().await.shown(), "E(FATAL 57P03)");
        after.query("RESUME app").await;
        assert_eq!(waiting.answer().await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
    });
}

/// A command that waits is done by the extended protocol, too; what is sent behind it waits.
#[test]
fn what_waits_waits_in_the_extended_protocol_too() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        let (mut pausing, mut watcher) = (console(&rig).await, console(&rig).await);
        let flood = (0..100)
            .fold(Batch::new().statement("PAUSE app", &[]), |batch, _| batch.query("SHOW VERSION"));
        pausing.send(flood).await;
        eventually("it pauses", async || (database(&mut watcher, 2).await == "1").then_some(()))
            .await;
        busy.query("commit").await;
        assert_eq!(pausing.answer().await, ["1", "2", "C(PAUSE)", "Z(I)"]);
        for _ in 0..100 {
            assert_eq!(pausing.answer().await.len(), 4);
        }
        assert_eq!(pausing.query("RESUME app").await, ["C(RESUME)", "Z(I)"]);
    });
}

#[test]
fn a_shutdown_at_the_console_waits_as_it_is_told() {
    run(async {
        let mut rig = rig(Settings::new()).await;
        let mut busy = rig.client().await;
        busy.query("begin").await;
        let mut console = console(&rig).await;
        let command = "SHUTDOWN WAIT_FOR_SERVERS";
        assert_eq!(console.query(command).await, ["C(SHUTDOWN)", "Z(I)"]);
        assert_eq!(busy.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(only_error(busy.wire.until_closed().await).shown(), "E(FATAL 57P01)");
        eventually("the proxy has ended", async || rig.proxy.ended()).await;
    });
}

/// What is left of their answers is all that they have: no server, and nothing that they would wake up for.
/// How much the kernel takes is its own affair: of answers of so many sizes, some end in between.
#[test]
fn who_does_not_read_the_end_of_an_answer_is_killed_too() {
    run(async {
        let settings = with_console(Settings::new()).pool_size(30);
        let rig = Rig::start(settings.set("client_write_timeout", 0)).await;
        let mut console = Console::open(&rig).await;
        let (mut clients, mut asked) = (Vec::new(), 0);
        for size in (0..24).map(|step| 100_000 + 20_000 * step) {
            let mut client = Client::connect(&rig.proxy.unix).await;
            let query = Batch::new().query(&format!("select repeat('x', {size})"));
            asked += query.0.len();
            client.send(query).await;
            clients.push(client);
        }
        eventually("all are answered, or as far as they let themselves", async || {
            let pool = console.row("SHOW POOLS", "app").await?;
            let traffic = console.row("SHOW STATS", "app").await?;
            let has_come = traffic["total_received"] == asked.to_string();
            let are_served = has_come && pool["cl_waiting"] == "0";
            let busy = "usename = 'app' and state = 'active' and wait_event is distinct from 'ClientWrite'";
            (are_served && rig.postgres.servers(busy).await == 0).then_some(())
        })
        .await;
        for client in &clients {
            console.order(&format!("KILL_CLIENT {}", client.pid)).await;
        }
        eventually("they have gone, and have read nothing", async || {
            let left = console.rows("SHOW CLIENTS").await;
            left.iter().all(|client| client["database"] != "app").then_some(())
        })
        .await;
    });
}
