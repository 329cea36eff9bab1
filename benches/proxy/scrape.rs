//! What Prometheus does: reads all metrics, every second here.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Result;

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

const HEADERS: &str = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
    Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n";

/// What is asked for: the path, and how the answer ends.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Metrics,
    Status,
}

impl Answer {
    const fn path_and_end(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::Metrics => ("/metrics", b"# EOF\n"),
            Self::Status => ("/api/status.json", b"}"),
        }
    }
}

/// Scrapes until it is dropped.
pub(crate) struct Scraper {
    address: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scraper {
    pub(crate) fn start(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // At once and here: if it does not work, nothing is measured.
        ask(address, Answer::Metrics)?;
        let (stop, stopped) = channel::<()>();
        let work = move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                // A proxy that is gone is noticed by those who use it.
                drop(ask(address, Answer::Metrics));
            }
        };
        let thread = thread::Builder::new().name("scraper".into()).spawn(work)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// One more; how long it took, from connecting to its last byte.
    pub(crate) fn ask(&self, what: Answer) -> Result<Duration> {
        ask(self.address, what)
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn ask(address: SocketAddr, what: Answer) -> Result<Duration> {
    let (path, end) = what.path_and_end();
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} {HEADERS}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = started.elapsed();
    if answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(end) {
        Ok(took)
    } else {
        Err(format!("{} bytes that are no answer", answer.len()).into())
    }
}
