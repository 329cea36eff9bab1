//! A request that may share a server with those of others: what its driver has to know of it.
//!
//! It is whole, and ends with its own `ReadyForQuery`: one simple query, or one batch up to its `Sync` that
//! binds the unnamed portal, may describe it, and executes it to its end. What it runs is a
//! [read](crate::sql::read).

use super::ledger::{Origin, Request};
use super::settings::{Settings, same};
use super::statements::{Ahead, Prepared, ServerName, Statement, To, Told};
use crate::end::EndReason;
use crate::sql::read::No;
use crate::stats::pool::STAYS;
use crate::wire::frame::{HEAD_LEN, Head, split_text};
use crate::wire::tags::from_client as tags;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A longer request waits for a server of its own.
pub const FARE_MAX: usize = 8 << 10;

/// Memory that is kept for a client's next answer.
const SPARE_MAX: usize = 4 << 10;

/// Why a request that had to wait did not share a server. Alphabetical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stays {
    /// It mentions what is barred from it.
    Barred,
    /// It calls a function that is not known to be harmless.
    Function,
    /// What it runs does not read.
    Kind,
    /// It locks rows.
    Locks,
    /// It was aboard, or about to be, of a server that was lost, could not prepare its statement as it was, did
    /// not take somebody's settings, or whose head took long.
    Missed,
    /// It is not one of the [forms](self) that are known, or not whole, or too long.
    Request,
    /// Something of its session keeps it from it.
    Session,
    /// More than one statement.
    Several,
    /// It takes too long, or its answers are too long.
    Slow,
    /// It means another thing under other settings.
    Unclear,
    /// How long it takes is not known.
    Unknown,
    /// It writes, or could.
    Writes,
}

impl Stays {
    pub const ALL: [Self; STAYS] = [
        Self::Barred,
        Self::Function,
        Self::Kind,
        Self::Locks,
        Self::Missed,
        Self::Request,
        Self::Session,
        Self::Several,
        Self::Slow,
        Self::Unclear,
        Self::Unknown,
        Self::Writes,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Barred => "barred",
            Self::Function => "function",
            Self::Kind => "kind",
            Self::Locks => "locks",
            Self::Missed => "missed",
            Self::Request => "request",
            Self::Session => "session",
            Self::Several => "several",
            Self::Slow => "slow",
            Self::Unclear => "unclear",
            Self::Unknown => "unknown",
            Self::Writes => "writes",
        }
    }
}

impl From<No> for Stays {
    fn from(no: No) -> Self {
        match no {
            No::Barred => Self::Barred,
            No::Function => Self::Function,
            No::Kind => Self::Kind,
            No::Locks => Self::Locks,
            No::Several => Self::Several,
            No::Unclear => Self::Unclear,
            No::Writes => Self::Writes,
        }
    }
}

/// What a request runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runs<'a> {
    /// A statement that the client has prepared under this name.
    Named(&'a [u8]),
    /// This text, in a simple query.
    Query(&'a [u8]),
    /// This text, in the unnamed statement.
    Unnamed(&'a [u8]),
}

/// A request at the front of what a client sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Front<'a> {
    pub runs: Runs<'a>,
    form: Form,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Form {
    /// `Bind` first, of a statement whose name has so many bytes.
    Named {
        name: usize,
        describes: bool,
    },
    #[default]
    Query,
    Unnamed {
        describes: bool,
    },
}

impl<'a> Front<'a> {
    /// Reads what is at the front of what a client sent. `None`: it may not share a server.
    #[inline]
    pub fn read(unseen: &'a [u8]) -> Option<Self> {
        match *unseen.first()? {
            tags::QUERY => {
                let (body, rest) = message(unseen, tags::QUERY)?;
                let (text, behind) = split_text(body)?;
                let bytes = whole(unseen, rest)?;
                let runs = Runs::Query(text);
                behind.is_empty().then_some(Self { runs, form: Form::Query, bytes })
            }
            tags::PARSE => {
                let (parse, rest) = message(unseen, tags::PARSE)?;
                let text = split_text(parse.strip_prefix(b"\0")?)?.0;
                let (bound, describes, rest) = batch(rest)?;
                let runs = Runs::Unnamed(text);
                let bytes = whole(unseen, rest)?;
                bound.is_empty().then_some(Self { runs, form: Form::Unnamed { describes }, bytes })
            }
            tags::BIND => {
                let (name, describes, rest) = batch(unseen)?;
                let form = Form::Named { name: name.len(), describes };
                let bytes = whole(unseen, rest)?;
                (!name.is_empty()).then_some(Self { runs: Runs::Named(name), form, bytes })
            }
            _ => None,
        }
    }
}

/// The body of the message at the front, and what is behind it.
fn message(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let limit = u32::try_from(FARE_MAX).ok()?;
    let head = Head::parse(bytes, limit).ok()??;
    let (message, rest) = bytes.split_at_checked(head.total)?;
    (head.tag == tag).then_some((&message[HEAD_LEN..], rest))
}

/// `Bind`, perhaps `Describe`, `Execute`, `Sync`: the name of the statement, whether the portal is
/// described, and what is behind.
fn batch(bytes: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let (bind, mut rest) = message(bytes, tags::BIND)?;
    let name = split_text(bind.strip_prefix(b"\0")?)?.0;
    let mut describes = false;
    if rest.first() == Some(&tags::DESCRIBE) {
        let (describe, behind) = message(rest, tags::DESCRIBE)?;
        (describes, rest) = (describe == b"P\0", behind);
        describes.then_some(())?;
    }
    let (execute, rest) = message(rest, tags::EXECUTE)?;
    let (sync, rest) = message(rest, tags::SYNC)?;
    // The unnamed portal, and all of its rows.
    (execute == [0; 5] && sync.is_empty()).then_some((name, describes, rest))
}

fn whole<'a>(bytes: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
    let len = bytes.len() - rest.len();
    (len <= FARE_MAX).then(|| &bytes[..len])
}

/// A request on its way, and its answer on its way back. One for each client that ever shared a server,
/// used again and again.
#[derive(Debug, Default)]
pub struct Fare {
    /// As the client sent it.
    request: Vec<u8>,
    form: Form,
    /// What `Form::Named` is about.
    statement: Option<Arc<Statement>>,
    /// How many statements are kept on a server.
    pub statements_max: u32,
    /// What went ahead of it.
    ahead: Option<Box<Ahead>>,
    settings: Arc<Settings>,
    /// Tells its settings from others'.
    settings_key: u64,
    /// Names its kind to those who learn how long it takes.
    pub profile: u64,
    /// How long it is expected to take.
    pub expected: Duration,
    /// How many bytes its answer is expected to have at least. 0: nobody knows.
    pub answer_least: usize,
    /// How long it may take, at most, and why it ends then.
    pub limit: Option<(Duration, EndReason)>,
    /// How long it waited to get aboard, and when it did.
    pub waited: Duration,
    pub aboard: Option<Instant>,
    pub answer: Vec<u8>,
    /// So much of its answer has gone to the client before.
    pub told: usize,
}

impl Fare {
    /// Takes a request up. `settings`: the client's.
    pub fn take_up(
        &mut self,
        front: &Front<'_>,
        statement: Option<&Arc<Statement>>,
        settings: &Arc<Settings>,
    ) {
        self.request.clear();
        self.request.extend_from_slice(front.bytes);
        (self.form, self.statement) = (front.form, statement.map(Arc::clone));
        self.ahead = None;
        if !Arc::ptr_eq(&self.settings, settings) {
            self.settings = Arc::clone(settings);
            let mut hasher = DefaultHasher::new();
            settings.hash_others(|_| false, &mut hasher);
            self.settings_key = hasher.finish();
        }
        self.answer.clear();
        self.told = 0;
    }

    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The same for all with the same settings.
    pub fn settings_key(&self) -> u64 {
        self.settings_key
    }

    /// Whether a server has the settings that it needs.
    #[inline]
    pub fn suits(&self, applied: &Arc<Settings>) -> bool {
        same(applied, &self.settings)
    }

    /// Whether it can be [sent](Self::send) to a server.
    pub fn can_go(&self, prepared: &Prepared, pool: (&str, &str)) -> bool {
        self.statement.as_ref().is_none_or(|statement| {
            prepared.has(statement) || Ahead::is_possible(statement, &self.settings, pool)
        })
    }

    /// Writes it for a server, and enters it in the server's ledger; with what goes ahead, if the server has
    /// not prepared its statement. `false`: that is not to be done here.
    #[inline]
    pub fn send(&mut self, mut to: To<'_>) -> bool {
        match self.form {
            Form::Query => {
                to.out.extend_from_slice(&self.request);
                to.ledger.sent(Request::Query, Origin::Client);
                return true;
            }
            Form::Unnamed { .. } => {
                to.out.extend_from_slice(&self.request);
                to.ledger.sent(Request::Parse, Origin::Client);
            }
            Form::Named { name, .. } => {
                let statement = self.statement.as_ref().expect("it has a name");
                let own = if let Some(own) = to.prepared.name_of(statement) {
                    own
                } else {
                    let limit = self.statements_max;
                    self.ahead = Ahead::send(statement, &self.settings, limit, &mut to);
                    let Some(ahead) = &self.ahead else { return false };
                    ahead.name()
                };
                self.write_under(&own, name, to.out);
            }
        }
        let ledger = to.ledger;
        ledger.sent(Request::Bind, Origin::Client);
        if let Form::Named { describes: true, .. } | Form::Unnamed { describes: true } = self.form {
            ledger.sent(Request::Describe, Origin::Client);
        }
        ledger.sent(Request::Execute, Origin::Client);
        ledger.sent(Request::Sync, Origin::Client);
        true
    }

    /// What has gone ahead of it and is not answered as a whole.
    pub fn ahead(&mut self) -> Option<&mut Ahead> {
        self.ahead.as_deref_mut()
    }

    /// One of those that went ahead was answered.
    pub fn settled_ahead(&mut self, request: Request, prepared: &mut Prepared) -> Told {
        let told = self.ahead.as_mut().map_or(Told::Nothing, |it| it.settled(request, prepared));
        if request == Request::Describe {
            self.ahead = None;
        }
        told
    }

    /// Postgres refused it, or what went ahead.
    pub fn failed(&mut self, prepared: &mut Prepared) {
        if let Some(ahead) = self.ahead.take() {
            ahead.undo(prepared);
        }
    }

    /// Writes it with another name in the place of its own, which has `len` bytes.
    fn write_under(&self, name: &ServerName, len: usize, out: &mut Vec<u8>) {
        // Behind the head and the name of the portal, which has none.
        let name_at = HEAD_LEN + 1;
        let bind = Head::parse(&self.request, u32::MAX).ok().flatten().expect("it was read");
        let total = bind.total - 1 - len + name.as_bytes().len();
        out.push(tags::BIND);
        out.extend(u32::try_from(total).expect("it is short").to_be_bytes());
        out.push(0);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&self.request[name_at + len..]);
    }

    /// Whether some of its answer has gone to the client before.
    pub fn is_told(&self) -> bool {
        self.told > 0
    }

    /// How many bytes of what the client sent this is.
    pub fn len(&self) -> usize {
        self.request.len()
    }

    pub fn is_empty(&self) -> bool {
        self.request.is_empty()
    }

    /// The name that the client knows its statement by.
    pub fn name(&self) -> Option<&[u8]> {
        let Form::Named { name, .. } = self.form else { return None };
        self.request.get(HEAD_LEN + 1..)?.get(..name)
    }

    /// What it makes the unnamed statement: as in `Parse`, behind the name.
    pub fn parses(&self) -> Option<&[u8]> {
        let Form::Unnamed { .. } = self.form else { return None };
        message(&self.request, tags::PARSE)?.0.get(1..)
    }

    /// Whether it is a simple query.
    pub fn is_query(&self) -> bool {
        self.form == Form::Query
    }

    /// It was answered: keeps no more memory than an idle client may have.
    pub fn rest(&mut self) {
        for bytes in [&mut self.request, &mut self.answer] {
            bytes.clear();
            bytes.shrink_to(SPARE_MAX);
        }
        (self.statement, self.ahead) = (None, None);
    }
}

#[cfg(test)]
#[path = "fare_tests.rs"]
mod tests;
