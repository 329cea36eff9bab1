//! The socket at which the next process asks for everything.

use super::TICK;
use super::takeover::check_peer;
use crate::config::Config;
use crate::net::passing::Passage;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Where the next process asks for everything.
pub(super) struct Succession {
    listener: Option<UnixListener>,
    path: Option<PathBuf>,
}

impl Succession {
    /// Opens the socket. One that cannot be opened is a warning: the proxy serves without it.
    pub(super) fn open(config: &Config) -> Self {
        let path = config.process.takeover_socket.clone();
        let listener = path.as_deref().and_then(|path| {
            let opened = open(path);
            if let Err(error) = &opened {
                tracing::warn!("no process can take over: {}: {error}", path.display());
            }
            opened.ok()
        });
        let path = path.filter(|_| listener.is_some());
        Self { listener, path }
    }

    /// Waits for a process that takes over.
    pub(super) async fn next(&self) -> Passage {
        loop {
            let Some(listener) = &self.listener else { return std::future::pending().await };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let passage = Passage::new(socket);
                    match check_peer(&passage) {
                        Ok(()) => return passage,
                        Err(error) => tracing::warn!("takeover refused: {error}"),
                    }
                }
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    }

    /// The socket's file belongs to the next process.
    pub(super) fn give_up(&mut self) {
        self.path = None;
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Gone already is as good.
            let _gone = std::fs::remove_file(path);
        }
    }
}

fn open(path: &Path) -> io::Result<UnixListener> {
    // Of a process that was killed, or of the one that hands over.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
