//! Random clients with few servers get the same answers as with a server each, of a made-up Postgres.

use super::backend::{Backend, Sent};
use super::prepared::Serial;
use super::{Interner, Limits, Message, Now, Prepared, Route, ServerName, Slip, Statements};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::session::settings::Settings;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a client sends. Names are few, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    Begin,
    Bind(&'static str),
    Close(&'static str),
    Commit,
    Describe(&'static str),
    DiscardAll,
    /// Something that fails, and has the server skip to the `Sync`.
    Fail,
    Parse(&'static str, &'static str),
    Query,
    Sync,
}

/// What a client gets that has a server for itself.
fn direct(ops: &[Op]) -> Vec<String> {
    let mut backend = Backend::new();
    let mut answers = Vec::new();
    for op in ops {
        backend.input.push_back(plain(op));
        answers.extend(backend.step());
    }
    answers
}

fn plain(op: &Op) -> Sent {
    match op {
        Op::Begin => Sent::Query("begin"),
        Op::Bind(name) => Sent::Bind((*name).to_owned()),
        Op::Close(name) => Sent::Close((*name).to_owned()),
        Op::Commit => Sent::Query("commit"),
        Op::Describe(name) => Sent::Describe((*name).to_owned()),
        Op::DiscardAll => Sent::Query("discard"),
        Op::Fail => Sent::Fail,
        Op::Parse(name, text) => Sent::Parse((*name).to_owned(), (*text).to_owned()),
        Op::Query => Sent::Query("select"),
        Op::Sync => Sent::Sync,
    }
}

struct Server {
    backend: Backend,
    prepared: Prepared,
    ledger: Ledger,
}

struct Client {
    ops: Vec<Op>,
    next: usize,
    statements: Statements,
    server: Option<usize>,
    answers: Vec<String>,
}

struct World {
    now: Instant,
    limits: Limits,
    settings: Settings,
    servers: Vec<Server>,
    clients: Vec<Client>,
}

#[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
fn epoch() -> Instant {
    Instant::now()
}

fn named(serial: Serial) -> String {
    String::from_utf8(ServerName::new(serial).as_bytes().to_vec()).unwrap()
}

impl World {
    fn new(scripts: &[Vec<Op>], servers: usize, of_server: u32) -> Self {
        let interner = Interner::new(1 << 20);
        let client = |ops: &Vec<Op>| Client {
            ops: ops.clone(),
            next: 0,
            statements: Statements::new(&interner),
            server: None,
            answers: vec![],
        };
        let server = |_| Server {
            backend: Backend::new(),
            prepared: Prepared::default(),
            ledger: Ledger::default(),
        };
        Self {
            now: epoch(),
            limits: Limits { of_server, of_client: 100 },
            settings: Settings::default(),
            servers: (0..servers).map(server).collect(),
            clients: scripts.iter().map(client).collect(),
        }
    }

    /// One of them does something.
    fn step(&mut self, choice: u16) {
        let index = usize::from(choice >> 2) % self.clients.len();
        match choice & 3 {
            0 | 1 => self.send(index, usize::from(choice >> 8)),
            _ => self.answer(index),
        }
        if choice.is_multiple_of(97) {
            self.now += Duration::from_secs(11);
        }
    }

    /// A client sends its next request.
    fn send(&mut self, index: usize, wanted: usize) {
        let client = &mut self.clients[index];
        let Some(op) = client.ops.get(client.next).cloned() else { return };
        if client.server.is_none() {
            if matches!(op, Op::Sync) {
                client.answers.push("Z I".to_owned());
                client.next += 1;
                return;
            }
            let free = (0..self.servers.len())
                .map(|place| (place + wanted) % self.servers.len())
                .find(|place| self.clients.iter().all(|other| other.server != Some(*place)));
            if free.is_none() {
                return;
            }
            self.clients[index].server = free;
        }
        let client = &mut self.clients[index];
        let server = &mut self.servers[client.server.unwrap()];
        if Self::pass(client, server, &op, (self.now, &self.settings, self.limits)) {
            client.next += 1;
        }
    }

    /// As the relay does it. `false`: it has to wait.
    fn pass(
        client: &mut Client,
        server: &mut Server,
        op: &Op,
        (at, settings, limits): (Instant, &Settings, Limits),
    ) -> bool {
        let Server { backend, prepared, ledger } = server;
        let body = |text: &str| [text.as_bytes(), b"\0\0\0"].concat();
        let text;
        let message = match op {
            Op::Bind(name) => Message::Bind(name.as_bytes()),
            Op::Close(name) => Message::Close(name.as_bytes()),
            Op::Describe(name) => Message::Describe(name.as_bytes()),
            Op::Parse(name, sql) => {
                text = body(sql);
                Message::Parse(name.as_bytes(), Some(&text))
            }
            op => {
                Self::pass_plain(client, ledger, op);
                backend.input.push_back(plain(op));
                return true;
            }
        };
        let (mut slips, now) = (vec![], Now { at, settings, epoch: 0, limits, maps: true });
        let route = client.statements.look(message, prepared, ledger, &now, &mut slips);
        for slip in slips {
            backend.input.push_back(slipped(&slip, &client.statements));
        }
        let mut sent = plain(op);
        match route {
            Route::Wait => return false,
            Route::AsIs => {}
            Route::Acknowledge => sent = Sent::Close("nobody".to_owned()),
            Route::Refuse => sent = Sent::Parse("refused".to_owned(), "!".to_owned()),
            Route::Under(serial) => match &mut sent {
                Sent::Bind(name) | Sent::Describe(name) | Sent::Parse(name, _) => {
                    *name = named(serial);
                }
                _ => panic!("{op:?} goes under another name"),
            },
        }
        backend.input.push_back(sent);
        true
    }

    fn pass_plain(client: &mut Client, ledger: &mut Ledger, op: &Op) {
        match op {
            Op::Sync => {
                client.statements.sync_sent();
                ledger.sent(Request::Sync, Origin::Client);
            }
            Op::Fail => drop(ledger.sent(Request::Execute, Origin::Client)),
            op => {
                if ledger.sent(Request::Query, Origin::Client) {
                    client.statements.query_sent();
                    if matches!(op, Op::DiscardAll) {
                        client.statements.barrier_sent(true);
                    }
                }
            }
        }
    }

    /// A client's server takes one message, and the client hears what it says.
    fn answer(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(place) = client.server else { return };
        let server = &mut self.servers[place];
        let Some(answer) = server.backend.step() else { return };
        let Server { prepared, ledger, .. } = server;
        let statements = &mut client.statements;
        let (kind, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
        let (origin, told) = match kind {
            "Z" => {
                let status = Status::from_byte(rest.as_bytes()[0]).unwrap();
                (ledger.ready(status).unwrap().origin, answer.clone())
            }
            "Q" | "QE" => {
                if answer.starts_with("Q discard") {
                    statements.dropped_all(prepared);
                }
                if kind == "QE" {
                    statements.failed(prepared, ledger, (rest, b"")).unwrap();
                } else {
                    ledger.replied(b'C').unwrap();
                }
                let status = Status::from_byte(*answer.as_bytes().last().unwrap()).unwrap();
                let reply = ledger.ready(status).unwrap();
                statements.queried(reply.origin);
                (reply.origin, answer.clone())
            }
            "E" => {
                statements.failed(prepared, ledger, (rest, b"")).unwrap();
                (Origin::Client, answer.clone())
            }
            kind => {
                let tag = kind.as_bytes()[0];
                let is_description = ledger.next_request() == Some(Request::Describe);
                let reply = ledger.replied(if is_description { b'n' } else { tag }).unwrap();
                if let Some(settled) = reply.settled {
                    statements.settled(settled, reply.origin, prepared, self.now);
                }
                let is_acknowledged = reply.settled == Some(Request::ParseAcknowledged);
                (reply.origin, if is_acknowledged { "1".to_owned() } else { answer.clone() })
            }
        };
        if origin == Origin::Client {
            client.answers.push(told);
        }
        if ledger.is_settled() && !statements.is_local() {
            assert!(!statements.leaves_traces());
            statements.lease_ended();
            client.server = None;
        }
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(|client| {
            client.next == client.ops.len()
                && client.server.is_none_or(|place| self.servers[place].backend.input.is_empty())
        })
    }

    /// What is known of a server is what it has, and no more is there than was meant to be.
    fn check_servers(&self, limit: u32) {
        for Server { backend, prepared, ledger } in &self.servers {
            if !ledger.is_empty() {
                continue;
            }
            for name in backend.named.keys() {
                let serial: Serial = name.strip_prefix("pgweir_").unwrap().parse().unwrap();
                let is_known = prepared.statement(serial).is_some()
                    || prepared.garbage.contains(&serial)
                    || (serial == 0 && prepared.is_occupied);
                assert!(is_known, "{name} is forgotten: {backend:?} {prepared:?}");
            }
            assert!(prepared.len() <= limit.max(1) as usize + 8);
        }
    }
}

fn slipped(slip: &Slip, statements: &Statements) -> Sent {
    let text = |body: &[u8]| String::from_utf8(body[..body.len() - 3].to_vec()).unwrap();
    match slip {
        Slip::Close(serial) => Sent::Close(named(*serial)),
        Slip::CloseUnnamed => Sent::Close(String::new()),
        Slip::Empty(_) | Slip::Own(..) | Slip::Sync => unreachable!("for texts alone"),
        Slip::Occupy => Sent::Parse(named(0), String::new()),
        Slip::Parse(serial, statement) => Sent::Parse(named(*serial), text(&statement.body)),
        Slip::ParseUnnamed => Sent::Parse(String::new(), text(statements.unnamed_body().unwrap())),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(vec!["", "a", "b", "c"]);
    let text = prop::sample::select(vec!["1", "2", "3", "!"]);
    prop_oneof![
        6 => (name(), text).prop_map(|(name, text)| Op::Parse(name, text)),
        6 => name().prop_map(Op::Bind),
        2 => name().prop_map(Op::Describe),
        2 => name().prop_map(Op::Close),
        8 => Just(Op::Sync),
        1 => Just(Op::Fail),
        1 => Just(Op::Query),
        1 => Just(Op::Begin),
        2 => Just(Op::Commit),
        1 => Just(Op::DiscardAll),
    ]
}

/// Each script ends all that it began.
fn script() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..40).prop_map(|mut ops| {
        ops.extend([Op::Sync, Op::Commit]);
        ops
    })
}

fn check(scripts: &[Vec<Op>], servers: usize, of_server: u32, choices: &[u16]) {
    let mut world = World::new(scripts, servers, of_server);
    for choice in choices.iter().copied().chain((0..u16::MAX).cycle().take(200_000)) {
        world.step(choice);
        world.check_servers(of_server);
        if world.is_done() {
            break;
        }
    }
    assert!(world.is_done(), "somebody waits for ever");
    for (index, script) in scripts.iter().enumerate() {
        assert_eq!(world.clients[index].answers, direct(script), "client {index} of {scripts:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_what_a_server_of_their_own_would_say(
        scripts in prop::collection::vec(script(), 1..4),
        servers in 1_usize..4,
        of_server in 1_u32..4,
        choices in prop::collection::vec(any::<u16>(), 0..600),
    ) {
        check(&scripts, servers, of_server, &choices);
    }
}

/// Another client's is never met, whatever was skipped.
#[test]
fn a_skipped_parse_makes_nothing() {
    use Op::{Bind, Fail, Parse, Sync};
    let first = vec![Parse("", "1"), Sync, Parse("a", "1"), Sync];
    let second = vec![Fail, Parse("", "2"), Parse("b", "1"), Sync, Bind(""), Sync, Bind("b"), Sync];
    for seed in 0..200_u16 {
        let choices: Vec<u16> = (0..200_u16).map(|at| at.wrapping_mul(31 + 2 * seed)).collect();
        check(&[first.clone(), second.clone()], 1, 2, &choices);
    }
}

#[test]
fn a_thousand_statements_cost_little() {
    let interner = Interner::new(64 << 20);
    let texts: Vec<Vec<u8>> =
        (0..1_000).map(|number| format!("select {number}\0\0\0").into_bytes()).collect();
    let (mut prepared, mut ledger) = (Prepared::default(), Ledger::default());
    let settings = Settings::default();
    let limits = Limits { of_server: 200, of_client: 1_000 };
    let now = Now { at: epoch(), settings: &settings, epoch: 0, limits, maps: true };
    let mut all = vec![];
    for _ in 0..2 {
        let mut client = Statements::new(&interner);
        for (number, text) in texts.iter().enumerate() {
            let name = format!("statement_{number}");
            let message = Message::Parse(name.as_bytes(), Some(text));
            client.look(message, &mut prepared, &mut ledger, &now, &mut vec![]);
        }
        all.push((client, interner.bytes()));
    }
    assert_eq!(all[0].1, all[1].1, "they share the texts");
    let one = &all[0].0.names;
    let table =
        (one.capacity() * 8 / 7).next_power_of_two() * (size_of::<(Box<[u8]>, super::Held)>() + 1);
    let names: usize = one.keys().map(|name| name.len().next_multiple_of(16) + 8).sum();
    assert!(table + names <= 100_000, "{table} + {names}");
    let next = Message::Parse(b"one more", Some(b"x\0\0\0"));
    let route = all[0].0.look(next, &mut prepared, &mut ledger, &now, &mut vec![]);
    assert_eq!(route, Route::Refuse);
    let _shared: &Arc<Interner> = &interner;
}
