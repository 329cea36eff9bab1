//! One client, from its first byte to its last.
//!
//! [`login`] lets it in; then [`serve`] goes round: idle, waiting, leased. While it is leased the
//! client's task drives its server directly ([`relay`]); [`requests`] and [`replies`] look at the
//! messages that must be looked at.
//!
//! # Invariants
//!
//! - What a client sends or does not read is bounded: one buffer for each direction.
//! - A client that ends, however it ends, leaves its server clean, or closed.
//! - No server is kept while nothing is owed, no transaction is open and nothing is pinned.

mod aborted;
mod authenticate;
mod cancel;
pub mod console;
mod ending;
mod greet;
mod listening;
pub mod login;
mod moving;
mod orders;
mod relay;
pub mod replication;
mod replies;
mod requests;
mod riding;
mod serve;
mod shortcuts;
mod slips;
mod statements;
mod terms;
mod tracking;
mod trial;
mod waiting;

use self::aborted::Aborted;
use self::listening::Listening;
use self::shortcuts::Begun;
use crate::control::roster::Here;
use crate::end::ErrorFields;
use crate::net::deadline::Deadline;
use crate::net::flow::Flow;
use crate::net::stream::Sole;
use crate::net::worker::Worker;
use crate::pool::gate::Pass;
use crate::pool::hub::Channel;
use crate::pool::mailbox::Mailbox;
use crate::pool::membership::Membership;
use crate::pool::{Account, Lease, Pool, Terms};
use crate::scheduler::Member;
use crate::session::pins::Pins;
use crate::session::script::Script;
use crate::session::settings::Settings;
use crate::session::statements::Statements;
use crate::sql::ending::Outlook;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A client that is logged in.
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Client {
    /// What others see of it, and what they tell it.
    here: Here,
    worker: Rc<Worker>,
    stream: Sole,
    /// From the client, and to the client.
    up: Flow,
    down: Flow,
    /// What it shares with others of its database and user, and what of that it has taken up.
    account: Arc<Account>,
    terms: Arc<Terms>,
    /// That of the terms.
    pool: Arc<Pool>,
    member: Member,
    lease: Option<Lease>,
    settings: Arc<Settings>,
    pins: Pins,
    script: Script,
    /// What others listen to for it.
    listening: Option<Box<Listening>>,
    /// What it has prepared, since it first did.
    statements: Option<Box<Statements>>,
    /// The kind of what it runs on a server of its own, if somebody wants to know how long that takes.
    learns: Option<NonZeroU64>,
    /// Where grants arrive; made when the client waits for the first time.
    mailbox: Option<Arc<Mailbox>>,
    deadline: Deadline,
    times: Times,
    /// After a refusal: everything up to the next `Sync` is thrown away.
    is_skipping: bool,
    /// Bytes still to come of a message that is thrown away.
    to_swallow: u32,
    /// It has said goodbye.
    is_leaving: bool,
    /// What came from it last is a goodbye by itself, in the middle of something.
    gives_up: bool,
    /// The scheduler was told that it is idle in its transaction.
    is_known_idle: bool,
    /// Queries of the proxy's own that make the server fit for this client's, and are not answered so far:
    /// nothing of the client's has gone to it.
    preparing: u8,
    /// A transaction that no server knows of so far.
    begun: Option<Box<Begun>>,
    /// The request at the front waits for what is under way.
    is_waiting: bool,
    /// There is more to look at once what was slipped in has been sent.
    is_held_back: bool,
    /// A transaction whose server was lost.
    aborted: Option<Box<Aborted>>,
    /// What the requests under way do to the transaction.
    outlook: Outlook,
    /// The last words of a server that is about to close.
    last_words: Option<Box<ErrorFields>>,
    about: Box<About>,
}

/// When what began, for timeouts and statistics.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The request under way.
    request: Instant,
    /// The transaction.
    xact: Instant,
    /// The last time that anything went on.
    activity: Instant,
    /// The last time that anything came from the client.
    heard: Instant,
}

/// What is needed rarely.
struct About {
    pinned: bool,
    /// Its own server is the one that listens for it.
    listens_itself: bool,
    /// What it has listened to in another process, until it does so in this one.
    inherited: Option<Box<[Channel]>>,
    /// The settings that it came with: what a `RESET` goes back to.
    initial: Arc<Settings>,
    _passes: [Pass; 3],
    in_pool: Pass,
    membership: Membership,
}

impl Drop for Client {
    /// A task that is dropped in the middle, by a panic or at shutdown, must not keep its server.
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.release(lease);
        }
        self.up.clear(&self.worker);
        self.down.clear(&self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::{About, Client};

    fn size_of_future<F, T>(_: F) -> usize
    where
        F: FnOnce(Client) -> T,
    {
        size_of::<T>()
    }

    /// A client is memory times ten thousand: whoever adds a field sees it here.
    #[test]
    fn a_client_is_small() {
        assert!(size_of::<Client>() <= 440, "{}", size_of::<Client>());
        assert!(size_of::<About>() <= 96, "{}", size_of::<About>());
        let task = size_of_future(Client::serve);
        assert!(task <= 552, "{task}");
    }
}
