//! Pools in which somebody may have waited for long.
//!
//! Whoever gives a server back asks for those that could have its place. Hundreds of pools may wait, and
//! hardly any for long, so that most are not to be looked at: each is noted by a moment before which
//! nobody in it came, and is looked at when that is long ago. Who leaves moves nothing: a pool that turns
//! out not to be overdue is noted anew then, which is once for as long as anybody may wait, not once for
//! each who does.
//!
//! # Invariants
//!
//! - A pool in which somebody is in line is noted, by a moment no later than any of them came.
//! - `later` has each pool that is noted and was not overdue so far, `overdue` each other that is noted.

use crate::base::ids::PoolId;
use std::collections::BTreeSet;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
enum Note {
    None,
    Later(Instant),
    Overdue,
}

#[derive(Debug, Default)]
pub(super) struct Overdue {
    /// By pool.
    notes: Vec<Note>,
    later: BTreeSet<(Instant, PoolId)>,
    overdue: Vec<PoolId>,
}

impl Overdue {
    pub(super) fn add_pool(&mut self) {
        self.notes.push(Note::None);
    }

    /// Somebody is in line for a pool, who came then.
    #[inline]
    pub(super) fn came(&mut self, pool: PoolId, since: Instant) {
        let is_noted = match self.notes[pool.0 as usize] {
            Note::None => false,
            Note::Later(noted) => noted <= since,
            Note::Overdue => true,
        };
        if !is_noted {
            self.note(pool, since);
        }
    }

    /// Instead of a later moment, if there is one.
    #[cold]
    fn note(&mut self, pool: PoolId, since: Instant) {
        let before = std::mem::replace(&mut self.notes[pool.0 as usize], Note::Later(since));
        if let Note::Later(before) = before {
            self.later.remove(&(before, pool));
        }
        self.later.insert((since, pool));
    }

    /// Whoever is noted by this moment or an earlier one is overdue, as far as is known.
    #[inline]
    pub(super) fn ripen(&mut self, since: Instant) {
        while self.later.first().is_some_and(|(noted, _)| *noted <= since)
            && let Some((_, pool)) = self.later.pop_first()
        {
            self.notes[pool.0 as usize] = Note::Overdue;
            self.overdue.push(pool);
        }
    }

    /// In no order.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<PoolId> {
        self.overdue.get(at).copied()
    }

    /// The pool at this place is not overdue: the first who is in line came then, or there is none.
    pub(super) fn note_anew(&mut self, at: usize, oldest: Option<Instant>) {
        let pool = self.overdue.swap_remove(at);
        self.notes[pool.0 as usize] = Note::None;
        if let Some(oldest) = oldest {
            self.note(pool, oldest);
        }
    }
}
