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
use place::{Around, Place};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
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
        owns: &|path| {
            let owner = fs::metadata(path).ok()?.uid();
            Some(owner == rustix::process::geteuid().as_raw())
        },
        read: &|path| fs::read_to_string(path).ok(),
    }
}
