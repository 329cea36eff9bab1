//! What one process tells the next when that takes over: the messages, and a client as a value.
//!
//! ```text
//!   old                                    new
//!    |  <-------- Hello ------------------  |  it has checked its configuration
//!    |  --------- Offer, listeners ------>  |  it builds everything; it may still fail
//!    |  <-------- Ready ------------------  |  it could accept
//!    |  --------- Go -------------------->  |  it does, and the old one does not any more
//!    |  <-------- Here ------------------  |  what is found by name is its own: it waits for clients
//!    |  --------- Client, its socket ---->  |  each at its transaction boundary
//!    |  <-------- Taken -----------------  |  before it is served there
//!    |  <-------- Cancel -----------------  |  for somebody who has not moved yet
//!    |  <-------- End -------------------  |  it was told to end itself, with somebody left in the old one
//!    |  <-------- Stopped -------------->   |  an operator has stopped something, or lets it go on
//!    |  <-------- Rests ---------------->   |  all of its clients rest, as an operator wants them to
//!    |  --------- Done ------------------>  |  nobody is left
//! ```
//!
//! Until `Go` the old one serves as if nothing had happened, and a new one that fails, or is ready too late,
//! changes nothing: neither accepts while the other does, and files that are found by name are the old
//! one's. Clients go on in the old one until the new one is `Here`: it has files to make and to remove, for which
//! a busy disk may take its time. Who cannot move (a client that keeps its server) stays with the old process until it leaves.
//!
//! A client is the old one's until it is taken, and then the new one's: it is served once, whatever
//! becomes of either. The old one gives up if the new one ends, or does not take what it is sent. Then it
//! first shuts its side to what comes, so that nothing is taken any more without its knowledge; reads what
//! came before; and writes a byte to a pipe whose other end came with the offer. A new one that cannot say
//! that it has taken somebody looks there: a byte means that the old one goes on, with this client as well;
//! the end of the pipe that it is gone, and that nobody else has the client.

use super::stops::Stops;
use crate::base::ids::ClientId;
use crate::config::overlay::SetOption;
use crate::net::stream::Peer;
use crate::session::settings::Settings;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The form of these messages. Processes with different ones do not take over from each other.
pub const FORM: u32 = 8;

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
    /// Clients may come.
    Here,
    /// The client that came first of those not told of so far is here, and will be served.
    Taken,
    Cancel(CancelRequest),
    /// An operator has said so at the new one: it holds here as well.
    Stopped(Stops),
    /// Nobody there is to be waited for any more, for the `SUSPEND` with this number.
    Rests(u64),
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
    /// The sockets that listen are with it; the last file is the pipe that tells whether it goes on.
    Offer(Offer),
    /// It is to accept now, and what is found by name is its own. What is stopped may have changed since
    /// the offer.
    Go(Stops),
    /// An operator has said at the old one that `is` is stopped instead of `was`. If that is not what the new
    /// one knows, somebody has said something else there meanwhile, and that holds.
    Stopped {
        was: Stops,
        is: Stops,
    },
    /// The same as at the new one.
    Rests(u64),
    /// The socket is with it; the body is what the client has sent and prepared.
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
    /// What is paused stays so, and who is suspended: those who wait move on with their requests.
    pub stops: Stops,
    /// What operators have set on the console beside the files.
    pub set: Vec<SetOption>,
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
    /// Those that it came with, to which a `RESET` goes back.
    pub initial: Vec<(String, String)>,
    pub age: Duration,
    /// Everything up to the next `Sync` is thrown away.
    pub is_skipping: bool,
    /// Bytes still to come of a message that is thrown away.
    pub to_swallow: u32,
    /// What it listens to.
    pub channels: Vec<String>,
    /// How many bytes behind what it has sent are its prepared statements.
    pub prepared: usize,
}

/// A server between two processes: idle, clean, and owing nothing.
#[derive(Debug, Deserialize, Serialize)]
pub struct Bequest {
    /// The host of the configuration, by name.
    pub host: String,
    /// See [`crate::pool::Setup::lineage`].
    pub lineage: String,
    pub database: String,
    pub is_unix: bool,
    pub pid: u32,
    pub secret: Vec<u8>,
    pub applied: Vec<(String, String)>,
    /// It has statements that the next process knows nothing of.
    pub has_statements: bool,
    /// What it reported when it let us in.
    pub params: Vec<(String, String)>,
    pub age: Duration,
}

/// A [`Moved`] client with its socket, and what it has sent and prepared.
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
    settings.listed()
}

/// The same, arrived.
pub fn settings_of(listed: &[(String, String)]) -> Settings {
    Settings::from_listed(listed)
}

#[cfg(test)]
mod tests {
    use super::{Bequest, CancelRequest, FORM, Moved, Offer, Stops, ToNew, ToOld};
    use std::time::Duration;

    /// What is said in this form, to the byte. If this changes, [`FORM`] must be raised: a process with
    /// the other one would misunderstand.
    const SAID: (u32, &str) = (
        8,
        r#"{"Hello":{"form":1,"version":"v","pid":2}}
"Ready"
"Here"
"Taken"
{"Cancel":{"pid":3,"secret":[4]}}
{"Stopped":{"halts":{"is_paused":false,"paused":[],"disabled":[]},"suspended":null}}
{"Rests":9}
{"End":{"at_once":true}}
{"Refused":{"why":"w"}}
{"Offer":{"is_activated":false,"next_client":0,"salt_key":[0...],"client_keys":[["u",[1...]]],"stops":{"halts":{"is_paused":false,"paused":[],"disabled":[]},"suspended":null},"set":[]}}
{"Go":{"halts":{"is_paused":false,"paused":[],"disabled":[]},"suspended":null}}
{"Stopped":{"was":{"halts":{"is_paused":false,"paused":[],"disabled":[]},"suspended":null},"is":{"halts":{"is_paused":false,"paused":[],"disabled":[]},"suspended":null}}}
{"Rests":9}
{"Client":{"id":1,"secret":[2],"database":"d","user":"u","class":"c","address":"127.0.0.1:3","settings":[["n","v"]],"initial":[["n=","w"]],"age":{"secs":4,"nanos":0},"is_skipping":true,"to_swallow":5,"channels":["c"],"prepared":6}}
{"Server":{"host":"h","lineage":"l","database":"d","is_unix":true,"pid":1,"secret":[2],"applied":[],"has_statements":true,"params":[],"age":{"secs":3,"nanos":0}}}
"Done"
"#,
    );

    #[test]
    fn whoever_changes_a_message_raises_the_form() {
        let hello = ToOld::Hello { form: 1, version: "v".to_owned(), pid: 2 };
        let cancel = ToOld::Cancel(CancelRequest { pid: 3, secret: vec![4] });
        let to_old = [
            hello,
            ToOld::Ready,
            ToOld::Here,
            ToOld::Taken,
            cancel,
            ToOld::Stopped(Stops::default()),
            ToOld::Rests(9),
            ToOld::End { at_once: true },
        ];
        let moved = Moved {
            id: 1,
            secret: vec![2],
            database: "d".to_owned(),
            user: "u".to_owned(),
            class: "c".to_owned(),
            address: Some(([127, 0, 0, 1], 3).into()),
            settings: vec![("n".to_owned(), "v".to_owned())],
            initial: vec![("n=".to_owned(), "w".to_owned())],
            age: Duration::from_secs(4),
            is_skipping: true,
            to_swallow: 5,
            channels: vec!["c".to_owned()],
            prepared: 6,
        };
        let bequest = Bequest {
            host: "h".to_owned(),
            lineage: "l".to_owned(),
            database: "d".to_owned(),
            is_unix: true,
            pid: 1,
            secret: vec![2],
            applied: vec![],
            has_statements: true,
            params: vec![],
            age: Duration::from_secs(3),
        };
        let client_keys = vec![("u".to_owned(), [1; 32])];
        let offer = Offer { client_keys, ..Offer::default() };
        let to_new = [
            ToNew::Refused { why: "w".to_owned() },
            ToNew::Offer(offer),
            ToNew::Go(Stops::default()),
            ToNew::Stopped { was: Stops::default(), is: Stops::default() },
            ToNew::Rests(9),
            ToNew::Client(moved),
            ToNew::Server(bequest),
            ToNew::Done,
        ];
        let mut said = String::new();
        for message in to_old.iter().map(serde_json::to_string) {
            said.push_str(&message.unwrap());
            said.push('\n');
        }
        for message in to_new.iter().map(serde_json::to_string) {
            said.push_str(&message.unwrap());
            said.push('\n');
        }
        // Thirty-two times the same.
        let said = said.replace(&["0"; 32].join(","), "0...").replace(&["1"; 32].join(","), "1...");
        assert_eq!((FORM, said.as_str()), SAID);
    }
}
