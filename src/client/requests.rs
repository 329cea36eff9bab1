//! Looks at what the client sends while it has a server: enters each request in the ledger, and
//! passes it on as it is.

use super::Client;
use super::slips::write_slip;
use super::tracking::REFUSAL;
use crate::config::PoolMode;
use crate::end::{End, EndReason};
use crate::session::ledger::{Origin, Request, Status};
use crate::session::statements::{Now, PARSE_MAX};
use crate::session::text::Text;
use crate::sql::ending::{may_be_ending, may_be_several};
use crate::sql::prepared::may_use_prepared;
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head, Run, run_of, split_text};
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
        if self.listening.is_some() && !self.may_follow(head.tag)
            || self.script.is_resetting() && self.waits_for_reset(head.tag)
            || self.waits_for_end(head.tag)
        {
            return Ok(Look::Wait);
        }
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
            tags::QUERY => return Ok(self.look_at_query(head)),
            tags::EXECUTE => return self.look_at_execute(head),
            tags::SYNC | tags::FLUSH if ledger.is_copying_in() => return Ok(Look::Swallow),
            tags::SYNC => {
                self.describe_in_time();
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
            tags::FUNCTION_CALL => return Ok(self.look_at_call()),
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
                if self.gives_up && !ledger.is_quiet() {
                    return Err(EndReason::ClientGone.into());
                }
                // What it has sent before still goes, as Postgres would still do it.
                self.is_leaving = true;
                return Ok(Look::Incomplete);
            }
            tag => return Err(unexpected(tag)),
        }
        Ok(Look::Forward)
    }

    /// What is at the front runs something, which may change what the unnamed statement is, or closes what
    /// may be the cursor that it fetches from, or ends its batch. If it was made and not used before, it is
    /// asked now what it is: behind what ran that may fail, and undo it.
    #[inline]
    pub(super) fn describe_in_time(&mut self) {
        if self.statements.as_ref().is_some_and(|it| it.wants_description()) {
            self.describe_unnamed();
        }
    }

    #[cold]
    fn describe_unnamed(&mut self) {
        let Self { up, statements, lease, pool, worker, terms, settings, .. } = self;
        let (Some(statements), Some(lease)) = (statements, lease) else { return };
        let (at, epoch) = (worker.now(), pool.host.schema_epoch());
        let (of_pool, limits) = ((&*pool.database, &*pool.user), terms.prepared);
        let now = Now { at, pool: of_pool, settings, epoch, limits, maps: true };
        if let Some(slip) = statements.describe_unnamed(&mut lease.conn.ledger, &now) {
            up.slip_in(|out| write_slip(out, &slip, statements));
        }
    }

    /// Between two transactions that it has sent at once the lease may end: if others wait, or each is counted,
    /// nothing goes behind what may end one, until that is answered. Then the next is asked for as any other.
    #[inline]
    fn waits_for_end(&self, tag: u8) -> bool {
        let lease = self.lease.as_ref().expect("requests are looked at during a lease");
        // Mostly nothing is under way, or the beginning of what is at the front.
        lease.conn.ledger.awaits_ready()
            && self.about.membership.contention.is_any()
            && self.is_behind_end(tag)
    }

    fn is_behind_end(&self, tag: u8) -> bool {
        let lease = self.lease.as_ref().expect("requests are looked at during a lease");
        let ledger = &lease.conn.ledger;
        let may_end = ledger.status() == Status::Idle || self.outlook.ends;
        may_end
            && is_request(tag)
            && !ledger.is_copying_in()
            && self.terms.pool_mode != PoolMode::Session
            && self.pin().is_none()
    }

    /// A `RESET` goes to what the server had at first, and what the client came with is set again when the
    /// server is ready. What is pipelined behind it must not see what is there in between.
    #[cold]
    fn waits_for_reset(&self, tag: u8) -> bool {
        let lease = self.lease.as_ref().expect("requests are looked at during a lease");
        let ledger = &lease.conn.ledger;
        is_request(tag)
            && !(self.about.initial.is_empty() && lease.conn.base.settings().is_empty())
            && ledger.awaits_ready()
            && !ledger.is_copying_in()
    }

    /// A simple query: what it does to names, to the transaction and to the session.
    #[inline]
    fn look_at_query(&mut self, head: Head) -> Look {
        let unseen = self.up.unseen();
        let is_whole = unseen.len() >= head.total;
        if !is_whole && head.total <= PARSE_MAX {
            return Look::Incomplete;
        }
        let text = &unseen[HEAD_LEN..head.total.min(unseen.len())];
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let is_several = may_be_several(text);
        let functions = &self.terms.sessions.functions;
        let read = if is_whole {
            Text::read(text, is_several, functions)
        } else {
            Some(Text::read_beginning(text, functions))
        };
        if is_whole && Self::is_refused(&self.terms, read.as_deref()) {
            return self.refuse_query();
        }
        if (read.is_some() || self.listening.is_some()) && !self.may_run(read.as_deref()) {
            return Look::Wait;
        }
        if read.as_ref().is_some_and(|text| text.hidden().sequences) && !self.may_read_sequences() {
            return Look::Incomplete;
        }
        let unseen = self.up.unseen();
        let text = &unseen[HEAD_LEN..head.total.min(unseen.len())];
        if (is_several || may_use_prepared(text)) && !self.look_at_sql(HEAD_LEN, head, true) {
            return Look::Wait;
        }
        let Self { up, lease, outlook, statements, script, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        let is_followed = read.as_ref().is_some_and(|text| text.is_followed());
        let request = if is_followed { Request::QueryFollowed } else { Request::Query };
        if ledger.sent(request, Origin::Client) {
            if let Some(statements) = statements {
                statements.query_sent();
            }
            let unseen = up.unseen();
            let text = &unseen[HEAD_LEN..head.total.min(unseen.len())];
            if outlook.commits || is_several || may_be_ending(text) {
                outlook.add(sql_of(text));
            }
            if let Some(text) = read {
                script.sent(&text);
            }
        }
        Look::Forward
    }

    /// A text is refused for what it would leave on its server: another goes in its place.
    #[cold]
    fn refuse_query(&mut self) -> Look {
        let Self { up, lease, statements, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        if ledger.sent(Request::Query, Origin::Client)
            && let Some(statements) = statements
        {
            statements.query_sent();
        }
        up.slip_in(|out| encode::query(out, REFUSAL));
        Look::Swallow
    }

    /// A function is called by its number.
    fn look_at_call(&mut self) -> Look {
        self.describe_in_time();
        let Self { up, script, lease, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        let body = up.unseen().get(HEAD_LEN..).unwrap_or_default();
        let Some((oid, _)) = body.split_first_chunk::<4>() else { return Look::Incomplete };
        if ledger.sent(Request::FunctionCall, Origin::Client)
            && let Some(text) = Text::of_call(u32::from_be_bytes(*oid))
        {
            script.sent(&text);
        }
        Look::Forward
    }

    /// What runs is known from when its portal was made.
    #[inline]
    fn look_at_execute(&mut self, head: Head) -> Result<Look, End> {
        if self.listening.is_some() && self.outlook.commits && !self.may_go(&[]) {
            return Ok(Look::Wait);
        }
        self.describe_in_time();
        let Self { up, script, lease, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        if !script.has_portals() {
            ledger.sent(Request::Execute, Origin::Client);
            return Ok(Look::Forward);
        }
        let unseen = up.unseen();
        let here = head.total.min(unseen.len());
        let Some((portal, _)) = split_text(&unseen[HEAD_LEN..here]) else {
            return nameless(head, here);
        };
        let text = script.text_of(portal);
        if text.is_some() && !self.may_run(text.as_deref()) {
            return Ok(Look::Wait);
        }
        let Self { script, lease, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        let is_followed = text.as_ref().is_some_and(|text| text.is_followed());
        let request = if is_followed { Request::ExecuteFollowed } else { Request::Execute };
        if ledger.sent(request, Origin::Client)
            && let Some(text) = text
        {
            script.sent(&text);
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

/// Whether it is no part of what went before, nor the end of all.
fn is_request(tag: u8) -> bool {
    !matches!(tag, tags::COPY_DATA | tags::COPY_DONE | tags::COPY_FAIL | tags::TERMINATE)
}

/// The text at the front of a body; of one that is not whole, what is here.
#[inline]
pub(super) fn sql_of(body: &[u8]) -> &[u8] {
    split_text(body).map_or(body, |(sql, _)| sql)
}

/// A message whose name is not whole, with so many bytes here.
#[cold]
pub(super) fn nameless(head: Head, here: usize) -> Result<Look, End> {
    if here < head.total && here < NAME_MAX {
        return Ok(Look::Incomplete);
    }
    Err(End::protocol("a statement or portal name is missing or too long"))
}

/// The client sent a message that has no place in a session.
pub(super) fn unexpected(tag: u8) -> End {
    End::protocol(format!("invalid frontend message type {tag}"))
}
