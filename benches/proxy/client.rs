//! A client that speaks just enough of the protocol: log in (trust, SCRAM), run a query, leave.
//!
//! It blocks, and it is never measured: only the proxy's side of a login counts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use crate::Result;

/// No answer for this long is a failure, whatever was asked; also the longest that Ctrl-C waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing that this client asks for has longer answers; a peer that claims more is broken.
const MESSAGE_LIMIT: usize = 1 << 20;

/// The frontend and the backend tags that matter here, and the codes of `R`.
const AUTHENTICATION: u8 = b'R';
const ERROR_RESPONSE: u8 = b'E';
const READY_FOR_QUERY: u8 = b'Z';
const AUTH_OK: i32 = 0;
const AUTH_SASL: i32 = 10;
const AUTH_SASL_CONTINUE: i32 = 11;
const AUTH_SASL_FINAL: i32 = 12;

/// Whom to log in as, and where.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    pub(crate) database: &'a str,
}

pub(crate) struct Connection {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Connection {
    pub(crate) fn open(login: Login<'_>) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, login.port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection =
            Self { stream, incoming: BytesMut::with_capacity(8192), outgoing: BytesMut::new() };
        let parameters = [("user", login.user), ("database", login.database)];
        frontend::startup_message(parameters, &mut connection.outgoing)?;
        connection.send()?;
        connection.authenticate(login.password)?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs `sql` with the simple protocol and throws its answer away.
    pub(crate) fn query(&mut self, sql: &str) -> Result<()> {
        frontend::query(sql, &mut self.outgoing)?;
        self.send()?;
        self.until_ready()
    }

    /// Leaves as a well-behaved client does.
    pub(crate) fn close(mut self) -> Result<()> {
        frontend::terminate(&mut self.outgoing);
        self.send()
    }

    /// Only the socket, for a client that stays and does nothing: thousands of them fit.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn authenticate(&mut self, password: &str) -> Result<()> {
        let mut scram = None;
        loop {
            let (tag, mut body) = self.receive()?;
            if tag != AUTHENTICATION || body.len() < 4 {
                return Err(format!("message {:?} during the login", char::from(tag)).into());
            }
            match body.get_i32() {
                AUTH_OK => return Ok(()),
                AUTH_SASL => {
                    let state =
                        ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    let first = state.message();
                    frontend::sasl_initial_response("SCRAM-SHA-256", first, &mut self.outgoing)?;
                    self.send()?;
                    scram = Some(state);
                }
                AUTH_SASL_CONTINUE => {
                    let state = scram.as_mut().ok_or("SASL continued before it began")?;
                    state.update(&body)?;
                    frontend::sasl_response(state.message(), &mut self.outgoing)?;
                    self.send()?;
                }
                AUTH_SASL_FINAL => {
                    scram.as_mut().ok_or("SASL ended before it began")?.finish(&body)?;
                }
                other => return Err(format!("authentication method {other} is not known").into()),
            }
        }
    }

    fn until_ready(&mut self) -> Result<()> {
        while self.receive()?.0 != READY_FOR_QUERY {}
        Ok(())
    }

    /// The next message; what the server calls an error is one here.
    fn receive(&mut self) -> Result<(u8, Bytes)> {
        self.fill(5)?;
        let tag = self.incoming[0];
        let claimed = (&self.incoming[1..5]).get_u32();
        let length = usize::try_from(claimed)?;
        if !(4..=MESSAGE_LIMIT).contains(&length) {
            return Err(format!("a message of {length} bytes").into());
        }
        self.fill(1 + length)?;
        let body = self.incoming.split_to(1 + length).freeze().slice(5..);
        if tag == ERROR_RESPONSE {
            return Err(error_text(&body).into());
        }
        Ok((tag, body))
    }

    fn fill(&mut self, wanted: usize) -> Result<()> {
        let mut chunk = [0; 8192];
        while self.incoming.len() < wanted {
            match self.stream.read(&mut chunk)? {
                0 => return Err("the connection was closed".into()),
                read => self.incoming.extend_from_slice(&chunk[..read]),
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }
}

/// `CODE message` of an `ErrorResponse`.
fn error_text(body: &[u8]) -> String {
    let field = |wanted: u8| {
        body.split(|byte| *byte == 0)
            .find_map(|field| field.strip_prefix(&[wanted]))
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .unwrap_or_default()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}
