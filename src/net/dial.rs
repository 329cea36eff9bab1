//! Connecting to a Postgres host.

use super::options::tune;
use super::stream::Stream;
use crate::config::{HostAddress, Sockets};
use std::io;
use tokio::net::{TcpStream, UnixStream};

/// Connects; tries each address of a name in turn.
///
/// # Errors
///
/// When the name cannot be resolved or no address answers: the error of the last one.
pub async fn dial(address: &HostAddress, sockets: &Sockets) -> io::Result<Stream> {
    match address {
        HostAddress::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            tune(&stream, sockets)?;
            Ok(Stream::Tcp(stream))
        }
        HostAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}
