//! What is known of a statement: that it is a read, how long it takes, how long its answers are.

use super::{Shared, settings};
use crate::harness::frames::Batch;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// All ask for the same at once. Answers with how many shared.
pub(super) async fn ask_all(
    shared: &mut Shared,
    clients: &mut [Client],
    batch: impl Fn() -> Batch,
) -> u64 {
    let before = shared.shared().await;
    shared.hold().await;
    for client in clients.iter_mut() {
        shared.queue(client, batch()).await;
    }
    shared.let_go().await;
    for client in clients {
        let answer = client.answer().await;
        assert!(answer.iter().any(|frame| frame.starts_with("D(")), "{answer:?}");
    }
    shared.shared().await - before
}

/// Three who have prepared this, for [`bound`].
async fn who_prepared(shared: &mut Shared, text: &str) -> Vec<Client> {
    let mut clients = shared.clients(3).await;
    for client in &mut clients {
        let prepare = Batch::new().parse("own", text).sync();
        assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
    }
    clients
}

fn bound() -> Batch {
    Batch::new().bind("own", &[]).execute().sync()
}

#[test]
fn who_has_long_answers_shares_no_more() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let long = || Batch::new().query("select repeat('x', 300000)");
        shared.learn(&mut clients[0], long).await;
        assert_eq!(ask_all(&mut shared, &mut clients, long).await, 3);
        assert_eq!(ask_all(&mut shared, &mut clients, long).await, 0);
    });
}

/// Five of these would have done, had they been answered.
#[test]
fn nothing_is_learned_of_what_was_refused_while_it_waited() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let asked = || Batch::new().query("select n from t where n = 7");
        for _ in 0..6 {
            shared.hold().await;
            shared.queue(&mut clients[0], asked()).await;
            clients[0].cancel().await;
            assert_eq!(clients[0].answer().await, ["E(ERROR 57014)", "Z(I)"]);
            shared.let_go().await;
            shared.becomes("sv_idle", 1).await;
            // At once, on a server of its own.
            assert_eq!(clients[0].value("select 'quick'").await, "quick");
            shared.becomes("sv_idle", 1).await;
        }
        assert_eq!(ask_all(&mut shared, &mut clients, asked).await, 0);
    });
}

/// Errors come early: in how short a time, says nothing of those who get rows.
#[test]
fn nothing_is_learned_of_what_fails() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let divided = |by: usize| move || Batch::new().query(&format!("select 6 / {by}"));
        shared.learn(&mut clients[0], divided(0)).await;
        assert_eq!(ask_all(&mut shared, &mut clients, divided(1)).await, 0);
        shared.learn(&mut clients[0], divided(1)).await;
        assert_eq!(ask_all(&mut shared, &mut clients, divided(1)).await, 3);
    });
}

#[test]
fn functions_are_looked_up_anew_after_a_reload() {
    run(async {
        let with = |functions: &[&str]| settings().set("multiplex_functions", functions);
        let mut shared = Shared::start(with(&[])).await;
        shared.rig.postgres.sql("create function price() returns int return 7").await;
        let mut clients = who_prepared(&mut shared, "select price()").await;
        for (functions, sharing) in [(&[][..], 0), (&["price"][..], 3), (&[][..], 0)] {
            shared.reload(&with(functions)).await;
            shared.learn(&mut clients[0], bound).await;
            assert_eq!(ask_all(&mut shared, &mut clients, bound).await, sharing, "{functions:?}");
        }
    });
}

#[test]
fn what_is_barred_has_a_server_for_itself_after_a_reload() {
    run(async {
        let with = |names: &[&str]| settings().set("multiplex_except", names);
        let mut shared = Shared::start(with(&[])).await;
        shared.rig.postgres.sql("create view tally as select 7 as n").await;
        shared.rig.postgres.sql("grant select on tally to public").await;
        let mut clients = who_prepared(&mut shared, "select n from tally").await;
        let simple = || Batch::new().query("select n + 0 from public.\"tally\"");
        for (names, sharing) in [(&[][..], 3), (&["Tally"][..], 0), (&["tall"][..], 3)] {
            shared.reload(&with(names)).await;
            for batch in [&bound as &dyn Fn() -> Batch, &simple] {
                shared.learn(&mut clients[0], batch).await;
                let found = ask_all(&mut shared, &mut clients, batch).await;
                assert_eq!(found, sharing, "{names:?}");
            }
        }
    });
}

/// Postgres tells of a name that it cuts before it tells that it has read the text.
#[test]
fn an_unnamed_statement_is_there_behind_a_notice() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        let text = format!("select 'mine' as {}", "x".repeat(70));
        let batch = || Batch::new().statement(&text, &[]);
        shared.learn(&mut clients[0], batch).await;
        assert_eq!(ask_all(&mut shared, &mut clients, batch).await, 3);
        for client in &mut clients {
            let again = Batch::new().bind("", &[]).execute().sync();
            assert_eq!(client.ask(again).await, ["2", "D(mine)", "C(SELECT 1)", "Z(I)"]);
        }
    });
}
