//! Passwords as SCRAM hashes them: SASLprep where it applies, the raw bytes where it does not.

use std::str;
use zeroize::Zeroizing;

/// The bytes of `password` that go into the hash.
///
/// Postgres does not insist on RFC 4013: a password that is no UTF-8, that has a character which
/// SASLprep prohibits, or of which nothing would be left, is used as it is. Both ends must do the
/// same, or the right password is refused.
pub(super) fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = match str::from_utf8(password).map(stringprep::saslprep) {
        Ok(Ok(text)) if !text.is_empty() => text.into_owned().into_bytes(),
        _ => password.to_vec(),
    };
    Zeroizing::new(prepared)
}

#[cfg(test)]
mod tests {
    use super::prepare;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_4013_hold() {
        assert_eq!(prepare("I\u{ad}X".as_bytes()).as_slice(), b"IX");
        assert_eq!(prepare(b"user").as_slice(), b"user");
        assert_eq!(prepare(b"USER").as_slice(), b"USER");
        assert_eq!(prepare("\u{aa}".as_bytes()).as_slice(), b"a");
        assert_eq!(prepare("\u{2168}".as_bytes()).as_slice(), b"IX");
    }

    #[test]
    fn what_cannot_be_prepared_is_used_as_it_is() {
        let control = b"tab\there";
        let mixed_direction = "\u{627}1".as_bytes();
        let not_utf8 = b"caf\xe9";
        let unassigned = "\u{221}".as_bytes();
        let nothing_left = "\u{ad}".as_bytes();
        let cases: [&[u8]; 6] = [control, mixed_direction, not_utf8, unassigned, nothing_left, b""];
        for raw in cases {
            assert_eq!(prepare(raw).as_slice(), raw);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_prepared(password in proptest::collection::vec(any::<u8>(), 0..80)) {
            prepare(&password);
        }

        #[test]
        fn any_text_can_be_prepared(password in "\\PC{0,40}") {
            prepare(password.as_bytes());
        }
    }
}
