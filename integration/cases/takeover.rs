//! Another process takes over, and no client notices.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::process::Process;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::{Client, cancel};

pub(super) async fn end_of(mut process: Process) {
    let status = eventually("the old process has ended", async || process.ended()).await;
    assert!(status.success(), "{status}:\n{}", process.log());
}

#[test]
fn clients_go_on_in_the_next_process() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut idle = Login::to(rig.address()).with("TimeZone", "Europe/Rome").connect().await;
        let mut socket = Client::connect(&rig.proxy.unix).await;
        assert_eq!(idle.value("select 1").await, "1");
        socket.query("set application_name = 'kept'").await;
        let (idle_pid, socket_pid) = (idle.pid, socket.pid);
        let old = rig.proxy.replace();
        end_of(old).await;
        assert_eq!(idle.value("show timezone").await, "Europe/Rome");
        assert_eq!(socket.value("show application_name").await, "kept");
        // Their cancel keys are the same, and mean them.
        for (client, pid) in [(&mut idle, idle_pid), (&mut socket, socket_pid)] {
            client.send(Batch::new().query("select pg_sleep(60)")).await;
            let asleep = async || {
                let mut other = rig.client().await;
                let count = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
                (other.value(count).await == "1").then_some(())
            };
            eventually("it sleeps", asleep).await;
            cancel(rig.address(), pid, &client.secret.clone()).await;
            assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
        }
        // Newcomers find the next one at the same addresses.
        assert_eq!(rig.client().await.value("select 2").await, "2");
        assert_eq!(Client::connect(&rig.proxy.unix).await.value("select 3").await, "3");
    });
}

#[test]
fn a_transaction_ends_where_it_began() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut client = rig.client().await;
        client.query("begin; create temporary table t (n int) on commit drop").await;
        let old = rig.proxy.replace();
        eventually("others use the next one", async || {
            let mut other = Login::to(rig.address()).attempt().await.ok()?;
            let is_new = rig.proxy.process().log().contains("listening");
            (is_new && other.value("select 1").await == "1").then_some(())
        })
        .await;
        client.query("insert into t values (7)").await;
        assert_eq!(client.value("select n from t").await, "7");
        // While it is in the old process, its cancel key is known there only.
        client.send(Batch::new().query("savepoint s; select pg_sleep(60)")).await;
        let mut other = rig.client().await;
        eventually("it sleeps", async || {
            let count = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
            (other.value(count).await == "1").then_some(())
        })
        .await;
        client.cancel().await;
        assert!(client.answer().await.contains(&"E(ERROR 57014)".to_owned()));
        assert_eq!(client.query("rollback to s; commit").await[..2], ["C(ROLLBACK)", "C(COMMIT)"]);
        end_of(old).await;
        assert_eq!(client.value("select 1").await, "1");
    });
}

/// Postgres sees no new connections, and never more than the pool may have.
#[test]
fn servers_go_along() {
    run(async {
        let settings = Settings::new().set("default_pool_size", 2);
        let mut rig = Rig::start(settings).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        let pid = "select pg_backend_pid()";
        second.query("begin").await;
        let before = [first.value(pid).await, second.value(pid).await];
        let old = rig.proxy.replace();
        eventually("the first has moved", async || {
            rig.proxy.process().log().contains("listening").then_some(())
        })
        .await;
        assert_eq!(first.value(pid).await, before[0], "it is the same server");
        let mut direct = Client::connect(&rig.postgres.address()).await;
        let servers = "select count(*) from pg_stat_activity \
                       where backend_type = 'client backend' and pid <> pg_backend_pid()";
        assert_eq!(direct.value(servers).await, "2");
        second.query("commit").await;
        end_of(old).await;
        first.query("begin").await;
        assert_ne!(first.value(pid).await, second.value(pid).await);
        let after = [first.value(pid).await, second.value(pid).await];
        assert!(before.iter().all(|pid| after.contains(pid)), "{before:?} and {after:?}");
    });
}

/// Requests that were sent and not yet served go along, whole or in part.
#[test]
fn what_was_sent_is_answered_by_the_next_one() {
    run(async {
        let mut rig = Rig::start(Settings::new().set("default_pool_size", 1)).await;
        let (mut holder, mut waiting) = (rig.client().await, rig.client().await);
        let mut half = rig.client().await;
        holder.query("begin").await;
        waiting.send(Batch::new().query("select 'waited'")).await;
        let whole = Batch::new().query("select 'half'").0;
        half.wire.send(&whole[..9]).await;
        let old = rig.proxy.replace();
        assert_eq!(waiting.answer().await[1], "D(waited)");
        half.wire.send(&whole[9..]).await;
        assert_eq!(half.answer().await[1], "D(half)");
        holder.query("commit").await;
        end_of(old).await;
        assert_eq!(holder.value("select 1").await, "1");
    });
}

#[test]
fn who_keeps_its_server_stays_until_it_leaves() {
    run(async {
        let settings = Settings::new().set("takeover_timeout", Duration::from_mins(5));
        let mut rig = Rig::start(settings).await;
        let mut pinned = rig.client().await;
        assert_eq!(
            pinned.query("prepare kept as select 'of ' || $1").await,
            ["C(PREPARE)", "Z(I)"]
        );
        let mut other = rig.client().await;
        let mut old = rig.proxy.replace();
        eventually("the other has moved", async || {
            rig.proxy.process().log().contains("listening").then_some(())
        })
        .await;
        assert_eq!(other.value("select 1").await, "1");
        let again = Batch::new().bind("kept", &["old"]).execute().sync();
        assert_eq!(pinned.ask(again).await[1], "D(of old)");
        assert!(old.ended().is_none());
        eventually("it says who keeps it", async || {
            let told = "left=1 client=1 database=\"app\" user=\"app\"";
            let log = old.log();
            (log.contains(told) && log.contains("why=\"it keeps its server\"")).then_some(())
        })
        .await;
        drop(pinned);
        end_of(old).await;
    });
}

/// The next process knows the texts, and nothing is left of what the old one prepared on its servers.
#[test]
fn prepared_statements_move_with_their_client() {
    run(async {
        let mut rig = Rig::start(Settings::new().set("default_pool_size", 1)).await;
        let (mut first, mut second) = (rig.client().await, rig.client().await);
        let parse = Batch::new().parse("named", "select 'named'").parse("", "select 'unnamed'");
        assert_eq!(first.ask(parse.sync()).await, ["1", "1", "Z(I)"]);
        second.ask(Batch::new().parse("other", "select 'other'").sync()).await;
        let old = rig.proxy.replace();
        end_of(old).await;
        let bound = |name| Batch::new().bind(name, &[]).execute().sync();
        assert_eq!(second.ask(bound("other")).await[1], "D(other)");
        assert_eq!(first.ask(bound("")).await[1], "D(unnamed)");
        assert_eq!(first.ask(bound("named")).await[1], "D(named)");
        assert_eq!(second.ask(bound("other")).await[1], "D(other)");
    });
}

/// What it has set, what it came with and goes back to, and what its statements will do.
#[test]
fn a_session_moves_with_its_client() {
    run(async {
        let mut rig = Rig::start(Settings::new().set("default_pool_size", 1)).await;
        let login = Login::to(rig.address()).with("options", "-c work_mem=7MB -c app.x=came");
        let (mut first, mut second) = (login.connect().await, rig.client().await);
        rig.postgres.sql("grant pg_monitor to app").await;
        let set = "set work_mem = '8MB'; set app.x = E'a\\tb'; set role pg_monitor";
        assert_eq!(first.query(set).await, ["C(SET)", "C(SET)", "C(SET)", "Z(I)"]);
        let sets = |value| format!("select set_config('app.y', '{value}', false)");
        let parse = Batch::new().parse("named", &sets("by name")).parse("", "set lock_timeout = 9");
        assert_eq!(first.ask(parse.sync()).await, ["1", "1", "Z(I)"]);
        let old = rig.proxy.replace();
        end_of(old).await;
        let bound = |name| Batch::new().bind(name, &[]).execute().sync();
        assert_eq!(first.ask(bound("")).await, ["2", "C(SET)", "Z(I)"]);
        first.ask(bound("named")).await;
        let look = "select current_setting('work_mem'), current_setting('app.x', true), \
                    current_setting('role'), current_setting('app.y', true), \
                    current_setting('lock_timeout')";
        for _ in 0..2 {
            let row = &second.query(look).await[1];
            assert!(row.starts_with("D(4MB,") && row.contains(",none,"), "{row}");
            assert!(row.ends_with(",0)"), "{row}");
            assert_eq!(first.query(look).await[1], "D(8MB,a\tb,pg_monitor,by name,9ms)");
        }
        first.query("reset all").await;
        let value = first.value("select current_setting('work_mem') || current_setting('app.x')");
        assert_eq!(value.await, "7MBcame");
    });
}

#[test]
fn a_next_process_that_fails_changes_nothing() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut client = rig.client().await;
        rig.proxy.rewrite("[proxy]\nlisten_port = \"x\"\n");
        let old = rig.proxy.replace();
        let mut failed = rig.proxy.put_back(old);
        let status = eventually("it has failed", async || failed.ended()).await;
        assert!(!status.success());
        eventually("it says why", async || failed.log().contains("listen_port").then_some(()))
            .await;
        assert_eq!(client.value("select 1").await, "1");
        assert_eq!(rig.client().await.value("select 2").await, "2");
        assert!(rig.proxy.ended().is_none());
    });
}

/// One that dies in the middle leaves those who have not moved, and the port, to the old one.
#[test]
fn the_old_one_goes_on_if_the_next_one_dies() {
    run(async {
        let mut rig = Rig::start_default().await;
        let mut client = rig.client().await;
        client.query("begin").await;
        let old = rig.proxy.replace();
        eventually("it is in the middle", async || {
            old.log().contains("handing over").then_some(())
        })
        .await;
        let next = rig.proxy.put_back(old);
        next.signal_family(Signal::KILL);
        eventually("the old one goes on", async || {
            rig.proxy.process().log().contains("this one goes on").then_some(())
        })
        .await;
        assert_eq!(client.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(client.value("select 1").await, "1");
        assert_eq!(rig.client().await.value("select 2").await, "2");
        // And another try succeeds.
        let old = rig.proxy.replace();
        end_of(old).await;
        assert_eq!(client.value("select 3").await, "3");
    });
}

/// What fits the file of the next process; what does not is named.
#[test]
fn what_was_set_holds_in_the_next_process() {
    run(async {
        let class = "match = { application_name = 'etl' }\nmax_in_flight = 4";
        let settings = with_console(Settings::new()).class("batch", class);
        let mut rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let _client = rig.client().await;
        for set in [
            "SET default_pool_size = 7",
            "SET min_pool_size = 6",
            "SET CLASS batch max_in_flight = NONE",
            "SET CLASS batch weight = 3",
        ] {
            console.order(set).await;
        }
        let etl = Login::to(rig.address()).with("application_name", "etl");
        let take_over = async |rig: &mut Rig| {
            let mut old = rig.proxy.replace();
            eventually("the old process has ended", async || old.ended()).await;
            Console::open(rig).await
        };
        let mut console = take_over(&mut rig).await;
        assert_eq!(console.setting("default_pool_size").await, ("7".to_owned(), "SET".to_owned()));
        let _etl = etl.connect().await;
        assert_eq!(console.number("batch", "max_in_flight").await, 0);
        assert_eq!(console.number("batch", "weight").await, 3);
        // Another file, which has no room for the third.
        rig.configure(&settings.set("max_db_connections", 5));
        let mut console = take_over(&mut rig).await;
        rig.proxy.process().logs("SET min_pool_size = 6 is forgotten: ").await;
        assert_eq!(console.setting("min_pool_size").await.1, "default");
        assert_eq!(console.setting("default_pool_size").await.0, "7");
        console.order("RELOAD").await;
        assert_eq!(console.setting("default_pool_size").await, ("5".to_owned(), "file".to_owned()));
    });
}
