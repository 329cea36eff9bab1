//! The fields of `ErrorResponse` and `NoticeResponse`.

use crate::end::ErrorFields;
use crate::wire::frame::split_text;

/// Reads the body of a message. What is not valid text or not known is left out: a server's
/// error is shown as well as it can be, never refused.
pub fn parse(body: &[u8]) -> ErrorFields {
    let mut fields = ErrorFields::default();
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

/// Whether Postgres says "cached plan must not change result type": a table or the like has changed.
pub fn is_plan_changed(fields: &ErrorFields) -> bool {
    fields.routine.as_deref() == Some("RevalidateCachedQuery")
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::end::ErrorFields;
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
            prop_assert_eq!(parse(&out[5..]), fields);
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }
    }
}
