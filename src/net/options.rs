//! Socket options, the same for clients and servers.

use crate::config::Sockets;
use socket2::{SockRef, TcpKeepalive};
use std::io;

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
