//! What changes a proxy while it runs, and who is in it.
//!
//! [`roster`] knows every client: what others may see of it, and how to tell it something.
//! [`holders`] asks it who has the servers of a pool.
//! [`shutdown`] sees them out; [`takeover`] is what goes to a process that takes them over. [`reload`]
//! changes what holds.

pub mod holders;
pub mod reload;
pub mod roster;
pub mod shutdown;
pub mod takeover;
mod watch;
