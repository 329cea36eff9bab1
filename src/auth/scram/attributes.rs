//! The grammar that all SCRAM messages share: `a=value,b=value`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    #[error("an attribute that belongs here is missing")]
    AttributeMissing,
    #[error("the message goes on where it should end")]
    GoesOn,
    #[error("the GS2 header cannot be read")]
    Gs2Header,
    #[error("the iteration count is no number that is accepted")]
    Iterations,
    #[error("the nonce is empty or has characters that cannot be printed")]
    Nonce,
    #[error("the proof is not 32 bytes in base64")]
    Proof,
    #[error("the salt is not base64, is empty or is too long")]
    Salt,
    #[error("the signature is not 32 bytes in base64")]
    Signature,
    #[error("the message is longer than any that makes sense")]
    TooLong,
    #[error("the message has a zero byte in it")]
    ZeroByte,
}

/// What is left to read of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: Some(message) }
    }

    /// The value of the next attribute, which must be `name`.
    pub(super) fn expect(&mut self, name: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(Malformed::AttributeMissing),
        }
    }

    /// The next attribute, whatever its name. `None`: the message has ended.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let comma = rest.iter().position(|byte| *byte == b',');
        let (attribute, rest) = match comma {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        match attribute {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => Ok(Some((*name, value))),
            _ => Err(Malformed::AttributeMissing),
        }
    }

    /// Bytes that were not read yet, without the comma before them.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest.map_or(0, <[u8]>::len)
    }

    /// Reads extensions, which RFC 5802 wants ignored, up to the end.
    pub(super) fn skip_extensions(&mut self) -> Result<(), Malformed> {
        while self.next()?.is_some() {}
        Ok(())
    }

    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_some() { Err(Malformed::GoesOn) } else { Ok(()) }
    }
}

/// Refuses what no message of either side may be, before any of it is looked at.
pub(super) fn check_bounds(message: &[u8]) -> Result<(), Malformed> {
    if message.len() > super::MESSAGE_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    if message.contains(&0) {
        return Err(Malformed::ZeroByte);
    }
    Ok(())
}

/// RFC 5802's `printable`: all that a nonce may consist of.
pub(super) fn is_nonce(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

pub(super) fn decode_key(base64: &[u8]) -> Option<[u8; 32]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

pub(super) fn decode_salt(base64: &[u8]) -> Option<Vec<u8>> {
    let salt = STANDARD.decode(base64).ok()?;
    (1..=super::SALT_BYTES_MAX).contains(&salt.len()).then_some(salt)
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Malformed};
    use proptest::prelude::*;

    #[test]
    fn attributes_come_one_by_one() {
        let mut attributes = Attributes::new(b"r=a=b,s=,x=1");
        assert_eq!(attributes.expect(b'r'), Ok(&b"a=b"[..]));
        assert_eq!(attributes.rest_bytes(), 6);
        assert_eq!(attributes.clone().expect(b'r'), Err(Malformed::AttributeMissing));
        assert_eq!(attributes.expect(b's'), Ok(&b""[..]));
        assert_eq!(attributes.end(), Err(Malformed::GoesOn));
        assert_eq!(attributes.next(), Ok(Some((b'x', &b"1"[..]))));
        assert_eq!(attributes.next(), Ok(None));
        assert_eq!(attributes.end(), Ok(()));
    }

    #[test]
    fn a_comma_must_be_followed_by_an_attribute() {
        for message in [&b""[..], b"r=a,", b",r=a", b"=a", b"r", b"1=a", b"r=a,,s=b"] {
            assert_eq!(
                Attributes::new(message).skip_extensions(),
                Err(Malformed::AttributeMissing),
                "{message:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(message in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut attributes = Attributes::new(&message);
            if attributes.skip_extensions().is_ok() {
                prop_assert_eq!(attributes.end(), Ok(()));
            }
        }
    }
}
