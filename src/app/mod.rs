//! Builds everything and owns every task.
//!
//! The main thread listens, opens servers that nobody waits for, and keeps time for the schedulers;
//! each [`worker`] is a thread with a runtime of its own that serves its share of the clients.

mod accept;
mod claim;
pub mod demo;
pub mod descriptors;
mod handover;
pub mod log;
mod metronome;
mod others;
mod pid_file;
mod signals;
mod succession;
pub mod successor;
mod systemd;
mod takeover;
mod ticking;
mod worker;

use self::accept::{Accepting, Reception};
use self::claim::{begin, claim};
use self::handover::{Handed, Handover};
use self::log::Levels;
use self::pid_file::{PidFile, PidFileError};
use self::succession::Succession;
use self::successor::Successor;
use self::takeover::{Fate, Predecessor, TakeoverError};
use self::ticking::tick;
use self::worker::{Seat, Shared};
use crate::admin::Console;
use crate::base::finding::Finding;
use crate::base::ids::WorkerId;
use crate::client::login::{Frontend, Heritage};
use crate::config::overlay::Overlay;
use crate::config::{Config, Sockets, Source};
use crate::control::reload::{Orders, Reloader, inherit};
use crate::control::shutdown::{How, Patience, dismiss_operators, see_out};
use crate::control::takeover::Offer;
use crate::metrics::{self, HttpError, Metrics};
use crate::net::listen::{ListenError, Listener, SocketFiles, listen};
use crate::net::options::tune_anew;
use crate::net::passing::Passage;
use crate::net::worker::{Worker, read_clock};
use crate::pool::registry::Registry;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// How often the schedulers are told the time: no timeout of theirs is shorter than some of these.
const TICK: Duration = Duration::from_millis(100);

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
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    #[error("the configuration was changed meanwhile: {0}")]
    Changed(String),
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
}

/// Whether a thread's runtime has timers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Timers {
    Some,
    /// It is told the time, by [`metronome`].
    None,
}

/// `before_wait` is called before the thread waits for news.
fn runtime(
    timers: Timers,
    before_wait: impl Fn() + Send + Sync + 'static,
) -> Result<LocalRuntime, AppError> {
    let mut builder = Builder::new_current_thread();
    if timers == Timers::Some {
        builder.enable_time();
    }
    builder
        .enable_io()
        // Threads for what blocks, which is the arithmetic of logins: queries go first.
        .on_thread_start(give_way)
        .on_thread_park(before_wait)
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

/// What a proxy starts with.
pub struct Start {
    /// Where the configuration comes from, to be read anew.
    pub source: Source,
    pub config: Config,
    /// From a process that runs, if there is one.
    pub takes_over: bool,
    pub levels: Levels,
    /// What takes over from this process when it is asked to see to that.
    pub successor: Successor,
}

/// Runs the proxy until it is told to stop, or another process takes over.
///
/// # Errors
///
/// When it cannot start: it listens on all addresses, or not at all.
pub fn run(start: Start) -> Result<(), AppError> {
    descriptors::raise(&start.config);
    let runtime = runtime(Timers::Some, || {})?;
    runtime.block_on(Proxy::run(start))?;
    // Tasks that are still there end with the process: dropped one by one, each would try to save
    // its server for clients that cannot come any more.
    std::mem::forget(runtime);
    Ok(())
}

/// The main thread's part of a proxy that runs.
struct Proxy {
    main: Rc<Worker>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    accepting: watch::Sender<Accepting>,
    /// All that listen, to be passed on.
    sockets: Vec<OwnedFd>,
    /// Those of them that clients come to over TCP.
    tcp: Vec<OwnedFd>,
    /// The configuration is another one.
    changed: Arc<Notify>,
    levels: Levels,
    files: SocketFiles,
    is_activated: bool,
    http: Option<std::net::TcpListener>,
    serving_http: Option<JoinHandle<()>>,
    succession: Succession,
    pid_file: Option<PidFile>,
    seats: Arc<[Seat]>,
    /// What becomes of the process before.
    fate: Option<Fate>,
}

impl Proxy {
    async fn run(start: Start) -> Result<(), AppError> {
        let Start { source, config, takes_over, levels, successor } = start;
        let config = Arc::new(config);
        let before = if takes_over { Predecessor::ask(&config).await? } else { None };
        let (before, inherited) = before.unzip();
        let (mut source, config) =
            if before.is_some() { read_anew(source)? } else { (source, config) };
        let mut inherited = inherited.or_else(systemd::sockets).unwrap_or_default();
        let is_activated = inherited.is_activated;
        let offer = before.as_ref().map(|before| &before.offer);
        let set = offer.map_or(&[][..], |offer| &offer.set);
        let (config, overlay) = inherit(&mut source, config, set);
        levels.set(&config.process.log_level);
        let tasks = TaskTracker::new();
        let registry = Arc::new(Registry::new(read_clock(), &config, &tasks));
        let cells = Arc::clone(registry.worker(WorkerId::MAIN));
        let main = Rc::new(Worker::counted(WorkerId::MAIN, cells, Arc::default()));
        let frontend = Arc::new(match offer {
            Some(offer) => going_on(registry, offer),
            None => Frontend::new(registry, &Heritage::default()),
        });
        let http = metrics::listen(&config, &mut inherited)?;
        let listeners = listen(&config.listen, &client_sockets(&config), &mut inherited)?;
        let passed_on = listeners.iter().map(Listener::duplicate);
        let passed_on =
            passed_on.chain(http.as_ref().map(|http| http.as_fd().try_clone_to_owned()));
        let sockets = passed_on.collect::<Result<_, _>>().map_err(AppError::Runtime)?;
        let tcp = listeners.iter().filter(|it| it.is_tcp()).map(Listener::duplicate);
        let tcp = tcp.collect::<Result<_, _>>().map_err(AppError::Runtime)?;
        for listener in &listeners {
            tracing::info!("listening on {}", listener.place());
        }
        frontend.registry.prepare(main.now());
        let changed = Arc::new(Notify::new());
        let (shared, orders) = share(&main, &frontend, (source, overlay), &changed);
        signals::obey(&main, &shared, orders, successor).map_err(AppError::Runtime)?;
        let accepting = watch::Sender::new(Accepting::Paused);
        let (mut files, pid_file) = claim(&config, &listeners, takes_over, before.is_some())?;
        let seats = open(&main, &shared, &config, listeners, &accepting)?;
        if let Some(stops) = begin(before.as_ref(), &mut files, pid_file.as_ref()).await? {
            stops.follow(&main, &frontend.registry, &frontend.roster);
        }
        let mut proxy = Self {
            seats: Arc::clone(&seats),
            fate: before.as_ref().map(|before| before.fate.clone()),
            metrics: Metrics::new(&frontend.registry, &frontend.roster),
            // Behind everything that can fail: its file is that of the process before.
            succession: Succession::open(&config),
            pid_file,
            serving_http: None,
            main,
            shared,
            accepting,
            sockets,
            tcp,
            changed,
            levels,
            files,
            is_activated,
            http,
        };
        proxy.serve_http();
        if let Some(before) = before {
            before.take_over(Rc::clone(&proxy.main), Arc::clone(&proxy.shared), seats);
        }
        proxy.accepting.send_replace(Accepting::Yes);
        systemd::ready();
        proxy.work().await;
        Ok(())
    }

    fn serve_http(&mut self) {
        let socket = self.http.as_ref().and_then(|http| http.try_clone().ok());
        let Some(socket) = socket.and_then(|socket| TcpListener::from_std(socket).ok()) else {
            return;
        };
        if let Ok(address) = socket.local_addr() {
            tracing::info!("serving HTTP on {address}");
        }
        let metrics = Arc::clone(&self.metrics);
        self.serving_http = Some(tokio::task::spawn_local(async move {
            metrics.serve(socket).await;
        }));
    }

    /// Keeps time until the end, whoever brings it.
    async fn work(mut self) {
        // Without HTTP, nobody could look at its history.
        let metrics = self.http.is_some().then(|| Arc::clone(&self.metrics));
        let ticking = tick(Rc::clone(&self.main), Arc::clone(&self.shared), metrics);
        let ticking = tokio::task::spawn_local(ticking);
        let shared = Arc::clone(&self.shared);
        let fate = self.fate.take();
        loop {
            tokio::select! {
                () = goes_on(fate.as_ref()) => {
                    self.stand_down().await;
                    break;
                }
                how = shared.shutdown.asked(None) => {
                    self.stop(how).await;
                    break;
                }
                () = self.changed.notified() => self.follow(),
                passage = self.succession.next() => {
                    if self.hand_over(passage).await == Handed::Over {
                        break;
                    }
                }
            }
        }
        self.accepting.send_replace(Accepting::Over);
        settle(&self.main, &self.shared.frontend).await;
        ticking.abort();
        for host in self.shared.frontend.registry.hosts() {
            host.close_idle_servers(&self.main);
        }
        dismiss_operators(&self.shared.frontend.roster).await;
        tracing::info!("the process ends");
    }

    /// What a reload brings about beside the registry: clients that come from now on get sockets as they
    /// are to be.
    fn follow(&self) {
        let config = self.shared.frontend.registry.config();
        descriptors::raise(&config);
        self.levels.set(&config.process.log_level);
        for socket in &self.tcp {
            if let Err(error) = tune_anew(socket, &client_sockets(&config)) {
                tracing::warn!("cannot change the sockets of those who come: {error}");
            }
        }
    }

    /// Sees everybody out.
    async fn stop(&self, how: How) {
        // First whoever sends clients here is to stop.
        self.metrics.stop();
        systemd::stopping();
        self.shared.frontend.roster.end_before(how == How::Now);
        self.see_out(how).await;
    }

    /// The process before has given this one up, and serves. Everything is its, but for those who were taken:
    /// they are seen out when they hold no server, and come back to it.
    async fn stand_down(&mut self) {
        tracing::error!("the process before goes on: this one ends");
        self.accepting.send_replace(Accepting::Over);
        if let Some(serving) = self.serving_http.take() {
            serving.abort();
        }
        self.files.give_up();
        self.succession.give_up();
        self.see_out(How::WaitForServers).await;
    }

    async fn see_out(&self, how: How) {
        let frontend = &self.shared.frontend;
        tracing::info!(how = how.label(), clients = frontend.registry.clients(), "stopping");
        frontend.registry.hosts().for_each(|host| host.set_draining(&self.main, true));
        let patience = Patience::of(&frontend.registry.config().process);
        let clock = || self.main.wake();
        let cut = see_out(&frontend.roster, &self.shared.shutdown, how, patience, clock).await;
        if cut > 0 {
            tracing::warn!("{cut} clients were cut off");
        }
    }

    /// Hands everything over to another process, if that is able to take it.
    async fn hand_over(&mut self, passage: Passage) -> Handed {
        let (main, shared) = (Rc::clone(&self.main), Arc::clone(&self.shared));
        let accepting = self.accepting.clone();
        let handover = Handover {
            main: &main,
            shared: &shared,
            accepting: &accepting,
            is_activated: self.is_activated,
            seats: &self.seats,
        };
        let offered = tokio::select! {
            biased;
            // Seen to by whoever called this.
            _ = shared.shutdown.asked(None) => return Handed::Back,
            offered = handover.offer(&passage, &self.sockets) => offered,
        };
        let fate = match offered {
            Ok(Some(fate)) => fate,
            Ok(None) => {
                tracing::warn!("the other process did not take over");
                return Handed::Back;
            }
            Err(error) => {
                tracing::warn!("the other process did not take over: {error}");
                return Handed::Back;
            }
        };
        // The files are the other one's from here on: it has sockets of the same names.
        self.files.give_up();
        self.succession.give_up();
        if let Some(serving) = self.serving_http.take() {
            serving.abort();
        }
        // Boxed: most of a process' life nobody takes over.
        let handed = Box::pin(handover.hand_over(passage, fate)).await;
        if handed == Handed::Back {
            self.succession = Succession::open(&shared.frontend.registry.config());
            self.serve_http();
            if let Some(Err(error)) = self.pid_file.as_ref().map(PidFile::put_back) {
                tracing::warn!("{error}");
            }
            // The other one may have said that it is.
            systemd::ready();
        }
        handed
    }
}

/// Waits until the process before goes on after all: for ever, if there is none.
async fn goes_on(before: Option<&Fate>) {
    match before {
        Some(fate) => fate.until_it_goes_on().await,
        None => std::future::pending().await,
    }
}

/// The configuration as it is now: what the process before has taken up until it was asked, it took up for good.
fn read_anew(source: Source) -> Result<(Source, Arc<Config>), AppError> {
    let changed = |findings: Vec<Finding>| {
        let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
        AppError::Changed(texts.join("\n"))
    };
    let mut source = source.read_anew().map_err(changed)?;
    let loaded = source.resolve(&Overlay::default()).map_err(changed)?;
    Ok((source, Arc::new(loaded.config)))
}

/// What goes on where another process was.
fn going_on(registry: Arc<Registry>, offer: &Offer) -> Frontend {
    registry.learn_keys(&offer.client_keys);
    let Offer { salt_key, next_client, .. } = *offer;
    let frontend = Frontend::new(registry, &Heritage { salt_key, next_client });
    offer.stops.inherit(&frontend.registry, &frontend.roster);
    frontend
}

/// What all workers serve connections with; and how to change what holds, which is begun here.
fn share(
    main: &Rc<Worker>,
    frontend: &Arc<Frontend>,
    source: (Source, Overlay),
    changed: &Arc<Notify>,
) -> (Arc<Shared>, Orders) {
    let (registry, roster) = (&frontend.registry, &frontend.roster);
    let known = (Arc::clone(registry), Arc::clone(roster));
    let (reloader, orders) = Reloader::new(known.0, known.1, source, Arc::clone(changed));
    tokio::task::spawn_local(reloader.run(Rc::clone(main)));
    let (shutdown, known) = (Arc::default(), (Arc::clone(registry), Arc::clone(roster)));
    let stop = Arc::clone(&shutdown);
    let console = Console::new(main.now(), known.0, known.1, stop, orders.clone());
    let (frontend, console) = (Arc::clone(frontend), Arc::new(console));
    (Arc::new(Shared { frontend, console, shutdown }), orders)
}

/// Starts the workers, and accepting.
fn open(
    main: &Rc<Worker>,
    shared: &Arc<Shared>,
    config: &Config,
    listeners: Vec<Listener>,
    accepting: &watch::Sender<Accepting>,
) -> Result<Arc<[Seat]>, AppError> {
    let beats: Vec<Arc<Notify>> = (0..config.process.workers).map(|_| Arc::default()).collect();
    let seat = |(id, beat): (u16, &Arc<Notify>)| {
        let cells = shared.frontend.registry.worker(WorkerId(id));
        Seat::new(WorkerId(id), cells, Arc::clone(beat))
    };
    let (seats, places): (Vec<_>, Vec<_>) = (1..).zip(&beats).map(seat).unzip();
    let seats: Arc<[Seat]> = seats.into();
    let reception = Reception {
        seats: Arc::clone(&seats),
        registry: Arc::clone(&shared.frontend.registry),
        accepting: accepting.subscribe(),
    };
    // With one worker there is nobody to choose between: it accepts itself, and no client has
    // to change threads.
    let (own, theirs) =
        if places.len() == 1 { (Vec::new(), listeners) } else { (listeners, Vec::new()) };
    let mut theirs = Some(theirs);
    for place in places {
        let accepting = theirs.take().unwrap_or_default();
        place.start(Arc::clone(shared), reception.clone(), accepting)?;
    }
    for listener in own {
        tokio::task::spawn_local(reception.clone().accept(listener, Rc::clone(main)));
    }
    metronome::start(beats)?;
    Ok(seats)
}

fn client_sockets(config: &Config) -> Sockets {
    config.sockets.for_clients(config.timeouts.client_write_timeout)
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
