//! Log lines as PgBouncer writes them, for what reads its logs: pgBadger, and rules that look for words.
//!
//! ```text
//! 2026-11-20 11:09:04.276 UTC [339] LOG C-0x1f: app/web@10.0.0.7:51234 login attempt: db=app user=web tls=no replication=no
//! ```
//!
//! What is one event of ours may be several lines of PgBouncer's.

use crate::base::calendar::utc_millis;
use crate::base::legible::safe;
use std::fmt::{self, Write};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of a line.
pub(super) struct PgBouncerForm {
    pid: u32,
}

impl PgBouncerForm {
    pub(super) fn new() -> Self {
        Self { pid: std::process::id() }
    }
}

impl<S, N> FormatEvent<S, N> for PgBouncerForm
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let own = level(*event.metadata().level());
        let now = utc_millis(SystemTime::now());
        for text in line.before() {
            writeln!(writer, "{now} [{}] LOG {}", self.pid, safe(&text))?;
        }
        // Names are whatever somebody says before a password was asked for.
        writeln!(writer, "{now} [{}] {own} {}", self.pid, safe(&line.to_string()))
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "LOG",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "NOISE",
    }
}

/// The fields of an event that have a place of their own; all others follow the message.
#[derive(Debug, Default)]
struct Line {
    message: String,
    client: Option<u64>,
    server: Option<u64>,
    database: String,
    user: String,
    address: String,
    /// Of a server.
    place: String,
    replication: String,
    reason: String,
    age: Option<u64>,
    rest: String,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "client" => self.client = Some(value),
            "pid" => self.server = Some(value),
            "age_s" => self.age = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "database" => value.clone_into(&mut self.database),
            "user" => value.clone_into(&mut self.user),
            "reason" | "why" => value.clone_into(&mut self.reason),
            "replication" => value.clone_into(&mut self.replication),
            "server" => value.clone_into(&mut self.place),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => &mut self.message,
            "address" => &mut self.address,
            "server" => &mut self.place,
            "reason" | "why" => &mut self.reason,
            name => {
                write!(self.rest, " {name}=").expect("a String takes everything");
                &mut self.rest
            }
        };
        write!(text, "{value:?}").expect("a String takes everything");
    }
}

/// `C-0x1f: app/web@10.0.0.7:51234 `, of a client or of a server.
impl Line {
    fn is_of_server(&self) -> bool {
        self.client.is_none() && self.server.is_some() && !self.database.is_empty()
    }

    fn prefix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id, address) = match (self.client, self.server) {
            (Some(client), _) => ('C', client, self.address.as_str()),
            (None, Some(server)) if self.is_of_server() => ('S', server, self.place.as_str()),
            // Somebody who was not let in, and has no number.
            (None, None) if !self.address.is_empty() => ('C', 0, self.address.as_str()),
            _ => return Ok(()),
        };
        let database = if self.database.is_empty() { "(nodb)" } else { &self.database };
        let user = if self.user.is_empty() { "(nouser)" } else { &self.user };
        write!(f, "{kind}-{id:#x}: {database}/{user}")?;
        match address.rsplit_once(".s.PGSQL.") {
            Some((_, port)) => write!(f, "@unix:{port}")?,
            None if address.is_empty() => {}
            None => write!(f, "@{address}")?,
        }
        f.write_char(' ')
    }

    fn closing(&self, why: &str) -> String {
        format!("closing because: {why} (age={}s)", self.age.unwrap_or_default())
    }

    fn attempt(&self) -> String {
        let Self { database, user, replication, .. } = self;
        let replication = if replication.is_empty() { "no" } else { replication };
        format!("login attempt: db={database} user={user} tls=no replication={replication}")
    }

    /// The lines that PgBouncer writes before the last one: of a login that is refused.
    fn before(&self) -> Vec<String> {
        let Some(("login refused", detail)) = self.message.split_once(": ") else { return vec![] };
        let mut lines = Vec::new();
        if !self.user.is_empty() {
            lines.push(self.attempt());
            if self.reason == "database_unknown" {
                lines.push(format!("login failed: db={} user={}", self.database, self.user));
            }
        }
        lines.push(self.closing(&self.refusal(detail)));
        let prefixed = |line| format!("{}{line}", Prefix(self));
        lines.into_iter().map(prefixed).collect()
    }

    /// Why a login is refused, in PgBouncer's words where rules look for them.
    fn refusal(&self, detail: &str) -> String {
        match self.reason.as_str() {
            "authentication_failed" => "password authentication failed".to_owned(),
            "database_unknown" => format!("no such database: {}", self.database),
            "client_login_timeout" | "query_wait_timeout" => self.reason.clone(),
            "max_client_conn" => "no more connections allowed (max_client_conn)".to_owned(),

            _ => detail.to_owned(),
        }
    }
}

/// The beginning of a line.
struct Prefix<'a>(&'a Line);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.prefix(f)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix(f)?;
        let (event, detail) = self.message.split_once(": ").unwrap_or((&self.message, ""));
        match event {
            "client logged in" => f.write_str(&self.attempt()),
            "client closed" | "replication ended" if detail.is_empty() => {
                f.write_str(&self.closing(words(&self.reason)))
            }
            "client closed" => f.write_str(&self.closing(detail)),
            "server closed" => f.write_str(&self.closing(&self.reason.to_lowercase())),
            "login refused" => write!(f, "pooler error: {}", self.refusal(detail)),
            "request refused" => write!(f, "pooler error: {}", words(&self.reason)),
            _ => {
                f.write_str(&self.message)?;
                if !self.reason.is_empty() {
                    write!(f, " reason={}", self.reason)?;
                }
                if let Some(pid) = self.server.filter(|_| self.database.is_empty()) {
                    write!(f, " pid={pid}")?;
                }
                if !self.is_of_server() && !self.place.is_empty() {
                    write!(f, " server={}", self.place)?;
                }
                f.write_str(&self.rest)
            }
        }
    }
}

/// PgBouncer's words for an ending of ours, where rules look for them; the others have our label.
fn words(label: &str) -> &str {
    match label {
        "client_terminated" => "client close request",
        "client_gone" => "client unexpected eof",
        "client_idle_timeout" => "client_idle_timeout",
        "idle_transaction_timeout" => "idle transaction timeout",
        "transaction_timeout" => "transaction timeout",
        "killed" => "admin forced disconnect",
        "shutdown" => "server shutting down",
        "server_lost" => "server conn crashed?",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::PgBouncerForm;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing::Level;
    use tracing_subscriber::fmt;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written behind the time.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let logs = fmt::Subscriber::builder()
            .with_ansi(false)
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .event_format(PgBouncerForm { pid: 339 })
            .finish();
        tracing::subscriber::with_default(logs, log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let behind_time = |line: &str| {
            let (time, rest) = line.split_once(" UTC ").unwrap();
            assert_eq!(time.len(), "2026-11-20 11:09:04.276".len(), "{line}");
            rest.to_owned()
        };
        text.lines().map(behind_time).collect()
    }

    #[test]
    fn lines_that_tools_read_are_pgbouncers() {
        let (database, user, address) = ("app", "web", "10.0.0.7:51234");
        let lines = lines(|| {
            tracing::info!(client = 31_u64, database, user, address = %address, "client logged in");
            let reason = "client_terminated";
            tracing::info!(
                client = 31_u64, database, user, address = %address, reason, age_s = 7_u64,
                "client closed"
            );
            tracing::warn!(address = %address, reason = "auth", "login refused: no such thing");
            tracing::warn!(
                database, user = Some("web\n9"), address = %address, reason = "authentication_failed",
                "login refused: password authentication failed for user \"web\""
            );
            tracing::warn!(
                database = "no", user, address = %address, reason = "database_unknown",
                "login refused: database \"no\" does not exist"
            );
            tracing::info!(
                client = 32_u64, database, user, address = %address, replication = Some("database"),
                "client logged in"
            );
            tracing::info!(
                client = 32_u64,
                database,
                user,
                reason,
                age_s = 3_u64,
                "replication ended"
            );
            let (server, unix) = ("[::1]:5432", "/run/postgresql/.s.PGSQL.5433");
            tracing::info!(
                database, user, pid = 12_u32, server = %server, why = ?Some(1), age_s = 9_u64,
                "server closed"
            );
            tracing::warn!(database, user, pid = 13_u32, server = %unix, "server was lost in use: it");
            tracing::warn!(database, user, server, "cannot connect to the server: no");
            tracing::info!(pid = 12_u32, "the next process starts");
            tracing::debug!(count = 3, "something else");
        });
        assert_eq!(
            lines,
            [
                "[339] LOG C-0x1f: app/web@10.0.0.7:51234 login attempt: db=app user=web tls=no \
                 replication=no",
                "[339] LOG C-0x1f: app/web@10.0.0.7:51234 closing because: client close request \
                 (age=7s)",
                "[339] LOG C-0x0: (nodb)/(nouser)@10.0.0.7:51234 closing because: no such thing (age=0s)",
                "[339] WARNING C-0x0: (nodb)/(nouser)@10.0.0.7:51234 pooler error: no such thing",
                "[339] LOG C-0x0: app/web\u{fffd}9@10.0.0.7:51234 login attempt: db=app user=web\u{fffd}9 \
                 tls=no replication=no",
                "[339] LOG C-0x0: app/web\u{fffd}9@10.0.0.7:51234 closing because: password \
                 authentication failed (age=0s)",
                "[339] WARNING C-0x0: app/web\u{fffd}9@10.0.0.7:51234 pooler error: password \
                 authentication failed",
                "[339] LOG C-0x0: no/web@10.0.0.7:51234 login attempt: db=no user=web tls=no \
                 replication=no",
                "[339] LOG C-0x0: no/web@10.0.0.7:51234 login failed: db=no user=web",
                "[339] LOG C-0x0: no/web@10.0.0.7:51234 closing because: no such database: no (age=0s)",
                "[339] WARNING C-0x0: no/web@10.0.0.7:51234 pooler error: no such database: no",
                "[339] LOG C-0x20: app/web@10.0.0.7:51234 login attempt: db=app user=web tls=no \
                 replication=database",
                "[339] LOG C-0x20: app/web closing because: client close request (age=3s)",
                "[339] LOG S-0xc: app/web@[::1]:5432 closing because: some(1) (age=9s)",
                "[339] WARNING S-0xd: app/web@unix:5433 server was lost in use: it",
                "[339] WARNING cannot connect to the server: no server=[::1]:5432",
                "[339] LOG the next process starts pid=12",
                "[339] DEBUG something else count=3",
            ]
        );
    }
}
