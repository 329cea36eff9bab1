//! Clients that replicate: Postgres' own programs run through the proxy, under its limits.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::takeover::end_of;
use crate::harness::Address;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::postgres::{Postgres, binary};
use crate::harness::process::{Process, RunAs, command};
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

const WALSENDERS: &str = "select count(*) from pg_stat_activity where backend_type = 'walsender'";

async fn rig(settings: Settings) -> Rig {
    let postgres =
        Postgres::start_with("wal_level = logical\nmax_wal_senders = 5\nwal_keep_size = 256MB")
            .await;
    postgres.sql("alter role app replication").await;
    // Programs for physical replication ask for this database.
    let settings = with_console(settings.database("replication", "dbname", "app"));
    let proxy = Proxy::start(&settings, &postgres.address()).await;
    Rig { proxy, postgres }
}

/// One of Postgres' programs, logged in to the proxy.
fn program(name: &str, address: &Address) -> Command {
    let Address::Tcp(address) = address else { panic!("by TCP here") };
    let mut command = Command::new(binary(name));
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-U", "app", "-w"]);
    command
}

/// As whom it runs does not matter; it ends with the test.
fn run_it(program: &Command) -> Process {
    let mut command = command("sh", RunAs::Ourselves);
    command.args(["-c", "exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    Process::start("replication", &mut command, Signal::INT)
}

async fn wait_for_walsenders(rig: &Rig, count: usize) {
    eventually(&format!("{count} walsenders"), async || {
        (rig.postgres.value(WALSENDERS).await == count.to_string()).then_some(())
    })
    .await;
}

/// The first segment that is there as a whole.
fn segment(directory: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_none()).min()
}

#[test]
fn pg_receivewal_gets_what_postgres_has_written() {
    run(async {
        let rig = rig(Settings::new()).await;
        let directory = tempfile::tempdir().expect("a temporary directory is made");
        let mut command = program("pg_receivewal", rig.address());
        command.arg("-D").arg(directory.path()).args(["--no-loop", "--synchronous"]);
        let _receiver = run_it(&command);
        wait_for_walsenders(&rig, 1).await;
        rig.postgres
            .sql("create table t as select repeat('x', 1000) from generate_series(1, 9000)")
            .await;
        rig.postgres.sql("select pg_switch_wal()").await;
        rig.postgres.sql("checkpoint").await;
        let got = eventually("a segment is whole", async || segment(directory.path())).await;
        let written = rig.postgres.data().join("pg_wal").join(got.file_name().expect("it has one"));
        let read = |path: &Path| std::fs::read(path).expect("a segment is read");
        assert!(read(&got) == read(&written), "what came is not what Postgres has");
        // Everybody else goes on.
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn pg_recvlogical_follows_changes_and_shows_on_the_console() {
    run(async {
        let rig = rig(Settings::new().pool_size(2)).await;
        let mut slot = program("pg_recvlogical", rig.address());
        slot.args(["-d", "app", "-S", "follower", "-P", "test_decoding", "--create-slot"]);
        let mut created = run_it(&slot);
        eventually("the slot is made", async || created.ended()).await;
        wait_for_walsenders(&rig, 0).await;
        let file = tempfile::NamedTempFile::new().expect("a temporary file is made");
        let mut command = program("pg_recvlogical", rig.address());
        command
            .args(["-d", "app", "-S", "follower", "--start", "--no-loop", "-F", "1"])
            .arg("-f")
            .arg(file.path());
        let follower = run_it(&command);
        wait_for_walsenders(&rig, 1).await;
        let mut client = rig.client().await;
        client.query("create table t (n int)").await;
        client.query("insert into t values (42)").await;
        eventually("the change has come", async || {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            text.contains("INSERT: n[integer]:42").then_some(())
        })
        .await;
        let mut console = Console::open(&rig).await;
        for list in ["SHOW CLIENTS", "SHOW SERVERS"] {
            let rows = console.rows(list).await;
            let logical = rows.iter().filter(|row| row["replication"] == "logical");
            let states: Vec<_> = logical.map(|row| row["state"].as_str()).collect();
            assert_eq!(states, ["active"], "{list}");
        }
        drop(follower);
        wait_for_walsenders(&rig, 0).await;
        eventually("its place is free", async || {
            let servers = console.rows("SHOW SERVERS").await;
            servers.iter().all(|row| row["replication"] == "none").then_some(())
        })
        .await;
    });
}

/// Commands of the replication protocol, by whoever speaks it.
#[test]
fn the_protocol_is_passed_on_as_it_is() {
    run(async {
        let rig = rig(Settings::new()).await;
        for kind in ["database", "true"] {
            let login = |address: &Address| Login::to(address).with("replication", kind);
            let mut direct = login(&rig.postgres.address()).connect().await;
            let mut client = login(rig.address()).connect().await;
            for sql in ["IDENTIFY_SYSTEM", "SHOW wal_level", "NONSENSE", "select 1"] {
                assert_eq!(client.query(sql).await, direct.query(sql).await, "{kind}: {sql}");
            }
            assert_eq!(client.parameters, direct.parameters, "{kind}");
            client.send(Batch::new().terminate()).await;
            assert!(client.wire.until_closed().await.is_empty());
        }
        wait_for_walsenders(&rig, 0).await;
    });
}

#[test]
fn it_has_a_place_in_the_pool() {
    run(async {
        let short = Duration::from_millis(300);
        let rig = rig(Settings::new().pool_size(1).set("query_wait_timeout", short)).await;
        let login = Login::to(rig.address()).with("replication", "database");
        let replica = login.connect().await;
        assert_eq!(rig.client().await.error("select 1").await.code(), "57014");
        let refused = login.error().await;
        assert_eq!((refused.severity(), refused.code()), ("FATAL".to_owned(), "53300".to_owned()));
        drop(replica);
        eventually("its place is free", async || {
            (rig.client().await.query("select 1").await.len() == 4).then_some(())
        })
        .await;
        wait_for_walsenders(&rig, 0).await;
    });
}

#[test]
fn a_refusal_is_postgres_own_and_a_configured_one_is_clear() {
    run(async {
        let rig = rig(Settings::new().database("second", "replication", false)).await;
        let error = |login: Login| async move { login.error().await };
        let login = Login::to(rig.address()).with("replication", "database");
        let denied = error(login.database("second")).await;
        assert_eq!(denied.code(), "0A000");
        assert!(denied.message().contains("not allowed by the configuration"), "{denied:?}");
        let odd = error(Login::to(rig.address()).with("replication", "perhaps")).await;
        assert_eq!(odd.code(), "22023");
        let login = Login::to(rig.address()).with("replication", "database");
        let not_its_right = error(login.user("other", "other-secret")).await;
        assert_eq!(not_its_right.severity(), "FATAL");
        assert!(not_its_right.message().contains("replication"), "{not_its_right:?}");
        assert_eq!(rig.client().await.value("select 1").await, "1", "nothing is left behind");
    });
}

/// Whoever replicates has its server for itself, as in session mode: a pause waits for it, and KILL does not.
#[test]
fn a_pause_waits_for_who_replicates_and_a_kill_ends_it() {
    run(async {
        let rig = rig(Settings::new()).await;
        let login = Login::to(rig.address()).with("replication", "database");
        let mut replica = login.connect().await;
        let (mut pausing, mut watcher) = (Console::open(&rig).await, Console::open(&rig).await);
        pausing.begin("PAUSE app").await;
        eventually("it pauses", async || {
            let databases = watcher.rows("SHOW DATABASES").await;
            databases.iter().any(|row| row["paused"] == "1").then_some(())
        })
        .await;
        assert_eq!(replica.query("IDENTIFY_SYSTEM").await.len(), 4, "it goes on");
        drop(replica);
        pausing.answered().await;
        wait_for_walsenders(&rig, 0).await;
        watcher.order("RESUME app").await;
        // And one that is to go at once.
        let mut replica = login.connect().await;
        watcher.order("KILL app").await;
        assert_eq!(replica.wire.until_closed().await.last().expect("a reason").tag, b'E');
        wait_for_walsenders(&rig, 0).await;
        // Newcomers wait for the end of the pause.
        let waiting = login.connect();
        let resuming = async { watcher.order("RESUME app").await };
        let (mut replica, _) = tokio::join!(waiting, resuming);
        assert_eq!(replica.query("IDENTIFY_SYSTEM").await.len(), 4);
    });
}

/// Half of what it was sent cannot move: it stays with its process, until it leaves or time is up.
#[test]
fn who_replicates_stays_with_the_old_process() {
    run(async {
        let timeout = Duration::from_secs(2);
        let mut rig = rig(Settings::new().set("takeover_timeout", timeout)).await;
        let login = Login::to(rig.address()).with("replication", "database");
        for leaves in [true, false] {
            let mut replica = login.connect().await;
            let old = rig.proxy.replace();
            eventually("the next one serves", async || {
                let log = rig.proxy.process().log();
                log.contains("listening").then_some(())
            })
            .await;
            assert_eq!(rig.client().await.value("select 1").await, "1");
            assert_eq!(replica.query("IDENTIFY_SYSTEM").await.len(), 4, "it goes on");
            if leaves {
                drop(replica);
            } else {
                let last = replica.wire.until_closed().await;
                assert_eq!(last.last().expect("a reason").shown(), "E(FATAL 57P01)");
            }
            end_of(old).await;
            wait_for_walsenders(&rig, 0).await;
        }
    });
}

#[test]
fn a_shutdown_ends_who_replicates() {
    run(async {
        let mut rig = rig(Settings::new()).await;
        let mut replica = Login::to(rig.address()).with("replication", "true").connect().await;
        rig.proxy.process().signal(Signal::INT);
        let last = replica.wire.until_closed().await;
        assert_eq!(last.last().expect("a reason").shown(), "E(FATAL 57P01)");
        assert!(eventually("the proxy has ended", async || rig.proxy.ended()).await.success());
    });
}
