//! Requests that are answered without a server: pings, and a `BEGIN` until something follows it.
//!
//! Pools of drivers send an empty query, or `SELECT 1`, each time that they hand a connection out. It
//! asks whether the proxy is there, and Postgres behind it; so it is answered here only while the
//! pool has a server open and Postgres was heard of within seconds, and otherwise goes the way of any query.
//!
//! With `defer_begin`, a plain `BEGIN` is answered here and kept. It goes to the server that the first
//! statement behind it gets, and is answered there before anything else goes: behind a `BEGIN` that
//! failed, a statement would run by itself. A transaction that ends before it has begun needs none.

use super::Client;
use super::aborted::Aborted;
use crate::config::{Pings, PoolMode};
use crate::sql::ending::{Ending, ending};
use crate::sql::trivial::{Trivial, may_be_empty, trivial};
use crate::wire::encode;
use crate::wire::frame::{HEAD_LEN, Head, split_text};
use crate::wire::rows::{Cell, Column, Formats, Type, command_complete, data_row, row_description};
use crate::wire::tags::{from_client, from_server};

/// What Postgres calls the column of a `SELECT 1`.
const ONE: &[Column] = &[Column { name: "?column?", kind: Type::Int4 }];

/// Requests longer than this are not looked at: a batch with a ping has some 50 bytes.
const PING_MAX: usize = 512;

/// A `BEGIN` that its client was told has happened.
#[derive(Debug)]
pub(super) struct Begun {
    /// As the client wrote it.
    pub(super) sql: Box<str>,
}

impl Client {
    /// Answers the simple query at the front, if it needs no server now. `false`: it needs one.
    #[inline]
    pub(super) fn answer_query(&mut self, head: Head) -> bool {
        let Some(text) = self.up.unseen().get(HEAD_LEN..head.total) else { return false };
        (self.may_be_ping(text) || self.terms.shortcuts.defers_begin || self.begun.is_some())
            && self.answer_trivial(head)
    }

    /// Whether a text may be one that is answered here, by its first letter.
    #[inline]
    fn may_be_ping(&self, text: &[u8]) -> bool {
        match self.terms.shortcuts.pings {
            Pings::None => false,
            Pings::Empty => may_be_empty(text),
            Pings::EmptyAndSelect => true,
        }
    }

    /// Looks at the whole text.
    fn answer_trivial(&mut self, head: Head) -> bool {
        let text = &self.up.unseen()[HEAD_LEN..head.total];
        let Some((sql, [])) = split_text(text) else { return false };
        let status = self.idle_status();
        // What is not ASCII may be no text at all in the client's encoding.
        let ends = || ending(sql).filter(|_| sql.is_ascii());
        match (trivial(sql), self.begun.as_ref().and_then(|_| ends())) {
            (Some(Trivial::Empty), _) if self.answers_pings() => {
                self.down.slip_in(|out| {
                    encode::message(out, from_server::EMPTY_QUERY, |_| {});
                    encode::ready(out, status);
                });
            }
            (Some(Trivial::SelectOne), _) if self.begun.is_none() && self.answers_select() => {
                self.down.slip_in(|out| {
                    row_description(out, ONE, &Formats::Text);
                    one_row(out, &Formats::Text);
                    encode::ready(out, status);
                });
            }
            (Some(found @ (Trivial::Begin | Trivial::Start)), _) if self.defers_begin() => {
                let Ok(sql) = str::from_utf8(sql) else { return false };
                self.begun = Some(Box::new(Begun { sql: sql.into() }));
                let tag = if found == Trivial::Begin { "BEGIN" } else { "START TRANSACTION" };
                self.down.slip_in(|out| {
                    command_complete(out, tag);
                    encode::ready(out, b'T');
                });
            }
            (_, Some(ending)) => {
                self.begun = None;
                let tag = if ending == Ending::Commit { "COMMIT" } else { "ROLLBACK" };
                self.down.slip_in(|out| {
                    command_complete(out, tag);
                    encode::ready(out, b'I');
                });
            }
            _ => return false,
        }
        self.pool.stats.of(self.worker.id).shortcuts.add(1);
        self.drop_unnamed();
        self.swallow_front();
        true
    }

    /// Answers the batch at the front, if it is a ping in the extended protocol and all of it is here.
    #[inline]
    pub(super) fn answer_batch(&mut self) -> bool {
        // A `Parse` of the unnamed statement, without a text or with a short one.
        let [_, 0, 0, 0, ..=64, 0, text @ ..] = self.up.unseen() else { return false };
        self.may_be_ping(text)
            // Its portal would live on within a transaction, its statement on a server that is kept.
            && self.begun.is_none()
            && self.terms.pool_mode != PoolMode::Session
            && self.answer_ping_batch()
    }

    fn answer_ping_batch(&mut self) -> bool {
        let Some(ping) = Ping::read(self.up.unseen()) else { return false };
        let is_answered = match ping.asks_for {
            Trivial::Empty => self.answers_pings(),
            Trivial::SelectOne => self.answers_select(),
            Trivial::Begin | Trivial::Start => false,
        };
        if is_answered {
            self.down.slip_in(|out| {
                out.extend(&ping.answer);
                encode::ready(out, b'I');
            });
            self.pool.stats.of(self.worker.id).shortcuts.add(1);
            // Behind the name, which is none.
            let parse = Batch(self.up.unseen()).next(from_client::PARSE).unwrap_or_default();
            let body = parse.get(1..).unwrap_or_default().to_vec();
            self.keep_unnamed(&body);
            for _ in 0..ping.messages {
                self.swallow_front();
            }
        }
        is_answered
    }

    /// What `ReadyForQuery` says while the client has no server.
    pub(super) fn idle_status(&self) -> u8 {
        if self.begun.is_some() { b'T' } else { b'I' }
    }

    /// The transaction that has begun for its client only has failed before it could begin. Answers
    /// what `ReadyForQuery` says then.
    pub(super) fn fail_begun(&mut self) -> u8 {
        if self.begun.take().is_none() {
            return b'I';
        }
        self.aborted = Some(Box::new(Aborted::new(None)));
        b'E'
    }

    fn defers_begin(&self) -> bool {
        self.begun.is_none()
            && self.terms.shortcuts.defers_begin
            && self.terms.pool_mode == PoolMode::Transaction
    }

    fn answers_pings(&self) -> bool {
        self.terms.shortcuts.pings != Pings::None && self.may_answer()
    }

    fn answers_select(&self) -> bool {
        self.terms.shortcuts.pings == Pings::EmptyAndSelect && self.may_answer()
    }

    /// Who listens gets with the answer of a ping what was sent before: Postgres knows what.
    fn may_answer(&self) -> bool {
        self.listening.is_none() && self.pool.is_alive(self.worker.now())
    }
}

fn one_row(out: &mut Vec<u8>, formats: &Formats) {
    data_row(out, ONE, &[Cell::from(1_u32)], formats);
    command_complete(out, "SELECT 1");
}

/// A batch that is a ping: `Parse`, `Bind` and `Execute` of the unnamed statement and portal, with a
/// `Describe` of either or none, and a `Sync`.
struct Ping {
    asks_for: Trivial,
    messages: u32,
    /// Up to `ReadyForQuery`.
    answer: Vec<u8>,
}

impl Ping {
    fn read(unseen: &[u8]) -> Option<Self> {
        let mut batch = Batch(unseen.get(..PING_MAX).unwrap_or(unseen));
        // Names, text, and no types of parameters.
        let (sql, types) = split_text(batch.next(from_client::PARSE)?.strip_prefix(b"\0")?)?;
        let asks_for = trivial(sql).filter(|_| types == [0, 0])?;
        let mut ping = Self { asks_for, messages: 4, answer: Vec::new() };
        ping.says(from_server::PARSE_COMPLETE);
        if batch.next_if(from_client::DESCRIBE, b"S\0") {
            encode::message(&mut ping.answer, from_server::PARAMETER_DESCRIPTION, |out| {
                out.extend([0, 0]);
            });
            ping.describe(&Formats::Text);
        }
        let formats = formats(batch.next(from_client::BIND)?)?;
        ping.says(from_server::BIND_COMPLETE);
        if batch.next_if(from_client::DESCRIBE, b"P\0") {
            ping.describe(&formats);
        }
        // The unnamed portal; how many rows at most: none is all, and one is enough.
        let rows = batch.next(from_client::EXECUTE)?.strip_prefix(b"\0")?;
        match asks_for {
            _ if rows != [0; 4] => return None,
            Trivial::SelectOne => one_row(&mut ping.answer, &formats),
            _ => ping.says(from_server::EMPTY_QUERY),
        }
        batch.next(from_client::SYNC)?.is_empty().then_some(ping)
    }

    fn says(&mut self, tag: u8) {
        encode::message(&mut self.answer, tag, |_| {});
    }

    fn describe(&mut self, formats: &Formats) {
        self.messages += 1;
        if self.asks_for == Trivial::SelectOne {
            row_description(&mut self.answer, ONE, formats);
        } else {
            self.says(from_server::NO_DATA);
        }
    }
}

/// The formats that a `Bind` of the unnamed portal and statement without parameters asks for.
fn formats(body: &[u8]) -> Option<Formats> {
    match body {
        // Names, formats of parameters, parameters, formats of results.
        [0, 0, 0, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0, 0, 1, 0, 0] => Some(Formats::Text),
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 1] => Some(Formats::Binary),
        _ => None,
    }
}

/// Whole messages, one after the other.
struct Batch<'a>(&'a [u8]);

impl<'a> Batch<'a> {
    /// The body of the next message, if it has this tag.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let head = Head::parse(self.0, u32::MAX).ok().flatten()?;
        let (message, rest) = self.0.split_at_checked(head.total)?;
        (head.tag == tag).then(|| {
            self.0 = rest;
            &message[HEAD_LEN..]
        })
    }

    fn next_if(&mut self, tag: u8, body: &[u8]) -> bool {
        let mut after = Self(self.0);
        let is_it = after.next(tag) == Some(body);
        if is_it {
            self.0 = after.0;
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::{Ping, Trivial};
    use crate::wire::encode::message;
    use proptest::prelude::*;

    fn batch(sql: &str, formats: &[u8], describes: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, b'P', |out| out.extend([b"\0", sql.as_bytes(), b"\0\0\0"].concat()));
        let describe = |out: &mut Vec<u8>, kind: u8| {
            for body in describes.iter().filter(|body| body[0] == kind) {
                message(out, b'D', |out| out.extend(*body));
            }
        };
        describe(&mut out, b'S');
        message(&mut out, b'B', |out| out.extend([&[0; 6], formats].concat()));
        describe(&mut out, b'P');
        message(&mut out, b'E', |out| out.extend([0; 5]));
        message(&mut out, b'S', |_| {});
        out
    }

    fn tags(mut bytes: &[u8]) -> String {
        let mut tags = String::new();
        while let [tag, a, b, c, d, ..] = *bytes {
            tags.push(tag.into());
            bytes = &bytes[1 + u32::from_be_bytes([a, b, c, d]) as usize..];
        }
        tags
    }

    #[test]
    fn pings_of_drivers_are_answered_message_for_message() {
        let answer = |sql, formats, describes: &[&[u8]]| {
            let bytes = batch(sql, formats, describes);
            let ping = Ping::read(&bytes)?;
            Some((ping.asks_for, ping.messages, tags(&ping.answer)))
        };
        assert_eq!(
            answer("", &[0, 0], &[b"P\0"]),
            Some((Trivial::Empty, 5, "12nI".to_owned())),
            "pgjdbc, in isValid()"
        );
        assert_eq!(answer(";", &[0, 0], &[]), Some((Trivial::Empty, 4, "12I".to_owned())));
        assert_eq!(
            answer("SELECT 1", &[0, 1, 0, 1], &[b"P\0"]),
            Some((Trivial::SelectOne, 5, "12TDC".to_owned()))
        );
        assert_eq!(
            answer("SELECT 1", &[0, 0], &[b"S\0"]),
            Some((Trivial::SelectOne, 5, "1tT2DC".to_owned()))
        );
        assert_eq!(answer("SELECT 2", &[0, 0], &[]), None);
        assert_eq!(answer("", &[0, 0], &[b"P\0", b"P\0"]), None);
        assert_eq!(answer("", &[0, 0, 1], &[]), None);
    }

    proptest! {
        /// A batch that is not all here yet is no ping so far; and nothing makes it panic.
        #[test]
        fn only_a_whole_batch_is_a_ping(cut in 0_usize..60, bytes: Vec<u8>) {
            let whole = batch("", &[0, 0], &[b"P\0"]);
            let cut = cut.min(whole.len());
            prop_assert_eq!(Ping::read(&whole[..cut]).is_some(), cut == whole.len());
            prop_assert!(Ping::read(&bytes).is_none_or(|ping| ping.messages >= 4));
        }
    }
}
