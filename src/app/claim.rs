//! What is found by name, the sockets' files and the pid file: one process' at a time.

use super::AppError;
use super::pid_file::{PidFile, PidFileError};
use super::takeover::Predecessor;
use crate::config::Config;
use crate::control::stops::Stops;
use crate::net::listen::{Listener, SocketFiles};

/// The files that are this process' own from here on.
pub(super) fn claim(
    config: &Config,
    listeners: &[Listener],
    takes_over: bool,
    is_there_another: bool,
) -> Result<(SocketFiles, Option<PidFile>), PidFileError> {
    let mut files = SocketFiles::of(listeners);
    let path = config.process.pid_file.as_deref();
    let pid_file = path.map(|path| PidFile::prepare(path, takes_over)).transpose();
    if pid_file.is_err() && is_there_another {
        // It goes on, with the sockets that are at these paths.
        files.give_up();
    }
    Ok((files, pid_file?))
}

/// Waits until the process before lets this one go on, and makes what was claimed its own. Answers with what
/// is stopped there.
pub(super) async fn begin(
    before: Option<&Predecessor>,
    files: &mut SocketFiles,
    pid_file: Option<&PidFile>,
) -> Result<Option<Stops>, AppError> {
    let stops = match before {
        Some(before) => Some(before.begin().await.inspect_err(|_| {
            // It goes on, with the sockets that are at these paths.
            files.give_up();
        })?),
        None => None,
    };
    match pid_file.map_or(Ok(()), PidFile::put) {
        // There is no way back.
        Err(error) if before.is_some() => tracing::warn!("{error}"),
        put => put?,
    }
    Ok(stops)
}
