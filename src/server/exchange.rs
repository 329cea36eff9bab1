//! Talking to a server that no client has: whole messages, one after another.

use super::Server;
use crate::end::ErrorFields;
use crate::net::stream::Stream;
use crate::session::ledger::{OutOfStep, Status};
use crate::session::settings::Settings;
use crate::session::traces::{Trace, Traces};
use crate::wire::error_fields;
use crate::wire::frame::{FrameError, Head, split_text};
use crate::wire::tags::from_server;
use std::io;
use std::sync::Arc;

/// The longest message that is read whole: errors and notices, in practice. Rows that a cancelled
/// query still sends are skipped piece by piece.
const WHOLE_MAX: u32 = 1 << 20;

/// What an answer has that may be of interest.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// A parameter is reported: its name and its value.
    Parameter(&'a str, &'a str),
    /// The body of a `DataRow`.
    Row(&'a [u8]),
}

/// A conversation with a server broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("server closed the connection")]
    Closed,
    #[error("server sent {0:?}")]
    Fatal(Box<ErrorFields>),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
}

/// Bytes from a server, as messages.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
    /// Bytes still to come of a message whose beginning somebody else has had.
    skip: usize,
}

impl Inbox {
    /// Goes on where a client left off: `skip` bytes of a message are still to come, or `bytes` of
    /// the next one have come already.
    pub fn after(skip: usize, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), taken: 0, skip }
    }

    /// More has come.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it is here: its tag and its body.
    ///
    /// # Errors
    ///
    /// When what came can never become a message.
    pub fn take(&mut self) -> Result<Option<(u8, &[u8])>, FrameError> {
        let skipped = self.skip.min(self.bytes.len() - self.taken);
        self.taken += skipped;
        self.skip -= skipped;
        let rest = &self.bytes[self.taken..];
        match Head::parse(rest, WHOLE_MAX)? {
            Some(head) if rest.len() >= head.total => {
                let start = self.taken;
                self.taken += head.total;
                Ok(Some((head.tag, &self.bytes[start + 5..self.taken])))
            }
            _ => Ok(None),
        }
    }

    /// Waits for the next whole message.
    ///
    /// # Errors
    ///
    /// When the connection ends first.
    pub async fn receive(&mut self, stream: &mut Stream) -> Result<(u8, Vec<u8>), ExchangeError> {
        loop {
            if let Some((tag, body)) = self.take()? {
                return Ok((tag, body.to_vec()));
            }
            self.fill(stream).await?;
        }
    }

    async fn fill(&mut self, stream: &mut Stream) -> Result<(), ExchangeError> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        match stream.receive(&mut self.bytes).await? {
            0 => Err(ExchangeError::Closed),
            _ => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len() && self.skip == 0
    }
}

/// What a parameter status says: a name and a value.
pub fn parameter(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = split_text(body)?;
    let (value, _) = split_text(rest)?;
    Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
}

fn is_harmless(tag: u8) -> bool {
    matches!(tag, from_server::NOTICE | from_server::NOTIFICATION | from_server::PARAMETER_STATUS)
}

impl Server {
    /// Reads until nothing is owed, dropping all answers. Returns the first error among them.
    ///
    /// `seen` is told of each parameter the server reports, and of each row that is not too long.
    ///
    /// # Errors
    ///
    /// When the connection ends first.
    pub async fn drain(
        &mut self,
        inbox: &mut Inbox,
        mut seen: impl FnMut(News<'_>),
    ) -> Result<Option<ErrorFields>, ExchangeError> {
        let mut first_error = None;
        while !self.ledger.is_quiet() || !inbox.is_empty() {
            let (tag, body) = match inbox.take() {
                Ok(Some((tag, body))) => (tag, body.to_vec()),
                Ok(None) => {
                    inbox.fill(self.stream()).await?;
                    continue;
                }
                // A row of a query that nobody waits for may be longer than we care to hold.
                Err(FrameError::Long {
                    tag: from_server::DATA_ROW | from_server::COPY_DATA,
                    length,
                }) => {
                    inbox.skip = length as usize + 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(error) = self.settle(tag, &body, &mut seen)? {
                first_error.get_or_insert(error);
            }
        }
        Ok(first_error)
    }

    fn settle(
        &mut self,
        tag: u8,
        body: &[u8],
        seen: &mut impl FnMut(News<'_>),
    ) -> Result<Option<ErrorFields>, ExchangeError> {
        match tag {
            from_server::NOTICE | from_server::NOTIFICATION => {}
            from_server::PARAMETER_STATUS => {
                if let Some((name, value)) = parameter(body) {
                    seen(News::Parameter(name, value));
                }
            }
            from_server::READY => {
                let status = body.first().copied().and_then(Status::from_byte).ok_or(OutOfStep)?;
                self.ledger.ready(status)?;
            }
            from_server::ERROR => {
                let fields = error_fields::parse(body);
                if self.ledger.failed(|_, _| {}).is_none() || fields.is_fatal() {
                    return Err(ExchangeError::Fatal(Box::new(fields)));
                }
                return Ok(Some(fields));
            }
            _ => {
                self.ledger.replied(tag)?;
                if tag == from_server::DATA_ROW {
                    seen(News::Row(body));
                }
            }
        }
        Ok(None)
    }

    /// Reads what an idle server said unasked, without waiting. `false`: it is of no use any more.
    ///
    /// A notice or a notification has nobody to go to; a parameter that changed by a reload of the
    /// server's configuration is what it is; a FATAL or an end means what it says.
    pub fn read_unasked(&mut self) -> bool {
        let mut inbox = Inbox::default();
        let mut chunk = [0_u8; 1024];
        loop {
            // Straight from the kernel: the runtime may not have heard of the socket so far.
            match self.stream().read_now(&mut chunk) {
                Ok(n @ 1..) => inbox.bytes.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return inbox.is_empty();
                }
                Ok(0) | Err(_) => return false,
            }
            loop {
                match inbox.take() {
                    Ok(Some((tag, _))) if is_harmless(tag) => {}
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => return false,
                }
            }
        }
    }

    /// Forgets what clients have left there, after the server was told to.
    pub(super) fn forget(&mut self, traces: Traces) {
        self.traces = Traces::default();
        self.last_client = None;
        let is_all = traces.has(Trace::Unknown);
        if is_all || traces.has(Trace::Setting) {
            self.applied = Arc::new(Settings::default());
        }
        if is_all || traces.has(Trace::Statement) {
            self.prepared.clear();
        }
    }
}
