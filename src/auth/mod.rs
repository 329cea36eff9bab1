//! Who may come in: SCRAM, MD5 and plain passwords as machines without sockets.
//!
//! Everything here takes the bytes that one side sent and returns the bytes to send back, or an
//! error that says whose fault it was. Framing is the caller's, and so are nonces and salts: they
//! are arguments, so that an exchange can be replayed to the byte.
//!
//! ```text
//!  configuration text ── Stored::parse ──> Stored ── Credential::new ──> Credential (kept, shared)
//!                                                                          │            │
//!  a client logs in     check_plain, check_md5, scram::server <── keys ────┘            │
//!  we log in to Postgres     plain_password, md5_response, scram::client <── secret ────┘
//! ```
//!
//! Two calls are slow (PBKDF2, milliseconds) and say so: [`Credential::derive_keys`] and
//! [`scram::client::Derive::run`]. Their results are kept. The caller runs them, and
//! [`Credential::check_plain`] for a user with a SCRAM secret, away from the workers.

mod credential;
mod md5;
mod saslprep;
pub mod scram;
mod stored;

pub use credential::Credential;
pub use md5::{MD5_RESPONSE_BYTES, Md5Hash};
pub use stored::Stored;
