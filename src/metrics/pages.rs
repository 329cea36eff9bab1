//! The status page over HTTP, and the numbers that it asks for.
//!
//! A browser lets any page read what its own name answers, and that name may come to mean 127.0.0.1. So on
//! loopback only those are answered who ask for an address, or for `localhost`: no name of a stranger's is
//! either. Elsewhere names are what people use, and who may ask is the network's business.

use super::Metrics;
use super::http::{Long, ReachedAt};
use crate::net::worker::read_clock;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn routes() -> Router<Arc<Metrics>> {
    Router::new()
        .route("/", get(page))
        .route("/api/status.json", get(status))
        .route("/api/history.json", get(history))
        .route_layer(from_fn(refuse_strange_names))
}

const STRANGE_NAME: &str = "on a loopback address this is told to those who ask for an IP address or \
                            localhost, and not for any other name\n";

async fn refuse_strange_names(
    Extension(ReachedAt(address)): Extension<ReachedAt>,
    request: Request,
    next: Next,
) -> Response {
    if address.is_loopback() && has_strange_name(request.uri(), request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, STRANGE_NAME).into_response();
    }
    next.run(request).await
}

/// Browsers always say what they ask for; who says nothing is none.
fn has_strange_name(uri: &Uri, headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(HOST).into_iter();
    let mut hosts = hosts.map(|host| Authority::try_from(host.as_bytes()).ok());
    let is_strange = |host: &Authority| !is_ours(host.host());
    uri.authority().is_some_and(is_strange)
        || hosts.any(|host| host.as_ref().is_none_or(is_strange))
}

fn is_ours(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

async fn page(State(metrics): State<Arc<Metrics>>) -> Response {
    let policy = HeaderValue::from_str(&metrics.page.content_security_policy);
    let policy = policy.expect("it is made of hashes and words");
    let headers = [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(metrics.page.html.clone())).into_response()
}

async fn status(State(metrics): State<Arc<Metrics>>) -> Response {
    let make = |metrics: &Metrics| {
        metrics.status.document(read_clock(), metrics.is_stopping.load(Ordering::Relaxed))
    };
    json(&metrics, make).await
}

async fn history(State(metrics): State<Arc<Metrics>>) -> Response {
    json(&metrics, |metrics| metrics.status.history()).await
}

/// Made when there is room for one more long answer, and not before.
async fn json(metrics: &Metrics, make: impl FnOnce(&Metrics) -> String) -> Response {
    let place = Arc::clone(&metrics.scrapes).acquire_owned().await.expect("it is never closed");
    let body = Body::new(Long::new(make(metrics), place));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::has_strange_name;
    use axum::http::header::HOST;
    use axum::http::{HeaderMap, HeaderValue, Uri};

    fn is_strange(uri: &'static str, hosts: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        has_strange_name(&Uri::from_static(uri), &headers)
    }

    #[test]
    fn an_address_is_no_strangers_name() {
        for host in ["127.0.0.1", "127.0.0.1:9432", "[::1]:9432", "10.0.0.7:1", "LocalHost:80"] {
            assert!(!is_strange("/", &[host]), "{host}");
        }
        assert!(!is_strange("/", &[]));
        for host in
            ["evil.example:9432", "localhost.evil.example", "127.0.0.1.evil", "", "a b", "1"]
        {
            assert!(is_strange("/", &[host]), "{host}");
        }
        assert!(is_strange("/", &["localhost", "evil.example"]));
        assert!(is_strange("http://evil.example/", &["localhost"]));
    }
}
