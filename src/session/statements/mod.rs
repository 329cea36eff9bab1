//! Prepared statements that follow their client from server to server.
//!
//! A client's names lead to [statements](Statement) that all clients share; a server has statements
//! under names of the proxy's own ([`Prepared`]). What a client refers to is prepared on the server that
//! it happens to have, in the same write, if it is not there.
//!
//! ```text
//!   client              proxy                                       server
//!   Parse a  ─────────▶ a is statement 5, under way as 1 ─────────▶ Parse pgweir_1
//!            ◀───────── statement 5 is there as 1 ◀──────────────── ParseComplete
//!   Bind a   ─────────▶ a is statement 5, is there as 1 ──────────▶ Bind pgweir_1
//!   ...                                                  another server
//!   Bind a   ─────────▶ a is statement 5, not there: as 1 ────────▶ Parse pgweir_1, Describe pgweir_1,
//!                                                                   Bind pgweir_1
//! ```
//!
//! Behind each `Parse` goes a `Describe`, whose answer only the proxy reads: a table may have changed, and
//! its columns are not those that the client was told of. Postgres says "cached plan must not change
//! result type" then of what it has read before; of what it reads anew, we must. If the answer can be
//! foreseen (it was the same on some server a moment ago, no change of schema was seen since, and nothing
//! is under way that could be one), the `Bind` goes in the same write. Else it waits for it.
//!
//! # Invariants
//!
//! - What a server has is entered when it has described it, never when the `Parse` is sent.
//! - It is entered as the statement that the description belongs to: whoever uses a statement gets rows of
//!   the shape that it was told of, or an error.
//! - A client's name has, as far as requests are under way, the value that Postgres will find when it
//!   gets there. Requests under way may yet be skipped; then so is everything up to the `Sync`. So
//!   whoever depends on one in another batch waits until it is answered.
//! - Where the client must get an error, Postgres fails: at that place of the pipeline.
//! - A client's names never reach a server that others will use, but in messages that fail there.

mod ahead;
mod anew;
#[cfg(test)]
mod backend;
mod by_sql;
mod context;
mod description;
mod interner;
mod names;
mod prepared;
mod sent;
mod settled;
#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;
mod unnamed;

pub use self::ahead::{Ahead, To};
pub use self::context::{Moment, is_harmless};
pub use self::description::READ_MAX;
use self::description::{Description, Reading};
pub use self::interner::{Interner, Statement, View, write_parse};
pub use self::names::{ESCAPE, ServerName, cut, looks_like_ours, mentioned, unescape};
use self::prepared::Serial;
pub use self::prepared::{Count, Prepared};
pub use self::settled::{Failure, Told};
use self::unnamed::Unnamed;
use crate::session::settings::Settings;
use crate::session::text::Text;
use crate::wire::frame::split_text;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// The longest `Parse` that is remembered. A longer one keeps its server.
pub const PARSE_MAX: usize = 48 << 10;

/// Memory that is kept for so many `Bind` under way; pipelines may have thousands.
const BOUND_KEPT: usize = 64;

/// What holds for all requests of a moment.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    pub at: Instant,
    /// The database and the user whose servers these are.
    pub pool: (&'a str, &'a str),
    pub settings: &'a Settings,
    /// Rises when tables and the like are changed: what Postgres said before may hold no longer.
    pub epoch: u64,
    pub limits: Limits,
    /// Statements with a name follow the client. Else it keeps its server for those that are new.
    pub maps: bool,
}

impl Now<'_> {
    fn moment(&self) -> Moment {
        Moment { at: self.at, epoch: self.epoch }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Statements on one server (`max_prepared_statements`). 0: statements keep their server.
    pub of_server: u32,
    /// Names of one client (`max_client_prepared_statements`).
    pub of_client: u32,
}

/// A request that names a statement.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// And whether all of it is here.
    Bind(&'a [u8], bool),
    Close(&'a [u8]),
    Describe(&'a [u8]),
    /// A name, and what is behind it: `None` if that is too long to be looked at.
    Parse(&'a [u8], Option<&'a [u8]>),
    /// A `Parse` of this name that is to fail.
    ParseRefused(&'a [u8]),
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    /// A `Close` goes in its place, whose answer is told as that to a `Parse`.
    Acknowledge,
    /// As it is, but for a name that [looks like ours](looks_like_ours).
    AsIs,
    /// With this name, and a `Describe` of it behind.
    Described(Serial),
    /// With this name, and behind it a `Parse` that Postgres refuses.
    Failing(Serial),
    /// With no name, and behind it the same.
    FailingUnnamed,
    /// A `Parse` goes in its place that Postgres refuses, of the unnamed statement if it was of that.
    Refuse,
    /// With this name instead.
    Under(Serial),
    /// Not before more is answered, of this too which goes before it.
    Wait,
}

/// What goes before a request.
#[derive(Clone, Debug)]
pub enum Slip {
    Close(Serial),
    CloseUnnamed,
    Describe(Serial),
    DescribeUnnamed,
    /// An empty statement under a client's own name.
    Empty(Box<[u8]>),
    Flush,
    /// An empty statement that takes the same parameters.
    Hollow(Serial, Arc<Statement>),
    HollowUnnamed,
    /// The statement 0, whose name is taken for good.
    Occupy,
    /// A statement under the client's own name.
    Own(Box<[u8]>, Arc<Statement>),
    Parse(Serial, Arc<Statement>),
    ParseUnnamed,
    Sync,
}

/// Why a statement is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It was described to the client in another way than Postgres would do it now.
    Changed,
    /// `prepared_statement_memory`
    Memory,
    /// `session_state`
    Session,
    /// `max_client_prepared_statements`
    TooMany,
}

/// `None`: under the client's own name, on the one server that it keeps.
type Held = Option<Arc<Statement>>;

/// A request under way that changes what a name or a server has.
#[derive(Debug)]
struct Pending {
    batch: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A name that is new leads to what a server has.
    Acknowledged {
        name: Box<[u8]>,
    },
    /// A name is given up.
    Close {
        name: Box<[u8]>,
        before: Option<Held>,
    },
    /// What was prepared just now is described for the proxy.
    Describe(Box<Look>),
    DescribeUnnamed {
        is_sure: bool,
    },
    /// The proxy closes what it does not need.
    Drop {
        serial: Serial,
    },
    /// A name that the client has already: this will fail.
    Duplicate {
        name: Box<[u8]>,
    },
    /// The proxy takes a name of the client's for a statement that is to be dropped, perhaps by a query.
    Empty {
        name: Box<[u8]>,
        is_query: bool,
    },
    /// The proxy prepares what is of no use but to fail.
    Hollow {
        serial: Serial,
    },
    HollowUnnamed,
    /// A name that is new, on this server alone.
    Local {
        name: Box<[u8]>,
    },
    Occupy,
    /// The proxy gives the server the client's, under its own name.
    Own {
        name: Box<[u8]>,
        statement: Arc<Statement>,
        is_query: bool,
    },
    /// A name that is new leads to what the server is told just now.
    Parse {
        name: Box<[u8]>,
        statement: Arc<Statement>,
        serial: Serial,
    },
    /// This will fail, too.
    Refuse(Refusal),
    /// The proxy prepares what is missing.
    Slip {
        statement: Arc<Statement>,
        serial: Serial,
    },
}

/// A look at what Postgres makes of a statement now.
#[derive(Debug)]
struct Look {
    /// The client's name, if it has just prepared it: then Postgres says what it is. Else it must be what
    /// the statement was.
    of: Option<Box<[u8]>>,
    statement: Arc<Statement>,
    serial: Serial,
    moment: Moment,
    /// Requests that rely on it went out with it.
    is_sure: bool,
}

/// What one client has prepared. Made when it first sends a request that names a statement.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Statements {
    names: HashMap<Box<[u8]>, Held>,
    /// How many names lead to the kept server.
    locals: usize,
    pending: VecDeque<Pending>,
    /// For each `Bind` under way what tells its name from the others', for what Postgres says of it.
    bound: VecDeque<u32>,
    /// Which of the stretches between two `Sync` is being sent.
    batch: u32,
    /// A text is under way that may drop statements or make some.
    is_barred: bool,
    /// A text under way drops this name.
    dropping: Option<Box<[u8]>>,
    unnamed: Unnamed,
    /// A description as it comes.
    reading: Reading,
    /// The statement that the request at the front waits for is not what it was.
    refuted: Option<u64>,
    /// The last `Bind` was of a statement that may end a transaction.
    may_be_ending: bool,
    /// The last request was for a statement that has to do with prepared ones.
    uses_prepared: bool,
    /// The last `Bind` was of one that may do something to the session.
    does: bool,
    /// What can be executed by SQL from now on does this.
    shared: Vec<Arc<Text>>,
    /// Of those that are on the one server only, some may have to do with prepared ones.
    locals_use_prepared: bool,
    /// The lease, by a number that no other has, once a `FETCH` was prepared in it.
    lease: Option<u64>,
    interner: Arc<Interner>,
}

impl Statements {
    pub fn new(interner: &Arc<Interner>) -> Self {
        Self {
            names: HashMap::new(),
            locals: 0,
            pending: VecDeque::new(),
            bound: VecDeque::new(),
            batch: 0,
            is_barred: false,
            dropping: None,
            unnamed: Unnamed::new(Arc::clone(interner)),
            reading: Reading::default(),
            refuted: None,
            may_be_ending: false,
            uses_prepared: false,
            does: false,
            shared: Vec::new(),
            locals_use_prepared: false,
            lease: None,
            interner: Arc::clone(interner),
        }
    }

    /// How many names the client has.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.unnamed.body().is_none()
    }

    /// Whether the client must keep its server for statements with a name.
    #[inline]
    pub fn is_local(&self) -> bool {
        self.locals > 0
    }

    /// Whether the client must keep its server for the unnamed one.
    #[inline]
    pub fn is_unnamed_pinning(&self) -> bool {
        self.unnamed.is_pinning()
    }

    /// Whether the server has something that the next client could meet, or that is not known of it.
    pub fn leaves_traces(&self) -> bool {
        self.locals > 0 || self.dropping.is_some() || !self.pending.is_empty()
    }

    /// The text of a statement with a name.
    pub fn text(&self, name: &[u8]) -> Option<&[u8]> {
        self.statement(name).map(|statement| statement.text())
    }

    /// The statement that a name leads to, as far as is known now.
    #[inline]
    pub fn statement(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.names.get(cut(name))?.as_ref()
    }

    /// The text that the last `Bind` was of, if it may end a transaction.
    #[inline]
    pub fn text_that_may_be_ending(&self, name: &[u8]) -> Option<&[u8]> {
        if !self.may_be_ending {
            return None;
        }
        if name.is_empty() { self.unnamed_text() } else { self.text(name) }
    }

    /// What the statement that the last `Bind` was of does to the session, if it has a name and does something.
    #[inline]
    pub fn does(&self, name: &[u8]) -> Option<&Arc<Text>> {
        if self.does { self.statement(name)?.does.as_ref() } else { None }
    }

    /// What a statement does to the session that SQL can execute since this was asked last.
    #[inline]
    pub fn take_shared(&mut self) -> Option<Arc<Text>> {
        self.shared.pop()
    }

    /// The SQL of the unnamed one.
    pub fn unnamed_text(&self) -> Option<&[u8]> {
        Some(split_text(self.unnamed_body()?)?.0)
    }

    /// The types of the parameters of the unnamed one, if they are known: as in `Parse`.
    pub fn unnamed_parameters(&self) -> Option<&[u8]> {
        self.unnamed.description().map(Description::parameters)
    }

    /// The text of the unnamed one and what belongs to it, as in `Parse`.
    pub fn unnamed_body(&self) -> Option<&[u8]> {
        self.unnamed.body()
    }

    /// What it takes to have the same elsewhere: names with their texts, and what Postgres said of them;
    /// the unnamed one has no name. `None`: it cannot be had elsewhere, or takes more than `bytes_max`.
    pub fn packed(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let unnamed = self.unnamed_body().map(|body| Some((body, self.unnamed.description())));
        let unnamed = unnamed.map(|held| (&b""[..], held));
        let named = self.names.iter().map(|(name, held)| {
            (&**name, held.as_ref().map(|held| (&held.body[..], held.description())))
        });
        for (name, held) in named.chain(unnamed) {
            let (body, description) = held?;
            let description = description.map(Description::packed).unwrap_or_default();
            for part in [name, body, &description] {
                out.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
                out.extend(part);
            }
            if out.len() > bytes_max {
                return None;
            }
        }
        Some(out)
    }

    /// The unnamed statement is this, as in a `Parse`, though no server has it.
    pub fn restore_unnamed(&mut self, body: &[u8]) {
        self.unnamed.restore(body, None);
    }

    /// What was [packed](Self::packed), unpacked. What there is no room for is not there.
    pub fn restore(&mut self, mut packed: &[u8], settings: &Settings, pool: (&str, &str)) {
        let context = self.interner.context(settings, pool);
        while let Some(name) = take_part(&mut packed)
            && let Some(body) = take_part(&mut packed)
            && let Some(description) = take_part(&mut packed)
        {
            let description = Description::unpacked(description);
            if name.is_empty() {
                self.unnamed.restore(body, description);
            } else if let Ok(statement) = self.interner.known(body, context, description.as_ref()) {
                self.names.insert(name.into(), Some(statement));
            }
        }
    }

    /// The lease ended: whatever comes next is on another server.
    #[inline]
    pub fn lease_ended(&mut self) {
        if !self.pending.is_empty() {
            self.undo(self.pending.len(), None);
        }
        if self.locals > 0 {
            self.names.retain(|_, held| held.is_some());
            self.locals = 0;
        }
        self.bound.clear();
        self.bound.shrink_to(BOUND_KEPT);
        (self.batch, self.is_barred, self.dropping, self.refuted) = (0, false, None, None);
        (self.locals_use_prepared, self.lease) = (false, None);
        self.unnamed.lease_ended();
    }

    /// A request of a transaction whose server is lost drops a name.
    pub fn forget(&mut self, name: &[u8]) {
        if matches!(self.names.remove(cut(name)), Some(None)) {
            self.locals -= 1;
        }
    }
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(part)
}
