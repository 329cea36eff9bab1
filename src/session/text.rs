//! A text that may do something to the session, read once and remembered until it is done.

use super::statements::is_harmless;
use crate::sql::glance::{Glance, glance};
use crate::sql::hidden::Hidden;
use crate::sql::prepared::prepared_use;
use crate::sql::statement::{Kind, statements, variable};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Statements of one text that are followed; a dump has thousands.
const STATEMENTS_MAX: usize = 1_000;

/// The number of `set_config` (`pg_proc.dat` of Postgres).
const SET_CONFIG: u32 = 2078;

/// Those of functions that take or release advisory locks of the session.
const LOCKS: RangeInclusive<u32> = 2880..=2892;

/// From here on numbers are those of users' own (`FirstNormalObjectId`).
const FIRST_OF_USERS: u32 = 16_384;

/// A text that may do something to the session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub struct Text {
    /// Its statements, if one of them matters: those that do not are empty.
    pub(super) steps: Box<[Box<[u8]>]>,
    /// What does not show when a statement is completed.
    pub(super) hidden: Hidden,
    /// It leaves something that cannot follow its client, for sure.
    pub(super) keeps: bool,
    /// Only its beginning was read.
    pub(super) is_cut: bool,
    /// It loads a library, which nothing unloads.
    pub(super) loads: bool,
    /// It prepares a statement by SQL: what is hidden in that one is in `hidden`.
    pub(super) prepares: bool,
    /// It executes one.
    pub(super) executes: bool,
    /// It resets settings.
    pub(super) resets: bool,
    /// It may change, if only until the transaction ends, how other texts are read.
    pub(super) sets: bool,
}

impl Text {
    /// Reads a text. `None`: it does nothing to the session.
    #[inline]
    pub fn read(sql: &[u8], is_several: bool, functions: &[Box<str>]) -> Option<Arc<Self>> {
        if glance(sql, is_several, functions) == Glance::Skip {
            return None;
        }
        Self::read_on(sql, functions).map(Arc::new)
    }

    /// Reads the beginning of a text that is too long to be held: behind it there may be anything.
    #[cold]
    pub fn read_beginning(sql: &[u8], functions: &[Box<str>]) -> Arc<Self> {
        let mut text = Self::read_on(sql, functions).unwrap_or_default();
        (text.is_cut, text.executes, text.resets, text.sets) = (true, true, true, true);
        text.hidden.add(Hidden::anything());
        Arc::new(text)
    }

    #[cold]
    pub(super) fn read_on(sql: &[u8], functions: &[Box<str>]) -> Option<Self> {
        let mut text = Self::default();
        let mut steps: Vec<Box<[u8]>> = Vec::new();
        let mut matters = false;
        for (kind, statement) in statements(sql).take(STATEMENTS_MAX) {
            let mut hidden = Hidden::of(kind, statement, functions);
            hidden.names.extend(unlisted(kind));
            text.keeps |= hidden.locks && !hidden.settings
                || matches!(kind, Kind::CreateTemp | Kind::DeclareHold | Kind::Load);
            text.loads |= kind == Kind::Load;
            text.sets |= hidden.settings || sets(kind, statement);
            text.hidden.add(hidden);
            text.resets |= matches!(kind, Kind::DiscardAll | Kind::Reset(_) | Kind::ResetAll);
            text.prepares |= matches!(kind, Kind::Prepare(_));
            text.executes |= matches!(kind, Kind::Do | Kind::Execute(_))
                || kind == Kind::Other && prepared_use(statement).is_some();
            matters |= shows(kind);
            steps.push(if shows(kind) { statement.into() } else { Box::default() });
        }
        if matters {
            text.steps = steps.into();
        }
        (matters || text.keeps || text.executes || !text.hidden.is_empty()).then_some(text)
    }

    /// Calling a function by its number. `None`: it is one of Postgres' own that does nothing to the session.
    pub fn of_call(function: u32) -> Option<Arc<Self>> {
        let sets = function == SET_CONFIG;
        if !sets && !LOCKS.contains(&function) && function < FIRST_OF_USERS {
            return None;
        }
        let hidden = Hidden { others: sets, ..Hidden::anything() };
        Some(Arc::new(Self { hidden, sets: true, ..Self::default() }))
    }

    /// Whether its request must be marked in the ledger.
    pub fn is_followed(&self) -> bool {
        !self.steps.is_empty() || self.is_cut
    }

    /// Whether it leaves something on its server that cannot follow its client.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// What does not show when a statement is completed.
    pub fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// What its statements are.
    pub fn kinds(&self) -> impl Iterator<Item = Kind<'_>> {
        self.steps.iter().map(|step| Kind::of(step))
    }

    /// How much memory it takes, more or less.
    pub fn size(&self) -> usize {
        let steps: usize = self.steps.iter().map(|step| step.len() + size_of::<Box<[u8]>>()).sum();
        size_of::<Self>() + steps
    }
}

/// The setting that a statement sets, if Postgres does not list it: should it not be known any more which
/// text has run, it has to be asked for by its name.
fn unlisted(kind: Kind<'_>) -> Option<Box<str>> {
    let (Kind::Reset(name) | Kind::Set { name, .. }) = kind else { return None };
    variable(name).filter(|name| name.contains('.')).map(String::into_boxed_str)
}

/// Whether a statement changes how texts behind it are read. Postgres itself reads a prepared one again when
/// `search_path` or the role has changed.
fn sets(kind: Kind<'_>, statement: &[u8]) -> bool {
    let name = match kind {
        Kind::DiscardAll | Kind::ResetAll | Kind::SetOther => return true,
        Kind::Reset(name) | Kind::Set { name, .. } => name,
        Kind::SetLocal => match Kind::of_local(statement) {
            Kind::Reset(name) | Kind::Set { name, .. } => name,
            // Of the transaction, or of its constraints.
            Kind::SetLocal => return false,
            _ => return true,
        },
        _ => return false,
    };
    let is_plain = |name: &str| {
        name.contains('.') || matches!(name, "role" | "search_path") || is_harmless(name)
    };
    !variable(name).is_some_and(|name| is_plain(&name.to_ascii_lowercase()))
}

/// Whether what such a statement does shows when it is completed.
fn shows(kind: Kind<'_>) -> bool {
    matches!(
        kind,
        Kind::DiscardAll
            | Kind::Listen(_)
            | Kind::Release(_)
            | Kind::Reset(_)
            | Kind::ResetAll
            | Kind::RollbackTo(_)
            | Kind::Savepoint(_)
            | Kind::Set { .. }
            | Kind::SetLocal
            | Kind::SetOther
            | Kind::Unlisten(_)
            | Kind::UnlistenAll
    )
}
