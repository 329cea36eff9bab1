//! Texts that name prepared statements: `DEALLOCATE`, `EXECUTE`, `PREPARE`.
//!
//! They share their names with the protocol's, and a server knows none of a client's. So it is given the
//! one that a text is about, under the client's own name: an empty one to drop, or the real one, for which
//! the client keeps its server from then on.

use super::names::cut;
use super::{Held, Pending, Slip, Statements, What};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::sql::prepared::{Use, prepared_use};
use std::sync::Arc;

impl Statements {
    /// A text is at the front that uses prepared statements so: of a simple query, of what is bound, or of a
    /// `Parse` after which it is not known any more, or of which it decides what Postgres says. Tells what
    /// must go before it. `None`: it has to wait.
    pub fn look_at_sql(
        &mut self,
        text: &Use<'_>,
        is_query: bool,
        ledger: &mut Ledger,
    ) -> Option<Vec<Slip>> {
        let mut slips = Vec::new();
        let used = self.used_by(text);
        for (name, _) in &used {
            let is_held = self.names.contains_key(name);
            if self.is_uncertain(name, ledger)
                || is_held && (ledger.owes_ready() || is_query && !ledger.is_empty())
            {
                return None;
            }
        }
        // In a transaction that has failed, Postgres refuses the text whatever there is.
        if ledger.status() != Status::Failed || ledger.has_executed() {
            let is_between = is_query && !ledger.is_open();
            for (name, is_dropped) in used {
                slips.extend(self.give(name, is_dropped, is_query, ledger));
            }
            if is_between && !slips.is_empty() {
                // What fails here must not have the query skipped.
                ledger.sent(Request::Sync, Origin::Proxy);
                slips.push(Slip::Sync);
            }
        }
        self.barrier_sent(is_query);
        Some(slips)
    }

    /// The names that a text is about, and those that the texts under these names are about. And whether
    /// they are dropped.
    fn used_by(&self, text: &Use<'_>) -> Vec<(Box<[u8]>, bool)> {
        let mut used: Vec<(Box<[u8]>, bool)> = Vec::new();
        let mut next = named(text);
        while let Some((name, is_dropped)) = next.take()
            && used.iter().all(|(other, _)| *other != name)
        {
            let executed = self.statement(&name).filter(|it| it.uses_prepared && !is_dropped);
            next = executed.and_then(|it| named(&prepared_use(it.text())?));
            used.push((name, is_dropped));
        }
        used
    }

    /// Gives the server what a text is about, if the client has it and the server has not.
    fn give(
        &mut self,
        name: Box<[u8]>,
        is_dropped: bool,
        is_query: bool,
        ledger: &mut Ledger,
    ) -> Option<Slip> {
        let held: Held = self.names.get(&name).cloned()?;
        if self.dropping.as_ref() == Some(&name) {
            return None;
        }
        if is_dropped {
            self.dropping = Some(name.clone());
        }
        let statement = held?;
        let (slip, what) = if is_dropped {
            (Slip::Empty(name.clone()), What::Empty { name, is_query })
        } else {
            self.names.insert(name.clone(), None);
            self.locals += 1;
            self.shared.extend(statement.does.clone());
            let slip = Slip::Own(name.clone(), Arc::clone(&statement));
            (slip, What::Own { name, statement, is_query })
        };
        ledger.sent(Request::ParseNamed, Origin::Proxy);
        self.pending.push_back(Pending { batch: self.batch, what });
        Some(slip)
    }
}

/// The name that a text is about, and whether it drops it.
fn named(text: &Use<'_>) -> Option<(Box<[u8]>, bool)> {
    match text {
        Use::Deallocate(name) => Some((cut(name).into(), true)),
        Use::Name(name) => Some((cut(name).into(), false)),
        Use::Other => None,
    }
}
