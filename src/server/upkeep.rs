//! Making a server fit for the next client, and asking an idle one whether it still works.

use super::Server;
use super::exchange::{ExchangeError, Inbox};
use crate::end::ErrorFields;
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
        self.run_and_watch(sql, |_, _| {}).await
    }

    async fn run_and_watch(
        &mut self,
        sql: &str,
        seen: impl FnMut(&str, &str),
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
    /// (`traces`), and runs the statements that reset it.
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
        resets: &[Reset<'_>],
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
        self.drain(&mut left, |_, _| {}).await?;
        if self.ledger.status() != Status::Idle {
            self.run("ROLLBACK").await?;
        }
        if let Some(sql) = traces.removal() {
            self.run_reset(Reset { name: "what a client left", sql: &sql }).await?;
            self.forget(traces);
        }
        for &Reset { name, sql } in resets {
            self.run_reset(Reset { name, sql }).await?;
            if discards_all(sql) {
                self.forget(everything());
            } else if may_deallocate(sql) {
                self.deallocate_all().await?;
            }
        }
        if self.ledger.is_settled() { Ok(()) } else { Err(UpkeepError::StillOpen) }
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
        seen: impl FnMut(&str, &str),
    ) -> Result<(), UpkeepError> {
        if let Some(sql) = self.applied.change_to(wanted) {
            self.run_and_watch(&sql, seen).await?;
        }
        self.applied = Arc::clone(wanted);
        Ok(())
    }
}
