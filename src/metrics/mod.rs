//! Health, readiness and metrics over HTTP, for machines; and the status page, for people.
//!
//! It runs on the main thread, so that no worker and no query waits for a scrape. [`names`] has every
//! metric as data; `docs/metrics.md` is made from it.

mod accept;
mod http;
mod names;
mod pages;
mod text;

use self::http::Long;
use self::names::pool::Pool;
use self::names::process::Process;
use self::names::system::System;
use self::text::{SERIES_MAX, Scrape};
use crate::config::Config;
use crate::control::roster::Roster;
use crate::net::listen::Inherited;
use crate::net::worker::read_clock;
use crate::pool::halts::HaltsView;
use crate::pool::registry::Registry;
use crate::pool::snapshot::Snapshot;
use crate::status::Status;
use crate::status::page::Page;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const NOT_FOUND: &str = "there are /, /api/status.json, /api/history.json, /metrics, /healthz and \
                         /readyz\n";

/// Long answers at once; each holds some megabytes at most.
const SCRAPES_MAX: usize = 4;

/// What HTTP tells, and of what.
pub struct Metrics {
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    status: Status,
    page: Page,
    is_stopping: AtomicBool,
    scrapes: Arc<Semaphore>,
    /// How long the last one was: the next will be about as long.
    last_size: AtomicUsize,
}

/// Why there is no HTTP.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve HTTP on {address}: {error}; see http_addr, where \"\" turns it off")]
pub struct HttpError {
    address: SocketAddr,
    error: io::Error,
}

/// Opens the socket that `http_addr` names. `None`: it is turned off.
///
/// # Errors
///
/// When it cannot be opened: who watches a proxy must not find out later that nobody did.
pub fn listen(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Option<std::net::TcpListener>, HttpError> {
    let Some(address) = config.listen.http else { return Ok(None) };
    let socket = match inherited.take_tcp(address) {
        Some(socket) => Ok(socket),
        None => std::net::TcpListener::bind(address),
    };
    let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    socket.map(Some).map_err(|error| HttpError { address, error })
}

impl Metrics {
    pub fn new(registry: &Arc<Registry>, roster: &Arc<Roster>) -> Arc<Self> {
        Arc::new(Self {
            registry: Arc::clone(registry),
            roster: Arc::clone(roster),
            status: Status::new(Arc::clone(registry), Arc::clone(roster)),
            page: Page::new(),
            is_stopping: AtomicBool::new(false),
            scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)),
            last_size: AtomicUsize::new(0),
        })
    }

    /// From now on it is not ready: whoever sends clients here should stop.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Keeps what only history can tell. To be called often.
    pub fn tick(&self, now: Instant) {
        self.status.tick(now);
    }

    /// Answers until the task that this is in is aborted.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        http::serve(listener, routes().with_state(self)).await;
    }

    fn snapshot(&self) -> Snapshot {
        self.registry.snapshot(read_clock())
    }

    /// Looks at everything. A host's lock is taken for one pool or class at a time.
    fn look(&self) -> Scrape {
        let registry = &self.registry;
        let process = registry.process(self.roster.is_suspended());
        let snapshot = self.snapshot();
        let calendar = |at| registry.calendar(at);
        Scrape {
            system: System::look(process.began),
            process: Process::new(&registry.config(), &snapshot, &process),
            config: process.config,
            workers: process.workers,
            limits: process.limits,
            halts: process.halts.databases,
            hosts: snapshot.hosts,
            pools: Pool::rows(snapshot.pools, SERIES_MAX, &calendar),
            classes: registry.classes_up_to(read_clock(), SERIES_MAX),
        }
    }
}

/// Everything that is served. Nothing here may change anything.
fn routes() -> Router<Arc<Metrics>> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(pages::routes())
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    if metrics.is_stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping\n".to_owned());
    }
    let halts = metrics.registry.halts(metrics.roster.is_suspended());
    match not_ready(&metrics.snapshot(), &halts) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// Why no client could be served. One host that works is enough: what is wrong with another is no
/// reason to send its clients elsewhere.
fn not_ready(snapshot: &Snapshot, halts: &HaltsView) -> Option<String> {
    if let Some(why) = halts.all() {
        return Some(format!("{why}\n"));
    }
    if snapshot.hosts.is_empty() {
        return Some("no host is configured\n".to_owned());
    }
    let failures: Option<Vec<_>> = snapshot
        .hosts
        .iter()
        .map(|host| Some(format!("host {}: {}\n", host.name, host.failure.as_ref()?)))
        .collect();
    failures.map(|lines| lines.concat())
}

async fn metrics(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let place = Arc::clone(&metrics.scrapes).acquire_owned().await;
    let place = place.expect("it is never closed");
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = accept::wanted(&accept.collect::<Vec<_>>().join(","));
    let size = metrics.last_size.load(Ordering::Relaxed);
    let text = text::exposition(metrics.look(), format, size + size / 16);
    metrics.last_size.store(text.len(), Ordering::Relaxed);
    ([(CONTENT_TYPE, format.content_type())], Body::new(Long::new(text, place))).into_response()
}

#[cfg(test)]
mod tests {
    use crate::pool::halts::{DatabaseHalts, HaltsView};
    use crate::pool::snapshot::{HostView, Snapshot};
    use crate::scheduler::Counts;
    use crate::scheduler::logins::LoginsView;

    fn snapshot(failures: &[Option<&str>]) -> Snapshot {
        let host = |failure: Option<&str>| HostView {
            name: "main".to_owned(),
            max_connections: None,
            counts: Counts::default(),
            failure: failure.map(str::to_owned),
        };
        let hosts = failures.iter().copied().map(host).collect();
        let logins = LoginsView::default();
        Snapshot { pools: vec![], hosts, clients: 0, consoles: 0, logins }
    }

    fn not_ready(snapshot: &Snapshot) -> Option<String> {
        super::not_ready(snapshot, &HaltsView::default())
    }

    #[test]
    fn who_is_stopped_by_an_operator_serves_nobody() {
        let works = snapshot(&[None]);
        let suspended = HaltsView { is_suspended: true, ..HaltsView::default() };
        assert!(super::not_ready(&works, &suspended).unwrap().contains("RESUME"));
        let database = |is_disabled| DatabaseHalts { is_disabled, ..DatabaseHalts::default() };
        let of = |databases| HaltsView { is_suspended: false, databases };
        assert_eq!(super::not_ready(&works, &of(vec![database(true), database(false)])), None);
        assert!(super::not_ready(&works, &of(vec![database(true)])).is_some());
    }

    #[test]
    fn one_host_that_works_is_enough() {
        assert_eq!(not_ready(&snapshot(&[None])), None);
        assert_eq!(not_ready(&snapshot(&[Some("refused"), None])), None);
        let why = not_ready(&snapshot(&[Some("refused"), Some("no route")]));
        assert_eq!(why.unwrap(), "host main: refused\nhost main: no route\n");
        assert!(not_ready(&snapshot(&[])).is_some());
    }
}
