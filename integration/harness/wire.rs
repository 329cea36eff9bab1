//! A raw protocol client: it sends any bytes in any order and keeps every message that it gets.
//! Functions named `try_…` report a broken connection; the others fail the test with what was sent.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Address;
use super::frames::{Batch, Frame, cancel_message, excerpt, shown};
use super::login::Login;
use super::time::{WAIT_MAX, within};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection that has said nothing yet.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    input: BytesMut,
    last_sent: String,
}

impl Wire {
    pub(crate) async fn try_connect(address: &Address) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Self { stream, input: BytesMut::new(), last_sent: String::new() })
    }

    pub(crate) async fn connect(address: &Address) -> Self {
        Self::try_connect(address)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {address:?}: {error}"))
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.last_sent = excerpt(bytes);
        let sent = within(WAIT_MAX, self.try_send(bytes)).await;
        let sent = sent.unwrap_or_else(|| panic!("nobody reads what was sent: {}", self.last_sent));
        sent.unwrap_or_else(|error| panic!("sending failed: {error}; {}", self.last_sent));
    }

    /// What has come of a message that is not complete.
    pub(crate) fn unread(&self) -> String {
        excerpt(&self.input)
    }

    /// Reads more input; false at its end.
    async fn fill(&mut self) -> io::Result<bool> {
        self.input.reserve(64 * 1024);
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    pub(crate) async fn try_byte(&mut self) -> io::Result<Option<u8>> {
        if self.input.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(self.input.get_u8()))
    }

    /// The next single byte: an answer to a request for encryption.
    pub(crate) async fn byte(&mut self) -> u8 {
        match within(WAIT_MAX, self.try_byte()).await {
            Some(Ok(Some(byte))) => byte,
            other => panic!("no byte came after {}: {other:?}", self.last_sent),
        }
    }

    /// Every byte until the other side closes, however it does.
    pub(crate) async fn bytes_until_closed(&mut self) -> Vec<u8> {
        let closed = within(WAIT_MAX, async { while self.fill().await.unwrap_or(false) {} }).await;
        assert!(closed.is_some(), "not closed after {}", self.last_sent);
        self.input.split().to_vec()
    }

    /// The next message, or nothing when the other side has closed.
    pub(crate) async fn try_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                let whole = self.input.is_empty();
                return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn buffered_frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(&[tag, a, b, c, d]) = self.input.first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("length {length}")));
        }
        if self.input.len() <= length {
            return Ok(None);
        }
        self.input.advance(5);
        Ok(Some(Frame { tag, body: self.input.split_to(length - 4).to_vec() }))
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        match within(WAIT_MAX, self.try_frame()).await {
            Some(Ok(Some(frame))) => frame,
            Some(Ok(None)) => panic!("the connection was closed after {}", self.last_sent),
            Some(Err(error)) => panic!("the connection broke: {error}; after {}", self.last_sent),
            None => panic!("no answer within {WAIT_MAX:?} to {}", self.last_sent),
        }
    }

    /// Everything until the other side closes, however it does.
    pub(crate) async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match within(WAIT_MAX, self.try_frame()).await {
                Some(Ok(Some(frame))) => frames.push(frame),
                Some(Ok(None) | Err(_)) => return frames,
                None => panic!("not closed within {WAIT_MAX:?}; came: {:?}", shown(&frames)),
            }
        }
    }

    /// Everything until ReadyForQuery.
    pub(crate) async fn until_ready(&mut self) -> Vec<Frame> {
        self.until(b'Z').await
    }

    /// Everything up to the first message with this tag.
    pub(crate) async fn until(&mut self, tag: u8) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match within(WAIT_MAX, self.try_frame()).await {
                Some(Ok(Some(frame))) => frames.push(frame),
                other => panic!(
                    "waited for {:?} after {}; came: {:?}; then: {other:?}",
                    char::from(tag),
                    self.last_sent,
                    shown(&frames)
                ),
            }
            if frames.last().is_some_and(|frame| frame.tag == tag) {
                return frames;
            }
        }
    }
}

/// A session: a connection that has logged in.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) address: Address,
    /// What `BackendKeyData` held: the pid, and a secret of 4 bytes, or more under protocol 3.2.
    pub(crate) pid: u32,
    pub(crate) secret: Vec<u8>,
    /// The ParameterStatus messages of the login.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Every message of the login.
    pub(crate) greeting: Vec<Frame>,
}

impl Client {
    /// Logs in as `app` to the database `app`.
    pub(crate) async fn connect(address: &Address) -> Self {
        Login::to(address).connect().await
    }

    pub(crate) async fn send(&mut self, batch: Batch) {
        self.wire.send(&batch.0).await;
    }

    /// Sends, and gives the answer up to the first ReadyForQuery, in short form.
    pub(crate) async fn ask(&mut self, batch: Batch) -> Vec<String> {
        shown(&self.ask_frames(batch).await)
    }

    pub(crate) async fn ask_frames(&mut self, batch: Batch) -> Vec<Frame> {
        self.send(batch).await;
        self.wire.until_ready().await
    }

    /// The answer to a simple query, in short form.
    pub(crate) async fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(Batch::new().query(sql)).await
    }

    /// The first value of the answer to a simple query.
    pub(crate) async fn value(&mut self, sql: &str) -> String {
        let frames = self.ask_frames(Batch::new().query(sql)).await;
        first_value(&frames).unwrap_or_else(|| panic!("{sql}: no value: {:?}", shown(&frames)))
    }

    /// The next answer of several, in short form.
    pub(crate) async fn answer(&mut self) -> Vec<String> {
        shown(&self.wire.until_ready().await)
    }

    /// The `ErrorResponse` that a statement gets; fails when there is none or several.
    pub(crate) async fn error(&mut self, sql: &str) -> Frame {
        let frames = self.ask_frames(Batch::new().query(sql)).await;
        only_error(frames)
    }

    /// Sends a request to cancel what this client runs, and waits until it was taken.
    pub(crate) async fn cancel(&self) {
        cancel(&self.address, self.pid, &self.secret).await;
    }
}

/// Sends a request to cancel, and waits until the other side closes.
pub(crate) async fn cancel(address: &Address, pid: u32, secret: &[u8]) {
    let mut wire = Wire::connect(address).await;
    wire.send(&cancel_message(pid, secret)).await;
    let answer = wire.until_closed().await;
    assert!(answer.is_empty(), "a cancel has no answer, got {:?}", shown(&answer));
}

/// The only `ErrorResponse` in an answer.
pub(crate) fn only_error(frames: Vec<Frame>) -> Frame {
    let came = shown(&frames);
    let mut errors = frames.into_iter().filter(|frame| frame.tag == b'E');
    let error = errors.next().unwrap_or_else(|| panic!("expected an error, got {came:?}"));
    assert!(errors.next().is_none(), "expected one error, got {came:?}");
    error
}

/// The first column of the first row.
pub(crate) fn first_value(frames: &[Frame]) -> Option<String> {
    let row = frames.iter().find(|frame| frame.tag == b'D')?;
    let value = row.columns().into_iter().next()??;
    String::from_utf8(value).ok()
}
