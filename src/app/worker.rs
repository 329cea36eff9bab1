//! A thread with a runtime of its own, which serves its share of the clients.

use super::{AppError, runtime};
use crate::admin::Console;
use crate::base::expiry;
use crate::base::ids::WorkerId;
use crate::client::login::{Arrival, Frontend};
use crate::net::stream::Detached;
use crate::net::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What all workers serve connections with.
pub(super) struct Shared {
    pub(super) frontend: Arc<Frontend>,
    pub(super) console: Arc<Console>,
}

/// A worker, seen from the main thread.
pub(super) struct WorkerThread {
    /// Bounded by the descriptors that the process may have.
    sockets: UnboundedSender<Handed>,
    clients: Arc<AtomicUsize>,
}

/// One client counted as its worker's load.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WorkerThread {
    pub(super) fn start(id: WorkerId, shared: Arc<Shared>) -> Result<Self, AppError> {
        let (sockets, arrivals) = unbounded_channel();
        let clients = Arc::new(AtomicUsize::new(0));
        std::thread::Builder::new()
            .name(format!("worker-{}", id.0))
            .spawn(move || match runtime() {
                Ok(runtime) => runtime.block_on(work(id, shared, arrivals)),
                Err(error) => tracing::error!("worker {}: {error}", id.0),
            })
            .map_err(AppError::Thread)?;
        Ok(Self { sockets, clients })
    }

    /// How many clients it has.
    pub(super) fn load(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, socket: Detached) {
        self.clients.fetch_add(1, Ordering::Relaxed);
        // Fails only while the process ends; the client is let go then.
        drop(self.sockets.send((socket, Counted(Arc::clone(&self.clients)))));
    }
}

async fn work(id: WorkerId, shared: Arc<Shared>, mut arrivals: UnboundedReceiver<Handed>) {
    let worker = Rc::new(Worker::new(id));
    tokio::task::spawn_local(keep_time(Rc::clone(&worker)));
    while let Some((socket, counted)) = arrivals.recv().await {
        let (worker, shared) = (Rc::clone(&worker), Arc::clone(&shared));
        tokio::task::spawn_local(async move {
            serve(&worker, &shared, socket).await;
            drop(counted);
        });
    }
}

async fn serve(worker: &Rc<Worker>, shared: &Arc<Shared>, socket: Detached) {
    let stream = match socket.attach() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!("cannot serve a client: {error}"),
    };
    worker.wake();
    // Boxed: a login needs much more memory than the client that comes out of it.
    match Box::pin(shared.frontend.admit(worker, stream)).await {
        Arrival::Client(client) => client.serve().await,
        // Boxed as well: a client's task need not have room for it.
        Arrival::Console(login) => Box::pin(shared.console.serve(worker, *login)).await,
        Arrival::Over => {}
    }
}

/// Fires the worker's deadlines.
async fn keep_time(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(expiry::TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        worker.tick();
    }
}

type Handed = (Detached, Counted);
