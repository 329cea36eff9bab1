//! Requests on their way to a server: what becomes of each, and what must go before it.

use super::interner::Statement;
use super::names::{cut, mark};
use super::prepared::Found;
use super::unnamed::Need;
use super::{Message, Now, Pending, Prepared, Refusal, Route, Slip, Statements, What};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::sql::ending::may_commit;
use crate::sql::prepared::{may_use_prepared, prepared_use};
use crate::wire::frame::split_text;
use std::sync::Arc;

/// Requests that change names, under way in another batch, at most: whoever has more waits. They are
/// searched one by one.
const PENDING_MAX: usize = 256;

/// Of those that are of no use any more, so many are closed with one request.
const CLOSE_AT_ONCE: usize = 16;

impl Statements {
    /// A request that names a statement is at the front. Enters it in the ledger, with what goes before
    /// it in `slips`; unless it has to wait.
    #[inline]
    pub fn look(
        &mut self,
        message: Message<'_>,
        server: &mut Prepared,
        ledger: &mut Ledger,
        now: &Now<'_>,
        slips: &mut Vec<Slip>,
    ) -> Route {
        if ledger.is_skipping() {
            return Route::AsIs;
        }
        (self.may_commit, self.uses_prepared, self.does) = (false, false, false);
        let mut sending = Sending { statements: self, server, ledger, now, slips };
        match message {
            Message::Bind(name) => sending.refer(name, Request::Bind),
            Message::Describe(name) => sending.refer(name, Request::Describe),
            Message::Close(name) => sending.close(name),
            Message::Parse(name, body) => sending.parse(name, body),
            Message::ParseRefused(name) => sending.parse_refused(name),
        }
    }

    #[inline]
    pub fn sync_sent(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        self.unnamed.sync_sent();
    }

    /// A simple query was sent.
    #[inline]
    pub fn query_sent(&mut self) {
        self.unnamed.query_sent();
    }

    /// A text is sent that may drop statements or make some. With a `Query`, it is a batch by itself.
    pub fn barrier_sent(&mut self, is_query: bool) {
        self.is_barred = true;
        if is_query {
            self.batch = self.batch.wrapping_add(1);
        }
    }

    /// Whether what becomes of a name is still to be seen.
    #[inline]
    pub(super) fn is_uncertain(&mut self, name: &[u8], ledger: &Ledger) -> bool {
        if self.is_barred {
            if !ledger.is_empty() {
                return true;
            }
            self.is_barred = false;
        }
        match self.pending.front() {
            None => false,
            Some(front) if front.batch == self.batch => false,
            Some(_) => self.is_pending_elsewhere(name),
        }
    }

    #[cold]
    fn is_pending_elsewhere(&self, name: &[u8]) -> bool {
        let last = self.pending.iter().rev().find(|pending| pending.is_about(name));
        self.pending.len() >= PENDING_MAX || last.is_some_and(|last| last.batch != self.batch)
    }
}

impl Pending {
    fn is_about(&self, wanted: &[u8]) -> bool {
        match &self.what {
            What::Acknowledged { name }
            | What::Close { name, .. }
            | What::Local { name }
            | What::Own { name, .. }
            | What::Parse { name, .. } => **name == *wanted,
            What::Drop { .. }
            | What::Duplicate { .. }
            | What::Empty { .. }
            | What::Occupy
            | What::Refuse(_)
            | What::Slip { .. } => false,
        }
    }
}

/// All that a request on its way has to do with.
struct Sending<'a, 'now> {
    statements: &'a mut Statements,
    server: &'a mut Prepared,
    ledger: &'a mut Ledger,
    now: &'a Now<'now>,
    slips: &'a mut Vec<Slip>,
}

impl Sending<'_, '_> {
    fn client(&mut self, request: Request) {
        self.ledger.sent(request, Origin::Client);
    }

    fn pend(&mut self, what: What) {
        self.statements.pending.push_back(Pending { batch: self.statements.batch, what });
    }

    /// Something of the proxy's own goes first.
    fn slip(&mut self, slip: Slip, request: Request, what: Option<What>) {
        self.ledger.sent(request, Origin::Proxy);
        if let Some(what) = what {
            self.pend(what);
        }
        self.slips.push(slip);
    }

    /// `Bind` and `Describe`.
    #[inline]
    fn refer(&mut self, name: &[u8], request: Request) -> Route {
        let route =
            if name.is_empty() { self.refer_to_unnamed(request) } else { self.find(cut(name)) };
        if route != Route::Wait {
            self.client(request);
            if request == Request::Bind {
                self.statements.bound.push_back(mark(cut(name)));
            }
            if self.statements.uses_prepared && request == Request::Bind {
                self.statements.barrier_sent(false);
            }
        }
        route
    }

    #[inline]
    fn refer_to_unnamed(&mut self, request: Request) -> Route {
        let (statements, is_owed) = (&mut *self.statements, !self.ledger.is_empty());
        match statements.unnamed.need(statements.batch, is_owed) {
            Need::Nothing => {}
            Need::Wait => return Route::Wait,
            Need::Close => self.slip(Slip::CloseUnnamed, Request::Close, None),
            Need::Make => {
                statements.unnamed.made_again(statements.batch);
                self.slip(Slip::ParseUnnamed, Request::Parse, None);
            }
        }
        if request == Request::Bind {
            self.statements.unnamed.bind_sent();
            let body = self.statements.unnamed.body();
            self.statements.may_commit = body.is_some_and(may_commit);
            self.statements.uses_prepared = body.is_some_and(uses_prepared);
        }
        Route::AsIs
    }

    /// Where the statement of this name is.
    #[inline]
    fn find(&mut self, name: &[u8]) -> Route {
        if self.statements.is_uncertain(name, self.ledger) {
            return Route::Wait;
        }
        let Some(Some(statement)) = self.statements.names.get(name) else {
            return Route::AsIs;
        };
        self.statements.may_commit = statement.may_commit;
        self.statements.uses_prepared = statement.uses_prepared;
        self.statements.does = statement.does.is_some();
        match self.server.find(statement.id) {
            Found::There(serial) => Route::Under(serial),
            Found::Coming { serial, batch } if batch == self.statements.batch => {
                Route::Under(serial)
            }
            Found::Coming { .. } => Route::Wait,
            Found::Nothing => {
                let statement = Arc::clone(statement);
                self.prepare(name, &statement)
            }
        }
    }

    /// The server lacks what the client refers to.
    #[cold]
    fn prepare(&mut self, name: &[u8], statement: &Arc<Statement>) -> Route {
        let digest = self.statements.interner.digest(self.now.settings, self.now.epoch);
        // Postgres reads it now, under the settings of now: it is not what others mean by it.
        let Ok(statement) = statement.under(digest) else { return Route::AsIs };
        if let Some(held) = self.statements.names.get_mut(name) {
            *held = Some(Arc::clone(&statement));
        }
        match self.server.find(statement.id) {
            Found::There(serial) => return Route::Under(serial),
            Found::Coming { serial, batch } if batch == self.statements.batch => {
                return Route::Under(serial);
            }
            Found::Coming { .. } => return Route::Wait,
            Found::Nothing => {}
        }
        let serial = self.expect(&statement);
        let what = What::Slip { statement: Arc::clone(&statement), serial };
        self.slip(Slip::Parse(serial, statement), Request::ParseNamed, Some(what));
        Route::Under(serial)
    }

    /// A number for a statement that is about to be parsed, and room for it.
    fn expect(&mut self, statement: &Arc<Statement>) -> u32 {
        let limit = self.now.limits.of_server.max(1);
        let (serial, evicted) = self.server.expect(statement, self.statements.batch, limit);
        self.server.garbage.extend(evicted);
        self.tidy();
        serial
    }

    fn tidy(&mut self) {
        for _ in 0..CLOSE_AT_ONCE {
            let Some(serial) = self.server.garbage.pop() else { break };
            self.slip(Slip::Close(serial), Request::CloseNamed, Some(What::Drop { serial }));
        }
    }

    fn close(&mut self, name: &[u8]) -> Route {
        if name.is_empty() {
            self.statements.unnamed.close_sent(self.statements.batch);
            self.client(Request::CloseUnnamed);
            return Route::AsIs;
        }
        let name = cut(name);
        if self.statements.is_uncertain(name, self.ledger) {
            return Route::Wait;
        }
        let before = self.statements.names.remove(name);
        if matches!(before, Some(None)) {
            self.statements.locals -= 1;
        }
        self.client(Request::CloseNamed);
        self.pend(What::Close { name: name.into(), before });
        // The server knows no such name, so nothing happens there.
        Route::AsIs
    }

    #[inline]
    fn parse(&mut self, name: &[u8], body: Option<&[u8]>) -> Route {
        if name.is_empty() {
            self.statements.unnamed.parse_sent(body, self.statements.batch);
            self.client(Request::Parse);
            return Route::AsIs;
        }
        self.parse_named(name, body)
    }

    fn parse_named(&mut self, whole: &[u8], body: Option<&[u8]>) -> Route {
        let name = cut(whole);
        if self.statements.is_uncertain(name, self.ledger) {
            return Route::Wait;
        }
        match self.statements.names.get(name) {
            Some(Some(_)) => return self.parse_again(whole),
            Some(None) => {
                self.client(Request::ParseNamed);
                self.pend(What::Duplicate { name: name.into() });
                return Route::AsIs;
            }
            None => {}
        }
        // Whoever keeps its server for a name may have others there that only the server knows.
        let Some(body) = body.filter(|_| !self.is_kept()) else {
            self.statements.names.insert(name.into(), None);
            self.statements.locals += 1;
            self.client(Request::ParseNamed);
            self.pend(What::Local { name: name.into() });
            return Route::AsIs;
        };
        if self.statements.names.len() >= self.now.limits.of_client as usize {
            return self.refuse(Refusal::TooMany);
        }
        let digest = self.statements.interner.digest(self.now.settings, self.now.epoch);
        match self.statements.interner.intern(body, digest) {
            Ok(statement) => self.parse_new(name, statement),
            Err(_) => self.refuse(Refusal::Memory),
        }
    }

    fn is_kept(&self) -> bool {
        !self.now.maps || self.now.limits.of_server == 0 || self.statements.locals > 0
    }

    fn parse_new(&mut self, name: &[u8], statement: Arc<Statement>) -> Route {
        // Nothing can go wrong in front of it.
        let is_certain = self.ledger.is_empty() && self.ledger.status() != Status::Failed;
        let name: Box<[u8]> = name.into();
        let held = Some(Arc::clone(&statement));
        self.statements.names.insert(name.clone(), held);
        if is_certain && self.server.is_fresh(statement.id, self.now.at) {
            self.client(Request::ParseAcknowledged);
            self.pend(What::Acknowledged { name });
            return Route::Acknowledge;
        }
        let serial = self.expect(&statement);
        self.client(Request::ParseNamed);
        self.pend(What::Parse { name, statement, serial });
        Route::Under(serial)
    }

    /// The client has this name already: Postgres is to say so.
    fn parse_again(&mut self, name: &[u8]) -> Route {
        if !self.server.is_occupied {
            let mut pending = self.statements.pending.iter().rev();
            match pending.find(|pending| matches!(pending.what, What::Occupy)) {
                Some(pending) if pending.batch != self.statements.batch => return Route::Wait,
                Some(_) => {}
                None => self.slip(Slip::Occupy, Request::ParseNamed, Some(What::Occupy)),
            }
        }
        self.client(Request::ParseNamed);
        self.pend(What::Duplicate { name: name.into() });
        Route::Under(0)
    }

    #[cold]
    fn parse_refused(&mut self, name: &[u8]) -> Route {
        if !name.is_empty() {
            return self.refuse(Refusal::Session);
        }
        self.statements.unnamed.parse_sent(None, self.statements.batch);
        self.client(Request::ParseRefused);
        Route::Refuse
    }

    fn refuse(&mut self, refusal: Refusal) -> Route {
        self.client(Request::ParseNamed);
        self.pend(What::Refuse(refusal));
        Route::Refuse
    }
}

/// Whether a text, with what is behind it in a `Parse`, has to do with prepared statements.
#[inline]
fn uses_prepared(body: &[u8]) -> bool {
    may_use_prepared(body) && split_text(body).is_some_and(|(sql, _)| prepared_use(sql).is_some())
}
