//! A client's connection: as little of the protocol as a crowd of thousands needs.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::postgres::DATABASE;

/// Answers here are a row of nothing: this is a few of them.
const INPUT: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    /// An ERROR, and the session goes on.
    Refused,
}

pub(crate) struct Session {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Session {
    /// Logs in where no password is asked for.
    pub(crate) async fn open(port: u16, user: &str) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let mut session =
            Self { stream, input: BytesMut::with_capacity(INPUT), output: BytesMut::new() };
        let parameters = [("user", user), ("database", DATABASE)];
        frontend::startup_message(parameters, &mut session.output)?;
        match session.converse().await? {
            Reply::Done => Ok(session),
            Reply::Refused => Err(ErrorKind::ConnectionRefused.into()),
        }
    }

    /// As libpq does before it closes, whatever it waits for.
    pub(crate) fn say_goodbye(mut self) {
        self.output.clear();
        frontend::terminate(&mut self.output);
        // Whoever does not take it hears of the end.
        let _taken = self.stream.try_write(&self.output);
    }

    /// Runs `sql` with the simple protocol.
    pub(crate) async fn ask(&mut self, sql: &str) -> io::Result<Reply> {
        frontend::query(sql, &mut self.output)?;
        self.converse().await
    }

    /// Sends what is to be sent, and reads up to ReadyForQuery. Who closes instead is an error.
    async fn converse(&mut self) -> io::Result<Reply> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        let mut reply = Reply::Done;
        loop {
            match self.message()? {
                Some(b'Z') => return Ok(reply),
                Some(b'E') => reply = Reply::Refused,
                Some(_) => {}
                None => {
                    self.input.reserve(INPUT);
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    /// The tag of the next message, once it is there as a whole.
    fn message(&mut self) -> io::Result<Option<u8>> {
        let Some(&[tag, a, b, c, d]) = self.input.first_chunk() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if !(4..1 << 20).contains(&length) {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.input.len() <= length {
            return Ok(None);
        }
        self.input.advance(1 + length);
        Ok(Some(tag))
    }
}
