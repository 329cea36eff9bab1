//! Who may come in: SCRAM, MD5 and plain passwords as machines without sockets.
//!
//! Everything here takes the bytes that one side sent and returns the bytes to send back, or an
//! error that says whose fault it was. Framing is the caller's, and so are nonces and salts: they
//! are arguments, so that an exchange can be replayed to the byte.

mod md5;
mod saslprep;
pub mod scram;

pub use md5::{MD5_RESPONSE_BYTES, Md5Hash};
