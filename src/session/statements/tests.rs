//! Random clients with few servers get the same answers as with a server each, of a made-up Postgres.

use super::backend::{Backend, Sent, Tables, alter};
use super::prepared::Serial;
use super::{
    Interner, Limits, Message, Now, Prepared, Refusal, Route, ServerName, Slip, Statements, Told,
};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::session::settings::Settings;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// What a client sends. Names are few, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    /// The rows of the client's own text get another shape.
    Alter,
    /// The same, by somebody who does not go through the proxy.
    AlterUnseen,
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

/// The text that is the client's own.
const OWN: &str = "own";

/// What a client gets that has a server for itself.
fn direct(index: usize, ops: &[Op]) -> Vec<String> {
    let tables = Tables::default();
    let mut backend = Backend::new(&tables);
    let mut answers = Vec::new();
    for op in ops {
        if matches!(op, Op::AlterUnseen) {
            alter(&tables, text_of(index, OWN));
        } else {
            backend.input.push_back(plain(index, op));
            answers.extend(backend.step());
        }
    }
    answers
}

fn text_of(index: usize, text: &str) -> String {
    if text == OWN { format!("own {index}") } else { text.to_owned() }
}

fn plain(index: usize, op: &Op) -> Sent {
    match op {
        Op::Alter => Sent::Alter(text_of(index, OWN)),
        Op::AlterUnseen => unreachable!("by others"),
        Op::Begin => Sent::Query("begin"),
        Op::Bind(name) => Sent::Bind((*name).to_owned()),
        Op::Close(name) => Sent::Close((*name).to_owned()),
        Op::Commit => Sent::Query("commit"),
        Op::Describe(name) => Sent::Describe((*name).to_owned()),
        Op::DiscardAll => Sent::Query("discard"),
        Op::Fail => Sent::Fail,
        Op::Parse(name, text) => Sent::Parse((*name).to_owned(), text_of(index, text)),
        Op::Query => Sent::Query("select"),
        Op::Sync => Sent::Sync,
    }
}

struct Server {
    backend: Backend,
    prepared: Prepared,
    ledger: Ledger,
}

impl Server {
    fn new(tables: &Tables) -> Self {
        Self {
            backend: Backend::new(tables),
            prepared: Prepared::default(),
            ledger: Ledger::default(),
        }
    }
}

struct Client {
    index: usize,
    ops: Vec<Op>,
    next: usize,
    statements: Statements,
    server: Option<usize>,
    answers: Vec<String>,
    /// What it was sent would have been misread.
    is_ended: bool,
}

struct World {
    /// Some time passes after each change that nobody could see.
    is_late: bool,
    tables: Tables,
    epoch: u64,
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
        let (interner, tables) = (Interner::new(1 << 20), Tables::default());
        let client = |(index, ops): (usize, &Vec<Op>)| Client {
            index,
            ops: ops.clone(),
            next: 0,
            statements: Statements::new(&interner),
            server: None,
            answers: vec![],
            is_ended: false,
        };
        let server = |_| Server::new(&tables);
        Self {
            is_late: false,
            epoch: 0,
            now: epoch(),
            limits: Limits { of_server, of_client: 100 },
            settings: Settings::default(),
            servers: (0..servers).map(server).collect(),
            clients: scripts.iter().enumerate().map(client).collect(),
            tables,
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
        if matches!(op, Op::AlterUnseen) {
            // Nothing is under way that could come before it or behind it.
            if client.server.is_none_or(|place| self.servers[place].ledger.is_empty()) {
                alter(&self.tables, text_of(index, OWN));
                client.next += 1;
                if self.is_late {
                    self.now += Duration::from_secs(11);
                }
            }
            return;
        }
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
        let now = Now {
            at: self.now,
            pool: ("", ""),
            settings: &self.settings,
            epoch: self.epoch,
            limits: self.limits,
            maps: true,
        };
        if Self::pass(client, server, &op, &now) {
            client.next += 1;
        }
    }

    /// As the relay does it. `false`: it has to wait.
    fn pass(client: &mut Client, server: &mut Server, op: &Op, now: &Now<'_>) -> bool {
        let Server { backend, prepared, ledger } = server;
        let body = |text: &str| [text.as_bytes(), b"\0\0\0"].concat();
        let text;
        let message = match op {
            Op::Bind(name) => Message::Bind(name.as_bytes(), true),
            Op::Close(name) => Message::Close(name.as_bytes()),
            Op::Describe(name) => Message::Describe(name.as_bytes()),
            Op::Parse(name, sql) => {
                text = body(&text_of(client.index, sql));
                Message::Parse(name.as_bytes(), Some(&text))
            }
            op => {
                let is_time = matches!(op, Op::Fail | Op::Sync);
                if is_time && client.statements.wants_description() {
                    let slip = client.statements.describe_unnamed(ledger, now);
                    let sent = slip.and_then(|slip| slipped(&slip, &client.statements));
                    backend.input.extend(sent);
                }
                Self::pass_plain(client, ledger, op);
                backend.input.push_back(plain(client.index, op));
                return true;
            }
        };
        let mut slips = vec![];
        let route = client.statements.look(message, prepared, ledger, now, &mut slips);
        for slip in &slips {
            backend.input.extend(slipped(slip, &client.statements));
        }
        let mut sent = plain(client.index, op);
        match route {
            Route::Wait => return false,
            Route::AsIs | Route::FailingUnnamed => {}
            Route::Acknowledge => sent = Sent::Close("nobody".to_owned()),
            Route::Refuse => sent = Sent::Parse("refused".to_owned(), "!".to_owned()),
            Route::Described(serial) | Route::Failing(serial) | Route::Under(serial) => {
                match &mut sent {
                    Sent::Bind(name) | Sent::Describe(name) | Sent::Parse(name, _) => {
                        *name = named(serial);
                    }
                    _ => panic!("{op:?} goes under another name"),
                }
            }
        }
        backend.input.push_back(sent);
        match route {
            Route::Described(serial) => backend.input.push_back(Sent::Describe(named(serial))),
            Route::Failing(_) | Route::FailingUnnamed => {
                backend.input.push_back(Sent::Parse("refused".to_owned(), "!".to_owned()));
            }
            _ => {}
        }
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
                self.epoch += u64::from(answer.starts_with("Q alter"));
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
                self.epoch += u64::from(rest == "0A000");
                let failure = statements.failed(prepared, ledger, (rest, b"")).unwrap();
                let is_ours = failure.refusal == Some(Refusal::Changed);
                (Origin::Client, if is_ours { "E 0A000".to_owned() } else { answer.clone() })
            }
            kind => {
                if ledger.next_description().is_some() {
                    statements.parameters_described(b"\0\0");
                    let row = [b"\0\x01", rest.as_bytes(), b"\0"].concat();
                    statements.columns_described(&row, row.len());
                }
                let reply = ledger.replied(kind.as_bytes()[0]).unwrap();
                let told = reply.settled.map_or(Told::Nothing, |settled| {
                    statements.settled(settled, reply.origin, prepared)
                });
                self.epoch += u64::from(told != Told::Nothing);
                if told == Told::ChangedInUse {
                    statements.lease_ended();
                    (client.is_ended, client.server) = (true, None);
                    client.next = client.ops.len();
                    self.servers[place] = Server::new(&self.tables);
                    return;
                }
                let told = match reply.settled {
                    Some(Request::ParseAcknowledged) => "1".to_owned(),
                    Some(Request::DescribeInVain) => "swallowed".to_owned(),
                    _ => answer.clone(),
                };
                (reply.origin, told)
            }
        };
        if origin == Origin::Client && told != "swallowed" {
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

fn slipped(slip: &Slip, statements: &Statements) -> Option<Sent> {
    let text = |body: &[u8]| String::from_utf8(body[..body.len() - 3].to_vec()).unwrap();
    Some(match slip {
        Slip::Close(serial) => Sent::Close(named(*serial)),
        Slip::CloseUnnamed => Sent::Close(String::new()),
        Slip::Describe(serial) => Sent::Describe(named(*serial)),
        Slip::DescribeUnnamed => Sent::Describe(String::new()),
        Slip::Empty(_) | Slip::Own(..) | Slip::Sync => unreachable!("for texts alone"),
        Slip::Flush => return None,
        Slip::Hollow(serial, _) => Sent::Parse(named(*serial), String::new()),
        Slip::HollowUnnamed => Sent::Parse(String::new(), String::new()),
        Slip::Occupy => Sent::Parse(named(0), String::new()),
        Slip::Parse(serial, statement) => Sent::Parse(named(*serial), text(&statement.body)),
        Slip::ParseUnnamed => Sent::Parse(String::new(), text(statements.unnamed_body().unwrap())),
    })
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(vec!["", "a", "b", "c"]);
    let text = prop::sample::select(vec!["1", "2", OWN, OWN, "!"]);
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
        1 => Just(Op::Alter),
        1 => Just(Op::AlterUnseen),
    ]
}

/// Each script ends all that it began. Tables that Postgres has read for a batch are locked until its end.
fn script() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..40).prop_map(|ops| {
        let mut ops: Vec<Op> = ops
            .into_iter()
            .flat_map(|op| match op {
                Op::AlterUnseen => vec![Op::Sync, op],
                // Who uses it at once, and again later, without having asked, is not told.
                Op::Parse("", OWN) => vec![op, Op::Describe("")],
                op => vec![op],
            })
            .collect();
        ops.extend([Op::Sync, Op::Commit]);
        ops
    })
}

fn check(scripts: &[Vec<Op>], (servers, of_server): (usize, u32), is_late: bool, choices: &[u16]) {
    let mut world = World::new(scripts, servers, of_server);
    world.is_late = is_late;
    for choice in choices.iter().copied().chain((0..u16::MAX).cycle().take(200_000)) {
        world.step(choice);
        world.check_servers(of_server);
        if world.is_done() {
            break;
        }
    }
    assert!(world.is_done(), "somebody waits for ever");
    for (index, script) in scripts.iter().enumerate() {
        let (client, direct) = (&world.clients[index], direct(index, script));
        // What was so a moment ago is taken to be so: the client may be refused in vain, or ended.
        let is_excused = !is_late && script.iter().any(|op| matches!(op, Op::AlterUnseen));
        let same = client.answers.iter().zip(&direct).take_while(|(a, b)| a == b).count();
        let is_refused = client.answers.get(same).is_some_and(|answer| answer == "E 0A000");
        if is_excused && (client.is_ended && same == client.answers.len() || is_refused) {
            continue;
        }
        assert!(!client.is_ended, "client {index} is ended in vain, of {scripts:#?}");
        assert_eq!(client.answers, direct, "client {index} of {scripts:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_what_a_server_of_their_own_would_say(
        scripts in prop::collection::vec(script(), 1..4),
        servers in 1_usize..4,
        of_server in 1_u32..4,
        is_late: bool,
        choices in prop::collection::vec(any::<u16>(), 0..600),
    ) {
        check(&scripts, (servers, of_server), is_late, &choices);
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
        check(&[first.clone(), second.clone()], (1, 2), true, &choices);
    }
}
