//! A text that may do something to the session, read once and remembered until it is done.

use crate::sql::glance::{Glance, glance};
use crate::sql::hidden::Hidden;
use crate::sql::statement::{Kind, statements};
use std::rc::Rc;

/// Statements of one text that are followed; a dump has thousands.
const STATEMENTS_MAX: usize = 1_000;

/// A text that may do something to the session.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Its statements, if one of them matters: those that do not are empty.
    pub(super) steps: Rc<[Box<[u8]>]>,
    /// What does not show when a statement is completed.
    pub(super) hidden: Hidden,
    /// It leaves something that cannot follow its client, for sure.
    pub(super) keeps: bool,
}

impl Text {
    /// Reads a text; of one that is not whole, what is here. `None`: it does nothing to the session.
    #[inline]
    pub fn read(sql: &[u8], is_several: bool, functions: &[Box<str>]) -> Option<Self> {
        if glance(sql, is_several, functions) == Glance::Skip {
            return None;
        }
        Self::read_on(sql, functions)
    }

    #[cold]
    pub(super) fn read_on(sql: &[u8], functions: &[Box<str>]) -> Option<Self> {
        let mut text = Self::default();
        let mut steps: Vec<Box<[u8]>> = Vec::new();
        let mut matters = false;
        for (kind, statement) in statements(sql).take(STATEMENTS_MAX) {
            let hidden = Hidden::of(kind, statement, functions);
            text.keeps |= hidden.locks && !hidden.settings
                || matches!(kind, Kind::CreateTemp | Kind::DeclareHold | Kind::Load);
            text.hidden.add(hidden);
            matters |= shows(kind);
            steps.push(if shows(kind) { statement.into() } else { Box::default() });
        }
        if matters {
            text.steps = steps.into();
        }
        (matters || text.keeps || !text.hidden.is_empty()).then_some(text)
    }

    /// Whether its request must be marked in the ledger.
    pub fn is_followed(&self) -> bool {
        !self.steps.is_empty()
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
