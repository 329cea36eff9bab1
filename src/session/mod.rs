//! What one client has asked for and is owed. No sockets.

pub mod base;
pub mod fare;
pub mod inquiry;
pub mod ledger;
pub mod pins;
mod request;
pub mod script;
pub mod settings;
pub mod statements;
pub mod text;
pub mod traces;
