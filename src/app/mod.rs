//! Builds everything and owns every task.
//!
//! The main thread listens, opens servers that nobody waits for, and keeps time for the schedulers;
//! each [`worker`] is a thread with a runtime of its own that serves its share of the clients.

mod accept;
pub mod demo;
pub mod descriptors;
pub mod log;
mod signals;
mod worker;

use self::worker::{Shared, WorkerThread};
use crate::admin::Console;
use crate::base::ids::WorkerId;
use crate::client::login::Frontend;
use crate::config::Config;
use crate::metrics::{self, HttpError, Metrics};
use crate::net::listen::{ListenError, listen};
use crate::net::worker::Worker;
use crate::pool::registry::Registry;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio_util::task::TaskTracker;

/// How often the schedulers are told the time: no timeout of theirs is shorter than some of these.
const TICK: Duration = Duration::from_millis(100);

/// Every so many ticks, idle servers are listened to.
const TICKS_TO_HEAR: u32 = 5;

/// How long busy servers get to finish when the process stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why the proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}

fn runtime() -> Result<LocalRuntime, AppError> {
    // Events taken from the kernel at once: fewer, and a busy worker asks more often than it must.
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(AppError::Runtime)
}

/// Runs the proxy until it is told to stop.
///
/// # Errors
///
/// When it cannot start: it listens on all addresses, or not at all.
pub fn run(config: Config) -> Result<(), AppError> {
    let config = Arc::new(config);
    descriptors::raise(&config);
    let tasks = TaskTracker::new();
    let registry = Arc::new(Registry::new(Arc::clone(&config), &tasks));
    let frontend = Arc::new(Frontend::new(registry));
    let runtime = runtime()?;
    runtime.block_on(async {
        let main = Rc::new(Worker::new(WorkerId::MAIN));
        let mut signals = signals::Signals::new().map_err(AppError::Runtime)?;
        let listeners = listen(&config.listen)?;
        let http = metrics::listen(&config).await?;
        let console = Console::new(Arc::clone(&frontend.registry), main.now());
        let shared = Shared { frontend: Arc::clone(&frontend), console: Arc::new(console) };
        let shared = Arc::new(shared);
        let workers = (1..=config.process.workers)
            .map(|id| WorkerThread::start(WorkerId(id), Arc::clone(&shared)))
            .collect::<Result<Vec<_>, _>>()?;
        let workers: Rc<[WorkerThread]> = workers.into();
        for listener in &listeners {
            tracing::info!("listening on {}", listener.place());
        }
        let metrics = Metrics::new(Arc::clone(&frontend.registry));
        if let (Some(http), Some(address)) = (http, config.listen.http) {
            tracing::info!("serving HTTP on {address}");
            tokio::spawn(Arc::clone(&metrics).serve(http));
        }
        let client_sockets = config.sockets.for_clients(config.timeouts.client_write_timeout);
        let ticking = tokio::task::spawn_local(tick(Rc::clone(&main), Arc::clone(&shared)));
        let accepting = listeners.into_iter().map(|listener| {
            let (workers, sockets) = (Rc::clone(&workers), client_sockets);
            tokio::task::spawn_local(accept::accept(listener, workers, sockets))
        });
        let accepting: Vec<_> = accepting.collect();
        let signal = signals.wait().await;
        tracing::info!("{signal}: stopping");
        metrics.stop();
        for accepting in accepting {
            accepting.abort();
            // Its listener is closed when it has ended, and the unix socket's file gone.
            drop(accepting.await);
        }
        settle(&main, &frontend).await;
        ticking.abort();
        for host in frontend.registry.hosts() {
            host.close_idle_servers(&main);
        }
        Ok::<_, AppError>(())
    })?;
    // Tasks that are still there end with the process: dropped one by one, each would try to save
    // its server for clients that cannot come any more.
    std::mem::forget(runtime);
    Ok(())
}

/// Keeps time for the schedulers.
async fn tick(main: Rc<Worker>, shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    loop {
        interval.tick().await;
        ticks = ticks.wrapping_add(1);
        for host in shared.frontend.registry.hosts() {
            host.tick(&main);
            if ticks.is_multiple_of(TICKS_TO_HEAR) {
                host.hear_idle_servers(&main);
            }
        }
        shared.console.tick(main.now());
    }
}

/// Waits until no server is in use, but not for ever.
async fn settle(main: &Worker, frontend: &Frontend) {
    let deadline: Instant = main.wake() + STOP_MAX;
    let is_busy = || {
        frontend.registry.hosts().any(|host| {
            let counts = host.scheduler.with(|scheduler| scheduler.host_counts());
            counts.leased + counts.tidying > 0
        })
    };
    while is_busy() && main.wake() < deadline {
        tokio::time::sleep(TICK / 10).await;
    }
}
