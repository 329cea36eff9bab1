//! What tests are made of: a Postgres, a proxy, a raw client, a bad network. Each test starts what it
//! needs and everything ends with it, so that tests run in parallel, in threads or in processes.

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) mod console;
pub(crate) mod crowd;
pub(crate) mod cutter;
pub(crate) mod frames;
pub(crate) mod login;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod pulse;
pub(crate) mod random;
pub(crate) mod settings;
pub(crate) mod steal;
pub(crate) mod terminal;
pub(crate) mod time;
pub(crate) mod wire;

/// Where something listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}
