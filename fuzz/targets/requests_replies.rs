//! Any requests, pipelined at will, to a server that answers as Postgres does, with errors and copies
//! anywhere: the ledger knows of each reply whose it is, a server is given away only when nothing is
//! owed, and nobody meets another client's statement.
#![no_main]

#[path = "requests_replies/server.rs"]
mod server;

use libfuzzer_sys::fuzz_target;
use pgweir::session::ledger::{Abandoned, Ledger, Origin, Reply, Request, Status};
use pgweir::session::pins::Pins;
use server::{Said, Sent, Server, What};

/// The names of statements; the first is the unnamed one.
const NAMES: [&[u8]; 3] = [b"", b"a", b"b"];

/// A step of a server in which everything turns out well, and one that ends a transaction.
const WELL: u8 = 57;
const COMMIT: u8 = 49;

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::default();
    for step in bytes.chunks_exact(2) {
        session.step(step[0], step[1]);
    }
    session.finish();
});

/// A client with its server, as `client::relay` handles them.
#[derive(Default)]
struct Session {
    ledger: Ledger,
    pins: Pins,
    server: Server,
    is_leased: bool,
    lease: u32,
}

impl Session {
    fn step(&mut self, op: u8, choice: u8) {
        let name = choice % 3;
        match op % 16 {
            0 => self.server.step(choice),
            1 => self.read(),
            2 => self.client(What::CopyData, 0),
            3 => self.client(What::Flush, 0),
            4 => self.client(What::Request(Request::Query), 0),
            5 | 6 => self.client(What::Request(Request::Sync), 0),
            7 => self.client(What::Request(Request::CopyEnd), 0),
            8 => self.client(What::Request(Request::FunctionCall), 0),
            9 if name == 0 => self.client(What::Request(Request::Parse), name),
            9 => self.client(What::Request(Request::ParseNamed), name),
            10 => self.client(What::Request(Request::Bind), name),
            11 => self.client(What::Request(Request::Describe), name),
            12 => self.client(What::Request(Request::Execute), 0),
            13 if name == 0 => self.client(What::Request(Request::Close), name),
            13 => self.client(What::Request(Request::CloseNamed), name),
            _ => {
                self.server.step(choice);
                self.read();
            }
        }
        if self.ledger.is_settled() {
            let server = &self.server;
            let may_be_lent = !server.is_dead && !self.is_doubtful();
            assert!(!may_be_lent || server.is_free(), "settled, and yet: {server:?}");
            assert!(self.ledger.is_empty() && self.ledger.is_quiet() && !self.ledger.is_open());
            assert_eq!(self.ledger.next_origin(), None);
        }
    }

    /// The client sends something.
    fn client(&mut self, what: What, name: u8) {
        if !self.is_leased {
            match what {
                What::CopyData | What::Flush => return,
                What::Request(Request::Sync | Request::CopyEnd) => return,
                What::Request(_) => self.begin_lease(),
            }
        }
        let text = NAMES[usize::from(name)];
        match what {
            What::CopyData => {}
            What::Flush | What::Request(Request::Sync) if self.ledger.is_copying_in() => return,
            What::Flush => self.ledger.flushed(),
            What::Request(request) => self.request(request, text),
        }
        self.forward(what, Origin::Client, name);
    }

    fn request(&mut self, request: Request, name: &[u8]) {
        if matches!(request, Request::Bind | Request::Describe)
            && self.pins.is_missing(name)
            && self.ledger.sent(Request::Close, Origin::Proxy)
        {
            self.forward(What::Request(Request::Close), Origin::Proxy, 0);
        }
        let will_run = self.ledger.sent(request, Origin::Client);
        match request {
            Request::Sync => self.pins.sync_sent(),
            Request::Query if will_run => self.pins.query_sent(),
            Request::Parse | Request::ParseNamed if will_run => self.pins.parse_sent(name),
            Request::Bind if will_run => self.pins.bind_sent(name),
            Request::Close | Request::CloseNamed if will_run => self.pins.close_sent(name),
            _ => {}
        }
    }

    fn begin_lease(&mut self) {
        self.is_leased = true;
        self.lease += 1;
        if self.lease.is_multiple_of(2) {
            // This one has other settings than the last.
            assert!(self.ledger.sent(Request::Query, Origin::Proxy));
            self.forward(What::Request(Request::Query), Origin::Proxy, 0);
        }
    }

    fn forward(&mut self, what: What, origin: Origin, name: u8) {
        let lease = self.lease;
        self.server.inbox.push_back(Sent { what, origin, name, lease });
    }

    /// Reads one reply.
    fn read(&mut self) {
        let Some(said) = self.server.outbox.pop_front() else { return };
        if said.is_fatal {
            return self.lose_server();
        }
        let is_doubtful = self.is_doubtful();
        match said.tag {
            b'E' => self.failed(said),
            tag => {
                let reply = match tag {
                    b'Z' => self.ledger.ready(said.status),
                    _ => self.ledger.replied(tag),
                };
                let right =
                    Reply { origin: said.origin, settled: said.is_last.then_some(said.request) };
                if reply != Ok(right) && is_doubtful {
                    // After a copy has failed only a client that waits stays in step.
                    return self.lose_server();
                }
                assert_eq!(reply, Ok(right), "{said:?}");
                if said.origin == Origin::Client {
                    self.replied(said);
                }
            }
        }
        if self.is_leased && self.ledger.is_settled() && self.pins.cause().is_none() {
            self.end_lease();
        }
    }

    /// A copy has failed, and what the server had read of it is not known.
    fn is_doubtful(&self) -> bool {
        self.ledger.is_uncertain()
    }

    fn end_lease(&mut self) {
        assert!(!self.pins.leaves_traces());
        if self.is_doubtful() {
            return self.lose_server();
        }
        assert!(self.server.is_clean(), "left: {:?}", self.server);
        self.pins.lease_ended();
        self.is_leased = false;
    }

    /// It is closed; the next lease has another.
    fn lose_server(&mut self) {
        self.ledger.abandon();
        assert_eq!(self.ledger.abandon(), Abandoned::default());
        *self = Self { lease: self.lease, ..Self::default() };
    }

    fn replied(&mut self, said: Said) {
        match said.request {
            Request::Parse => self.pins.unnamed_parsed(),
            Request::ParseNamed => self.pins.named_parsed(),
            Request::CloseNamed => self.pins.named_closed(),
            _ if said.tag == b'C' => self.pins.completed(said.command),
            _ => {}
        }
    }

    fn failed(&mut self, said: Said) {
        let pins = &mut self.pins;
        let origin = self.ledger.failed(|request, _| match request {
            Request::ParseNamed | Request::CloseNamed => pins.named_skipped(),
            Request::Parse => pins.unnamed_skipped(),
            _ => {}
        });
        if origin != Some(said.origin) && self.is_doubtful() {
            return self.lose_server();
        }
        assert_eq!(origin, Some(said.origin), "{said:?}");
    }

    /// A client that does what the protocol asks for is never stuck.
    fn finish(&mut self) {
        self.drain();
        while self.server.copying.is_some() {
            self.client(What::Request(Request::CopyEnd), 0);
            self.drain();
        }
        self.client(What::Request(Request::Sync), 0);
        self.drain();
        if self.server.status != Status::Idle {
            self.client(What::Request(Request::Query), 0);
            self.server.step(COMMIT);
            self.drain();
        }
        assert!(self.ledger.is_settled(), "owed: {:?}", self.ledger);
    }

    fn drain(&mut self) {
        while !self.server.outbox.is_empty() || !self.server.inbox.is_empty() {
            self.step(0, WELL);
            self.step(1, 0);
        }
    }
}
