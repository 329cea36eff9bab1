//! A connection to a console: a login as to any Postgres, then one question after another.

use super::owner_of;
use super::place::{Owner, Place};
use super::table::Table;
use super::words;
use crate::auth::{Credential, Stored};
use crate::config::Sockets;
use crate::end::ErrorFields;
use crate::net::dial::dial;
use crate::net::worker::{Late, Worker, within};
use crate::server::connect::{ConnectError, Connected, Target, log_in};
use crate::server::exchange::{ExchangeError, Inbox};
use crate::server::{self, Server};
use crate::wire::tags::{from_client, from_server};
use crate::wire::{encode, error_fields};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a login or an answer may take. A console answers in milliseconds; one that takes that long is
/// as good as gone.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    server: Server,
    inbox: Inbox,
}

/// What a console says to a question.
pub(super) enum Answer {
    Table(Table),
    /// It does not know this, or we may not.
    Refused(Box<ErrorFields>),
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    #[error("another user answers at this socket: if that is right, name it (host=DIRECTORY)")]
    Foreign,
    #[error("refused: {}", words::safe(&.0.message))]
    Refused(Box<ErrorFields>),
    #[error("it asks for a password: put one into PGPASSWORD, into ~/.pgpass or into the DSN")]
    NoPassword,
    #[error("login failed: {}", words::safe(.0))]
    Login(String),
    #[error("the connection was lost: {}", words::safe(&.0.to_string()))]
    Lost(#[from] ExchangeError),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("this is no console: it has no SHOW POOLS. The database is pgweir, or pgbouncer")]
    NoConsole,
    #[error("it answers with what is no result set")]
    Strange,
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoPassword(_) => Self::NoPassword,
            ConnectError::Refused(fields) => Self::Refused(fields),
            ConnectError::Unreachable(error) => Self::Unreachable(error),
            ConnectError::Scram(error) => Self::Login(error.to_string()),
            ConnectError::Strange(what) => Self::Login(what),
            error @ ConnectError::ConnectQuery => Self::Login(error.to_string()),
        }
    }
}

impl From<Late> for Trouble {
    fn from(_: Late) -> Self {
        Self::Late
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.into())
    }
}

/// Who answers at a socket that was only guessed must be trusted before it is told anything: the socket
/// may have been another's a moment ago.
async fn connect(target: &Target, is_guessed: bool, worker: &Worker) -> Result<Connected, Trouble> {
    let stream = dial(&target.place.address, &target.place.sockets).await;
    let stream = stream.map_err(Trouble::Unreachable)?;
    let is_foreign = |user| owner_of(user) == Owner::Another;
    if is_guessed && stream.peer_uid().is_some_and(is_foreign) {
        return Err(Trouble::Foreign);
    }
    Ok(log_in(stream, target, &[], worker).await?)
}

impl Connection {
    pub(super) async fn open(place: &Place, worker: &Worker) -> Result<Self, Trouble> {
        let stored = place.password.clone().map(Stored::Plain);
        let sockets = Sockets {
            tcp_keepalive: true,
            tcp_keepidle: None,
            tcp_keepintvl: None,
            tcp_keepcnt: None,
            tcp_user_timeout: Some(PATIENCE),
        };
        let target = Target {
            place: Arc::new(server::Place { address: place.address.clone(), sockets }),
            user: place.user.clone(),
            dbname: place.dbname.clone(),
            credential: stored.map(|stored| Arc::new(Credential::new(&place.user, stored))),
        };
        let connecting = connect(&target, place.is_guessed, worker);
        let connected = within(Some(PATIENCE), connecting).await??;
        Ok(Self { server: connected.server, inbox: Inbox::default() })
    }

    pub(super) async fn ask(&mut self, question: &str) -> Result<Answer, Trouble> {
        within(Some(PATIENCE), self.exchange(question)).await?
    }

    async fn exchange(&mut self, question: &str) -> Result<Answer, Trouble> {
        let mut message = Vec::new();
        encode::message(&mut message, from_client::QUERY, |out| encode::text(out, question));
        self.server.stream().send(&message).await?;
        let mut answer = Err(Trouble::Strange);
        loop {
            let (tag, body) = self.inbox.receive(self.server.stream()).await?;
            match tag {
                from_server::ROW_DESCRIPTION => {
                    let table = Table::described(&body).ok_or(Trouble::Strange)?;
                    answer = Ok(Answer::Table(table));
                }
                from_server::DATA_ROW => {
                    let Ok(Answer::Table(table)) = &mut answer else {
                        return Err(Trouble::Strange);
                    };
                    table.read_row(&body).ok_or(Trouble::Strange)?;
                }
                from_server::ERROR => {
                    let fields = Box::new(error_fields::parse(&body));
                    if fields.is_fatal() {
                        return Err(Trouble::Refused(fields));
                    }
                    answer = Ok(Answer::Refused(fields));
                }
                from_server::READY => return answer,
                // Notices and the like.
                _ => {}
            }
        }
    }

    /// Says goodbye, so that nobody logs a client that vanished.
    pub(super) async fn close(mut self) {
        let mut message = Vec::new();
        encode::message(&mut message, from_client::TERMINATE, |_| {});
        // Whoever does not hear it notices by itself.
        drop(within(Some(PATIENCE), self.server.stream().send(&message)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;
    use crate::end::ErrorFields;
    use crate::server::connect::ConnectError;
    use crate::server::exchange::ExchangeError;

    #[test]
    fn what_a_peer_says_of_itself_cannot_write_elsewhere() {
        let fields = || {
            let message = "no\x1b]0;x\x07 entry\x1b[2J".to_owned();
            Box::new(ErrorFields { message, ..ErrorFields::default() })
        };
        for trouble in [
            Trouble::from(ConnectError::Refused(fields())),
            Trouble::from(ConnectError::Strange("a\x1b[2J".to_owned())),
            Trouble::from(ExchangeError::Fatal(fields())),
        ] {
            let told = trouble.to_string();
            assert!(!told.contains(char::is_control), "{told:?}");
        }
    }
}
