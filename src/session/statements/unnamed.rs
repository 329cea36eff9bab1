//! The unnamed statement: the client's last one, which follows it as well.
//!
//! It lives until the next `Parse` of it, or a simple query. A server's may be another client's; so one
//! that was not made [here](Here) is made again before it is used, or closed if there is none, which
//! has Postgres say so.

use super::interner::Interner;
use std::collections::VecDeque;
use std::sync::Arc;

/// Memory that an idle client may keep for texts to come.
const SPARE_MAX: usize = 4_096;

/// What the client's unnamed statement is, as far as Postgres has answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Held {
    /// Its text, and the types of its parameters, have so many bytes.
    Known(usize),
    #[default]
    Nothing,
    /// There is one, which was too long to be remembered: only the server has it.
    Unknown,
}

/// Whether the unnamed statement of the leased server is the client's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Here {
    /// It may be another client's.
    #[default]
    No,
    /// It will be, unless what makes it, in this batch, fails.
    UnderWay {
        batch: u32,
    },
    Yes,
}

/// How one that is [not remembered](Held::Unknown) is used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Use {
    /// Made, and not used so far: its `Bind` may come after the `Sync`.
    #[default]
    Fresh,
    /// Made and used within one request: what nearly all drivers do.
    Within,
    /// Used again in a later request: it will be used like this again.
    Again,
}

/// What must be done before the unnamed statement can be referred to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// There is none, and the server's must go.
    Close,
    /// It must be made again.
    Make,
    Nothing,
    /// What is under way has to be answered first.
    Wait,
}

#[derive(Debug)]
pub(super) struct Unnamed {
    /// The text that is held, and behind it those under way.
    texts: Vec<u8>,
    held: Held,
    /// The client's `Parse` requests without an answer: lengths. `None`: not remembered.
    under_way: VecDeque<Option<usize>>,
    here: Here,
    /// Requests under way that make the server's the client's.
    makers: u32,
    /// A simple query was sent that may drop what is held.
    is_query_under_way: bool,
    how: Use,
    is_synced: bool,
    /// Where the memory for texts is counted.
    counted: Arc<Interner>,
}

impl Unnamed {
    pub(super) fn new(counted: Arc<Interner>) -> Self {
        Self {
            texts: Vec::new(),
            held: Held::Nothing,
            under_way: VecDeque::new(),
            here: Here::No,
            makers: 0,
            is_query_under_way: false,
            how: Use::Fresh,
            is_synced: false,
            counted,
        }
    }

    /// The client sends a `Parse`. `None`: its text is not here as a whole.
    #[inline]
    pub(super) fn parse_sent(&mut self, body: Option<&[u8]>, batch: u32) {
        let body = body.filter(|body| self.has_room(body.len()));
        if let Some(body) = body {
            self.texts.extend_from_slice(body);
        }
        self.under_way.push_back(body.map(<[u8]>::len));
        (self.how, self.is_synced) = (Use::Fresh, false);
        self.is_being_made(batch);
    }

    #[inline]
    fn has_room(&mut self, more: usize) -> bool {
        let (before, wanted) = (self.texts.capacity(), self.texts.len() + more);
        if wanted <= before {
            return true;
        }
        if wanted > super::PARSE_MAX || !self.counted.reserve(wanted - before) {
            return false;
        }
        self.texts.reserve_exact(more);
        // The allocator may have given more than was asked for.
        self.counted.reserve_all(self.texts.capacity() - wanted);
        true
    }

    #[inline]
    fn is_being_made(&mut self, batch: u32) {
        self.makers += 1;
        if self.here != Here::Yes {
            self.here = Here::UnderWay { batch };
        }
    }

    /// What it takes to refer to it.
    #[inline]
    pub(super) fn need(&mut self, batch: u32, is_anything_owed: bool) -> Need {
        match self.here {
            Here::Yes => Need::Nothing,
            Here::UnderWay { batch: made } if made == batch => Need::Nothing,
            Here::UnderWay { .. } => Need::Wait,
            Here::No if self.is_query_under_way && is_anything_owed => Need::Wait,
            Here::No => {
                self.is_query_under_way = false;
                if matches!(self.held, Held::Known(_)) { Need::Make } else { Need::Close }
            }
        }
    }

    /// The proxy makes it again.
    pub(super) fn made_again(&mut self, batch: u32) {
        self.is_being_made(batch);
    }

    pub(super) fn close_sent(&mut self, batch: u32) {
        self.is_being_made(batch);
    }

    #[inline]
    pub(super) fn bind_sent(&mut self) {
        self.how = if self.is_synced { Use::Again } else { Use::Within };
    }

    #[inline]
    pub(super) fn sync_sent(&mut self) {
        self.is_synced = true;
    }

    #[inline]
    pub(super) fn query_sent(&mut self) {
        self.is_query_under_way = true;
    }

    /// A simple query was answered: Postgres has dropped what was there.
    #[inline]
    pub(super) fn queried(&mut self) {
        self.forget();
        self.here = Here::Yes;
    }

    /// A query of the proxy's own was: what is held must be made again.
    pub(super) fn dropped(&mut self) {
        self.here = Here::No;
    }

    /// The client's oldest `Parse` was answered.
    #[inline]
    pub(super) fn parsed(&mut self) {
        self.forget();
        self.held = match self.under_way.pop_front() {
            Some(Some(len)) => Held::Known(len),
            _ => Held::Unknown,
        };
        self.made();
    }

    /// What makes it has been answered.
    #[inline]
    pub(super) fn made(&mut self) {
        self.makers = self.makers.saturating_sub(1);
        self.here = Here::Yes;
    }

    /// The client's `Close` was answered, or its `Parse` failed: there is none any more.
    pub(super) fn closed(&mut self) {
        self.forget();
        self.made();
    }

    fn forget(&mut self) {
        if let Held::Known(len) = std::mem::take(&mut self.held) {
            self.texts.drain(..len);
        }
    }

    /// So many requests that make it were skipped, `parses` of them the client's; the first of those
    /// has failed.
    pub(super) fn skipped(&mut self, makers: u32, parses: usize, is_failed: bool) {
        let lens = self.under_way.drain(..parses.min(self.under_way.len()));
        let gone: usize = lens.flatten().sum();
        let start = if let Held::Known(len) = self.held { len } else { 0 };
        self.texts.drain(start..start + gone);
        self.makers = self.makers.saturating_sub(makers);
        if is_failed {
            self.forget();
            self.here = Here::Yes;
        } else if self.makers == 0 && self.here != Here::Yes {
            self.here = Here::No;
        }
    }

    /// The proxy's own has failed: nothing is there any more.
    pub(super) fn remaking_failed(&mut self) {
        self.here = Here::No;
    }

    /// Only this server has it.
    #[inline]
    pub(super) fn is_pinning(&self) -> bool {
        self.held == Held::Unknown && self.how != Use::Within
    }

    /// The next lease is on another server.
    #[inline]
    pub(super) fn lease_ended(&mut self) {
        if !self.under_way.is_empty() {
            self.skipped(self.makers, self.under_way.len(), false);
        }
        if self.held == Held::Unknown {
            self.held = Held::Nothing;
        }
        (self.here, self.makers, self.is_query_under_way) = (Here::No, 0, false);
        if self.texts.capacity() > self.texts.len() + SPARE_MAX {
            let before = self.texts.capacity();
            self.texts.shrink_to_fit();
            self.counted.release(before - self.texts.capacity());
        }
    }

    /// What it is, as in `Parse` behind the name.
    pub(super) fn body(&self) -> Option<&[u8]> {
        match self.held {
            Held::Known(len) => self.texts.get(..len),
            Held::Nothing | Held::Unknown => None,
        }
    }

    /// It was remembered elsewhere.
    pub(super) fn restore(&mut self, body: &[u8]) {
        self.forget();
        if self.has_room(body.len()) {
            self.texts.extend_from_slice(body);
            self.held = Held::Known(body.len());
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        self.counted.release(self.texts.capacity());
    }
}
