//! What one process tells the next when that takes over: the messages, and a client as a value.
//!
//! ```text
//!   old                                    new
//!    |  <-------- Hello ------------------  |  it has checked its configuration
//!    |  --------- Offer, listeners ------>  |  it builds everything; it may still fail
//!    |  <-------- Ready ------------------  |  it accepts; from here on there is no way back
//!    |  --------- Client, its socket ---->  |  each at its transaction boundary
//!    |  <-------- Cancel -----------------  |  for somebody who has not moved yet
//!    |  <-------- End -------------------  |  it was told to end itself, with somebody left in the old one
//!    |  --------- Done ------------------>  |  nobody is left
//! ```
//!
//! Until `Ready` the old one serves as if nothing had happened, and a new one that fails changes
//! nothing. Who cannot move (a client that keeps its server) stays with the old process until it leaves.

use crate::base::ids::ClientId;
use crate::net::stream::Peer;
use crate::pool::halts::Said;
use crate::session::settings::Settings;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The form of these messages. Processes with different ones do not take over from each other.
pub const FORM: u32 = 2;

/// Ids that the old process may still give to logins under way: the new one begins behind them.
pub const IDS_APART: u64 = 1 << 20;

/// From the process that takes over.
#[derive(Debug, Deserialize, Serialize)]
pub enum ToOld {
    Hello {
        form: u32,
        version: String,
        pid: u32,
    },
    Ready,
    Cancel(CancelRequest),
    /// The new one ends, as it was told: whoever is left is to be seen out, at once or when they can.
    End {
        at_once: bool,
    },
}

/// A cancel request for somebody whom only the old process may know.
#[derive(Debug, Deserialize, Serialize)]
pub struct CancelRequest {
    pub pid: u32,
    pub secret: Vec<u8>,
}

/// From the process that is taken over from.
#[derive(Debug, Deserialize, Serialize)]
pub enum ToNew {
    /// It will not: why.
    Refused {
        why: String,
    },
    /// The sockets that listen are with it.
    Offer(Offer),
    /// The socket is with it; the body is what the client has sent.
    Client(Moved),
    /// A server that nobody uses in the old process any more, and its socket.
    Server(Bequest),
    Done,
}

/// What the new process starts with.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Offer {
    /// A service manager has decided where to listen.
    pub is_activated: bool,
    /// The id of the next client.
    pub next_client: u64,
    /// What the salts of users are made from: a restart must not change them.
    pub salt_key: [u8; 32],
    /// What clients' proofs revealed of users with a SCRAM secret, by name: without them the new
    /// process could log in to Postgres only once such a client comes.
    pub client_keys: Vec<(String, [u8; 32])>,
    /// What is paused stays so: those who wait move on with their requests.
    pub halts: Said,
}

/// A client between two processes: all there is of one that has no server.
#[derive(Debug, Deserialize, Serialize)]
pub struct Moved {
    pub id: u64,
    /// What a cancel request must show.
    pub secret: Vec<u8>,
    pub database: String,
    pub user: String,
    /// The class it is in, by name.
    pub class: String,
    /// `None`: over the unix socket.
    pub address: Option<SocketAddr>,
    pub settings: Vec<(String, String)>,
    pub age: Duration,
    /// Everything up to the next `Sync` is thrown away.
    pub is_skipping: bool,
    /// Bytes still to come of a message that is thrown away.
    pub to_swallow: u32,
    /// What it listens to.
    pub channels: Vec<String>,
}

/// A server between two processes: idle, clean, and owing nothing.
#[derive(Debug, Deserialize, Serialize)]
pub struct Bequest {
    /// The host of the configuration, by name.
    pub host: String,
    /// See [`crate::pool::Setup::lineage`].
    pub lineage: String,
    pub is_unix: bool,
    pub pid: u32,
    pub secret: Vec<u8>,
    pub applied: Vec<(String, String)>,
    /// What it reported when it let us in.
    pub params: Vec<(String, String)>,
    pub age: Duration,
}

/// A [`Moved`] client with its socket and what it has sent.
#[derive(Debug)]
pub struct Parcel {
    pub moved: Moved,
    pub sent: Vec<u8>,
    pub socket: OwnedFd,
}

impl Moved {
    pub fn client(&self) -> ClientId {
        ClientId(self.id)
    }

    pub fn peer(&self) -> Peer {
        self.address.map_or(Peer::Unix, Peer::Tcp)
    }

    pub fn settings(&self) -> Settings {
        settings_of(&self.settings)
    }
}

/// Settings as they travel.
pub fn listed(settings: &Settings) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The same, arrived.
pub fn settings_of(listed: &[(String, String)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in listed {
        settings.set(name, value);
    }
    settings
}
