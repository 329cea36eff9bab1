//! What the journal of systemd wants of lines on standard error: how grave each is, as `<4>` in front
//! (sd-daemon(3)). It notes the time by itself.

use rustix::fs::fstat;
use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What systemd tells of the stream that goes to the journal: its device and inode.
pub(super) const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether standard error goes to the journal. `stream`: what the variable says.
pub(super) fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    // Whoever started this process may have sent it elsewhere since.
    fstat(rustix::stdio::stderr())
        .is_ok_and(|file| (device.parse(), inode.parse()) == (Ok(file.st_dev), Ok(file.st_ino)))
}

/// Lines in another form, each with its priority in front.
pub(super) struct Prioritised<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// As syslog(3) counts them.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::is_journal;

    #[test]
    fn only_the_stream_that_systemd_names_is_the_journal() {
        let file = rustix::fs::fstat(rustix::stdio::stderr()).unwrap();
        let own = format!("{}:{}", file.st_dev, file.st_ino);
        assert!(is_journal(Some(&own)));
        assert!(!is_journal(Some(&format!("{}:{}", file.st_dev, file.st_ino + 1))));
        assert!(!is_journal(Some("8")) && !is_journal(Some("a:b")) && !is_journal(None));
    }
}
