//! As much of Postgres as decides which replies come, and whose prepared statements there are.

use pgweir::session::ledger::{Origin, Request, Status};
use std::collections::{BTreeMap, VecDeque};

/// Names from here on are the proxy's own.
pub const OURS: u32 = 1_000;

/// What is sent to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    CopyData,
    Flush,
    Request(Request),
}

#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub what: What,
    pub origin: Origin,
    /// Of a statement; zero is the unnamed one.
    pub name: u32,
    /// Whose turn it was.
    pub lease: u32,
}

/// A reply, and the request that it is to.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub tag: u8,
    pub request: Request,
    pub origin: Origin,
    /// The request has no other reply.
    pub is_last: bool,
    pub is_fatal: bool,
    pub status: Status,
    pub command: &'static [u8],
}

#[derive(Debug)]
pub struct Server {
    pub inbox: VecDeque<Sent>,
    pub outbox: VecDeque<Said>,
    pub is_dead: bool,
    /// The request that copies in.
    pub copying: Option<(Request, Sent)>,
    /// Statements by name, each with the lease in which it was made.
    statements: BTreeMap<u32, u32>,
    skipping: bool,
    open: bool,
    pub status: Status,
    /// `PREPARE` was run.
    has_prepared: bool,
    /// `LISTEN` was run.
    is_listening: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            is_dead: false,
            copying: None,
            statements: BTreeMap::new(),
            skipping: false,
            open: false,
            status: Status::Idle,
            has_prepared: false,
            is_listening: false,
        }
    }
}

impl Server {
    /// Whether somebody else may have it: nothing is under way that would still be answered.
    pub fn is_free(&self) -> bool {
        let ignored =
            |sent: &Sent| matches!(sent.what, What::CopyData | What::Request(Request::CopyEnd));
        self.outbox.is_empty()
            && self.inbox.iter().all(ignored)
            && self.copying.is_none()
            && !self.skipping
            && !self.open
            && self.status == Status::Idle
    }

    /// Whether it has statements or subscriptions that the next client would meet.
    pub fn is_clean(&self) -> bool {
        !self.has_prepared
            && !self.is_listening
            && self.statements.keys().all(|name| *name == 0 || *name >= OURS)
    }

    /// Does the next thing, in one of the ways that it may turn out.
    pub fn step(&mut self, choice: u8) {
        if self.is_dead {
            return;
        }
        if let Some((request, sent)) = self.copying {
            return self.step_in_copy(request, sent, choice);
        }
        let Some(sent) = self.inbox.pop_front() else { return };
        let What::Request(request) = sent.what else { return };
        match request {
            // `PostgresMain` takes and ignores it: a copy may have failed.
            Request::CopyEnd => {}
            Request::Sync => {
                let was_skipping = std::mem::take(&mut self.skipping);
                self.open = false;
                if !was_skipping && choice.is_multiple_of(16) {
                    // A deferred constraint, say.
                    self.say(b'E', request, sent, false);
                    self.fall_back();
                }
                self.say(b'Z', request, sent, true);
            }
            _ if self.skipping => {}
            Request::Query => {
                self.open = false;
                self.statements.remove(&0);
                self.run(request, sent, choice);
            }
            Request::FunctionCall => {
                self.open = false;
                if choice.is_multiple_of(4) {
                    self.fail(request, sent);
                } else {
                    self.say(b'V', request, sent, false);
                    self.say(b'Z', request, sent, true);
                }
            }
            Request::Execute => {
                self.open = true;
                self.run(request, sent, choice);
            }
            _ => {
                self.open = true;
                self.statement(request, sent, choice);
            }
        }
    }

    fn statement(&mut self, request: Request, sent: Sent, choice: u8) {
        let known = self.statements.get(&sent.name).copied();
        let is_parse = matches!(request, Request::Parse | Request::ParseNamed);
        let is_close = matches!(
            request,
            Request::Close
                | Request::CloseNamed
                | Request::CloseUnnamed
                | Request::ParseAcknowledged
        );
        if request == Request::Parse {
            self.statements.remove(&0);
        }
        let cannot = if is_parse { sent.name != 0 && known.is_some() } else { known.is_none() };
        if (cannot && !is_close) || choice.is_multiple_of(8) {
            return self.fail(request, sent);
        }
        if is_parse {
            self.statements.insert(sent.name, sent.lease);
            self.say(b'1', request, sent, true);
        } else if is_close {
            self.statements.remove(&sent.name);
            self.say(b'3', request, sent, true);
        } else {
            assert!(
                sent.name >= OURS || known == Some(sent.lease),
                "a client meets another's statement: {sent:?}"
            );
            if request == Request::Bind {
                self.say(b'2', request, sent, true);
            } else {
                self.say(b't', request, sent, false);
                self.say(if choice & 1 == 0 { b'T' } else { b'n' }, request, sent, true);
            }
        }
    }

    /// A simple query, or a portal.
    fn run(&mut self, request: Request, sent: Sent, choice: u8) {
        let rows: &[u8] = match choice % 8 {
            0 => return self.fail(request, sent),
            1 | 2 => b"D",
            3 => b"Hdc",
            4 => {
                self.say(b'D', request, sent, false);
                return self.fail(request, sent);
            }
            5 if sent.origin == Origin::Client => {
                self.say(b'G', request, sent, false);
                self.copying = Some((request, sent));
                return;
            }
            6 => return self.end_of_run(b'I', request, sent, b""),
            7 if request == Request::Execute => {
                return self.end_of_run(b's', request, sent, b"");
            }
            _ => b"",
        };
        for tag in rows {
            self.say(*tag, request, sent, false);
        }
        let command: &[u8] = match choice / 8 {
            1 => b"PREPARE",
            2 => b"LISTEN",
            3 => b"DEALLOCATE ALL",
            4 => b"DISCARD ALL",
            5 => b"BEGIN",
            6 => b"COMMIT",
            _ => b"SELECT 1",
        };
        if sent.origin == Origin::Client {
            self.apply(command);
        }
        self.end_of_run(b'C', request, sent, command);
    }

    fn apply(&mut self, command: &[u8]) {
        match command {
            b"PREPARE" => self.has_prepared = true,
            b"LISTEN" => self.is_listening = true,
            b"DEALLOCATE ALL" | b"DISCARD ALL" => {
                self.has_prepared = false;
                self.is_listening &= command == b"DEALLOCATE ALL";
                self.statements.retain(|name, _| *name == 0);
            }
            b"BEGIN" => self.status = Status::Open,
            b"COMMIT" => self.status = Status::Idle,
            _ => {}
        }
    }

    fn end_of_run(&mut self, tag: u8, request: Request, sent: Sent, command: &'static [u8]) {
        let is_simple = request == Request::Query;
        self.say(tag, request, sent, !is_simple);
        self.outbox.back_mut().expect("just said").command = command;
        if is_simple {
            self.say(b'Z', request, sent, true);
        }
    }

    fn step_in_copy(&mut self, request: Request, sent: Sent, choice: u8) {
        if choice.is_multiple_of(8) {
            // Whatever was sent so far is still to be read.
            self.copying = None;
            return self.fail(request, sent);
        }
        let Some(next) = self.inbox.pop_front() else { return };
        match next.what {
            What::CopyData | What::Flush | What::Request(Request::Sync) => {}
            What::Request(Request::CopyEnd) => {
                self.copying = None;
                if choice & 1 == 0 {
                    self.fail(request, sent);
                } else {
                    self.end_of_run(b'C', request, sent, b"COPY 1");
                }
            }
            What::Request(_) => {
                self.say(b'E', request, sent, false);
                self.say(b'E', request, sent, true);
                self.outbox.back_mut().expect("just said").is_fatal = true;
                (self.copying, self.is_dead) = (None, true);
            }
        }
    }

    fn fail(&mut self, request: Request, sent: Sent) {
        self.say(b'E', request, sent, false);
        self.fall_back();
        if matches!(request, Request::Query | Request::FunctionCall) {
            self.say(b'Z', request, sent, true);
        } else {
            self.skipping = true;
        }
    }

    fn fall_back(&mut self) {
        if self.status == Status::Open {
            self.status = Status::Failed;
        }
    }

    fn say(&mut self, tag: u8, request: Request, sent: Sent, is_last: bool) {
        let (origin, status) = (sent.origin, self.status);
        let said = Said { tag, request, origin, is_last, is_fatal: false, status, command: b"" };
        self.outbox.push_back(said);
    }
}
