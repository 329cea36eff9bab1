//! Socket options, the same for clients and servers.

use crate::config::Sockets;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io;

/// Makes the sockets that a listener accepts from now on be like this.
///
/// # Errors
///
/// When the kernel refuses an option.
pub fn tune_anew(listener: &impl std::os::fd::AsFd, options: &Sockets) -> io::Result<()> {
    let socket = SockRef::from(listener);
    let mut options = *options;
    if options.tcp_keepalive {
        // What was set once has to be set back to what the system has for sockets of which nobody says
        // anything.
        let fresh = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        options.tcp_keepidle = options.tcp_keepidle.or(fresh.tcp_keepalive_time().ok());
        options.tcp_keepintvl = options.tcp_keepintvl.or(fresh.tcp_keepalive_interval().ok());
        options.tcp_keepcnt = options.tcp_keepcnt.or(fresh.tcp_keepalive_retries().ok());
    } else {
        socket.set_keepalive(false)?;
    }
    tune(listener, &options)
}

/// Makes a TCP socket send at once and notice a dead peer.
///
/// # Errors
///
/// When the kernel refuses an option.
pub fn tune(socket: &impl std::os::fd::AsFd, options: &Sockets) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    if options.tcp_keepalive {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = options.tcp_keepidle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = options.tcp_keepintvl {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.tcp_keepcnt {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    // What keepalive does not see: bytes sent that nobody acknowledges.
    socket.set_tcp_user_timeout(options.tcp_user_timeout)
}
