//! The replies that a server still owes, in order.
//!
//! Every request that Postgres answers is entered when it is sent and settled by its reply; the
//! entry says whose the reply is. So the proxy can slip in requests of its own and swallow their
//! replies, and it knows when nothing is owed any more and the server can go to somebody else.
//!
//! # Invariants
//!
//! - Entries are in the order sent, which is the order of the replies.
//! - A lease may end only when [`Ledger::is_settled`]: nothing is owed, no `Sync` is missing after
//!   an extended request, and the last status was `I`.
//! - A reply to an entry of [`Origin::Proxy`] never reaches the client.
//! - A reply that nobody asked for is [`OutOfStep`]: the server must be closed.

pub use super::request::{Origin, Request};
use crate::wire::tags::from_server;
use std::collections::VecDeque;

/// The transaction status in `ReadyForQuery`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    Failed,
    Idle,
    Open,
}

impl Status {
    /// From the byte in `ReadyForQuery`.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'E' => Some(Self::Failed),
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Open),
            _ => None,
        }
    }
}

/// The server sent a reply that nobody asked for. The connection is out of step and must close.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the server is out of step with what it was asked")]
pub struct OutOfStep;

/// Whose a reply is, and what it settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    pub origin: Origin,
    /// `None`: part of a longer answer.
    pub settled: Option<Request>,
}

/// What a client is still owed when its server is lost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Abandoned {
    /// `ReadyForQuery` messages it waits for.
    pub readies: u32,
    /// It has begun an extended request without a `Sync` so far.
    pub open: bool,
}

/// Whether a copy failed when only the server knew whether it had read the `Sync` behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Knowledge {
    /// What could come has come. What was sent meanwhile may have been skipped, or not.
    Probed,
    Sure,
    /// One more `ReadyForQuery` may come, or not.
    Uncertain,
}

impl Knowledge {
    fn probed(self) -> Self {
        if self == Self::Sure { Self::Sure } else { Self::Probed }
    }
}

/// Extended requests since the last `Sync`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Batch {
    /// None: no `Sync` is missing.
    Closed,
    Open,
    /// One failed: the server throws away everything up to a `Sync` that was not sent so far.
    Skipped,
}

impl Batch {
    fn open(&mut self) {
        if *self == Self::Closed {
            *self = Self::Open;
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    owed: VecDeque<(Request, Origin)>,
    status: Status,
    batch: Batch,
    /// The server takes copy data, as far as we know.
    copying_in: bool,
    /// `Sync` requests that the server ignores, if it reads them while it copies in.
    ignored: u32,
    knowledge: Knowledge,
    /// An `Execute` was sent since the last request that ends with `ReadyForQuery`.
    has_executed: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            owed: VecDeque::new(),
            status: Status::Idle,
            batch: Batch::Closed,
            copying_in: false,
            ignored: 0,
            knowledge: Knowledge::Sure,
            has_executed: false,
        }
    }
}

impl Ledger {
    /// Enters a request. `false`: the server will skip it, because of an earlier error; there is
    /// no reply to wait for.
    #[inline]
    pub fn sent(&mut self, request: Request, origin: Origin) -> bool {
        match request {
            Request::Sync => (self.batch, self.has_executed) = (Batch::Closed, false),
            _ if self.batch == Batch::Skipped => return false,
            // These end with `ReadyForQuery` themselves; Postgres wants no `Sync` any more.
            Request::FunctionCall | Request::Query | Request::QueryFollowed => {
                (self.batch, self.has_executed) = (Batch::Closed, false);
            }
            Request::Execute | Request::ExecuteFollowed => {
                (self.batch, self.has_executed) = (Batch::Open, true);
            }
            Request::CopyEnd => {
                self.copying_in = false;
                // Too late, the copy has failed meanwhile and Postgres ignores it; or one more.
                if self.owed.back().is_none_or(|(last, _)| *last == Request::CopyEnd) {
                    return false;
                }
            }
            _ => self.batch = Batch::Open,
        }
        self.owed.push_back((request, origin));
        true
    }

    /// `Flush` was sent: it has no reply, but only a `Sync` makes the server free again.
    pub fn flushed(&mut self) {
        self.batch.open();
    }

    /// Whether what is sent now, up to a `Sync`, is thrown away by the server.
    #[inline]
    pub fn is_skipping(&self) -> bool {
        self.batch == Batch::Skipped
    }

    /// Whether the server ignores a `Sync` or `Flush` that is sent now: it takes copy data
    /// (`CopyGetData` in Postgres).
    pub fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// Whether the next reply is one to a request that the [script](super::script) follows.
    #[inline]
    pub fn is_followed(&mut self) -> bool {
        self.skip_copy_ends();
        let next = self.owed.front().map(|(request, _)| request);
        matches!(next, Some(Request::ExecuteFollowed | Request::QueryFollowed))
    }

    /// Settles a reply other than `ErrorResponse` and `ReadyForQuery`.
    ///
    /// # Errors
    ///
    /// When the reply is not one to the oldest request.
    #[inline]
    pub fn replied(&mut self, tag: u8) -> Result<Reply, OutOfStep> {
        self.skip_copy_ends();
        let Some(&(request, origin)) = self.owed.front() else { return Err(OutOfStep) };
        let settles = match (tag, request) {
            (from_server::PARSE_COMPLETE, Request::Parse | Request::ParseNamed)
            | (from_server::BIND_COMPLETE, Request::Bind)
            | (
                from_server::CLOSE_COMPLETE,
                Request::Close
                | Request::CloseNamed
                | Request::CloseUnnamed
                | Request::ParseAcknowledged,
            )
            | (
                from_server::ROW_DESCRIPTION | from_server::NO_DATA,
                Request::Describe | Request::DescribeInVain | Request::DescribeUnnamed,
            )
            | (
                from_server::COMMAND_COMPLETE
                | from_server::EMPTY_QUERY
                | from_server::PORTAL_SUSPENDED,
                Request::Execute | Request::ExecuteFollowed,
            ) => true,
            (
                from_server::ROW_DESCRIPTION
                | from_server::COMMAND_COMPLETE
                | from_server::EMPTY_QUERY,
                Request::Query | Request::QueryFollowed,
            )
            | (
                from_server::PARAMETER_DESCRIPTION,
                Request::Describe | Request::DescribeInVain | Request::DescribeUnnamed,
            )
            | (from_server::FUNCTION_RESULT, Request::FunctionCall)
            | (
                from_server::DATA_ROW
                | from_server::COPY_OUT
                | from_server::COPY_DATA
                | from_server::COPY_DONE,
                Request::Execute
                | Request::ExecuteFollowed
                | Request::Query
                | Request::QueryFollowed,
            ) => false,
            (from_server::COPY_IN, request) if request.has_data() => {
                self.begin_copy_in();
                false
            }
            _ => return Err(OutOfStep),
        };
        if tag == from_server::EMPTY_QUERY && origin == Origin::Proxy {
            // The answer to the probe: what could come before it has come.
            self.ignored = 0;
            self.knowledge = self.knowledge.probed();
        }
        if tag == from_server::COMMAND_COMPLETE {
            (self.copying_in, self.ignored) = (false, 0);
            // A simple query may copy in again.
            if matches!(self.owed.get(1), Some((Request::CopyEnd, _))) {
                self.owed.remove(1);
            }
        }
        if settles {
            self.owed.pop_front();
        }
        Ok(Reply { origin, settled: settles.then_some(request) })
    }

    /// From here the server ignores each `Sync` up to the end of the copy data: no reply to those
    /// that were sent already will come.
    fn begin_copy_in(&mut self) {
        let mut index = 1;
        while let Some((request, _)) = self.owed.get(index)
            && *request != Request::CopyEnd
        {
            if *request == Request::Sync {
                self.owed.remove(index);
                self.ignored += 1;
            } else {
                index += 1;
            }
        }
        let mut behind = self.owed.iter().skip(index).map(|(request, _)| request);
        self.copying_in = behind.next().is_none();
        let closes = |request: &Request| request.is_readied();
        // A `Sync` that was ignored leaves the extended request as open as before.
        let executes = self.owed.front().is_some_and(|(request, _)| request.is_execute());
        if executes && !behind.any(closes) {
            self.batch.open();
        }
    }

    /// Settles an `ErrorResponse`. `None`: nobody asked anything, the server ends by itself.
    ///
    /// After an error in a simple query or a function call the server still says `ReadyForQuery`.
    /// After any other it throws away everything up to the next `Sync`, simple queries too, so no
    /// reply will come for those; `skipped` is told of each, the one that failed first.
    pub fn failed(&mut self, mut skipped: impl FnMut(Request, Origin)) -> Option<Origin> {
        self.skip_copy_ends();
        let &(request, origin) = self.owed.front()?;
        self.copying_in = false;
        if self.ignored > 0 && self.knowledge == Knowledge::Sure {
            self.knowledge = Knowledge::Uncertain;
        }
        if (request, origin) == (Request::Query, Origin::Proxy) {
            // The answer to a probe, if one was wanted: as good as any.
            self.ignored = 0;
            self.knowledge = self.knowledge.probed();
        }
        if request.is_simple() {
            return Some(origin);
        }
        while let Some(&(request, origin)) = self.owed.front()
            && request != Request::Sync
        {
            self.owed.pop_front();
            skipped(request, origin);
        }
        // Unless a `Sync` is on its way, the server waits for one.
        if self.owed.is_empty() {
            self.batch = Batch::Skipped;
        }
        Some(origin)
    }

    /// Settles a `ReadyForQuery`.
    ///
    /// # Errors
    ///
    /// When no request that ends with one is the oldest.
    #[inline]
    pub fn ready(&mut self, status: Status) -> Result<Reply, OutOfStep> {
        self.skip_copy_ends();
        self.status = status;
        self.copying_in = false;
        let is_ignored = match self.owed.front() {
            None | Some((Request::Query, Origin::Proxy)) => {
                self.knowledge != Knowledge::Sure && self.ignored > 0
            }
            _ => false,
        };
        if is_ignored {
            // The copy failed before the server had read the `Sync` behind it.
            self.ignored -= 1;
            self.batch = Batch::Closed;
            return Ok(Reply { origin: Origin::Client, settled: Some(Request::Sync) });
        }
        match self.owed.front() {
            Some(&(request, origin)) if request.is_readied() => {
                self.owed.pop_front();
                self.skip_copy_ends();
                Ok(Reply { origin, settled: Some(request) })
            }
            _ => Err(OutOfStep),
        }
    }

    /// Whether more may come than is owed, or less: the server must be closed when the client has
    /// had what it waits for.
    #[inline]
    pub fn is_uncertain(&self) -> bool {
        self.knowledge != Knowledge::Sure
    }

    /// Whether the answer to an empty query of the proxy's own, a probe, would show what is still
    /// to come.
    #[inline]
    pub fn wants_probe(&self) -> bool {
        self.knowledge == Knowledge::Uncertain
    }

    #[inline]
    fn skip_copy_ends(&mut self) {
        while let Some((Request::CopyEnd, _)) = self.owed.front() {
            self.owed.pop_front();
        }
    }

    /// Whether the server can be given to someone else now.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty() && !self.is_open() && self.status == Status::Idle
    }

    /// Whether a `Sync` is missing after an extended request.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.batch != Batch::Closed
    }

    /// Whose the oldest request is that has a reply to come.
    #[inline]
    pub fn next_origin(&self) -> Option<Origin> {
        match self.owed.front() {
            Some((Request::CopyEnd, _)) => {
                let owed = self.owed.iter().find(|(request, _)| *request != Request::CopyEnd);
                owed.map(|(_, origin)| *origin)
            }
            front => front.map(|(_, origin)| *origin),
        }
    }

    /// The oldest request that has a reply to come, or ends a copy.
    #[inline]
    pub fn next_request(&self) -> Option<Request> {
        self.owed.front().map(|(request, _)| *request)
    }

    /// Whose the oldest request is, if it asks what a statement is, and the answer is to be looked at.
    pub fn next_description(&self) -> Option<Origin> {
        match self.owed.front()? {
            (Request::Describe, Origin::Proxy) => Some(Origin::Proxy),
            (Request::DescribeUnnamed, origin) => Some(*origin),
            _ => None,
        }
    }

    /// Whether everything asked was answered, in a transaction or not.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        // Mostly the first tells.
        let is_copy_end = |(request, _): &(Request, Origin)| *request == Request::CopyEnd;
        !self.is_open()
            && self
                .owed
                .front()
                .is_none_or(|first| is_copy_end(first) && self.owed.iter().all(is_copy_end))
    }

    /// Whether a `ReadyForQuery` is under way: what the transaction will be is still to be seen.
    pub fn owes_ready(&self) -> bool {
        self.owed.iter().any(|(request, _)| request.is_readied())
    }

    /// Whether anything was executed in the batch that is under way.
    pub fn has_executed(&self) -> bool {
        self.has_executed
    }

    pub fn status(&self) -> Status {
        self.status
    }

    /// How many requests are under way.
    #[inline]
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether a `ReadyForQuery` is owed.
    pub fn is_ready_owed(&self) -> bool {
        self.owed.iter().any(|(request, _)| request.is_readied())
    }

    /// The same for the last request, but for the end of a copy.
    pub fn awaits_ready(&self) -> bool {
        let mut requests = self.owed.iter().rev().map(|(request, _)| *request);
        requests.find(|request| *request != Request::CopyEnd).is_some_and(Request::is_readied)
    }

    /// Forgets everything: the server is lost. Says what the client still waits for.
    pub fn abandon(&mut self) -> Abandoned {
        let ends = |request: &Request| request.is_readied();
        let owed = self.owed.iter().filter(|(_, origin)| *origin == Origin::Client);
        let readies = owed.filter(|(request, _)| ends(request)).count();
        let abandoned =
            Abandoned { readies: u32::try_from(readies).unwrap_or(u32::MAX), open: self.is_open() };
        *self = Self::default();
        abandoned
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
