//! Logging in, with anything in the startup message and any way of authentication.

use std::collections::BTreeMap;
use std::io;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::Address;
use super::frames::{Batch, Frame, shown, startup_message, terminated};
use super::time::{WAIT_MAX, within};
use super::wire::{Client, Wire};

pub(crate) const PROTOCOL_3_0: u32 = 0x0003_0000;
pub(crate) const PROTOCOL_3_2: u32 = 0x0003_0002;

#[derive(Clone)]
pub(crate) struct Login {
    address: Address,
    protocol: u32,
    parameters: Vec<(String, String)>,
    password: Option<String>,
}

/// A login that did not lead to a session.
#[derive(Debug)]
#[expect(dead_code, reason = "`broken` is there to be shown")]
pub(crate) struct Refused {
    /// Every message that came, the last one mostly an `ErrorResponse`.
    pub(crate) frames: Vec<Frame>,
    pub(crate) broken: Option<io::Error>,
}

impl Login {
    /// As `app` to the database `app`, with protocol 3.0.
    pub(crate) fn to(address: &Address) -> Self {
        Self {
            address: address.clone(),
            protocol: PROTOCOL_3_0,
            parameters: vec![],
            password: Some("app-secret".to_owned()),
        }
        .with("user", "app")
        .with("database", "app")
    }

    /// Sets a startup parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn user(self, name: &str, password: &str) -> Self {
        let mut login = self.with("user", name);
        login.password = Some(password.to_owned());
        login
    }

    pub(crate) fn database(self, name: &str) -> Self {
        self.with("database", name)
    }

    pub(crate) fn protocol(mut self, version: u32) -> Self {
        self.protocol = version;
        self
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.parameters {
            body.extend(terminated(&[name, value]));
        }
        body.push(0);
        startup_message(self.protocol, &body)
    }

    /// Logs in; fails the test when that is refused.
    pub(crate) async fn connect(&self) -> Client {
        self.attempt().await.unwrap_or_else(|refused| panic!("the login failed: {refused:?}"))
    }

    /// The error with which this login is refused.
    pub(crate) async fn error(&self) -> Frame {
        let Err(mut refused) = self.attempt().await else { panic!("the login was not refused") };
        let last = refused.frames.pop();
        last.filter(|frame| frame.tag == b'E').unwrap_or_else(|| panic!("no error: {refused:?}"))
    }

    pub(crate) async fn attempt(&self) -> Result<Client, Refused> {
        let wire = match Wire::try_connect(&self.address).await {
            Ok(wire) => wire,
            Err(error) => return Err(Refused { frames: vec![], broken: Some(error) }),
        };
        let attempt = within(WAIT_MAX, self.attempt_over(wire)).await;
        attempt.unwrap_or_else(|| panic!("a login was not answered within {WAIT_MAX:?}"))
    }

    /// Logs in over a connection that was opened, and perhaps used, before.
    pub(crate) async fn attempt_over(&self, mut wire: Wire) -> Result<Client, Refused> {
        let mut frames = Vec::new();
        match self.converse(&mut wire, &mut frames).await {
            Ok(true) => Ok(self.session(wire, frames)),
            Ok(false) => Err(Refused { frames, broken: None }),
            Err(error) => Err(Refused { frames, broken: Some(error) }),
        }
    }

    /// True when it ended with ReadyForQuery, false when with an error.
    async fn converse(&self, wire: &mut Wire, frames: &mut Vec<Frame>) -> io::Result<bool> {
        wire.try_send(&self.message()).await?;
        let mut scram = None;
        loop {
            let Some(frame) = wire.try_frame().await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            frames.push(frame.clone());
            match frame.tag {
                b'R' => self.authenticate(wire, &frame.body, &mut scram).await?,
                b'E' => return Ok(false),
                b'Z' => return Ok(true),
                _ => {}
            }
        }
    }

    async fn authenticate(
        &self,
        wire: &mut Wire,
        request: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> io::Result<()> {
        let (kind, rest) = request.split_first_chunk::<4>().expect("a request has a kind");
        let password = self.password.as_deref().unwrap_or_default();
        let reply = match u32::from_be_bytes(*kind) {
            3 => terminated(&[password]),
            5 => {
                let salt = *rest.first_chunk::<4>().expect("an md5 request has a salt");
                let (_, user) =
                    self.parameters.iter().find(|(name, _)| name == "user").expect("set");
                terminated(&[&md5_hash(user.as_bytes(), password.as_bytes(), salt)])
            }
            10 => {
                let started = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                let first = scram.insert(started).message().to_vec();
                let mut body = terminated(&[SCRAM_SHA_256]);
                body.extend(u32::try_from(first.len()).expect("short").to_be_bytes());
                body.extend(first);
                body
            }
            11 => {
                let scram = scram.as_mut().expect("SASL began before it goes on");
                scram.update(rest)?;
                scram.message().to_vec()
            }
            12 => {
                let scram = scram.as_mut().expect("SASL began before it ends");
                // Checks that the server knows the password, too.
                return scram.finish(rest);
            }
            0 => return Ok(()),
            kind => panic!("unknown authentication request {kind}"),
        };
        wire.try_send(&Batch::new().raw(b'p', &reply).0).await
    }

    fn session(&self, wire: Wire, greeting: Vec<Frame>) -> Client {
        let mut parameters = BTreeMap::new();
        for status in greeting.iter().filter(|frame| frame.tag == b'S') {
            let text = String::from_utf8_lossy(&status.body);
            let (name, value) = text.split_once('\0').expect("a status has a name");
            parameters.insert(name.to_owned(), value.trim_end_matches('\0').to_owned());
        }
        let key = greeting.iter().find(|frame| frame.tag == b'K');
        let key = key.unwrap_or_else(|| panic!("no BackendKeyData in {:?}", shown(&greeting)));
        let (pid, secret) = key.body.split_first_chunk::<4>().expect("a key has a pid");
        let (pid, secret) = (u32::from_be_bytes(*pid), secret.to_vec());
        Client { wire, address: self.address.clone(), pid, secret, parameters, greeting }
    }
}
