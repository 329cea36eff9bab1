//! How long a statement may take on a server that others share: it counts from when it is at the head.

use std::time::Duration;

use super::{Shared, nap, number, settings};
use crate::harness::time::run;

/// Statements that together take longer than each may are all answered, but for the last, which does by
/// itself; and so is the one behind it. `told`: what its client is told.
async fn counts_from_when_it_is_at_the_head(option: &str, told: (&str, &str)) {
    let settings = settings().set("multiplex_functions", ["pg_sleep"]);
    let settings = settings.set(option, Duration::from_secs(2));
    let mut shared = Shared::start(settings).await;
    let mut clients = shared.clients(4).await;
    shared.learn(&mut clients[0], || nap(0.0)).await;
    shared.learn(&mut clients[3], || number(3)).await;
    shared.hold().await;
    for (client, batch) in clients.iter_mut().zip([nap(1.2), nap(1.2), nap(60.0), number(3)]) {
        shared.queue(client, batch).await;
    }
    shared.let_go().await;
    let [one, two, three, four] = &mut clients[..] else { panic!("four") };
    for client in [one, two] {
        let answer = client.answer().await;
        assert!(answer.contains(&"D(,mine)".to_owned()), "{answer:?}");
    }
    let last = three.wire.until_closed().await;
    let last = last.last().expect("it is told");
    assert_eq!((&*last.code(), &*last.message()), told);
    assert!(four.answer().await.contains(&"D(3,mine)".to_owned()));
    // All but the one that has ended.
    assert_eq!(shared.shared().await, 3);
}

#[test]
fn query_timeout_counts_from_when_a_statement_is_at_the_head() {
    run(async {
        let told = ("57014", "terminating connection due to query_timeout");
        Box::pin(counts_from_when_it_is_at_the_head("query_timeout", told)).await;
    });
}

#[test]
fn transaction_timeout_counts_from_when_a_statement_is_at_the_head() {
    run(async {
        let told = ("25P04", "terminating connection due to transaction timeout");
        Box::pin(counts_from_when_it_is_at_the_head("transaction_timeout", told)).await;
    });
}
