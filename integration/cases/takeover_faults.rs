//! Takeovers that go wrong, and those that meet another, or a shutdown.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::takeover::end_of;
use crate::harness::Address;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, shown};
use crate::harness::login::Login;
use crate::harness::process::Process;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, throughout};
use crate::harness::wire::{Client, Wire};

/// Where the next process asks.
pub(super) fn takeover_socket(rig: &Rig) -> PathBuf {
    let (Address::Unix(path), Address::Tcp(own)) = (&rig.proxy.unix, rig.address()) else {
        panic!("it listens on both")
    };
    path.with_file_name(format!(".s.PGWEIR.{}", own.port()))
}

/// Something that says what a next process would say.
pub(super) async fn pretender(rig: &Rig, says: &[&str]) -> UnixStream {
    let mut peer = UnixStream::connect(takeover_socket(rig)).await.expect("it is asked");
    say(&mut peer, says).await;
    peer
}

pub(super) async fn say(peer: &mut UnixStream, says: &[&str]) {
    for head in says {
        let mut message = u32::try_from(head.len()).expect("short").to_be_bytes().to_vec();
        message.extend([0; 4]);
        message.extend(head.as_bytes());
        peer.write_all(&message).await.expect("it listens");
    }
}

pub(super) const HELLO: &str = r#"{"Hello":{"form":8,"version":"0","pid":1}}"#;
pub(super) const READY: &str = r#""Ready""#;
/// It takes nobody, and says that it would.
const HERE: &str = r#""Here""#;

/// Clients move from here on, and the next process hears what it is told.
pub(super) async fn hands_over(old: &Process) {
    eventually("it hands over", async || old.log().contains("handing over").then_some(())).await;
}

pub(super) async fn runs(rig: &Rig) {
    eventually("it runs", async || rig.proxy.process().log().contains("listening").then_some(()))
        .await;
}

#[test]
fn who_asks_and_then_says_nothing_does_not_keep_it_from_ending() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut client = rig.client().await;
        let _peer = pretender(&rig, &[HELLO]).await;
        eventually("it is asked", async || {
            rig.proxy.process().log().contains("wants to take over").then_some(())
        })
        .await;
        assert_eq!(client.value("select 1").await, "1");
        drop(client);
        rig.proxy.process().signal(Signal::INT);
        assert!(eventually("it has ended", async || rig.proxy.ended()).await.success());
    });
}

/// What was sent and not taken is nobody's but the old one's: none of the clients is lost, neither those in
/// the kernel's buffer nor those who wait to be sent.
#[test]
fn who_was_sent_and_not_taken_stays_with_the_old_one() {
    run(async {
        let rig = Rig::start_default().await;
        let mut clients = Vec::new();
        for _ in 0..400 {
            clients.push(rig.client().await);
        }
        let peer = pretender(&rig, &[HELLO, READY, HERE]).await;
        eventually("it hands over", async || {
            rig.proxy.process().log().contains("handing over").then_some(())
        })
        .await;
        drop(peer);
        eventually("it goes on", async || {
            rig.proxy.process().log().contains("this one goes on").then_some(())
        })
        .await;
        for client in &mut clients {
            assert_eq!(client.value("select 1").await, "1");
        }
        assert_eq!(rig.client().await.value("select 2").await, "2");
    });
}

/// It sleeps for longer than it is waited for. The old one serves, and the next one stands down when it
/// finds that out.
#[test]
fn the_old_one_goes_on_if_the_next_one_hangs() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        let mut moved = rig.client().await;
        moved.query("create table t (n int)").await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = rig.client().await;
            client.query("begin").await;
            clients.push(client);
        }
        let mut next = hung(&mut rig, &mut moved).await;
        for client in &mut clients {
            assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
            // On their way by now, and nobody reads this.
            client.send(Batch::new().query("insert into t values (1)")).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await, ["C(INSERT 0 1)", "Z(I)"]);
        }
        eventually("it says so", async || {
            rig.proxy.process().log().contains("this one goes on").then_some(())
        })
        .await;
        next.signal_family(Signal::CONT);
        eventually("it finds out", async || {
            next.log().contains("the process before goes on").then_some(())
        })
        .await;
        let count = "select count(*) from t";
        throughout(Duration::from_secs(1), "they are served by the old one alone", async || {
            let mut served = 0;
            for client in &mut clients {
                // And by nobody else told anything.
                let answer = client.query(count).await;
                served += usize::from(answer == ["T(count)", "D(4)", "C(SELECT 1)", "Z(I)"]);
            }
            served == 4 && next.ended().is_none()
        })
        .await;
        // Whom it had taken it sees out.
        assert_eq!(moved.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        let told = shown(&moved.wire.until_closed().await);
        assert_eq!(told, ["E(FATAL 57P01)"]);
        let status = eventually("it has ended", async || next.ended()).await;
        assert!(status.success(), "{}", next.log());
        for address in [rig.address(), &rig.proxy.unix] {
            assert_eq!(Client::connect(address).await.value(count).await, "4");
        }
        let old = rig.proxy.replace();
        end_of(old).await;
        assert_eq!(clients[0].value("select 1").await, "1");
    });
}

/// A next process that has taken one client, which begins a transaction there, and then hangs.
async fn hung(rig: &mut Rig, moved: &mut Client) -> Process {
    let old = rig.proxy.replace();
    eventually("it has one", async || {
        let clients = Console::open(rig).await.rows("SHOW CLIENTS").await;
        let clients = clients.iter().filter(|client| client["database"] == "app");
        (clients.count() == 1).then_some(())
    })
    .await;
    moved.query("begin").await;
    let next = rig.proxy.put_back(old);
    next.signal_family(Signal::STOP);
    next
}

/// It has files to make and to remove first, and a disk may take its time. Too long, and it is given up.
#[test]
fn clients_are_served_until_the_next_one_waits_for_them() {
    run(async {
        let rig = Rig::start_default().await;
        let mut client = rig.client().await;
        let _peer = pretender(&rig, &[HELLO, READY]).await;
        hands_over(rig.proxy.process()).await;
        for _ in 0..3 {
            assert_eq!(client.value("select 1").await, "1");
        }
        let goes_on = || rig.proxy.process().log().contains("this one goes on");
        assert!(!goes_on(), "it had to be given up");
        eventually("it is given up", async || goes_on().then_some(())).await;
        assert_eq!(client.value("select 2").await, "2");
        assert_eq!(rig.client().await.value("select 3").await, "3");
    });
}

#[test]
fn a_next_process_that_does_not_read_does_not_keep_it_from_ending() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut clients = Vec::new();
        for _ in 0..400 {
            clients.push(rig.client().await);
        }
        let _peer = pretender(&rig, &[HELLO, READY, HERE]).await;
        eventually("it hands over", async || {
            rig.proxy.process().log().contains("handing over").then_some(())
        })
        .await;
        rig.proxy.process().signal(Signal::QUIT);
        eventually("it has ended", async || rig.proxy.ended()).await;
    });
}

/// While somebody is left in the first, the second hands over to a third: all three know their parts.
#[test]
fn a_third_process_takes_over_while_the_first_is_there() {
    run(async {
        let mut rig = Rig::start_default().await;
        let (mut kept, mut other) = (rig.client().await, rig.client().await);
        kept.query("begin").await;
        let first = rig.proxy.replace();
        runs(&rig).await;
        assert_eq!(other.value("select 1").await, "1");
        let second = rig.proxy.replace();
        runs(&rig).await;
        eventually("the second hands over", async || {
            second.log().contains("handing over").then_some(())
        })
        .await;
        assert_eq!(other.value("select 2").await, "2");
        assert_eq!(kept.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(kept.value("select 3").await, "3");
        let said = first.log();
        end_of(second).await;
        end_of(first).await;
        assert!(!said.contains("this one goes on"), "{said}");
        assert_eq!(kept.value("select 4").await, "4");
        assert_eq!(other.value("select 5").await, "5");
        assert_eq!(rig.client().await.value("select 6").await, "6");
    });
}

#[test]
fn who_stops_the_next_process_stops_the_old_one_as_well() {
    run(async {
        let mut rig = Rig::start_default().await;
        let (mut kept, mut other) = (rig.client().await, rig.client().await);
        kept.query("prepare kept as select 1").await;
        let old = rig.proxy.replace();
        // By then it hears signals, which it does not yet when it says that it listens.
        hands_over(&old).await;
        assert_eq!(other.value("select 1").await, "1");
        rig.proxy.process().signal(Signal::INT);
        assert!(eventually("it has ended", async || rig.proxy.ended()).await.success());
        for client in [&mut kept, &mut other] {
            let told = shown(&client.wire.until_closed().await);
            assert_eq!(told, ["E(FATAL 57P01)"]);
        }
        end_of(old).await;
    });
}

/// Those who are left in the old one may have to come through it, and a service manager ends whatever is left
/// when the main process does.
#[test]
fn who_is_stopped_ends_after_the_old_one() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut kept = rig.client().await;
        kept.query("begin").await;
        let mut old = rig.proxy.replace();
        hands_over(&old).await;
        rig.proxy.process().signal(Signal::INT);
        throughout(Duration::from_millis(500), "both are there", async || {
            rig.proxy.ended().is_none() && old.ended().is_none()
        })
        .await;
        assert_eq!(kept.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(shown(&kept.wire.until_closed().await), ["E(FATAL 57P01)"]);
        end_of(old).await;
        assert!(eventually("it has ended", async || rig.proxy.ended()).await.success());
    });
}

#[test]
fn who_stops_the_third_process_stops_all_three() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        first.query("begin").await;
        let mut old = vec![rig.proxy.replace()];
        hands_over(&old[0]).await;
        // In the second by then, or soon.
        eventually("it has moved", async || {
            let clients = Console::open(&rig).await.rows("SHOW CLIENTS").await;
            let clients = clients.iter().filter(|client| client["database"] == "app");
            (clients.count() == 1).then_some(())
        })
        .await;
        second.query("begin").await;
        old.push(rig.proxy.replace());
        hands_over(&old[1]).await;
        rig.proxy.process().signal(Signal::INT);
        for client in [&mut second, &mut first] {
            assert!(rig.proxy.ended().is_none(), "somebody is left");
            assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
            assert_eq!(shown(&client.wire.until_closed().await), ["E(FATAL 57P01)"]);
        }
        for old in old {
            end_of(old).await;
        }
        assert!(eventually("it has ended", async || rig.proxy.ended()).await.success());
    });
}

/// Asked once more, neither waits for a transaction.
#[test]
fn who_stops_the_next_process_twice_stops_both_at_once() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut kept = rig.client().await;
        kept.query("begin").await;
        let old = rig.proxy.replace();
        hands_over(&old).await;
        rig.proxy.process().signal(Signal::INT);
        eventually("it stops", async || {
            rig.proxy.process().log().contains("stopping").then_some(())
        })
        .await;
        rig.proxy.process().signal(Signal::INT);
        assert_eq!(shown(&kept.wire.until_closed().await), ["E(FATAL 57P01)"]);
        end_of(old).await;
        assert!(eventually("it has ended", async || rig.proxy.ended()).await.success());
    });
}

/// Accepted by the old process, and not a client yet: it becomes one.
#[test]
fn who_is_about_to_log_in_is_let_in() {
    run(async {
        let mut rig = Rig::start_default().await;
        let wire = Wire::connect(rig.address()).await;
        // Accepted after that one, and served.
        assert_eq!(rig.client().await.value("select 1").await, "1");
        let old = rig.proxy.replace();
        runs(&rig).await;
        eventually("the old one hands over", async || {
            old.log().contains("handing over").then_some(())
        })
        .await;
        eventually("newcomers are in the next one", async || {
            let log = rig.proxy.process().log();
            let mut client = rig.client().await;
            assert_eq!(client.value("select 1").await, "1");
            log.contains("listening").then_some(())
        })
        .await;
        let mut client = Login::to(rig.address()).attempt_over(wire).await.expect("it is let in");
        assert_eq!(client.value("select 2").await, "2");
        end_of(old).await;
        assert_eq!(client.value("select 3").await, "3");
    });
}

/// It is told only when it has the sockets already that it cannot write its pid file.
#[test]
fn a_next_process_that_fails_late_leaves_the_sockets_where_they_are() {
    run(async {
        let mut rig = Rig::start_default().await;
        let (right, missing) = (rig.proxy.written(), "pidfile = \"/nowhere/at/all.pid\"\n");
        rig.proxy.rewrite(&right.replacen("[proxy]\n", &format!("[proxy]\n{missing}"), 1));
        assert!(rig.proxy.written().contains(missing), "{right}");
        let old = rig.proxy.replace();
        let mut failed = rig.proxy.put_back(old);
        let status = eventually("it has failed", async || failed.ended()).await;
        assert!(!status.success());
        eventually("it says why", async || failed.log().contains("pidfile").then_some(())).await;
        let mut client = Client::connect(&rig.proxy.unix).await;
        assert_eq!(client.value("select 1").await, "1");
        // And one that does not fail can still ask.
        rig.proxy.rewrite(&right);
        let old = rig.proxy.replace();
        end_of(old).await;
        assert_eq!(client.value("select 2").await, "2");
    });
}

/// What a pool keeps open for nobody, the next process keeps open.
#[test]
fn a_process_that_hands_over_opens_nothing_for_nobody() {
    run(async {
        let settings = Settings::new().set("default_pool_size", 4).set("min_pool_size", 2);
        let mut rig = Rig::start(settings).await;
        let mut kept = rig.client().await;
        kept.ask(Batch::new().parse("kept", "select 1").sync()).await;
        let _old = rig.proxy.replace();
        runs(&rig).await;
        let mut direct = Client::connect(&rig.postgres.address()).await;
        let mut seen = BTreeSet::new();
        throughout(Duration::from_secs(3), "there are only those of both pools", async || {
            let servers = "select coalesce(string_agg(pid::text, ','), '') from pg_stat_activity \
                           where backend_type = 'client backend' and pid <> pg_backend_pid()";
            let servers = direct.value(servers).await;
            seen.extend(servers.split(',').map(str::to_owned));
            seen.len() <= 8
        })
        .await;
    });
}

/// Both processes' servers are gone when it is answered.
#[test]
fn a_pause_waits_for_the_process_before() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        let mut kept = rig.client().await;
        kept.query("begin").await;
        let old = rig.proxy.replace();
        runs(&rig).await;
        eventually("it hands over", async || old.log().contains("handing over").then_some(()))
            .await;
        let mut console = Login::to(rig.address()).database("pgweir").connect().await;
        let mut direct = Client::connect(&rig.postgres.address()).await;
        // So that the next process has the pool.
        assert_eq!(rig.client().await.value("select 1").await, "1");
        console.send(Batch::new().query("PAUSE")).await;
        let open = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
        let goes_on = throughout(Duration::from_secs(1), "it is open", async || {
            direct.value(open).await == "1"
        });
        tokio::select! {
            answer = console.answer() => panic!("paused with a transaction open: {answer:?}"),
            () = goes_on => {}
        }
        assert_eq!(kept.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(console.answer().await, ["C(PAUSE)", "Z(I)"]);
        drop(direct);
        rig.postgres.wait_for_servers("datname = 'app'", 0).await;
        end_of(old).await;
        kept.send(Batch::new().query("select 2")).await;
        assert_eq!(console.query("RESUME").await, ["C(RESUME)", "Z(I)"]);
        assert_eq!(kept.answer().await[1], "D(2)");
    });
}

/// Whoever orders `RECONNECT` means the servers of both processes.
#[test]
fn servers_that_come_after_a_reconnect_are_not_used() {
    run(async {
        let mut rig = Rig::start(with_console(Settings::new())).await;
        let mut kept = rig.client().await;
        kept.query("begin").await;
        let before = kept.value("select pg_backend_pid()").await;
        let old = rig.proxy.replace();
        runs(&rig).await;
        let mut console = eventually("newcomers are in the next one", async || {
            let mut console = Console::open(&rig).await;
            let clients = console.rows("SHOW CLIENTS").await;
            clients.iter().all(|client| client["database"] != "app").then_some(console)
        })
        .await;
        console.order("RECONNECT").await;
        console.begin("WAIT_CLOSE").await;
        assert_eq!(kept.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        console.answered().await;
        assert_eq!(rig.postgres.servers(&format!("pid = {before}")).await, 0);
        end_of(old).await;
        assert_ne!(kept.value("select pg_backend_pid()").await, before);
    });
}

/// What a configuration does to new servers, it does to all of them.
#[test]
fn servers_that_another_connect_query_made_are_not_used() {
    run(async {
        let with = |millis: &str| {
            let query = format!("set statement_timeout = {millis}");
            Settings::new().database("app", "connect_query", query.as_str())
        };
        let mut rig = Rig::start(with("70001")).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("show statement_timeout").await, "70001ms");
        rig.configure(&with("70002"));
        let old = rig.proxy.replace();
        end_of(old).await;
        assert_eq!(client.value("show statement_timeout").await, "70002ms");
    });
}
