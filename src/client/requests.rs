//! Looks at what the client sends while it has a server: enters each request in the ledger, and
//! passes it on as it is.

use super::Client;
use crate::end::End;
use crate::session::ledger::{Origin, Request, Status};
use crate::sql::ending::{Outlook, may_be_several, may_commit};
use crate::sql::prepared::may_use_prepared;
use crate::wire::frame::{Head, Run, run_of, split_text};
use crate::wire::tags::from_client as tags;

/// Requests under way at most; more are left in the socket until some are answered.
///
/// Postgres cannot hold this many answers back: each has at least five bytes, and it flushes when
/// 8 KiB are full. So waiting for answers here cannot wait for ever.
pub(super) const UNDER_WAY_MAX: usize = 16_384;

/// So many bytes of the proxy's own are sent before more requests are looked at: a few bytes may ask
/// for a long text to be prepared, again and again.
const SLIPPED_MAX: usize = 128 << 10;

/// The longest name of a statement or portal. Postgres cuts them at 63 bytes.
pub(super) const NAME_MAX: usize = 8_192;

/// What a look at a message said.
pub(super) enum Look {
    /// Not enough of it is here.
    Incomplete,
    /// It may go, what is here of it and what will come.
    Forward,
    /// It is on its way already, as something else.
    Passed,
    /// It may go, with others like it.
    Run(Run),
    /// It is not passed on.
    Swallow,
    /// It goes when more is answered of what is under way.
    Wait,
}

impl Client {
    /// Looks at everything the client has sent. What may go is marked so.
    #[inline]
    pub(super) fn take_requests(&mut self) -> Result<(), End> {
        if self.preparing > 0 {
            return Ok(());
        }
        let mut is_flushed = std::mem::take(&mut self.is_waiting);
        while self.up.forward_rest() {
            if self.up.own_len() > SLIPPED_MAX {
                self.is_held_back = true;
                break;
            }
            let Some(head) = self.front()? else { break };
            match self.look_at(head)? {
                Look::Incomplete => break,
                Look::Wait => {
                    self.is_waiting = true;
                    if !is_flushed {
                        self.have_answered();
                    }
                    break;
                }
                Look::Passed => is_flushed = false,
                Look::Run(run) => self.up.forward(run.here, run.to_come),
                Look::Forward => {
                    is_flushed = false;
                    let here = head.total.min(self.up.unseen().len());
                    self.up.forward(here, head.total - here);
                }
                Look::Swallow => {
                    if !self.swallow_front() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The message at the front of what was not looked at.
    #[inline]
    pub(super) fn front(&self) -> Result<Option<Head>, End> {
        Head::parse(self.up.unseen(), self.terms.max_packet_size)
            .map_err(|error| End::protocol(error.to_string()))
    }

    #[inline]
    fn look_at(&mut self, head: Head) -> Result<Look, End> {
        let lease = self.lease.as_mut().expect("requests are looked at during a lease");
        let ledger = &mut lease.conn.ledger;
        if ledger.is_empty() {
            let now = self.worker.now();
            self.times.request = now;
            if ledger.status() == Status::Idle {
                self.times.xact = now;
            }
        }
        match head.tag {
            tags::QUERY => {
                let unseen = self.up.unseen();
                let text = &unseen[5..head.total.min(unseen.len())];
                let is_several = may_be_several(text);
                if (self.statements.is_some() && is_several || may_use_prepared(text))
                    && !self.look_at_sql(5, head, true)
                {
                    return Ok(Look::Wait);
                }
                let Self { up, lease, outlook, statements, .. } = self;
                let ledger = &mut lease.as_mut().expect("as above").conn.ledger;
                if ledger.sent(Request::Query, Origin::Client) {
                    if let Some(statements) = statements {
                        statements.query_sent();
                    }
                    let unseen = up.unseen();
                    let text = &unseen[5..head.total.min(unseen.len())];
                    if outlook.commits || is_several || may_commit(text) {
                        read_on(outlook, text);
                    }
                }
            }
            tags::EXECUTE => drop(ledger.sent(Request::Execute, Origin::Client)),
            tags::SYNC | tags::FLUSH if ledger.is_copying_in() => return Ok(Look::Swallow),
            tags::SYNC => {
                if self.statements.as_ref().is_some_and(|it| it.wants_description()) {
                    self.describe_unnamed();
                }
                if let Some(statements) = &mut self.statements {
                    statements.sync_sent();
                }
                let ledger = &mut self.lease.as_mut().expect("as above").conn.ledger;
                ledger.sent(Request::Sync, Origin::Client);
            }
            tags::FLUSH => ledger.flushed(),
            tags::PARSE | tags::BIND | tags::DESCRIBE | tags::CLOSE => {
                return self.look_inside(head);
            }
            tags::FUNCTION_CALL => drop(ledger.sent(Request::FunctionCall, Origin::Client)),
            tags::COPY_DATA => {
                // A run of them at once: there may be thousands in a buffer.
                let run = run_of(tags::COPY_DATA, self.up.unseen(), self.terms.max_packet_size)
                    .map_err(|error| End::protocol(error.to_string()))?;
                return Ok(Look::Run(run));
            }
            tags::COPY_DONE | tags::COPY_FAIL => {
                ledger.sent(Request::CopyEnd, Origin::Client);
            }
            tags::TERMINATE => {
                // What it has sent before still goes, as Postgres would still do it.
                self.is_leaving = true;
                return Ok(Look::Incomplete);
            }
            tag => return Err(unexpected(tag)),
        }
        Ok(Look::Forward)
    }

    /// Drops the message at the front, as far as it is here. Answers whether it is through.
    pub(super) fn swallow_front(&mut self) -> bool {
        if self.to_swallow == 0
            && let Ok(Some(head)) = self.front()
        {
            self.to_swallow = u32::try_from(head.total).expect("no longer than a message");
        }
        let here = (self.to_swallow as usize).min(self.up.unseen().len());
        self.up.swallow(here);
        self.to_swallow -= u32::try_from(here).expect("no more than to_swallow");
        self.to_swallow == 0
    }
}

/// Reads what a text does to the transaction it is sent in; of one that is not whole, what is here.
#[cold]
pub(super) fn read_on(outlook: &mut Outlook, text: &[u8]) {
    outlook.add(split_text(text).map_or(text, |(sql, _)| sql));
}

/// The client sent a message that has no place in a session.
pub(super) fn unexpected(tag: u8) -> End {
    End::protocol(format!("invalid frontend message type {tag}"))
}
