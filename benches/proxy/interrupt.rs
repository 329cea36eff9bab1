//! Ctrl-C and SIGTERM: a flag that every wait looks at, so that guards run and nothing is left behind.
//!
//! Children live in process groups of their own, so a terminal's Ctrl-C reaches only this program,
//! which then unwinds through its guards: proxies, Postgres, temporary directory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

/// A signal belongs to the process, so this one flag is global.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a wait looks at what it waits for, and at the flag.
const TICK: Duration = Duration::from_millis(10);

/// Catches SIGINT and SIGTERM from now on. Impatience changes nothing: every wait is bounded, and
/// ending at once would leave a Postgres behind.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(())
}

/// An error once a signal came: `?` on it ends whatever was going on.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// A short pause between two looks at something that is awaited.
pub(crate) fn pause() -> Result<()> {
    thread::sleep(TICK);
    check()
}
