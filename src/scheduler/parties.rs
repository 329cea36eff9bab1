//! Those of one source (an address in a class) who wait, line by line.
//!
//! Each line by itself: who waits for a pool that is full keeps nobody of its address from another.

use super::list::List;
use super::terms::Member;
use std::time::Instant;

/// The list of those of one address who stand aside; that of a line is list 0.
const ASIDE: usize = 1;

/// Those of one source in one line.
pub(super) struct Party {
    pub(super) line: u32,
    pub(super) aside: List<ASIDE>,
    pub(super) in_line: u32,
    /// When one of them was last served who had waited.
    pub(super) served_at: Option<Instant>,
}

/// By source. There are as many of each as pools that it uses.
#[derive(Default)]
pub(super) struct Parties(Vec<Vec<Party>>);

impl Parties {
    /// So many sources may be named from now on.
    pub(super) fn fit(&mut self, sources: u32) {
        if self.0.len() < sources as usize {
            self.0.resize_with(sources as usize, Vec::new);
        }
    }

    pub(super) fn sources(&self) -> u32 {
        u32::try_from(self.0.len()).expect("fewer sources than clients")
    }

    pub(super) fn of_source(&self, source: u32) -> &[Party] {
        &self.0[source as usize]
    }

    pub(super) fn find(&self, member: Member) -> Option<&Party> {
        self.of_source(member.source).iter().find(|party| party.line == member.line)
    }

    /// Made when the first of a source gets in a line.
    pub(super) fn of_mut(&mut self, member: Member) -> &mut Party {
        let parties = &mut self.0[member.source as usize];
        let at = parties.iter().position(|party| party.line == member.line).unwrap_or_else(|| {
            parties.push(Party {
                line: member.line,
                aside: List::new(),
                in_line: 0,
                served_at: None,
            });
            parties.len() - 1
        });
        &mut parties[at]
    }

    /// A source is gone; its number may come to name another.
    pub(super) fn forget(&mut self, source: u32) {
        self.0[source as usize].clear();
    }
}
