//! A connected socket, TCP or unix.

use super::low_water::set_low_water;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::{has_budget_remaining, poll_proceed};

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What bytes come from and go to: a [`Stream`], or what a test makes up.
pub trait Link {
    /// Waits until there is something to read, or an end. Costs less than a read that is in vain.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there. `Ok(0)`: the peer has closed.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
}

/// The addresses of both ends of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    pub near: SocketAddr,
    pub far: SocketAddr,
}

/// The proxy's end of a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Near {
    /// Where it connected to.
    Tcp(SocketAddr),
    /// By a unix socket, and as which process. 0: the kernel does not say.
    Unix { pid: u32 },
}

/// A socket that belongs to no runtime: on its way from one worker to another.
#[derive(Debug)]
pub enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl Peer {
    /// `None`: over a unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Detached {
    /// A socket that another process had.
    ///
    /// # Errors
    ///
    /// When it cannot be made not to block.
    pub fn inherited(socket: OwnedFd, is_unix: bool) -> io::Result<Self> {
        Ok(if is_unix {
            let socket = std::os::unix::net::UnixStream::from(socket);
            socket.set_nonblocking(true)?;
            Self::Unix(socket)
        } else {
            let socket = std::net::TcpStream::from(socket);
            socket.set_nonblocking(true)?;
            Self::Tcp(socket)
        })
    }

    /// Registers the socket with the current runtime.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory left for the registration.
    pub fn attach(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => TcpStream::from_std(socket).map(Stream::Tcp),
            Self::Unix(socket) => UnixStream::from_std(socket).map(Stream::Unix),
        }
    }
}

/// Reads and writes as the runtime's own do, but for two things: a socket that is known to be ready is not
/// registered with anybody, and the kernel is called without libc, which guards against the thread being
/// cancelled.
impl Link for Stream {
    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_readable() {
            return Poll::Ready(Ok(()));
        }
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        // Peers that are always ready must leave others a turn. What is written was read before.
        let turn = ready!(poll_proceed(cx));
        loop {
            match self.if_ready(Interest::READABLE, into.len(), || self.read_now(into)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_readable(cx))?;
                }
                read => {
                    turn.made_progress();
                    return Poll::Ready(read);
                }
            }
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.if_ready(Interest::WRITABLE, bytes.len(), || self.write_now(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            ready!(match self {
                Self::Tcp(socket) => socket.poll_write_ready(cx),
                Self::Unix(socket) => socket.poll_write_ready(cx),
            })?;
        }
    }
}

/// A socket that one task alone reads, from first to last: once it waits for something to read it goes on
/// waiting, and need not be registered again until there is.
#[derive(Debug)]
pub struct Sole {
    stream: Stream,
    is_awaited: bool,
}

impl From<Stream> for Sole {
    fn from(stream: Stream) -> Self {
        Self { stream, is_awaited: false }
    }
}

impl std::ops::Deref for Sole {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl Link for Sole {
    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_awaited && !self.stream.is_readable() {
            return Poll::Pending;
        }
        let poll = self.stream.poll_readable(cx);
        // A task that has had its turn is not registered: it comes back for that.
        self.is_awaited = poll.is_pending() && has_budget_remaining();
        poll
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.is_awaited = false;
        self.stream.poll_read(cx, into)
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, bytes)
    }
}

impl Stream {
    /// Takes the socket away from the runtime it is registered with.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to deregister it.
    pub fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(Detached::Tcp),
            Self::Unix(socket) => socket.into_std().map(Detached::Unix),
        }
    }

    /// The same socket once more.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }

    /// Whether there is something to read, as far as the runtime has noticed: no system call.
    #[inline]
    pub fn is_readable(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, || Ok(())),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, || Ok(())),
        }
        .is_ok()
    }

    /// Has nobody woken who waits to read before so many bytes are there, or the end. 1: as ever.
    ///
    /// # Errors
    ///
    /// When the kernel has no such thing for this socket: unix sockets take the mark and wake all the same.
    pub fn set_low_water(&self, bytes: usize) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => set_low_water(socket, bytes),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the peer has closed, or is gone: also where bytes that nobody reads are before the end.
    pub fn is_hung_up(&self) -> bool {
        let socket = match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        };
        let mut looked_at = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
        let found = poll(&mut looked_at, Some(&Timespec::default()));
        // Errors and the end of both directions are told unasked.
        found.is_ok_and(|count| count > 0)
    }

    /// Does what moves up to `most` bytes, if the runtime has noticed that it can be done. If fewer are
    /// moved there is nothing left to do, until the runtime notices something new.
    #[inline]
    fn if_ready(
        &self,
        interest: Interest,
        most: usize,
        move_some: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut fewer = 0;
        let look = || match move_some()? {
            count @ 1.. if count < most => {
                fewer = count;
                Err(io::ErrorKind::WouldBlock.into())
            }
            count => Ok(count),
        };
        let moved = match self {
            Self::Tcp(socket) => socket.try_io(interest, look),
            Self::Unix(socket) => socket.try_io(interest, look),
        };
        if fewer > 0 { Ok(fewer) } else { moved }
    }

    /// Whether there is something to read, or an end: asks the kernel.
    pub fn has_input(&self) -> bool {
        let peeked = self.receive_now(&mut [0], RecvFlags::PEEK);
        !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what is there, whether the runtime has noticed or not. `Ok(0)`: the peer has closed.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there.
    #[inline]
    pub fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive_now(into, RecvFlags::empty())
    }

    #[inline]
    fn receive_now(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let flags = flags | RecvFlags::DONTWAIT;
        let (received, _) = match self {
            Self::Tcp(socket) => rustix::net::recv(socket, into, flags),
            Self::Unix(socket) => rustix::net::recv(socket, into, flags),
        }?;
        Ok(received)
    }

    #[inline]
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(match self {
            Self::Tcp(socket) => rustix::net::send(socket, bytes, flags),
            Self::Unix(socket) => rustix::net::send(socket, bytes, flags),
        }?)
    }

    /// The user id of the process at the other end, which only a unix socket tells.
    pub fn peer_uid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => socket.peer_cred().ok().map(|peer| peer.uid()),
        }
    }

    /// `None`: a unix socket, or the peer has gone.
    pub fn ends(&self) -> Option<Ends> {
        match self {
            Self::Tcp(socket) => {
                Some(Ends { near: socket.local_addr().ok()?, far: socket.peer_addr().ok()? })
            }
            Self::Unix(_) => None,
        }
    }

    /// This end of it.
    pub fn near(&self) -> Near {
        match self {
            Self::Tcp(socket) => {
                let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                Near::Tcp(socket.local_addr().unwrap_or(unknown))
            }
            Self::Unix(socket) => {
                let pid = socket.peer_cred().ok().and_then(|peer| peer.pid());
                Near::Unix { pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default() }
            }
        }
    }

    /// Sends everything, waiting as long as it takes. For logins and refusals: not the hot path.
    ///
    /// # Errors
    ///
    /// When the peer is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let n = std::future::poll_fn(|cx| self.poll_write(cx, &bytes[sent..])).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent += n;
        }
        Ok(())
    }

    /// Appends what is there to `buffer`, waiting until there is something. `Ok(0)`: closed.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        // Enough for a whole login in one read; grows with what really arrives.
        const CHUNK: usize = 4096;
        let start = buffer.len();
        buffer.resize(start + CHUNK, 0);
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut buffer[start..])).await;
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, Sole, Stream};
    use crate::net::worker::within;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;
    use std::time::Duration;
    use tokio::net::UnixStream;
    use tokio::task::coop::poll_proceed;

    /// Registered once, or not at all because its turn was over: it is woken all the same.
    #[tokio::test]
    async fn who_waits_for_a_peer_is_woken_by_it() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut sole = Sole::from(Stream::Unix(here));
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let reading = tokio::spawn(std::future::poll_fn(move |cx| {
            let is_first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            while is_first && poll_proceed(cx).map(|turn| turn.made_progress()).is_ready() {}
            let (once, again) = (sole.poll_readable(cx), sole.poll_readable(cx));
            assert_eq!(once.is_ready(), again.is_ready());
            match once {
                Poll::Ready(_) => sole.poll_read(cx, &mut [0; 8]),
                Poll::Pending => Poll::Pending,
            }
        }));
        while looks.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        there.try_write(b"abc").unwrap();
        let read = within(Some(Duration::from_mins(1)), reading).await;
        assert_eq!(read.expect("it is woken").unwrap().unwrap(), 3);
    }
}
