//! Of each class that waits, in which of its lines somebody came first.
//!
//! A server that comes back may let a class at its quota go on, in whichever pool, and then whoever came
//! first of it is next. A class over hundreds of pools must not mean a look at each of them.

use crate::base::ids::ClassId;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Fronts {
    /// By class.
    all: Vec<Front>,
    /// Classes that somebody is in line for, in no order.
    hungry: Vec<ClassId>,
}

#[derive(Default)]
struct Front {
    lines: u32,
    /// Those with somebody in them.
    hungry_lines: u32,
    /// Where in `hungry` this class is.
    hungry_at: usize,
    /// Lines with somebody in them, by the arrival of the first. Kept up for a class with several lines
    /// only: most have one, and need no order.
    order: BTreeSet<(u64, u32)>,
}

impl Fronts {
    /// A class has another line, beside `others` in which somebody waits.
    pub(super) fn add_line(&mut self, class: ClassId, others: impl Iterator<Item = (u64, u32)>) {
        let at = class.0 as usize;
        if self.all.len() <= at {
            self.all.resize_with(at + 1, Front::default);
        }
        self.all[at].lines += 1;
        if self.all[at].lines == 2 {
            self.all[at].order = others.collect();
        }
    }

    /// Somebody else is first in a line than before; `None`: nobody is in it.
    pub(super) fn moved(
        &mut self,
        class: ClassId,
        line: u32,
        before: Option<u64>,
        now: Option<u64>,
    ) {
        let front = &mut self.all[class.0 as usize];
        if front.lines > 1 {
            before.map(|arrival| front.order.remove(&(arrival, line)));
            now.map(|arrival| front.order.insert((arrival, line)));
        }
        match (before, now) {
            (None, Some(_)) => {
                front.hungry_lines += 1;
                if front.hungry_lines == 1 {
                    front.hungry_at = self.hungry.len();
                    self.hungry.push(class);
                }
            }
            (Some(_), None) => {
                front.hungry_lines -= 1;
                if front.hungry_lines == 0 {
                    let at = front.hungry_at;
                    self.hungry.swap_remove(at);
                    if let Some(moved) = self.hungry.get(at) {
                        self.all[moved.0 as usize].hungry_at = at;
                    }
                }
            }
            _ => {}
        }
    }

    /// Classes that somebody is in line for, in no order.
    pub(super) fn hungry(&self) -> &[ClassId] {
        &self.hungry
    }

    /// Of a class with several lines, those whose first came after this arrival, in order.
    pub(super) fn after(
        &self,
        class: ClassId,
        arrival: u64,
    ) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.all[class.0 as usize].order.range((arrival + 1, 0)..).copied()
    }

    /// The same, whose first came before.
    pub(super) fn before(&self, class: ClassId, arrival: u64) -> impl Iterator<Item = u32> + '_ {
        self.all[class.0 as usize].order.range(..(arrival, 0)).map(|(_, line)| *line)
    }
}
