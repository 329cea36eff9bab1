//! The client's end: we log in to Postgres.
//!
//! ```text
//! start ──> ExpectServerFirst ── server_first ──> Next::Send ──────────────> ExpectServerFinal
//!                                            └──> Next::Derive ── run (slow) ──┘
//! ```
//!
//! `Next::Derive` comes once per password and salt: the keys are kept, so the connections after the
//! first cost a few hashes. With keys learned from a client there is nothing to derive.

use super::NONCE_BYTES;
use super::attributes::{Attributes, Malformed, check_bounds, decode_key, decode_salt};
use super::keys::{AuthMessage, Iterations};
use super::secret::ClientKeys;
use crate::base::secret::Secret;
use crate::base::shared::Shared;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Channel binding is not supported: we say so, rather than that the server does not.
const GS2_HEADER: &str = "n,,";

/// What we log in with. Cheap to clone; clones share what was derived.
#[derive(Clone, Debug)]
pub enum ClientSecret {
    /// Learned from a client's proof: good for the server that keeps the same secret.
    Keys(Arc<ClientKeys>),
    /// Good for any server.
    Password(Arc<DerivedKeys>),
}

/// A password and the keys that were made of it.
#[derive(Debug)]
pub struct DerivedKeys {
    password: Secret,
    kept: Shared<VecDeque<Arc<ClientKeys>>>,
}

/// The server's nonce, salt and iterations are awaited.
#[derive(Debug)]
pub struct ExpectServerFirst {
    secret: ClientSecret,
    nonce: String,
}

/// What to do after the server's first message.
#[derive(Debug)]
pub enum Next {
    /// Nothing to send yet: [`Derive::run`] it away from the workers first.
    Derive(Derive),
    /// The payload to send.
    Send(ExpectServerFinal, Vec<u8>),
}

/// Slow work that stands between the server's first message and our answer.
#[derive(Debug)]
pub struct Derive {
    password: Arc<DerivedKeys>,
    salt: Vec<u8>,
    iterations: Iterations,
    answer: Answer,
}

/// The server's signature is awaited. Until it was checked, the server may be anybody.
#[derive(Debug)]
pub struct ExpectServerFinal {
    signature: Zeroizing<[u8; 32]>,
}

/// Why we cannot log in, or should not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The server's fault.
    #[error("server sent a malformed SCRAM message: {0}")]
    Malformed(#[from] Malformed),
    /// The server's fault.
    #[error("server demands a SCRAM extension")]
    MandatoryExtension,
    /// The server's fault, or somebody is in between.
    #[error("server's nonce does not begin with ours")]
    NonceMismatch,
    /// Nobody's fault yet: the server says no in SCRAM's own way. Postgres sends an
    /// `ErrorResponse` instead.
    #[error("server refused the exchange: {0}")]
    Refused(String),
    /// The configuration's fault: the secret stored here is not the one that Postgres has.
    #[error("the stored SCRAM secret has another salt or iteration count than the server's")]
    SecretMismatch,
    /// The server does not know the password either: it is not the one we meant to reach.
    #[error("server's signature is wrong")]
    SignatureWrong,
}

impl ClientSecret {
    /// With nothing derived yet. Make one per user, not one per connection.
    pub fn password(password: Secret) -> Self {
        Self::Password(Arc::new(DerivedKeys::new(password)))
    }
}

impl DerivedKeys {
    /// How many servers with salts of their own one password is remembered for. Replicas share
    /// their primary's salts.
    pub const KEPT_MAX: usize = 8;

    /// With nothing derived yet.
    pub fn new(password: Secret) -> Self {
        Self { password, kept: Shared::default() }
    }

    /// The keys for a server with this salt and count, if they were derived before.
    pub fn lookup(&self, salt: &[u8], iterations: Iterations) -> Option<Arc<ClientKeys>> {
        self.kept.with(|kept| kept.iter().find(|keys| keys.fit(salt, iterations)).cloned())
    }

    /// The keys for a server with this salt and count, from now on kept. **Slow.**
    pub fn derive(&self, salt: &[u8], iterations: Iterations) -> Arc<ClientKeys> {
        // Several connections may be opened at once: whoever comes late finds the work done.
        if let Some(keys) = self.lookup(salt, iterations) {
            return keys;
        }
        let password = self.password.reveal().as_bytes();
        let keys = Arc::new(ClientKeys::of_password(password, salt, iterations));
        self.kept.with(|kept| {
            if !kept.iter().any(|other| other.fit(salt, iterations)) {
                kept.truncate(Self::KEPT_MAX - 1);
                kept.push_front(Arc::clone(&keys));
            }
        });
        keys
    }
}

/// Begins a login; the payload is our first message. `nonce` is random and never used again.
pub fn start(secret: ClientSecret, nonce: [u8; NONCE_BYTES]) -> (ExpectServerFirst, Vec<u8>) {
    let state = ExpectServerFirst { secret, nonce: STANDARD.encode(nonce) };
    let message = format!("{GS2_HEADER}{}", state.client_first_bare());
    (state, message.into_bytes())
}

impl ExpectServerFirst {
    /// Takes `r=…,s=…,i=…`.
    pub fn server_first(self, message: &[u8]) -> Result<Next, LoginError> {
        check_bounds(message)?;
        if message.starts_with(b"m=") {
            return Err(LoginError::MandatoryExtension);
        }
        let mut attributes = Attributes::new(message);
        let nonce = attributes.expect(b'r')?;
        let salt = decode_salt(attributes.expect(b's')?).ok_or(Malformed::Salt)?;
        let iterations = Iterations::parse(attributes.expect(b'i')?)?;
        attributes.skip_extensions()?;
        // The server must have added something: a nonce of ours alone could be replayed to us.
        if !nonce.starts_with(self.nonce.as_bytes()) || nonce.len() == self.nonce.len() {
            return Err(LoginError::NonceMismatch);
        }

        let answer = Answer {
            client_first_bare: self.client_first_bare().into_bytes(),
            server_first: message.to_vec(),
            without_proof: client_final_without_proof(nonce),
        };
        match self.secret {
            ClientSecret::Keys(keys) if keys.fit(&salt, iterations) => Ok(answer.send(&keys)),
            ClientSecret::Keys(_) => Err(LoginError::SecretMismatch),
            ClientSecret::Password(password) => match password.lookup(&salt, iterations) {
                Some(keys) => Ok(answer.send(&keys)),
                None => Ok(Next::Derive(Derive { password, salt, iterations, answer })),
            },
        }
    }

    /// The user name is in the startup message; Postgres ignores the one here.
    fn client_first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }
}

impl Derive {
    /// **Slow**, and keeps the result for the next connection.
    pub fn run(self) -> (ExpectServerFinal, Vec<u8>) {
        let keys = self.password.derive(&self.salt, self.iterations);
        self.answer.prove(&keys)
    }
}

impl ExpectServerFinal {
    /// Takes `v=…`. After an error the connection must not be used.
    pub fn server_final(&self, message: &[u8]) -> Result<(), LoginError> {
        check_bounds(message)?;
        let mut attributes = Attributes::new(message);
        let signature = match attributes.next()? {
            Some((b'e', reason)) => {
                return Err(LoginError::Refused(reason.escape_ascii().to_string()));
            }
            Some((b'v', signature)) => decode_key(signature).ok_or(Malformed::Signature)?,
            _ => return Err(Malformed::AttributeMissing.into()),
        };
        attributes.end()?;
        if bool::from(self.signature.ct_eq(&signature)) {
            Ok(())
        } else {
            Err(LoginError::SignatureWrong)
        }
    }
}

/// Our last message but for the proof, and what the proof is made over.
#[derive(Debug)]
struct Answer {
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    without_proof: Vec<u8>,
}

impl Answer {
    fn send(self, keys: &ClientKeys) -> Next {
        let (next, message) = self.prove(keys);
        Next::Send(next, message)
    }

    fn prove(self, keys: &ClientKeys) -> (ExpectServerFinal, Vec<u8>) {
        let signed = AuthMessage {
            client_first_bare: &self.client_first_bare,
            server_first: &self.server_first,
            client_final_without_proof: &self.without_proof,
        };
        let proof = keys.client_key.proof(signed);
        let signature = Zeroizing::new(keys.server_key.signature(signed));
        let mut message = self.without_proof;
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(proof.as_slice()).as_bytes());
        (ExpectServerFinal { signature }, message)
    }
}

fn client_final_without_proof(nonce: &[u8]) -> Vec<u8> {
    let mut message = format!("c={},r=", STANDARD.encode(GS2_HEADER)).into_bytes();
    message.extend_from_slice(nonce);
    message
}
