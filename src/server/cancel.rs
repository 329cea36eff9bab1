//! Asking Postgres to cancel what a server runs.

use super::BackendKey;
use crate::net::dial::dial;
use crate::net::worker::Worker;
use crate::wire::encode;
use std::io;
use std::time::Duration;

/// Why nobody knows that a query was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// It may still do its work: the server that it is for must go to nobody else.
    #[error("the cancel request was sent, but Postgres did not say that it has taken it")]
    Lost,
    /// Nothing was sent.
    #[error("cannot reach the server: {0}")]
    Unreachable(#[from] io::Error),
}

/// Sends a cancel request and waits until Postgres has taken it.
///
/// Postgres signals the backend before it closes the connection, so when this returns the cancel
/// can hit nothing that is sent later. `limit` bounds each of reaching Postgres and waiting.
///
/// # Errors
///
/// When Postgres cannot be reached, or does not take the request in time.
pub async fn cancel(
    worker: &Worker,
    key: &BackendKey,
    limit: Option<Duration>,
) -> Result<(), CancelError> {
    let dialed = worker.within(limit, dial(&key.place.address, &key.place.sockets)).await;
    let mut stream = dialed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let mut message = Vec::with_capacity(16);
    encode::cancel(&mut message, key.pid, &key.secret);
    stream.send(&message).await.map_err(|_| CancelError::Lost)?;
    let mut rest = Vec::new();
    match worker.within(limit, stream.receive(&mut rest)).await {
        Ok(Ok(0)) => Ok(()),
        // It has nothing to say; and a connection that broke may have been read before.
        Ok(_) | Err(_) => Err(CancelError::Lost),
    }
}
