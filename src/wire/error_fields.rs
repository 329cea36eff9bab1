//! The fields of `ErrorResponse` and `NoticeResponse`.

use crate::wire::frame::split_text;

/// The fields that the proxy itself reads or writes. Others are forwarded unread.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ErrorFields {
    /// `ERROR`, `FATAL`, `PANIC`; not localized.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The `R` field: Postgres puts a function's name there, we a reason for machines.
    pub routine: Option<String>,
}

impl ErrorFields {
    /// Reads the body of a message. What is not valid text or not known is left out: a server's
    /// error is shown as well as it can be, never refused.
    pub fn parse(body: &[u8]) -> Self {
        let mut fields = Self::default();
        let mut localized = None;
        let mut rest = body;
        while let Some((&field, after)) = rest.split_first()
            && field != 0
            && let Some((text, after)) = split_text(after)
        {
            let text = String::from_utf8_lossy(text).into_owned();
            match field {
                b'S' => localized = Some(text),
                b'V' => fields.severity = text,
                b'C' => fields.code = text,
                b'M' => fields.message = text,
                b'D' => fields.detail = Some(text),
                b'H' => fields.hint = Some(text),
                b'R' => fields.routine = Some(text),
                _ => {}
            }
            rest = after;
        }
        if fields.severity.is_empty() {
            fields.severity = localized.unwrap_or_default();
        }
        fields
    }

    /// Whether the server ends the connection with this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorFields;
    use crate::wire::encode;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_can_be_read(code in "[0-9A-Z]{5}", message in "[^\0]*", detail in "[^\0]*") {
            let fields = ErrorFields {
                severity: "ERROR".to_owned(), code, message, detail: Some(detail), ..Default::default()
            };
            let mut out = Vec::new();
            encode::error(&mut out, &fields);
            prop_assert_eq!(ErrorFields::parse(&out[5..]), fields);
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>) {
            drop(ErrorFields::parse(&bytes));
        }
    }
}
