//! Making a server fit for the next client, and asking an idle one whether it still works.

use super::Server;
use super::exchange::{ExchangeError, Inbox, News};
use crate::end::ErrorFields;
use crate::session::base::Asking;
use crate::session::ledger::{Origin, Request, Status};
use crate::session::settings::Settings;
use crate::session::traces::{Trace, Traces};
use crate::wire::encode;
use std::sync::Arc;

/// Whether a reset query is `DISCARD ALL`, however it is written.
pub fn discards_all(sql: &str) -> bool {
    let words = sql.trim().trim_end_matches(';').split_whitespace();
    words.map(str::to_ascii_lowercase).eq(["discard", "all"])
}

/// What `DISCARD ALL` takes away.
fn everything() -> Traces {
    let mut traces = Traces::default();
    traces.add(Trace::Unknown);
    traces
}

/// Whether a reset query may drop prepared statements: then nobody knows which are left.
fn may_deallocate(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    sql.contains("deallocate") || sql.contains("discard")
}

/// What went wrong while a server was made fit.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("{}", .0.message)]
    Refused(Box<ErrorFields>),
    #[error("{name}: {error}")]
    Reset { name: &'static str, error: Box<UpkeepError> },
    #[error("the server is still in a transaction")]
    StillOpen,
}

/// What a server is given before any client: `connect_query`, and whom it is logged in as.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    pub sql: &'a str,
    pub user: &'a str,
}

/// A statement that makes a server fit for the next client, and what people call it.
#[derive(Clone, Copy, Debug)]
pub struct Reset<'a> {
    pub name: &'static str,
    pub sql: &'a str,
}

impl Server {
    /// Runs statements of the proxy's own and waits for the end of their answers.
    ///
    /// # Errors
    ///
    /// When the server refuses one, or is lost.
    pub async fn run(&mut self, sql: &str) -> Result<(), UpkeepError> {
        self.run_and_watch(sql, |_| {}).await
    }

    async fn run_and_watch(
        &mut self,
        sql: &str,
        seen: impl FnMut(News<'_>),
    ) -> Result<(), UpkeepError> {
        let mut message = Vec::with_capacity(sql.len() + 6);
        encode::query(&mut message, sql);
        self.ledger.sent(Request::Query, Origin::Proxy);
        self.stream().send(&message).await.map_err(ExchangeError::Io)?;
        match self.drain(&mut Inbox::default(), seen).await? {
            Some(fields) => Err(UpkeepError::Refused(Box::new(fields))),
            None => Ok(()),
        }
    }

    /// Ends what a client left behind: waits for answers that are owed (`left` is what has come of
    /// them), rolls back an open transaction or a batch without its `Sync`, takes away what it has left
    /// (`traces`), and runs the statements that reset it, and those that it began with (`again`).
    ///
    /// The caller bounds the time, and sends a cancel request first if a query may be running.
    ///
    /// # Errors
    ///
    /// When the server cannot be made fit: it must be closed.
    pub async fn clean(
        &mut self,
        mut left: Inbox,
        traces: Traces,
        (reset, again): (Option<Reset<'_>>, Option<Beginning<'_>>),
    ) -> Result<(), UpkeepError> {
        let mut endings = Vec::new();
        if self.ledger.is_copying_in() {
            encode::copy_fail(&mut endings, "the client is gone");
            self.ledger.sent(Request::CopyEnd, Origin::Proxy);
        }
        if self.ledger.is_open() {
            // A `Sync` would commit what the client has not. Where a request has failed, or will, all
            // up to the `Sync` is skipped, this as well.
            if self.ledger.sent(Request::Query, Origin::Proxy) {
                encode::query(&mut endings, "ROLLBACK");
            }
            encode::sync(&mut endings);
            self.ledger.sent(Request::Sync, Origin::Proxy);
        }
        if !endings.is_empty() {
            self.stream().send(&endings).await.map_err(ExchangeError::Io)?;
        }
        // An error among the answers is the client's, and the client is gone.
        self.drain(&mut left, |_| {}).await?;
        if self.ledger.status() != Status::Idle {
            self.run("ROLLBACK").await?;
        }
        if let Some(sql) = traces.removal() {
            self.run_reset(Reset { name: "what a client left", sql: &sql }).await?;
            self.forget(traces);
        }
        if let Some(Reset { name, sql }) = reset {
            self.run_reset(Reset { name, sql }).await?;
            if discards_all(sql) {
                self.forget(everything());
            } else if may_deallocate(sql) {
                self.deallocate_all().await?;
            }
        }
        if let Some(beginning) = again {
            let begun = self.begin_anew(beginning, |_| {}).await;
            begun.map_err(|error| UpkeepError::Reset {
                name: "connect_query",
                error: Box::new(error),
            })?;
        }
        if self.ledger.is_settled() { Ok(()) } else { Err(UpkeepError::StillOpen) }
    }

    /// Runs what it begins with, where no client has set anything, and asks what it has of that. `seen` is
    /// told what it reports.
    ///
    /// # Errors
    ///
    /// When it refuses that, where it is asked all the same, or is lost.
    pub async fn begin_anew(
        &mut self,
        Beginning { sql, user }: Beginning<'_>,
        seen: impl FnMut(News<'_>),
    ) -> Result<(), UpkeepError> {
        let run = self.run_and_watch(sql, seen).await;
        let is_answered = matches!(run, Ok(()) | Err(UpkeepError::Refused(_)));
        if !is_answered || !self.ledger.is_settled() {
            return run;
        }
        let (mut asking, question) = Asking::behind(sql);
        let row = |news: News<'_>| {
            if let News::Row(body) = news {
                asking.row(body);
            }
        };
        self.base = match self.run_and_watch(&question, row).await {
            Ok(()) => asking.answered(user),
            Err(UpkeepError::Refused(fields)) => {
                tracing::warn!(
                    pid = self.key.pid,
                    "cannot ask what connect_query has set: {}",
                    fields.message
                );
                asking.failed()
            }
            Err(error) => return Err(error),
        };
        run
    }

    async fn run_reset(&mut self, Reset { name, sql }: Reset<'_>) -> Result<(), UpkeepError> {
        let run = self.run(sql).await;
        run.map_err(|error| UpkeepError::Reset { name, error: Box::new(error) })
    }

    /// Drops all prepared statements.
    ///
    /// # Errors
    ///
    /// When the server refuses, or is lost.
    pub async fn deallocate_all(&mut self) -> Result<(), UpkeepError> {
        self.run("DEALLOCATE ALL").await?;
        self.prepared.clear();
        self.has_strange_statements = false;
        Ok(())
    }

    /// Gives the server the settings that a client wants; says what the server then reports.
    ///
    /// # Errors
    ///
    /// When Postgres refuses one of them, or the server is lost.
    pub async fn apply(
        &mut self,
        wanted: &Arc<Settings>,
        seen: impl FnMut(News<'_>),
    ) -> Result<(), UpkeepError> {
        if let Some(sql) = self.change_to(wanted) {
            self.run_and_watch(&sql, seen).await?;
        }
        self.has(Arc::clone(wanted));
        Ok(())
    }
}
