//! What the texts under way do to the session, statement by statement.
//!
//! A text that may do something is entered when it is sent, and its request in the ledger is marked, so
//! that the two stay in step. Each `CommandComplete` says that its next statement is done. What was done
//! counts when its transaction commits; what is rolled back, to a savepoint or as a whole, is forgotten.
//! Each command tag is compared with what its statement would end with: where the two differ, or where
//! the text does not say what it does, the script says so, and somebody must ask the server
//! ([`Script::asks`]).
//!
//! # Invariants
//!
//! - A text is under way for each marked request in the ledger, in the same order.
//! - Nothing is reported as [`Change`] that was not committed.
//! - A client whose texts do nothing to the session has no memory here.

mod pages;

use super::inquiry::{Found, Inquiry, Kept};
use super::settings::Settings;
use super::statements::cut;
use super::text::Text;
use super::traces::{Trace, Traces};
use crate::sql::hidden::Hidden;
use crate::sql::statement::tells;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What a statement has done to the session, and nobody can take back. Alphabetical.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    DiscardAll,
    Listen(Vec<u8>),
    Reset(String),
    ResetAll,
    /// The value is as it was written, see [`plain_value`](crate::sql::statement::plain_value).
    Set {
        name: String,
        value: String,
    },
    Unlisten(Vec<u8>),
    UnlistenAll,
}

impl Change {
    /// Whether it is to what is listened to, and nothing else.
    pub fn is_of_listening(&self) -> bool {
        matches!(self, Self::Listen(_) | Self::Unlisten(_) | Self::UnlistenAll)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Script(Option<Box<Pages>>);

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
struct Pages {
    under_way: VecDeque<UnderWay>,
    /// By the names that the client has given them, those that do not [follow it](super::statements):
    /// the unnamed one, which has no name, and those on the one server that it keeps.
    statements: HashMap<Box<[u8]>, Arc<Text>>,
    portals: HashMap<Box<[u8]>, Arc<Text>>,
    /// What any portal may have done, on this server.
    bound: Hidden,
    /// What any unnamed statement may have done.
    unnamed: Hidden,
    /// What any statement may do that SQL can execute by its name.
    by_sql: Hidden,
    /// Something that may set something was sent in this transaction.
    has_set: bool,
    /// Something that loads a library was sent. It may have failed.
    is_loading: bool,
    /// What was done in the transaction so far.
    log: Vec<Entry>,
    committed: Vec<Change>,
    /// Settings that were reset since somebody asked, and all of them.
    resets: Vec<String>,
    resets_all: bool,
    /// A request has failed since the last `ReadyForQuery`.
    has_failed: bool,
    asks: Hidden,
    inquiry: Inquiry,
}

#[derive(Debug)]
struct UnderWay {
    text: Arc<Text>,
    done: usize,
}

/// What was done in a transaction.
#[derive(Debug)]
enum Entry {
    Change(Change),
    Savepoint(Vec<u8>),
}

impl Script {
    fn pages(&mut self) -> &mut Pages {
        self.0.get_or_insert_default()
    }

    /// The text of a simple query was sent.
    pub fn sent(&mut self, text: &Arc<Text>) {
        self.pages().sent(text);
    }

    /// `Parse` was sent of a statement that does not follow the client: it has this text from now on.
    #[inline]
    pub fn parse_sent(&mut self, name: &[u8], text: Option<Arc<Text>>) {
        if self.0.is_some() || text.is_some() {
            self.pages().parse_sent(name, text);
        }
    }

    /// `Bind` was sent of a statement that does not follow the client.
    #[inline]
    pub fn bind_sent(&mut self, portal: &[u8], statement: &[u8]) {
        if let Some(pages) = &mut self.0 {
            let text = pages.statements.get(statement).cloned();
            pages.bound(cut(portal), text);
        }
    }

    /// `Bind` was sent of a statement with this text.
    #[inline]
    pub fn bound(&mut self, portal: &[u8], text: &Arc<Text>) {
        self.pages().bound(cut(portal), Some(Arc::clone(text)));
    }

    /// From now on SQL can execute a statement with this text.
    pub fn shared_with_sql(&mut self, text: &Text) {
        self.pages().prepared_by_sql(text);
    }

    /// Whether texts were sent in this transaction that may have set something, if only for its duration.
    #[inline]
    pub fn has_set(&self) -> bool {
        self.0.as_ref().is_some_and(|pages| pages.has_set)
    }

    /// Whether a library may have been loaded, in whatever transaction: a rollback does not unload it.
    pub fn may_have_loaded(&self) -> bool {
        self.0.as_ref().is_some_and(|pages| pages.is_loading || pages.asks.loads)
    }

    /// Whether a text under way resets settings.
    #[inline]
    pub fn is_resetting(&self) -> bool {
        let mut under_way = self.0.iter().flat_map(|pages| &pages.under_way);
        under_way.any(|under_way| under_way.text.resets)
    }

    /// Whether an `Execute` may run something of interest.
    #[inline]
    pub fn has_portals(&self) -> bool {
        self.0.as_ref().is_some_and(|pages| !pages.portals.is_empty())
    }

    /// What an `Execute` of this portal would run, if that may do something to the session.
    #[inline]
    pub fn text_of(&self, portal: &[u8]) -> Option<Arc<Text>> {
        self.0.as_ref().and_then(|pages| pages.portals.get(cut(portal)).cloned())
    }

    /// `Close` of a statement was sent.
    pub fn close_sent(&mut self, name: &[u8]) {
        if let Some(pages) = &mut self.0
            // It may fail. What shows would show all the same.
            && pages.statements.get(name).is_some_and(|text| text.hidden.is_empty())
        {
            pages.statements.remove(name);
        }
    }

    /// A statement is done. `is_followed`: the request has its mark.
    #[inline]
    pub fn completed(&mut self, tag: &[u8], is_followed: bool) {
        if self.0.is_some() || is_followed || tells(tag) || tag == b"LOAD" {
            self.pages().completed(tag, is_followed);
        }
    }

    /// Whether of the text that is answered next only the beginning was read.
    pub fn is_cut(&self) -> bool {
        let front = self.0.as_ref().and_then(|pages| pages.under_way.front());
        front.is_some_and(|front| front.text.is_cut)
    }

    /// A marked request has had its whole answer; a query, once the server is ready.
    pub fn settled(&mut self) {
        let pages = self.pages();
        if let Some(text) = pages.under_way.pop_front()
            && text.done != text.text.steps.len()
            && !text.text.is_cut
            && !pages.has_failed
        {
            // It was cut otherwise than Postgres has cut it.
            pages.is_unsure();
        }
    }

    /// So many marked requests were skipped after an error, or have failed: they are settled by that.
    /// `is_of_unnamed`: and a `Parse` of the unnamed statement.
    pub fn skipped(&mut self, marked: usize, is_of_unnamed: bool) {
        if let Some(pages) = &mut self.0 {
            let marked = marked.min(pages.under_way.len());
            pages.under_way.drain(..marked);
            if is_of_unnamed {
                pages.parse_skipped();
            }
        }
    }

    /// A request of the client's has failed.
    pub fn failed(&mut self) {
        if let Some(pages) = &mut self.0 {
            pages.has_failed = true;
        }
    }

    /// The server is ready. `is_idle`: no transaction is open any more.
    #[inline]
    pub fn ready(&mut self, is_idle: bool) {
        if let Some(pages) = &mut self.0 {
            pages.ready(is_idle);
        }
    }

    /// Whether nothing at all is followed or remembered: what most clients have.
    #[inline]
    pub fn is_blank(&self) -> bool {
        self.0.is_none()
    }

    /// What has been committed since it was asked last, in order.
    #[inline]
    pub fn take_committed(&mut self) -> Vec<Change> {
        self.0.as_mut().map(|pages| std::mem::take(&mut pages.committed)).unwrap_or_default()
    }

    /// What must be asked of the server before somebody else gets it, if anything.
    #[inline]
    pub fn asks(&self) -> Option<&Hidden> {
        self.0.as_ref().map(|pages| &pages.asks).filter(|asks| asks.must_be_asked())
    }

    /// What the texts have done is not known for sure.
    pub fn is_unsure(&mut self) {
        self.pages().is_unsure();
    }

    /// Which of these settings were reset in the open transaction, since it was asked last: those that its
    /// client came with, and those that its server has below them.
    #[inline]
    pub fn take_resets(&mut self, initial: &Settings, base: &Settings) -> Option<Settings> {
        let pages = self.0.as_mut()?;
        (pages.resets_all || !pages.resets.is_empty()).then(|| pages.take_resets(initial, base))
    }

    /// A statement is done that may have ended something of what keeps the server: ask again.
    pub fn may_have_ended(&mut self, kept: Kept, tag: &[u8]) {
        let asks = &mut self.pages().asks;
        asks.locks |= kept.locks && asks.unlocks;
        asks.prepared |= kept.prepared && tag == b"DEALLOCATE";
        asks.temp |= kept.temp && (tag.starts_with(b"DROP ") || tag == b"DISCARD TEMP");
        asks.holds |= kept.cursors && tag.starts_with(b"CLOSE CURSOR");
    }

    /// Nobody minds what stays on the server, but for settings.
    pub fn ignores_what_stays(&mut self) {
        if let Some(pages) = &mut self.0 {
            let asks = &mut pages.asks;
            (asks.locks, asks.temp, asks.holds, asks.loads) = (false, false, false, false);
            asks.listens = false;
        }
    }

    /// What may be on the server that is not known to be committed, or not known at all: whoever gets it
    /// must not meet it.
    pub fn traces(&self) -> Traces {
        let mut traces = Traces::default();
        if let Some(pages) = &self.0 {
            let is_open = !(pages.log.is_empty() && pages.under_way.is_empty());
            let asks = &pages.asks;
            traces.add_if(is_open || asks.settings || asks.others, Trace::Setting);
            traces.add_if(asks.locks, Trace::Lock);
            traces.add_if(asks.temp, Trace::Temp);
            traces.add_if(asks.holds, Trace::Cursor);
            traces.add_if(asks.prepared, Trace::Statement);
        }
        traces
    }

    /// The text of a question for all that must be asked; `names` are those of settings that Postgres may
    /// not list.
    pub fn inquire<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> String {
        let pages = self.pages();
        pages.inquiry.ask(&pages.asks, names)
    }

    /// The question under way.
    #[inline]
    pub fn inquiry(&mut self) -> Option<&mut Inquiry> {
        let inquiry = self.0.as_mut().map(|pages| &mut pages.inquiry);
        inquiry.filter(|inquiry| inquiry.is_under_way())
    }

    /// The question was answered. `None`: not as it should be, and it must be asked again.
    pub fn answered(&mut self) -> Option<Found> {
        let pages = self.pages();
        let found = pages.inquiry.answered();
        if found.is_some() {
            pages.asks = Hidden::default();
        }
        found
    }

    /// The lease is over. Statements stay, wherever they are.
    #[inline]
    pub fn lease_ended(&mut self) {
        if let Some(pages) = &mut self.0 {
            pages.lease_ended();
            if pages.statements.is_empty() {
                self.0 = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
