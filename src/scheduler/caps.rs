//! Caps that several pools share: of the host, of a database, of a user.

use super::contention::Crowd;
use super::slots::State;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An index into [`Groups`].
pub(super) type GroupId = u32;

/// Everything that counts in one shared cap.
#[derive(Debug)]
pub(super) struct Group {
    /// Those who wait for pools in it.
    pub(super) crowd: Arc<Crowd>,
    pub(super) idle: u32,
    pub(super) max: u32,
    /// Slots that are not vacant.
    pub(super) open: u32,
}

impl Group {
    fn unlimited() -> Self {
        Self { crowd: Arc::default(), idle: 0, max: u32::MAX, open: 0 }
    }

    pub(super) fn limit(&mut self, max: u32) {
        self.max = max;
        self.crowd.is_full(self.is_full());
    }

    pub(super) fn moved(&mut self, from: State, to: State) {
        self.idle += u32::from(to == State::Idle);
        self.idle -= u32::from(from == State::Idle);
        self.open += u32::from(from == State::Vacant);
        self.open -= u32::from(to == State::Vacant);
        if from == State::Vacant || to == State::Vacant {
            self.crowd.is_full(self.is_full());
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.open >= self.max
    }

    /// More is open than a limit that was lowered meanwhile allows.
    pub(super) fn is_over(&self) -> bool {
        self.open > self.max
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Database,
    User,
}

#[derive(Debug)]
pub(super) struct Groups {
    all: Vec<Group>,
    names: BTreeMap<(Kind, String), GroupId>,
}

impl Groups {
    pub(super) const HOST: GroupId = 0;

    pub(super) fn new() -> Self {
        Self { all: vec![Group::unlimited()], names: BTreeMap::new() }
    }

    pub(super) fn find_or_add(&mut self, kind: Kind, name: String) -> GroupId {
        *self.names.entry((kind, name)).or_insert_with(|| {
            self.all.push(Group::unlimited());
            u32::try_from(self.all.len() - 1).expect("fewer groups than pools")
        })
    }

    pub(super) fn of(&self, group: GroupId) -> &Group {
        &self.all[group as usize]
    }

    pub(super) fn of_mut(&mut self, group: GroupId) -> &mut Group {
        &mut self.all[group as usize]
    }
}
