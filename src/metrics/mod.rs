//! Health, readiness and metrics over HTTP, for machines.
//!
//! It runs on the main thread, so that no worker and no query waits for a scrape. [`names`] has every
//! metric as data; `docs/metrics.md` is made from it.

mod names;
mod text;

use crate::config::Config;
use crate::net::listen::Inherited;
use crate::net::worker::read_clock;
use crate::pool::registry::Registry;
use crate::pool::snapshot::Snapshot;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

/// What HTTP tells, and of what.
pub struct Metrics {
    registry: Arc<Registry>,
    is_stopping: AtomicBool,
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
    pub fn new(registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self { registry, is_stopping: AtomicBool::new(false) })
    }

    /// From now on it is not ready: whoever sends clients here should stop.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Answers until the task that this is in is aborted.
    ///
    /// # Errors
    ///
    /// None that the listener cannot get over.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self);
        axum::serve(listener, router).await
    }

    fn snapshot(&self) -> Snapshot {
        self.registry.snapshot(read_clock())
    }
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    if metrics.is_stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping\n".to_owned());
    }
    match not_ready(&metrics.snapshot()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// Why no client could be served. One host that works is enough: what is wrong with another is no
/// reason to send its clients elsewhere.
fn not_ready(snapshot: &Snapshot) -> Option<String> {
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

async fn metrics(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let classes = metrics.registry.classes(read_clock());
    let text = text::exposition(metrics.snapshot(), classes, metrics.registry.config());
    match text {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, text::CONTENT_TYPE)], text),
        Err(error) => {
            let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::INTERNAL_SERVER_ERROR, plain, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::not_ready;
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

    #[test]
    fn one_host_that_works_is_enough() {
        assert_eq!(not_ready(&snapshot(&[None])), None);
        assert_eq!(not_ready(&snapshot(&[Some("refused"), None])), None);
        let why = not_ready(&snapshot(&[Some("refused"), Some("no route")]));
        assert_eq!(why.unwrap(), "host main: refused\nhost main: no route\n");
        assert!(not_ready(&snapshot(&[])).is_some());
    }
}
