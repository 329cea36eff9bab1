//! HTTP for a few who look, on an address that anybody may find: it bounds what a peer may cost.
//!
//! What is served is the router's business. Here is what holds for all of it: few connections, short
//! heads, little time, and no body is read.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response};
use axum::middleware::map_response;
use axum::{Extension, Router};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

/// Connections at once. One more makes those leave that ask for nothing, and waits for a place.
const CONNECTIONS_MAX: usize = 64;

/// The head of a request: its bytes, its fields, and how long it may take from its first byte on.
const HEAD_BYTES_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;
const HEAD_MAX: Duration = Duration::from_secs(5);

/// From one answer's first byte to the next request's: whoever reads slowly gets no more, and whoever
/// scrapes twice a minute need not connect again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long to wait when there is no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A long answer is handed over in pieces of this size: what a peer does not read is not copied.
const PIECE: usize = 64 << 10;

/// Serves `router` until the task that this is in is aborted.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let router = router.layer(map_response(with_care::<axum::body::Body>));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Each connection hears it, if it was made before: also one that has not run so far.
    let (crowded, _) = watch::channel(());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("cannot accept an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            crowded.send_replace(());
        }
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        // Where it cannot be told, the peer has gone.
        let near = stream.local_addr().map_or(Ipv4Addr::LOCALHOST.into(), |near| near.ip());
        let router = router.clone().layer(Extension(ReachedAt(near.to_canonical())));
        let crowded = crowded.subscribe();
        tokio::spawn(async move {
            converse(stream, router, crowded).await;
            drop(place);
        });
    }
}

/// The address of ours that a request came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReachedAt(pub(super) IpAddr);

/// Answers one peer, until it leaves, takes too long, or others need its place.
async fn converse(stream: TcpStream, router: Router, mut crowded: watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    // Time is kept by `Timed`: here, a head's time would count the pause before it.
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
    let stream = TokioIo::new(Timed::new(stream));
    let mut connection = pin!(http.serve_connection(stream, TowerToHyperService::new(router)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // It fails when nobody accepts any more, here: whoever asks again is to ask the process that does.
        _ = crowded.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

/// A browser is to take an answer for what it is, and to keep nothing. What it may load is nothing,
/// unless a page says otherwise.
async fn with_care<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    response
}

/// A long text, and the right to hold it: of these there are few, so that peers that do not read cost
/// little memory.
pub(super) struct Long {
    rest: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Long {
    pub(super) fn new(text: String, place: OwnedSemaphorePermit) -> Self {
        Self { rest: text.into(), _place: place }
    }
}

impl Body for Long {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(next);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A connection that may not take too long over what it does.
struct Timed {
    stream: TcpStream,
    doing: Doing,
    deadline: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    /// Sending a request.
    Asking,
    /// Taking an answer, or resting after one. Or it has just come.
    Resting,
}

impl Timed {
    fn new(stream: TcpStream) -> Self {
        // Nobody connects to say nothing.
        let deadline = Box::pin(tokio::time::sleep(HEAD_MAX));
        Self { stream, doing: Doing::Resting, deadline }
    }

    fn begins(&mut self, doing: Doing, limit: Duration) {
        if self.doing != doing {
            self.doing = doing;
            let now = crate::net::worker::read_clock();
            self.deadline.as_mut().reset(Instant::from_std(now) + limit);
        }
    }

    /// There is nothing to do now: for how much longer?
    fn poll_late<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_to_peer(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.begins(Doing::Resting, PAUSE_MAX);
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Pending => self.poll_late(cx),
            written @ Poll::Ready(_) => written,
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if read.is_pending() {
            return self.poll_late(cx);
        }
        if into.filled().len() > before {
            self.begins(Doing::Asking, HEAD_MAX);
        }
        read
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_to_peer(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_to_peer(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Long, PIECE};
    use hyper::body::Body;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use tokio::sync::Semaphore;

    #[test]
    fn a_long_text_goes_in_pieces_and_its_place_with_it() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let text = "x".repeat(PIECE + 7);
        let mut long = Box::pin(Long::new(text, place));
        assert_eq!(long.size_hint().exact(), Some(PIECE as u64 + 7));
        let mut sizes = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        while !long.is_end_stream() {
            let Poll::Ready(Some(Ok(frame))) = pin!(long.as_mut()).poll_frame(cx) else {
                panic!("there is more")
            };
            sizes.push(frame.into_data().unwrap().len());
        }
        assert_eq!(sizes, [PIECE, 7]);
        assert_eq!(places.available_permits(), 0);
        drop(long);
        assert_eq!(places.available_permits(), 1);
    }
}
