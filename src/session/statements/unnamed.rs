//! The unnamed statement: the client's last one, which follows it as well.
//!
//! It lives until the next `Parse` of it, or a simple query. A server's may be another client's; so one
//! that was not made [here](Here) is made again before it is used, or closed if there is none, which
//! has Postgres say so.

use super::context::Moment;
use super::description::Description;
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
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
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
    /// What the client was told of it, if it has asked.
    description: Option<Description>,
    /// It was made and nothing else so far, in this batch: it will be used in another, then, and must be
    /// known by then.
    is_unused: bool,
    /// When somebody asked who has no answer so far; and when they did whose answer came last.
    asked: Option<Moment>,
    confirmed: Option<Moment>,
    /// It is being made again, and a request waits for what Postgres says of it.
    is_in_doubt: bool,
    /// It is not what it was.
    is_refuted: bool,
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
            description: None,
            is_unused: false,
            asked: None,
            confirmed: None,
            is_in_doubt: false,
            is_refuted: false,
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
        self.is_unused = matches!(self.under_way.back(), Some(Some(_)));
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
            _ if self.is_in_doubt => Need::Wait,
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

    /// The proxy makes it again. `is_sure`: the request that needs it does not wait for more.
    pub(super) fn made_again(&mut self, batch: u32, is_sure: bool) {
        self.is_in_doubt = !is_sure;
        self.is_being_made(batch);
    }

    /// Whether it is to be asked what it is, before anything runs and before its batch ends.
    #[inline]
    pub(super) fn wants_description(&self) -> bool {
        self.is_unused
    }

    /// It is asked what it is.
    pub(super) fn describe_sent(&mut self, now: Moment) {
        self.is_unused = false;
        self.asked.get_or_insert(now);
    }

    /// The client was told.
    pub(super) fn described(&mut self, description: Description) {
        self.confirmed = self.asked.take();
        if matches!(self.held, Held::Known(_)) {
            self.description = Some(description);
        }
    }

    pub(super) fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// Whether Postgres would describe it so now, as far as can be known.
    pub(super) fn is_confirmed(&self, now: Moment) -> bool {
        self.confirmed.is_some_and(|at| now.is_soon_after(&at))
    }

    /// It was made again, and Postgres says this of it. Answers whether that is what the client was told.
    pub(super) fn is_still(&mut self, description: &Description) -> bool {
        self.is_in_doubt = false;
        let is_same = self.description.as_ref().is_none_or(|told| told.has_columns_of(description));
        if !is_same {
            (self.here, self.is_refuted) = (Here::No, true);
        }
        is_same
    }

    /// Something has failed: what Postgres would say of it is not to be had.
    pub(super) fn asked_in_vain(&mut self) {
        (self.is_in_doubt, self.asked) = (false, None);
    }

    /// Whether what was made again just now was found to be something else.
    pub(super) fn take_refuted(&mut self) -> bool {
        std::mem::take(&mut self.is_refuted)
    }

    /// It is too much to be remembered: only the server has it.
    pub(super) fn keep_here(&mut self) {
        if matches!(self.held, Held::Known(_)) {
            self.forget();
            self.held = Held::Unknown;
        }
    }

    pub(super) fn close_sent(&mut self, batch: u32) {
        self.is_unused = false;
        self.is_being_made(batch);
    }

    #[inline]
    pub(super) fn bind_sent(&mut self) {
        self.how = if self.is_synced { Use::Again } else { Use::Within };
        self.is_unused = false;
    }

    #[inline]
    pub(super) fn sync_sent(&mut self) {
        (self.is_synced, self.is_unused) = (true, false);
    }

    #[inline]
    pub(super) fn query_sent(&mut self) {
        (self.is_query_under_way, self.is_unused) = (true, false);
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
        self.description = None;
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
        (self.is_in_doubt, self.is_refuted, self.is_unused) = (false, false, false);
        self.asked = None;
        if self.texts.capacity() > self.texts.len() + SPARE_MAX {
            let before = self.texts.capacity();
            self.texts.shrink_to_fit();
            self.counted.release(before - self.texts.capacity());
        }
    }

    /// What it will be when all that is under way is answered, and nothing fails.
    #[inline]
    pub(super) fn latest(&self) -> Option<&[u8]> {
        match self.under_way.back() {
            Some(Some(len)) => self.texts.get(self.texts.len() - len..),
            Some(None) => None,
            None => self.body(),
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
    pub(super) fn restore(&mut self, body: &[u8], description: Option<Description>) {
        self.forget();
        if self.has_room(body.len()) {
            self.texts.extend_from_slice(body);
            self.held = Held::Known(body.len());
            self.description = description;
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        self.counted.release(self.texts.capacity());
    }
}
