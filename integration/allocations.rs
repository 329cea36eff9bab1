//! What a query costs in memory that has to be asked for: nothing. The proxy runs in this process, a
//! counting allocator below it, and the client that asks makes its buffer before the count begins.
//!
//! A program of its own, with one test: the count is of the whole process.

#![forbid(unsafe_code)]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use pgweir::app::Start;
use pgweir::app::log::Levels;
use pgweir::app::successor::Successor;
use pgweir::config::Source;
use pgweir::config::overlay::Overlay;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::TempDir;

use harness::Address;
use harness::frames::{Batch, startup_message, terminated};
use harness::login::PROTOCOL_3_0;
use harness::ports::Port;
use harness::postgres::Postgres;
use harness::settings::{Places, Settings};
use harness::time::{WAIT_MAX, eventually, run};

#[expect(dead_code, reason = "this program needs a part of the harness")]
mod harness;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The first queries open a server and make what is kept for later.
const WARM_UP: usize = 500;

/// In so many rounds there may be one allocation. There are a few that no query makes: a thread that
/// meets a lock which is taken makes what it waits with, once; the wheel of deadlines makes a slot
/// when time first comes to it.
const ROUNDS_PER_ALLOCATION: usize = 100;

#[test]
fn a_query_allocates_nothing() {
    run(async {
        let postgres = Postgres::start().await;
        let proxy = Proxy::start(&postgres).await;
        let mut client = Client::log_in(proxy.address);
        let mut other = Client::log_in(proxy.address);

        let simple = Batch::new().query("select 1").0;
        count("simple", 10_000, || client.ask(&simple, 1));

        let extended = Batch::new().parse("", "select $1::int").bind("", &["1"]);
        let extended = extended.describe_portal("").execute().sync().0;
        count("extended", 10_000, || client.ask(&extended, 1));

        client.ask(&Batch::new().parse("a", "select $1::int").sync().0, 1);
        other.ask(&Batch::new().parse("another", "select $1::int").sync().0, 1);
        let prepared = Batch::new().bind("a", &["1"]).describe_portal("").execute().sync().0;
        let others = Batch::new().bind("another", &["1"]).describe_portal("").execute().sync().0;
        count("prepared", 10_000, || client.ask(&prepared, 1));
        count("prepared, by turns", 2_000, || {
            client.ask(&prepared, 1);
            other.ask(&others, 1);
        });

        let begin = Batch::new().query("begin").0;
        let commit = Batch::new().query("commit").0;
        count("in a transaction", 2_000, || {
            client.ask(&begin, 1);
            client.ask(&extended, 1);
            client.ask(&commit, 1);
        });

        let pipeline = [&simple[..], &extended, &simple, &extended].concat();
        count("in a pipeline", 2_000, || client.ask(&pipeline, 4));

        let rows = Batch::new().query("select repeat('x', 1000) from generate_series(1, 300)").0;
        count("with a long answer", 2_000, || client.ask(&rows, 1));

        count("by turns", 2_000, || {
            client.ask(&simple, 1);
            other.ask(&simple, 1);
        });

        // A wait holds its request, and itself, in memory of its own, so that whoever does not wait
        // is small.
        count_up_to(2, "from the queue", 2_000, || {
            client.ask(&begin, 1);
            other.send(&simple);
            client.ask(&commit, 1);
            other.receive(1);
        });
    });
}

/// Asks again and again, and checks that nobody allocates.
fn count(what: &str, rounds: usize, ask: impl FnMut()) {
    count_up_to(0, what, rounds, ask);
}

/// As `count`, where a round may allocate so many times.
fn count_up_to(each_max: usize, what: &str, rounds: usize, mut ask: impl FnMut()) {
    for _ in 0..WARM_UP {
        ask();
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..rounds {
        ask();
    }
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    assert!(
        allocations <= each_max * rounds + rounds / ROUNDS_PER_ALLOCATION,
        "{allocations} allocations in {rounds} rounds {what}: {change:?}"
    );
}

/// A proxy on a thread of this process, with which it ends.
struct Proxy {
    address: SocketAddr,
    _port: Port,
    _directory: TempDir,
}

impl Proxy {
    /// One server, so that clients take turns. Every limit of time is on: they are part of the path.
    async fn start(postgres: &Postgres) -> Self {
        let Address::Tcp(server) = postgres.address() else { panic!("Postgres listens on TCP") };
        let (port, directory) = (Port::take(), tempfile::tempdir().expect("a directory is made"));
        let minute = Duration::from_mins(1);
        let settings = Settings::new()
            .pool_size(1)
            .set("client_idle_timeout", minute)
            .set("idle_transaction_timeout", minute)
            .set("query_timeout", minute)
            .set("transaction_timeout", minute);
        let places =
            Places { listen_port: port.number, directory: directory.path(), postgres: server };
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, settings.toml(&places)).expect("the configuration is written");
        let mut source = Source::read(&file).expect("the file is there");
        let loaded = source.resolve(&Overlay::default());
        let mut config = loaded.expect("the settings are right").config;
        // A server that moves from one worker to another is registered anew.
        config.process.workers = 1;
        let (levels, successor) = (Levels::none(), Successor::new(vec![]));
        let start = Start { source, config, takes_over: false, levels, successor };
        thread::spawn(|| pgweir::app::run(start).expect("the proxy runs"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        eventually("the proxy listens", async || TcpStream::connect(address).ok()).await;
        Self { address, _port: port, _directory: directory }
    }
}

/// A client that asks for no memory once it is there.
struct Client {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Client {
    fn log_in(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a socket takes options");
        let mut client = Self { stream, buffer: vec![0; 65_536].into() };
        let mut body = terminated(&["user", "app", "database", "app"]);
        body.push(0);
        client.ask(&startup_message(PROTOCOL_3_0, &body), 1);
        client
    }

    /// Sends a request, and takes the answer up to as many `ReadyForQuery`.
    fn ask(&mut self, request: &[u8], readies: usize) {
        self.send(request);
        self.receive(readies);
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the proxy takes requests");
    }

    fn receive(&mut self, mut readies: usize) {
        // Where the next message begins, and where what has come ends.
        let (mut next, mut end) = (0, 0);
        while readies > 0 || next > end {
            if end == self.buffer.len() {
                self.buffer.copy_within(next.min(end).., 0);
                (next, end) = (next - next.min(end), end - next.min(end));
            }
            match self.stream.read(&mut self.buffer[end..]) {
                Ok(0) => panic!("the proxy has closed the connection"),
                Ok(n) => end += n,
                Err(error) => panic!("no answer: {error}"),
            }
            while let Some(&[tag, a, b, c, d]) =
                self.buffer[..end].get(next..).and_then(|rest| rest.first_chunk())
            {
                assert_ne!(tag, b'E', "a request failed");
                readies -= usize::from(tag == b'Z');
                next += 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            }
        }
    }
}
