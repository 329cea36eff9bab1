//! The status page over HTTP, and the numbers that it asks for.

use super::Metrics;
use super::http::Long;
use crate::net::worker::read_clock;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn routes() -> Router<Arc<Metrics>> {
    Router::new()
        .route("/", get(page))
        .route("/api/status.json", get(status))
        .route("/api/history.json", get(history))
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
