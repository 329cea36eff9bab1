//! A transaction whose server was lost.
//!
//! The client is still in it, as far as it knows. So it is treated as Postgres treats a transaction
//! that has failed: everything is refused with 25P02 until the client ends it, and then the session
//! goes on. Nobody has to connect again, and no statement runs outside the transaction that it was
//! meant for.

use super::Client;
use crate::end::{End, EndReason, ErrorFields, Phase};
use crate::session::ledger::Origin;
use crate::sql::ending::ending;
use crate::wire::encode;
use crate::wire::frame::{Head, split_text};
use crate::wire::tags::{from_client, from_server};

/// What an answer needs to see is at the front of a message: an ending is a few words long.
const LOOK_MAX: usize = 4_096;

/// A transaction that is lost, until the client ends it.
#[derive(Debug)]
pub(super) struct Aborted {
    /// Why, if the client was not told so far.
    untold: Option<Box<ErrorFields>>,
    /// The last statement parsed ends the transaction.
    is_ending_parsed: bool,
    /// The transaction was ended; the next `Sync` says so.
    is_over: bool,
}

impl Aborted {
    pub(super) fn new(untold: Option<ErrorFields>) -> Self {
        Self { untold: untold.map(Box::new), is_ending_parsed: false, is_over: false }
    }
}

impl Client {
    /// Answers the message at the front in place of the lost server. `false`: more of it must come.
    pub(super) fn answer_aborted(&mut self, head: Head) -> bool {
        let here = head.total.min(self.up.unseen().len());
        if here < head.total && here < LOOK_MAX {
            return false;
        }
        let prepared = self.look_at_prepared(head);
        let body = &self.up.unseen()[5..here];
        let is_ending = here == head.total && is_ending(head.tag, body);
        let Some(aborted) = &mut self.aborted else { return true };
        match head.tag {
            // Of the copy that was lost, or without a meaning here.
            from_client::COPY_DATA
            | from_client::COPY_DONE
            | from_client::COPY_FAIL
            | from_client::FLUSH => {}
            from_client::QUERY | from_client::FUNCTION_CALL if self.is_skipping => {}
            from_client::QUERY if is_ending => {
                self.aborted = None;
                self.down.slip_in(|out| {
                    rolled_back(out);
                    encode::ready(out, b'I');
                });
            }
            from_client::QUERY | from_client::FUNCTION_CALL => {
                self.refuse_aborted();
                self.down.slip_in(|out| encode::ready(out, b'E'));
            }
            from_client::SYNC => {
                let status = if aborted.is_over { b'I' } else { b'E' };
                aborted.is_ending_parsed = false;
                if aborted.is_over {
                    self.aborted = None;
                }
                self.is_skipping = false;
                self.down.slip_in(|out| encode::ready(out, status));
            }
            _ if self.is_skipping => {}
            from_client::PARSE if is_ending => {
                aborted.is_ending_parsed = true;
                self.answer(from_server::PARSE_COMPLETE);
            }
            from_client::CLOSE => self.answer(from_server::CLOSE_COMPLETE),
            from_client::BIND if prepared == Some(true) => {
                aborted.is_ending_parsed = true;
                self.answer(from_server::BIND_COMPLETE);
            }
            from_client::BIND if prepared.is_none() && aborted.is_ending_parsed => {
                self.answer(from_server::BIND_COMPLETE);
            }
            from_client::DESCRIBE if aborted.is_ending_parsed => {
                if body.first() == Some(&b'S') {
                    self.down.slip_in(no_parameters);
                }
                self.answer(from_server::NO_DATA);
            }
            from_client::EXECUTE if aborted.is_ending_parsed => {
                aborted.is_over = true;
                self.down.slip_in(rolled_back);
            }
            _ => {
                self.refuse_aborted();
                self.is_skipping = true;
            }
        }
        self.swallow_front();
        true
    }

    /// The statement with a name that the message at the front is about: whether it ends the
    /// transaction. One that is closed is forgotten.
    fn look_at_prepared(&mut self, head: Head) -> Option<bool> {
        let statements = self.statements.as_mut().filter(|_| !self.is_skipping)?;
        let body = self.up.unseen().get(5..head.total)?;
        match head.tag {
            // Postgres drops the unnamed one, if only to refuse what comes then.
            from_client::QUERY => {
                statements.queried(Origin::Client);
                statements.lease_ended();
                None
            }
            from_client::CLOSE => {
                let name = split_text(body.strip_prefix(b"S")?)?.0;
                statements.forget(name);
                None
            }
            from_client::BIND => {
                let name = split_text(split_text(body)?.1)?.0;
                Some(ending(statements.text(name)?).is_some())
            }
            _ => None,
        }
    }

    fn answer(&mut self, tag: u8) {
        self.down.slip_in(|out| encode::message(out, tag, |_| {}));
    }

    fn refuse_aborted(&mut self) {
        let untold = self.aborted.as_mut().and_then(|aborted| aborted.untold.take());
        let fields = untold.map_or_else(
            || End::from(EndReason::TransactionAborted).fields(Phase::Session),
            |fields| *fields,
        );
        self.down.slip_in(|out| encode::error(out, &fields));
    }
}

/// Whether a message has a text that ends a transaction.
fn is_ending(tag: u8, body: &[u8]) -> bool {
    let text = match tag {
        from_client::QUERY => split_text(body),
        from_client::PARSE => split_text(body).and_then(|(_, rest)| split_text(rest)),
        _ => None,
    };
    text.is_some_and(|(sql, _)| ending(sql).is_some())
}

fn rolled_back(out: &mut Vec<u8>) {
    encode::message(out, from_server::COMMAND_COMPLETE, |out| encode::text(out, "ROLLBACK"));
}

fn no_parameters(out: &mut Vec<u8>) {
    encode::message(out, from_server::PARAMETER_DESCRIPTION, |out| out.extend([0, 0]));
}
