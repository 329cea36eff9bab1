//! Where one message ends and the next begins.
//!
//! The proxy does not decode most messages: it finds their edges, so that a run of messages can be
//! forwarded with one write. [`run_of`] is the hottest loop in the program.

/// The tag byte and the length word.
pub const HEAD_LEN: usize = 5;

/// The longest message Postgres itself accepts or sends: `MaxAllocSize` less a little, rounded up.
pub const MESSAGE_MAX: u32 = 1 << 30;

/// The head of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    pub tag: u8,
    /// Length of the whole message, head included. At least [`HEAD_LEN`].
    pub total: usize,
}

/// A message that the peer may not send.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the configured limit. Checked before any buffer grows: the length is the peer's
    /// claim, and four bytes must not be able to reserve a gigabyte.
    #[error("message {:?} claims {length} bytes, more than max_packet_size", char::from(*.tag))]
    Long { tag: u8, length: u32 },
    /// The length word does not even cover itself.
    #[error("message {:?} claims {length} bytes, fewer than its own length word", char::from(*.tag))]
    Short { tag: u8, length: u32 },
}

impl Head {
    /// Reads the head at the start of `bytes`, or `None` when there are too few bytes.
    ///
    /// # Errors
    ///
    /// When the length is impossible or above `total_max`.
    #[inline]
    pub fn parse(bytes: &[u8], total_max: u32) -> Result<Option<Self>, FrameError> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if length < 4 {
            return Err(FrameError::Short { tag, length });
        }
        if length >= total_max {
            return Err(FrameError::Long { tag, length });
        }
        let Ok(body_and_length) = usize::try_from(length) else {
            return Err(FrameError::Long { tag, length });
        };
        Ok(Some(Self { tag, total: body_and_length.saturating_add(1) }))
    }
}

/// A run of messages that need no look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// Bytes of the run that are here.
    pub here: usize,
    /// Bytes of its last message that have still to come.
    pub to_come: usize,
    /// How many messages, the last perhaps not whole yet.
    pub count: u32,
}

/// The longest run of messages with the tag `tag` at the start of `bytes`: rows, mostly.
///
/// The last message of the run need not be whole: what is missing of it is `to_come`.
///
/// # Errors
///
/// When a message of the run has an impossible length.
#[inline]
pub fn run_of(tag: u8, bytes: &[u8], total_max: u32) -> Result<Run, FrameError> {
    let mut run = Run { here: 0, to_come: 0, count: 0 };
    while let Some(rest) = bytes.get(run.here..)
        && rest.first() == Some(&tag)
        && let Some(head) = Head::parse(rest, total_max)?
    {
        run.count = run.count.saturating_add(1);
        if rest.len() < head.total {
            run.here = bytes.len();
            run.to_come = head.total.saturating_sub(rest.len());
            break;
        }
        run.here = run.here.saturating_add(head.total);
    }
    Ok(run)
}

/// The text up to the first zero byte, and what follows it; `None` when there is no zero byte.
#[inline]
pub fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // The unnamed statement, or portal: mostly.
    let end = if bytes.first() == Some(&0) { 0 } else { memchr::memchr(0, bytes)? };
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((text, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::{FrameError, Head, MESSAGE_MAX, Run, run_of, split_text};
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], &length.to_be_bytes()[..], body].concat()
    }

    #[test]
    fn a_run_stops_at_another_tag() {
        let rows = [message(b'D', b"one"), message(b'D', b"two")].concat();
        let bytes = [rows.clone(), message(b'Z', b"I")].concat();
        let run = run_of(b'D', &bytes, MESSAGE_MAX).unwrap();
        assert_eq!(run, Run { here: rows.len(), to_come: 0, count: 2 });
    }

    #[test]
    fn lengths_outside_the_limits_are_refused_before_the_body_arrives() {
        assert_eq!(
            Head::parse(&[b'Q', 0, 0, 0, 3], 64),
            Err(FrameError::Short { tag: b'Q', length: 3 })
        );
        assert_eq!(
            Head::parse(&[b'Q', 0x7f, 0, 0, 0], 64),
            Err(FrameError::Long { tag: b'Q', length: 0x7f00_0000 })
        );
        assert!(Head::parse(&[b'Q', 0, 0, 0, 63], 64).unwrap().is_some());
        assert!(Head::parse(&[b'Q', 0, 0, 0, 64], 64).is_err());
    }

    #[test]
    fn text_ends_at_its_zero_byte() {
        assert_eq!(split_text(b"a\0b"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(split_text(b"\0"), Some((&b""[..], &b""[..])));
        assert_eq!(split_text(b"abc"), None);
    }

    proptest! {
        /// Cutting a stream anywhere must lose nothing: this is what TCP does to us. What is here
        /// and what is to come always add up to whole messages.
        #[test]
        fn every_cut_adds_up_to_whole_messages(bodies in prop::collection::vec(0_usize..40, 1..8)) {
            let mut bytes = Vec::new();
            let mut edges = vec![0];
            for body in bodies {
                bytes.extend(message(b'D', &vec![7; body]));
                edges.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                let run = run_of(b'D', &bytes[..cut], MESSAGE_MAX).unwrap();
                prop_assert!(edges.contains(&(run.here + run.to_come)));
                prop_assert!(run.here <= cut);
                // Only the start of a head may be left over.
                prop_assert!(cut - run.here < super::HEAD_LEN);
            }
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>, tag: u8, max: u32) {
            prop_assert!(!matches!(Head::parse(&bytes, max), Ok(Some(head)) if head.total < super::HEAD_LEN));
            if let Ok(run) = run_of(tag, &bytes, max) {
                prop_assert!(run.here <= bytes.len());
            }
        }
    }
}
