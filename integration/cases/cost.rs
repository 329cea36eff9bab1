//! What a query costs, in system calls. A count is the same on any machine, however busy: `strace`
//! runs the proxy, and the calls are counted between two queries that it sees go by.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Address;
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
use crate::harness::postgres::Postgres;
use crate::harness::process::{Process, RunAs, command};
use crate::harness::settings::{Places, Settings};
use crate::harness::time::{eventually, run};
use crate::harness::wire::{Client, Wire};

/// How many queries are counted.
const QUERIES: usize = 1_000;

/// Calls that are no query's: those around the first and the last, a lock that was just taken.
const STRAY_MAX: usize = 20;

/// A worker looks at its deadlines this often, busy or not. That costs a timer and, in tokio, a word
/// to itself.
const TICK_SECONDS: f64 = 0.05;
const CALLS_PER_TICK: usize = 3;

/// The query before those that are counted, and the one after them.
const BEGIN: &str = "cost counted from here";
const END: &str = "cost counted up to here";

#[test]
fn a_simple_query_costs_four_calls() {
    check(|sql| Batch::new().query(sql));
}

#[test]
fn an_extended_query_costs_four_calls() {
    check(|sql| Batch::new().parse("", sql).bind("", &[]).describe_portal("").execute().sync());
}

#[test]
fn a_prepared_query_costs_four_calls() {
    // The first and the last tell by their text where to count.
    let batch = |sql: &str| match sql {
        "select 1" => Batch::new().bind("again and again", &[]).execute().sync(),
        sql => Batch::new().query(sql),
    };
    check_after(Batch::new().parse("again and again", "select 1").sync(), batch);
}

/// `batch` makes the request for a statement.
fn check(batch: impl Fn(&str) -> Batch) {
    check_after(Batch::new().sync(), batch);
}

fn check_after(first: Batch, batch: impl Fn(&str) -> Batch) {
    run(async {
        let postgres = Postgres::start().await;
        let proxy = Traced::start(&Settings::new().pool_size(1), &postgres).await;
        let mut client = Client::connect(&proxy.address).await;
        client.ask(first).await;
        let mut ask = async |sql: &str| {
            let frames = client.ask_frames(batch(sql)).await;
            assert!(frames.iter().any(|frame| frame.tag == b'D'), "{sql}: {frames:?}");
        };
        // The first queries open a server and fill what is kept for later.
        for _ in 0..50 {
            ask("select 1").await;
        }
        ask(&format!("select '{BEGIN}'")).await;
        for _ in 0..QUERIES {
            ask("select 1").await;
        }
        ask(&format!("select '{END}'")).await;
        proxy.stop().judge();
    });
}

/// A proxy that `strace` runs.
struct Traced {
    address: Address,
    process: Process,
    directory: TempDir,
    _port: Port,
}

impl Traced {
    async fn start(settings: &Settings, postgres: &Postgres) -> Self {
        let port = Port::take();
        let directory = tempfile::Builder::new()
            .prefix("pgweir-it-")
            .tempdir()
            .expect("a temporary directory is made");
        let Address::Tcp(server) = postgres.address() else { panic!("Postgres listens on TCP") };
        let places =
            Places { listen_port: port.number, directory: directory.path(), postgres: server };
        let mut process = launch(settings, &places);
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port.number)));
        eventually("the traced proxy listens", async || {
            if let Some(status) = process.ended() {
                panic!("strace, or the proxy in it, ended with {status}:\n{}", process.log());
            }
            Wire::try_connect(&address).await.ok().map(|_| ())
        })
        .await;
        Self { address, process, directory, _port: port }
    }

    /// Ends it, and counts.
    fn stop(mut self) -> Calls {
        self.process.stop(Signal::INT);
        let files = std::fs::read_dir(self.directory.path()).expect("the directory is there");
        let mut traces = files.flatten().filter_map(|file| {
            let is_trace = file.file_name().to_string_lossy().starts_with("trace.");
            is_trace.then(|| std::fs::read(file.path()).expect("a trace can be read"))
        });
        traces
            .find_map(|trace| Calls::counted(&String::from_utf8_lossy(&trace)))
            .expect("one thread has served all of the client's queries")
    }
}

fn launch(settings: &Settings, places: &Places<'_>) -> Process {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|place| place.join("strace").exists());
    assert!(is_there, "no `strace` to count with: install Debian's package strace");
    let file = places.directory.join("proxy.toml");
    std::fs::write(&file, settings.toml(places)).expect("the configuration is written");
    let mut command = command("strace", RunAs::Ourselves);
    // A file for each thread; what descriptors are; the time; a signal goes on to the proxy.
    command.args(["-ff", "-qq", "-yy", "-ttt", "-s", "100", "-e", "signal=none", "-I", "waiting"]);
    command.arg("-o").arg(places.directory.join("trace"));
    command.args(["setpriv", "--pdeathsig=QUIT", "--", env!("CARGO_BIN_EXE_pgweir"), "run", "-c"]);
    Process::start("strace", command.arg(&file), Signal::INT)
}

/// What one thread did, from the first of the two queries up to the second.
#[derive(Debug, Default)]
struct Calls {
    /// On sockets, by call and socket.
    on_sockets: BTreeMap<String, usize>,
    waits: usize,
    others: BTreeMap<String, usize>,
    seconds: f64,
}

impl Calls {
    /// `None`: this thread did not serve the client.
    fn counted(trace: &str) -> Option<Self> {
        let counted = trace.lines().skip_while(|line| !line.contains(BEGIN));
        let counted = counted.take_while(|line| !line.contains(END));
        let mut calls = Self::default();
        let mut began = None;
        // `1763676000.123456 recvfrom(9<TCP:[127.0.0.1:6432->127.0.0.1:40000]>, "Q\0\0…`
        for line in counted {
            let Some((time, (name, arguments))) =
                line.split_once(' ').and_then(|(time, call)| Some((time, call.split_once('(')?)))
            else {
                continue;
            };
            let time: f64 = time.parse().expect("strace says when a call began");
            calls.seconds = time - *began.get_or_insert(time);
            calls.enter(name, arguments);
        }
        began.map(|_| calls)
    }

    fn enter(&mut self, name: &str, arguments: &str) {
        let on = arguments.split(", ").next().unwrap_or_default();
        if name.starts_with("epoll_") && name != "epoll_ctl" {
            self.waits += 1;
        } else if on.contains("<TCP:") || on.contains("<UNIX") {
            *self.on_sockets.entry(format!("{name} on {on}")).or_default() += 1;
        } else {
            *self.others.entry(format!("{name} on {on}")).or_default() += 1;
        }
    }

    fn judge(&self) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
        let ticks = 1 + (self.seconds / TICK_SECONDS) as usize;
        let strays = STRAY_MAX + ticks * CALLS_PER_TICK;
        let data: usize = self.on_sockets.values().sum();
        assert!(
            (4 * QUERIES..=4 * QUERIES + STRAY_MAX).contains(&data),
            "{data} calls on sockets for {QUERIES} queries, instead of 4 for each: {self:#?}"
        );
        // For the request and for its answer.
        assert!(
            self.waits <= 2 * QUERIES + strays,
            "{} waits for {QUERIES} queries, instead of 2 for each: {self:#?}",
            self.waits
        );
        let others: usize = self.others.values().sum();
        assert!(others <= strays, "{others} other calls, no more than {strays} allowed: {self:#?}");
        let registers = self.others.keys().any(|call| call.starts_with("epoll_ctl"));
        assert!(!registers, "nothing is registered for a query: {self:#?}");
    }
}
