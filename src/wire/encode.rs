//! Writers of whole messages into a caller's buffer.

use crate::end::ErrorFields;
use crate::wire::tags::{from_client, from_server};

/// Writes one message: its tag, its length, and what `body` appends.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    counted(out, body);
}

/// Writes a length word and what `body` appends, counted in it: a startup packet, or what follows
/// a tag.
pub fn counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(word) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *word = length.to_be_bytes();
    }
}

/// Appends a text and its zero byte. A zero byte inside would end it early: the text is cut there.
pub fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().take_while(|byte| *byte != 0));
    out.push(0);
}

fn fields(out: &mut Vec<u8>, fields: &ErrorFields) {
    let mut field = |name: u8, value: &str| {
        out.push(name);
        text(out, value);
    };
    field(b'S', &fields.severity);
    field(b'V', &fields.severity);
    field(b'C', &fields.code);
    field(b'M', &fields.message);
    for (name, value) in [(b'D', &fields.detail), (b'H', &fields.hint), (b'R', &fields.routine)] {
        if let Some(value) = value {
            field(name, value);
        }
    }
    out.push(0);
}

pub fn error(out: &mut Vec<u8>, error: &ErrorFields) {
    message(out, from_server::ERROR, |out| fields(out, error));
}

pub fn notice(out: &mut Vec<u8>, notice: &ErrorFields) {
    message(out, from_server::NOTICE, |out| fields(out, notice));
}

/// `ReadyForQuery` with the transaction status `I`, `T` or `E`.
pub fn ready(out: &mut Vec<u8>, status: u8) {
    message(out, from_server::READY, |out| out.push(status));
}

pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, from_server::PARAMETER_STATUS, |out| {
        text(out, name);
        text(out, value);
    });
}

pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    message(out, from_server::BACKEND_KEY_DATA, |out| {
        out.extend(pid.to_be_bytes());
        out.extend(secret);
    });
}

/// An authentication request: its code, then what belongs to it.
pub fn authentication(out: &mut Vec<u8>, code: u32, body: impl FnOnce(&mut Vec<u8>)) {
    message(out, from_server::AUTHENTICATION, |out| {
        out.extend(code.to_be_bytes());
        body(out);
    });
}

/// Says which minor version of the protocol is spoken, and which `_pq_.` options are not known.
pub fn negotiate_version(out: &mut Vec<u8>, minor: u16, unknown: &[&str]) {
    message(out, from_server::NEGOTIATE_VERSION, |out| {
        // The whole version word since 3.2 was made: 3 in the upper half, as libpq 18 reads it.
        out.extend((3_u32 << 16 | u32::from(minor)).to_be_bytes());
        out.extend(u32::try_from(unknown.len()).unwrap_or(u32::MAX).to_be_bytes());
        for option in unknown {
            text(out, option);
        }
    });
}

/// A startup packet of protocol 3.0, to a server.
pub fn startup(out: &mut Vec<u8>, params: &[(&str, &str)]) {
    counted(out, |out| {
        out.extend(0x0003_0000_u32.to_be_bytes());
        for (name, value) in params {
            text(out, name);
            text(out, value);
        }
        out.push(0);
    });
}

/// A cancel request, to a server.
pub fn cancel(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    counted(out, |out| {
        out.extend(80_877_102_u32.to_be_bytes());
        out.extend(pid.to_be_bytes());
        out.extend(secret);
    });
}

pub fn query(out: &mut Vec<u8>, sql: &str) {
    message(out, from_client::QUERY, |out| text(out, sql));
}

/// `Parse`: a statement's name, and its text and the types of its parameters as they go out.
pub fn parse(out: &mut Vec<u8>, name: &[u8], body: &[u8]) {
    message(out, from_client::PARSE, |out| {
        out.extend(name);
        out.push(0);
        out.extend(body);
    });
}

/// `Close` of a prepared statement; an empty name closes the unnamed one.
pub fn close_statement(out: &mut Vec<u8>, name: &str) {
    message(out, from_client::CLOSE, |out| {
        out.push(b'S');
        text(out, name);
    });
}

pub fn sync(out: &mut Vec<u8>) {
    message(out, from_client::SYNC, |_| {});
}

pub fn flush(out: &mut Vec<u8>) {
    message(out, from_client::FLUSH, |_| {});
}

pub fn copy_fail(out: &mut Vec<u8>, why: &str) {
    message(out, from_client::COPY_FAIL, |out| text(out, why));
}

pub fn terminate(out: &mut Vec<u8>) {
    message(out, from_client::TERMINATE, |_| {});
}
