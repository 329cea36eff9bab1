//! What changes a proxy while it runs, and who is in it.
//!
//! [`roster`] knows every client: what others may see of it, and how to tell it something.
//! [`shutdown`] sees them out.

pub mod roster;
pub mod shutdown;
