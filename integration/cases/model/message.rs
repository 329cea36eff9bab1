//! What a script's clients send, as bytes and as a person reads it.

use std::fmt::{self, Display, Write};

use crate::harness::frames::{Batch, terminated};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Bind {
        portal: String,
        statement: String,
        values: Vec<Option<String>>,
        /// All results in binary, not in text.
        is_binary: bool,
    },
    /// A fast-path call of `int4pl`.
    Call([&'static str; 2]),
    ClosePortal(String),
    CloseStatement(String),
    CopyIn(Copy),
    DescribePortal(String),
    DescribeStatement(String),
    Execute {
        portal: String,
        rows_max: i32,
    },
    Flush,
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Query(String),
    Sync,
    /// Sends nothing: what was sent so far is written, and answered, before the client goes on.
    Wait,
}

/// A whole `COPY … FROM STDIN`, kept together: what a server expects in its middle, a script that is
/// cut up must not mistake for anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) sql: String,
    pub(super) is_extended: bool,
    pub(super) rows: Vec<&'static str>,
    pub(super) end: CopyEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyEnd {
    Done,
    /// With a Sync before it, which a server that copies ignores. The rows must be good ones.
    DoneBehindSync,
    Fail,
}

/// `int4pl(int, int)`, which has this OID in every Postgres.
const INT4PL: u32 = 177;

impl Message {
    pub(super) fn write_to(&self, batch: Batch) -> Batch {
        match self {
            Self::Bind { portal, statement, values, is_binary } => {
                batch.raw(b'B', &bind_body(portal, statement, values, *is_binary))
            }
            Self::Call(arguments) => batch.call_function(INT4PL, arguments),
            Self::ClosePortal(name) => batch.raw(b'C', &terminated(&[&format!("P{name}")])),
            Self::CloseStatement(name) => batch.close_statement(name),
            Self::CopyIn(copy) => copy.write_to(batch),
            Self::DescribePortal(name) => batch.describe_portal(name),
            Self::DescribeStatement(name) => batch.describe_statement(name),
            Self::Execute { portal, rows_max } => batch.execute_rows(portal, *rows_max),
            Self::Flush => batch.flush(),
            Self::Parse { name, sql, types } => {
                let mut body = terminated(&[name, sql]);
                body.extend(count_of(types.len()));
                body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
                batch.raw(b'P', &body)
            }
            Self::Query(sql) => batch.query(sql),
            Self::Sync => batch.sync(),
            Self::Wait => batch,
        }
    }
}

impl Copy {
    fn write_to(&self, mut batch: Batch) -> Batch {
        batch = if self.is_extended {
            batch.parse("", &self.sql).bind("", &[]).execute()
        } else {
            batch.query(&self.sql)
        };
        for row in &self.rows {
            batch = batch.copy_data(row.as_bytes());
        }
        batch = match self.end {
            CopyEnd::Done => batch.copy_done(),
            CopyEnd::DoneBehindSync => batch.sync().copy_done(),
            CopyEnd::Fail => batch.copy_fail("no more"),
        };
        // The unnamed statement must not be left as one that wants data.
        if self.is_extended {
            batch.sync().parse("", "select 'after a copy'").sync()
        } else {
            batch
        }
    }
}

fn bind_body(portal: &str, statement: &str, values: &[Option<String>], is_binary: bool) -> Vec<u8> {
    let mut body = terminated(&[portal, statement]);
    body.extend(0_u16.to_be_bytes());
    body.extend(count_of(values.len()));
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                let length = u32::try_from(value.len()).expect("values are short");
                body.extend(length.to_be_bytes());
                body.extend(value.as_bytes());
            }
        }
    }
    body.extend(1_u16.to_be_bytes());
    body.extend(u16::from(is_binary).to_be_bytes());
    body
}

fn count_of(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("there are few").to_be_bytes()
}

impl Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { portal, statement, values, is_binary } => {
                let values: Vec<String> =
                    values.iter().map(|value| shown_value(value.as_deref())).collect();
                let format = if *is_binary { ", binary" } else { "" };
                let values = values.join(", ");
                write!(formatter, "Bind({portal:?}, {statement:?}, [{values}]{format})")
            }
            Self::Call([a, b]) => write!(formatter, "FunctionCall(int4pl, {a}, {b})"),
            Self::ClosePortal(name) => write!(formatter, "ClosePortal({name:?})"),
            Self::CloseStatement(name) => write!(formatter, "CloseStatement({name:?})"),
            Self::CopyIn(copy) => write!(
                formatter,
                "Copy{}({:?}, {:?}, {:?})",
                if copy.is_extended { "Extended" } else { "" },
                copy.sql,
                copy.rows,
                copy.end
            ),
            Self::DescribePortal(name) => write!(formatter, "DescribePortal({name:?})"),
            Self::DescribeStatement(name) => write!(formatter, "DescribeStatement({name:?})"),
            Self::Execute { portal, rows_max } => {
                write!(formatter, "Execute({portal:?}, {rows_max})")
            }
            Self::Flush => formatter.write_str("Flush"),
            Self::Parse { name, sql, types } => {
                write!(formatter, "Parse({name:?}, {sql:?}, {types:?})")
            }
            Self::Query(sql) => write!(formatter, "Query({sql:?})"),
            Self::Sync => formatter.write_str("Sync"),
            Self::Wait => formatter.write_str("Wait"),
        }
    }
}

fn shown_value(value: Option<&str>) -> String {
    match value {
        None => "null".to_owned(),
        Some(value) if value.len() > 100 => format!("<{} bytes>", value.len()),
        Some(value) => format!("{value:?}"),
    }
}

/// One message of one client.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) client: usize,
    pub(super) message: Message,
}

/// What all clients send, in the order in which they take turns.
#[derive(Clone, Debug)]
pub(super) struct Script(pub(super) Vec<Step>);

impl Script {
    /// The clients that have anything to say.
    pub(super) fn clients(&self) -> Vec<usize> {
        let mut clients: Vec<usize> = self.0.iter().map(|step| step.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// What one client says.
    pub(super) fn of(&self, client: usize) -> Self {
        Self(self.0.iter().filter(|step| step.client == client).cloned().collect())
    }

    /// The steps of one client, with their numbers in the script.
    pub(super) fn steps_of(&self, client: usize) -> impl Iterator<Item = (usize, &Message)> {
        let steps = self.0.iter().enumerate().filter(move |(_, step)| step.client == client);
        steps.map(|(number, step)| (number, &step.message))
    }
}

/// A line for what a client sends at once.
impl Display for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut speaker = None;
        for Step { client, message } in &self.0 {
            if speaker == Some(*client) {
                formatter.write_char(' ')?;
            } else {
                write!(formatter, "\n  client {client}: ")?;
            }
            write!(formatter, "{message}")?;
            speaker = Some(*client).filter(|_| *message != Message::Wait);
        }
        Ok(())
    }
}
