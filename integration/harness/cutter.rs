//! A bad network: an in-process TCP relay that delays, stops reading, and cuts a connection at a
//! chosen byte of either direction.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Address;

/// What happens to one direction of a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Way {
    /// Both directions end after this many bytes of this one.
    pub(crate) cut_after: Option<u64>,
    /// Nothing is read from here on, though the connection stays open.
    pub(crate) stall_after: Option<u64>,
    /// Each piece waits this long.
    pub(crate) delay: Duration,
}

/// What happens to a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plan {
    /// From the side that connected.
    pub(crate) forth: Way,
    /// To the side that connected.
    pub(crate) back: Way,
}

pub(crate) struct Cutter {
    pub(crate) address: Address,
    accepting: JoinHandle<()>,
    cut_all: Arc<Notify>,
    carried_forth: Arc<AtomicU64>,
}

impl Cutter {
    /// Relays to `to`; `plan` says what happens to each connection, in the order they come.
    pub(crate) async fn start(
        to: &Address,
        mut plan: impl FnMut() -> Plan + Send + 'static,
    ) -> Self {
        let Address::Tcp(to) = *to else { panic!("only TCP can be cut") };
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port can be bound");
        let address = Address::Tcp(listener.local_addr().expect("a listener has an address"));
        let cut_all = Arc::new(Notify::new());
        let signal = Arc::clone(&cut_all);
        let carried_forth = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&carried_forth);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (signal, count) = (Arc::clone(&signal), Arc::clone(&count));
                tokio::spawn(carry(near, to, plan(), signal, count));
            }
        });
        Self { address, accepting, cut_all, carried_forth }
    }

    /// How many bytes went on from the sides that connected, over all connections.
    pub(crate) fn carried_forth(&self) -> u64 {
        self.carried_forth.load(Ordering::Relaxed)
    }

    /// Cuts every connection that is open now.
    pub(crate) fn cut_all(&self) {
        self.cut_all.notify_waiters();
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

async fn carry(
    near: TcpStream,
    to: SocketAddr,
    plan: Plan,
    cut: Arc<Notify>,
    count: Arc<AtomicU64>,
) {
    let cut = cut.notified();
    let Ok(far) = TcpStream::connect(to).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let uncounted = AtomicU64::new(0);
    // Dropping all four halves closes both sockets, whichever direction ended.
    tokio::select! {
        () = cut => {}
        () = copy(near_read, far_write, plan.forth, &count) => {}
        () = copy(far_read, near_write, plan.back, &uncounted) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, total: &AtomicU64) {
    let mut buffer = vec![0; 16 * 1024];
    let mut carried = 0;
    loop {
        let room = [way.cut_after, way.stall_after].into_iter().flatten().min();
        let room = room.map_or(u64::MAX, |limit| limit.saturating_sub(carried));
        if room == 0 {
            if way.stall_after.is_some_and(|limit| limit <= carried) {
                std::future::pending::<()>().await;
            }
            return;
        }
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else { return };
        if !way.delay.is_zero() {
            sleep(way.delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        carried += count as u64;
        total.fetch_add(count as u64, Ordering::Relaxed);
    }
}
