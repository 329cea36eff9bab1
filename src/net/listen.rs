//! The sockets that clients connect to.

use super::options::tune;
use super::stream::{Detached, Peer};
use crate::config::{Listen, Sockets};
use rustix::net::{SocketAddrUnix, SocketFlags, acceptfrom_with};
use socket2::{Domain, Socket, Type};
use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that clients connect to.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// Its file is removed at the end.
        is_ours: bool,
    },
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

/// Sockets that listen already, of a process before.
#[derive(Debug, Default)]
pub struct Inherited {
    /// A service manager has decided where to listen: on these, and nowhere else.
    pub is_activated: bool,
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
}

impl Inherited {
    /// What cannot be used is closed.
    pub fn new(sockets: Vec<OwnedFd>) -> Self {
        let mut inherited = Self::default();
        for socket in sockets {
            let Ok(address) = rustix::net::getsockname(&socket) else { continue };
            if let Ok(address) = SocketAddr::try_from(address.clone()) {
                inherited.tcp.push((address, socket.into()));
            } else if let Ok(address) = SocketAddrUnix::try_from(address)
                && let Some(path) = address.path()
            {
                let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
                inherited.unix.push((path, socket.into()));
            }
        }
        inherited
    }

    /// Sockets of a service manager.
    pub fn activated(sockets: Vec<OwnedFd>) -> Self {
        let mut inherited = Self::new(sockets);
        inherited.is_activated = true;
        inherited
    }

    /// The one that listens here.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.tcp.iter().position(|(here, _)| *here == address)?;
        Some(self.tcp.swap_remove(place).1)
    }

    fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let place = self.unix.iter().position(|(here, _)| here == path)?;
        Some(self.unix.swap_remove(place).1)
    }
}

/// The files of unix sockets, removed when this is dropped.
#[derive(Debug, Default)]
pub struct SocketFiles(Vec<PathBuf>);

impl SocketFiles {
    pub fn of(listeners: &[Listener]) -> Self {
        let paths = listeners.iter().filter_map(|listener| match listener {
            Listener::Unix { path, is_ours: true, .. } => Some(path.clone()),
            Listener::Tcp(_) | Listener::Unix { .. } => None,
        });
        Self(paths.collect())
    }

    /// They belong to another process.
    pub fn give_up(&mut self) {
        self.0.clear();
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            // Gone already is as good.
            let _gone = std::fs::remove_file(path);
        }
    }
}

/// Opens all sockets of the configuration, but for those that are inherited.
///
/// # Errors
///
/// When one cannot be opened: half a proxy would surprise.
pub fn listen(
    options: &Listen,
    sockets: &Sockets,
    inherited: &mut Inherited,
) -> Result<Vec<Listener>, ListenError> {
    if inherited.is_activated {
        return activated(std::mem::take(inherited), sockets);
    }
    let mut listeners = Vec::new();
    // First the unix socket: whoever waits for the port to answer finds both.
    if let Some(directory) = &options.unix_socket_dir {
        let path = directory.join(format!(".s.PGSQL.{}", options.port));
        let socket = inherited
            .take_unix(&path)
            .map_or_else(|| unix(&path), |socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket
            .and_then(|socket| {
                let mode = std::fs::Permissions::from_mode(options.unix_socket_mode);
                std::fs::set_permissions(&path, mode)?;
                Ok(socket)
            })
            .map_err(|error| ListenError { place: path.display().to_string(), error })?;
        listeners.push(Listener::Unix { socket, path, is_ours: true });
    }
    for address in &options.addresses {
        let socket = inherited
            .take_tcp(*address)
            .map_or_else(|| tcp(*address, options.backlog), Ok)
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                // A client's socket has them from its listener: no system call for each.
                tune(&socket, sockets)?;
                Ok(socket)
            })
            .map_err(|error| ListenError { place: address.to_string(), error })?;
        listeners.push(Listener::Tcp(socket));
    }
    Ok(listeners)
}

/// Just these. Their files are not ours.
fn activated(inherited: Inherited, options: &Sockets) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for (path, socket) in inherited.unix {
        let opened = socket.set_nonblocking(true);
        opened.map_err(|error| ListenError { place: path.display().to_string(), error })?;
        listeners.push(Listener::Unix { socket, path, is_ours: false });
    }
    for (address, socket) in inherited.tcp {
        let opened = socket.set_nonblocking(true).and_then(|()| tune(&socket, options));
        opened.map_err(|error| ListenError { place: address.to_string(), error })?;
        listeners.push(Listener::Tcp(socket));
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // "*" opens 0.0.0.0 beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    // A file left behind by a process that was killed is in the way; one that answers is not ours.
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
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

    /// Whether clients come over a network.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The same socket once more, to be passed on.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix { socket, .. } => socket.as_fd().try_clone_to_owned(),
        }
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
