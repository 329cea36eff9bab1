//! One connection to Postgres: connecting, logging in, cleaning, checking, cancelling.
//!
//! While it is leased, the client's task drives it and the bytes are the client's; this module has
//! what a server does when nobody has it.

pub mod cancel;
pub mod connect;
pub mod exchange;
pub mod upkeep;

use crate::base::ids::{ClientId, WorkerId};
use crate::config::{HostAddress, Sockets};
use crate::net::stream::{Ends, Stream};
use crate::net::worker::Worker;
use crate::session::base::Base;
use crate::session::ledger::Ledger;
use crate::session::settings::Settings;
use crate::session::statements::{Count, Prepared};
use crate::session::traces::{Trace, Traces};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Where a Postgres instance listens, and how the sockets to it are set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    pub address: HostAddress,
    pub sockets: Sockets,
}

/// What a cancel request names, and where it goes: its pool may lead elsewhere by then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackendKey {
    pub pid: u32,
    pub secret: Arc<[u8]>,
    pub place: Arc<Place>,
    /// Where the server is: for those who ask. `None`: at a unix socket.
    pub ends: Option<Arc<Ends>>,
    /// What it has prepared: for those who ask.
    pub statements: Count,
}

/// A connection to Postgres that is logged in.
#[derive(Debug)]
pub struct Server {
    /// `None` only while it moves from one worker's runtime to another's.
    stream: Option<Stream>,
    /// The worker whose runtime knows the socket.
    home: WorkerId,
    pub ledger: Ledger,
    /// What it has below what clients set.
    pub base: Base,
    /// What clients have set on it.
    pub applied: Arc<Settings>,
    /// What a client has left there that does not show in `applied`: it goes before anybody else gets it.
    pub traces: Traces,
    /// Who had it last. Whoever comes next may meet what sequences gave.
    pub last_client: Option<ClientId>,
    /// Whoever has it wants it to be reset afterwards, whether it is dirty or not.
    pub is_to_be_reset: bool,
    /// What it has prepared for clients.
    pub prepared: Prepared,
    /// Another process has prepared something on it: that must go before its first use.
    pub has_strange_statements: bool,
    pub key: BackendKey,
    pub connected_at: Instant,
}

impl Server {
    pub fn new(stream: Stream, home: WorkerId, key: BackendKey, now: Instant) -> Self {
        let prepared = Prepared::default();
        let (ends, statements) = (stream.ends().map(Arc::new), prepared.count().clone());
        let key = BackendKey { ends, statements, ..key };
        Self {
            stream: Some(stream),
            home,
            ledger: Ledger::default(),
            base: Base::default(),
            applied: Arc::default(),
            traces: Traces::default(),
            last_client: None,
            is_to_be_reset: false,
            prepared,
            has_strange_statements: false,
            key,
            connected_at: now,
        }
    }

    #[inline]
    pub fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("a server that is not moving has its socket")
    }

    #[inline]
    pub fn home(&self) -> WorkerId {
        self.home
    }

    /// The query that gives it the settings a client wants, if it takes one.
    pub fn change_to(&self, wanted: &Settings) -> Option<String> {
        self.applied.change_to(wanted, self.base.settings())
    }

    /// The same. From now on it is taken to have them.
    #[cold]
    pub fn take_on(&mut self, wanted: &Arc<Settings>) -> Option<String> {
        let sql = self.change_to(wanted);
        self.has(Arc::clone(wanted));
        sql
    }

    /// It has these settings of clients. Where nobody knows what is below them, it has to be made anew
    /// before others get it.
    pub fn has(&mut self, applied: Arc<Settings>) {
        self.traces.add_if(self.base.is_hidden_below(&applied), Trace::Setting);
        self.applied = applied;
    }

    /// Whether the next client can have it as it is: all is answered, and nothing is left of anybody's.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.ledger.is_settled()
            && !self.ledger.is_uncertain()
            && self.traces.is_empty()
            && !self.is_to_be_reset
    }

    /// Makes the socket known to this worker's runtime: two system calls, if it was another's.
    ///
    /// Answers whether there is something to read, which nobody has asked for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the server is lost then.
    #[inline]
    pub fn adopt(&mut self, worker: &Worker) -> io::Result<bool> {
        if self.home == worker.id {
            return Ok(self.stream().is_readable());
        }
        let stream = self.stream.take().expect("a server that is not moving has its socket");
        let stream = stream.detach()?.attach()?;
        // The new runtime has heard nothing of the socket so far: ask the kernel.
        let is_readable = stream.has_input();
        self.stream = Some(stream);
        self.home = worker.id;
        Ok(is_readable)
    }
}
