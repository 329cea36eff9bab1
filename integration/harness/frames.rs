//! Protocol messages as a test writes and reads them, with no check that they make sense: tests send
//! what no driver would.

use std::fmt::{self, Write};

/// A message from the server side.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.tag == b'E' { self.message() } else { String::new() };
        write!(formatter, "{} {message}", self.shown())
    }
}

impl Frame {
    /// A field of an `ErrorResponse` or a `NoticeResponse`: `C` is the code, `M` the message.
    pub(crate) fn field(&self, name: u8) -> Option<String> {
        let mut fields = self.body.split(|&byte| byte == 0);
        let found = fields.find(|field| field.first() == Some(&name))?;
        Some(text(&found[1..]))
    }

    pub(crate) fn code(&self) -> String {
        self.field(b'C').unwrap_or_default()
    }

    pub(crate) fn severity(&self) -> String {
        self.field(b'V').or_else(|| self.field(b'S')).unwrap_or_default()
    }

    pub(crate) fn message(&self) -> String {
        self.field(b'M').unwrap_or_default()
    }

    /// The columns of a `DataRow`.
    pub(crate) fn columns(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, b'D', "only a DataRow has columns: {}", self.shown());
        self.try_columns().expect("a DataRow has as many columns as it says")
    }

    /// Nothing when the message is not what its tag says: a stream may be out of step.
    fn try_columns(&self) -> Option<Vec<Option<Vec<u8>>>> {
        let (count, mut rest) = self.body.split_first_chunk::<2>()?;
        let mut values = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            take_value(&mut rest, &mut values)?;
        }
        Some(values)
    }

    /// The message in a few characters, such as `D(1,null)` or `E(ERROR 22012)`.
    pub(crate) fn shown(&self) -> String {
        let inside = match self.tag {
            b'C' => text(self.body.strip_suffix(&[0]).unwrap_or(&self.body)),
            b'D' => {
                self.try_columns().map_or_else(|| "malformed".to_owned(), |it| shown_values(&it))
            }
            b'E' => format!("{} {}", self.severity(), self.code()),
            b'N' => self.message(),
            b'S' => text(&self.body).trim_end_matches('\0').replace('\0', "="),
            b'T' => self.column_names().join(","),
            b'Z' | b'd' => short(&self.body),
            b'A' => text(self.body.get(4..).unwrap_or_default())
                .trim_end_matches('\0')
                .replace('\0', ","),
            b'V' => format!("{} bytes", self.body.len().saturating_sub(4)),
            _ => return char::from(self.tag).to_string(),
        };
        format!("{}({inside})", char::from(self.tag))
    }

    /// The columns of a `RowDescription`: name, OID of the type, its length.
    pub(crate) fn described(&self) -> Vec<(String, u32, i16)> {
        assert_eq!(self.tag, b'T', "only a RowDescription describes: {}", self.shown());
        let mut rest = &self.body[2..];
        let mut columns = Vec::new();
        while let Some(end) = rest.iter().position(|&byte| byte == 0) {
            // The table's OID and the column's number come first.
            let (oid, length) = (&rest[end + 7..end + 11], &rest[end + 11..end + 13]);
            let oid = u32::from_be_bytes(oid.try_into().expect("four bytes"));
            let length = i16::from_be_bytes(length.try_into().expect("two bytes"));
            columns.push((text(&rest[..end]), oid, length));
            rest = &rest[end + 19..];
        }
        columns
    }

    fn column_names(&self) -> Vec<String> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut names = Vec::new();
        while let Some(end) = rest.iter().position(|&byte| byte == 0) {
            names.push(text(&rest[..end]));
            // Each name is followed by 18 bytes about its type.
            rest = rest.get(end + 19..).unwrap_or_default();
        }
        names
    }
}

/// Adds the next value; nothing when the message ends before it does.
fn take_value(rest: &mut &[u8], values: &mut Vec<Option<Vec<u8>>>) -> Option<()> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    // Negative for NULL.
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        values.push(None);
        return Some(());
    };
    let (value, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    values.push(Some(value.to_vec()));
    Some(())
}

fn shown_values(values: &[Option<Vec<u8>>]) -> String {
    values.iter().map(|value| shown_value(value.as_deref())).collect::<Vec<_>>().join(",")
}

fn shown_value(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "null".to_owned(), short)
}

fn short(bytes: &[u8]) -> String {
    if bytes.len() > 60 { format!("<{} bytes>", bytes.len()) } else { text(bytes) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An answer as a list of strings, for comparisons that a person can read.
pub(crate) fn shown(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(Frame::shown).collect()
}

/// Messages to be sent in one write.
#[derive(Clone, Default)]
pub(crate) struct Batch(pub(crate) Vec<u8>);

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A message of any tag with any body.
    pub(crate) fn raw(mut self, tag: u8, body: &[u8]) -> Self {
        self.0.push(tag);
        self.0.extend(length_of(body.len() + 4));
        self.0.extend(body);
        self
    }

    pub(crate) fn query(self, sql: &str) -> Self {
        self.raw(b'Q', &terminated(&[sql]))
    }

    pub(crate) fn parse(self, name: &str, sql: &str) -> Self {
        let mut body = terminated(&[name, sql]);
        body.extend(0_u16.to_be_bytes());
        self.raw(b'P', &body)
    }

    /// Binds text values to the portal without a name.
    pub(crate) fn bind(self, statement: &str, values: &[&str]) -> Self {
        self.bind_to("", statement, values)
    }

    pub(crate) fn bind_to(self, portal: &str, statement: &str, values: &[&str]) -> Self {
        let mut body = terminated(&[portal, statement]);
        body.extend(0_u16.to_be_bytes());
        body.extend(count_of(values.len()));
        for value in values {
            body.extend(length_of(value.len()));
            body.extend(value.as_bytes());
        }
        body.extend(0_u16.to_be_bytes());
        self.raw(b'B', &body)
    }

    pub(crate) fn describe_statement(self, name: &str) -> Self {
        self.raw(b'D', &terminated(&[&format!("S{name}")]))
    }

    pub(crate) fn describe_portal(self, name: &str) -> Self {
        self.raw(b'D', &terminated(&[&format!("P{name}")]))
    }

    pub(crate) fn execute(self) -> Self {
        self.execute_rows("", 0)
    }

    pub(crate) fn execute_rows(self, portal: &str, rows_max: i32) -> Self {
        let mut body = terminated(&[portal]);
        body.extend(rows_max.to_be_bytes());
        self.raw(b'E', &body)
    }

    pub(crate) fn close_statement(self, name: &str) -> Self {
        self.raw(b'C', &terminated(&[&format!("S{name}")]))
    }

    pub(crate) fn close_portal(self, name: &str) -> Self {
        self.raw(b'C', &terminated(&[&format!("P{name}")]))
    }

    pub(crate) fn sync(self) -> Self {
        self.raw(b'S', &[])
    }

    pub(crate) fn flush(self) -> Self {
        self.raw(b'H', &[])
    }

    /// Parse, Bind, Execute and Sync, all without names.
    pub(crate) fn statement(self, sql: &str, values: &[&str]) -> Self {
        self.parse("", sql).bind("", values).execute().sync()
    }

    /// A fast-path call with text arguments and a text result.
    pub(crate) fn call_function(self, oid: u32, arguments: &[&str]) -> Self {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend(0_u16.to_be_bytes());
        body.extend(count_of(arguments.len()));
        for argument in arguments {
            body.extend(length_of(argument.len()));
            body.extend(argument.as_bytes());
        }
        body.extend(0_u16.to_be_bytes());
        self.raw(b'F', &body)
    }

    pub(crate) fn copy_data(self, data: &[u8]) -> Self {
        self.raw(b'd', data)
    }

    pub(crate) fn copy_done(self) -> Self {
        self.raw(b'c', &[])
    }

    pub(crate) fn copy_fail(self, why: &str) -> Self {
        self.raw(b'f', &terminated(&[why]))
    }

    pub(crate) fn terminate(self) -> Self {
        self.raw(b'X', &[])
    }
}

pub(crate) const SSL_REQUEST: u32 = 80_877_103;
pub(crate) const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// A message of the startup phase: a length, a code, a body.
pub(crate) fn startup_message(code: u32, body: &[u8]) -> Vec<u8> {
    let mut message = length_of(body.len() + 8).to_vec();
    message.extend(code.to_be_bytes());
    message.extend(body);
    message
}

pub(crate) fn cancel_message(pid: u32, secret: &[u8]) -> Vec<u8> {
    let mut body = pid.to_be_bytes().to_vec();
    body.extend(secret);
    startup_message(CANCEL_REQUEST, &body)
}

/// Strings, each with its terminating zero.
pub(crate) fn terminated(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

fn length_of(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a test's message is below 4 GiB").to_be_bytes()
}

fn count_of(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("a test's message has few values").to_be_bytes()
}

/// Bytes as they appear in a failed test: text where it is text.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for byte in bytes.iter().take(200) {
        write!(shown, "{}", byte.escape_ascii()).expect("a String takes any text");
    }
    shown
}
