//! What changes a proxy while it runs, and who is in it.
//!
//! [`roster`] knows every client, and every [`operator`]: what others may see of it, and how to tell it
//! something.
//! [`holders`] asks it who has the servers of a pool; [`census`], who has which, and [`waits`], who waits.
//! [`suspend`] has them rest; [`shutdown`] sees them out; [`takeover`] is what goes to a process that
//! takes them over, and [`stops`] what both then tell each other. [`reload`] changes what holds.

mod cancel_key;
pub mod census;
pub mod holders;
mod moves;
pub mod operator;
pub mod reload;
pub mod roster;
pub mod shutdown;
pub mod stops;
pub mod suspend;
pub mod takeover;
pub mod waits;
mod watch;
