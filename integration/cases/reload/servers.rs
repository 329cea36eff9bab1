//! What becomes of pools and their servers.

use std::time::Duration;

use crate::harness::console::{Console, with_console};
use crate::harness::crowd::{Crowd, unleash_while};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, eventually, run, run_threaded};

/// Noise of a busy machine apart, a pool has its new size within a second.
const IN_EFFECT: Duration = Duration::from_secs(3);

#[test]
fn a_changed_size_holds_at_once_under_a_thousand_clients() {
    run_threaded(Duration::from_mins(1), async {
        let settings = with_console(Settings::new())
            .set("max_client_conn", 1_100)
            .set("query_wait_timeout", Duration::from_secs(50));
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let watching = rig.postgres.connect("app").await.expect("the superuser can log in");
        let count = "select count(*)::int from pg_stat_activity where usename = 'app'";
        let crowd =
            Crowd::new(&Login::to(rig.address()), 1_000, "select 1", Duration::from_secs(6))
                .patience(Duration::from_secs(50));
        let tallies = unleash_while(&[crowd], async || {
            eventually("they are busy", async || {
                let row = watching.query_one(count, &[]).await.expect("Postgres is there");
                (row.get::<_, i32>(0) == 5).then_some(())
            })
            .await;
            for size in [20, 3, 11] {
                rig.configure(&settings.clone().pool_size(size));
                let timing = Timing::start();
                console.order("RELOAD").await;
                eventually(&format!("{size} servers"), async || {
                    let row = watching.query_one(count, &[]).await.expect("Postgres is there");
                    (u32::try_from(row.get::<_, i32>(0)) == Ok(size)).then_some(())
                })
                .await;
                timing.is_below(IN_EFFECT);
            }
        })
        .await;
        assert_eq!((tallies[0].refused, tallies[0].given_up), (0, 0));
        assert!(tallies[0].answers.len() > 1_000, "{}", tallies[0].answers.len());
    });
}

#[test]
fn a_server_that_is_not_affected_is_kept() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.clone()).await;
        let (mut console, mut client) = (Console::open(&rig).await, rig.client().await);
        let mut held = rig.client().await;
        held.query("begin").await;
        let (idle, leased) = (client.value(BACKEND).await, held.value(BACKEND).await);
        let other = settings
            .pool_size(9)
            .set("server_idle_timeout", Duration::from_mins(5))
            .set("max_client_conn", 50)
            .overload("max_queued", 30)
            .user("new", "secret")
            .database("third", "dbname", "app")
            .database("second", "connect_query", "select 1")
            .host("max_connections", 70)
            .class("batch", "match = { user = 'nobody' }");
        rig.configure(&other);
        console.order("RELOAD").await;
        assert_eq!(client.value(BACKEND).await, idle);
        assert_eq!(held.value(BACKEND).await, leased);
        held.query("commit").await;
        let mut third = Login::to(rig.address()).database("third").connect().await;
        assert_eq!(third.value("select current_database()").await, "app");
    });
}

const BACKEND: &str = "select pg_backend_pid()";

#[test]
fn clients_follow_a_host_that_moves() {
    run(async {
        let settings = with_console(Settings::new().set("server_down_hold", Duration::ZERO));
        let (rig, other) = (Rig::start(settings.clone()).await, Postgres::start().await);
        let mut console = Console::open(&rig).await;
        let (mut busy, mut idle) = (rig.client().await, rig.client().await);
        let before = idle.value("show port").await;
        busy.query("begin").await;
        assert_eq!(busy.value("show port").await, before);
        rig.proxy.configure(&settings, &other.address());
        console.order("RELOAD").await;
        let after = idle.value("show port").await;
        assert_ne!(after, before, "the next query goes to the other one");
        assert_eq!(busy.value("show port").await, before, "a transaction ends where it began");
        // Cancel requests go where the query runs.
        busy.send(Batch::new().query("select pg_sleep(60)")).await;
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        busy.cancel().await;
        assert_eq!(busy.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(E)"]);
        busy.query("rollback").await;
        assert_eq!(busy.value("show port").await, after);
        rig.postgres.wait_for_servers("true", 0).await;
    });
}

/// The old one is dead: who waits for it is not kept waiting.
#[test]
fn who_waits_for_a_dead_host_is_served_by_the_new_one() {
    run(async {
        let settings = with_console(Settings::new())
            .set("server_down_hold", Duration::from_secs(50))
            .set("query_wait_timeout", Duration::from_secs(50));
        let (mut rig, other) = (Rig::start(settings.clone()).await, Postgres::start().await);
        let mut console = Console::open(&rig).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.shut_down();
        client.send(Batch::new().query("select 2")).await;
        eventually("it waits", async || {
            let pools = console.rows("SHOW POOLS").await;
            pools.iter().any(|pool| pool["cl_waiting"] == "1").then_some(())
        })
        .await;
        rig.proxy.configure(&settings, &other.address());
        console.order("RELOAD").await;
        assert_eq!(client.answer().await.last().map(String::as_str), Some("Z(I)"));
        assert_eq!(client.value("select 3").await, "3");
    });
}

/// A login that waits for a server goes on with the pool that it has then; so does one that waits for it.
#[test]
fn who_logs_in_meanwhile_is_let_in_to_the_new_pool() {
    run(async {
        let settings = with_console(Settings::new()).pool_size(1);
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let login = Login::to(rig.address()).with("TimeZone", "Europe/Rome");
        let logins: Vec<_> = (0..2)
            .map(|_| {
                let login = login.clone();
                tokio::spawn(async move { login.connect().await })
            })
            .collect();
        eventually("it waits", async || {
            let pools = console.rows("SHOW POOLS").await;
            pools.iter().any(|pool| pool["cl_waiting"] == "1").then_some(())
        })
        .await;
        rig.configure(&settings.database("app", "server_user", "other"));
        console.order("RELOAD").await;
        for login in logins {
            let mut client = login.await.expect("it does not panic");
            assert_eq!(client.value("select current_user").await, "other");
            assert_eq!(client.parameters["TimeZone"], "Europe/Rome");
        }
        assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}

#[test]
fn clients_follow_their_database_to_another_host_and_another_login() {
    run(async {
        let settings = with_console(Settings::new());
        let (rig, other) = (Rig::start(settings.clone()).await, Postgres::start().await);
        let mut console = Console::open(&rig).await;
        let (mut busy, mut idle) = (rig.client().await, rig.client().await);
        let before = idle.value("show port").await;
        busy.query("begin").await;
        rig.configure(&settings.clone().database("app", "server_user", "other"));
        console.order("RELOAD").await;
        assert_eq!(idle.value("select current_user").await, "other");
        assert_eq!(busy.value("select current_user").await, "app", "until its transaction ends");
        busy.query("commit").await;
        assert_eq!(busy.value("select current_user").await, "other");
        rig.postgres.wait_for_servers("usename = 'app'", 0).await;
        let crate::harness::Address::Tcp(address) = other.address() else { panic!("TCP") };
        let text = rig.proxy.written().replacen(
            "[databases.app]\nhost = \"main\"",
            &format!(
                "[hosts.other]\nhost = '{}'\nport = {}\n[databases.app]\nhost = \"other\"",
                address.ip(),
                address.port()
            ),
            1,
        );
        rig.proxy.rewrite(&text);
        console.order("RELOAD").await;
        for client in [&mut idle, &mut busy] {
            assert_ne!(client.value("show port").await, before);
        }
        busy.send(Batch::new().query("select pg_sleep(60)")).await;
        other.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        busy.cancel().await;
        assert_eq!(busy.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
        rig.postgres.wait_for_servers("true", 0).await;
        eventually("it is shown once", async || {
            let pools = console.rows("SHOW POOLS").await;
            let pools = pools.iter().filter(|pool| pool["database"] == "app");
            let pools: Vec<_> =
                pools.map(|pool| (pool["user"].as_str(), pool["cl_active"].as_str())).collect();
            (pools == [("other", "2")]).then_some(())
        })
        .await;
    });
}

#[test]
fn a_session_in_session_mode_ends_as_it_began() {
    run(async {
        let settings = with_console(Settings::new()).pool_mode("session").pool_size(1);
        let rig = Rig::start(settings.clone()).await;
        let (mut console, mut client) = (Console::open(&rig).await, rig.client().await);
        client.query("create temporary table mine (x int)").await;
        rig.configure(&settings.pool_mode("transaction"));
        console.order("RELOAD").await;
        assert_eq!(client.value("select count(*) from mine").await, "0", "it keeps its server");
        drop(client);
        let mut next = rig.client().await;
        assert_eq!(next.value("select to_regclass('mine') is null").await, "t", "it was reset");
        let mut other = rig.client().await;
        assert_eq!(other.value("select 1").await, "1", "and nobody keeps a server any more");
    });
}
