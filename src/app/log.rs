//! Logs go to standard error, as text for people or JSON for machines.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. The level is `info`, unless `PGWEIR_LOG` says otherwise.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("PGWEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Json => logs.json().try_init(),
        LogFormat::Text => logs.try_init(),
    };
    // Only a second start fails: the first one's logs go on.
    drop(started);
}
