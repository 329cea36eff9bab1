//! Accepts clients and hands each to the worker with the fewest.

use super::worker::WorkerThread;
use crate::net::listen::Listener;
use std::rc::Rc;
use std::time::Duration;

/// How long to wait when there is no descriptor or memory left: until a client leaves.
const PAUSE: Duration = Duration::from_millis(100);

/// `most`: connections at most, whether they have logged in or not. More are closed unheard: there
/// is no room to hear them.
pub(super) async fn accept(listener: Listener, workers: Rc<[WorkerThread]>, most: usize) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let all: usize = workers.iter().map(WorkerThread::load).sum();
                let quietest = workers.iter().min_by_key(|worker| worker.load());
                match quietest {
                    Some(worker) if all < most => worker.take(socket, peer),
                    _ => tracing::warn!(address = %peer, "{all} connections are open: one refused"),
                }
            }
            // The client itself went away meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("cannot accept a client on {}: {error}", listener.place());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
