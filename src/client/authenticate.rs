//! A client proves who it is.

use super::greet::Wanted;
use super::login::Frontend;
use crate::auth::Credential;
use crate::auth::scram::server::{ExpectFirst, Fault, ScramError};
use crate::auth::scram::{MECHANISM, ScramSecret};
use crate::config::AuthType;
use crate::end::{End, EndReason};
use crate::net::stream::{Link, Stream};
use crate::wire::encode;
use crate::wire::frame::{Head, split_text};
use crate::wire::tags::from_client;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

/// The longest answer to an authentication request. Postgres allows 65,535 (`PG_MAX_AUTH_TOKEN_LENGTH`);
/// passwords and SCRAM messages are far shorter.
const ANSWER_MAX: u32 = 16_384;

/// A conversation with a client that is not in yet.
pub(super) struct Exchange<'a> {
    pub(super) stream: &'a mut Stream,
    /// What has come and was not used.
    pub(super) buffer: Vec<u8>,
    /// What goes out with the next message.
    pub(super) out: Vec<u8>,
}

impl<'a> Exchange<'a> {
    /// Begins with what the client must know of the protocol's version, if anything.
    pub(super) fn new(stream: &'a mut Stream, buffer: Vec<u8>, wanted: &Wanted) -> Self {
        let mut out = Vec::new();
        if wanted.negotiates {
            let unknown: Vec<_> = wanted.unknown_options.iter().map(String::as_str).collect();
            encode::negotiate_version(&mut out, wanted.minor, &unknown);
        }
        Self { stream, buffer, out }
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let sent = self.stream.send(&self.out).await;
        self.out.clear();
        sent.map_err(|_| EndReason::ClientGone.into())
    }

    /// Waits for something that is not the client's to give, and meanwhile notices if it goes away.
    pub(super) async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            // It has nothing to say before it is asked: what it says all the same is kept, up to
            // some length, for whoever asks.
            while self.buffer.len() < ANSWER_MAX as usize {
                let mut bytes = [0; 256];
                match ready!(self.stream.poll_read(cx, &mut bytes)) {
                    Ok(read @ 1..) => self.buffer.extend_from_slice(&bytes[..read]),
                    Ok(0) | Err(_) => return Poll::Ready(Err(EndReason::ClientGone.into())),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends the request and waits for its answer.
    async fn ask(&mut self, code: u32, body: &[u8]) -> Result<Vec<u8>, End> {
        encode::authentication(&mut self.out, code, |out| out.extend(body));
        self.flush().await?;
        loop {
            let head = Head::parse(&self.buffer, ANSWER_MAX);
            match head.map_err(|error| End::protocol(error.to_string()))? {
                Some(head) if head.tag != from_client::PASSWORD => {
                    return Err(End::protocol(format!(
                        "expected password response, got message type {}",
                        head.tag
                    )));
                }
                Some(head) if self.buffer.len() >= head.total => {
                    let rest = self.buffer.split_off(head.total);
                    let mut answer = std::mem::replace(&mut self.buffer, rest);
                    answer.drain(..5);
                    return Ok(answer);
                }
                _ => match self.stream.receive(&mut self.buffer).await {
                    Ok(1..) => {}
                    // psql comes back with a password after it was asked for one: no fault.
                    Ok(0) | Err(_) => return Err(EndReason::ClientGone.into()),
                },
            }
        }
    }
}

impl Frontend {
    /// Lets the client prove that it is `user`. `Ok`: it is.
    pub(super) async fn authenticate(
        &self,
        exchange: &mut Exchange<'_>,
        user: &str,
        credential: Option<&Arc<Credential>>,
    ) -> Result<(), End> {
        let is_right = match self.registry.config().auth.kind {
            AuthType::Trust => true,
            AuthType::Plain => self.plain(exchange, credential).await?,
            // As PgBouncer does: a SCRAM secret can only be checked with SCRAM.
            AuthType::Md5 if !is_scram(credential) => {
                let salt: [u8; 4] = rand::random();
                let answer = exchange.ask(5, &salt).await?;
                let response = answer.strip_suffix(b"\0").unwrap_or(&answer);
                credential.is_some_and(|credential| credential.check_md5(response, salt))
            }
            AuthType::Md5 | AuthType::ScramSha256 => self.scram(exchange, user, credential).await?,
        };
        if is_right {
            return Ok(());
        }
        let message = format!("password authentication failed for user \"{user}\"");
        Err(End::from(EndReason::AuthenticationFailed).with_message(message))
    }

    async fn plain(
        &self,
        exchange: &mut Exchange<'_>,
        credential: Option<&Arc<Credential>>,
    ) -> Result<bool, End> {
        let answer = exchange.ask(3, b"").await?;
        let Some((password, b"")) = split_text(&answer) else {
            return Err(End::protocol("invalid password packet"));
        };
        let Some(credential) = credential else { return Ok(false) };
        if let Some(is_right) = credential.check_plain_at_once(password) {
            return Ok(is_right);
        }
        let (known, password) = (Arc::clone(credential), password.to_vec());
        let checked = self.compute(move || known.check_plain(&password)).await;
        Ok(checked.unwrap_or(false))
    }

    /// Does something slow, beside the worker and behind the queries of all workers.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.arithmetic).acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            // Here, and not where it is waited for: the client may have gone by now.
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// The keys to check a proof against; for an unknown user, keys that fit no password.
    async fn scram_secret(
        &self,
        user: &str,
        credential: Option<&Arc<Credential>>,
    ) -> Arc<ScramSecret> {
        let mock = self.mock();
        let Some(known) = credential.filter(|credential| credential.can_scram()) else {
            return mock.stand_in(user, None);
        };
        if let Some(keys) = known.ready_keys() {
            return keys;
        }
        // Once for each user and process: of many who come at once, one computes.
        let (known, with) = (Arc::clone(known), mock.clone());
        let derived = self.compute(move || known.derive_keys(&with)).await;
        mock.stand_in(user, derived.flatten())
    }

    async fn scram(
        &self,
        exchange: &mut Exchange<'_>,
        user: &str,
        credential: Option<&Arc<Credential>>,
    ) -> Result<bool, End> {
        let secret = self.scram_secret(user, credential).await;
        let offer = [MECHANISM.as_bytes(), b"\0\0"].concat();
        let answer = exchange.ask(10, &offer).await?;
        let malformed = || End::protocol("malformed SASL initial response");
        let (mechanism, rest) = split_text(&answer).ok_or_else(malformed)?;
        if mechanism != MECHANISM.as_bytes() {
            return Err(End::protocol("client selected an invalid SASL authentication mechanism"));
        }
        let (length, first) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let first = match u32::from_be_bytes(*length) {
            // No initial response: ask for it with an empty challenge, as Postgres does.
            u32::MAX => exchange.ask(11, b"").await?,
            length if length as usize == first.len() => first.to_vec(),
            _ => return Err(malformed()),
        };
        let state = ExpectFirst::new(secret, rand::random());
        let (state, reply) = match state.client_first(&first) {
            Ok(next) => next,
            Err(error) => return scram_failure(error),
        };
        let last = exchange.ask(11, &reply).await?;
        match state.client_final(&last) {
            Ok(verified) => {
                if let Some(credential) = credential {
                    credential.learn(&verified.client_key);
                }
                encode::authentication(&mut exchange.out, 12, |out| {
                    out.extend(&verified.server_final);
                });
                Ok(true)
            }
            Err(error) => scram_failure(error),
        }
    }
}

fn scram_failure(error: ScramError) -> Result<bool, End> {
    match error.fault() {
        Fault::Password => Ok(false),
        Fault::Protocol => Err(End::protocol(error.to_string())),
        Fault::Unsupported => {
            Err(End::from(EndReason::VersionUnsupported).with_message(error.to_string()))
        }
    }
}

fn is_scram(credential: Option<&Arc<Credential>>) -> bool {
    credential.is_some_and(|credential| credential.is_scram())
}
