//! Asking Postgres to cancel what a server runs.

use super::BackendKey;
use crate::config::{HostAddress, Sockets};
use crate::net::dial::dial;
use crate::net::worker::within;
use crate::wire::encode;
use std::io;
use std::time::Duration;

/// Sends a cancel request and waits until Postgres has taken it.
///
/// Postgres signals the backend before it closes the connection, so when this returns the cancel
/// can hit nothing that is sent later. `limit` is for reaching Postgres: a request that was sent
/// may still do its work, so its end is waited for, until the kernel gives the connection up.
///
/// # Errors
///
/// When Postgres cannot be reached.
pub async fn cancel(
    address: &HostAddress,
    sockets: &Sockets,
    key: &BackendKey,
    limit: Option<Duration>,
) -> io::Result<()> {
    let dialed = within(limit, dial(address, sockets)).await;
    let mut stream = dialed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let mut message = Vec::with_capacity(16);
    encode::cancel(&mut message, key.pid, &key.secret);
    stream.send(&message).await?;
    let mut rest = Vec::new();
    while stream.receive(&mut rest).await.unwrap_or(0) > 0 {
        rest.clear();
    }
    Ok(())
}
