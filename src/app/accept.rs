//! Accepts clients and hands each to the worker with the fewest.

use super::worker::WorkerThread;
use crate::config::Sockets;
use crate::net::listen::Listener;
use std::rc::Rc;
use std::time::Duration;

/// How long to wait when there is no descriptor or memory left: until a client leaves.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn accept(listener: Listener, workers: Rc<[WorkerThread]>, sockets: Sockets) {
    loop {
        match listener.accept(&sockets).await {
            Ok((socket, _)) => {
                let quietest = workers.iter().min_by_key(|worker| worker.load());
                if let Some(worker) = quietest {
                    worker.take(socket);
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
