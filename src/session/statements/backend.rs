//! As much of Postgres as there is to statements, made up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

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
}

/// As much of Postgres as there is to statements.
#[derive(Debug, Default)]
pub(super) struct Backend {
    pub(super) named: BTreeMap<String, String>,
    unnamed: Option<String>,
    is_skipping: bool,
    status: u8,
    pub(super) input: VecDeque<Sent>,
}

impl Backend {
    pub(super) fn new() -> Self {
        Self { status: b'I', ..Self::default() }
    }

    fn statement(&self, name: &str) -> Option<&String> {
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
            Sent::Parse(name, text) => self.parse(name, text),
            Sent::Bind(name) | Sent::Describe(name) => match self.statement(&name) {
                None => Err("26000"),
                Some(_) if self.status == b'E' => Err("25P02"),
                Some(text) => Ok(format!("2 {text}")),
            },
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
        if name.is_empty() {
            self.unnamed = Some(text);
        } else {
            match self.named.entry(name) {
                Entry::Occupied(_) => return Err("42P05"),
                Entry::Vacant(place) => drop(place.insert(text)),
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
