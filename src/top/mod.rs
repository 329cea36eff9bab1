//! `pgweir top`: what a proxy does, in a terminal, from what its console says.
//!
//! ```text
//!   sampler (a thread) ── asks the console ──▶ Sample ─┐
//!   keys (a thread) ───────────────────────────────────┼─▶ Look ──▶ Listing ──▶ picture ──▶ terminal
//!   signals ───────────────────────────────────────────┘  what is looked at
//! ```
//!
//! It is a client of the console, of PgBouncer's as well: result sets are read by the names of their
//! columns, and what a console does not have is missing from the picture. From `table` to `draw` it is
//! pure.

mod columns;
mod connection;
mod draw;
#[cfg(test)]
mod hostile;
mod listing;
mod lists;
mod look;
mod model;
mod passfile;
mod place;
mod plain;
mod rates;
mod sample;
mod sampler;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use connection::Trouble;
pub use place::PlaceError;
pub use plain::Format;

use draw::Paint;
use place::{Around, Owner, Place, Unread};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What the command line asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    pub dsn: Option<String>,
    /// Between two looks.
    pub interval: Duration,
    /// Write it once and end, in this form. `None`: as a screen, if there is a terminal.
    pub once: Option<Format>,
}

#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{address}: {trouble}")]
    Console { address: String, trouble: Trouble },
    #[error("cannot use the terminal: {0}")]
    Terminal(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Runs until somebody has seen enough.
///
/// # Errors
///
/// When there is no console to look at. One that goes away later is waited for.
pub fn run(options: &Options) -> Result<ExitCode, TopError> {
    let place = Place::find(options.dsn.as_deref(), &around())?;
    for warning in &place.warnings {
        // Whoever does not hear it may still look.
        writeln!(io::stderr(), "warning: {warning}").ok();
    }
    let once = options.once.or_else(|| (!io::stdout().is_terminal()).then_some(Format::Text));
    if let Some(format) = once {
        let text = plain::run(&place, options.interval, format)?;
        return match io::stdout().write_all(text.as_bytes()) {
            // Who reads it has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            written => written.map(|()| ExitCode::SUCCESS).map_err(TopError::Write),
        };
    }
    // https://no-color.org: if it is set to anything.
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let ended = screen::run(place, options.interval, Paint { has_colours })?;
    // As a shell tells it of a program that a signal ended.
    let code = ended.and_then(|signal| u8::try_from(128 + signal).ok());
    Ok(code.map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn around() -> Around<'static> {
    let user = || {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let id = rustix::process::geteuid().as_raw().to_string();
        let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let name = users.find(|user| user.get(2) == Some(&id.as_str()));
        name.and_then(|user| user.first().map(|name| (*name).to_owned()))
    };
    Around {
        variable: &|name| std::env::var(name).ok(),
        user: user().or_else(|| std::env::var("USER").ok()),
        owner: &owner,
        read: &read_private,
    }
}

/// Of the socket itself: a link to one is nobody's who can be trusted.
fn owner(path: &Path) -> Option<Owner> {
    let about = fs::symlink_metadata(path).ok()?;
    if !about.file_type().is_socket() {
        return about.file_type().is_symlink().then_some(Owner::Another);
    }
    Some(owner_of(about.uid()))
}

fn owner_of(user: u32) -> Owner {
    match user {
        user if user == rustix::process::geteuid().as_raw() => Owner::Ourselves,
        0 => Owner::Root,
        _ => Owner::Another,
    }
}

/// Reads a file with passwords, if nobody but its owner may.
fn read_private(path: &str) -> Result<String, Unread> {
    const OF_OTHERS: u32 = 0o077;
    let about = fs::metadata(path).map_err(|_| Unread::Absent)?;
    if !about.is_file() {
        return Err(Unread::NoFile);
    }
    if about.mode() & OF_OTHERS != 0 {
        return Err(Unread::Shared);
    }
    fs::read_to_string(path).map_err(|_| Unread::Absent)
}
