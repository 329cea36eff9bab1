//! The ledger against what Postgres does, and against a small model of it.

use super::{Abandoned, Ledger, Origin, OutOfStep, Reply, Request, Status};
use crate::wire::tags::from_server;
use proptest::prelude::*;

fn ledger(requests: &[Request]) -> Ledger {
    let mut ledger = Ledger::default();
    for request in requests {
        ledger.sent(*request, Origin::Client);
    }
    ledger
}

#[test]
fn a_reply_to_a_request_of_the_proxys_own_is_told_apart() {
    let mut ledger = Ledger::default();
    ledger.sent(Request::Query, Origin::Proxy);
    ledger.sent(Request::Query, Origin::Client);
    assert_eq!(ledger.replied(from_server::COMMAND_COMPLETE).unwrap().origin, Origin::Proxy);
    assert_eq!(ledger.ready(Status::Idle).unwrap().origin, Origin::Proxy);
    assert!(!ledger.is_settled());
    assert_eq!(ledger.ready(Status::Idle).unwrap().origin, Origin::Client);
    assert!(ledger.is_settled());
}

#[test]
fn an_error_skips_to_the_next_sync_and_no_further() {
    use Request::{Bind, ParseNamed, Query, Sync};
    let mut ledger = ledger(&[ParseNamed, Bind, Query, Sync, ParseNamed]);
    let mut skipped = Vec::new();
    ledger.failed(|request, _| skipped.push(request));
    assert_eq!(skipped, [ParseNamed, Bind, Query]);
    assert_eq!(ledger.ready(Status::Idle).unwrap().settled, Some(Sync));
    assert!(!ledger.is_settled(), "the second request is still owed, and its Sync not sent");
}

#[test]
fn an_error_in_a_simple_query_is_still_followed_by_ready() {
    let mut ledger = ledger(&[Request::Query]);
    assert_eq!(ledger.failed(|_, _| panic!("nothing is skipped")), Some(Origin::Client));
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

#[test]
fn without_a_sync_a_server_is_not_free() {
    let mut parsed = ledger(&[Request::Parse]);
    parsed.flushed();
    parsed.replied(from_server::PARSE_COMPLETE).unwrap();
    assert!(!parsed.is_settled());
    parsed.sent(Request::Sync, Origin::Client);
    parsed.ready(Status::Idle).unwrap();
    assert!(parsed.is_settled());

    let mut failed = ledger(&[Request::Parse]);
    failed.failed(|_, _| {});
    assert!(!failed.is_settled(), "Postgres skips everything until a Sync");
}

/// The client has not read the error yet and goes on.
#[test]
fn what_is_sent_between_an_error_and_the_sync_is_skipped() {
    let mut ledger = ledger(&[Request::Parse]);
    ledger.failed(|_, _| {});
    assert!(!ledger.sent(Request::Bind, Origin::Client));
    assert!(!ledger.sent(Request::Query, Origin::Client));
    assert!(ledger.sent(Request::Sync, Origin::Client));
    assert!(ledger.sent(Request::Query, Origin::Client));
    ledger.ready(Status::Idle).unwrap();
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

#[test]
fn an_open_or_failed_transaction_keeps_the_server() {
    for status in [Status::Open, Status::Failed] {
        let mut ledger = ledger(&[Request::Query]);
        ledger.ready(status).unwrap();
        assert!(!ledger.is_settled());
        assert!(ledger.is_quiet());
    }
}

#[test]
fn an_unasked_reply_is_out_of_step() {
    for tag in *b"123nTtCIsGHVDdc" {
        assert_eq!(Ledger::default().replied(tag), Err(OutOfStep), "{}", char::from(tag));
    }
    assert_eq!(Ledger::default().ready(Status::Idle), Err(OutOfStep));
    assert_eq!(Ledger::default().failed(|_, _| {}), None);
    assert_eq!(ledger(&[Request::Bind]).replied(from_server::PARSE_COMPLETE), Err(OutOfStep));
}

/// libpq sends `Sync` with `Execute`, before it knows that the statement copies in. Postgres reads
/// it as part of the copy data and ignores it.
#[test]
fn a_sync_that_is_swallowed_by_copy_in_is_not_owed() {
    use Request::{Bind, CopyEnd, Execute, Parse, Sync};
    let mut ledger = ledger(&[Parse, Bind, Execute, Sync]);
    ledger.replied(from_server::PARSE_COMPLETE).unwrap();
    ledger.replied(from_server::BIND_COMPLETE).unwrap();
    ledger.replied(from_server::COPY_IN).unwrap();
    assert!(ledger.is_copying_in());
    assert!(!ledger.is_settled());
    ledger.sent(CopyEnd, Origin::Client);
    ledger.sent(Sync, Origin::Client);
    let done = ledger.replied(from_server::COMMAND_COMPLETE).unwrap();
    assert_eq!(done, Reply { origin: Origin::Client, settled: Some(Execute) });
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

/// The same, with everything sent before the first reply was read.
#[test]
fn a_copy_in_sent_all_at_once_keeps_the_sync_behind_its_end() {
    use Request::{Bind, CopyEnd, Execute, Parse, Sync};
    let mut ledger = ledger(&[Parse, Bind, Execute, Sync, CopyEnd, Sync]);
    for tag in [from_server::PARSE_COMPLETE, from_server::BIND_COMPLETE, from_server::COPY_IN] {
        ledger.replied(tag).unwrap();
    }
    assert!(!ledger.is_copying_in(), "its end is on the way");
    ledger.replied(from_server::COMMAND_COMPLETE).unwrap();
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

/// And without one: what was copied is not committed before a `Sync`, so nobody else may come.
#[test]
fn a_copy_in_without_a_sync_behind_its_end_keeps_the_server() {
    use Request::{CopyEnd, Execute, Sync};
    let mut ledger = ledger(&[Execute, Sync, CopyEnd]);
    ledger.replied(from_server::COPY_IN).unwrap();
    ledger.replied(from_server::COMMAND_COMPLETE).unwrap();
    assert!(!ledger.is_settled());
    ledger.sent(Sync, Origin::Client);
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

#[test]
fn a_copy_in_that_fails_in_the_middle_leaves_no_debt() {
    let mut ledger = ledger(&[Request::Query]);
    ledger.replied(from_server::COPY_IN).unwrap();
    ledger.failed(|_, _| {});
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
    // Its late end arrives after all: Postgres ignores it, and so do we.
    ledger.sent(Request::CopyEnd, Origin::Client);
    assert!(ledger.is_settled());
    ledger.sent(Request::Query, Origin::Client);
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

/// A trigger fails, or it was a view: Postgres has not read the `Sync` then, and honours it.
#[test]
fn a_copy_in_that_fails_at_once_still_answers_its_sync() {
    use Request::{Bind, Execute, Parse, Sync};
    let mut ledger = ledger(&[Parse, Bind, Execute, Sync]);
    for tag in [from_server::PARSE_COMPLETE, from_server::BIND_COMPLETE, from_server::COPY_IN] {
        ledger.replied(tag).unwrap();
    }
    ledger.failed(|_, _| {});
    assert_eq!(ledger.ready(Status::Idle).unwrap().settled, Some(Sync));
    assert!(ledger.is_settled() && ledger.is_uncertain());
}

/// With a `Sync` behind the copy data as well, nobody can tell which of the two was answered first:
/// an empty query behind them shows whether there is another answer.
#[test]
fn a_probe_shows_whether_a_sync_was_read_as_copy_data() {
    use Request::{Bind, CopyEnd, Execute, Parse, Query, Sync};
    // A cancel request that comes late may hit the probe: that is an answer as well.
    for (was_read, is_hit) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut ledger = ledger(&[Parse, Bind, Execute, Sync, CopyEnd, Sync]);
        for tag in [from_server::PARSE_COMPLETE, from_server::BIND_COMPLETE, from_server::COPY_IN] {
            ledger.replied(tag).unwrap();
        }
        ledger.failed(|_, _| {});
        ledger.ready(Status::Idle).unwrap();
        assert!(ledger.is_settled() && ledger.wants_probe());
        ledger.sent(Query, Origin::Proxy);
        if !was_read {
            assert_eq!(ledger.ready(Status::Idle).unwrap().origin, Origin::Client);
        }
        if is_hit {
            assert_eq!(ledger.failed(|_, _| {}), Some(Origin::Proxy));
        } else {
            assert_eq!(ledger.replied(from_server::EMPTY_QUERY).unwrap().origin, Origin::Proxy);
        }
        assert_eq!(ledger.ready(Status::Idle).unwrap().origin, Origin::Proxy);
        assert!(ledger.is_settled() && !ledger.wants_probe());
    }
}

#[test]
fn a_simple_query_may_copy_in_twice() {
    let mut ledger = ledger(&[Request::Query]);
    for _ in 0..2 {
        ledger.replied(from_server::COPY_IN).unwrap();
        assert!(ledger.is_copying_in());
        ledger.sent(Request::CopyEnd, Origin::Client);
        ledger.replied(from_server::COMMAND_COMPLETE).unwrap();
    }
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

#[test]
fn a_copy_in_that_the_client_fails_leaves_no_debt() {
    let mut ledger = ledger(&[Request::Query]);
    ledger.replied(from_server::COPY_IN).unwrap();
    ledger.sent(Request::CopyEnd, Origin::Client);
    ledger.failed(|_, _| {});
    ledger.ready(Status::Idle).unwrap();
    assert!(ledger.is_settled());
}

#[test]
fn a_lost_server_owes_one_ready_for_each_sync_and_query_of_the_client() {
    use Request::{Bind, Parse, Query, Sync};
    let mut ledger = Ledger::default();
    ledger.sent(Query, Origin::Proxy);
    for request in [Query, Parse, Sync, Bind] {
        ledger.sent(request, Origin::Client);
    }
    assert_eq!(ledger.abandon(), Abandoned { readies: 2, open: true });
    assert!(ledger.is_empty());
}

/// What a server does with one request: the tags it answers with, or an error.
fn answer(request: Request, fails: bool) -> Vec<u8> {
    match request {
        _ if fails && request != Request::Sync => vec![b'E'],
        Request::Bind => vec![b'2'],
        Request::Close
        | Request::CloseNamed
        | Request::CloseUnnamed
        | Request::ParseAcknowledged => vec![b'3'],
        Request::Describe => vec![b't', b'T'],
        Request::Execute | Request::ExecuteFollowed => vec![b'D', b'C'],
        Request::FunctionCall => vec![b'V'],
        Request::Parse | Request::ParseNamed => vec![b'1'],
        Request::Query | Request::QueryFollowed => vec![b'T', b'D', b'C', b'T', b'C'],
        // It fails.
        Request::CopyEnd | Request::ParseRefused | Request::Sync => vec![],
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    use Request::{
        Bind, Close, Describe, Execute, ExecuteFollowed, FunctionCall, Parse, ParseNamed, Query,
        QueryFollowed, Sync,
    };
    prop::sample::select(vec![
        Bind,
        Close,
        Describe,
        Execute,
        ExecuteFollowed,
        FunctionCall,
        Parse,
        ParseNamed,
        Query,
        QueryFollowed,
        Sync,
        Sync,
    ])
}

proptest! {
    /// Any pipeline, any errors, any origin: a model server that skips to `Sync` after an error
    /// answers, and the ledger agrees with every single reply about whose it is.
    #[test]
    fn the_ledger_keeps_step_with_a_server(
        script in prop::collection::vec((any_request(), any::<bool>(), prop::bool::weighted(0.2)), 0..60),
        lag in 0_usize..8,
    ) {
        let mut ledger = Ledger::default();
        let mut unanswered = std::collections::VecDeque::new();
        let mut skipping = false;
        let mut script = script.into_iter().chain([(Request::Sync, false, false)]).peekable();
        while script.peek().is_some() || !unanswered.is_empty() {
            for (request, ours, fails) in script.by_ref().take(lag + 1) {
                let origin = if ours { Origin::Proxy } else { Origin::Client };
                let skipped = !ledger.sent(request, origin);
                prop_assert!(!skipped || skipping);
                unanswered.push_back((request, origin, fails));
            }
            let Some((request, origin, fails)) = unanswered.pop_front() else { continue };
            if skipping && request != Request::Sync {
                continue;
            }
            skipping = false;
            let simple = request.is_simple();
            for tag in answer(request, fails) {
                if tag == b'E' {
                    prop_assert_eq!(ledger.failed(|_, _| {}), Some(origin));
                    skipping = !simple;
                } else {
                    let is_followed =
                        matches!(request, Request::ExecuteFollowed | Request::QueryFollowed);
                    prop_assert_eq!(ledger.is_followed(), is_followed);
                    prop_assert_eq!(ledger.replied(tag).unwrap().origin, origin);
                }
            }
            if simple || request == Request::Sync {
                let reply = ledger.ready(Status::Idle).unwrap();
                prop_assert_eq!(reply, Reply { origin, settled: Some(request) });
            }
        }
        prop_assert!(ledger.is_settled());
    }

    #[test]
    fn no_order_of_replies_can_make_it_panic(
        requests in prop::collection::vec(any_request(), 0..20), tags: Vec<u8>,
    ) {
        let mut ledger = ledger(&requests);
        for tag in tags {
            match tag {
                b'E' => drop(ledger.failed(|_, _| {})),
                b'Z' => drop(ledger.ready(Status::Idle)),
                _ => drop(ledger.replied(tag)),
            }
        }
    }
}
