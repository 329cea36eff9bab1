//! As much of Postgres as there is to statements, made up.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Which shape the rows of a text have: of each that is in here, another each time that it was altered.
pub(super) type Tables = Rc<RefCell<BTreeMap<String, u32>>>;

/// What reaches a server.
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Bind(String),
    Close(String),
    Describe(String),
    Fail,
    Parse(String, String),
    Query(&'static str),
    Sync,
    /// The rows of a text get another shape.
    Alter(String),
}

/// A text, and the shape of its rows when it was read.
type Read = (String, u32);

/// Somebody changes what the rows of a text look like.
pub(super) fn alter(tables: &Tables, text: String) {
    *tables.borrow_mut().entry(text).or_default() += 1;
}

/// As much of Postgres as there is to statements.
#[derive(Debug, Default)]
pub(super) struct Backend {
    pub(super) named: BTreeMap<String, Read>,
    unnamed: Option<Read>,
    tables: Tables,
    is_skipping: bool,
    status: u8,
    pub(super) input: VecDeque<Sent>,
}

impl Backend {
    pub(super) fn new(tables: &Tables) -> Self {
        Self { status: b'I', tables: Rc::clone(tables), ..Self::default() }
    }

    fn shape(&self, text: &str) -> u32 {
        self.tables.borrow().get(text).copied().unwrap_or_default()
    }

    fn statement(&self, name: &str) -> Option<&Read> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// Takes one message, and answers.
    pub(super) fn step(&mut self) -> Option<String> {
        let sent = self.input.pop_front()?;
        if self.is_skipping && !matches!(sent, Sent::Sync) {
            return None;
        }
        let answer = match sent {
            Sent::Sync => {
                self.is_skipping = false;
                Ok(self.ready())
            }
            Sent::Query(sql) => return Some(self.query(sql)),
            Sent::Alter(text) => return Some(self.alter(text)),
            Sent::Parse(name, text) => self.parse(name, text),
            Sent::Bind(name) => self.refer(&name).map(|(text, _)| format!("2 {text}")),
            Sent::Describe(name) => {
                self.refer(&name).map(|(text, shape)| format!("T {text} {shape}"))
            }
            Sent::Close(name) => {
                self.named.remove(&name);
                if name.is_empty() {
                    self.unnamed = None;
                }
                Ok("3".to_owned())
            }
            Sent::Fail => Err("22012"),
        };
        Some(answer.unwrap_or_else(|code| {
            self.is_skipping = true;
            if self.status == b'T' {
                self.status = b'E';
            }
            format!("E {code}")
        }))
    }

    fn refer(&self, name: &str) -> Result<Read, &'static str> {
        match self.statement(name) {
            None => Err("26000"),
            Some(_) if self.status == b'E' => Err("25P02"),
            Some((text, shape)) if *shape != self.shape(text) => Err("0A000"),
            Some(read) => Ok(read.clone()),
        }
    }

    fn alter(&mut self, text: String) -> String {
        self.unnamed = None;
        if self.status == b'E' {
            return format!("QE 25P02 {}", self.ready());
        }
        alter(&self.tables, text);
        format!("Q alter {}", self.ready())
    }

    fn ready(&self) -> String {
        format!("Z {}", char::from(self.status))
    }

    fn parse(&mut self, name: String, text: String) -> Result<String, &'static str> {
        if name.is_empty() {
            self.unnamed = None;
        }
        if text == "!" {
            return Err("42601");
        }
        if self.status == b'E' && !text.is_empty() {
            return Err("25P02");
        }
        let shape = self.shape(&text);
        let read = (text, shape);
        if name.is_empty() {
            self.unnamed = Some(read);
        } else {
            match self.named.entry(name) {
                Entry::Occupied(_) => return Err("42P05"),
                Entry::Vacant(place) => drop(place.insert(read)),
            }
        }
        Ok("1".to_owned())
    }

    /// An error and what follows it are one answer here.
    fn query(&mut self, sql: &str) -> String {
        self.unnamed = None;
        let error = match (sql, self.status) {
            ("commit", _) => {
                self.status = b'I';
                None
            }
            (_, b'E') => Some("25P02"),
            ("begin", _) => {
                self.status = b'T';
                None
            }
            ("discard", b'T') => {
                self.status = b'E';
                Some("25001")
            }
            ("discard", _) => {
                self.named.clear();
                None
            }
            _ => None,
        };
        error.map_or_else(
            || format!("Q {sql} {}", self.ready()),
            |code| format!("QE {code} {}", self.ready()),
        )
    }
}
