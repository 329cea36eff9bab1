//! What riders have prepared, on servers that lack it.

use super::{Shared, settings};
use crate::harness::frames::Batch;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// One server that keeps one statement, and clients that have each prepared one of their own.
pub(super) async fn forgetful(
    settings: Settings,
    count: usize,
    text: impl Fn(usize) -> String,
) -> (Shared, Vec<Client>) {
    let mut shared = Shared::start(settings.set("max_prepared_statements", 1)).await;
    shared.rig.postgres.sql(&wide()).await;
    let mut clients = shared.clients(count).await;
    for (n, client) in clients.iter_mut().enumerate() {
        let prepare = Batch::new().parse("own", &text(n)).describe_statement("own").sync();
        assert_eq!(client.ask(prepare).await[0], "1");
        shared.learn(client, || bound("7")).await;
    }
    (shared, clients)
}

/// A table of which no description is read to its end: it has 67 KB.
fn wide() -> String {
    let column = |n| format!("column_{n}_{} int", "x".repeat(44));
    let columns: Vec<_> = (100..1_000).map(column).collect();
    format!("create table wide ({}); grant select on wide to public", columns.join(", "))
}

fn bound(value: &str) -> Batch {
    Batch::new().bind("own", &[value]).execute().sync()
}

/// All wait with what they have prepared, while somebody does something, and share.
pub(super) async fn share_bound(shared: &mut Shared, clients: &mut [Client], meanwhile: &str) {
    shared.hold().await;
    for client in clients {
        shared.queue(client, bound("7")).await;
    }
    if !meanwhile.is_empty() {
        shared.rig.postgres.sql(meanwhile).await;
    }
    shared.let_go().await;
}

#[test]
fn what_a_shared_server_lacks_is_prepared_there() {
    run(async {
        let (mut shared, mut clients) =
            Box::pin(forgetful(settings(), 6, |n| format!("select $1::int as n{n}"))).await;
        for round in 1..=2 {
            let before = shared.shared().await;
            share_bound(&mut shared, &mut clients, "").await;
            for client in &mut clients {
                assert_eq!(client.answer().await, ["2", "D(7)", "C(SELECT 1)", "Z(I)"]);
            }
            assert_eq!(shared.shared().await - before, 6, "round {round}");
        }
        // As long as they are aboard, there may be one for each; with the next, no more than may be.
        let prepare = Batch::new().parse("other", "select 'other'").sync();
        assert_eq!(clients[0].ask(prepare).await, ["1", "Z(I)"]);
        let kept = "select count(*) from pg_prepared_statements where name like 'pgweir%'";
        assert_eq!(clients[0].value(kept).await, "1");
    });
}

#[test]
fn rows_of_another_shape_reach_nobody_who_shares() {
    run(async {
        let text = |n: usize| format!("select *, $1::int as n{n} from t where n = $1");
        let (mut shared, mut clients) = Box::pin(forgetful(settings(), 4, text)).await;
        let before = shared.shared().await;
        share_bound(&mut shared, &mut clients, "alter table t add x int").await;
        for (n, client) in clients.iter_mut().enumerate() {
            let frames = client.wire.until_ready().await;
            let said = frames[0].message();
            assert_eq!(said, "cached plan must not change result type", "{n}");
            assert_eq!(frames.len(), 2);
        }
        // The last one was there: Postgres itself found that.
        assert!(shared.shared().await - before <= 1);
        for (n, client) in clients.iter_mut().enumerate() {
            client.ask(Batch::new().close_statement("own").sync()).await;
            let prepare = Batch::new().parse("own", &text(n)).sync();
            assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
        }
        let before = shared.shared().await;
        share_bound(&mut shared, &mut clients, "").await;
        for client in &mut clients {
            assert_eq!(client.answer().await[1], "D(7,null,7)");
        }
        assert_eq!(shared.shared().await - before, 4);
    });
}

#[test]
fn what_cannot_be_prepared_any_more_concerns_its_client_only() {
    run(async {
        let text = |n: usize| match n {
            0 | 2 => format!("select n, $1::int as n{n} from t where n = $1"),
            n => format!("select $1::int as n{n}"),
        };
        let (mut shared, mut clients) = Box::pin(forgetful(settings(), 4, text)).await;
        let before = shared.shared().await;
        share_bound(&mut shared, &mut clients, "alter table t rename n to m").await;
        for (n, client) in clients.iter_mut().enumerate() {
            let answer = client.answer().await;
            if n % 2 == 0 {
                assert_eq!(answer, ["E(ERROR 42703)", "Z(I)"], "{n}");
            } else {
                assert_eq!(answer, ["2", "D(7)", "C(SELECT 1)", "Z(I)"], "{n}");
            }
        }
        assert_eq!(shared.shared().await - before, 4);
        shared.rig.postgres.sql("alter table t rename m to n").await;
        let before = shared.shared().await;
        share_bound(&mut shared, &mut clients, "").await;
        for client in &mut clients {
            let answer = client.answer().await;
            assert!(answer[1].starts_with("D(7"), "{answer:?}");
        }
        assert_eq!(shared.shared().await - before, 4);
    });
}

#[test]
fn a_long_description_is_read_as_far_as_in_a_lease() {
    run(async {
        let text = |n: usize| format!("select wide.*, $1::int as n{n} from wide");
        for (meanwhile, wanted, count) in [
            ("", &["2", "C(SELECT 0)", "Z(I)"][..], 3),
            ("alter table wide add y int", &["E(ERROR 0A000)", "Z(I)"], 0),
        ] {
            let (mut shared, mut clients) = Box::pin(forgetful(settings(), 3, text)).await;
            let before = shared.shared().await;
            share_bound(&mut shared, &mut clients, meanwhile).await;
            for client in &mut clients {
                assert_eq!(client.answer().await, wanted);
            }
            assert_eq!(shared.shared().await - before, count);
        }
    });
}
