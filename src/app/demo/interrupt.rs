//! The signals that end the demo, as something to wait for.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

pub(super) struct Interrupt {
    came: Receiver<()>,
}

impl Interrupt {
    /// From here on SIGINT, SIGTERM and SIGHUP do not end the process: the caller does, tidily.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let (report, came) = mpsc::channel();
        let wait = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if report.send(()).is_err() {
                    return;
                }
            }
        };
        // Never joined: it ends with the process.
        thread::Builder::new().name("demo-signals".to_owned()).spawn(|| {
            let runtime = runtime;
            runtime.block_on(wait);
        })?;
        Ok(Self { came })
    }

    /// Whether a signal came within `time`; waits that long at most. Each signal is told once.
    pub(super) fn came_within(&self, time: Duration) -> bool {
        match self.came.recv_timeout(time) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => unreachable!("its thread never returns"),
        }
    }
}
