//! Requests on their way to a server: what becomes of each, and what must go before it.

use super::interner::{Interner, Statement};
use super::names::{cut, mark};
use super::prepared::Found;
use super::unnamed::Need;
use super::{Message, Now, Pending, Prepared, Refusal, Route, Slip, Statements, What};
use crate::session::ledger::{Ledger, Origin, Request};
use crate::sql::ending::may_be_ending;
use crate::sql::prepared::{may_use_prepared, prepared_use};
use crate::wire::frame::split_text;
use std::sync::Arc;

/// Requests that change names, under way at most: whoever has more waits. They are searched one by one.
const PENDING_MAX: usize = 256;

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
        (self.may_be_ending, self.uses_prepared, self.does) = (false, false, false);
        let mut sending = Sending { statements: self, server, ledger, now, slips };
        let route = match message {
            Message::Bind(name, is_whole) => sending.refer(name, Referring::Bind { is_whole }),
            Message::Describe(name) => sending.refer(name, Referring::Describe),
            Message::Close(name) => sending.close(name),
            Message::Parse(name, body) => sending.parse(name, body),
            Message::ParseRefused(name) => sending.parse_refused(name),
        };
        if route == Route::Wait && !slips.is_empty() {
            // What it waits for must be answered, though no `Sync` was sent behind it.
            slips.push(Slip::Flush);
        }
        route
    }

    /// Whether it [is to be asked](Self::describe_unnamed) what the unnamed statement is, before anything runs
    /// and before its batch ends.
    #[inline]
    pub fn wants_description(&self) -> bool {
        self.unnamed.wants_description()
    }

    /// Says what asks for that.
    pub fn describe_unnamed(&mut self, ledger: &mut Ledger, now: &Now<'_>) -> Option<Slip> {
        let is_sent = ledger.sent(Request::DescribeUnnamed, Origin::Proxy);
        self.unnamed.describe_sent(now.moment());
        is_sent.then_some(Slip::DescribeUnnamed)
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
            Some(_) if self.pending.len() >= PENDING_MAX => true,
            Some(front) if front.batch == self.batch => false,
            Some(_) => self.is_pending_elsewhere(name),
        }
    }

    #[cold]
    fn is_pending_elsewhere(&self, name: &[u8]) -> bool {
        let last = self.pending.iter().rev().find(|pending| pending.is_about(name));
        last.is_some_and(|last| last.batch != self.batch)
    }

    /// Under which number a name is being prepared.
    #[inline]
    fn under_way(&self, name: &[u8]) -> Option<u32> {
        let last = self.pending.iter().rev().find(|pending| pending.is_about(name))?;
        match &last.what {
            What::Describe(look) => Some(look.serial),
            _ => None,
        }
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
            What::Describe(look) => look.of.as_deref() == Some(wanted),
            What::DescribeUnnamed { .. }
            | What::Drop { .. }
            | What::Duplicate { .. }
            | What::Empty { .. }
            | What::Hollow { .. }
            | What::HollowUnnamed
            | What::Occupy
            | What::Refuse(_)
            | What::Slip { .. } => false,
        }
    }
}

/// A request that refers to a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Referring {
    Bind { is_whole: bool },
    Describe,
}

impl Referring {
    pub(super) fn is_bind(self) -> bool {
        self != Self::Describe
    }
}

/// All that a request on its way has to do with.
pub(super) struct Sending<'a, 'now> {
    pub(super) statements: &'a mut Statements,
    pub(super) server: &'a mut Prepared,
    pub(super) ledger: &'a mut Ledger,
    pub(super) now: &'a Now<'now>,
    pub(super) slips: &'a mut Vec<Slip>,
}

impl Sending<'_, '_> {
    fn client(&mut self, request: Request) {
        self.ledger.sent(request, Origin::Client);
    }

    pub(super) fn pend(&mut self, what: What) {
        self.statements.pending.push_back(Pending { batch: self.statements.batch, what });
    }

    /// Something of the proxy's own goes first.
    pub(super) fn slip(&mut self, slip: Slip, request: Request, what: Option<What>) {
        self.ledger.sent(request, Origin::Proxy);
        if let Some(what) = what {
            self.pend(what);
        }
        self.slips.push(slip);
    }

    /// `Bind` and `Describe`.
    #[inline]
    fn refer(&mut self, name: &[u8], request: Referring) -> Route {
        let route = if name.is_empty() {
            self.refer_to_unnamed(request)
        } else {
            self.find(cut(name), request)
        };
        if request.is_bind()
            && self.statements.uses_prepared
            && route != Route::Wait
            && !self.look_at_bound(name)
        {
            return Route::Wait;
        }
        match (route, request) {
            (Route::Wait, _) => return route,
            // In the order in which Postgres looks: what the request brings, then what it refers to.
            (Route::Failing(_) | Route::FailingUnnamed, Referring::Bind { is_whole: true }) => {
                self.statements.bound.push_back(mark(cut(name)));
                self.ledger.sent(Request::Bind, Origin::Proxy);
                return self.refuse(Refusal::Changed, route);
            }
            (Route::Failing(_) | Route::FailingUnnamed, Referring::Describe) => {
                self.client(Request::DescribeInVain);
                return self.refuse(Refusal::Changed, route);
            }
            (Route::Failing(_) | Route::FailingUnnamed, Referring::Bind { .. }) => {
                return self.refuse(Refusal::Changed, Route::Refuse);
            }
            (_, Referring::Bind { .. }) => self.client(Request::Bind),
            (_, Referring::Describe) if name.is_empty() => self.client(Request::DescribeUnnamed),
            (_, Referring::Describe) => self.client(Request::Describe),
        }
        if request.is_bind() {
            self.statements.bound.push_back(mark(cut(name)));
            if self.statements.uses_prepared {
                self.statements.barrier_sent(false);
            }
        }
        route
    }

    /// What is bound has to do with prepared statements. `false`: it has to wait.
    #[cold]
    fn look_at_bound(&mut self, name: &[u8]) -> bool {
        let body = if name.is_empty() {
            self.statements.unnamed.latest().map(Vec::from)
        } else {
            self.statements.statement(name).map(|statement| statement.body.to_vec())
        };
        body.is_none_or(|body| self.look_at_text(&body))
    }

    /// SQL that names prepared statements itself, perhaps. `false`: it has to wait.
    fn look_at_text(&mut self, body: &[u8]) -> bool {
        let text = split_text(body).map_or(body, |(text, _)| text);
        let Some(used) = prepared_use(text) else { return true };
        let slips = self.statements.look_at_sql(&used, false, self.ledger);
        slips.map(|slips| self.slips.extend(slips)).is_some()
    }

    #[inline]
    fn refer_to_unnamed(&mut self, request: Referring) -> Route {
        let (statements, is_owed) = (&mut *self.statements, !self.ledger.is_empty());
        match statements.unnamed.need(statements.batch, is_owed) {
            Need::Nothing => {}
            Need::Wait => return Route::Wait,
            Need::Close => self.slip(Slip::CloseUnnamed, Request::Close, None),
            Need::Make => {
                let route = self.make_unnamed(request);
                if route != Route::AsIs {
                    return route;
                }
            }
        }
        if request.is_bind() {
            self.statements.unnamed.bind_sent();
            let body = self.statements.unnamed.latest();
            self.statements.may_be_ending = body.is_some_and(may_be_ending);
            self.statements.uses_prepared = body.is_some_and(uses_prepared);
        } else {
            self.statements.unnamed.describe_sent(self.now.moment());
        }
        Route::AsIs
    }

    /// Where the statement of this name is.
    #[inline]
    fn find(&mut self, name: &[u8], request: Referring) -> Route {
        if self.statements.is_uncertain(name, self.ledger) {
            return Route::Wait;
        }
        let Some(Some(statement)) = self.statements.names.get(name) else {
            self.statements.uses_prepared = self.statements.locals_use_prepared;
            return Route::AsIs;
        };
        self.statements.may_be_ending = statement.may_be_ending;
        self.statements.uses_prepared = statement.uses_prepared;
        self.statements.does = statement.does.is_some();
        if let Some(serial) = self.statements.under_way(name) {
            return Route::Under(serial);
        }
        if statement.fetches {
            fetch_in(&mut self.statements.lease, &self.statements.interner, self.server);
        }
        match self.server.find(statement.id) {
            Found::There(serial) => Route::Under(serial),
            Found::Coming { serial, batch } if batch == Some(self.statements.batch) => {
                Route::Under(serial)
            }
            Found::Coming { .. } => Route::Wait,
            Found::Nothing => {
                let statement = Arc::clone(statement);
                self.prepare(name, &statement, request)
            }
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
        if self.statements.names.len() >= self.now.limits.of_client as usize {
            return self.refuse(Refusal::TooMany, Route::Refuse);
        }
        // Whoever keeps its server for a name may have others there that only the server knows.
        let Some(body) = body.filter(|_| !self.is_kept()) else {
            // What it says will not be known when it is bound.
            if body.is_some_and(|body| !self.look_at_text(body)) {
                return Route::Wait;
            }
            self.statements.locals_use_prepared |= body.is_some_and(uses_prepared);
            self.statements.names.insert(name.into(), None);
            self.statements.locals += 1;
            self.client(Request::ParseNamed);
            self.pend(What::Local { name: name.into() });
            return Route::AsIs;
        };
        let context = self.statements.interner.context(self.now.settings, self.now.pool);
        match self.statements.interner.intern(body, context) {
            Ok(statement) => self.parse_new(name, statement),
            Err(_) => self.refuse(Refusal::Memory, Route::Refuse),
        }
    }

    fn is_kept(&self) -> bool {
        !self.now.maps || self.now.limits.of_server == 0 || self.statements.locals > 0
    }

    fn parse_new(&mut self, name: &[u8], statement: Arc<Statement>) -> Route {
        let name: Box<[u8]> = name.into();
        let held = Some(Arc::clone(&statement));
        self.statements.names.insert(name.clone(), held);
        // Nothing can go wrong in front of it; and no temporary table, of which no tag may tell, can hide
        // another before a transaction has begun.
        let is_certain = self.ledger.is_settled();
        if is_certain && self.server.is_fresh(&statement, self.now.moment()) {
            self.client(Request::ParseAcknowledged);
            self.pend(What::Acknowledged { name });
            return Route::Acknowledge;
        }
        if statement.fetches {
            fetch_in(&mut self.statements.lease, &self.statements.interner, self.server);
        }
        let serial = self.expect(&statement, false);
        self.client(Request::ParseNamed);
        let what = What::Parse { name: name.clone(), statement: Arc::clone(&statement), serial };
        self.pend(what);
        self.look_at_it(Some(name), statement, (serial, false));
        Route::Described(serial)
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
            return self.refuse(Refusal::Session, Route::Refuse);
        }
        self.statements.unnamed.parse_sent(None, self.statements.batch);
        self.client(Request::ParseRefused);
        Route::Refuse
    }

    fn refuse(&mut self, refusal: Refusal, route: Route) -> Route {
        (self.statements.may_be_ending, self.statements.does) = (false, false);
        self.client(Request::ParseNamed);
        self.pend(What::Refuse(refusal));
        route
    }
}

/// The server is to have no `FETCH` of another lease's.
#[cold]
fn fetch_in(lease: &mut Option<u64>, interner: &Interner, server: &mut Prepared) {
    server.fetches_in(*lease.get_or_insert_with(|| interner.unique()));
}

/// Whether a text, with what is behind it in a `Parse`, has to do with prepared statements.
#[inline]
fn uses_prepared(body: &[u8]) -> bool {
    may_use_prepared(body) && split_text(body).is_some_and(|(sql, _)| prepared_use(sql).is_some())
}
