//! Connecting and logging in to Postgres.

use super::exchange::{ExchangeError, Inbox, parameter};
use super::{BackendKey, Place, Server};
use crate::auth::Credential;
use crate::auth::scram::client::{self as scram, ClientSecret, LoginError, Next};
use crate::end::ErrorFields;
use crate::net::dial::dial;
use crate::net::stream::Stream;
use crate::net::worker::Worker;
use crate::session::statements::Count;
use crate::wire::encode;
use crate::wire::error_fields;
use crate::wire::tags::{from_client, from_server};
use std::io;
use std::sync::Arc;

/// Where to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub place: Arc<Place>,
    pub user: String,
    pub dbname: String,
    /// `None`: only trust can work.
    pub credential: Option<Arc<Credential>>,
}

/// A server, and what it said of itself when it let us in.
#[derive(Debug)]
pub struct Connected {
    pub server: Server,
    /// Each parameter it reported, in its order.
    pub params: Vec<(String, String)>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("connect_query did not come to its end, or left a transaction open")]
    ConnectQuery,
    #[error("server login failed: it asks for {0}, for which the proxy has no password")]
    NoPassword(&'static str),
    #[error("server login failed: {} ({})", .0.message, .0.code)]
    Refused(Box<ErrorFields>),
    #[error("server login failed: {0}")]
    Scram(#[from] LoginError),
    #[error("server login failed: {0}")]
    Strange(String),
    #[error("cannot connect to the server: {0}")]
    Unreachable(#[from] io::Error),
}

impl From<ExchangeError> for ConnectError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Io(error) => Self::Unreachable(error),
            ExchangeError::Fatal(fields) => Self::Refused(fields),
            ExchangeError::Closed => {
                Self::Unreachable(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"))
            }
            error => Self::Strange(error.to_string()),
        }
    }
}

/// Connects and logs in. The caller bounds the time.
///
/// # Errors
///
/// When Postgres cannot be reached or does not let us in.
pub async fn connect(target: &Target, worker: &Worker) -> Result<Connected, ConnectError> {
    let stream = dial(&target.place.address, &target.place.sockets).await?;
    log_in(stream, target, &[], worker).await
}

/// The same, with more parameters in the startup packet.
///
/// # Errors
///
/// As above, and when Postgres refuses one of them.
pub async fn connect_with(
    target: &Target,
    params: &[(String, String)],
    worker: &Worker,
) -> Result<Connected, ConnectError> {
    let stream = dial(&target.place.address, &target.place.sockets).await?;
    log_in(stream, target, params, worker).await
}

/// The same over a connection that there is.
///
/// # Errors
///
/// When Postgres does not let us in.
pub async fn log_in(
    mut stream: Stream,
    target: &Target,
    params: &[(String, String)],
    worker: &Worker,
) -> Result<Connected, ConnectError> {
    let mut message = Vec::with_capacity(128);
    let mut all = vec![("user", target.user.as_str()), ("database", target.dbname.as_str())];
    all.extend(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    encode::startup(&mut message, &all);
    stream.send(&message).await?;
    let mut login = Login { stream, inbox: Inbox::default(), target };
    login.authenticate().await?;
    login.take_welcome(worker).await
}

/// A login under way.
struct Login<'a> {
    stream: Stream,
    inbox: Inbox,
    target: &'a Target,
}

impl Login<'_> {
    /// The next message that is not a notice; an error ends the login.
    async fn receive(&mut self) -> Result<(u8, Vec<u8>), ConnectError> {
        loop {
            match self.inbox.receive(&mut self.stream).await? {
                (from_server::NOTICE, _) => {}
                (from_server::ERROR, body) => {
                    return Err(ConnectError::Refused(Box::new(error_fields::parse(&body))));
                }
                message => return Ok(message),
            }
        }
    }

    /// The next authentication request: its code and what belongs to it.
    async fn receive_request(&mut self) -> Result<(u32, Vec<u8>), ConnectError> {
        let (tag, mut body) = self.receive().await?;
        match body.first_chunk::<4>() {
            Some(code) if tag == from_server::AUTHENTICATION => {
                let code = u32::from_be_bytes(*code);
                body.drain(..4);
                Ok((code, body))
            }
            _ => Err(strange(tag)),
        }
    }

    async fn send_password(&mut self, payload: &[u8]) -> Result<(), ConnectError> {
        let mut message = Vec::with_capacity(payload.len() + 5);
        encode::message(&mut message, from_client::PASSWORD, |out| out.extend(payload));
        Ok(self.stream.send(&message).await?)
    }

    async fn authenticate(&mut self) -> Result<(), ConnectError> {
        loop {
            let (code, body) = self.receive_request().await?;
            let credential = self.target.credential.as_deref();
            match code {
                0 => return Ok(()),
                3 => {
                    let password = credential.and_then(Credential::plain_password);
                    let password = password.ok_or(ConnectError::NoPassword("a plain password"))?;
                    let payload = [password.reveal().as_bytes(), b"\0"].concat();
                    self.send_password(&payload).await?;
                }
                5 => {
                    let salt = *body.first_chunk::<4>().ok_or_else(|| strange(b'R'))?;
                    let response = credential.and_then(|credential| credential.md5_response(salt));
                    let response = response.ok_or(ConnectError::NoPassword("an MD5 password"))?;
                    self.send_password(&[&response[..], b"\0"].concat()).await?;
                }
                10 => {
                    let secret = credential.and_then(Credential::client_secret);
                    let secret = secret.ok_or(ConnectError::NoPassword("SCRAM"))?;
                    self.scram(secret, &body).await?;
                }
                other => {
                    return Err(ConnectError::Strange(format!(
                        "it asks for authentication method {other}, which is not supported"
                    )));
                }
            }
        }
    }

    async fn scram(&mut self, secret: ClientSecret, offered: &[u8]) -> Result<(), ConnectError> {
        const MECHANISM: &[u8] = b"SCRAM-SHA-256";
        if !offered.split(|byte| *byte == 0).any(|name| name == MECHANISM) {
            return Err(ConnectError::Strange("it offers no SCRAM-SHA-256".to_owned()));
        }
        let (state, first) = scram::start(secret, rand::random());
        let length = u32::try_from(first.len()).expect("a SCRAM message is short").to_be_bytes();
        self.send_password(&[MECHANISM, b"\0", &length, &first].concat()).await?;
        let (code, body) = self.receive_request().await?;
        if code != 11 {
            return Err(strange(b'R'));
        }
        let (state, answer) = match state.server_first(&body)? {
            Next::Send(state, answer) => (state, answer),
            Next::Derive(work) => tokio::task::spawn_blocking(|| work.run())
                .await
                .map_err(|error| ConnectError::Strange(error.to_string()))?,
        };
        self.send_password(&answer).await?;
        let (code, body) = self.receive_request().await?;
        if code != 12 {
            return Err(strange(b'R'));
        }
        Ok(state.server_final(&body)?)
    }

    async fn take_welcome(mut self, worker: &Worker) -> Result<Connected, ConnectError> {
        let mut params = Vec::new();
        let place = Arc::clone(&self.target.place);
        let mut key = BackendKey {
            pid: 0,
            secret: [].into(),
            place,
            ends: None,
            statements: Count::default(),
        };
        loop {
            let (tag, body) = self.receive().await?;
            match tag {
                from_server::PARAMETER_STATUS => {
                    let (name, value) = parameter(&body).ok_or_else(|| strange(tag))?;
                    params.push((name.to_owned(), value.to_owned()));
                }
                from_server::BACKEND_KEY_DATA => {
                    let (pid, secret) =
                        body.split_first_chunk::<4>().ok_or_else(|| strange(tag))?;
                    (key.pid, key.secret) = (u32::from_be_bytes(*pid), secret.into());
                }
                from_server::READY if !self.inbox.is_empty() => return Err(strange(tag)),
                from_server::READY => {
                    let server = Server::new(self.stream, worker.id, key, worker.wake());
                    return Ok(Connected { server, params });
                }
                tag => return Err(strange(tag)),
            }
        }
    }
}

fn strange(tag: u8) -> ConnectError {
    ConnectError::Strange(format!("it sent an unexpected message {:?}", char::from(tag)))
}
