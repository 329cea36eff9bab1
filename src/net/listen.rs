//! The sockets that clients connect to.

use super::options::tune;
use super::stream::{Detached, Peer};
use crate::config::{Listen, Sockets};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that clients connect to. A unix socket's file goes with it.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix { socket: UnixListener, path: PathBuf },
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {error}{}", hint(.error))]
pub struct ListenError {
    place: String,
    error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has it: stop that, or change listen_port",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have it: see listen_addr",
        io::ErrorKind::NotFound => "; the directory does not exist: see unix_socket_dir",
        io::ErrorKind::PermissionDenied => "; the process may not write there",
        _ => "",
    }
}

/// Opens all sockets of the configuration.
///
/// # Errors
///
/// When one cannot be opened: half a proxy would surprise.
pub fn listen(options: &Listen, sockets: &Sockets) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    // First the unix socket: whoever waits for the port to answer finds both.
    if let Some(directory) = &options.unix_socket_dir {
        let path = directory.join(format!(".s.PGSQL.{}", options.port));
        let socket = unix(&path, options.unix_socket_mode)
            .map_err(|error| ListenError { place: path.display().to_string(), error })?;
        listeners.push(Listener::Unix { socket, path });
    }
    for address in &options.addresses {
        let socket = tcp(*address, options.backlog, sockets)
            .map_err(|error| ListenError { place: address.to_string(), error })?;
        listeners.push(Listener::Tcp(socket));
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr, backlog: u32, sockets: &Sockets) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // "*" opens 0.0.0.0 beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    // A client's socket has them from its listener: no system call for each.
    tune(&socket, sockets)?;
    Ok(socket.into())
}

fn unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // A file left behind by a process that was killed is in the way; one that answers is not ours.
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(socket)
}

/// A [`Listener`] that the current runtime watches.
#[derive(Debug)]
pub struct Watched<'a> {
    listener: &'a Listener,
    descriptor: AsyncFd<BorrowedFd<'a>>,
}

impl Listener {
    /// Has the current runtime watch for clients.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory left for that.
    #[expect(deprecated, reason = "its unsafe successor asks for what a borrowed descriptor keeps")]
    pub fn watch(&self) -> io::Result<Watched<'_>> {
        let descriptor = match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix { socket, .. } => socket.as_fd(),
        };
        Ok(Watched {
            listener: self,
            descriptor: AsyncFd::with_interest(descriptor, Interest::READABLE)?,
        })
    }

    /// Where it listens, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Tcp(socket) => {
                socket.local_addr().map_or_else(|error| error.to_string(), |at| at.to_string())
            }
            Self::Unix { path, .. } => path.display().to_string(),
        }
    }
}

impl Watched<'_> {
    /// Waits for a client. Its socket belongs to no worker so far.
    ///
    /// # Errors
    ///
    /// When there are no descriptors or no memory left, or the client is gone already.
    pub async fn accept(&self) -> io::Result<(Detached, Peer)> {
        // One system call for each client: the socket is known to no runtime until it has a worker.
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        let accept = |descriptor: &BorrowedFd<'_>| Ok(acceptfrom_with(descriptor, FLAGS)?);
        let (stream, address) = self.descriptor.async_io(Interest::READABLE, accept).await?;
        Ok(match self.listener {
            Listener::Tcp(_) => {
                let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                (Detached::Tcp(stream.into()), address.map_or(Peer::Unix, Peer::Tcp))
            }
            Listener::Unix { .. } => (Detached::Unix(stream.into()), Peer::Unix),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Gone already is as good.
            let _gone = std::fs::remove_file(path);
        }
    }
}
