//! What goes to a shared server, and how much of it has gone.

/// A place in all that was ever to be sent to a server.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Mark(u64);

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How many of those have gone.
    written: usize,
    /// How many have gone before them.
    before: u64,
}

/// For as many small requests as are aboard mostly.
const ROOM: usize = 1 << 10;

impl Outbox {
    pub(super) fn with_room() -> Self {
        Self { bytes: Vec::with_capacity(ROOM), ..Self::default() }
    }

    /// Where the next bytes begin.
    pub(super) fn end(&self) -> Mark {
        Mark(self.before + self.bytes.len() as u64)
    }

    /// Where more is written behind what there is.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is still to be sent.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many of the rest have gone.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.bytes.len() {
            self.before += self.bytes.len() as u64;
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Whether anything from there on has gone.
    pub(super) fn has_begun(&self, mark: Mark) -> bool {
        mark.0 < self.before + self.written as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;
    use proptest::prelude::*;

    proptest! {
        /// However it is written, what has gone is known to the byte.
        #[test]
        fn what_has_gone_is_known(parts in prop::collection::vec((0_usize..9, 0_usize..9), 1..30)) {
            let (mut out, mut queued, mut gone) = (Outbox::default(), 0, 0);
            let mut marks = Vec::new();
            for (more, takes) in parts {
                marks.push((out.end(), queued));
                out.bytes().extend(std::iter::repeat_n(b'x', more));
                queued += more;
                let takes = takes.min(out.rest().len());
                out.wrote(takes);
                gone += takes;
                prop_assert_eq!(out.rest().len(), queued - gone);
                for (mark, at) in &marks {
                    prop_assert_eq!(out.has_begun(*mark), *at < gone);
                }
            }
        }
    }
}
