//! The extended protocol on the console: drivers that know nothing else come in by it.

use super::parse::Command;
use super::session::{Session, columns_of, text_in};
use super::table::Row;
use crate::end::{End, EndReason};
use crate::wire::encode;
use crate::wire::frame::split_text;
use crate::wire::rows::{self, Cell, Column, Formats};
use crate::wire::tags::{from_client, from_server};
use std::collections::HashMap;

/// Statements and portals at once, of each: drivers keep a few, or a cache of about a hundred.
const KEPT_MAX: usize = 256;
/// Bytes of rows that wait in portals of one session, but for those of a single one: the longest answer may be
/// taken bit by bit.
const WAITING_MAX: usize = 1 << 20;
/// The longest name; Postgres cuts its own names to 63.
const NAME_MAX: usize = 256;

/// What a session has prepared.
#[derive(Default)]
pub(super) struct Extended {
    statements: HashMap<Box<[u8]>, Command>,
    portals: HashMap<Box<[u8]>, Portal>,
}

struct Portal {
    command: Command,
    formats: Formats,
    state: State,
}

enum State {
    New,
    /// Its rows were taken in part.
    Open(Work),
    Done,
}

/// A command that was done, and what of its answer is still to be sent.
pub(super) struct Work {
    pub(super) command: Command,
    pub(super) rows: std::vec::IntoIter<Row>,
    /// What is told of the rows when all are sent.
    pub(super) said: Option<String>,
    /// How much the rows took, once some of them had to wait.
    pub(super) waiting: Option<usize>,
}

impl Work {
    pub(super) fn new(command: Command, rows: Vec<Row>) -> Self {
        Self { command, rows: rows.into_iter(), said: None, waiting: None }
    }

    /// How much memory its rows take. Counted once: what is left of them is no more.
    fn size(&mut self) -> usize {
        let rows = self.rows.as_slice();
        *self.waiting.get_or_insert_with(|| rows.iter().map(size_of_row).sum())
    }
}

/// How much memory a row takes, more or less.
fn size_of_row(row: &Row) -> usize {
    let cells = row.iter().map(|cell| match cell {
        Cell::Text(text) => size_of::<Cell>() + text.len(),
        Cell::Null | Cell::Number(_) => size_of::<Cell>(),
    });
    size_of::<Row>() + cells.sum::<usize>()
}

impl Extended {
    /// Whether the rest of an answer may wait beside those that do.
    fn may_wait(&self, size: usize) -> bool {
        let waiting = |portal: &Portal| match &portal.state {
            State::Open(work) => work.waiting,
            State::New | State::Done => None,
        };
        let others: usize = self.portals.values().filter_map(waiting).sum();
        others == 0 || others + size <= WAITING_MAX
    }

    /// The transaction is over: portals end with it.
    pub(super) fn end_portals(&mut self) {
        self.portals.clear();
    }

    /// A simple query takes the place of what has no name.
    pub(super) fn end_unnamed(&mut self) {
        self.portals.remove(&b""[..]);
        self.statements.remove(&b""[..]);
    }

    pub(super) fn end_statements(&mut self) {
        self.statements.clear();
    }
}

impl Session<'_> {
    /// Takes one message of the extended protocol.
    pub(super) async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), End> {
        match tag {
            from_client::PARSE => self.parse(body),
            from_client::BIND => self.bind(body),
            from_client::DESCRIBE => self.describe(body),
            from_client::EXECUTE => self.execute(body).await,
            _ => self.close(body),
        }
    }

    fn answer(&mut self, tag: u8) {
        encode::message(&mut self.out, tag, |_| {});
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), End> {
        let (name, rest) = name_in(body)?;
        let command = Command::parse(text_in(rest)?)?;
        self.authorize(&command)?;
        let statements = &mut self.extended.statements;
        if !name.is_empty() && statements.contains_key(name) {
            return Err(End::protocol("prepared statement already exists"));
        }
        if statements.len() >= KEPT_MAX && !statements.contains_key(name) {
            return Err(End::protocol(format!("more than {KEPT_MAX} prepared statements")));
        }
        statements.insert(name.into(), command);
        self.answer(from_server::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), End> {
        let (portal, rest) = name_in(body)?;
        let (statement, rest) = name_in(rest)?;
        let command = self.statement(statement)?;
        let columns = columns_of(&command).unwrap_or_default();
        let formats = formats_in(rest, columns).ok_or_else(malformed)??;
        let portals = &mut self.extended.portals;
        if portals.len() >= KEPT_MAX && !portals.contains_key(portal) {
            return Err(End::protocol(format!("more than {KEPT_MAX} portals")));
        }
        portals.insert(portal.into(), Portal { command, formats, state: State::New });
        self.answer(from_server::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), End> {
        let (kind, name) = target_in(body)?;
        let (command, formats) = if kind == b'S' {
            let command = self.statement(name)?;
            // It has no parameters.
            encode::message(&mut self.out, from_server::PARAMETER_DESCRIPTION, |out| {
                out.extend([0, 0]);
            });
            (command, Formats::Text)
        } else {
            let portal = self.extended.portals.get(name).ok_or_else(|| no_portal(name))?;
            (portal.command.clone(), portal.formats.clone())
        };
        match columns_of(&command) {
            Some(columns) => rows::row_description(&mut self.out, columns, &formats),
            None => self.answer(from_server::NO_DATA),
        }
        Ok(())
    }

    async fn execute(&mut self, body: &[u8]) -> Result<(), End> {
        let (name, rest) = name_in(body)?;
        let most = rest.first_chunk::<4>().map(|most| i32::from_be_bytes(*most));
        let most = match usize::try_from(most.ok_or_else(malformed)?) {
            Ok(most @ 1..) => most,
            _ => usize::MAX,
        };
        let mut portal = self.extended.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let mut work = match portal.state {
            State::New => self.begin(&portal.command).await?,
            State::Open(work) => work,
            State::Done => Work::new(portal.command.clone(), vec![]),
        };
        if work.rows.len() > most {
            let size = work.size();
            if !self.extended.may_wait(size) {
                let message = format!("more than {WAITING_MAX} bytes of rows wait in portals");
                return Err(End::protocol(message));
            }
        }
        let left = self.work_off(work, &portal.formats, most);
        portal.state = left.map_or(State::Done, State::Open);
        self.extended.portals.insert(name.into(), portal);
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), End> {
        let (kind, name) = target_in(body)?;
        if kind == b'S' {
            self.extended.statements.remove(name);
        } else {
            self.extended.portals.remove(name);
        }
        self.answer(from_server::CLOSE_COMPLETE);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Command, End> {
        let found = self.extended.statements.get(name).cloned();
        found.ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let message = format!("prepared statement \"{name}\" does not exist");
            End::from(EndReason::ConsoleStatementUnknown).with_message(message)
        })
    }
}

fn malformed() -> End {
    End::protocol("invalid message format")
}

fn no_portal(name: &[u8]) -> End {
    let message = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    End::from(EndReason::ConsolePortalUnknown).with_message(message)
}

fn name_in(body: &[u8]) -> Result<(&[u8], &[u8]), End> {
    let (name, rest) = split_text(body).ok_or_else(malformed)?;
    if name.len() > NAME_MAX {
        return Err(End::protocol(format!("name longer than {NAME_MAX} bytes")));
    }
    Ok((name, rest))
}

/// `S` or `P`, and the name of a statement or a portal.
fn target_in(body: &[u8]) -> Result<(u8, &[u8]), End> {
    let (kind, rest) = body.split_first().ok_or_else(malformed)?;
    if !matches!(kind, b'S' | b'P') {
        return Err(malformed());
    }
    let (name, _) = name_in(rest)?;
    Ok((*kind, name))
}

/// The formats of the result, at the end of a `Bind`. `None`: it is malformed.
fn formats_in(body: &[u8], columns: &[Column]) -> Option<Result<Formats, End>> {
    let (parameter_formats, rest) = words_in(body)?;
    let (parameters, rest) = rest.split_first_chunk::<2>()?;
    let parameters = u16::from_be_bytes(*parameters);
    if parameters > 0 || parameter_formats.len() > 1 {
        return Some(Err(End::protocol(format!(
            "bind message supplies {parameters} parameters, but prepared statement requires 0"
        ))));
    }
    let (formats, _) = words_in(rest)?;
    if formats.iter().any(|format| *format > 1) {
        return Some(Err(End::protocol("unsupported format code")));
    }
    Some(Ok(match formats.as_slice() {
        [] | [0] => Formats::Text,
        [_] => Formats::Binary,
        formats if formats.len() == columns.len() => {
            Formats::Each(formats.iter().map(|format| *format == 1).collect())
        }
        formats => {
            return Some(Err(End::protocol(format!(
                "bind message has {} result formats but query has {} columns",
                formats.len(),
                columns.len()
            ))));
        }
    }))
}

/// A count and so many words.
fn words_in(body: &[u8]) -> Option<(Vec<u16>, &[u8])> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let (words, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2)?;
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    Some((words.chunks_exact(2).map(word).collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::formats_in;
    use crate::admin::table::{int4, text};
    use crate::wire::rows::{Column, Formats};
    use proptest::prelude::*;

    const COLUMNS: &[Column] = &[text("a"), int4("b")];

    fn read(body: &[u8]) -> Option<Result<Formats, String>> {
        let end = |end: crate::end::End| end.message().unwrap_or_default().to_owned();
        formats_in(body, COLUMNS).map(|formats| formats.map_err(end))
    }

    #[test]
    fn formats_are_none_one_or_one_for_each_column() {
        assert_eq!(read(&[0, 0, 0, 0, 0, 0]), Some(Ok(Formats::Text)));
        assert_eq!(read(&[0, 0, 0, 0, 0, 1, 0, 1]), Some(Ok(Formats::Binary)));
        let each = Formats::Each([false, true].into());
        assert_eq!(read(&[0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some(Ok(each)));
        assert!(read(&[0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 1]).is_some_and(|read| read.is_err()));
        assert!(read(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]).is_some_and(|read| read.is_err()));
        assert_eq!(read(&[0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(body: Vec<u8>) {
            drop(read(&body));
        }
    }
}
