//! Any requests, pipelined at will, to a server that answers as Postgres does, with errors and copies
//! anywhere: the ledger knows of each reply whose it is, a server is given away only when nothing is
//! owed, and nobody meets another client's statement.
#![no_main]

#[path = "requests_replies/server.rs"]
mod server;

use libfuzzer_sys::fuzz_target;
use pgweir::net::worker::read_clock;
use pgweir::session::ledger::{Abandoned, Ledger, Origin, Reply, Request, Status};
use pgweir::session::pins::Pins;
use pgweir::session::settings::Settings;
use pgweir::session::statements::{
    Interner, Limits, Message, Now, Prepared, Route, Slip, Statements, Told,
};
use server::{OURS, Said, Sent, Server, What};
use std::time::Instant;

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
struct Session {
    ledger: Ledger,
    pins: Pins,
    statements: Statements,
    prepared: Prepared,
    now: Instant,
    server: Server,
    is_leased: bool,
    lease: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            pins: Pins::default(),
            statements: Statements::new(&Interner::new(1 << 20)),
            prepared: Prepared::default(),
            now: read_clock(),
            server: Server::default(),
            is_leased: false,
            lease: 0,
        }
    }
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
            13 if name == 0 => self.client(What::Request(Request::CloseUnnamed), name),
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
        match what {
            What::CopyData => {}
            What::Flush | What::Request(Request::Sync) if self.ledger.is_copying_in() => return,
            What::Flush => self.ledger.flushed(),
            What::Request(request) => return self.request(request, name),
        }
        self.forward(what, Origin::Client, name.into());
    }

    fn request(&mut self, request: Request, name: u8) {
        let text = NAMES[usize::from(name)];
        let message = match request {
            Request::Bind => Message::Bind(text, true),
            Request::Describe => Message::Describe(text),
            Request::Parse | Request::ParseNamed => Message::Parse(text, Some(b"select 1\0\0\0")),
            Request::CloseUnnamed | Request::CloseNamed => Message::Close(text),
            request => {
                use Request::{Execute, FunctionCall, Sync};
                let is_time = matches!(request, Execute | FunctionCall | Sync);
                if is_time && self.statements.wants_description() {
                    self.describe_unnamed();
                }
                if self.ledger.sent(request, Origin::Client) {
                    match request {
                        Request::Sync => self.statements.sync_sent(),
                        // Any text may be one that drops statements.
                        Request::Query => {
                            self.statements.query_sent();
                            self.statements.barrier_sent(true);
                        }
                        _ => {}
                    }
                }
                return self.forward(What::Request(request), Origin::Client, 0);
            }
        };
        let limits = Limits { of_server: 1, of_client: 2 };
        let (settings, at) = (Settings::default(), self.now);
        let maps = !self.pins.has_sql_prepared();
        let now = Now { at, pool: ("", ""), settings: &settings, epoch: 0, limits, maps };
        let (server, ledger, mut slips) = (&mut self.prepared, &mut self.ledger, vec![]);
        let route = self.statements.look(message, server, ledger, &now, &mut slips);
        for slip in slips {
            let (request, name) = match slip {
                Slip::Close(serial) => (Request::CloseNamed, OURS + serial),
                Slip::CloseUnnamed => (Request::Close, 0),
                Slip::Describe(serial) => (Request::Describe, OURS + serial),
                Slip::DescribeUnnamed => (Request::Describe, 0),
                Slip::Flush => {
                    self.forward(What::Flush, Origin::Proxy, 0);
                    continue;
                }
                Slip::Hollow(serial, _) => (Request::ParseNamed, OURS + serial),
                Slip::HollowUnnamed => (Request::ParseNamed, 0),
                Slip::Occupy => (Request::ParseNamed, OURS),
                Slip::Parse(serial, _) => (Request::ParseNamed, OURS + serial),
                Slip::ParseUnnamed => (Request::Parse, 0),
                Slip::Empty(_) | Slip::Own(..) | Slip::Sync => unreachable!("of texts"),
            };
            self.forward(What::Request(request), Origin::Proxy, name);
        }
        let (request, name) = match route {
            // The client sends it again, or not.
            Route::Wait => return,
            Route::AsIs => (request, name.into()),
            Route::Acknowledge => (Request::ParseAcknowledged, u32::MAX),
            Route::Described(serial) | Route::Under(serial) => (request, OURS + serial),
            Route::Failing(_) | Route::FailingUnnamed | Route::Refuse => {
                unreachable!("there are few names, and one description")
            }
        };
        let is_of_unnamed = request == Request::Describe && name == 0;
        let request = if is_of_unnamed { Request::DescribeUnnamed } else { request };
        self.forward(What::Request(request), Origin::Client, name);
        if let Route::Described(_) = route {
            self.forward(What::Request(Request::Describe), Origin::Proxy, name);
        }
    }

    fn describe_unnamed(&mut self) {
        let (settings, at) = (Settings::default(), self.now);
        let limits = Limits { of_server: 1, of_client: 2 };
        let now = Now { at, pool: ("", ""), settings: &settings, epoch: 0, limits, maps: true };
        if self.statements.describe_unnamed(&mut self.ledger, &now).is_some() {
            self.forward(What::Request(Request::DescribeUnnamed), Origin::Proxy, 0);
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

    fn forward(&mut self, what: What, origin: Origin, name: u32) {
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
                self.replied(said);
            }
        }
        if self.is_leased && self.ledger.is_settled() && !self.is_pinned() {
            self.end_lease();
        }
    }

    fn is_pinned(&self) -> bool {
        self.pins.cause().is_some() || self.statements.is_local()
    }

    /// A copy has failed, and what the server had read of it is not known.
    fn is_doubtful(&self) -> bool {
        self.ledger.is_uncertain()
    }

    fn end_lease(&mut self) {
        assert!(!self.statements.leaves_traces());
        if self.is_doubtful() {
            return self.lose_server();
        }
        assert!(self.server.is_clean(), "left: {:?}", self.server);
        self.statements.lease_ended();
        self.is_leased = false;
    }

    /// It is closed; the next lease has another.
    fn lose_server(&mut self) {
        self.ledger.abandon();
        assert_eq!(self.ledger.abandon(), Abandoned::default());
        *self = Self { lease: self.lease, ..Self::default() };
    }

    fn replied(&mut self, said: Said) {
        if said.is_last {
            match said.request {
                Request::Query => self.statements.queried(said.origin),
                request => {
                    let told = self.statements.settled(request, said.origin, &mut self.prepared);
                    assert_eq!(told, Told::Nothing, "all are described alike");
                }
            }
        }
        if said.tag == b'C' && said.origin == Origin::Client {
            self.pins.completed(said.command);
            if matches!(said.command, b"DEALLOCATE ALL" | b"DISCARD ALL") {
                self.statements.dropped_all(&mut self.prepared);
            }
        }
    }

    fn failed(&mut self, said: Said) {
        let (server, ledger) = (&mut self.prepared, &mut self.ledger);
        let failure = self.statements.failed(server, ledger, ("", b""));
        let origin = failure.map(|failure| failure.origin);
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
