//! Logs go to standard error: as text for people, as JSON for machines, or in PgBouncer's form for tools
//! that read that. The journal of systemd gets the first two with priorities, and without the time.

mod journal;
mod pgbouncer;

use self::journal::{Prioritised, is_journal};
use self::pgbouncer::PgBouncerForm;
use crate::config::{LogFormat, Process};
use std::io::IsTerminal;
use tracing_subscriber::fmt::{self, FormatEvent, FormatFields, SubscriberBuilder};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

/// What decides instead of `log_level`, where it is set: in the form of `tracing`, as in
/// `info,pgweir::pool=debug`.
const VARIABLE: &str = "PGWEIR_LOG";

/// Changes the level of the logs that were started.
pub struct Levels(Option<SetLevel>);

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

impl Levels {
    /// Logs of a process that does without.
    pub const fn none() -> Self {
        Self(None)
    }

    /// From now on, events of this level and those above are logged.
    pub fn set(&self, level: &str) {
        if let Some(set) = &self.0 {
            set(level);
        }
    }
}

/// What decides instead of `log_level`: what the variable says, if that can be read.
pub fn given() -> Option<String> {
    EnvFilter::try_from_env(VARIABLE).ok().and_then(|_| std::env::var(VARIABLE).ok())
}

/// Starts logging.
pub fn start(process: &Process) -> Levels {
    let given = EnvFilter::try_from_env(VARIABLE).ok();
    let is_given = given.is_some();
    let filter = given.unwrap_or_else(|| EnvFilter::new(&process.log_level));
    let logs = fmt::Subscriber::builder()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let is_journal = is_journal(std::env::var(journal::VARIABLE).ok().as_deref());
    let set = match process.log_format {
        LogFormat::Json if is_journal => {
            begin(logs.json().without_time().map_event_format(Prioritised), filter)
        }
        LogFormat::Json => begin(logs.json(), filter),
        LogFormat::PgBouncer => begin(logs.event_format(PgBouncerForm::new()), filter),
        LogFormat::Text if is_journal => {
            begin(logs.without_time().map_event_format(Prioritised), filter)
        }
        LogFormat::Text => begin(logs, filter),
    };
    // Whoever sets the variable has the last word.
    Levels(set.filter(|_| !is_given))
}

/// `None`: logging was started before, and goes on as it is.
fn begin<N, E, W>(
    logs: SubscriberBuilder<N, E, tracing_subscriber::filter::LevelFilter, W>,
    filter: EnvFilter,
) -> Option<SetLevel>
where
    N: for<'w> FormatFields<'w> + Send + Sync + 'static,
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let logs = logs.with_env_filter(filter).with_filter_reloading();
    let handle = logs.reload_handle();
    logs.finish().try_init().ok()?;
    Some(Box::new(move |level| {
        if let Err(error) = handle.reload(EnvFilter::new(level)) {
            tracing::warn!("cannot change the level of the log: {error}");
        }
    }))
}
