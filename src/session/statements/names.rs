//! Names of statements on servers, and the client's names in what Postgres says of them.
//!
//! What is ours is called `pgweir_` and a number. A client's own name that begins like that goes to
//! Postgres with another first byte, so that it can never meet one of ours; and comes back with the
//! right one.

use super::prepared::Serial;

const PREFIX: &[u8; 7] = b"pgweir_";

/// In place of the `p`. No driver makes up a name with it.
pub const ESCAPE: u8 = 1;

/// Postgres knows a name by its first 63 bytes (`NAMEDATALEN`).
const LENGTH_MAX: usize = 63;

/// The name of a statement on a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerName {
    bytes: [u8; 17],
    len: u8,
}

impl ServerName {
    #[inline]
    pub fn new(serial: Serial) -> Self {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(serial).as_bytes();
        let mut bytes = [0; 17];
        bytes[..PREFIX.len()].copy_from_slice(PREFIX);
        bytes[PREFIX.len()..PREFIX.len() + digits.len()].copy_from_slice(digits);
        Self { bytes, len: u8::try_from(PREFIX.len() + digits.len()).expect("at most 17") }
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("ASCII")
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// As much of a name as counts.
#[inline]
pub fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(LENGTH_MAX)]
}

/// Tells names apart, in 32 bits: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>).
#[inline]
pub(super) fn mark(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether a client's name could be taken for one of ours.
#[inline]
pub fn looks_like_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// The number in the first name of ours that a text mentions, and where it is.
pub fn mentioned(text: &[u8]) -> Option<(Serial, std::ops::Range<usize>)> {
    let start = memchr::memmem::find(text, PREFIX)?;
    let digits = &text[start + PREFIX.len()..];
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let serial = str::from_utf8(&digits[..count]).ok()?.parse().ok()?;
    Some((serial, start..start + PREFIX.len() + count))
}

/// Gives names that were [escaped](ESCAPE) their first byte back.
pub fn unescape(text: &mut [u8]) {
    let escaped = [&[ESCAPE], &PREFIX[1..]].concat();
    while let Some(at) = memchr::memmem::find(text, &escaped) {
        text[at] = PREFIX[0];
    }
}

#[cfg(test)]
mod tests {
    use super::{ESCAPE, ServerName, looks_like_ours, mentioned, unescape};

    #[test]
    fn names_are_found_in_what_postgres_says() {
        assert_eq!(ServerName::new(0).as_bytes(), b"pgweir_0");
        assert_eq!(ServerName::new(u32::MAX).as_bytes(), b"pgweir_4294967295");
        let text = b"prepared statement \"pgweir_17\" does not exist";
        assert_eq!(mentioned(text), Some((17, 20..29)));
        assert_eq!(mentioned(b"pgweir_ pgweir"), None);
        assert!(looks_like_ours(b"pgweir_x") && !looks_like_ours(b"pgweirs"));
        let mut text = b"prepared statement \"pgweir_x\" does not exist".to_vec();
        text[20] = ESCAPE;
        unescape(&mut text);
        assert_eq!(text, b"prepared statement \"pgweir_x\" does not exist");
    }
}
