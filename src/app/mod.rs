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

use self::accept::Reception;
use self::worker::{Seat, Shared};
use crate::admin::Console;
use crate::base::ids::WorkerId;
use crate::client::login::Frontend;
use crate::config::Config;
use crate::control::shutdown::{Patience, see_out};
use crate::metrics::{self, HttpError, Metrics};
use crate::net::listen::{ListenError, listen};
use crate::net::worker::Worker;
use crate::pool::registry::{CONSOLES_MAX, Registry};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the schedulers are told the time: no timeout of theirs is shorter than some of these.
const TICK: Duration = Duration::from_millis(100);

/// How often, while somebody waits for whom time decides: a rate of two hundred a second is even.
const PACE: Duration = Duration::from_millis(5);

/// How long after that it goes on. Who is let go on comes back in no time, and would find the clock slow
/// again: what a rate brings meanwhile is lost beyond its burst.
const PACE_FOR: Duration = Duration::from_secs(1);

/// Every so many ticks, idle servers are listened to.
const TICKS_TO_HEAR: u32 = 5;

/// How long servers get to be cleaned when the last client has gone.
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
        // Threads for what blocks, which is the arithmetic of logins: queries go first.
        .on_thread_start(give_way)
        .build_local(LocalOptions::default())
        .map_err(AppError::Runtime)
}

/// This thread gets a tenth of what others do while the cores are busy.
fn give_way() {
    const NICER: i32 = 10;
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!("cannot lower a thread's priority: {error}");
    }
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
    let runtime = runtime()?;
    runtime.block_on(async {
        let main = Rc::new(Worker::new(WorkerId::MAIN));
        let registry = Arc::new(Registry::new(main.now(), Arc::clone(&config), &tasks));
        let frontend = Arc::new(Frontend::new(registry));
        let client_sockets = config.sockets.for_clients(config.timeouts.client_write_timeout);
        let listeners = listen(&config.listen, &client_sockets)?;
        let http = metrics::listen(&config).await?;
        for listener in &listeners {
            tracing::info!("listening on {}", listener.place());
        }
        let metrics = Metrics::new(Arc::clone(&frontend.registry));
        if let (Some(http), Some(address)) = (http, config.listen.http) {
            tracing::info!("serving HTTP on {address}");
            tokio::spawn(Arc::clone(&metrics).serve(http));
        }
        frontend.registry.prepare(main.now());
        let console = Console::new(Arc::clone(&frontend.registry), main.now());
        let shared = Arc::new(Shared {
            frontend: Arc::clone(&frontend),
            console: Arc::new(console),
            shutdown: Arc::default(),
        });
        signals::obey(Arc::clone(&shared.shutdown)).map_err(AppError::Runtime)?;
        let (seats, places): (Vec<_>, Vec<_>) =
            (1..=config.process.workers).map(|id| Seat::new(WorkerId(id))).unzip();
        let stop = CancellationToken::new();
        let most = connections_max(&config);
        let reception = Reception { seats: seats.into(), most, stop: stop.clone() };
        // With one worker there is nobody to choose between: it accepts itself, and no client has
        // to change threads.
        let (own, theirs) =
            if places.len() == 1 { (Vec::new(), listeners) } else { (listeners, Vec::new()) };
        let mut theirs = Some(theirs);
        for place in places {
            let accepting = theirs.take().unwrap_or_default();
            place.start(Arc::clone(&shared), reception.clone(), accepting)?;
        }
        for listener in own {
            tokio::task::spawn_local(reception.clone().accept(listener));
        }
        let ticking = tokio::task::spawn_local(tick(Rc::clone(&main), Arc::clone(&shared)));
        let how = shared.shutdown.asked(None).await;
        // First whoever sends clients here is to stop.
        metrics.stop();
        tracing::info!(?how, clients = frontend.registry.clients(), "stopping");
        frontend.registry.hosts().for_each(|host| host.drain(&main));
        let process = &frontend.registry.config().process;
        let patience =
            Patience { drain_time: process.drain_time, drain_timeout: process.drain_timeout };
        let clock = || main.wake();
        let cut = see_out(&frontend.roster, &shared.shutdown, how, patience, clock).await;
        tracing::info!("stopping: {cut} clients had to be cut off");
        stop.cancel();
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

/// Connections at most, on their way in or in: clients, cancel requests, and some room to tell those
/// above the limit that there is one.
fn connections_max(config: &Config) -> usize {
    const TO_BE_TOLD: usize = 100;
    let consoles = CONSOLES_MAX as usize;
    let (clients, cancels) = (config.clients.max_client_conn, config.clients.max_cancels);
    clients as usize + cancels as usize + consoles + TO_BE_TOLD
}

/// Keeps time for the schedulers.
async fn tick(main: Rc<Worker>, shared: Arc<Shared>) {
    let registry = &shared.frontend.registry;
    let (mut ticks, mut due) = (0_u32, main.wake());
    let mut paced_until = due;
    loop {
        tokio::time::sleep(if main.now() < paced_until { PACE } else { TICK }).await;
        main.wake();
        // Asked before anybody is let go on: afterwards nobody may be left who waits.
        let is_pacing = registry.door.is_pacing() || registry.hosts().any(|host| host.is_pacing());
        if is_pacing {
            paced_until = main.now() + PACE_FOR;
        }
        registry.door.tick(main.now());
        if main.now() < due {
            registry.hosts().for_each(|host| host.pace(&main));
            continue;
        }
        due = main.now() + TICK;
        ticks = ticks.wrapping_add(1);
        for host in registry.hosts() {
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
    loop {
        // At least once: those who accept close their sockets meanwhile.
        tokio::time::sleep(TICK / 10).await;
        if !is_busy() || main.wake() >= deadline {
            return;
        }
    }
}
