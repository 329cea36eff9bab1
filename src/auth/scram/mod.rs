//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both ends, without I/O.
//!
//! ```text
//!  client                                       server
//!  n,,n=,r=NONCE                        ─────>
//!                                       <─────  r=NONCE+NONCE,s=SALT,i=COUNT
//!  c=biws,r=NONCE+NONCE,p=PROOF         ─────>
//!                                       <─────  v=SIGNATURE
//! ```
//!
//! The server end keeps a [`ScramSecret`]: it can check a proof and sign, but not make a proof.
//! Whoever makes a proof has the [`ClientKey`], and a proof that was right reveals it to the server
//! end. That is how this proxy logs in to Postgres for a user of whom only the secret is known.
//!
//! Channel binding is not offered. It would come in at two places: [`server::ExpectFirst`] and
//! [`client::start`] take the certificate's hash, and the GS2 header that either end compares or
//! sends is followed by that hash (`c=` is base64 of both). Nothing else depends on it.

mod attributes;
pub mod client;
mod keys;
mod mock;
mod secret;
pub mod server;
#[cfg(test)]
mod tests;

pub use attributes::Malformed;
pub use keys::{ClientKey, ITERATIONS_MAX, Iterations, PasswordMark, ServerKey, StoredKey};
pub use mock::Mock;
pub use secret::{ClientKeys, ScramSecret};

/// The mechanism's name in the list that a server sends and in what a client answers.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Random bytes in a nonce, before base64: as many as Postgres takes.
pub const NONCE_BYTES: usize = 18;

/// Bytes of a salt that is made here: as many as Postgres makes.
pub const SALT_BYTES: usize = 16;

/// The longest salt that is accepted, from a server or in a stored secret.
pub const SALT_BYTES_MAX: usize = 256;

/// The longest message that is looked at. Postgres' own limit for what a client sends; what a
/// server sends is a tenth of it.
pub const MESSAGE_BYTES_MAX: usize = 1024;
