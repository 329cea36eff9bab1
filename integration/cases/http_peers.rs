//! What peers of the HTTP port may cost, and that they disturb nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{exchange, get, metric, settings};
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::random::{Seed, one_in};
use crate::harness::time::{WAIT_MAX, eventually, run, within};

async fn connect(port: &Port) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
    TcpStream::connect(address).await.expect("HTTP is served")
}

/// What comes until the proxy closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read =
        within(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("it is closed in time");
    // A reset is an end, too.
    read.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// One header of an answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split_once("\r\n\r\n").map_or(answer, |(head, _)| head);
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[test]
fn it_answers_what_it_serves_and_nothing_else() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let ask = async |line: &str, more: &str| {
            exchange(
                &port,
                &format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"),
            )
            .await
        };
        let pages = ["/", "/api/status.json", "/api/history.json"];
        for path in pages.into_iter().chain(["/healthz", "/readyz", "/metrics"]) {
            let answer = ask(&format!("GET {path}"), "").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
            assert_eq!(header(&answer, "cache-control"), Some("no-store"));
            let head = ask(&format!("HEAD {path}"), "").await;
            assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
                let answer = ask(&format!("{method} {path}"), "").await;
                assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
                assert_eq!(header(&answer, "allow"), Some("GET,HEAD"), "{method}");
            }
        }
        for path in
            ["/index.html", "/metrics/", "/../etc/passwd", "/%2e%2e/metrics", "//metrics", "*"]
        {
            let answer = ask(&format!("GET {path}"), "").await;
            assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
        }
        let fields = "x: y\r\n".repeat(80);
        let long = format!("x: {}\r\n", "y".repeat(20_000));
        for more in [fields, long] {
            let answer = ask("GET /healthz", &more).await;
            assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
        }
        // Nobody waits for a body that is announced.
        let answer = ask("GET /healthz", "Content-Length: 1000000000\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn who_is_slow_to_ask_is_let_go() {
    run(async {
        let port = Port::take();
        let _rig = Rig::start(settings(&port)).await;
        let silent = connect(&port).await;
        let mut slow = connect(&port).await;
        slow.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("it is taken");
        let dripping = async {
            let (reading, mut writing) = slow.into_split();
            let drip = async {
                // A byte now and then does not help.
                while writing.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            let mut reading = reading;
            let mut answer = Vec::new();
            tokio::select! {
                () = drip => {}
                _ = reading.read_to_end(&mut answer) => {}
            }
            answer
        };
        let (silence, dripped) = tokio::join!(rest(silent), within(WAIT_MAX, dripping));
        assert_eq!(silence, "");
        let dripped = dripped.expect("it is let go in time");
        assert!(!dripped.starts_with(b"HTTP/1.1 200 "));
    });
}

/// Connections that ask for nothing keep nobody out.
#[test]
fn a_crowd_of_idle_connections_makes_room() {
    run(async {
        let port = Port::take();
        let _rig = Rig::start(settings(&port)).await;
        let mut idle = Vec::new();
        for _ in 0..200 {
            let mut stream = connect(&port).await;
            // Some have asked before, and could ask again.
            if idle.len() % 2 == 0 {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ok();
            }
            idle.push(stream);
        }
        assert_eq!(get(&port, "/healthz").await.0, 200);
        let open = metric(&port, "process_open_fds").await;
        assert!(open < 200.0, "{open} descriptors");
    });
}

#[test]
fn garbage_disturbs_no_query() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        let mut random = Seed::of_run().actor(0);
        let before = rig.proxy.process().memory_high_water();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.3\r\n\r\n";
        for round in 0..300 {
            let mut bytes: Vec<u8> = if one_in(&mut random, 2) {
                let length = random.random_range(0..70_000);
                (0..length).map(|_| random.random()).collect()
            } else {
                // A request, but for some bytes.
                request.repeat(random.random_range(1..20))
            };
            for _ in 0..random.random_range(0..4) {
                if !bytes.is_empty() {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
            }
            let mut stream = connect(&port).await;
            // It may close before it has read all of it.
            within(Duration::from_secs(1), stream.write_all(&bytes)).await;
            if one_in(&mut random, 2) {
                drop(stream);
            } else {
                stream.shutdown().await.ok();
                let mut some = [0; 512];
                within(Duration::from_millis(20), stream.read(&mut some)).await;
            }
            if round % 10 == 0 {
                assert_eq!(client.value("select 1").await, "1");
            }
        }
        assert_eq!(get(&port, "/readyz").await, (200, "ready\n".to_owned()));
        let grown = rig.proxy.process().memory_high_water() - before;
        assert!(grown < 32 << 20, "grew by {grown} bytes");
    });
}

/// They ask for much and read nothing: no more than some answers are made for them.
#[test]
fn who_does_not_read_costs_bounded_memory() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        get(&port, "/metrics").await;
        let before = rig.proxy.process().memory_high_water();
        let asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
        let mut greedy = Vec::new();
        for _ in 0..60 {
            let mut stream = connect(&port).await;
            within(Duration::from_millis(10), stream.write_all(&asked)).await;
            greedy.push(stream);
        }
        assert_eq!(rig.client().await.value("select 1").await, "1");
        let grown = rig.proxy.process().memory_high_water() - before;
        assert!(grown < 32 << 20, "grew by {grown} bytes");
        drop(greedy);
        assert_eq!(get(&port, "/metrics").await.0, 200);
    });
}

/// Who stops is not ready any more, and tells its numbers to the end.
#[test]
fn it_serves_until_the_end_and_is_not_ready() {
    run(async {
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let mut client = rig.client().await;
        client.query("begin").await;
        rig.proxy.process().signal(Signal::TERM);
        eventually("it is not ready", async || {
            let (status, why) = get(&port, "/readyz").await;
            (status == 503).then(|| assert_eq!(why, "the proxy is stopping\n"))
        })
        .await;
        assert_eq!(get(&port, "/healthz").await.0, 200);
        let state = "pgweir_pool_state{database=\"app\",user=\"app\",state=\"draining\"}";
        assert!((metric(&port, state).await - 1.0).abs() < 0.1);
        assert_eq!(client.query("commit").await.last().expect("an answer"), "Z(I)");
    });
}
