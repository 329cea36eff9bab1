//! A thread with a runtime of its own, which serves its share of the clients.

use super::accept::Reception;
use super::{AppError, Timers, runtime};
use crate::admin::Console;
use crate::base::ids::WorkerId;
use crate::client::login::{self, Frontend};
use crate::control::shutdown::Shutdown;
use crate::control::takeover::Moved;
use crate::net::courtesy::Courtesy;
use crate::net::listen::Listener;
use crate::net::stream::{Detached, Peer};
use crate::net::worker::Worker;
use crate::session::settings::Settings;
use crate::stats::worker::WorkerCells;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What all workers serve connections with.
pub(super) struct Shared {
    pub(super) frontend: Arc<Frontend>,
    pub(super) console: Arc<Console>,
    pub(super) shutdown: Arc<Shutdown>,
}

/// A worker, seen by those who accept clients.
pub(super) struct Seat {
    /// Bounded by the connections that may be open.
    arrivals: UnboundedSender<Arrival>,
    cells: Arc<WorkerCells>,
}

/// A connection on its way to its worker.
struct Arrival {
    socket: Detached,
    from: From,
    counted: Counted,
}

/// Where a connection comes from.
enum From {
    /// A listener.
    Outside(Peer),
    /// Another process, which has served it so far.
    Before { moved: Box<Moved>, sent: Vec<u8>, settings: Arc<Settings> },
}

/// One client counted as its worker's load.
struct Counted(Arc<WorkerCells>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.left();
    }
}

/// A worker that is not running yet.
pub(super) struct Workplace {
    id: WorkerId,
    cells: Arc<WorkerCells>,
    arrivals: UnboundedReceiver<Arrival>,
    beat: Arc<Notify>,
}

impl Seat {
    /// `beat` tells the worker the time.
    pub(super) fn new(
        id: WorkerId,
        cells: &Arc<WorkerCells>,
        beat: Arc<Notify>,
    ) -> (Self, Workplace) {
        let (sender, arrivals) = unbounded_channel();
        let cells = || Arc::clone(cells);
        let place = Workplace { id, cells: cells(), arrivals, beat };
        (Self { arrivals: sender, cells: cells() }, place)
    }

    /// How many clients it has.
    pub(super) fn load(&self) -> usize {
        self.cells.connections() as usize
    }

    pub(super) fn take(&self, socket: Detached, peer: Peer) {
        self.seat(socket, From::Outside(peer));
    }

    /// Takes a client that another process has served so far.
    pub(super) fn take_moved(
        &self,
        socket: Detached,
        moved: Moved,
        sent: Vec<u8>,
        settings: Arc<Settings>,
    ) {
        self.seat(socket, From::Before { moved: Box::new(moved), sent, settings });
    }

    fn seat(&self, socket: Detached, from: From) {
        self.cells.arrived();
        let counted = Counted(Arc::clone(&self.cells));
        // Fails only while the process ends; the client is let go then.
        drop(self.arrivals.send(Arrival { socket, from, counted }));
    }
}

impl Workplace {
    /// Starts the worker's thread. `accepting` are the sockets that it accepts from itself.
    pub(super) fn start(
        self,
        shared: Arc<Shared>,
        reception: Reception,
        accepting: Vec<Listener>,
    ) -> Result<(), AppError> {
        let id = self.id;
        let courtesy = Arc::<Courtesy>::default();
        let given = Arc::clone(&courtesy);
        let work = move || match runtime(Timers::None, move || given.give_way()) {
            Ok(runtime) => runtime.block_on(async {
                let worker = Rc::new(Worker::counted(self.id, self.cells, courtesy));
                for listener in accepting {
                    let accepting = reception.clone().accept(listener, Rc::clone(&worker));
                    tokio::task::spawn_local(accepting);
                }
                drop(reception);
                tokio::task::spawn_local(keep_time(Rc::clone(&worker), self.beat));
                work(&worker, &shared, self.arrivals).await;
            }),
            Err(error) => tracing::error!("worker {}: {error}", id.0),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{}", id.0));
        thread.spawn(work).map(drop).map_err(AppError::Thread)
    }
}

async fn work(worker: &Rc<Worker>, shared: &Arc<Shared>, mut arrivals: UnboundedReceiver<Arrival>) {
    while let Some(Arrival { socket, from, counted }) = arrivals.recv().await {
        let (worker, shared) = (Rc::clone(worker), Arc::clone(shared));
        tokio::task::spawn_local(async move {
            serve(&worker, &shared, socket, from).await;
            drop(counted);
        });
    }
}

async fn serve(worker: &Rc<Worker>, shared: &Arc<Shared>, socket: Detached, from: From) {
    let stream = match socket.attach() {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!("cannot serve a client: {error}"),
    };
    worker.wake();
    // Boxed: a login needs much more memory than the client that comes out of it.
    let arrival = match from {
        From::Outside(peer) => Box::pin(shared.frontend.admit(worker, stream, peer)).await,
        From::Before { moved, sent, settings } => {
            let resuming = shared.frontend.resume(worker, stream, (&moved, sent), settings);
            Box::pin(resuming).await
        }
    };
    match arrival {
        login::Arrival::Client(client) => client.serve().await,
        // Boxed as well: a client's task need not have room for it.
        login::Arrival::Console(login) => Box::pin(shared.console.serve(worker, *login)).await,
        login::Arrival::Replicating(replicating) => Box::pin(replicating.serve()).await,
        login::Arrival::Over => {}
    }
}

/// Fires the worker's deadlines.
async fn keep_time(worker: Rc<Worker>, beat: Arc<Notify>) {
    loop {
        beat.notified().await;
        worker.tick();
    }
}
