//! The status page and its numbers, as any program gets them. `drivers/page.rs` looks at it in a browser.

use std::time::Duration;

use serde_json::Value;

use super::http::{exchange, get};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

const HOSTILE_DATABASE: &str = "<b>hot</b><script>pwned=1</script>";
const HOSTILE_NAME: &str = "<img src=x onerror=pwned=1>\"'</script>";

pub(crate) fn settings(port: &Port) -> Settings {
    super::http::settings(port)
        .pool_size(2)
        .set("listen", "pin")
        .set("query_wait_timeout", Duration::from_mins(10))
        .database(&format!("'{HOSTILE_DATABASE}'"), "dbname", "app")
        .class("reports", "match = { application_name = 'report*' }\nmax_in_flight = 1")
}

/// A pool whose servers do nothing, and clients that wait for them.
pub(crate) struct Trouble {
    _clients: Vec<Client>,
}

impl Trouble {
    pub(crate) async fn make(rig: &Rig, port: &Port) -> Self {
        let login = Login::to(rig.address());
        let named = async |name: &str| login.clone().with("application_name", name).connect().await;
        let mut billing = named("billing").await;
        billing.query("begin").await;
        let mut listener = named("listener").await;
        listener.query("listen news").await;
        let mut clients = vec![billing, listener];
        for name in ["web", HOSTILE_NAME, "report 7"] {
            let mut client = named(name).await;
            client.send(Batch::new().query("select 1")).await;
            clients.push(client);
        }
        let mut hot = login.clone().database(HOSTILE_DATABASE).connect().await;
        hot.query("begin").await;
        let mut calm = login.clone().database("second").connect().await;
        calm.query("select 1").await;
        clients.extend([hot, calm]);
        eventually("they have waited for a while, and there is a point", async || {
            let status = json(port, "/api/status.json").await;
            let has_point = status["history"]["last"].as_u64()? > 0;
            let attention = status["attention"].as_array()?;
            (status["waiting"]["all"] == 3 && has_point && !attention.is_empty()).then_some(())
        })
        .await;
        Self { _clients: clients }
    }

    /// What must be read on the page.
    pub(crate) fn texts() -> &'static [&'static str] {
        &[
            "Clients of app/app wait",
            "all 2 servers busy; 0 active, 1 idle in transaction (for ",
            "application_name billing), 1 kept idle; 3 clients waiting",
            "nobody waits",
            "second/app",
            "idle in transaction for",
            "reports",
            "The last 15 minutes",
        ]
    }

    pub(crate) fn hostile() -> [&'static str; 2] {
        [HOSTILE_DATABASE, HOSTILE_NAME]
    }
}

async fn json(port: &Port, path: &str) -> Value {
    let (status, text) = get(port, path).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The one of these with this value under this name.
#[track_caller]
fn find<'a>(all: &'a Value, name: &str, value: &str) -> &'a Value {
    let mut all = all.as_array().expect("a list").iter();
    all.find(|one| one[name] == value).unwrap_or_else(|| panic!("no {name} {value}"))
}

#[test]
fn the_numbers_tell_who_waits_and_behind_whom() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let _trouble = Trouble::make(&rig, &port).await;
        let status = json(&port, "/api/status.json").await;
        assert_eq!((&status["format"], &status["state"]), (&1.into(), &"busy".into()));
        let attention = &status["attention"][0];
        assert_eq!((&attention["name"], &attention["state"]), (&"app/app".into(), &"busy".into()));
        let pool = find(&status["pools"], "database", "app");
        assert_eq!(pool["reason"], attention["reason"]);
        assert_eq!((pool["size"].as_u64(), pool["waiting"].as_u64()), (Some(2), Some(3)));
        assert_eq!((&pool["idle_in_transaction"], &pool["kept_idle"]), (&1.into(), &1.into()));
        assert!(pool["longest_wait"].as_f64() >= Some(1.0), "{pool}");
        let calm = find(&status["pools"], "database", "second");
        assert_eq!((&calm["state"], &calm["reason"]), (&"healthy".into(), &"".into()));
        assert_eq!(calm["servers"]["idle"], 1);
        find(&status["pools"], "database", HOSTILE_DATABASE);
        let host = find(&status["hosts"], "name", "main");
        assert_eq!((&host["max_connections"], &host["servers"]["open"]), (&80.into(), &4.into()));
        let (waiting, holding) = (&status["waiting"], &status["holding"]);
        assert_eq!((&waiting["all"], &holding["all"]), (&3.into(), &3.into()));
        let waiter = find(&waiting["shown"], "application", HOSTILE_NAME);
        assert_eq!(waiter["cause"], "pool_full");
        let billing = find(&holding["shown"], "application", "billing");
        assert_eq!(billing["state"], "idle_in_transaction");
        assert_eq!(billing["is_in_the_way"], true);
        let pid = billing["pid"].as_u64().expect("a pid");
        assert_eq!(rig.postgres.servers(&format!("pid = {pid}")).await, 1);
        assert_eq!(find(&holding["shown"], "application", "listener")["state"], "kept_idle");
        let class = find(&status["classes"], "name", "reports");
        assert_eq!((&class["servers"]["max"], &class["waiting"]["used"]), (&1.into(), &1.into()));
        let history = json(&port, "/api/history.json").await;
        let points = history["all"]["waiting"].as_array().expect("a column");
        assert_eq!(points.last(), Some(&3.into()));
        let own = find(&history["pools"], "database", "app");
        assert!(own["transactions"].as_array().expect("a column").len() <= points.len());
    });
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    run(async {
        let port = Port::take();
        let _rig = Rig::start(settings(&port)).await;
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(&port, request).await;
        let (head, html) = answer.split_once("\r\n\r\n").expect("an answer");
        let head = head.to_lowercase();
        assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
        let policies = head.lines().filter(|line| line.starts_with("content-security-policy: "));
        let [policy] = policies.collect::<Vec<_>>()[..] else { panic!("one policy: {head}") };
        for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(html.contains("<script>") && !html.contains("src="));
    });
}

/// A page of somebody else's, whose name has come to mean this address, could read it all otherwise.
#[test]
fn on_loopback_the_page_is_told_to_those_who_ask_for_the_address() {
    run(async {
        let port = Port::take();
        let _rig = Rig::start(settings(&port)).await;
        let status = async |path: &str, hosts: &[&str]| {
            let hosts = hosts.join("\r\nHost: ");
            let head = format!("GET {path} HTTP/1.1\r\nHost: {hosts}\r\n");
            let request = format!("{head}Connection: close\r\n\r\n");
            let answer = exchange(&port, &request).await;
            answer.split(' ').nth(1).expect("a status").to_owned()
        };
        for path in ["/", "/api/status.json", "/api/history.json"] {
            for host in ["localhost", "LOCALHOST:9432", "127.0.0.1:1", "[::1]:9432", "10.0.0.7"] {
                assert_eq!(status(path, &[host]).await, "200", "{path} {host}");
            }
            for host in ["evil.example", "evil.example:9432", "localhost.evil.example", "x", "::"] {
                assert_eq!(status(path, &[host]).await, "421", "{path} {host}");
            }
            assert_eq!(status(path, &["localhost", "evil.example"]).await, "421");
            assert_eq!(status(&format!("http://evil.example{path}"), &["localhost"]).await, "421");
            let old = exchange(&port, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
            assert!(old.starts_with("HTTP/1.0 200 "), "{path}: {old}");
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(status(path, &["proxy.example:9432"]).await, "200", "{path}");
        }
    });
}

#[test]
fn a_host_that_is_down_needs_attention() {
    run(async {
        let port = Port::take();
        let mut rig = Rig::start(settings(&port)).await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        rig.postgres.crash();
        client.send(Batch::new().query("select 1")).await;
        let status = eventually("it is told", async || {
            let status = json(&port, "/api/status.json").await;
            (status["state"] == "server_down").then_some(status)
        })
        .await;
        let host = find(&status["attention"], "what", "host");
        assert_eq!((&host["name"], &host["state"]), (&"main".into(), &"server_down".into()));
        assert!(!host["reason"].as_str().expect("a text").is_empty());
    });
}
