//! Prepared statements on the way: does with the bytes what [`crate::session::statements`] says.

use super::Client;
use super::requests::{Look, nameless, sql_of};
use super::slips::{slip_in, write_slip};
use crate::config::PoolMode;
use crate::end::{End, EndReason, ErrorFields, Phase};
use crate::session::ledger::{Origin, Request};
use crate::session::pins::Cause;
use crate::session::script::Script;
use crate::session::settings::Settings;
use crate::session::statements::{
    ESCAPE, Failure, Interner, Message, Now, PARSE_MAX, Refusal, Route, ServerName, Statements,
    cut, looks_like_ours, mentioned, unescape,
};
use crate::session::text::Text;
use crate::session::traces::{Trace, Traces};
use crate::sql::ending::{Outlook, may_be_ending};
use crate::sql::prepared::{Use, may_use_prepared, prepared_use};
use crate::stats::pool::PoolCells;
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head, split_text};
use crate::wire::tags::{from_client as tags, from_server};
use std::ops::Range;
use std::sync::Arc;

/// The longest beginning of a message that is made anew without memory of its own.
const SHORT: usize = 160;

/// A `Close` of a statement that there is not: no client's name gets to a server like this.
const CLOSE_NONE: &[u8] = b"C\0\0\0\x0eSpgweir_x\0";

/// A `Parse` of the unnamed statement that fails at once.
const PARSE_UNNAMED_NONSENSE: &[u8] = b"P\0\0\0\x09\0!\0\0\0";

/// A `Parse` that fails at once, in a failed transaction as well.
const PARSE_NONSENSE: &[u8] = b"P\0\0\0\x11pgweir_x\0!\0\0\0";

/// A message that names a statement or portal.
#[derive(Clone, Copy, Debug)]
enum Named<'a> {
    ClosePortal,
    DescribePortal,
    /// And where in the message's body the name begins.
    Statement(Message<'a>, usize),
}

impl<'a> Named<'a> {
    /// `None`: the name is not whole, or the kind is unknown.
    #[inline]
    fn read(tag: u8, body: &'a [u8], is_whole: bool) -> Option<Self> {
        let statement = |message, at| Some(Self::Statement(message, at));
        match tag {
            tags::PARSE => {
                let (name, rest) = split_text(body)?;
                statement(Message::Parse(name, is_whole.then_some(rest)), 0)
            }
            tags::BIND => {
                let (portal, rest) = split_text(body)?;
                statement(Message::Bind(split_text(rest)?.0, is_whole), portal.len() + 1)
            }
            tag => {
                let (kind, rest) = body.split_first()?;
                let (name, _) = split_text(rest)?;
                match (tag, kind) {
                    (tags::CLOSE, b'P') => Some(Self::ClosePortal),
                    (tags::CLOSE, b'S') => statement(Message::Close(name), 1),
                    (tags::DESCRIBE, b'P') => Some(Self::DescribePortal),
                    (tags::DESCRIBE, b'S') => statement(Message::Describe(name), 1),
                    _ => None,
                }
            }
        }
    }
}

impl Client {
    /// Messages with a name in front, which decides what becomes of them.
    #[inline]
    pub(super) fn look_inside(&mut self, head: Head) -> Result<Look, End> {
        let unseen = self.up.unseen();
        let here = head.total.min(unseen.len());
        let is_whole = here == head.total && here <= PARSE_MAX;
        if head.tag == tags::PARSE && !is_whole && head.total <= PARSE_MAX {
            return Ok(Look::Incomplete);
        }
        if head.tag == tags::PARSE
            && is_whole
            && let Some((name, body)) = split_text(&unseen[HEAD_LEN..here])
            && may_use_prepared(body)
        {
            let (text_at, is_unnamed) = (HEAD_LEN + name.len() + 1, name.is_empty());
            if !is_unnamed {
                // What it says is looked at when it is bound.
                self.escape_names(text_at, head);
            } else if !self.look_at_sql(text_at, head, false) {
                return Ok(Look::Wait);
            }
        }
        let read = if head.tag == tags::PARSE { self.read_parse(here, is_whole) } else { None };
        if read.as_ref().is_some_and(|text| text.hidden().sequences) && !self.may_read_sequences() {
            return Ok(Look::Incomplete);
        }
        if head.tag == tags::CLOSE && self.up.unseen().get(HEAD_LEN) == Some(&b'P') {
            self.describe_in_time();
        }
        self.pass(head, is_whole, read)
    }

    /// What the text of the `Parse` at the front does to the session.
    #[inline]
    fn read_parse(&self, here: usize, is_whole: bool) -> Option<Arc<Text>> {
        let (_, body) = split_text(&self.up.unseen()[HEAD_LEN..here])?;
        let (text, functions) = (sql_of(body), &self.terms.sessions.functions);
        if is_whole {
            Text::read(text, false, functions)
        } else {
            Some(Text::read_beginning(text, functions))
        }
    }

    /// Sends the message at the front as it has to go.
    #[inline]
    fn pass(&mut self, head: Head, is_whole: bool, read: Option<Arc<Text>>) -> Result<Look, End> {
        let Self { up, pins, statements, script, lease, pool, worker, terms, settings, .. } = self;
        let unseen = up.unseen();
        let here = head.total.min(unseen.len());
        let body = &unseen[HEAD_LEN..here];
        let server = &mut lease.as_mut().expect("requests are looked at during a lease").conn;
        let (mut message, name_at) = match Named::read(head.tag, body, is_whole) {
            Some(Named::Statement(message, name_at)) => (message, HEAD_LEN + name_at),
            Some(Named::ClosePortal) => {
                server.ledger.sent(Request::Close, Origin::Client);
                return Ok(Look::Forward);
            }
            Some(Named::DescribePortal) => {
                server.ledger.sent(Request::Describe, Origin::Client);
                return Ok(Look::Forward);
            }
            None => return nameless(head, here),
        };
        if let Message::Parse(name, Some(_)) = message
            && Self::is_refused(terms, read.as_deref())
        {
            message = Message::ParseRefused(name);
        }
        let statements =
            statements.get_or_insert_with(|| Box::new(Statements::new(&terms.statements)));
        let maps = maps(terms.pool_mode) && !pins.has_sql_prepared();
        let mut now = Now {
            at: worker.now(),
            pool: (&pool.database, &pool.user),
            settings,
            epoch: pool.host.schema_epoch(),
            limits: terms.prepared,
            maps,
        };
        let of_now;
        if script.has_set() {
            of_now = in_between(settings, &terms.statements);
            now.settings = &of_now;
        }
        // Mostly nothing is slipped in, and nothing is made for it.
        let mut slips = Vec::new();
        let (prepared, ledger) = (&mut server.prepared, &mut server.ledger);
        let is_skipped = ledger.is_skipping();
        let route = statements.look(message, prepared, ledger, &now, &mut slips);
        let cells = pool.stats.of(worker.id);
        if !slips.is_empty() {
            cells.statements_evicted.add(u64::from(prepared.take_evicted()));
        }
        if route == Route::Wait {
            slip_in(up, &slips, statements, cells);
            return Ok(Look::Wait);
        }
        while let Some(does) = statements.take_shared() {
            script.shared_with_sql(&does);
        }
        if !is_skipped {
            follow(script, statements, message, body, read);
        }
        cells.parses_saved.add(u64::from(route == Route::Acknowledge));
        let name = count(message, cells);
        look_ahead(&mut self.outlook, statements, message, body);
        let (is_escaped, name_at) = (looks_like_ours(name), name_at..name_at + name.len());
        slip_in(up, &slips, statements, cells);
        Ok(self.send(head, name_at, is_escaped, route))
    }

    /// Sends the message at the front by its route. `is_escaped`: its name looks like one of ours.
    #[inline]
    fn send(&mut self, head: Head, name_at: Range<usize>, is_escaped: bool, route: Route) -> Look {
        match route {
            Route::AsIs if is_escaped => self.up.put(name_at.start, ESCAPE),
            Route::AsIs | Route::Wait => {}
            Route::Under(serial) => {
                self.rename(head, name_at, &ServerName::new(serial));
                return Look::Passed;
            }
            Route::Acknowledge => {
                self.up.rewrite(head.total, CLOSE_NONE, 0, 0);
                return Look::Passed;
            }
            Route::Described(serial) => {
                let name = ServerName::new(serial);
                self.rename(head, name_at, &name);
                self.up.slip_in(|out| encode::describe_statement(out, name.as_str()));
                return Look::Passed;
            }
            Route::Failing(serial) => {
                self.rename(head, name_at, &ServerName::new(serial));
                self.up.slip_in(|out| out.extend(PARSE_NONSENSE));
                return Look::Passed;
            }
            Route::FailingUnnamed => {
                self.up.forward(head.total, 0);
                self.up.slip_in(|out| out.extend(PARSE_NONSENSE));
                return Look::Passed;
            }
            Route::Refuse => {
                let nonsense =
                    if name_at.is_empty() { PARSE_UNNAMED_NONSENSE } else { PARSE_NONSENSE };
                self.up.slip_in(|out| out.extend(nonsense));
                let here = head.total.min(self.up.unseen().len());
                self.up.swallow_message(here, head.total - here);
                return Look::Passed;
            }
        }
        Look::Forward
    }

    /// Sends the message at the front with another name in the place of its own.
    #[inline]
    fn rename(&mut self, head: Head, name_at: Range<usize>, name: &ServerName) {
        let name = name.as_bytes();
        let unseen = self.up.unseen();
        let here = head.total.min(unseen.len());
        let before = &unseen[HEAD_LEN..name_at.start];
        let length = head.total - 1 - name_at.len() + name.len();
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let (rest, to_come) = (here - name_at.end, head.total - here);
        let parts = [&[head.tag][..], &length, before, name];
        if before.len() + HEAD_LEN + name.len() > SHORT {
            let bytes = parts.concat();
            return self.up.rewrite(name_at.end, &bytes, rest, to_come);
        }
        let (mut bytes, mut len) = ([0; SHORT], 0);
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        self.up.rewrite(name_at.end, &bytes[..len], rest, to_come);
    }

    /// A text is at the front, whole, of a simple query or of the `Parse` of a statement. `false`: it has
    /// to wait.
    pub(super) fn look_at_sql(&mut self, text_at: usize, head: Head, is_query: bool) -> bool {
        if self.escape_names(text_at, head) {
            return true;
        }
        let Self { up, statements, script, lease, terms, .. } = self;
        let unseen = up.unseen();
        let Some(text) = unseen.get(text_at..head.total).and_then(split_text) else { return true };
        let Some(used) = prepared_use(text.0) else { return true };
        if !is_query && !matches!(used, Use::Name(_)) {
            // It does nothing before it is bound, and is looked at then.
            return true;
        }
        let ledger =
            &mut lease.as_mut().expect("requests are looked at during a lease").conn.ledger;
        if ledger.is_skipping() {
            return true;
        }
        // Also of a client that has none: it may drop those that the server has for others.
        let statements =
            statements.get_or_insert_with(|| Box::new(Statements::new(&terms.statements)));
        let Some(slips) = statements.look_at_sql(&used, is_query, ledger) else { return false };
        while let Some(does) = statements.take_shared() {
            script.shared_with_sql(&does);
        }
        for slip in slips {
            up.slip_in(|out| write_slip(out, &slip, statements));
        }
        true
    }

    /// Whatever a client has under a name like ours, it is not what a server has: neither may a text that
    /// is at the front name that. Answers whether it did.
    fn escape_names(&mut self, text_at: usize, head: Head) -> bool {
        let text = self.up.unseen().get(text_at..head.total).and_then(split_text);
        let Some((text, _)) = text else { return false };
        let is_ours = match prepared_use(text) {
            Some(Use::Deallocate(name) | Use::Name(name)) => looks_like_ours(&name),
            _ => false,
        };
        if is_ours {
            let places = text.windows(7).enumerate();
            let ours = places.filter(|(_, word)| looks_like_ours(&word.to_ascii_lowercase()));
            let places: Vec<_> = ours.map(|(at, _)| text_at + at).collect();
            for at in places {
                self.up.put(at, ESCAPE);
            }
        }
        is_ours
    }

    /// A request waits for the answers to those before it. Without a `Sync` behind them Postgres keeps
    /// these back until it is asked for them.
    pub(super) fn have_answered(&mut self) {
        let lease = self.lease.as_mut().expect("whoever waits for answers has a lease");
        if lease.conn.ledger.is_open() && !lease.conn.ledger.is_copying_in() {
            self.up.slip_in(encode::flush);
        }
    }

    /// Why it keeps the server although its transaction is over.
    #[inline]
    pub(super) fn pin(&self) -> Option<Cause> {
        let by_sql = || self.pins.cause();
        let Some(statements) = &self.statements else { return by_sql() };
        if statements.is_local() {
            Some(Cause::NamedStatement)
        } else if statements.is_unnamed_pinning() {
            Some(Cause::UnnamedStatement)
        } else {
            by_sql()
        }
    }

    /// What its server has of it that others must not meet. The unnamed statement is no trace: everybody
    /// makes it anew.
    #[inline]
    pub(super) fn traces(&self) -> Traces {
        let mut traces = self.pins.traces();
        traces.add_all(self.script.traces());
        let statements = self.statements.as_ref();
        traces.add_if(statements.is_some_and(|it| it.leaves_traces()), Trace::Statement);
        traces
    }

    /// The next request finds another server.
    #[inline]
    pub(super) fn forget_server(&mut self) {
        (self.is_waiting, self.learns) = (false, None);
        self.script.lease_ended();
        self.pins.lease_ended();
        if let Some(statements) = &mut self.statements {
            statements.lease_ended();
            self.here.has_prepared(statements.len());
        }
    }

    /// A query was answered without a server, which would have dropped the unnamed statement.
    pub(super) fn drop_unnamed(&mut self) {
        if let Some(statements) = &mut self.statements {
            statements.queried(Origin::Client);
            statements.lease_ended();
        }
    }

    /// A ping in the extended protocol was answered without a server: its statement is the unnamed one now.
    pub(super) fn keep_unnamed(&mut self, body: &[u8]) {
        self.drop_unnamed();
        if maps(self.terms.pool_mode) && self.terms.prepared.of_server > 0 {
            let interner = &self.terms.statements;
            let statements =
                self.statements.get_or_insert_with(|| Box::new(Statements::new(interner)));
            statements.restore_unnamed(body);
        }
        // It does nothing to the session.
        self.script.parse_sent(b"", None);
    }

    /// What it had prepared in another process.
    pub(super) fn restore_statements(&mut self, packed: &[u8]) {
        let mut statements = Statements::new(&self.terms.statements);
        let pool = (&*self.pool.database, &*self.pool.user);
        statements.restore(packed, &self.settings, pool);
        if let Some(text) = statements.unnamed_text() {
            let does = Text::read(text, false, &self.terms.sessions.functions);
            self.script.parse_sent(b"", does);
        }
        self.statements = Some(Box::new(statements));
    }

    /// What the error at the front of what the server said is to the client, if not what it says.
    pub(super) fn reworded(&self, failure: &Failure, total: usize) -> Option<Vec<u8>> {
        if let Some(refusal) = failure.refusal {
            let reason = match refusal {
                Refusal::Changed => EndReason::PlanChanged,
                Refusal::Memory => EndReason::StatementMemory,
                Refusal::Session => EndReason::SessionState,
                Refusal::TooMany => EndReason::StatementLimit,
            };
            self.worker.cells.refusals.count(reason);
            let fields: ErrorFields = End::from(reason).fields(Phase::Session);
            let mut message = Vec::new();
            encode::error(&mut message, &fields);
            return Some(message);
        }
        let body = self.down.unseen().get(HEAD_LEN..total)?;
        if failure.name.is_none() && memchr::memchr(ESCAPE, body).is_none() {
            return None;
        }
        let mut body = body.to_vec();
        unescape(&mut body);
        if let Some(name) = &failure.name
            && let Some((_, range)) = mentioned(&body)
        {
            body.splice(range, name.iter().copied());
        }
        let mut message = Vec::with_capacity(body.len() + HEAD_LEN);
        encode::message(&mut message, from_server::ERROR, |out| out.extend(&body));
        Some(message)
    }
}

/// Whether statements follow their client in this mode. In session mode it has a server for itself.
fn maps(mode: PoolMode) -> bool {
    mode != PoolMode::Session
}

/// Counts a message, and answers with the name in it.
#[inline]
fn count<'a>(message: Message<'a>, cells: &PoolCells) -> &'a [u8] {
    match message {
        Message::Parse(name, _) | Message::ParseRefused(name) => {
            cells.parses.add(1);
            name
        }
        Message::Bind(name, _) => {
            cells.binds.add(1);
            name
        }
        Message::Close(name) | Message::Describe(name) => name,
    }
}

/// Reads what a request may do to the transaction that it is sent in.
#[inline]
fn look_ahead(outlook: &mut Outlook, statements: &Statements, message: Message<'_>, body: &[u8]) {
    let text = match message {
        Message::Parse(name, _) => {
            let text = &body[name.len() + 1..];
            (outlook.commits || may_be_ending(text)).then_some(text)
        }
        Message::Bind(name, _) => statements.text_that_may_be_ending(name),
        _ => None,
    };
    if let Some(text) = text {
        outlook.add(sql_of(text));
    }
}

/// Tells the script what a request brings that names a statement.
#[inline]
fn follow(
    script: &mut Script,
    statements: &Statements,
    message: Message<'_>,
    body: &[u8],
    read: Option<Arc<Text>>,
) {
    match message {
        // The statement knows what it does.
        Message::Parse(name, _) if !name.is_empty() && statements.statement(name).is_some() => {}
        Message::Parse(name, _) => script.parse_sent(cut(name), read),
        Message::Bind(name, _) => {
            let portal = split_text(body).map_or(&b""[..], |(portal, _)| portal);
            match statements.does(name) {
                Some(text) => script.bound(portal, text),
                None => script.bind_sent(portal, cut(name)),
            }
        }
        Message::Close(name) => script.close_sent(cut(name)),
        Message::Describe(_) | Message::ParseRefused(_) => {}
    }
}

/// Settings that nobody else has: of a transaction in which texts may mean something else than the
/// client's settings say.
#[cold]
fn in_between(settings: &Settings, interner: &Interner) -> Settings {
    let mut settings = settings.clone();
    settings.set("?", &interner.unique().to_string());
    // Nobody knows what it is by now.
    settings.remove("client_encoding");
    settings
}
