//! One session of the console: messages in, answers out.

use super::Console;
use super::extended::{Extended, Work};
use super::parse::{Command, Routine, Verb};
use super::show::{HELP, HELP_TITLE, PGBOUNCER_VERSION, Show};
use super::table::{Row, text};
use crate::client::console::{ConsoleLogin, Role};
use crate::control::operator::Operator;
use crate::control::reload::Author;
use crate::control::roster::{AtConsole, Key, pid_of};
use crate::end::{End, EndReason, ErrorFields, Phase};
use crate::net::stream::{Link, Stream};
use crate::net::worker::Worker;
use crate::pool::gate::Pass;
use crate::wire::encode;
use crate::wire::frame::{Head, split_text};
use crate::wire::rows::{self, Formats};
use crate::wire::tags::{from_client, from_server};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

/// The longest message. Commands are short; nobody needs more.
const MESSAGE_MAX: u32 = 64 << 10;

/// How much of an answer is collected before it is sent.
const UNSENT_MAX: usize = 64 << 10;

/// How long somebody who is turned out gets to take the reason.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

pub(super) struct Session<'a> {
    pub(super) console: &'a Arc<Console>,
    worker: Rc<Worker>,
    user: String,
    stream: Stream,
    role: Role,
    /// What has come and was not read.
    input: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) extended: Extended,
    /// After an error in an extended request: up to the next `Sync`.
    is_skipping: bool,
    /// Between `BEGIN` and `COMMIT`, because drivers ask: nothing depends on it but portals.
    is_in_transaction: bool,
    pub(super) here: AtConsole,
    _pass: Pass,
}

impl<'a> Session<'a> {
    pub(super) fn new(console: &'a Arc<Console>, worker: &Rc<Worker>, login: ConsoleLogin) -> Self {
        let ConsoleLogin { client, stream, peer, user, role, minor, early, mut out, pass, .. } =
            login;
        let version = format!("{PGBOUNCER_VERSION}/pgweir");
        for (name, value) in [
            ("server_version", version.as_str()),
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "GMT"),
            ("standard_conforming_strings", "on"),
            ("is_superuser", if role == Role::Admin { "on" } else { "off" }),
        ] {
            encode::parameter_status(&mut out, name, value);
        }
        let key = Key::new(minor);
        encode::backend_key_data(&mut out, pid_of(client), key.shown());
        let about = (client, user.as_str());
        let ends = (peer, stream.near());
        let operator = Operator::new(about, ends, &login.application_name, worker.now());
        let here = console.roster.enter_console(operator, key);
        encode::ready(&mut out, b'I');
        Self {
            console,
            worker: Rc::clone(worker),
            user,
            stream,
            role,
            input: early,
            out,
            extended: Extended::default(),
            is_skipping: false,
            is_in_transaction: false,
            here,
            _pass: pass,
        }
    }

    /// Serves until the end, and says what it was.
    pub(super) async fn run(mut self) -> End {
        let Err(end) = self.serve().await;
        if end.is_told() {
            self.out.clear();
            encode::error(&mut self.out, &end.fields(Phase::Closing));
            let _late = self.worker.within(Some(LAST_WORDS_MAX), self.stream.send(&self.out)).await;
        }
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        // The welcome.
        self.flush().await?;
        loop {
            let head = Head::parse(&self.input, MESSAGE_MAX);
            match head.map_err(|error| End::protocol(error.to_string()))? {
                Some(head) if self.input.len() >= head.total => {
                    let rest = self.input.split_off(head.total);
                    let message = std::mem::replace(&mut self.input, rest);
                    self.worker.wake();
                    if self.take(head.tag, message.get(5..).unwrap_or_default()).await?
                        || self.out.len() >= UNSENT_MAX
                    {
                        self.flush().await?;
                    }
                }
                _ => self.receive().await?,
            }
        }
    }

    /// Waits for more, or for the process to end.
    async fn receive(&mut self) -> Result<(), End> {
        let operator = Arc::clone(&self.here.operator);
        tokio::select! {
            biased;
            received = self.stream.receive(&mut self.input) => match received {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(EndReason::ClientGone.into()),
            },
            () = operator.dismissed.notified() => Err(EndReason::Shutdown.into()),
        }
    }

    /// Waits for a client that does not read, but no longer than for any other.
    async fn flush(&mut self) -> Result<(), End> {
        let limit = self.console.registry.config().timeouts.client_write_timeout;
        let sent = self.worker.within(limit, self.stream.send(&self.out)).await;
        // What a large answer took is given back.
        self.out = Vec::new();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(EndReason::ClientGone.into()),
            Err(_) => Err(EndReason::WriteTimeout.into()),
        }
    }

    /// Takes one message. `true`: the client waits for what there is.
    async fn take(&mut self, tag: u8, body: &[u8]) -> Result<bool, End> {
        match tag {
            from_client::QUERY => {
                self.is_skipping = false;
                self.extended.end_unnamed();
                if let Err(end) = self.query(body).await {
                    self.refuse(end)?;
                }
                self.ready();
                Ok(true)
            }
            from_client::SYNC => {
                self.is_skipping = false;
                self.ready();
                Ok(true)
            }
            from_client::FLUSH => Ok(true),
            from_client::TERMINATE => Err(EndReason::ClientTerminated.into()),
            from_client::COPY_DATA | from_client::COPY_DONE | from_client::COPY_FAIL => Ok(false),
            from_client::PARSE
            | from_client::BIND
            | from_client::DESCRIBE
            | from_client::EXECUTE
            | from_client::CLOSE => {
                if !self.is_skipping
                    && let Err(end) = self.extended(tag, body).await
                {
                    self.is_skipping = true;
                    self.refuse(end)?;
                }
                Ok(false)
            }
            tag => Err(End::protocol(format!("invalid frontend message type {tag}"))),
        }
    }

    /// Says whether there is a transaction: outside of one, portals have ended with it.
    fn ready(&mut self) {
        if !self.is_in_transaction {
            self.extended.end_portals();
        }
        encode::ready(&mut self.out, if self.is_in_transaction { b'T' } else { b'I' });
    }

    fn routine(&mut self, routine: Routine) {
        match routine {
            Routine::Begin | Routine::Start => self.is_in_transaction = true,
            Routine::Commit | Routine::Rollback => self.is_in_transaction = false,
            Routine::DeallocateAll | Routine::DiscardAll => self.extended.end_statements(),
            Routine::CloseAll | Routine::ResetAll | Routine::Unlisten => {}
        }
    }

    /// Tells what went wrong. `Err`: it ends the session.
    fn refuse(&mut self, end: End) -> Result<(), End> {
        if !end.is_told() {
            return Err(end);
        }
        encode::error(&mut self.out, &end.fields(Phase::Session));
        Ok(())
    }

    async fn query(&mut self, body: &[u8]) -> Result<(), End> {
        for command in Command::parse_all(text_in(body)?)? {
            self.authorize(&command)?;
            let work = self.begin(&command).await?;
            if let Some(columns) = columns_of(&command) {
                rows::row_description(&mut self.out, columns, &Formats::Text);
            }
            self.work_off(work, &Formats::Text, usize::MAX);
        }
        Ok(())
    }

    /// Whether this session may give the command.
    pub(super) fn authorize(&self, command: &Command) -> Result<(), End> {
        if command.needs_admin() && self.role != Role::Admin {
            return Err(EndReason::ConsoleNeedsAdmin.into());
        }
        Ok(())
    }

    /// Does what a command says. What it answers is still to be sent.
    pub(super) async fn begin(&mut self, command: &Command) -> Result<Work, End> {
        self.console.commands.fetch_add(1, Ordering::Relaxed);
        self.here.operator.commands(self.worker.now());
        let mut said = None;
        let rows = match command {
            Command::Empty | Command::SetIgnored => vec![],
            Command::Routine(routine) => {
                self.routine(*routine);
                vec![]
            }
            Command::Unlock => vec![vec!["".into()]],
            Command::Show(show) => {
                let rows;
                (rows, said) = self.look(*show).await?;
                rows
            }
            Command::Act(verb, argument) => {
                self.act(*verb, argument.as_deref()).await?;
                vec![]
            }
            Command::Set { name, value } => {
                self.set(name, value).await?;
                vec![]
            }
            Command::SetClass { class, settings } => {
                self.set_class(class, settings).await?;
                vec![]
            }
        };
        Ok(Work { said, ..Work::new(command.clone(), rows) })
    }

    /// What there is to show.
    async fn look(&self, show: Show) -> Result<(Vec<Row>, Option<String>), End> {
        let now = self.worker.now();
        if !show.is_long() {
            return Ok(show.answer(self.console, now));
        }
        // Elsewhere: this thread has clients whose queries would wait.
        let console = Arc::clone(self.console);
        let looking = tokio::task::spawn_blocking(move || show.answer(&console, now));
        // It fails only as the process ends.
        looking.await.map_err(|_| EndReason::Shutdown.into())
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Of a change, for the log.
    pub(super) fn author(&self) -> Author {
        Author { client: self.here.operator.id.0, user: self.user.clone() }
    }

    pub(super) fn log(&self, verb: Verb, argument: Option<&str>) {
        let (client, user) = (self.here.operator.id.0, &self.user);
        let argument = argument.map(|argument| format!(" {argument}")).unwrap_or_default();
        tracing::info!(client, user, "console: {}{argument}", verb.name());
    }

    /// Waits for something that takes its time.
    ///
    /// # Errors
    ///
    /// When the operator cancels it, or leaves.
    pub(super) async fn wait_for<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        // What was answered before need not wait for it.
        self.flush().await?;
        let operator = Arc::clone(&self.here.operator);
        let (mut work, mut canceled) = (pin!(work), pin!(operator.canceled.notified()));
        let waited = tokio::select! {
            biased;
            done = &mut work => Ok(done),
            () = &mut canceled => Err(EndReason::ConsoleCanceled.into()),
            () = operator.dismissed.notified() => Err(EndReason::Shutdown.into()),
            end = self.hear() => Err(end),
        };
        self.worker.wake();
        waited
    }

    /// Reads what is sent meanwhile, as far as there is room for it, and answers when nobody is there
    /// any more.
    async fn hear(&mut self) -> End {
        let Self { stream, input, .. } = self;
        std::future::poll_fn(|cx| {
            let mut chunk = [0; 512];
            while input.len() < MESSAGE_MAX as usize {
                match ready!(stream.poll_read(cx, &mut chunk)) {
                    Ok(read @ 1..) => input.extend(&chunk[..read]),
                    Ok(0) | Err(_) => return Poll::Ready(EndReason::ClientGone.into()),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Answers with the next rows, `most` of them. `None`: all is said; else what is left.
    pub(super) fn work_off(
        &mut self,
        mut work: Work,
        formats: &Formats,
        most: usize,
    ) -> Option<Work> {
        let columns = columns_of(&work.command).unwrap_or_default();
        for row in work.rows.by_ref().take(most) {
            rows::data_row(&mut self.out, columns, &row, formats);
        }
        if work.rows.len() > 0 {
            encode::message(&mut self.out, from_server::PORTAL_SUSPENDED, |_| {});
            return Some(work);
        }
        match work.command {
            Command::Empty => encode::message(&mut self.out, from_server::EMPTY_QUERY, |_| {}),
            command => {
                match command {
                    Command::SetIgnored => notice(&mut self.out, "SET ignored", None),
                    Command::Show(Show::Help) => notice(&mut self.out, HELP_TITLE, Some(HELP)),
                    _ => {}
                }
                if let Some(said) = work.said {
                    notice(&mut self.out, &said, None);
                }
                rows::command_complete(&mut self.out, &command.tag());
            }
        }
        None
    }
}

/// The text in a message that starts with it.
pub(super) fn text_in(body: &[u8]) -> Result<&str, End> {
    let (text, _) = split_text(body).ok_or_else(|| End::protocol("invalid message format"))?;
    std::str::from_utf8(text)
        .map_err(|_| End::protocol("invalid byte sequence for encoding \"UTF8\""))
}

const UNLOCKED: &[rows::Column] = &[text("pg_advisory_unlock_all")];

pub(super) fn columns_of(command: &Command) -> Option<&'static [rows::Column]> {
    match command {
        Command::Show(show) => show.columns(),
        Command::Unlock => Some(UNLOCKED),
        _ => None,
    }
}

pub(super) fn notice(out: &mut Vec<u8>, message: &str, detail: Option<&str>) {
    let fields = ErrorFields {
        severity: "NOTICE".to_owned(),
        code: "00000".to_owned(),
        message: message.to_owned(),
        detail: detail.map(str::to_owned),
        ..ErrorFields::default()
    };
    encode::notice(out, &fields);
}
