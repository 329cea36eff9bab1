//! The smallest words: ids, secrets, patterns, rates, time that is told rather than read, shared state.
//!
//! Nothing here knows Postgres. Nothing here reads a clock.

pub mod backoff;
pub mod bucket;
pub mod calendar;
pub mod expiry;
pub mod finding;
pub mod glob;
pub mod ids;
pub mod legible;
pub mod muffle;
pub mod secret;
pub mod shared;
