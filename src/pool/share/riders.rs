//! Who is aboard a shared server, and whose each of its bytes is. No sockets.

use super::outbox::{Mark, Outbox};
use super::profiles::Answer;
use crate::base::ids::ClientId;
use crate::end::ErrorFields;
use crate::pool::mailbox::{Mailbox, Outcome};
use crate::scheduler::{Berth, CHANGE};
use crate::server::exchange::parameter;
use crate::session::fare::Fare;
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::session::statements::{Prepared, READ_MAX, Told, mentioned};
use crate::wire::encode;
use crate::wire::error_fields;
use crate::wire::frame::{HEAD_LEN, Head, MESSAGE_MAX, run_of};
use crate::wire::tags::from_server as tags;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Errors, parameters and the like are looked into up to this length.
const LOOK_MAX: usize = 16_384;

/// For so many there is room from the beginning: as many as `multiplex_depth` lets aboard, where nobody has changed it.
pub(super) const ROOM: usize = 8;

/// What Postgres says when there is no statement of a name.
const NO_STATEMENT: &str = "26000";

/// What Postgres says of a statement that was cancelled.
const QUERY_CANCELED: &str = "57014";

const IMPOSSIBLE: &str = "it sent an impossible length";
const UNASKED: &str = "it sent a reply that nobody asked for";
const TOO_LONG: Lost = Lost { why: "it sent a longer message than expected", last_words: None };

/// A client with its request.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by itself")]
pub(super) struct Rider {
    pub(super) client: ClientId,
    pub(super) berth: Berth,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) fare: Box<Fare>,
    /// Where its request begins.
    pub(super) begins: Mark,
    /// The client wants it to be cancelled when it is at the head; or nobody wants its answer.
    pub(super) is_to_be_canceled: bool,
    /// That was done.
    pub(super) is_canceled: bool,
    /// Nobody wants its answer.
    pub(super) is_gone: bool,
    /// Its client has asked again elsewhere: it is not aboard any more.
    pub(super) has_left: bool,
    /// Its answer is not what its client asked for: a cancel request hit it that was meant for another, or its
    /// statement is not there as it was. It goes back to the queue.
    pub(super) is_hit: bool,
    /// One may hit it yet.
    pub(super) is_exposed: bool,
    /// Postgres has answered it with an error.
    pub(super) has_failed: bool,
    /// The server gets its settings ahead of its request, and has not said that it has them.
    is_fitting: bool,
    /// What it takes to give it these.
    change: Duration,
}

impl Rider {
    pub(super) fn new(
        (client, berth): (ClientId, Berth),
        mailbox: Arc<Mailbox>,
        fare: Box<Fare>,
    ) -> Self {
        Self {
            client,
            berth,
            mailbox,
            fare,
            begins: Mark::default(),
            is_to_be_canceled: false,
            is_canceled: false,
            is_gone: false,
            has_left: false,
            is_hit: false,
            is_exposed: false,
            has_failed: false,
            is_fitting: false,
            change: Duration::ZERO,
        }
    }

    /// Has the server changed to its settings ahead of its request, by this query.
    pub(super) fn fit(&mut self, sql: &str, ledger: &mut Ledger, out: &mut Vec<u8>) {
        encode::query(out, sql);
        ledger.sent(Request::Query, Origin::Proxy);
        (self.is_fitting, self.change) = (true, CHANGE);
    }

    /// How long it is expected to be at the head.
    pub(super) fn expected(&self) -> Duration {
        self.fare.expected + self.change
    }

    /// How much of the time at the head its request has taken: what its settings have is no part of it.
    pub(super) fn of_request(&self, took: Duration) -> Duration {
        if self.change.is_zero() {
            return took;
        }
        took.mul_f64(self.fare.expected.div_duration_f64(self.expected()))
    }

    /// How long its answer is, as far as it came.
    pub(super) fn answer(&self) -> Answer {
        let len = self.fare.told + self.fare.answer.len();
        // What nobody is given is not kept.
        if self.is_gone || self.is_hit { Answer::Part(len) } else { Answer::Whole(len) }
    }

    /// Whether its answer, which has come, is shorter than any was expected to be.
    pub(super) fn is_short(&self) -> bool {
        matches!(self.answer(), Answer::Whole(len) if len < self.fare.answer_least)
    }

    /// Its client is not aboard any more. What it has asked runs all the same, and has its place among the
    /// answers. Answers with what its client is to be told, if it is still there.
    pub(super) fn leave(&mut self) -> Option<Outcome> {
        let missed = (!self.is_gone).then(|| self.missed());
        (self.has_left, self.is_gone, self.is_hit) = (true, true, true);
        missed
    }

    /// What its client is told that gets no answer here: to ask again, unless it wants none any more.
    pub(super) fn missed(&self) -> Outcome {
        if self.is_to_be_canceled { Outcome::Canceled } else { Outcome::Missed }
    }
}

/// When each of those was answered whose answers came at once, now. Nobody can know: the time since the first
/// of them was at the head is theirs as they were expected to take it.
pub(super) fn ends(
    since: Instant,
    now: Instant,
    answered: &[Rider],
) -> impl Iterator<Item = Instant> {
    let took = now.saturating_duration_since(since);
    let all: Duration = answered.iter().map(Rider::expected).sum();
    answered.iter().scan(Duration::ZERO, move |so_far, rider| {
        *so_far += rider.expected();
        let is_last = *so_far >= all;
        Some(if is_last { now } else { since + took.mul_f64(so_far.div_duration_f64(all)) })
    })
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

/// What is kept of a server beside those aboard.
type Of<'a> = (&'a mut Ledger, &'a mut Prepared);

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

impl Came {
    pub(super) fn with_room() -> Self {
        Self { answered: Vec::with_capacity(ROOM), ..Self::default() }
    }
}

/// Those aboard whose requests were sent, the head first.
#[derive(Debug, Default)]
pub(super) struct Riders {
    riders: VecDeque<Rider>,
    /// To the server.
    pub(super) out: Outbox,
    /// Bytes still to come of a message of the head's that needs no look, or of nobody's.
    to_come: usize,
    is_swallowing: bool,
    /// The head's settings were refused: what all aboard have asked is answered under others than theirs.
    is_misfit: bool,
}

impl Riders {
    pub(super) fn with_room() -> Self {
        let riders = VecDeque::with_capacity(ROOM);
        Self { riders, out: Outbox::with_room(), ..Self::default() }
    }

    pub(super) fn push(&mut self, rider: Rider) {
        self.riders.push_back(rider);
    }

    pub(super) fn head(&mut self) -> Option<&mut Rider> {
        self.riders.front_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rider> {
        self.riders.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Rider> {
        self.riders.iter_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.riders.is_empty()
    }

    /// The first of those behind the head who have not left.
    pub(super) fn behind(&mut self) -> Option<&mut Rider> {
        self.riders.iter_mut().skip(1).find(|rider| !rider.has_left)
    }

    /// The server is lost: those whose request it may have read, the head first, and those of whose it has
    /// got nothing, or nothing whose answer is of any use.
    pub(super) fn part(&mut self) -> (VecDeque<Rider>, VecDeque<Rider>) {
        let begun = self.riders.partition_point(|rider| self.out.has_begun(rider.begins));
        let unsent = self.riders.split_off(if self.is_misfit { 0 } else { begun });
        (std::mem::take(&mut self.riders), unsent)
    }

    /// Whether half a message is here, of the head's answer or nobody's.
    pub(super) fn is_mid_message(&self) -> bool {
        self.to_come > 0
    }

    /// How much is still to come of a message whose beginning the head was given.
    pub(super) fn to_come(&self) -> usize {
        if self.is_swallowing { 0 } else { self.to_come }
    }

    /// Looks at what came, and gives each rider its part of it.
    pub(super) fn share_out(
        &mut self,
        bytes: &[u8],
        of: Of<'_>,
        came: &mut Came,
    ) -> Result<(), Lost> {
        // What of the head's answer was looked at and not taken.
        let mut from = 0;
        came.len = 0;
        let looked = self.look_at(bytes, &mut from, of, came);
        // Of a server that is lost as well: the head may have the beginning of a message.
        self.give(&bytes[from..came.len]);
        looked
    }

    /// Goes through what came, up to the first message that has to be whole and is not.
    fn look_at(
        &mut self,
        bytes: &[u8],
        from: &mut usize,
        (ledger, prepared): Of<'_>,
        came: &mut Came,
    ) -> Result<(), Lost> {
        loop {
            if self.is_mid_message() && !self.pass_rest(bytes.len(), from, came) {
                return Ok(());
            }
            let rest = &bytes[came.len..];
            let head = Head::parse(rest, MESSAGE_MAX).map_err(|_| Lost::because(IMPOSSIBLE))?;
            let Some(head) = head else { return Ok(()) };
            let is_ours = ledger.next_origin() == Some(Origin::Proxy);
            let is_fitting = self.riders.front().is_some_and(|rider| rider.is_fitting);
            if rest.len() < looked_into(head, is_ours)? {
                return Ok(());
            }
            let body = &rest[HEAD_LEN..head.total.min(rest.len())];
            match head.tag {
                tags::DATA_ROW if !is_fitting => {
                    let _part = replied(ledger, head.tag)?;
                    let run = run_of(head.tag, rest, MESSAGE_MAX);
                    let run = run.map_err(|_| Lost::because(IMPOSSIBLE))?;
                    (came.len, self.to_come) = (came.len + run.here, run.to_come);
                    continue;
                }
                tags::READY => {
                    self.is_ready(body, ledger)?;
                    if is_fitting {
                        self.fitted(&bytes[*from..came.len]);
                    } else {
                        self.give(&bytes[*from..came.len + head.total]);
                        came.answered.extend(self.riders.pop_front());
                    }
                    came.len += head.total;
                    *from = came.len;
                    continue;
                }
                tags::ERROR => self.failed(body, (ledger, prepared), came)?,
                tags::NOTIFICATION => {
                    self.swallow(&bytes[*from..came.len]);
                    came.is_notified = true;
                }
                // By our own doing.
                tags::PARAMETER_STATUS if is_fitting => self.swallow(&bytes[*from..came.len]),
                tags::PARAMETER_STATUS => {
                    let reported = parameter(body);
                    came.reported.extend(reported.map(|(name, it)| (name.into(), it.into())));
                }
                tags::NOTICE if !is_ours => {}
                tags::NOTICE => self.swallow(&bytes[*from..came.len]),
                tag => {
                    let settled = replied(ledger, tag)?;
                    if is_ours {
                        self.swallow(&bytes[*from..came.len]);
                        self.is_ahead(head, body, settled, prepared, came);
                    }
                }
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

    /// The next message is nobody's. `before`: what the head is given of those before it.
    fn swallow(&mut self, before: &[u8]) {
        self.give(before);
        self.is_swallowing = true;
    }

    /// The server has the head's settings. `before`: what the head is given of what came before it said so.
    fn fitted(&mut self, before: &[u8]) {
        self.give(before);
        if let Some(head) = self.riders.front_mut() {
            head.is_fitting = false;
        }
    }

    /// What went ahead of the head's request is answered.
    fn is_ahead(
        &mut self,
        head: Head,
        body: &[u8],
        settled: Option<Request>,
        prepared: &mut Prepared,
        came: &mut Came,
    ) {
        let rider = self.riders.front_mut().filter(|rider| !rider.is_fitting);
        let Some(rider) = rider else { return };
        let fare = &mut rider.fare;
        match (head.tag, fare.ahead()) {
            (tags::PARAMETER_DESCRIPTION, Some(ahead)) => ahead.parameters_described(body),
            (tags::ROW_DESCRIPTION, Some(ahead)) => {
                ahead.columns_described(&body[..body.len().min(READ_MAX - HEAD_LEN)], head.total);
            }
            _ => {}
        }
        let told = settled.map_or(Told::Nothing, |it| fare.settled_ahead(it, prepared));
        if told != Told::Nothing {
            // Its client would misread the answer.
            (rider.is_hit, came.is_plan_changed) = (true, true);
        }
    }

    fn failed(
        &mut self,
        body: &[u8],
        (ledger, prepared): Of<'_>,
        came: &mut Came,
    ) -> Result<(), Lost> {
        let fields = error_fields::parse(body);
        if fields.is_fatal() {
            let why = "it ended the connection";
            return Err(Lost { why, last_words: Some(Box::new(fields)) });
        }
        came.is_plan_changed |= error_fields::is_plan_changed(&fields);
        let mut first = None;
        let is_known = ledger.failed(|request, _| _ = first.get_or_insert(request)).is_some();
        let head = self.riders.front_mut().filter(|_| is_known);
        let head = head.ok_or(Lost::because("it sent an error that nobody asked for"))?;
        if head.is_fitting {
            self.is_misfit = true;
            return Err(Lost::because("it did not take the settings of those aboard"));
        }
        head.has_failed = true;
        head.fare.failed(prepared);
        if first == Some(Request::Bind)
            && fields.code == NO_STATEMENT
            && let Some((serial, _)) = mentioned(fields.message.as_bytes())
        {
            // Something dropped it behind our back.
            prepared.lost(serial);
            head.is_hit = true;
        }
        head.is_hit |= fields.code == QUERY_CANCELED
            && head.is_exposed
            && !head.is_to_be_canceled
            && !head.fare.is_told();
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
        if let Some(head) = self.riders.front_mut().filter(|head| !head.is_hit) {
            head.fare.answer.extend_from_slice(bytes);
        }
    }
}

/// How many bytes of a message must be here before it is looked at. `is_ours`: it answers what the proxy has
/// asked.
fn looked_into(head: Head, is_ours: bool) -> Result<usize, Lost> {
    match head.tag {
        tags::READY | tags::PARAMETER_STATUS if head.total > LOOK_MAX => Err(TOO_LONG),
        tags::PARAMETER_DESCRIPTION if is_ours && head.total > LOOK_MAX => Err(TOO_LONG),
        tags::READY | tags::PARAMETER_STATUS => Ok(head.total),
        // What it says may be as long as what a client has brought or made. What it is comes first.
        tags::ERROR => Ok(head.total.min(LOOK_MAX)),
        tags::PARAMETER_DESCRIPTION if is_ours => Ok(head.total),
        // As in a lease, no more is read of what is longer.
        tags::ROW_DESCRIPTION if is_ours => Ok(head.total.min(READ_MAX)),
        _ => Ok(0),
    }
}

/// Answers what was settled.
fn replied(ledger: &mut Ledger, tag: u8) -> Result<Option<Request>, Lost> {
    let reply = ledger.replied(tag).map_err(|_| Lost::because(UNASKED))?;
    Ok(reply.settled)
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod ahead_tests;
#[cfg(test)]
#[path = "cuts_tests.rs"]
mod cuts_tests;
#[cfg(test)]
#[path = "fit_tests.rs"]
mod fit_tests;
#[cfg(test)]
#[path = "riders_tests.rs"]
mod tests;
