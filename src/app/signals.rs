//! Signals that mean something to the proxy: PgBouncer's.

use crate::control::shutdown::{How, Shutdown};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Obeys signals from now on, in a task of its own.
///
/// # Errors
///
/// When the system does not let us have one.
pub(super) fn obey(shutdown: Arc<Shutdown>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::task::spawn_local(async move {
        loop {
            let (name, how) = tokio::select! {
                _ = hangup.recv() => {
                    tracing::warn!("SIGHUP: there is no reload yet; restart to read the file anew");
                    continue;
                }
                _ = interrupt.recv() => ("SIGINT", How::WaitForServers),
                _ = quit.recv() => ("SIGQUIT", How::Now),
                _ = terminate.recv() => ("SIGTERM", How::WaitForClients),
            };
            tracing::info!("{name} received");
            shutdown.ask(how);
        }
    });
    Ok(())
}
