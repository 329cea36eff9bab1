//! What the console shows of clients, servers and waits.

use std::collections::BTreeMap;

use crate::harness::Address;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

type Row = BTreeMap<String, String>;

async fn rig(settings: Settings) -> Rig {
    Rig::start(with_console(settings)).await
}

/// The row whose column has this value.
fn find<'a>(rows: &'a [Row], column: &str, value: &str) -> &'a Row {
    let found = rows.iter().find(|row| row[column] == value);
    found.unwrap_or_else(|| panic!("no {column} is {value}: {rows:#?}"))
}

#[track_caller]
fn assert_has(row: &Row, expected: &[(&str, &str)]) {
    for (column, value) in expected {
        assert_eq!(row.get(*column).map(String::as_str), Some(*value), "{column} of {row:#?}");
    }
}

async fn named(rig: &Rig, name: &str) -> Client {
    Login::to(rig.address()).with("application_name", name).connect().await
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:#?} is no number"))
}

/// Somebody waits, and is seen to.
async fn wait(console: &mut Console, waiter: &mut Client) {
    waiter.send(Batch::new().query("select 1")).await;
    let id = waiter.pid.to_string();
    eventually("somebody waits", async || {
        let waits = console.rows("SHOW WAITS").await;
        waits.iter().any(|wait| wait["id"] == id).then_some(())
    })
    .await;
}

#[test]
fn clients_and_servers_are_joined_by_their_pointers() {
    run(async {
        let rig = rig(Settings::new().pool_size(1)).await;
        let mut console = Console::open(&rig).await;
        let (mut busy, mut waiter) = (named(&rig, "busy").await, named(&rig, "late").await);
        let _idle = named(&rig, "idle").await;
        busy.query("begin").await;
        let pid = busy.value("select pg_backend_pid()").await;
        wait(&mut console, &mut waiter).await;
        let (clients, servers) =
            (console.rows("SHOW CLIENTS").await, console.rows("SHOW SERVERS").await);
        assert_eq!((clients.len(), servers.len()), (4, 1));
        let busy_row = find(&clients, "application_name", "busy");
        assert_has(busy_row, &[("type", "C"), ("user", "app"), ("database", "app")]);
        assert_has(busy_row, &[("state", "active"), ("replication", "none"), ("tls", "")]);
        assert_has(busy_row, &[("addr", "127.0.0.1"), ("local_addr", "127.0.0.1")]);
        let Address::Tcp(address) = rig.address() else { panic!("by TCP here") };
        assert_has(busy_row, &[("local_port", &address.port().to_string()), ("wait", "0")]);
        assert_has(busy_row, &[("id", &busy.pid.to_string()), ("close_needed", "0")]);
        let server = &servers[0];
        assert_has(server, &[("type", "S"), ("state", "active"), ("remote_pid", &pid)]);
        assert_has(server, &[("link", &busy_row["ptr"]), ("application_name", "busy")]);
        assert_eq!(busy_row["link"], server["ptr"]);
        assert!(server["ptr"].starts_with("0x") && busy_row["ptr"].starts_with("0x"));
        let idle = find(&clients, "application_name", "idle");
        assert_has(idle, &[("state", "idle"), ("link", ""), ("wait_us", "0")]);
        let late = find(&clients, "application_name", "late");
        assert_has(late, &[("state", "waiting"), ("link", "")]);
        assert!(number(late, "wait") + number(late, "wait_us") > 0, "{late:#?}");
        let own = find(&clients, "database", "pgbouncer");
        assert_has(own, &[("user", "app"), ("state", "idle")]);
        for row in clients.iter().chain(&servers) {
            for time in ["connect_time", "request_time"] {
                let time = &row[time];
                assert!(time.starts_with("20") && time.ends_with(" UTC"), "{time}");
            }
        }
        let sockets = console.rows("SHOW SOCKETS").await;
        let states: Vec<_> = sockets.iter().map(|row| row["state"].as_str()).collect();
        assert_eq!(states, ["cl_active", "cl_waiting", "cl_active", "cl_active", "sv_active"]);
        let active = console.rows("SHOW ACTIVE_SOCKETS").await;
        assert_eq!(active.len(), 3, "who holds, who waits, and the server: {active:#?}");
    });
}

#[test]
fn an_idle_server_is_nobodys_and_one_that_is_replaced_says_so() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut console = Console::open(&rig).await;
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        one.query("begin").await;
        other.query("select 1").await;
        // Its answer may be here before it is given back.
        let servers = eventually("one is given back", async || {
            let servers = console.rows("SHOW SERVERS").await;
            servers.iter().any(|row| row["state"] == "idle").then_some(servers)
        })
        .await;
        assert_has(find(&servers, "state", "idle"), &[("link", ""), ("close_needed", "0")]);
        console.rows("RECONNECT").await;
        let servers = console.rows("SHOW SERVERS").await;
        assert_eq!(servers.len(), 1, "{servers:#?}");
        assert_has(&servers[0], &[("state", "active"), ("close_needed", "1")]);
    });
}

#[test]
fn a_client_by_the_unix_socket_shows_its_process() {
    run(async {
        let rig = rig(Settings::new()).await;
        let mut console = Console::open(&rig).await;
        let _client = Login::to(&rig.proxy.unix).connect().await;
        let clients = console.rows("SHOW CLIENTS").await;
        let row = find(&clients, "addr", "unix");
        assert_has(row, &[("local_addr", "unix"), ("port", &row["local_port"])]);
        assert_has(row, &[("remote_pid", &std::process::id().to_string())]);
    });
}

#[test]
fn who_waits_is_told_for_what_and_behind_whom() {
    run(async {
        let rig = rig(Settings::new().pool_size(2).set("listen", "pin")).await;
        let mut console = Console::open(&rig).await;
        let mut billing = named(&rig, "billing").await;
        let (mut listener, mut waiter) = (named(&rig, "news").await, named(&rig, "late").await);
        billing.query("begin").await;
        let pid = billing.value("select pg_backend_pid()").await;
        listener.query("listen news").await;
        assert!(console.rows("SHOW WAITS").await.is_empty());
        wait(&mut console, &mut waiter).await;
        // The answers may be here before their clients are seen to be idle.
        let waits = eventually("nobody is active", async || {
            let waits = console.rows("SHOW WAITS").await;
            (waits[0]["active"] == "0").then_some(waits)
        })
        .await;
        assert_eq!(waits.len(), 1);
        let row = &waits[0];
        assert_has(row, &[("id", &waiter.pid.to_string()), ("application_name", "late")]);
        assert_has(row, &[("database", "app"), ("user", "app"), ("class", "app/app")]);
        assert_has(row, &[("cause", "pool_full"), ("behind", "pool"), ("addr", "127.0.0.1")]);
        assert_has(row, &[("holders", "2"), ("active", "0"), ("idle_in_transaction", "1")]);
        assert_has(row, &[("kept_idle", "1"), ("longest_pid", &pid)]);
        assert_has(row, &[("longest_state", "idle_in_transaction")]);
        assert_has(row, &[("longest_application_name", "billing")]);
        assert!(row["waits_for"].contains("pool_size"), "{row:#?}");
        assert!(number(row, "wait_us") > 0 && number(row, "longest_us") > 0);
        let holders = console.rows("SHOW HOLDERS").await;
        assert_eq!(holders.len(), 2);
        let first = &holders[0];
        assert_has(first, &[("pid", &pid), ("state", "idle_in_transaction"), ("waiting", "1")]);
        assert_has(first, &[("id", &billing.pid.to_string()), ("class", "app/app")]);
        assert!(number(first, "idle_us") <= number(first, "held_us"));
        assert_has(&holders[1], &[("application_name", "news"), ("state", "kept_idle")]);
        // What is shown as its id is what ends it.
        console.rows(&format!("KILL_CLIENT {}", first["id"])).await;
        assert_eq!(waiter.answer().await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn of_very_many_those_are_shown_who_have_waited_longest() {
    run(async {
        let rig = rig(Settings::new().pool_size(1).set("max_client_conn", 1_100)).await;
        let mut console = Login::to(rig.address()).database("pgweir").connect().await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let mut waiters = Vec::new();
        for _ in 0..1_010 {
            let mut waiter = rig.client().await;
            waiter.send(Batch::new().query("select 1")).await;
            waiters.push(waiter);
        }
        let count = async |console: &mut Client| {
            let frames = console.ask_frames(Batch::new().query("SHOW WAITS")).await;
            let notice = frames.iter().find(|frame| frame.tag == b'N').map(Frame::message);
            (frames.iter().filter(|frame| frame.tag == b'D').count(), notice)
        };
        let all = "1000 of 1010 are shown: those that have waited longest";
        eventually("all wait", async || {
            let (rows, notice) = count(&mut console).await;
            (rows == 1_000 && notice.as_deref() == Some(all)).then_some(())
        })
        .await;
        drop(waiters.split_off(1_000));
        eventually("all are shown", async || {
            (count(&mut console).await == (1_000, None)).then_some(())
        })
        .await;
    });
}

#[test]
fn who_waits_for_its_class_is_told_who_else_is_in_it() {
    run(async {
        let settings = Settings::new()
            .pool_size(4)
            .class("batch", "match = { application_name = \"etl*\" }\nmax_in_flight = 1");
        let rig = rig(settings).await;
        let mut console = Console::open(&rig).await;
        let mut other = named(&rig, "web").await;
        let (mut first, mut second) = (named(&rig, "etl1").await, named(&rig, "etl2").await);
        other.query("begin").await;
        first.query("begin").await;
        wait(&mut console, &mut second).await;
        let row = console.rows("SHOW WAITS").await.remove(0);
        assert_has(&row, &[("cause", "class_in_flight"), ("behind", "class"), ("class", "batch")]);
        assert_has(&row, &[("holders", "1"), ("longest_application_name", "etl1")]);
    });
}

#[test]
fn times_and_errors_are_those_that_were_counted() {
    run(async {
        let rig = rig(Settings::new().pool_size(1)).await;
        let mut console = Console::open(&rig).await;
        let errors = console.rows("SHOW ERRORS").await;
        assert!(errors.iter().all(|row| row["reason"] != "query_wait_timeout"), "{errors:#?}");
        let (mut one, mut other) = (rig.client().await, rig.client().await);
        one.query("begin").await;
        one.query("select pg_sleep(0.03)").await;
        console.order("SET query_wait_timeout = '100ms'").await;
        assert_eq!(other.error("select 1").await.code(), "57014");
        one.query("commit").await;
        let is_query = |row: &&Row| row["time"] == "query" && row["database"] == "app";
        let is_service = |row: &&Row| row["time"] == "service" && row["class"] == "app/app";
        // The last answer may be here before its query is counted, and its server is given back.
        let times = eventually("all of it is counted", async || {
            let times = console.rows("SHOW HISTOGRAMS").await;
            let counted = times.iter().find(is_query)?["count"] == "3"
                && times.iter().find(is_service)?["count"] != "0";
            counted.then_some(times)
        })
        .await;
        let query = times.iter().find(is_query).expect("the pool is there");
        assert_has(query, &[("class", ""), ("user", "app")]);
        assert!(number(query, "sum_us") >= 30_000, "{query:#?}");
        let shares = ["p50_us", "p90_us", "p99_us", "max_us"].map(|share| number(query, share));
        assert!(shares.is_sorted() && shares[3] >= 30_000, "{query:#?}");
        let service = times.iter().find(is_service);
        assert!(number(service.expect("the class is there"), "sum_us") >= 30_000);
        let errors = console.rows("SHOW ERRORS").await;
        let row = find(&errors, "reason", "query_wait_timeout");
        assert_has(row, &[("sqlstate", "57014"), ("count", "1"), ("refusals", "1")]);
        assert_has(row, &[("closes", "0"), ("failed_logins", "0"), ("blame", "proxy")]);
        assert!(row["last_seen"].ends_with(" UTC"), "{row:#?}");
    });
}
