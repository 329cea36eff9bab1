//! Looks at what the client sends while it has a server: enters each request in the ledger, and
//! passes it on as it is.

use super::Client;
use crate::end::End;
use crate::session::ledger::{Origin, Request, Status};
use crate::session::script::Text;
use crate::sql::ending::{may_be_several, may_commit};
use crate::wire::encode;
use crate::wire::frame::{Head, Run, run_of, split_text};
use crate::wire::tags::from_client as tags;

/// Requests under way at most; more are left in the socket until some are answered.
///
/// Postgres cannot hold this many answers back: each has at least five bytes, and it flushes when
/// 8 KiB are full. So waiting for answers here cannot wait for ever.
pub(super) const UNDER_WAY_MAX: usize = 16_384;

/// The longest name of a statement or portal. Postgres cuts them at 63 bytes.
const NAME_MAX: usize = 8_192;

/// What a look at a message said.
enum Look {
    /// Not enough of it is here.
    Incomplete,
    /// It may go, what is here of it and what will come.
    Forward,
    /// It may go, with others like it.
    Run(Run),
    /// It is not passed on.
    Swallow,
}

impl Client {
    /// Looks at everything the client has sent. What may go is marked so.
    #[inline]
    pub(super) fn take_requests(&mut self) -> Result<(), End> {
        if self.preparing > 0 {
            return Ok(());
        }
        while self.up.forward_rest() {
            let Some(head) = self.front()? else { break };
            match self.look_at(head)? {
                Look::Incomplete => break,
                Look::Run(run) => self.up.forward(run.here, run.to_come),
                Look::Forward => {
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
        let may_commit = matches!(head.tag, tags::SYNC | tags::FUNCTION_CALL);
        if self.listening.is_some() && may_commit && !self.may_go(&[]) {
            return Ok(Look::Incomplete);
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
                self.pins.sync_sent();
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

    /// The text of a simple query decides what becomes of it.
    #[inline]
    fn look_at_query(&mut self, head: Head) -> Look {
        let unseen = self.up.unseen();
        let text = &unseen[5..head.total.min(unseen.len())];
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let is_several = may_be_several(text);
        let read = Text::read(text, is_several, &[]);
        if (read.is_some() || self.listening.is_some()) && !self.may_run(read.as_ref()) {
            return Look::Incomplete;
        }
        let Self { up, lease, pins, outlook, script, .. } = self;
        let unseen = up.unseen();
        let text = &unseen[5..head.total.min(unseen.len())];
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let is_followed = read.as_ref().is_some_and(Text::is_followed);
        let request = if is_followed { Request::QueryFollowed } else { Request::Query };
        let lease = lease.as_mut().expect("requests are looked at during a lease");
        if lease.conn.ledger.sent(request, Origin::Client) {
            pins.query_sent();
            if outlook.commits || is_several || may_commit(text) {
                outlook.add(text);
            }
            if let Some(text) = read {
                script.sent(&text);
            }
        }
        Look::Forward
    }

    #[inline]
    fn look_at_execute(&mut self, head: Head) -> Result<Look, End> {
        if self.listening.is_some() && self.outlook.commits && !self.may_go(&[]) {
            return Ok(Look::Incomplete);
        }
        let Self { up, script, lease, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        if !script.has_portals() {
            ledger.sent(Request::Execute, Origin::Client);
            return Ok(Look::Forward);
        }
        let unseen = up.unseen();
        let body = &unseen[5..head.total.min(unseen.len())];
        let Some((portal, _)) = split_text(body) else {
            return nameless(head, body);
        };
        let text = script.text_of(portal);
        if text.is_some() && !self.may_run(text.as_ref()) {
            return Ok(Look::Incomplete);
        }
        let Self { script, lease, .. } = self;
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        let is_followed = text.as_ref().is_some_and(Text::is_followed);
        let request = if is_followed { Request::ExecuteFollowed } else { Request::Execute };
        if ledger.sent(request, Origin::Client)
            && let Some(text) = text
        {
            script.sent(&text);
        }
        Ok(Look::Forward)
    }

    /// Messages with a name in front, which decides what becomes of them.
    fn look_inside(&mut self, head: Head) -> Result<Look, End> {
        let Self { up, pins, lease, pool, worker, outlook, script, .. } = self;
        let unseen = up.unseen();
        let body = &unseen[5..head.total.min(unseen.len())];
        let Some(named) = Named::read(head.tag, body) else {
            return nameless(head, body);
        };
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        let cells = pool.stats.of(worker.id);
        // The unnamed statement on this server may be another client's. Closing it first makes
        // Postgres itself say that there is none, with the right error at the right place.
        let mut is_missing = false;
        match named {
            Named::Parse(name) => {
                cells.parses.add(1);
                let request = if name.is_empty() { Request::Parse } else { Request::ParseNamed };
                if ledger.sent(request, Origin::Client) {
                    pins.parse_sent(name);
                    let text = sql_of(&body[name.len() + 1..]);
                    if outlook.commits || may_commit(text) {
                        outlook.add(text);
                    }
                    script.parse_sent(name, Text::read(text, false, &[]));
                }
            }
            Named::Bind(portal, name) => {
                cells.binds.add(1);
                is_missing = pins.is_missing(name) && ledger.sent(Request::Close, Origin::Proxy);
                if ledger.sent(Request::Bind, Origin::Client) {
                    pins.bind_sent(name);
                    script.bind_sent(portal, name);
                }
            }
            Named::DescribeStatement(name) => {
                is_missing = pins.is_missing(name) && ledger.sent(Request::Close, Origin::Proxy);
                ledger.sent(Request::Describe, Origin::Client);
            }
            Named::DescribePortal => drop(ledger.sent(Request::Describe, Origin::Client)),
            Named::CloseStatement(name) => {
                let request = if name.is_empty() { Request::Close } else { Request::CloseNamed };
                if ledger.sent(request, Origin::Client) {
                    pins.close_sent(name);
                    script.close_sent(name);
                }
            }
            Named::ClosePortal => drop(ledger.sent(Request::Close, Origin::Client)),
        }
        if is_missing {
            up.slip_in(|out| encode::close_statement(out, ""));
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

/// The text at the front of a body; of one that is not whole, what is here.
#[inline]
fn sql_of(body: &[u8]) -> &[u8] {
    split_text(body).map_or(body, |(sql, _)| sql)
}

/// A message whose name is not whole.
#[cold]
fn nameless(head: Head, body: &[u8]) -> Result<Look, End> {
    if body.len() + 5 < head.total && body.len() < NAME_MAX {
        return Ok(Look::Incomplete);
    }
    Err(End::protocol("a statement or portal name is missing or too long"))
}

/// The client sent a message that has no place in a session.
pub(super) fn unexpected(tag: u8) -> End {
    End::protocol(format!("invalid frontend message type {tag}"))
}

/// What a message names.
enum Named<'a> {
    /// A portal and a statement.
    Bind(&'a [u8], &'a [u8]),
    ClosePortal,
    CloseStatement(&'a [u8]),
    DescribePortal,
    DescribeStatement(&'a [u8]),
    Parse(&'a [u8]),
}

impl<'a> Named<'a> {
    /// `None`: the name is not whole, or the kind is unknown.
    #[inline]
    fn read(tag: u8, body: &'a [u8]) -> Option<Self> {
        match tag {
            tags::PARSE => Some(Self::Parse(split_text(body)?.0)),
            tags::BIND => {
                let (portal, rest) = split_text(body)?;
                Some(Self::Bind(portal, split_text(rest)?.0))
            }
            tag => {
                let (kind, rest) = body.split_first()?;
                let (name, _) = split_text(rest)?;
                match (tag, kind) {
                    (tags::CLOSE, b'P') => Some(Self::ClosePortal),
                    (tags::CLOSE, b'S') => Some(Self::CloseStatement(name)),
                    (tags::DESCRIBE, b'P') => Some(Self::DescribePortal),
                    (tags::DESCRIBE, b'S') => Some(Self::DescribeStatement(name)),
                    _ => None,
                }
            }
        }
    }
}
