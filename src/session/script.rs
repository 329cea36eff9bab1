//! What the texts under way do to the session, statement by statement.
//!
//! A text that may do something is entered when it is sent, and its request in the ledger is marked, so
//! that the two stay in step. Each `CommandComplete` says that its next statement is done. What was done
//! counts when its transaction commits; what is rolled back, to a savepoint or as a whole, is forgotten.
//! Each command tag is compared with what its statement would end with: where the two differ, or where
//! the text does not say what it does, the script says so, and somebody must ask the server
//! ([`Script::asks`]).
//!
//! # Invariants
//!
//! - A text is under way for each marked request in the ledger, in the same order.
//! - Nothing is reported as [`Change`] that was not committed.
//! - A client whose texts do nothing to the session has no memory here.

use crate::sql::glance::{Glance, glance};
use crate::sql::hidden::Hidden;
use crate::sql::statement::{Kind, identifier, plain_value, statements, tells, variable};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Statements of one text that are followed; a dump has thousands.
const STATEMENTS_MAX: usize = 1_000;

/// What is remembered of one transaction.
const LOG_MAX: usize = 1_000;

/// Prepared statements whose texts do something to the session.
const PREPARED_MAX: usize = 256;

/// Names of settings that only the client knows. More, and nobody can ask for all of them.
const NAMES_MAX: usize = 64;

/// What a statement has done to the session, and nobody can take back. Alphabetical.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    DiscardAll,
    Listen(Vec<u8>),
    Reset(String),
    ResetAll,
    /// The value is as it was written, see [`plain_value`].
    Set {
        name: String,
        value: String,
    },
    Unlisten(Vec<u8>),
    UnlistenAll,
}

/// A text that may do something to the session.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Its statements, if one of them matters: those that do not are empty.
    steps: Rc<[Box<[u8]>]>,
    /// What does not show when a statement is completed.
    hidden: Hidden,
}

impl Text {
    /// Reads a text; of one that is not whole, what is here. `None`: it does nothing to the session.
    #[inline]
    pub fn read(sql: &[u8], is_several: bool, functions: &[Box<str>]) -> Option<Self> {
        if glance(sql, is_several, functions) == Glance::Skip {
            return None;
        }
        Self::read_on(sql, functions)
    }

    #[cold]
    fn read_on(sql: &[u8], functions: &[Box<str>]) -> Option<Self> {
        let mut text = Self::default();
        let mut steps: Vec<Box<[u8]>> = Vec::new();
        let mut matters = false;
        for (kind, statement) in statements(sql).take(STATEMENTS_MAX) {
            text.hidden.add(Hidden::of(kind, statement, functions));
            matters |= shows(kind);
            steps.push(if shows(kind) { statement.into() } else { Box::default() });
        }
        if matters {
            text.steps = steps.into();
        }
        (matters || !text.hidden.is_empty()).then_some(text)
    }

    /// Whether its request must be marked in the ledger.
    pub fn is_followed(&self) -> bool {
        !self.steps.is_empty()
    }

    /// What does not show when a statement is completed.
    pub fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// What its statements are.
    pub fn kinds(&self) -> impl Iterator<Item = Kind<'_>> {
        self.steps.iter().map(|step| Kind::of(step))
    }
}

/// Whether what such a statement does shows when it is completed.
fn shows(kind: Kind<'_>) -> bool {
    matches!(
        kind,
        Kind::DiscardAll
            | Kind::Listen(_)
            | Kind::Release(_)
            | Kind::Reset(_)
            | Kind::ResetAll
            | Kind::RollbackTo(_)
            | Kind::Savepoint(_)
            | Kind::Set { .. }
            | Kind::SetLocal
            | Kind::SetOther
            | Kind::Unlisten(_)
            | Kind::UnlistenAll
    )
}

/// See the module.
#[derive(Debug, Default)]
pub struct Script(Option<Box<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    under_way: VecDeque<UnderWay>,
    /// By the names that the client has given them; the unnamed one has none.
    statements: HashMap<Box<[u8]>, Text>,
    portals: HashMap<Box<[u8]>, Text>,
    /// What any unnamed statement may have done.
    unnamed: Hidden,
    /// What was done in the transaction so far.
    log: Vec<Entry>,
    committed: Vec<Change>,
    /// A request has failed since the last `ReadyForQuery`.
    has_failed: bool,
    asks: Hidden,
}

#[derive(Debug)]
struct UnderWay {
    steps: Rc<[Box<[u8]>]>,
    done: usize,
}

/// What was done in a transaction.
#[derive(Debug)]
enum Entry {
    Change(Change),
    Savepoint(Vec<u8>),
}

impl Script {
    fn pages(&mut self) -> &mut Pages {
        self.0.get_or_insert_default()
    }

    /// The text of a simple query was sent.
    pub fn sent(&mut self, text: &Text) {
        self.pages().sent(text);
    }

    /// `Parse` was sent: the statement `name` has this text from now on.
    #[inline]
    pub fn parse_sent(&mut self, name: &[u8], text: Option<Text>) {
        if self.0.is_some() || text.is_some() {
            self.pages().parse_sent(name, text);
        }
    }

    /// A `Parse` of the unnamed statement failed, or was skipped after an error: whichever was there
    /// before may be there still.
    pub fn parse_skipped(&mut self) {
        if let Some(pages) = &mut self.0 {
            let text = Text { hidden: pages.unnamed.clone(), ..Text::default() };
            pages.statements.insert(Box::default(), text);
        }
    }

    /// `Bind` was sent.
    #[inline]
    pub fn bind_sent(&mut self, portal: &[u8], statement: &[u8]) {
        if let Some(pages) = &mut self.0 {
            pages.bind_sent(portal, statement);
        }
    }

    /// Whether an `Execute` may run something of interest.
    #[inline]
    pub fn has_portals(&self) -> bool {
        self.0.as_ref().is_some_and(|pages| !pages.portals.is_empty())
    }

    /// What an `Execute` of this portal would run, if that may do something to the session.
    #[inline]
    pub fn text_of(&self, portal: &[u8]) -> Option<Text> {
        self.0.as_ref().and_then(|pages| pages.portals.get(portal).cloned())
    }

    /// `Close` of a statement was sent.
    pub fn close_sent(&mut self, name: &[u8]) {
        if let Some(pages) = &mut self.0
            // It may fail. What shows would show all the same.
            && pages.statements.get(name).is_some_and(|text| text.hidden.is_empty())
        {
            pages.statements.remove(name);
        }
    }

    /// A statement is done. `is_followed`: the request has its mark.
    #[inline]
    pub fn completed(&mut self, tag: &[u8], is_followed: bool) {
        if self.0.is_some() || is_followed || tells(tag) {
            self.pages().completed(tag, is_followed);
        }
    }

    /// A marked request has had its whole answer; a query, once the server is ready.
    pub fn settled(&mut self) {
        let pages = self.pages();
        if let Some(text) = pages.under_way.pop_front()
            && text.done != text.steps.len()
            && !pages.has_failed
        {
            // It was cut otherwise than Postgres has cut it.
            pages.is_unsure();
        }
    }

    /// A marked request was skipped after an error, or has failed: it is settled by that.
    pub fn skipped(&mut self) {
        self.pages().under_way.pop_front();
    }

    /// A request of the client's has failed.
    pub fn failed(&mut self) {
        if let Some(pages) = &mut self.0 {
            pages.has_failed = true;
        }
    }

    /// The server is ready. `is_idle`: no transaction is open any more.
    #[inline]
    pub fn ready(&mut self, is_idle: bool) {
        if let Some(pages) = &mut self.0 {
            pages.ready(is_idle);
        }
    }

    /// What has been committed since it was asked last, in order.
    #[inline]
    pub fn take_committed(&mut self) -> Vec<Change> {
        self.0.as_mut().map(|pages| std::mem::take(&mut pages.committed)).unwrap_or_default()
    }

    /// What must be asked of the server before somebody else gets it, if anything.
    #[inline]
    pub fn asks(&self) -> Option<&Hidden> {
        self.0.as_ref().map(|pages| &pages.asks).filter(|asks| asks.must_be_asked())
    }

    /// The server was asked, or is lost.
    pub fn is_answered(&mut self) {
        if let Some(pages) = &mut self.0 {
            pages.asks = Hidden::default();
            pages.committed.clear();
        }
    }

    /// The lease is over. Statements stay, wherever they are.
    #[inline]
    pub fn lease_ended(&mut self) {
        if let Some(pages) = &mut self.0 {
            pages.lease_ended();
            if pages.statements.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl Pages {
    fn is_unsure(&mut self) {
        self.asks.settings = true;
    }

    fn sent(&mut self, text: &Text) {
        self.asks.add(text.hidden.clone());
        self.bound_names();
        if text.is_followed() {
            self.under_way.push_back(UnderWay { steps: Rc::clone(&text.steps), done: 0 });
        }
    }

    fn bound_names(&mut self) {
        if self.asks.names.len() > NAMES_MAX {
            self.asks.names.truncate(NAMES_MAX);
            self.asks.others = true;
        }
    }

    fn parse_sent(&mut self, name: &[u8], text: Option<Text>) {
        if name.is_empty() {
            if let Some(text) = &text {
                self.unnamed.add(text.hidden.clone());
                self.unnamed.names.truncate(NAMES_MAX);
            }
        } else if let Some(before) = self.statements.get_mut(name) {
            // If it is there still, this `Parse` fails. Its tag will tell what it is.
            before.steps = Rc::default();
            before.hidden.add(text.map(|text| text.hidden).unwrap_or_default());
            return;
        } else if text.is_some() && self.statements.len() >= PREPARED_MAX {
            // Nobody knows any more what an `Execute` runs.
            self.unnamed.add(text.map(|text| text.hidden).unwrap_or_default());
            self.asks.add(self.unnamed.clone());
            return;
        }
        match text {
            Some(text) => drop(self.statements.insert(name.into(), text)),
            None => drop(self.statements.remove(name)),
        }
    }

    fn bind_sent(&mut self, portal: &[u8], statement: &[u8]) {
        match self.statements.get(statement) {
            Some(text) => drop(self.portals.insert(portal.into(), text.clone())),
            None => drop(self.portals.remove(portal)),
        }
    }

    fn completed(&mut self, tag: &[u8], is_followed: bool) {
        let mut step: Box<[u8]> = Box::default();
        if is_followed {
            let text = self.under_way.front_mut();
            match text.and_then(|text| {
                text.done += 1;
                text.steps.get(text.done - 1)
            }) {
                Some(found) => step.clone_from(found),
                None => self.is_unsure(),
            }
        }
        let kind = Kind::of(&step);
        if !kind.fits(tag) {
            self.is_unsure();
            return;
        }
        match tag {
            b"COMMIT" | b"PREPARE TRANSACTION" => self.commit(),
            b"ROLLBACK" if !matches!(kind, Kind::RollbackTo(_)) => self.log.clear(),
            _ => self.did(kind),
        }
    }

    /// A statement of this kind was done.
    fn did(&mut self, kind: Kind<'_>) {
        let entry = match kind {
            Kind::DiscardAll => Some(Entry::Change(Change::DiscardAll)),
            Kind::Listen(name) => identifier(name).map(|name| Entry::Change(Change::Listen(name))),
            Kind::Release(name) => return self.released(name, false),
            Kind::Reset(name) => variable(name).map(|name| {
                self.knows(&name);
                Entry::Change(Change::Reset(name))
            }),
            Kind::ResetAll => Some(Entry::Change(Change::ResetAll)),
            Kind::RollbackTo(name) => return self.released(name, true),
            Kind::Savepoint(name) => identifier(name).map(Entry::Savepoint),
            Kind::Set { name, value } => variable(name).and_then(|name| {
                self.knows(&name);
                let value = plain_value(value)?.to_owned();
                Some(Entry::Change(Change::Set { name, value }))
            }),
            Kind::Unlisten(name) => {
                identifier(name).map(|name| Entry::Change(Change::Unlisten(name)))
            }
            Kind::UnlistenAll => Some(Entry::Change(Change::UnlistenAll)),
            _ => return,
        };
        match entry {
            Some(entry) if self.log.len() < LOG_MAX => self.log.push(entry),
            _ => self.is_unsure(),
        }
    }

    /// A setting that Postgres does not list has to be asked for by its name, should it be asked for.
    fn knows(&mut self, name: &str) {
        if name.contains('.') && !self.asks.names.iter().any(|known| &**known == name) {
            self.asks.names.push(name.into());
            self.bound_names();
        }
    }

    /// A savepoint is no more; or what was done since is undone.
    fn released(&mut self, name: &[u8], is_undone: bool) {
        let Some(name) = identifier(name) else { return self.is_unsure() };
        let is_it = |entry: &Entry| matches!(entry, Entry::Savepoint(found) if *found == name);
        let Some(at) = self.log.iter().rposition(is_it) else { return self.is_unsure() };
        if is_undone {
            self.log.truncate(at + 1);
        } else {
            let mut place = 0;
            self.log.retain(|entry| {
                place += 1;
                place <= at || matches!(entry, Entry::Change(_))
            });
        }
    }

    fn commit(&mut self) {
        let changes = self.log.drain(..).filter_map(|entry| match entry {
            Entry::Change(change) => Some(change),
            Entry::Savepoint(_) => None,
        });
        self.committed.extend(changes);
    }

    fn ready(&mut self, is_idle: bool) {
        if is_idle {
            if self.has_failed {
                self.log.clear();
            } else {
                self.commit();
            }
            self.portals.clear();
        }
        self.has_failed = false;
    }

    fn lease_ended(&mut self) {
        self.under_way.clear();
        self.portals.clear();
        self.log.clear();
        self.committed.clear();
        self.has_failed = false;
        self.asks = Hidden::default();
    }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
