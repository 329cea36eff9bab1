//! What ends, as it is told.

use super::{End, EndReason, Phase};
use std::collections::HashSet;

#[test]
fn labels_are_unique_and_sqlstates_well_formed() {
    let mut labels = HashSet::new();
    for reason in EndReason::ALL {
        let account = reason.account();
        assert!(labels.insert(account.label), "label {} is used twice", account.label);
        assert_eq!(account.sqlstate.len(), 5, "{reason:?}");
    }
}

#[test]
fn every_reason_is_documented() {
    let documented = include_str!("../../docs/protocol.md");
    for reason in EndReason::ALL {
        let label = format!("`{}`", reason.account().label);
        assert!(documented.contains(&label), "docs/protocol.md lacks {label}");
    }
}

/// Drivers close the connection, or the whole pool, at these classes.
#[test]
fn overload_in_a_session_flushes_no_drivers_pool() {
    for reason in [
        EndReason::CanceledInQueue,
        EndReason::QueueFull,
        EndReason::RateLimited,
        EndReason::ServerDown,
        EndReason::Shed,
        EndReason::WaitTimeout,
    ] {
        let fields = End::from(reason).fields(Phase::Session);
        assert_eq!((fields.severity.as_str(), fields.code.as_str()), ("ERROR", "57014"));
    }
}

#[test]
fn a_login_is_refused_with_a_code_that_drivers_retry_on() {
    let code = |reason| End::from(reason).fields(Phase::Login).code;
    assert_eq!(code(EndReason::ServerDown), "57P03");
    assert_eq!(code(EndReason::Shutdown), "57P03");
    assert_eq!(code(EndReason::WaitTimeout), "53300");
    assert_eq!(code(EndReason::ClientLimit), "53300");
}
