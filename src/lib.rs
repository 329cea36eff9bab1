//! pgweir, a PostgreSQL connection proxy: many client sessions in front, a capped pool of servers
//! behind, and between them a scheduler that queues fairly and says why anybody waits.
//!
//! # Map
//!
//! Each module may use only the modules above it; `tidy.rs` checks that. Those before [`net`] have
//! no socket, no clock and no task: they take `now` and return what to do.
//!
//! - [`base`]: ids, secrets, the timer wheel, shared state.
//! - [`end`]: why anything ended, and what each audience is told.
//! - [`wire`]: bytes to messages and back.
//! - [`sql`]: as much SQL as a pooler needs.
//! - [`stats`]: counters, and snapshots of them.
//! - [`config`]: the file, resolved into a value.
//! - [`auth`]: who may come in.
//! - [`session`]: what one client has asked for and is owed.
//! - [`scheduler`]: who gets which server, and when.
//! - [`net`]: sockets, buffers, the clock.
//! - [`server`]: one connection to Postgres.
//! - [`pool`]: servers on loan.
//! - [`control`]: what changes a proxy while it runs, and who is in it.
//! - [`client`]: one client, from its first byte to its last.
//! - [`admin`]: the console.
//! - [`status`]: the status page, and what it shows.
//! - [`metrics`]: health, readiness and metrics over HTTP.
//! - [`app`]: builds everything and owns every task.
//! - [`top`]: a proxy's console, looked at in a terminal.
//! - [`cli`]: flags and sub-commands.

pub mod admin;
pub mod app;
pub mod auth;
pub mod base;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod end;
pub mod metrics;
pub mod net;
pub mod pool;
pub mod scheduler;
pub mod server;
pub mod session;
pub mod sql;
pub mod stats;
pub mod status;
#[cfg(test)]
mod tidy;
pub mod top;
pub mod wire;
