//! Accepts clients and hands each to the worker with the fewest.

use super::worker::Seat;
use crate::config::Config;
use crate::net::listen::{Listener, Watched};
use crate::net::worker::Worker;
use crate::pool::registry::{CONSOLES_MAX, Registry};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait when there is no descriptor or memory left: until a client leaves.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Accepting {
    Yes,
    /// Not now: another process does.
    Paused,
    /// No more.
    Over,
}

/// What all that accept share.
#[derive(Clone)]
pub(super) struct Reception {
    pub(super) seats: Arc<[Seat]>,
    pub(super) registry: Arc<Registry>,
    pub(super) accepting: watch::Receiver<Accepting>,
}

impl Reception {
    /// Accepts until it is told to stop.
    pub(super) async fn accept(self, listener: Listener, worker: Rc<Worker>) {
        let mut accepting = self.accepting.clone();
        loop {
            let now = *accepting.borrow_and_update();
            match now {
                Accepting::Over => return,
                Accepting::Paused => {
                    if accepting.changed().await.is_err() {
                        return;
                    }
                }
                Accepting::Yes => match listener.watch() {
                    // First the change: a storm of clients must not keep the process from ending.
                    Ok(watched) => tokio::select! {
                        biased;
                        _ = accepting.changed() => {}
                        () = self.accept_all(&watched, &listener, &worker) => {}
                    },
                    Err(error) => {
                        tracing::error!("cannot listen on {}: {error}", listener.place());
                        return;
                    }
                },
            }
        }
    }

    async fn accept_all(&self, watched: &Watched<'_>, listener: &Listener, worker: &Worker) {
        loop {
            match watched.accept().await {
                Ok((socket, peer)) => {
                    let all: usize = self.seats.iter().map(Seat::load).sum();
                    let most = connections_max(&self.registry.config());
                    let quietest = self.seats.iter().min_by_key(|seat| seat.load());
                    match quietest {
                        Some(seat) if all < most => seat.take(socket, peer),
                        _ => tracing::warn!(address = %peer, "{all} connections are open: refused"),
                    }
                }
                // The client itself went away meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("cannot accept a client on {}: {error}", listener.place());
                    worker.rest(PAUSE).await;
                }
            }
        }
    }
}

/// Connections at most, on their way in or in: clients, cancel requests, and some room to tell those
/// above the limit that there is one.
fn connections_max(config: &Config) -> usize {
    const TO_BE_TOLD: usize = 100;
    let consoles = CONSOLES_MAX as usize;
    let (clients, cancels) = (config.clients.max_client_conn, config.clients.max_cancels);
    clients as usize + cancels as usize + consoles + TO_BE_TOLD
}
