//! Texts that name prepared statements: `DEALLOCATE`, `EXECUTE`, `PREPARE`.
//!
//! They share their names with the protocol's, and a server knows none of a client's. So it is given the
//! one that a text is about, under the client's own name: an empty one to drop, or the real one, for which
//! the client keeps its server from then on.

use super::names::cut;
use super::{Held, Pending, Slip, Statements, What};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::sql::prepared::Use;

impl Statements {
    /// A text is at the front that uses prepared statements so: of a simple query, or of a `Parse`. Says
    /// what must go before it. `None`: it has to wait.
    pub fn look_at_sql(
        &mut self,
        text: &Use<'_>,
        is_query: bool,
        ledger: &mut Ledger,
    ) -> Option<Vec<Slip>> {
        let mut slips = Vec::new();
        let name = match text {
            Use::Deallocate(name) | Use::Name(name) => cut(name),
            Use::Other => b"",
        };
        let held: Option<Held> = self.names.get(name).cloned();
        // In a transaction that has failed, Postgres refuses the text whatever there is.
        if held.is_some() && ledger.status() != Status::Failed {
            if !ledger.is_empty() && (is_query || self.is_uncertain(name, ledger)) {
                return None;
            }
            let is_between = is_query && !ledger.is_open();
            let is_dropped = matches!(text, Use::Deallocate(_));
            if let Some(Some(statement)) = held {
                let own: Box<[u8]> = name.into();
                let (slip, what) = if is_dropped {
                    (Slip::Empty(own), What::Empty { is_query })
                } else {
                    self.names.insert(own.clone(), None);
                    self.locals += 1;
                    let slip = Slip::Own(own.clone(), statement.clone());
                    (slip, What::Own { name: own, statement, is_query })
                };
                ledger.sent(Request::ParseNamed, Origin::Proxy);
                self.pending.push_back(Pending { batch: self.batch, what });
                slips.push(slip);
                if is_between {
                    // What fails here must not have the query skipped.
                    ledger.sent(Request::Sync, Origin::Proxy);
                    slips.push(Slip::Sync);
                }
            }
            if is_dropped {
                self.dropping = Some(name.into());
            }
        }
        self.barrier_sent(is_query);
        Some(slips)
    }
}
