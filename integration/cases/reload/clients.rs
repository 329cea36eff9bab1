//! What becomes of clients, and of those who log in.

use std::time::Duration;

use super::with_passwords;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

fn root(rig: &Rig) -> Login {
    Login::to(rig.address()).user("root", "root-secret").database("pgweir")
}

/// A role that has no password in Postgres: any will do.
fn login(rig: &Rig, password: &str) -> Login {
    Login::to(rig.address()).user("app", password)
}

#[test]
fn another_password_holds_from_the_next_login() {
    run(async {
        let rig = Rig::start(with_passwords()).await;
        let mut console = root(&rig).connect().await;
        let mut client = login(&rig, "app-secret").connect().await;
        rig.configure(&with_passwords().user("app", "changed"));
        console.query("RELOAD").await;
        assert_eq!(login(&rig, "app-secret").error().await.code(), "28P01");
        assert_eq!(login(&rig, "changed").connect().await.value("select 1").await, "1");
        assert_eq!(client.value("select 1").await, "1", "who is in stays in");
        // The cost of keys is part of what unknown users look like.
        rig.configure(&with_passwords().user("app", "changed").set("scram_iterations", 5_000));
        console.query("RELOAD").await;
        assert_eq!(login(&rig, "changed").connect().await.value("select 1").await, "1");
    });
}

/// Ends with FATAL 57P01.
async fn assert_ended(mut client: Client) {
    let frames = client.wire.until_closed().await;
    assert_eq!(frames.last().expect("it is told").shown(), "E(FATAL 57P01)");
}

#[test]
fn who_is_not_configured_any_more_leaves_after_its_transaction() {
    run(async {
        let rig = Rig::start(with_passwords()).await;
        let mut console = root(&rig).connect().await;
        let text = rig.proxy.written();
        let without = |section: &str| {
            let (before, after) = text.split_once(section).expect("it is there");
            let rest = after.split_once("\n[").map_or("", |(_, rest)| rest);
            format!("{before}\n[{rest}")
        };
        let second = login(&rig, "app-secret").database("second");
        for (section, gone) in [
            ("[databases.second]", second),
            ("[users.other]", Login::to(rig.address()).user("other", "other-secret")),
        ] {
            let idle = gone.connect().await;
            let mut busy = gone.connect().await;
            busy.query("begin").await;
            let mut stays = login(&rig, "app-secret").connect().await;
            rig.proxy.rewrite(&without(section));
            console.query("RELOAD").await;
            assert_ended(idle).await;
            let code = gone.error().await.code();
            assert_eq!(code, if section.contains("users") { "28P01" } else { "3D000" });
            assert_eq!(busy.value("select 1").await, "1", "its transaction goes on");
            busy.query("commit").await;
            assert_ended(busy).await;
            assert_eq!(stays.value("select 1").await, "1");
            // It may come back.
            rig.proxy.rewrite(&text);
            console.query("RELOAD").await;
            assert_eq!(gone.connect().await.value("select 1").await, "1");
        }
    });
}

#[test]
fn limits_on_clients_hold_for_those_who_come() {
    run(async {
        let settings = with_console(Settings::new()).set("max_client_conn", 3);
        let rig = Rig::start(settings.clone()).await;
        let mut console = Console::open(&rig).await;
        let mut clients = vec![rig.client().await, rig.client().await, rig.client().await];
        let login = Login::to(rig.address());
        assert_eq!(login.error().await.code(), "53300");
        console.order("SET max_client_conn = 4").await;
        clients.push(login.connect().await);
        assert_eq!(login.error().await.code(), "53300");
        console.order("SET max_client_conn = 2").await;
        for client in &mut clients {
            assert_eq!(client.value("select 1").await, "1", "nobody is put out");
        }
        clients.truncate(2);
        assert_eq!(login.error().await.code(), "53300", "those who are in are counted");
        clients.truncate(1);
        eventually("there is room for one", async || login.attempt().await.ok()).await;
        rig.configure(&settings.set("max_client_conn", 100).database(
            "app",
            "max_db_client_connections",
            2,
        ));
        console.order("RELOAD").await;
        let _second = login.connect().await;
        let error = login.error().await;
        assert!(error.message().contains("max_db_client_connections"), "{}", error.message());
        let _elsewhere = login.database("second").connect().await;
    });
}

#[test]
fn timeouts_hold_for_those_who_are_in() {
    run(async {
        let settings = with_console(Settings::new());
        let rig = Rig::start(settings.set("client_idle_timeout", Duration::from_secs(40))).await;
        let mut console = Console::open(&rig).await;
        let (mut idle, mut holding) = (rig.client().await, rig.client().await);
        assert_eq!(idle.value("select 1").await, "1");
        holding.query("begin").await;
        // It is idle already, and so is the other in its transaction.
        console.order("SET idle_transaction_timeout = '100ms'").await;
        let ended = holding.wire.until_closed().await;
        assert_eq!(ended.last().expect("it is told").shown(), "E(FATAL 25P03)");
        assert_eq!(idle.value("select 1").await, "1");
        console.order("SET client_idle_timeout = '100ms'").await;
        let ended = idle.wire.until_closed().await;
        assert_eq!(ended.last().expect("it is told").shown(), "E(FATAL 57P05)");
        console.order("SET client_idle_timeout = 0").await;
        let mut holder = rig.client().await;
        console.order("SET default_pool_size = 1").await;
        console.order("SET query_wait_timeout = '100ms'").await;
        let mut waiter = rig.client().await;
        console.order("SET idle_transaction_timeout = 0").await;
        holder.query("begin").await;
        let error = waiter.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_timeout"));
        console.order("SET error_compat = pgbouncer").await;
        let frames = {
            waiter.send(Batch::new().query("select 1")).await;
            waiter.wire.until_closed().await
        };
        assert_eq!(frames.last().expect("it is told").shown(), "E(FATAL 08P01)");
    });
}

#[test]
fn limits_of_classes_hold_at_once_and_rules_from_the_next_login() {
    run(async {
        let settings = with_console(Settings::new());
        let few = "match = { application_name = 'etl' }\nmax_in_flight = 1";
        let rig = Rig::start(settings.clone().class("batch", few)).await;
        let mut console = Console::open(&rig).await;
        let etl = Login::to(rig.address()).with("application_name", "etl");
        let mut clients = vec![etl.connect().await, etl.connect().await, etl.connect().await];
        clients[0].query("begin").await;
        clients[1].send(Batch::new().query("begin")).await;
        console.wait_for("batch", "queued", 1).await;
        console.order("SET CLASS batch max_in_flight = 2, weight = 7").await;
        assert_eq!(clients[1].answer().await.last().map(String::as_str), Some("Z(T)"));
        assert_eq!(console.number("batch", "max_in_flight").await, 2);
        assert_eq!(console.number("batch", "weight").await, 7);
        clients[2].send(Batch::new().query("begin")).await;
        console.wait_for("batch", "queued", 1).await;
        console.order("SET CLASS batch max_in_flight = NONE").await;
        assert_eq!(clients[2].answer().await.last().map(String::as_str), Some("Z(T)"));
        // A class that no section names.
        let _other = rig.client().await;
        console.order("SET CLASS 'app/app' max_in_flight = 3").await;
        assert_eq!(console.number("app/app", "max_in_flight").await, 3);
        let none = "match = { application_name = 'nobody' }\nmax_in_flight = 4";
        rig.configure(&settings.clone().class("batch", none));
        console.order("RELOAD").await;
        assert_eq!(console.number("batch", "clients").await, 3, "who is in it stays in it");
        assert_eq!(console.number("batch", "max_in_flight").await, 4);
        assert_eq!(console.number("batch", "weight").await, 1, "what was set is forgotten");
        assert_eq!(console.number("app/app", "max_in_flight").await, 0);
        let before = console.number("app/app", "clients").await;
        let _next = etl.connect().await;
        assert_eq!(console.number("app/app", "clients").await, before + 1);
        rig.configure(&settings);
        console.order("RELOAD").await;
        assert_eq!(console.number("batch", "clients").await, 3, "it is gone, and they are not");
        for client in &mut clients {
            client.query("commit").await;
        }
    });
}

#[test]
fn the_gate_for_logins_changes_while_they_wait() {
    run(async {
        let settings =
            with_console(Settings::new()).overload("login_wait", Duration::from_secs(40));
        let rig = Rig::start(settings.overload("logins_per_second", 0.05)).await;
        // Of the console, which passes no gate.
        let mut console = Console::open(&rig).await;
        let login = Login::to(rig.address());
        let _first = login.connect().await;
        let waiting = tokio::spawn({
            let login = login.clone();
            async move { login.connect().await }
        });
        eventually("it waits", async || {
            let lists = console.rows("SHOW LISTS").await;
            (!lists.is_empty() && !waiting.is_finished()).then_some(())
        })
        .await;
        console.order("SET logins_per_second = 0").await;
        let mut client = waiting.await.expect("it does not fail");
        assert_eq!(client.value("select 1").await, "1");
    });
}
