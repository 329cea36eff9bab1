//! Scripts by chance: mostly what drivers do, in any order, and now and then what none would.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};

use super::message::{Copy, CopyEnd, Message, Script, Step};
use super::texts::{self, Text};
use crate::harness::random::one_in;

/// What scripts are made of.
#[derive(Clone, Copy)]
pub(super) struct Profile {
    pub(super) clients: usize,
    /// About how many messages all clients send.
    pub(super) messages: usize,
    /// What there is besides the unnamed statement and SQL.
    pub(super) parts: &'static [Part],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Each statement is a transaction by itself: none is begun. For statement mode.
    Alone,
    /// Tables that change beneath prepared statements.
    Altering,
    /// Statements by name.
    Named,
    /// SQL that uses the same names: `PREPARE`, `EXECUTE`, `DEALLOCATE`.
    Prepare,
    /// Mostly reads, each a transaction by itself.
    Reads,
    /// `DISCARD ALL`, and settings that Postgres reports.
    Settings,
    /// The unnamed statement is used in later batches, too.
    UnnamedLater,
}

impl Profile {
    pub(super) fn has(self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// Two of them are the same to Postgres, which looks at 63 bytes; one looks like a proxy's own.
const NAMES: &[&str] = &[
    "",
    "a",
    "b",
    "c",
    "pgweir_1",
    "a_name_of_more_than_sixty_three_bytes_which_is_all_that_postgres_keeps_1",
    "a_name_of_more_than_sixty_three_bytes_which_is_all_that_postgres_keeps_2",
];
const FETCHES: &str = "f";
/// The one without a name is only used in the batch that binds it: Postgres 15 crashes when it executes
/// or describes what a simple query that failed within a transaction has left there.
const PORTALS: &[&str] = &["p", "q"];

pub(super) fn script(profile: Profile, random: &mut StdRng) -> Script {
    let mut actors: Vec<Actor> =
        (0..profile.clients).map(|client| Actor::new(client, profile)).collect();
    let mut steps = Vec::new();
    while steps.len() < profile.messages {
        let actor = actors.choose_mut(random).expect("there are clients");
        actor.turn(random);
        let client = actor.client;
        steps.extend(actor.said.drain(..).map(|message| Step { client, message }));
    }
    Script(steps)
}

fn any_portal(random: &mut StdRng) -> String {
    (*PORTALS.choose(random).expect("there are portals")).to_owned()
}

/// A client as its script is made: what it believes, which is right as long as nothing fails.
struct Actor {
    client: usize,
    profile: Profile,
    /// How many values each of its statements takes.
    statements: BTreeMap<&'static str, Text>,
    in_transaction: bool,
    said: Vec<Message>,
}

impl Actor {
    fn new(client: usize, profile: Profile) -> Self {
        Self {
            client,
            profile,
            statements: BTreeMap::new(),
            in_transaction: false,
            said: Vec::new(),
        }
    }

    /// All that it says before others have their turn.
    fn turn(&mut self, random: &mut StdRng) {
        loop {
            for _ in 0..random.random_range(1..4) {
                self.act(random);
            }
            if !one_in(random, 8) {
                self.say(Message::Sync);
            } else if one_in(random, 2) {
                self.say(Message::Flush);
            }
            // Some more may be under way.
            if !one_in(random, 3) {
                break;
            }
        }
        self.say(Message::Wait);
    }

    fn say(&mut self, message: Message) {
        self.said.push(message);
    }

    fn act(&mut self, random: &mut StdRng) {
        if self.profile.has(Part::Reads) && !self.in_transaction && !one_in(random, 12) {
            return self.read(random);
        }
        match random.random_range(0..100) {
            0..25 => self.run_anew(random),
            25..40 => {
                let name = self.name(random);
                self.prepare(name, random);
            }
            40..65 => self.run_prepared(random),
            65..71 => {
                let name = self.name(random);
                self.statements.remove(name);
                self.say(Message::CloseStatement(name.to_owned()));
            }
            71..85 => self.query(random),
            85..88 => self.copy(random),
            88..90 => {
                self.say(Message::Call(["1", if one_in(random, 4) { "x" } else { "2" }]));
            }
            90..93 => self.fetch(random),
            _ => self.say_anything(random),
        }
    }

    /// What drivers do that can share a server; or nearly.
    fn read(&mut self, random: &mut StdRng) {
        let name = self.name(random);
        let mut text = texts::reading(self.client, random);
        if text.types.is_empty() && one_in(random, 2) {
            self.say(Message::Query(text.sql));
            self.statements.remove("");
            return;
        }
        match self.statements.get(name) {
            Some(known) if !name.is_empty() && !known.is_control() => text = known.clone(),
            _ => {
                self.say(Message::CloseStatement(name.to_owned()));
                if one_in(random, 2) {
                    self.say(Message::Sync);
                }
                let (sql, types) = (text.sql.clone(), text.types.to_vec());
                self.say(Message::Parse { name: name.to_owned(), sql, types });
                if !name.is_empty() {
                    self.say(Message::Sync);
                }
                self.statements.insert(name, text.clone());
            }
        }
        let mut values: Vec<_> = text.types.iter().map(|oid| texts::value(*oid, random)).collect();
        if one_in(random, 30) {
            values.push(Some("1".to_owned()));
        }
        let (portal, is_binary) = (String::new(), one_in(random, 4));
        let statement = name.to_owned();
        self.say(Message::Bind { portal: portal.clone(), statement, values, is_binary });
        if one_in(random, 2) {
            self.say(Message::DescribePortal(portal.clone()));
        }
        self.say(Message::Execute { portal, rows_max: 0 });
        self.say(Message::Sync);
    }

    fn name(&self, random: &mut StdRng) -> &'static str {
        if !self.profile.has(Part::Named) {
            return "";
        }
        // The odd ones are rare.
        let names = if one_in(random, 4) { NAMES } else { &NAMES[..4] };
        names.choose(random).expect("there are names")
    }

    fn prepare(&mut self, name: &'static str, random: &mut StdRng) {
        // Mostly as a driver does: it closes what it had.
        if !name.is_empty() && self.statements.contains_key(name) && !one_in(random, 3) {
            self.say(Message::CloseStatement(name.to_owned()));
        }
        let (client, profile) = (self.client, self.profile);
        let mut text = texts::extended(client, profile, self.in_transaction, random);
        // Postgres 15 ends the session when EXECUTE runs SAVEPOINT outside a transaction.
        // And what it executes must not have changed meanwhile.
        let is_changing = |text: &Text| profile.has(Part::Altering) && text.depends_on_tables();
        while profile.has(Part::Prepare)
            && texts::is_executed(name)
            && (text.is_control() || is_changing(&text))
        {
            text = texts::extended(client, profile, self.in_transaction, random);
        }
        let mut types = text.types.to_vec();
        if one_in(random, 4) {
            // Postgres finds out itself.
            types.clear();
        }
        self.say(Message::Parse { name: name.to_owned(), sql: text.sql.clone(), types });
        // An unnamed statement that is used at once, and again in a later batch, must have been asked for.
        let is_asked_for = name.is_empty()
            && profile.has(Part::Altering)
            && profile.has(Part::UnnamedLater)
            && text.depends_on_tables();
        self.statements.insert(name, text);
        if is_asked_for || one_in(random, 3) {
            self.say(Message::DescribeStatement(name.to_owned()));
        }
    }

    fn run_anew(&mut self, random: &mut StdRng) {
        let name = self.name(random);
        self.prepare(name, random);
        self.run(name, random);
    }

    fn run_prepared(&mut self, random: &mut StdRng) {
        let known: Vec<&'static str> = self.statements.keys().copied().collect();
        let known = known.choose(random).copied().filter(|_| !one_in(random, 10));
        let name = known.unwrap_or_else(|| self.name(random));
        if name.is_empty() && !self.profile.has(Part::UnnamedLater) {
            return self.run_anew(random);
        }
        self.run(name, random);
    }

    fn run(&mut self, name: &'static str, random: &mut StdRng) {
        let text = self.statements.get(name).cloned().unwrap_or_default();
        let portal = if one_in(random, 3) { any_portal(random) } else { String::new() };
        let mut values: Vec<_> = text.types.iter().map(|oid| texts::value(*oid, random)).collect();
        if one_in(random, 30) {
            values.push(Some("1".to_owned()));
        }
        let is_binary = one_in(random, 10);
        self.say(Message::Bind {
            portal: portal.clone(),
            statement: name.to_owned(),
            values,
            is_binary,
        });
        if one_in(random, 3) {
            self.say(Message::DescribePortal(portal.clone()));
        }
        let rows_max = if one_in(random, 4) { random.random_range(1..30) } else { 0 };
        self.say(Message::Execute { portal: portal.clone(), rows_max });
        while one_in(random, 5) {
            self.say(Message::Execute { portal: portal.clone(), rows_max });
        }
        if one_in(random, 15) {
            self.say(Message::ClosePortal(portal));
        }
        self.follow(&text.sql, random);
    }

    /// From a cursor, if there is one. Postgres 15 crashes when it describes a `FETCH` that was prepared, or bound,
    /// with a cursor that is gone: so it has a name that is used for nothing else, or none and is closed at
    /// once, and is described where it is prepared.
    fn fetch(&mut self, random: &mut StdRng) {
        let is_named = self.profile.has(Part::Named) && one_in(random, 2);
        let name = if is_named { FETCHES } else { "" }.to_owned();
        if !is_named || one_in(random, 3) {
            self.say(Message::CloseStatement(name.clone()));
            let sql = texts::FETCH.to_owned();
            self.say(Message::Parse { name: name.clone(), sql, types: Vec::new() });
            if one_in(random, 2) {
                self.say(Message::DescribeStatement(name.clone()));
            }
        }
        let (statement, portal) = (name.clone(), String::new());
        self.say(Message::Bind { portal, statement, values: Vec::new(), is_binary: false });
        self.say(Message::Execute { portal: String::new(), rows_max: 0 });
        if !is_named {
            self.say(Message::CloseStatement(name));
            self.statements.remove("");
        }
    }

    fn query(&mut self, random: &mut StdRng) {
        let sql = texts::simple(self.client, self.profile, self.in_transaction, random);
        self.follow(&sql, random);
        if !one_in(random, 6) {
            self.say(Message::Sync);
        }
        self.say(Message::Query(sql));
        self.statements.remove("");
    }

    /// Transactions end some time.
    fn follow(&mut self, sql: &str, random: &mut StdRng) {
        match sql {
            "begin" | "start transaction" => self.in_transaction = true,
            "commit" | "rollback" => self.in_transaction = false,
            "discard all" | "deallocate all" => self.statements.clear(),
            _ => {}
        }
        if self.in_transaction && one_in(random, 12) {
            self.in_transaction = false;
            let end = if one_in(random, 3) { "rollback" } else { "commit" };
            self.say(Message::Sync);
            self.say(Message::Query(end.to_owned()));
        }
    }

    fn copy(&mut self, random: &mut StdRng) {
        let end =
            *[CopyEnd::Done, CopyEnd::DoneBehindSync, CopyEnd::Fail].choose(random).expect("some");
        let mut rows = vec!["1\tone\n"; random.random_range(0..4)];
        if end != CopyEnd::DoneBehindSync && one_in(random, 4) {
            rows.push("no number\tx\n");
        }
        let sql = format!("copy copied_{} from stdin", self.client);
        self.say(Message::Sync);
        self.say(Message::CopyIn(Copy { sql, is_extended: one_in(random, 2), rows, end }));
        self.statements.remove("");
    }

    fn say_anything(&mut self, random: &mut StdRng) {
        let name = self.name(random).to_owned();
        let portal = any_portal(random);
        if name.is_empty() && !self.profile.has(Part::UnnamedLater) {
            return self.say(Message::Sync);
        }
        let message = match random.random_range(0..8) {
            0 => Message::DescribeStatement(name),
            1 => Message::DescribePortal(portal),
            2 => Message::Execute { portal, rows_max: 2 },
            3 => Message::ClosePortal(portal),
            4 => Message::Flush,
            5 => Message::Bind { portal, statement: name, values: vec![], is_binary: false },
            _ => Message::Sync,
        };
        self.say(message);
    }
}
