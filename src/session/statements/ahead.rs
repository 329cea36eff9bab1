//! What goes ahead of a request that shares a server: what the server lacks is prepared, and looked at.
//!
//! As in a lease, but that the request never waits for the description. It reads, and its answer stays with
//! whoever drives the server until the statement is known to be what it was. If it is not, nobody is given
//! the answer: the client asks again on a server of its own, where Postgres refuses what is to be refused.

use super::context::Moment;
use super::description::Reading;
use super::interner::Statement;
use super::names::ServerName;
use super::prepared::Serial;
use super::{Prepared, Told};
use crate::session::ledger::{Ledger, Origin, Request};
use crate::session::settings::Settings;
use crate::wire::encode;
use std::collections::VecDeque;
use std::sync::Arc;

/// A longer text is prepared on a server that its client has for itself.
const BODY_MAX: usize = 8 << 10;

/// Of those that are of no use any more, so many are closed with one request.
const CLOSE_AT_ONCE: usize = 16;

/// A server that others share, and what is about to be sent to it.
#[derive(Debug)]
pub struct To<'a> {
    pub prepared: &'a mut Prepared,
    pub ledger: &'a mut Ledger,
    pub out: &'a mut Vec<u8>,
    /// The database and the user whose server it is.
    pub pool: (&'a str, &'a str),
    pub moment: Moment,
}

/// What was sent ahead and is not answered as a whole.
#[derive(Debug)]
pub struct Ahead {
    statement: Arc<Statement>,
    serial: Serial,
    moment: Moment,
    /// What is closed first.
    closes: VecDeque<Serial>,
    is_parsed: bool,
    /// Its description as it comes.
    reading: Reading,
}

impl Ahead {
    /// Has a statement prepared that the server lacks. `limit`: so many are kept there. `None`: a server of
    /// its client's own is to see to that.
    #[cold]
    pub fn send(
        statement: &Arc<Statement>,
        settings: &Settings,
        limit: u32,
        to: &mut To<'_>,
    ) -> Option<Box<Self>> {
        if !Self::is_possible(statement, settings, to.pool) {
            return None;
        }
        // Another that shares the server may have sent the same, which may fail yet: not this one with it.
        let serial = to.prepared.expect(statement, (0, false), limit.max(1));
        let mut closes = VecDeque::new();
        while closes.len() < CLOSE_AT_ONCE
            && let Some(garbage) = to.prepared.garbage.pop()
        {
            encode::close_statement(to.out, ServerName::new(garbage).as_str());
            to.ledger.sent(Request::CloseNamed, Origin::Proxy);
            closes.push_back(garbage);
        }
        let name = ServerName::new(serial);
        statement.write_parse(to.out, name.as_bytes());
        to.ledger.sent(Request::ParseNamed, Origin::Proxy);
        encode::describe_statement(to.out, name.as_str());
        to.ledger.sent(Request::Describe, Origin::Proxy);
        Some(Box::new(Self {
            statement: Arc::clone(statement),
            serial,
            moment: to.moment,
            closes,
            is_parsed: false,
            reading: Reading::default(),
        }))
    }

    /// Whether it may be prepared ahead of a request.
    pub fn is_possible(statement: &Statement, settings: &Settings, pool: (&str, &str)) -> bool {
        statement.is_of(settings, pool) && statement.body.len() <= BODY_MAX
    }

    pub fn name(&self) -> ServerName {
        ServerName::new(self.serial)
    }

    /// The types of its parameters: the body of a `ParameterDescription`.
    pub fn parameters_described(&mut self, body: &[u8]) {
        self.reading.parameters(body);
    }

    /// Its columns: the body of a `RowDescription` of `total` bytes, as much as is read of it.
    pub fn columns_described(&mut self, body: &[u8], total: usize) {
        self.reading.columns(body, total);
    }

    /// One of those that were sent ahead was answered.
    pub fn settled(&mut self, request: Request, prepared: &mut Prepared) -> Told {
        match request {
            Request::CloseNamed => drop(self.closes.pop_front()),
            Request::ParseNamed => self.is_parsed = true,
            Request::Describe => {
                let found = self.statement.described(&self.reading.finish(), self.moment);
                prepared.give_up(self.statement.id, self.serial);
                prepared.enter(Arc::clone(&found), self.serial);
                if !Arc::ptr_eq(&found, &self.statement) {
                    return Told::Changed;
                }
            }
            _ => {}
        }
        Told::Nothing
    }

    /// Postgres refused one of them, and has skipped the rest.
    pub fn undo(self, prepared: &mut Prepared) {
        prepared.give_up(self.statement.id, self.serial);
        prepared.garbage.extend(self.closes);
        if self.is_parsed {
            // Nothing is known of it.
            prepared.garbage.push(self.serial);
        }
    }
}
