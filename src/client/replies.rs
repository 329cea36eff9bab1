//! Looks at what the server sends: settles the ledger, swallows answers to the proxy's own
//! requests, remembers what the session depends on, and passes the rest on as it is.

use super::Client;
use crate::config::PoolMode;
use crate::end::ErrorFields;
use crate::end::{End, EndReason};
use crate::pool::Lease;
use crate::server::exchange::parameter;
use crate::session::inquiry::Kept;
use crate::session::ledger::{Origin, OutOfStep, Request, Status};
use crate::session::pins::alters;
use crate::session::statements::{READ_MAX, Statements, Told};
use crate::session::traces::Trace;
use crate::sql::ending::Outlook;
use crate::wire::error_fields;
use crate::wire::frame::{HEAD_LEN, Head, MESSAGE_MAX, run_of};
use crate::wire::tags::from_server as tags;
use std::sync::Arc;

/// Messages that are looked into are read whole up to this length; a longer one passes unread. A
/// command tag has at most 64 bytes, and no parameter or error of Postgres' own is as long.
const LOOK_MAX: usize = 16_384;

/// What Postgres says of a query that was cancelled, or took too long.
const QUERY_CANCELED: &str = "57014";

/// Why a server's bytes cannot be passed on.
pub(super) enum Fault {
    /// The client must go; the server is well.
    Client(End),
    /// The server does not keep to the protocol.
    Server(&'static str),
    /// The server could not be prepared for the request at the front; client and server are well.
    Unprepared(End),
}

impl From<OutOfStep> for Fault {
    fn from(_: OutOfStep) -> Self {
        Self::Server("it sent a reply that nobody asked for")
    }
}

/// What a look at a message said.
enum Look {
    Forward,
    Incomplete,
    Swallow,
}

impl Client {
    /// Looks at everything the server has sent. What may go to the client is marked so.
    #[inline]
    pub(super) fn take_replies(&mut self) -> Result<(), Fault> {
        while self.down.forward_rest() {
            let unseen = self.down.unseen();
            let head = Head::parse(unseen, MESSAGE_MAX);
            let Some(head) = head.map_err(|_| Fault::Server("it sent an impossible length"))?
            else {
                break;
            };
            let here = head.total.min(unseen.len());
            if matches!(head.tag, tags::DATA_ROW | tags::COPY_DATA) && self.is_for_client() {
                self.forward_rows(head.tag)?;
                continue;
            }
            let look = self.look_at_reply(head, here == head.total).inspect_err(|fault| {
                if matches!(fault, Fault::Client(_) | Fault::Unprepared(_)) {
                    // The ledger knows of this one already, and the server lives on.
                    self.down.swallow(here);
                }
            });
            match look? {
                Look::Forward => self.down.forward(here, head.total - here),
                Look::Incomplete => break,
                Look::Swallow => self.down.swallow_message(here, head.total - here),
            }
        }
        Ok(())
    }

    fn lease_mut(&mut self) -> &mut Lease {
        self.lease.as_mut().expect("replies are looked at during a lease")
    }

    /// Whether the next reply is one to the client's own request.
    #[inline]
    fn is_for_client(&mut self) -> bool {
        self.lease_mut().conn.ledger.next_origin() == Some(Origin::Client)
    }

    #[inline]
    fn forward_rows(&mut self, tag: u8) -> Result<(), Fault> {
        self.lease_mut().conn.ledger.replied(tag)?;
        let run = run_of(tag, self.down.unseen(), MESSAGE_MAX);
        let run = run.map_err(|_| Fault::Server("it sent an impossible length"))?;
        self.down.forward(run.here, run.to_come);
        Ok(())
    }

    #[inline]
    fn look_at_reply(&mut self, head: Head, is_whole: bool) -> Result<Look, Fault> {
        let must_be_whole = match head.tag {
            tags::READY
            | tags::COMMAND_COMPLETE
            | tags::PARAMETER_STATUS
            | tags::ERROR
            | tags::NOTIFICATION => true,
            tags::PARAMETER_DESCRIPTION | tags::ROW_DESCRIPTION => {
                let of_unnamed = self.lease_mut().conn.ledger.next_request();
                let is_read = of_unnamed == Some(Request::DescribeUnnamed);
                is_read && head.total <= LOOK_MAX || !self.is_for_client()
            }
            _ => !self.is_for_client(),
        };
        if must_be_whole && !is_whole {
            let is_description = head.tag == tags::ROW_DESCRIPTION;
            return if is_description && self.down.unseen().len() >= READ_MAX {
                // No longer one is kept here. As much as this tells one from another, too.
                self.replied(head)
            } else if head.total <= LOOK_MAX
                || is_description
                || head.tag == tags::PARAMETER_DESCRIPTION
            {
                Ok(Look::Incomplete)
            } else if head.tag == tags::ERROR && self.is_for_client() {
                self.failed(&ErrorFields::default(), 0)
            } else {
                Err(Fault::Server("it sent a longer message than expected"))
            };
        }
        match head.tag {
            tags::READY => self.ready(),
            tags::ERROR => {
                let fields = error_fields::parse(&self.down.unseen()[5..head.total]);
                self.failed(&fields, head.total)
            }
            tags::PARAMETER_STATUS => Ok(self.reported(head)),
            tags::NOTIFICATION if !self.is_notified_by_server(head) => {
                // It is the hub's to tell; or for whoever had this server before.
                self.lease_mut().conn.traces.add(Trace::Listen);
                Ok(Look::Swallow)
            }
            tags::NOTICE | tags::NOTIFICATION => {
                let next = self.lease_mut().conn.ledger.next_origin();
                // A question comes when the client's requests are done: what comes meanwhile is its own.
                let is_ours = next == Some(Origin::Proxy) && self.script.inquiry().is_none();
                Ok(if is_ours { Look::Swallow } else { Look::Forward })
            }
            _ => self.replied(head),
        }
    }

    #[inline]
    fn replied(&mut self, head: Head) -> Result<Look, Fault> {
        let Self { down, pins, lease, pool, statements, script, about, .. } = self;
        let is_hub_asked = self.listening.is_some();
        let server = &mut lease.as_mut().expect("replies are looked at during a lease").conn;
        if matches!(head.tag, tags::PARAMETER_DESCRIPTION | tags::ROW_DESCRIPTION)
            && let Some(statements) = statements
            && let Some(origin) = server.ledger.next_description()
        {
            let unseen = down.unseen();
            if origin == Origin::Client && unseen.len() < head.total {
                statements.described_at_length();
            } else {
                Self::read_description(head, unseen, statements);
            }
        }
        let is_completed = head.tag == tags::COMMAND_COMPLETE;
        let is_followed = is_completed && server.ledger.is_followed();
        let reply = server.ledger.replied(head.tag)?;
        if let Some(request) = reply.settled
            && let Some(statements) = statements
        {
            let told = statements.settled(request, reply.origin, &mut server.prepared);
            if told != Told::Nothing {
                pool.host.schema_changed();
            }
            if told == Told::ChangedInUse {
                return Err(Fault::Client(EndReason::PlanChanged.into()));
            }
            if request == Request::ParseAcknowledged {
                down.put(0, tags::PARSE_COMPLETE);
            }
        }
        if reply.origin == Origin::Proxy || reply.settled == Some(Request::DescribeInVain) {
            if head.tag == tags::DATA_ROW
                && let Some(inquiry) = script.inquiry()
            {
                inquiry.row(&down.unseen()[5..head.total]);
            }
            return Ok(Look::Swallow);
        }
        if is_completed {
            let tag = down.unseen()[5..head.total].strip_suffix(b"\0").unwrap_or_default();
            if tag == b"LISTEN" {
                server.traces.add(Trace::Listen);
                about.listens_itself |= !is_hub_asked || !is_followed || script.is_cut();
            }
            if tag != b"LISTEN" || about.listens_itself {
                pins.completed(tag);
            }
            script.completed(tag, is_followed);
            let kept = pins.kept();
            if kept != Kept::default() {
                script.may_have_ended(kept, tag);
            }
            if alters(tag) || tag == b"ROLLBACK" && pins.has_altered() {
                // Those who prepare now, and those who do when it is committed or rolled back.
                pins.altered();
                pool.host.schema_changed();
            }
            match (tag, statements) {
                (b"DEALLOCATE ALL" | b"DISCARD ALL", Some(statements)) => {
                    statements.dropped_all(&mut server.prepared);
                }
                (b"DEALLOCATE ALL" | b"DISCARD ALL", None) => server.prepared.clear(),
                (b"DEALLOCATE", Some(statements)) => statements.dropped_one(),
                _ => {}
            }
        }
        if reply.settled == Some(Request::ExecuteFollowed) {
            script.settled();
        }
        Ok(Look::Forward)
    }

    /// What a statement is: of a description that the proxy has asked for, or of the unnamed one.
    fn read_description(head: Head, unseen: &[u8], statements: &mut Statements) {
        let body = &unseen[HEAD_LEN..head.total.min(unseen.len()).min(READ_MAX)];
        if head.tag == tags::ROW_DESCRIPTION {
            statements.columns_described(body, head.total);
        } else {
            statements.parameters_described(body);
        }
    }

    /// `ReadyForQuery`: a request is through.
    #[inline]
    fn ready(&mut self) -> Result<Look, Fault> {
        let status = self.down.unseen().get(5).copied().and_then(Status::from_byte);
        let status = status.ok_or(Fault::Server("it reported an unknown transaction status"))?;
        let statement_mode = self.terms.pool_mode == PoolMode::Statement;
        if self.listening.is_some()
            && status == Status::Idle
            && self.is_for_client()
            && !self.has_heard_all()
        {
            return Ok(Look::Incomplete);
        }
        let reply = self.lease_mut().conn.ledger.ready(status)?;
        if matches!(reply.settled, Some(Request::Query | Request::QueryFollowed))
            && let Some(statements) = &mut self.statements
        {
            statements.queried(reply.origin);
        }
        if reply.origin == Origin::Proxy {
            if self.script.inquiry().is_some() {
                self.answered();
            }
            self.prepared(status);
            return Ok(Look::Swallow);
        }
        if reply.settled == Some(Request::QueryFollowed) {
            self.script.settled();
        }
        self.script.ready(status == Status::Idle);
        self.take_changes(status);
        if status == Status::Idle {
            self.take_notifications().map_err(Fault::Client)?;
        }
        if status != Status::Idle && statement_mode {
            return Err(Fault::Client(EndReason::StatementMode.into()));
        }
        let now = self.worker.now();
        let cells = self.pool.stats.of(self.worker.id);
        let took = now.saturating_duration_since(self.times.request);
        cells.queries.add(1);
        cells.query_time.record(took);
        if status == Status::Idle {
            if self.pins.take_altered() {
                self.pool.host.schema_changed();
            }
            cells.xacts.add(1);
            let is_one = self.times.xact == self.times.request;
            let xact = if is_one { took } else { now.saturating_duration_since(self.times.xact) };
            cells.xact_time.record(xact);
            self.times.xact = now;
        }
        if self.learns.is_some() {
            self.learn(took);
        }
        self.times.request = now;
        if self.lease_mut().conn.ledger.is_empty() {
            self.outlook = Outlook::default();
        }
        Ok(Look::Forward)
    }

    /// `ErrorResponse`: a request failed, or the server says goodbye.
    /// It has `total` bytes; 0 if it is not looked into.
    fn failed(&mut self, fields: &ErrorFields, total: usize) -> Result<Look, Fault> {
        // What fails may do so long before it has done what it does.
        self.learns = None;
        let Self { statements, script, lease, pool, .. } = self;
        let server = &mut lease.as_mut().expect("replies are looked at during a lease").conn;
        if fields.is_fatal() {
            // What to tell the client depends on what is lost with the server: see `server_lost`.
            self.last_words = Some(Box::new(fields.clone()));
            return Ok(Look::Swallow);
        }
        let is_probing = server.ledger.wants_probe();
        if error_fields::is_plan_changed(fields) {
            pool.host.schema_changed();
        }
        let mut failure = None;
        let origin = if let Some(statements) = statements {
            let said = (fields.code.as_str(), fields.message.as_bytes());
            failure = statements.failed(&mut server.prepared, &mut server.ledger, said);
            failure.as_ref().map(|failure| failure.origin)
        } else {
            server.ledger.failed(|_, _| {})
        };
        if let Some(failure) = &failure {
            script.skipped(failure.followed, failure.is_of_unnamed);
        }
        if origin == Some(Origin::Proxy)
            && let Some(inquiry) = script.inquiry()
        {
            inquiry.failed();
            return Ok(Look::Swallow);
        }
        // Of the proxy's own, only what was slipped in for the client's requests fails beside its questions.
        if origin.is_some() && !is_probing {
            script.failed();
        }
        match origin {
            Some(Origin::Proxy) if self.preparing > 0 => Err(self.unprepared(fields)),
            // A probe is answered by an error as well as by anything.
            Some(Origin::Proxy) if is_probing => Ok(Look::Swallow),
            // Of the proxy's own, only what was slipped in for the client's requests is left: they
            // fail with it.
            Some(_) if failure.as_ref().is_some_and(|it| it.is_swallowed) => Ok(Look::Swallow),
            Some(_) => match failure.and_then(|failure| self.reworded(&failure, total)) {
                Some(message) => {
                    self.down.slip_in(|out| out.extend(message));
                    Ok(Look::Swallow)
                }
                None => Ok(Look::Forward),
            },
            None => Err(Fault::Server("it sent an error that nobody asked for")),
        }
    }

    /// A query that prepares the server is through; the transaction is the last.
    #[inline]
    fn prepared(&mut self, status: Status) {
        self.preparing = self.preparing.saturating_sub(1);
        if status != Status::Idle {
            self.begun = None;
        }
    }

    /// The server has not got the settings that it was taken to have, or does not begin a transaction.
    fn unprepared(&mut self, fields: &ErrorFields) -> Fault {
        let is_kept = self.pins.cause().is_some()
            || self.terms.pool_mode == PoolMode::Session
            || self.lease_mut().conn.ledger.status() != Status::Idle;
        let is_canceled = fields.code == QUERY_CANCELED && !is_kept;
        if !is_canceled && self.begun.is_some() && self.preparing == 1 {
            return Fault::Unprepared(End::from(EndReason::ServerRefused).verbatim(fields.clone()));
        }
        self.lease_mut().conn.traces.add(Trace::Setting);
        let reason =
            if is_canceled { EndReason::CanceledInQueue } else { EndReason::SettingRefused };
        let end = End::from(reason).verbatim(fields.clone());
        if is_canceled { Fault::Unprepared(end) } else { Fault::Client(end) }
    }

    /// `ParameterStatus`: a setting of this session has changed.
    fn reported(&mut self, head: Head) -> Look {
        let next = self.lease_mut().conn.ledger.next_origin();
        // What is reported with a `BEGIN` is not its doing but news that the client waits for.
        let is_with_begin = self.begun.is_some() && self.preparing == 1;
        if next == Some(Origin::Proxy) && !is_with_begin {
            return Look::Swallow;
        }
        let Self { down, lease, settings, here, .. } = self;
        let server = &mut lease.as_mut().expect("replies are looked at during a lease").conn;
        if let Some((name, value)) = parameter(&down.unseen()[5..head.total]) {
            if let Some(changed) = settings.reported(name, value) {
                *settings = Arc::new(changed);
                here.set_settings(settings);
            }
            if let Some(applied) = server.applied.shown(name, value) {
                server.applied = Arc::new(applied);
            }
        }
        Look::Forward
    }
}
