//! Signals that mean something to the proxy.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals to stop.
pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them; says which.
    pub(super) async fn wait(&mut self) -> &'static str {
        loop {
            return tokio::select! {
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: there is no reload yet; restart to read the file anew");
                    continue;
                }
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.terminate.recv() => "SIGTERM",
            };
        }
    }
}
