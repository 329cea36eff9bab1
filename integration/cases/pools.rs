//! How many servers there are, who gets one, and when they go.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::Row;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, Watch, eventually, run, throughout};
use crate::harness::wire::Client;

const SHORT: Duration = Duration::from_millis(500);

fn login(rig: &Rig, user: &str, database: &str) -> Login {
    Login::to(rig.address()).user(user, &format!("{user}-secret")).database(database)
}

/// The ports from which this machine has connections to `port` that neither side has closed.
fn ports_of_connections_to(port: u16) -> HashSet<i32> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel lists connections");
    let port_of = |address: &str| i32::from_str_radix(address.split_once(':')?.1, 16).ok();
    let mut ports = HashSet::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns[3] == ESTABLISHED && port_of(columns[2]) == Some(i32::from(port)) {
            ports.extend(port_of(columns[1]));
        }
    }
    ports
}

/// Many clients of two users in two databases want servers at once, while the number of servers that
/// match `filter` is counted. Gives the largest number that was seen.
async fn most_servers(settings: Settings, filter: &str) -> usize {
    let rig = Rig::start(settings.set("query_wait_timeout", Duration::from_secs(30))).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let user = if number % 2 == 0 { "app" } else { "other" };
        let database = if number % 4 < 2 { "app" } else { "second" };
        let login = login(&rig, user, database);
        tasks.spawn(async move {
            let mut client = login.connect().await;
            for _ in 0..5 {
                let answer = client.query("select pg_sleep(0.02)").await;
                assert_eq!(answer, ["T(pg_sleep)", "D()", "C(SELECT 1)", "Z(I)"]);
            }
        });
    }
    let watcher = rig.postgres.connect("app").await.expect("the superuser can log in");
    let sql = format!(
        "select client_port from pg_stat_activity \
         where backend_type = 'client backend' and usename <> 'postgres' and {filter}"
    );
    let mut most = 0;
    while !tasks.is_empty() {
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("a client does not fail");
        }
        let rows = watcher.query(&sql, &[]).await.expect("the superuser may look");
        // A backend that was told goodbye takes a moment to go, while another is in its place already.
        // Looked at later, because what was closed by then was closed before that other was opened.
        let open = ports_of_connections_to(rig.postgres.port());
        let is_open = |row: &Row| open.contains(&row.get::<_, i32>(0));
        most = most.max(rows.iter().filter(|row| is_open(row)).count());
        tokio::task::yield_now().await;
    }
    most
}

#[test]
fn a_pool_never_has_more_servers_than_its_size() {
    run(async {
        let settings = Settings::new().pool_size(3);
        let filter = "usename = 'app' and datname = 'app'";
        assert_eq!(most_servers(settings, filter).await, 3);
    });
}

#[test]
fn a_databases_own_pool_size_wins() {
    run(async {
        let settings = Settings::new().pool_size(9).database("app", "pool_size", 2);
        let filter = "usename = 'app' and datname = 'app'";
        assert_eq!(most_servers(settings, filter).await, 2);
    });
}

#[test]
fn a_database_never_has_more_servers_than_max_db_connections() {
    run(async {
        let settings = Settings::new().pool_size(5).set("max_db_connections", 4);
        assert_eq!(most_servers(settings, "datname = 'app'").await, 4);
    });
}

#[test]
fn a_user_never_has_more_servers_than_max_user_connections() {
    run(async {
        let settings = Settings::new().pool_size(5).set("max_user_connections", 4);
        assert_eq!(most_servers(settings, "usename = 'app'").await, 4);
    });
}

#[test]
fn a_host_never_has_more_servers_than_max_connections() {
    run(async {
        let settings = Settings::new().pool_size(5).host("max_connections", 6);
        assert_eq!(most_servers(settings, "true").await, 6);
    });
}

#[test]
fn a_transaction_keeps_its_server_and_nothing_else_does() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        let pid = a.value("select pg_backend_pid()").await;
        assert_eq!(b.value("select pg_backend_pid()").await, pid);
        a.query("begin").await;
        b.send(Batch::new().query("select 'after the commit'")).await;
        assert_eq!(a.value("select pg_backend_pid()").await, pid);
        throughout(Duration::from_millis(200), "b waits", async || {
            rig.postgres.servers("query like '%after the commit%'").await == 0
        })
        .await;
        a.query("commit").await;
        assert_eq!(b.answer().await[1], "D(after the commit)");
    });
}

#[test]
fn a_session_keeps_its_server_until_it_ends_and_leaves_it_clean() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1).pool_mode("session")).await;
        let mut first = rig.client().await;
        let pid = first.value("select pg_backend_pid()").await;
        first.query("create temp table mine (); set work_mem = '7MB'; listen news").await;
        assert_eq!(first.value("select count(*) from mine").await, "0");
        assert_eq!(first.value("select pg_backend_pid()").await, pid);
        drop(first);
        let mut second = rig.client().await;
        assert_eq!(second.value("select pg_backend_pid()").await, pid);
        assert_eq!(second.error("select * from mine").await.code(), "42P01");
        assert_ne!(second.value("show work_mem").await, "7MB");
        assert_eq!(second.value("select count(*) from pg_listening_channels()").await, "0");
    });
}

#[test]
fn statement_mode_refuses_transactions_of_several_statements() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1).pool_mode("statement")).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        client.send(Batch::new().query("begin")).await;
        let frames = client.wire.until(b'E').await;
        let error = frames.last().expect("it ends with the error");
        assert!(error.message().contains("transaction blocks not allowed"), "{error:?}");
        drop(client);
        assert_eq!(rig.client().await.value("select 2").await, "2");
        assert_eq!(rig.postgres.servers("state like 'idle in transaction%'").await, 0);
    });
}

#[test]
fn a_databases_or_users_own_pool_mode_wins() {
    run(async {
        let settings = Settings::new().pool_size(1).database("second", "pool_mode", "session");
        let rig = Rig::start(settings.user_set("other", "pool_mode", "session")).await;
        for (user, database) in [("app", "second"), ("other", "app")] {
            let mut client = login(&rig, user, database).connect().await;
            client.query("create temp table mine ()").await;
            assert_eq!(client.value("select count(*) from mine").await, "0", "{user} {database}");
        }
    });
}

#[test]
fn an_idle_server_of_another_pool_makes_room_on_a_full_host() {
    run(async {
        let rig = Rig::start(Settings::new().host("max_connections", 1)).await;
        for (user, database) in [("app", "app"), ("other", "app"), ("app", "second")] {
            let timing = Timing::start();
            let mut client = login(&rig, user, database).connect().await;
            assert_eq!(client.value("select current_user").await, user);
            timing.is_below(Duration::from_secs(2));
            assert!(rig.postgres.servers("true").await <= 1);
        }
    });
}

#[test]
fn min_pool_size_keeps_servers_ready() {
    run(async {
        let rig = Rig::start(Settings::new().set("min_pool_size", 3)).await;
        let client = rig.client().await;
        rig.postgres.wait_for_servers("usename = 'app' and datname = 'app'", 3).await;
        rig.postgres
            .sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
            .await;
        rig.postgres.wait_for_servers("usename = 'app' and datname = 'app'", 3).await;
        drop(client);
    });
}

/// The pool is known before anybody comes; those of other databases and users are not.
#[test]
fn min_pool_size_fills_a_pool_with_a_server_user_from_the_start() {
    run(async {
        let settings = Settings::new()
            .set("min_pool_size", 2)
            .database("app", "server_user", "other")
            .database("app", "min_pool_size", 3)
            .user_set("special", "server_user", "app");
        let rig = Rig::start(settings).await;
        rig.postgres.wait_for_servers("usename = 'other' and datname = 'app'", 3).await;
        assert_eq!(rig.postgres.servers("true").await, 3);
        // It is the pool that clients come to.
        let mut client = rig.client().await;
        assert_eq!(client.value("select current_user").await, "other");
        assert_eq!(rig.postgres.servers("true").await, 3);
    });
}

#[test]
fn the_reserve_serves_those_who_waited_long() {
    run(async {
        let settings = Settings::new().pool_size(1).set("reserve_pool_size", 1);
        let rig = Rig::start(settings.set("reserve_pool_timeout", SHORT)).await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let mut waiter = rig.client().await;
        let watch = Watch::start();
        assert_eq!(waiter.value("select 'from the reserve'").await, "from the reserve");
        assert!(watch.elapsed() >= Duration::from_millis(400), "after {:?}", watch.elapsed());
        assert_eq!(rig.postgres.servers("usename = 'app'").await, 2);
        assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
    });
}

#[test]
fn a_server_past_its_lifetime_is_replaced() {
    run(async {
        let settings = Settings::new().pool_size(1);
        let rig = Rig::start(settings.set("server_lifetime", Duration::from_secs(1))).await;
        let mut client = rig.client().await;
        let first = client.value("select pg_backend_pid()").await;
        eventually("another server", async || {
            (client.value("select pg_backend_pid()").await != first).then_some(())
        })
        .await;
        assert!(rig.postgres.servers("usename = 'app'").await <= 1);
    });
}

#[test]
fn a_server_that_nobody_uses_is_closed() {
    run(async {
        let limit = Duration::from_secs(1);
        let rig = Rig::start(Settings::new().set("server_idle_timeout", limit)).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.wait_for_servers("usename = 'app'", 0).await;
        assert_eq!(client.value("select 2").await, "2");
    });
}

#[test]
fn waiters_are_served_in_the_order_they_came() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let (mut console, mut holder) = (Console::open(&rig).await, rig.client().await);
        holder.query("create table served (n serial, who int)").await;
        let mut waiters: Vec<Client> = Vec::new();
        for _ in 0..5 {
            waiters.push(rig.client().await);
        }
        holder.query("begin").await;
        for (number, waiter) in waiters.iter_mut().enumerate() {
            let sql = format!("insert into served (who) values ({number})");
            waiter.send(Batch::new().query(&sql)).await;
            console.wait_for("app/app", "queued", number as u64 + 1).await;
        }
        holder.query("commit").await;
        for waiter in &mut waiters {
            assert_eq!(waiter.answer().await, ["C(INSERT 0 1)", "Z(I)"]);
        }
        let order = "select string_agg(who::text, ',' order by n) from served";
        assert_eq!(holder.value(order).await, "0,1,2,3,4");
    });
}
