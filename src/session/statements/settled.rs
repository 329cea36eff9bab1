//! What Postgres has answered, and what becomes of names by it.

use super::interner::Statement;
use super::names::{cut, mark, mentioned};
use super::prepared::Serial;
use super::{Look, Pending, Prepared, Refusal, Statements, What};
use crate::session::ledger::{Ledger, Origin, Request};
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// What an error answers, and what has to be done to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    pub origin: Origin,
    /// It is not Postgres' but ours.
    pub refusal: Option<Refusal>,
    /// It is of what was slipped in before a simple query, which will say so itself.
    pub is_swallowed: bool,
    /// So many requests that the [script](crate::session::script) follows were skipped.
    pub followed: usize,
    /// A `Parse` of the unnamed statement has failed, or was skipped.
    pub is_of_unnamed: bool,
    /// The name that the client used, if Postgres mentions one of ours.
    pub name: Option<Box<[u8]>>,
}

/// What an answer told of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Told {
    Nothing,
    /// It is not what it was: tables have changed.
    Changed,
    /// As well, and requests went out that rely on what it was: the client would misread their answers.
    ChangedInUse,
}

impl Statements {
    /// The types of a statement's parameters: the body of a `ParameterDescription`.
    pub fn parameters_described(&mut self, body: &[u8]) {
        self.reading.parameters(body);
    }

    /// A statement's columns: the body of a `RowDescription` of `total` bytes, as much as is read of it.
    pub fn columns_described(&mut self, body: &[u8], total: usize) {
        self.reading.columns(body, total);
    }

    /// The client was told what its unnamed statement is, in more words than are read here.
    pub fn described_at_length(&mut self) {
        self.unnamed.keep_here();
    }

    /// A `Parse`, `Close`, `Describe` or what stands for one was answered.
    #[inline]
    pub fn settled(&mut self, request: Request, origin: Origin, server: &mut Prepared) -> Told {
        match (request, origin) {
            (Request::Parse, Origin::Client) => self.unnamed.parsed(),
            (Request::Parse, Origin::Proxy) => self.unnamed.made(),
            (Request::CloseUnnamed, _) => self.unnamed.closed(),
            (Request::Bind, _) => drop(self.bound.pop_front()),
            (Request::ParseNamed | Request::ParseAcknowledged | Request::CloseNamed, _) => {
                self.named_settled(server);
            }
            (Request::Describe, Origin::Proxy) => return self.described(server),
            (Request::DescribeUnnamed, _) => self.unnamed.described(self.reading.finish()),
            _ => {}
        }
        Told::Nothing
    }

    fn described(&mut self, server: &mut Prepared) -> Told {
        let description = self.reading.finish();
        let (is_same, is_sure) = match self.pending.pop_front().map(|pending| pending.what) {
            Some(What::Describe(look)) => {
                let Look { of, statement, serial, moment, is_sure } = *look;
                let found = statement.described(&description, moment);
                server.give_up(statement.id, serial);
                server.enter(Arc::clone(&found), serial);
                let is_same = Arc::ptr_eq(&found, &statement);
                match of {
                    _ if is_same => {}
                    Some(name) => self.turn_out(&name, &statement, &found),
                    None => self.refuted = Some(statement.id),
                }
                (is_same, is_sure)
            }
            Some(What::DescribeUnnamed { is_sure }) => {
                (self.unnamed.is_still(&description), is_sure)
            }
            _ => return Told::Nothing,
        };
        match (is_same, is_sure) {
            (true, _) => Told::Nothing,
            (false, false) => Told::Changed,
            (false, true) => Told::ChangedInUse,
        }
    }

    /// What was prepared under a name is another statement than it was taken for.
    fn turn_out(&mut self, name: &[u8], taken: &Arc<Statement>, found: &Arc<Statement>) {
        let turn = |held: &mut Arc<Statement>| {
            if Arc::ptr_eq(held, taken) {
                *held = Arc::clone(found);
            }
        };
        if let Some(Some(held)) = self.names.get_mut(name) {
            turn(held);
        }
        for pending in &mut self.pending {
            match &mut pending.what {
                What::Close { name: of, before: Some(Some(held)) } if **of == *name => turn(held),
                What::Own { name: of, statement, .. } if **of == *name => turn(statement),
                _ => {}
            }
        }
    }

    fn named_settled(&mut self, server: &mut Prepared) {
        match self.pending.pop_front().map(|pending| pending.what) {
            Some(What::Hollow { serial }) => server.garbage.push(serial),
            Some(What::Occupy) => server.is_occupied = true,
            // A text in front of it has dropped the name that was taken.
            Some(What::Duplicate { name }) => {
                if let Entry::Vacant(free) = self.names.entry(cut(&name).into()) {
                    free.insert(None);
                    self.locals += 1;
                }
            }
            _ => {}
        }
    }

    /// A simple query was answered.
    #[inline]
    pub fn queried(&mut self, origin: Origin) {
        match origin {
            Origin::Client => self.unnamed.queried(),
            Origin::Proxy => self.unnamed.dropped(),
        }
    }

    /// An error was answered with `message`: settles it in the ledger, and takes back what was skipped.
    /// `None`: nobody asked anything.
    pub fn failed(
        &mut self,
        server: &mut Prepared,
        ledger: &mut Ledger,
        (code, message): (&str, &[u8]),
    ) -> Option<Failure> {
        let (mut first, mut followed) = (None, 0_usize);
        let (mut named, mut makers, mut parses, mut binds) = (0_usize, 0_u32, 0_usize, 0_usize);
        let origin = ledger.failed(|request, origin| {
            first.get_or_insert((request, origin));
            match request {
                Request::ParseNamed | Request::ParseAcknowledged | Request::CloseNamed => {
                    named += 1;
                }
                Request::Describe => named += usize::from(origin == Origin::Proxy),
                Request::Parse | Request::ParseRefused => {
                    makers += 1;
                    parses += usize::from(origin == Origin::Client);
                }
                Request::CloseUnnamed => makers += 1,
                Request::ExecuteFollowed | Request::QueryFollowed => followed += 1,
                Request::Bind => binds += 1,
                _ => {}
            }
        })?;
        let bound = self.bound.drain(..binds.min(self.bound.len())).next();
        let mut failure = Failure {
            origin,
            refusal: None,
            is_swallowed: false,
            followed,
            is_of_unnamed: parses > 0,
            name: None,
        };
        let is_named = matches!(first, Some((Request::ParseNamed, _)));
        if is_named && let Some(Pending { what, .. }) = self.pending.front() {
            match what {
                What::Empty { is_query, .. } | What::Own { is_query, .. } => {
                    failure.is_swallowed = *is_query;
                }
                What::Refuse(refusal) => failure.refusal = Some(*refusal),
                What::Duplicate { name } | What::Parse { name, .. } => {
                    failure.name = Some(name.clone());
                }
                _ => {}
            }
        }
        if matches!(first, Some((Request::ParseRefused, _))) {
            failure.refusal = Some(Refusal::Session);
        }
        let is_ours = matches!(code, "26000" | "42P05" | "08P01");
        if let Some((serial, _)) = mentioned(message).filter(|_| is_ours) {
            let bound = bound.filter(|_| matches!(first, Some((Request::Bind, _))));
            let named = || bound.and_then(|mark| self.name_marked(mark));
            failure.name = failure.name.or_else(named).or_else(|| self.name_of(serial, server));
            if code == "26000" {
                server.lost(serial);
            }
        } else {
            failure.name = None;
        }
        self.undo(named, Some(server));
        self.unnamed.asked_in_vain();
        if makers > 0 {
            let by_client =
                [Request::Parse, Request::ParseRefused].map(|it| Some((it, Origin::Client)));
            let is_failed = by_client.contains(&first);
            self.unnamed.skipped(makers, parses, is_failed);
            if first == Some((Request::Parse, Origin::Proxy)) {
                self.unnamed.remaking_failed();
            }
        }
        Some(failure)
    }

    /// The name with this mark, also if a request under way gives it up.
    fn name_marked(&self, marked: u32) -> Option<Box<[u8]>> {
        let closed = self.pending.iter().filter_map(|pending| match &pending.what {
            What::Close { name, .. } => Some(name),
            _ => None,
        });
        self.names.keys().chain(closed).find(|name| mark(name) == marked).cloned()
    }

    /// The client's name of a statement that Postgres knows by this number.
    fn name_of(&self, serial: Serial, server: &Prepared) -> Option<Box<[u8]>> {
        let of_pending = self.pending.iter().find_map(|pending| match &pending.what {
            What::Parse { statement, serial: own, .. } | What::Slip { statement, serial: own }
                if *own == serial =>
            {
                Some(statement)
            }
            _ => None,
        });
        let statement = of_pending.or_else(|| server.statement(serial))?;
        let mut names = self.names.iter();
        let found = names.find(|(_, held)| held.as_ref().is_some_and(|it| it.id == statement.id));
        found.map(|(name, _)| name.clone())
    }

    /// The oldest `count` of those under way have not happened. `server`: none if it is lost.
    pub(super) fn undo(&mut self, count: usize, mut server: Option<&mut Prepared>) {
        // From the last to the first, so that each name has in the end what it had at first.
        let count = count.min(self.pending.len());
        let mut undone = self.pending.drain(..count).collect::<Vec<_>>();
        while let Some(Pending { what, .. }) = undone.pop() {
            match what {
                What::Acknowledged { name } => drop(self.names.remove(&name)),
                What::Local { name } => {
                    self.forget(&name);
                }
                What::Parse { name, statement, serial } => {
                    self.names.remove(&name);
                    if let Some(server) = &mut server {
                        server.give_up(statement.id, serial);
                    }
                }
                What::Close { name, before: Some(held) } => {
                    self.locals += usize::from(held.is_none());
                    self.names.insert(name, held);
                }
                What::Slip { statement, serial } => {
                    if let Some(server) = &mut server {
                        server.give_up(statement.id, serial);
                    }
                }
                What::Describe(look) => {
                    // The first of all: it was prepared, then, and nothing is known of it.
                    if let Some(server) = &mut server
                        && undone.is_empty()
                    {
                        server.give_up(look.statement.id, look.serial);
                        server.garbage.push(look.serial);
                    }
                }
                What::Own { name, statement, .. } => {
                    self.names.insert(name, Some(statement));
                    self.locals -= 1;
                }
                What::Drop { serial } => {
                    if let Some(server) = &mut server {
                        server.garbage.push(serial);
                    }
                }
                What::Close { before: None, .. }
                | What::DescribeUnnamed { .. }
                | What::Duplicate { .. }
                | What::Hollow { .. }
                | What::HollowUnnamed
                | What::Occupy
                | What::Refuse(_) => {}
                What::Empty { name, .. } => {
                    // Who drops it later must be given one again.
                    self.dropping.take_if(|dropping| *dropping == name);
                }
            }
        }
    }

    /// A command was completed that drops all statements: `DEALLOCATE ALL` or `DISCARD ALL`.
    pub fn dropped_all(&mut self, server: &mut Prepared) {
        server.clear();
        self.names.clear();
        self.locals = 0;
        // What was sent behind it holds.
        let mut pending = std::mem::take(&mut self.pending);
        for Pending { what, .. } in &mut pending {
            match what {
                What::Local { name } => {
                    self.names.insert(name.clone(), None);
                    self.locals += 1;
                }
                What::Parse { name, statement, .. } => {
                    self.names.insert(name.clone(), Some(statement.clone()));
                }
                What::Close { name, before } => {
                    *before = self.names.remove(name);
                    self.locals -= usize::from(matches!(before, Some(None)));
                }
                _ => {}
            }
        }
        self.pending = pending;
    }

    /// `DEALLOCATE` of one name was completed.
    pub fn dropped_one(&mut self) {
        if let Some(name) = self.dropping.take() {
            self.forget(&name);
        }
    }
}
