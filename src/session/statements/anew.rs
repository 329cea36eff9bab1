//! What a server lacks is prepared again, and looked at.

use super::description::Description;
use super::interner::Statement;
use super::prepared::Found;
use super::sent::{Referring, Sending};
use super::{Look, Route, Slip, What};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::sql::ending::may_end;
use std::sync::Arc;

/// Of those that are of no use any more, so many are closed with one request.
const CLOSE_AT_ONCE: usize = 16;

impl Sending<'_, '_> {
    /// The server lacks the client's unnamed statement.
    pub(super) fn make_unnamed(&mut self, request: Referring) -> Route {
        if self.ledger.owes_ready() {
            return Route::Wait;
        }
        let unnamed = &mut self.statements.unnamed;
        if unnamed.take_refuted() {
            self.slip(Slip::HollowUnnamed, Request::ParseNamed, Some(What::HollowUnnamed));
            return Route::FailingUnnamed;
        }
        let described = unnamed.description();
        let fails = |it: &Description| request.is_bind() || !it.has_columns();
        if is_in_vain(self.ledger)
            && described.is_some_and(fails)
            && !unnamed.body().is_some_and(may_end)
        {
            self.slip(Slip::HollowUnnamed, Request::ParseNamed, Some(What::HollowUnnamed));
            return Route::AsIs;
        }
        let is_described = described.is_some();
        let is_sure = unnamed.is_confirmed(self.now.moment()) && !self.ledger.has_executed();
        unnamed.made_again(self.statements.batch, is_sure || !is_described);
        self.slip(Slip::ParseUnnamed, Request::Parse, None);
        if !is_described {
            return Route::AsIs;
        }
        let what = What::DescribeUnnamed { is_sure };
        self.slip(Slip::DescribeUnnamed, Request::Describe, Some(what));
        if is_sure { Route::AsIs } else { Route::Wait }
    }

    /// The server lacks what the client refers to.
    #[cold]
    pub(super) fn prepare(
        &mut self,
        name: &[u8],
        statement: &Arc<Statement>,
        request: Referring,
    ) -> Route {
        // What is under way decides what can be done in the transaction then.
        if self.ledger.owes_ready() {
            return Route::Wait;
        }
        if self.statements.refuted.take() == Some(statement.id) {
            return Route::Failing(self.prepare_in_vain(Arc::clone(statement)));
        }
        let context = self.statements.interner.context(self.now.settings, self.now.pool);
        // Postgres reads it now, under the settings of now: it is not what others mean by it.
        let Ok(statement) = statement.under(context) else { return Route::AsIs };
        if let Some(held) = self.statements.names.get_mut(name) {
            *held = Some(Arc::clone(&statement));
        }
        match self.server.find(statement.id) {
            Found::There(serial) => return Route::Under(serial),
            Found::Coming { serial, batch } if batch == Some(self.statements.batch) => {
                return Route::Under(serial);
            }
            Found::Coming { .. } => return Route::Wait,
            Found::Nothing => {}
        }
        let fails = |it: &Description| request.is_bind() || !it.has_columns();
        if is_in_vain(self.ledger)
            && statement.description().is_some_and(fails)
            && !may_end(statement.text())
        {
            return Route::Under(self.prepare_in_vain(statement));
        }
        // Whoever has not been told anything of it, cannot be wrong.
        let is_sure = statement.description().is_none()
            || statement.is_confirmed(self.now.moment()) && !self.ledger.has_executed();
        let serial = self.expect(&statement, is_sure);
        let what = What::Slip { statement: Arc::clone(&statement), serial };
        self.slip(Slip::Parse(serial, Arc::clone(&statement)), Request::ParseNamed, Some(what));
        self.slips.push(Slip::Describe(serial));
        self.look_at_it(None, statement, (serial, is_sure));
        if is_sure { Route::Under(serial) } else { Route::Wait }
    }

    /// What a `Bind` brings Postgres looks at before it looks at the statement; and in a transaction that
    /// has failed it describes what returns nothing, though it reads no text. A statement that takes the
    /// same does for that.
    fn prepare_in_vain(&mut self, statement: Arc<Statement>) -> u32 {
        let serial = self.server.next_serial();
        self.tidy();
        let slip = Slip::Hollow(serial, statement);
        self.slip(slip, Request::ParseNamed, Some(What::Hollow { serial }));
        serial
    }

    /// What Postgres says of what it has just read is to be looked at.
    pub(super) fn look_at_it(
        &mut self,
        of: Option<Box<[u8]>>,
        statement: Arc<Statement>,
        (serial, is_sure): (u32, bool),
    ) {
        let look = Look { of, statement, serial, moment: self.now.moment(), is_sure };
        self.ledger.sent(Request::Describe, Origin::Proxy);
        self.pend(What::Describe(Box::new(look)));
    }

    /// A number for a statement that is about to be parsed, and room for it.
    pub(super) fn expect(&mut self, statement: &Arc<Statement>, is_sure: bool) -> u32 {
        let limit = self.now.limits.of_server.max(1);
        let serial = self.server.expect(statement, (self.statements.batch, is_sure), limit);
        self.tidy();
        serial
    }

    fn tidy(&mut self) {
        for _ in 0..CLOSE_AT_ONCE {
            let Some(serial) = self.server.garbage.pop() else { break };
            self.slip(Slip::Close(serial), Request::CloseNamed, Some(What::Drop { serial }));
        }
    }
}

/// Whether whatever is sent now is refused, or describes itself, and nothing else.
fn is_in_vain(ledger: &Ledger) -> bool {
    ledger.status() == Status::Failed && !ledger.has_executed()
}
