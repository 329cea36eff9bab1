//! The server's end: a client proves that it knows the password.
//!
//! ```text
//! ExpectFirst ── client_first ──> ExpectProof ── client_final ──> Verified
//! ```
//!
//! Each state is consumed by its message, so a nonce serves one exchange. What is accepted follows
//! Postgres: the user name in the message is ignored (the startup message has it), an authorization
//! identity and mandatory extensions are refused, other extensions are ignored.

use super::NONCE_BYTES;
use super::attributes::{Attributes, Malformed, check_bounds, decode_key, is_nonce};
use super::keys::{AuthMessage, ClientKey};
use super::secret::ScramSecret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The client's first message is awaited.
#[derive(Debug)]
pub struct ExpectFirst {
    secret: Arc<ScramSecret>,
    nonce: String,
}

/// The client's proof is awaited.
#[derive(Debug)]
pub struct ExpectProof {
    secret: Arc<ScramSecret>,
    gs2_header: Vec<u8>,
    client_first_bare: Vec<u8>,
    /// The client's part and ours.
    nonce: Vec<u8>,
    server_first: Vec<u8>,
}

/// The client knows the password.
#[derive(Debug)]
pub struct Verified {
    /// For the client: it may check that we know the secret.
    pub server_final: Vec<u8>,
    /// What the proof revealed: enough to log in to Postgres as the client.
    pub client_key: ClientKey,
}

/// Why a client was refused. All are the client's fault; [`ScramError::fault`] says of what kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScramError {
    #[error("client asks for an authorization identity, which is not supported")]
    AuthorizationIdentity,
    #[error("client's channel binding is not the one that it began with")]
    ChannelBindingMismatch,
    #[error("client demands channel binding, which was not offered")]
    ChannelBindingNotOffered,
    #[error("malformed SCRAM message: {0}")]
    Malformed(#[from] Malformed),
    #[error("client demands a SCRAM extension")]
    MandatoryExtension,
    #[error("client's nonce is not the one of this exchange")]
    NonceMismatch,
    #[error("the proof does not fit")]
    WrongProof,
}

/// What a refusal is about, and with it its SQLSTATE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// 28P01. The only one that a right message can lead to, and the same for any user.
    Password,
    /// 08P01.
    Protocol,
    /// 0A000, as in Postgres.
    Unsupported,
}

impl ScramError {
    /// Decides the SQLSTATE.
    pub fn fault(self) -> Fault {
        match self {
            Self::AuthorizationIdentity | Self::MandatoryExtension => Fault::Unsupported,
            Self::ChannelBindingMismatch
            | Self::ChannelBindingNotOffered
            | Self::Malformed(_)
            | Self::NonceMismatch => Fault::Protocol,
            Self::WrongProof => Fault::Password,
        }
    }
}

impl ExpectFirst {
    /// `nonce` is random and never used again. `secret` comes from [`super::Mock::stand_in`], for
    /// users that exist and for those that do not.
    pub fn new(secret: Arc<ScramSecret>, nonce: [u8; NONCE_BYTES]) -> Self {
        Self { secret, nonce: STANDARD.encode(nonce) }
    }

    /// With a nonce as it stands in a published exchange.
    #[cfg(test)]
    pub(super) fn with_nonce(secret: Arc<ScramSecret>, nonce: &str) -> Self {
        Self { secret, nonce: nonce.to_owned() }
    }

    /// Takes `n,,n=,r=…` and returns what to send: nonce, salt and iterations.
    pub fn client_first(self, message: &[u8]) -> Result<(ExpectProof, Vec<u8>), ScramError> {
        check_bounds(message)?;
        let (gs2_header, bare) = split_gs2_header(message)?;
        let client_nonce = read_client_first_bare(bare)?;

        let nonce = [client_nonce, self.nonce.as_bytes()].concat();
        let salt = STANDARD.encode(&self.secret.salt);
        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        server_first.extend_from_slice(b",s=");
        server_first.extend_from_slice(salt.as_bytes());
        server_first.extend_from_slice(b",i=");
        server_first.extend_from_slice(self.secret.iterations.count().to_string().as_bytes());

        let reply = server_first.clone();
        let next = ExpectProof {
            secret: self.secret,
            gs2_header: gs2_header.to_vec(),
            client_first_bare: bare.to_vec(),
            nonce,
            server_first,
        };
        Ok((next, reply))
    }
}

impl ExpectProof {
    /// Takes `c=…,r=…,p=…`. What comes back goes out before `AuthenticationOk`.
    pub fn client_final(self, message: &[u8]) -> Result<Verified, ScramError> {
        check_bounds(message)?;
        let parsed = ClientFinal::read(message)?;
        if parsed.channel_binding != STANDARD.encode(&self.gs2_header).as_bytes() {
            return Err(ScramError::ChannelBindingMismatch);
        }
        if parsed.nonce != self.nonce {
            return Err(ScramError::NonceMismatch);
        }
        let signed = AuthMessage {
            client_first_bare: &self.client_first_bare,
            server_first: &self.server_first,
            client_final_without_proof: parsed.without_proof,
        };
        let client_key = self.secret.stored_key.client_key(&parsed.proof, signed);
        if !self.secret.accepts(&client_key) {
            return Err(ScramError::WrongProof);
        }
        let signature = STANDARD.encode(self.secret.server_key.signature(signed));
        Ok(Verified { server_final: format!("v={signature}").into_bytes(), client_key })
    }
}

struct ClientFinal<'a> {
    channel_binding: &'a [u8],
    nonce: &'a [u8],
    proof: [u8; 32],
    without_proof: &'a [u8],
}

impl<'a> ClientFinal<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut attributes = Attributes::new(message);
        let channel_binding = attributes.expect(b'c')?;
        let nonce = attributes.expect(b'r')?;
        loop {
            let unread = attributes.rest_bytes();
            match attributes.next()? {
                Some((b'm', _)) => return Err(ScramError::MandatoryExtension),
                Some((b'p', proof)) => {
                    attributes.end()?;
                    let proof = decode_key(proof).ok_or(Malformed::Proof)?;
                    // Up to the comma before the proof.
                    let without_proof = &message[..message.len() - unread - 1];
                    return Ok(Self { channel_binding, nonce, proof, without_proof });
                }
                Some(_) => {}
                None => return Err(Malformed::AttributeMissing.into()),
            }
        }
    }
}

/// Splits `n,,` or `y,,` off. A client says `y` when it could bind and believes that we cannot:
/// true, as long as the mechanism with binding is not offered.
fn split_gs2_header(message: &[u8]) -> Result<(&[u8], &[u8]), ScramError> {
    match message {
        [b'n' | b'y', b',', b',', bare @ ..] => Ok((&message[..3], bare)),
        [b'n' | b'y', b',', b'a', ..] => Err(ScramError::AuthorizationIdentity),
        [b'p', b'=', ..] => Err(ScramError::ChannelBindingNotOffered),
        _ => Err(Malformed::Gs2Header.into()),
    }
}

/// The client's nonce.
fn read_client_first_bare(bare: &[u8]) -> Result<&[u8], ScramError> {
    if bare.starts_with(b"m=") {
        return Err(ScramError::MandatoryExtension);
    }
    let mut attributes = Attributes::new(bare);
    attributes.expect(b'n')?;
    let nonce = attributes.expect(b'r')?;
    if !is_nonce(nonce) {
        return Err(Malformed::Nonce.into());
    }
    attributes.skip_extensions()?;
    Ok(nonce)
}
