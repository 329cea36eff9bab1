//! A client that has to wait shares a server with others, if its request may: see [`crate::pool::share`].

use super::Client;
use crate::end::{End, EndReason, ErrorFields};
use crate::net::stream::Link;
use crate::pool::mailbox::Mailbox;
use crate::pool::share::Rules;
use crate::pool::share::profiles::Expected;
use crate::scheduler::Ride;
use crate::session::fare::{Fare, Front, Runs, Stays};
use crate::session::ledger::Abandoned;
use crate::session::statements::{mentioned, unescape};
use crate::sql::read::{Fingerprint, Reading};
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head, MESSAGE_MAX};
use crate::wire::tags::from_server;
use std::num::NonZeroU64;
use std::task::{Context, Poll};
use std::time::Duration;

impl Client {
    /// Offers the request at the front to those who drive shared servers. `None`: it waits for a server of
    /// its own.
    #[inline]
    pub(super) fn offer_ride(&mut self, mailbox: &Mailbox) -> Option<Ride> {
        self.learns = None;
        if self.pool.share.is_on() { self.find_ride(mailbox) } else { None }
    }

    fn find_ride(&mut self, mailbox: &Mailbox) -> Option<Ride> {
        let found = self.ride(mailbox);
        found
            .inspect_err(|stays| {
                self.pool.stats.of(self.worker.id).stays[*stays as usize].add(1);
            })
            .ok()
    }

    fn ride(&mut self, mailbox: &Mailbox) -> Result<Ride, Stays> {
        if !self.leaves_nothing_behind() {
            return Err(Stays::Session);
        }
        let rules = self.pool.share.rules();
        let front = Front::read(self.up.unseen()).ok_or(Stays::Request)?;
        if !matches!(front.runs, Runs::Query(_)) && self.terms.prepared.of_server == 0 {
            return Err(Stays::Session);
        }
        let kind = self.kind_of(front.runs, &rules)?;
        let profiles = &self.pool.share.profiles;
        let (expected, answer) = match profiles.expect(kind.get(), rules.given.max_service_time) {
            Expected::Short(expected, answer) => (expected, answer),
            other => {
                self.learns = Some(kind);
                let is_known = other == Expected::Slow;
                return Err(if is_known { Stays::Slow } else { Stays::Unknown });
            }
        };
        let mut fare = mailbox.fare().unwrap_or_default();
        let statement = match front.runs {
            Runs::Named(name) => self.statements.as_ref().and_then(|it| it.statement(name)),
            Runs::Query(_) | Runs::Unnamed(_) => None,
        };
        fare.take_up(&front, statement, &self.settings);
        (fare.profile, fare.expected, fare.answer_least) = (kind.get(), expected, answer);
        fare.statements_max = self.terms.prepared.of_server;
        let timeouts = &self.terms.timeouts;
        let limits = [
            timeouts.query_timeout.zip(Some(EndReason::QueryTimeout)),
            timeouts.transaction_timeout.zip(Some(EndReason::TransactionTimeout)),
        ];
        fare.limit = limits.into_iter().flatten().min_by_key(|(limit, _)| *limit);
        let settings = fare.settings_key();
        mailbox.offer(fare);
        Ok(Ride { expected, settings })
    }

    /// Whether nothing of its session is to be seen, or kept in mind, on the server that it gets.
    fn leaves_nothing_behind(&self) -> bool {
        self.begun.is_none()
            && self.aborted.is_none()
            && self.listening.is_none()
            && self.script.is_blank()
            && !self.terms.resets_always
    }

    /// What names the kind of what is run, if it is a read.
    fn kind_of(&self, runs: Runs<'_>, rules: &Rules) -> Result<NonZeroU64, Stays> {
        let hasher = &self.pool.share.hasher;
        let names = &rules.given.names;
        let reading = |is_utf8| Reading { names, hasher, is_utf8 };
        let Fingerprint(kind) = match runs {
            Runs::Query(text) | Runs::Unnamed(text) => {
                let look = || reading(self.settings.are_utf8()).look_at(text);
                rules.recall.look_at(text, look)?
            }
            Runs::Named(name) => {
                let statement = self.statements.as_ref().and_then(|it| it.statement(name));
                let statement = statement.ok_or(Stays::Session)?;
                if statement.does.is_some() {
                    return Err(Stays::Function);
                }
                // What it says was decided when it was prepared.
                let look = || reading(statement.is_clear).look_at(statement.text());
                statement.read(names, look)?
            }
        };
        Ok(NonZeroU64::new(kind).unwrap_or(NonZeroU64::MIN))
    }

    /// A request for which it had waited took so long on a server of its own, and did not fail.
    #[cold]
    pub(super) fn learn(&mut self, took: Duration) {
        if let Some(kind) = self.learns.take() {
            self.pool.share.profiles.learn(kind.get(), took);
        }
    }

    /// Takes the answer to the request at the front, which a shared server gave.
    pub(super) fn take_answer(&mut self, mut fare: Box<Fare>, cx: &mut Context<'_>) {
        self.up.swallow(fare.len());
        self.up.tidy(&self.worker);
        // What came before of the answer may have ended within a message.
        self.down.forward(0, 0);
        if let Some(name) = fare.name().filter(|_| !fare.is_told() && may_fail(&fare.answer)) {
            let reworded = with_name(&fare.answer, name);
            fare.answer = reworded;
        }
        self.count(&fare);
        if fare.is_query() {
            self.drop_unnamed();
        } else if let Some(body) = fare.parses() {
            if fare.is_told() || is_parsed(&fare.answer) {
                self.keep_unnamed(body);
            } else {
                self.drop_unnamed();
            }
        }
        let mut written = 0;
        if !self.down.is_pending()
            && let Poll::Ready(Ok(n)) = self.stream.poll_write(cx, &fare.answer)
        {
            written = n;
        }
        if written < fare.answer.len() {
            // A client that is gone is found out by what reads it.
            self.down.slip_in(|out| out.extend_from_slice(&fare.answer[written..]));
        }
        self.times.activity = self.worker.now();
        if let Some(mailbox) = &self.mailbox {
            fare.rest();
            mailbox.keep(fare);
        }
    }

    fn count(&self, fare: &Fare) {
        let cells = self.pool.stats.of(self.worker.id);
        cells.rides.add(1);
        cells.assignments.add(1);
        cells.wait_time.record(fare.waited);
        cells.queries.add(1);
        cells.xacts.add(1);
        let aboard = fare.aboard.unwrap_or_else(|| self.worker.now());
        let took = self.worker.now().saturating_duration_since(aboard);
        cells.query_time.record(took);
        cells.xact_time.record(took);
        if !fare.is_query() {
            cells.parses.add(u64::from(fare.parses().is_some()));
            cells.binds.add(1);
        }
    }

    /// The server that it shared was lost, and perhaps what it had asked was done.
    pub(super) fn lost_ride(
        &mut self,
        fare: &Fare,
        last_words: Option<Box<ErrorFields>>,
        is_cut: bool,
    ) -> Result<(), End> {
        let end = End::from(EndReason::ServerLost);
        let end = match last_words {
            Some(fields) => end.verbatim(*fields),
            None => end,
        };
        if is_cut {
            return Err(end);
        }
        self.down.forward(0, 0);
        self.up.swallow(fare.len());
        if fare.is_told() {
            // It may have the beginning of this.
            self.down.slip_in(|out| out.extend_from_slice(&fare.answer));
        }
        self.tell_of_loss(&end, Abandoned { readies: 1, open: false }, false);
        Ok(())
    }
}

/// Whether an answer begins with that to a `Parse` that succeeded, behind what Postgres says of it.
fn is_parsed(mut answer: &[u8]) -> bool {
    let said = [from_server::NOTICE, from_server::NOTIFICATION, from_server::PARAMETER_STATUS];
    while let Ok(Some(head)) = Head::parse(answer, MESSAGE_MAX)
        && said.contains(&head.tag)
        && let Some(rest) = answer.get(head.total..)
    {
        answer = rest;
    }
    answer.first() == Some(&from_server::PARSE_COMPLETE)
}

/// Whether an answer may have an error in it.
fn may_fail(answer: &[u8]) -> bool {
    // A batch that succeeds begins with the answer to its `Bind`.
    answer.first() == Some(&from_server::ERROR)
        || memchr::memmem::find(answer, b"pgweir_").is_some()
}

/// An answer, with the client's name of its statement in the errors that name it.
fn with_name(mut answer: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.len());
    while let Ok(Some(head)) = Head::parse(answer, MESSAGE_MAX)
        && let Some((message, rest)) = answer.split_at_checked(head.total)
    {
        let mut body = message[HEAD_LEN..].to_vec();
        if head.tag == from_server::ERROR {
            unescape(&mut body);
            if let Some((_, range)) = mentioned(&body) {
                body.splice(range, name.iter().copied());
            }
        }
        encode::message(&mut out, head.tag, |out| out.extend(body));
        answer = rest;
    }
    out.extend_from_slice(answer);
    out
}
