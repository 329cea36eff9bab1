//! Who is aboard a shared server, and whose each of its bytes is. No sockets.

use crate::base::ids::ClientId;
use crate::end::ErrorFields;
use crate::pool::mailbox::Mailbox;
use crate::server::exchange::parameter;
use crate::session::fare::Fare;
use crate::session::ledger::{Ledger, Status};
use crate::wire::error_fields;
use crate::wire::frame::{HEAD_LEN, Head, MESSAGE_MAX, run_of};
use crate::wire::tags::from_server as tags;
use std::collections::VecDeque;
use std::sync::Arc;

/// Errors, parameters and the like are looked into up to this length.
const LOOK_MAX: usize = 16_384;

/// What Postgres says of a statement that was cancelled.
const QUERY_CANCELED: &str = "57014";

const IMPOSSIBLE: &str = "it sent an impossible length";
const UNASKED: &str = "it sent a reply that nobody asked for";

/// A client with its request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub(super) struct Rider {
    pub(super) client: ClientId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) fare: Box<Fare>,
    /// The client wants it to be cancelled when it is at the head; or nobody wants its answer.
    pub(super) is_to_be_canceled: bool,
    /// That was done.
    pub(super) is_canceled: bool,
    /// Nobody wants its answer.
    pub(super) is_gone: bool,
    /// A cancel request hit it that was meant for another.
    pub(super) is_hit: bool,
    /// One may hit it yet.
    pub(super) is_exposed: bool,
}

impl Rider {
    pub(super) fn new(client: ClientId, mailbox: Arc<Mailbox>, fare: Box<Fare>) -> Self {
        Self {
            client,
            mailbox,
            fare,
            is_to_be_canceled: false,
            is_canceled: false,
            is_gone: false,
            is_hit: false,
            is_exposed: false,
        }
    }
}

/// A server is of no use any more.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: &'static str,
    pub(super) last_words: Option<Box<ErrorFields>>,
}

impl Lost {
    pub(super) fn because(why: &'static str) -> Self {
        Self { why, last_words: None }
    }
}

/// What the bytes that came were.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// So many of them were looked at.
    pub(super) len: usize,
    /// Answered, the first first.
    pub(super) answered: Vec<Rider>,
    /// `name` is `value` from now on.
    pub(super) reported: Vec<(String, String)>,
    /// Postgres found that a table or the like is another than it was.
    pub(super) is_plan_changed: bool,
    /// It tells of channels that nobody here listens to.
    pub(super) is_notified: bool,
}

/// Those aboard whose requests were sent, the head first.
#[derive(Debug, Default)]
pub(super) struct Riders {
    riders: VecDeque<Rider>,
    /// Bytes still to come of a message of the head's that needs no look, or of nobody's.
    to_come: usize,
    is_swallowing: bool,
}

impl Riders {
    pub(super) fn push(&mut self, rider: Rider) {
        self.riders.push_back(rider);
    }

    pub(super) fn head(&mut self) -> Option<&mut Rider> {
        self.riders.front_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Rider> {
        self.riders.iter_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.riders.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Rider> {
        std::mem::take(&mut self.riders)
    }

    /// Whether half a message of the head's answer is here.
    pub(super) fn is_mid_message(&self) -> bool {
        self.to_come > 0
    }

    /// Looks at what came, and gives each rider its part of it.
    pub(super) fn share_out(
        &mut self,
        bytes: &[u8],
        ledger: &mut Ledger,
        came: &mut Came,
    ) -> Result<(), Lost> {
        // What of the head's answer was looked at and not taken.
        let mut from = 0;
        came.len = 0;
        let looked = self.look_at(bytes, &mut from, ledger, came);
        // Of a server that is lost as well: the head may have the beginning of a message.
        self.give(&bytes[from..came.len]);
        looked
    }

    /// Goes through what came, up to the first message that has to be whole and is not.
    fn look_at(
        &mut self,
        bytes: &[u8],
        from: &mut usize,
        ledger: &mut Ledger,
        came: &mut Came,
    ) -> Result<(), Lost> {
        loop {
            if self.is_mid_message() && !self.pass_rest(bytes.len(), from, came) {
                return Ok(());
            }
            let rest = &bytes[came.len..];
            let head = Head::parse(rest, MESSAGE_MAX).map_err(|_| Lost::because(IMPOSSIBLE))?;
            let Some(head) = head else { return Ok(()) };
            if is_looked_into(head.tag) && rest.len() < head.total {
                let is_too_long = head.total > LOOK_MAX;
                let lost = Lost::because("it sent a longer message than expected");
                return if is_too_long { Err(lost) } else { Ok(()) };
            }
            let body = &rest[HEAD_LEN..head.total.min(rest.len())];
            match head.tag {
                tags::DATA_ROW => {
                    replied(ledger, head.tag)?;
                    let run = run_of(head.tag, rest, MESSAGE_MAX);
                    let run = run.map_err(|_| Lost::because(IMPOSSIBLE))?;
                    (came.len, self.to_come) = (came.len + run.here, run.to_come);
                    continue;
                }
                tags::READY => {
                    self.is_ready(body, ledger)?;
                    came.len += head.total;
                    self.give(&bytes[*from..came.len]);
                    *from = came.len;
                    came.answered.extend(self.riders.pop_front());
                    continue;
                }
                tags::ERROR => self.failed(body, ledger, came)?,
                tags::NOTIFICATION => {
                    self.give(&bytes[*from..came.len]);
                    *from = came.len;
                    (came.is_notified, self.is_swallowing) = (true, true);
                }
                tags::PARAMETER_STATUS => {
                    let reported = parameter(body);
                    came.reported.extend(reported.map(|(name, it)| (name.into(), it.into())));
                }
                tags::NOTICE => {}
                tag => replied(ledger, tag)?,
            }
            self.to_come = head.total;
        }
    }

    /// Goes on in a message that needs no look. Answers whether it is through.
    fn pass_rest(&mut self, len: usize, from: &mut usize, came: &mut Came) -> bool {
        let here = self.to_come.min(len - came.len);
        self.to_come -= here;
        came.len += here;
        if self.is_swallowing {
            *from = came.len;
        }
        self.is_swallowing &= self.is_mid_message();
        !self.is_mid_message()
    }

    fn failed(&mut self, body: &[u8], ledger: &mut Ledger, came: &mut Came) -> Result<(), Lost> {
        let fields = error_fields::parse(body);
        if fields.is_fatal() {
            let why = "it ended the connection";
            return Err(Lost { why, last_words: Some(Box::new(fields)) });
        }
        came.is_plan_changed |= error_fields::is_plan_changed(&fields);
        let is_known = ledger.failed(|_, _| {}).is_some();
        let head = self.riders.front_mut().filter(|_| is_known);
        let head = head.ok_or(Lost::because("it sent an error that nobody asked for"))?;
        head.is_hit |= fields.code == QUERY_CANCELED
            && head.is_exposed
            && !head.is_canceled
            && !head.fare.is_told;
        Ok(())
    }

    fn is_ready(&self, body: &[u8], ledger: &mut Ledger) -> Result<(), Lost> {
        let status = body.first().copied().and_then(Status::from_byte);
        let is_owed = status.is_some_and(|status| ledger.ready(status).is_ok());
        if !is_owed || self.riders.is_empty() {
            return Err(Lost::because(UNASKED));
        }
        let is_idle = status == Some(Status::Idle);
        let lost = Lost::because("a statement that was taken to be a read began a transaction");
        if is_idle { Ok(()) } else { Err(lost) }
    }

    fn give(&mut self, bytes: &[u8]) {
        if let Some(head) = self.riders.front_mut() {
            head.fare.answer.extend_from_slice(bytes);
        }
    }
}

fn is_looked_into(tag: u8) -> bool {
    matches!(tag, tags::READY | tags::ERROR | tags::PARAMETER_STATUS)
}

fn replied(ledger: &mut Ledger, tag: u8) -> Result<(), Lost> {
    ledger.replied(tag).map(drop).map_err(|_| Lost::because(UNASKED))
}

#[cfg(test)]
#[path = "riders_tests.rs"]
mod tests;
