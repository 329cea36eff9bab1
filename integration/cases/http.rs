//! Health, readiness and metrics over HTTP.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::process::{Process, RunAs, command, run_to_end};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{WAIT_MAX, eventually, run, within};
use crate::harness::wire::cancel;

pub(super) fn settings(port: &Port) -> Settings {
    Settings::new().set("http_addr", port.address().as_str())
}

/// The status and the body of an answer.
pub(super) async fn get(port: &Port, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = exchange(port, &request);
    let answer = within(WAIT_MAX, answer).await.expect("an answer in time");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or_else(|| panic!("no status: {answer}")), body.to_owned())
}

/// One value of a scrape.
pub(super) async fn metric(port: &Port, name: &str) -> f64 {
    let (_, text) = get(port, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn is_one(port: &Port, name: &str) {
    let is_one = async || ((metric(port, name).await - 1.0).abs() < 0.1).then_some(());
    eventually(name, is_one).await;
}

/// What is answered until the connection is closed.
pub(super) async fn exchange(port: &Port, request: &str) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
    let mut stream = TcpStream::connect(address).await.expect("HTTP is served");
    // Part of it may be refused unread: then a reset comes behind the answer.
    stream.write_all(request.as_bytes()).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).expect("text")
}

#[test]
fn a_scrape_shows_what_clients_do() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        client.query("begin").await;
        assert_eq!(get(&port, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get(&port, "/readyz").await, (200, "ready\n".to_owned()));
        let (status, text) = get(&port, "/metrics").await;
        assert_eq!(status, 200);
        let pool = "database=\"app\",user=\"app\"";
        for line in [
            format!("pgweir_pool_queries_total{{{pool}}} 2"),
            format!("pgweir_pool_query_seconds_count{{{pool}}} 2"),
            format!("pgweir_pool_transaction_seconds_count{{{pool}}} 1"),
            format!("pgweir_pool_wait_seconds_count{{{pool}}} 2"),
            format!("pgweir_pool_wait_seconds_bucket{{{pool},le=\"+Inf\"}} 2"),
            format!("pgweir_pool_servers{{{pool},state=\"active\"}} 1"),
            format!("pgweir_pool_server_connects_total{{{pool}}} 1"),
            format!("pgweir_pool_logins_total{{{pool}}} 1"),
            "pgweir_clients 1".to_owned(),
            "pgweir_host_servers_max{host=\"main\"} 80".to_owned(),
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        assert_eq!(get(&port, "/nothing").await.0, 404);
        let refused =
            exchange(&port, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(refused.await.starts_with("HTTP/1.1 405 "));
        let garbage = exchange(&port, "\0\u{1}garbage\r\n\r\n").await;
        assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
        assert_eq!(client.query("commit").await.last().expect("an answer"), "Z(I)");
    });
}

#[test]
fn each_scraper_gets_the_format_it_asks_for() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        rig.client().await.query("select 1").await;
        let scrape = async |accept: &str| {
            let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
            exchange(&port, &format!("{head}{accept}\r\n")).await.to_lowercase()
        };
        let plain = scrape("").await;
        assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        assert!(!plain.contains("# eof"));
        let open = scrape("Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n").await;
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(open.contains(kind) && open.ends_with("# eof\n"));
        // What Prometheus' own tool has to say about it: nothing.
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("scrape");
        let (_, text) = get(&port, "/metrics").await;
        std::fs::write(&file, text).expect("it is written");
        let mut check = std::process::Command::new("sh");
        check.args(["-c", "promtool check metrics < \"$0\" 2>&1"]).arg(&file);
        assert_eq!(run_to_end(&mut check), "");
    });
}

#[test]
fn how_things_ended_is_counted_by_reason() {
    run(async {
        let port = Port::take();
        let settings = settings(&port).set("auth_type", "plain").pool_size(1);
        let rig = Rig::start(with_console(settings)).await;
        let login = Login::to(rig.address());
        login.clone().user("app", "wrong").error().await;
        let mut holder = login.connect().await;
        let mut waiter = login.connect().await;
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 1")).await;
        is_one(&port, "pgweir_pool_wait_cause{database=\"app\",user=\"app\",cause=\"pool_full\"}")
            .await;
        waiter.cancel().await;
        assert_eq!(waiter.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        let mut console = Console::open(&rig).await;
        console.order("SET query_wait_timeout = '200ms'").await;
        waiter.error("select 1").await;
        holder.cancel().await;
        waiter.cancel().await;
        cancel(rig.address(), 12_345, b"none").await;
        waiter.send(Batch::new().raw(b'X', b"")).await;
        drop(waiter);
        for line in [
            "pgweir_login_failures_total{reason=\"authentication_failed\"}",
            "pgweir_request_refusals_total{reason=\"query_wait_timeout\"}",
            "pgweir_client_closes_total{reason=\"client_terminated\"}",
            "pgweir_cancels_total{outcome=\"running\"}",
            "pgweir_cancels_total{outcome=\"queued\"}",
            "pgweir_cancels_total{outcome=\"idle\"}",
            "pgweir_cancels_total{outcome=\"unknown_key\"}",
        ] {
            is_one(&port, line).await;
        }
        for name in ["pgweir_worker_busy_seconds_total", "pgweir_worker_buffer_bytes"] {
            let mut sum = 0.0;
            for worker in 0..3 {
                sum += metric(&port, &format!("{name}{{worker=\"{worker}\"}}")).await;
            }
            assert!(sum > 0.0, "{name}");
        }
    });
}

#[test]
fn it_is_not_ready_while_no_host_can_be_reached() {
    run(async {
        let port = Port::take();
        let settings = settings(&port).set("query_wait_timeout", std::time::Duration::from_secs(1));
        let mut rig = Rig::start(settings).await;
        rig.client().await.query("select 1").await;
        rig.postgres.crash();
        // Somebody must ask for a server for it to be noticed.
        let login = Login::to(rig.address());
        let why = eventually("it is not ready", async || {
            let _refused = login.clone().with("work_mem", "1MB").attempt().await;
            let (status, why) = get(&port, "/readyz").await;
            (status == 503).then_some(why)
        });
        let why = why.await;
        assert!(why.starts_with("host main: "), "{why}");
        assert_eq!(get(&port, "/healthz").await.0, 200);
        let (_, text) = get(&port, "/metrics").await;
        assert!(text.contains("pgweir_host_up{host=\"main\"} 0\n"), "{text}");
    });
}

#[test]
fn an_address_that_is_taken_is_an_error_at_the_start() {
    run(async {
        let port = Port::take();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).expect("it is free");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("proxy.toml");
        let own = Port::take();
        let text = format!(
            "[proxy]\nlisten_port = {}\nunix_socket_dir = \"\"\nhttp_addr = \"127.0.0.1:{}\"\n\
             [hosts.main]\n[databases.app]\nhost = \"main\"\n[users.app]\npassword = \"x\"\n",
            own.number, port.number
        );
        std::fs::write(&file, text).expect("the configuration is written");
        let mut program = command(env!("CARGO_BIN_EXE_pgweir"), RunAs::Ourselves);
        program.arg("run").arg("-c").arg(&file);
        let mut process = Process::start("pgweir", &mut program, Signal::INT);
        let status = eventually("it ends", async || process.ended()).await;
        assert!(!status.success());
        let said = eventually("it says why", async || {
            Some(process.log()).filter(|log| log.contains("cannot serve HTTP"))
        });
        assert!(said.await.contains("see http_addr"));
    });
}

/// What an operator stopped is not healthy, wherever one looks.
#[test]
fn what_an_operator_has_stopped_shows() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(with_console(settings(&port))).await;
        let mut console = Console::open(&rig).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        let shown = async || {
            let (status, _) = get(&port, "/readyz").await;
            let mut values = vec![f64::from(status)];
            for name in [
                "pgweir_suspended",
                "pgweir_database_paused{database=\"app\"}",
                "pgweir_database_disabled{database=\"app\"}",
            ] {
                values.push(metric(&port, name).await);
            }
            values
        };
        assert_eq!(shown().await, [200.0, 0.0, 0.0, 0.0]);
        for (commands, expected, undo) in [
            (vec!["SUSPEND"], [503.0, 1.0, 0.0, 0.0], vec!["RESUME"]),
            (vec!["PAUSE"], [503.0, 0.0, 1.0, 0.0], vec!["RESUME"]),
            (vec!["DISABLE app"], [200.0, 0.0, 0.0, 1.0], vec![]),
            (vec!["DISABLE second"], [503.0, 0.0, 0.0, 1.0], vec!["ENABLE app", "ENABLE second"]),
            (vec!["PAUSE app"], [200.0, 0.0, 1.0, 0.0], vec!["RESUME app"]),
        ] {
            for command in &commands {
                console.order(command).await;
            }
            assert_eq!(shown().await, expected, "{commands:?}");
            let (_, status) = get(&port, "/api/status.json").await;
            assert!(status.contains("an operator has "), "{commands:?}: {status}");
            if commands == ["SUSPEND"] {
                let row = console.row("SHOW OVERLOAD", "app").await.expect("a pool");
                assert_eq!(row["state"], "suspended");
                assert!(row["cause"].contains("RESUME"), "{row:?}");
            }
            for command in undo {
                console.order(command).await;
            }
        }
        assert_eq!(shown().await, [200.0, 0.0, 0.0, 0.0]);
    });
}
