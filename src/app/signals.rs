//! Signals that mean something to the proxy: PgBouncer's, and one that has another process take over.

use super::successor::Successor;
use super::systemd;
use super::worker::Shared;
use crate::control::reload::{Change, Orders};
use crate::control::shutdown::How;
use crate::net::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The first signal without a meaning of its own, as glibc counts them; and systemd, when it is told
/// `RTMIN`.
const SIGRTMIN: i32 = 34;

/// Obeys signals from now on, in a task of its own.
///
/// # Errors
///
/// When the system does not let us have one.
pub(super) fn obey(
    main: &Rc<Worker>,
    shared: &Arc<Shared>,
    orders: Orders,
    successor: Successor,
) -> std::io::Result<()> {
    let (main, shared) = (Rc::clone(main), Arc::clone(shared));
    let registry = Arc::clone(&shared.frontend.registry);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut pause = signal(SignalKind::user_defined1())?;
    let mut resume = signal(SignalKind::user_defined2())?;
    let mut replace = signal(SignalKind::from_raw(SIGRTMIN))?;
    tokio::task::spawn_local(async move {
        loop {
            let (name, how) = tokio::select! {
                _ = hangup.recv() => {
                    // Nobody waits for the answer: it is in the log.
                    tokio::task::spawn_local({
                        let orders = orders.clone();
                        async move {
                            systemd::reloading();
                            drop(orders.give(Change::Reload("SIGHUP"), None).await);
                            systemd::ready();
                        }
                    });
                    continue;
                }
                _ = pause.recv() => {
                    main.wake();
                    let is_news = registry.pause(&main, None);
                    shared.frontend.roster.wake_leaving();
                    tracing::info!(is_news, "SIGUSR1 received: paused");
                    continue;
                }
                _ = resume.recv() => {
                    main.wake();
                    let is_unsuspended = shared.frontend.roster.unsuspend();
                    let is_news = registry.resume(&main, None) || is_unsuspended;
                    tracing::info!(is_news, "SIGUSR2 received: resumed");
                    continue;
                }
                _ = replace.recv() => {
                    tracing::info!("SIGRTMIN received");
                    successor.start();
                    continue;
                }
                _ = interrupt.recv() => ("SIGINT", How::WaitForServers),
                _ = quit.recv() => ("SIGQUIT", How::Now),
                _ = terminate.recv() => ("SIGTERM", How::WaitForClients),
            };
            tracing::info!("{name} received");
            shared.shutdown.ask(how);
        }
    });
    Ok(())
}
