//! What becomes of a failure to connect: whom it concerns, and what they are told.

use crate::end::ErrorFields;
use crate::scheduler::{ConnectFailure, FailureScope};
use crate::server::connect::ConnectError;
use std::sync::Arc;

/// What the scheduler has to know of a failure to connect.
pub(super) fn failure_of(error: ConnectError) -> ConnectFailure<Arc<ErrorFields>> {
    use FailureScope::{Host, Pool};
    let (scope, definitive) = match &error {
        ConnectError::ConnectQuery => (Pool, false),
        ConnectError::NoPassword(_) | ConnectError::Scram(_) => (Pool, true),
        ConnectError::Strange(_) | ConnectError::Unreachable(_) => (Host, false),
        ConnectError::Refused(fields) => match fields.code.as_str() {
            // Wrong password, not allowed, no such database, no right to connect.
            "28000" | "28P01" | "3D000" | "42501" => (Pool, true),
            // Starting up, shutting down, crashed.
            "57P01" | "57P02" | "57P03" => (Host, false),
            // Too many connections, and whatever else: for this pool, and it may pass.
            _ => (Pool, false),
        },
    };
    let text = error.to_string();
    let error = match error {
        ConnectError::Refused(fields) => *fields,
        _ => ErrorFields {
            severity: "FATAL".to_owned(),
            code: if definitive { "28000" } else { "57P03" }.to_owned(),
            message: text,
            ..ErrorFields::default()
        },
    };
    ConnectFailure { definitive, error: Arc::new(error), scope }
}
