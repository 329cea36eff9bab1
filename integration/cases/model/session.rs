//! One client of a script on one connection: it sends what the script says and keeps what comes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::Message;
use super::owed::Owed;
use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::time::within;
use crate::harness::wire::Client;

/// A message that came, and the step of the script that it answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) frame: Frame,
    pub(super) step: Option<usize>,
}

pub(super) struct Session {
    client: Client,
    owed: Owed,
    batch: Batch,
    status: u8,
    is_holding: bool,
    /// The values that a driver would know, and those that it knew at the last `ReadyForQuery`.
    parameters: BTreeMap<String, String>,
    told: BTreeMap<String, String>,
    pub(super) answers: Vec<Answer>,
    /// Why nothing more will come, if so.
    pub(super) end: Option<&'static str>,
}

impl Session {
    pub(super) async fn open(login: &Login) -> Result<Self, &'static str> {
        let client = login.attempt().await.map_err(|_| "the login failed")?;
        let parameters = client.parameters.clone();
        Ok(Self {
            client,
            owed: Owed::default(),
            batch: Batch::new(),
            status: b'I',
            is_holding: false,
            told: parameters.clone(),
            parameters,
            answers: Vec::new(),
            end: None,
        })
    }

    /// Adds a message to what is written at the next `settle`.
    pub(super) fn say(&mut self, message: &Message, step: usize) {
        self.batch = message.write_to(std::mem::take(&mut self.batch));
        self.owed.sent(message, step);
    }

    /// Writes what was said, and takes every answer that is sure to come.
    pub(super) async fn settle(&mut self, patience: Duration) {
        let batch = std::mem::take(&mut self.batch);
        if self.end.is_some() {
            return;
        }
        // Where the other side has closed, what it said before can still be read.
        if within(patience, self.client.wire.try_send(&batch.0)).await.is_none() {
            self.end = Some("nobody reads");
        }
        while self.end.is_none() && self.owed.is_awaited() {
            match within(patience, self.client.wire.try_frame()).await {
                None => self.end = Some("no answer"),
                Some(Err(_) | Ok(None)) => self.end = Some("closed"),
                Some(Ok(Some(frame))) => self.take(frame),
            }
        }
        self.is_holding = self.status != b'I' || !self.owed.is_settled();
    }

    fn take(&mut self, frame: Frame) {
        let step = self.owed.came(frame.tag);
        match frame.tag {
            b'S' => return self.learn(&frame),
            b'Z' => {
                self.status = frame.body.first().copied().unwrap_or_default();
                self.tell(step);
            }
            _ => {}
        }
        self.answers.push(Answer { frame: comparable(frame), step });
    }

    fn learn(&mut self, status: &Frame) {
        let text = String::from_utf8_lossy(&status.body);
        if let Some((name, value)) = text.split_once('\0') {
            self.parameters.insert(name.to_owned(), value.trim_end_matches('\0').to_owned());
        }
    }

    /// A proxy may tell of a setting earlier or twice: what counts is what its client knows by the next
    /// `ReadyForQuery`.
    fn tell(&mut self, step: Option<usize>) {
        let changed =
            self.parameters.iter().filter(|(name, value)| self.told.get(*name) != Some(value));
        for (name, value) in changed {
            let body = format!("{name}\0{value}\0").into_bytes();
            self.answers.push(Answer { frame: Frame { tag: b'S', body }, step });
        }
        self.told.clone_from(&self.parameters);
    }

    /// By what was written so far it is in a transaction, or in the middle of something, and keeps its
    /// server.
    pub(super) fn holds(&self) -> bool {
        self.end.is_none() && self.is_holding
    }
}

/// The message without what may differ between two servers: process ids, the OIDs of tables made by a
/// test, and where in its source Postgres raised an error.
fn comparable(mut frame: Frame) -> Frame {
    match frame.tag {
        b'A' => frame.body.iter_mut().take(4).for_each(|byte| *byte = 0),
        b'E' | b'N' => {
            let fields = frame.body.split(|&byte| byte == 0).filter(|field| !field.is_empty());
            let kept = fields.filter(|field| !b"FLR".contains(&field[0])).map(with_names_cut);
            frame.body = kept.flat_map(|field| field.into_iter().chain([0])).collect();
            frame.body.push(0);
        }
        b'T' => mask_tables(&mut frame.body),
        _ => {}
    }
    frame
}

/// Postgres says a name as it was given, a proxy as much of it as counts.
fn with_names_cut(field: &[u8]) -> Vec<u8> {
    let parts = field.split_inclusive(|&byte| byte == b'"');
    parts
        .flat_map(|part| match part.split_last() {
            Some((b'"', name)) if name.len() > NAME_MAX => [&name[..NAME_MAX], b"\""].concat(),
            _ => part.to_vec(),
        })
        .collect()
}

/// `NAMEDATALEN`, less its zero byte.
const NAME_MAX: usize = 63;

/// OIDs from here on are of objects that tests have made.
const FIRST_OWN_OID: u32 = 16_384;

fn mask_tables(description: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = description.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0)) {
        let table = at + end + 1..at + end + 5;
        let Some(oid) = description.get_mut(table) else { return };
        if u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]) >= FIRST_OWN_OID {
            oid.fill(0);
        }
        // The rest of the column: its number, its type, the type's length and modifier, the format.
        at += end + 19;
    }
}
