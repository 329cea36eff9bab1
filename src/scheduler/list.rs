//! A doubly linked list threaded through the elements of a vector.
//!
//! Any element leaves in constant time and nothing is allocated: a waiter that gives up, and an
//! idle server that is evicted, are usually neither the first nor the last.

/// The end of a list.
const NONE: u32 = u32::MAX;

/// An element's neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    before: u32,
    after: u32,
}

impl Links {
    pub(super) const UNLINKED: Self = Self { before: NONE, after: NONE };
}

/// An element that can be in list `WHICH`. An element can be in several at once.
pub(super) trait Linked<const WHICH: usize> {
    fn links(&self) -> Links;
    fn links_mut(&mut self) -> &mut Links;
}

#[derive(Clone, Debug)]
pub(super) struct List<const WHICH: usize> {
    front: u32,
    back: u32,
    len: u32,
}

impl<const WHICH: usize> List<WHICH> {
    pub(super) const fn new() -> Self {
        Self { front: NONE, back: NONE, len: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    pub(super) fn back(&self) -> Option<u32> {
        (self.back != NONE).then_some(self.back)
    }

    pub(super) fn after<N: Linked<WHICH>>(nodes: &[N], index: u32) -> Option<u32> {
        let after = nodes[index as usize].links().after;
        (after != NONE).then_some(after)
    }

    /// From front to back.
    pub(super) fn iter<'a, N: Linked<WHICH>>(
        &self,
        nodes: &'a [N],
    ) -> impl Iterator<Item = u32> + use<'a, N, WHICH> {
        std::iter::successors(self.front(), |index| Self::after(nodes, *index))
    }

    pub(super) fn push_back<N: Linked<WHICH>>(&mut self, nodes: &mut [N], index: u32) {
        *nodes[index as usize].links_mut() = Links { before: self.back, after: NONE };
        match self.back {
            NONE => self.front = index,
            back => nodes[back as usize].links_mut().after = index,
        }
        self.back = index;
        self.len += 1;
    }

    pub(super) fn push_front<N: Linked<WHICH>>(&mut self, nodes: &mut [N], index: u32) {
        *nodes[index as usize].links_mut() = Links { before: NONE, after: self.front };
        match self.front {
            NONE => self.back = index,
            front => nodes[front as usize].links_mut().before = index,
        }
        self.front = index;
        self.len += 1;
    }

    /// In front of `next`, which must be in this list.
    pub(super) fn insert_before<N: Linked<WHICH>>(
        &mut self,
        nodes: &mut [N],
        index: u32,
        next: u32,
    ) {
        let Links { before, .. } = nodes[next as usize].links();
        if before == NONE {
            return self.push_front(nodes, index);
        }
        *nodes[index as usize].links_mut() = Links { before, after: next };
        nodes[before as usize].links_mut().after = index;
        nodes[next as usize].links_mut().before = index;
        self.len += 1;
    }

    /// `index` must be in this list.
    pub(super) fn remove<N: Linked<WHICH>>(&mut self, nodes: &mut [N], index: u32) {
        let Links { before, after } = nodes[index as usize].links();
        match before {
            NONE => self.front = after,
            before => nodes[before as usize].links_mut().after = after,
        }
        match after {
            NONE => self.back = before,
            after => nodes[after as usize].links_mut().before = before,
        }
        *nodes[index as usize].links_mut() = Links::UNLINKED;
        self.len -= 1;
    }
}
