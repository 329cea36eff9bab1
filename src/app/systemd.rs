//! What systemd is told, and what it gives: nothing, where there is none.

use crate::net::listen::Inherited;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;

/// The sockets that systemd has opened for us (`LISTEN_FDS`). `None`: it has opened none.
pub(super) fn sockets() -> Option<Inherited> {
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return None;
    }
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for index in 0..given.len() {
        if let Ok(Some(socket)) = given.take_tcp_listener(index) {
            sockets.push(socket.into());
        } else if let Ok(Some(socket)) = given.take_unix_listener(index) {
            sockets.push(socket.into());
        } else {
            tracing::warn!("systemd gave a file that is no stream socket: not used");
        }
    }
    Some(Inherited::activated(sockets))
}

/// It serves. The process is named, because it may have taken over from another.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
}

/// It reads its configuration anew; [`ready`] says when it has.
pub(super) fn reloading() {
    // With the time, so that systemd can tell this word from an older one.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(error) => tracing::warn!("cannot tell systemd: {error}"),
    }
}

/// It does not serve any more, but for those who are in.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without systemd this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot tell systemd: {error}");
    }
}
