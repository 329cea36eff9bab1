//! Any bytes, alone or within a request, at the port of health, metrics and the status page: answered with a
//! status that is meant, or the connection is closed; and the next one is served.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::config::Config;
use pgweir::control::roster::Roster;
use pgweir::metrics::Metrics;
use pgweir::net::worker::read_clock;
use pgweir::pool::registry::Registry;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// What is served, and ways to ask for it.
const REQUESTS: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    "HEAD /readyz HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/openmetrics-text;q=0.5\r\n\r\n",
    "GET /api/status.json HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nAccept-Encoding: gzip\r\n\r\n",
    "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
];

const STATUSES: [u16; 10] = [200, 304, 400, 403, 404, 405, 414, 421, 431, 503];

/// A proxy that nobody uses, in a thread of its own.
static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there is a runtime").block_on(async {
            let config = Arc::new(Config::default());
            let registry = Registry::new(read_clock(), &config, &TaskTracker::new());
            let metrics = Metrics::new(&Arc::new(registry), &Arc::<Roster>::default());
            listener.set_nonblocking(true).expect("it can be");
            metrics.serve(TcpListener::from_std(listener).expect("it is one")).await;
        });
    });
    address
});

fuzz_target!(|input: (u8, u16, u8, &[u8])| {
    let (request, at, lost, bytes) = input;
    let sent = match REQUESTS.get(usize::from(request)) {
        Some(request) => put_inside(request.as_bytes(), at.into(), lost.into(), bytes),
        None => bytes.to_vec(),
    };
    let mut peer = TcpStream::connect(*ADDRESS).expect("it listens");
    // It may have closed by now, and says so in its own way.
    let _told = peer.write_all(&sent).and_then(|()| peer.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let _cut = peer.read_to_end(&mut answer);
    if !answer.is_empty() {
        let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        assert!(status.is_some_and(|it| STATUSES.contains(&it)), "{}", sent.escape_ascii());
    }
});

/// The bytes in the place of `lost` others.
fn put_inside(request: &[u8], at: usize, lost: usize, bytes: &[u8]) -> Vec<u8> {
    let at = at.min(request.len());
    let behind = (at + lost).min(request.len());
    [&request[..at], bytes, &request[behind..]].concat()
}
