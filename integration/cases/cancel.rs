//! A cancel ends the query that it was meant for, or nothing.

use std::time::Duration;

use crate::harness::cutter::{Cutter, Plan, Way};
use crate::harness::frames::{Batch, cancel_message};
use crate::harness::login::{Login, PROTOCOL_3_2};
use crate::harness::postgres::Postgres;
use crate::harness::proxy::{Proxy, Rig};
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, Watch, run, throughout};
use crate::harness::wire::{Client, Wire, cancel};

/// The query is sent word of before it is planned: cancelled then, it describes no rows.
const ASLEEP: &str = "wait_event = 'PgSleep'";

async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
}

async fn sleep_long(rig: &Rig, client: &mut Client) {
    client.send(Batch::new().query("select pg_sleep(30)")).await;
    rig.postgres.wait_for_servers(ASLEEP, 1).await;
}

#[test]
fn a_running_query_is_cancelled_with_a_key_of_any_length() {
    run(async {
        let rig = rig().await;
        for protocol in [crate::harness::login::PROTOCOL_3_0, PROTOCOL_3_2] {
            let mut client = Login::to(rig.address()).protocol(protocol).connect().await;
            sleep_long(&rig, &mut client).await;
            client.cancel().await;
            assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
            assert_eq!(client.value("select 1").await, "1");
        }
    });
}

#[test]
fn a_query_within_a_transaction_is_cancelled() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.query("begin").await;
        sleep_long(&rig, &mut client).await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(E)"]);
        assert_eq!(client.query("rollback").await, ["C(ROLLBACK)", "Z(I)"]);
    });
}

#[test]
fn wrong_and_old_keys_do_nothing() {
    run(async {
        let rig = rig().await;
        let gone = rig.client().await;
        let (pid, secret) = (gone.pid, gone.secret.clone());
        drop(gone);
        let mut client = rig.client().await;
        sleep_long(&rig, &mut client).await;
        let mut wrong = client.secret.clone();
        wrong[0] ^= 1;
        cancel(rig.address(), client.pid, &wrong).await;
        // Not a cancel at all: whether that is answered is no matter.
        let mut malformed = Wire::connect(rig.address()).await;
        malformed.send(&cancel_message(client.pid, &[])).await;
        malformed.until_closed().await;
        cancel(rig.address(), client.pid, &client.secret[..3]).await;
        cancel(rig.address(), client.pid, &[client.secret.clone(), vec![0]].concat()).await;
        cancel(rig.address(), client.pid ^ 1, &client.secret).await;
        cancel(rig.address(), pid, &secret).await;
        cancel(rig.address(), 0, &[0; 4]).await;
        throughout(Duration::from_millis(300), "the query runs", async || {
            rig.postgres.servers(ASLEEP).await == 1
        })
        .await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
    });
}

#[test]
fn a_cancel_after_the_answer_hits_nothing_later() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        for _ in 0..50 {
            assert_eq!(client.value("select 1").await, "1");
            client.cancel().await;
            assert_eq!(client.value("select pg_sleep(0.002)").await, "");
        }
    });
}

#[test]
fn a_waiting_client_is_taken_out_of_the_queue() {
    run(async {
        let rig = rig().await;
        let (mut holder, mut waiter) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 'too late'")).await;
        // Nothing shows from outside that it waits: the cancel is repeated until it did.
        let timing = Timing::start();
        let answer = loop {
            waiter.cancel().await;
            let wait = Duration::from_millis(100);
            if let Some(frame) = crate::harness::time::within(wait, waiter.wire.frame()).await {
                break frame;
            }
        };
        assert_eq!(answer.shown(), "E(ERROR 57014)");
        assert_eq!(answer.message(), "canceling statement due to user request");
        assert_eq!(waiter.answer().await, ["Z(I)"]);
        timing.is_below(Duration::from_secs(5));
        assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(waiter.value("select 'served'").await, "served");
    });
}

#[test]
fn a_pipeline_that_waits_is_cancelled_up_to_its_sync() {
    run(async {
        let rig = rig().await;
        let (mut holder, mut waiter) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        waiter.send(Batch::new().statement("select 1", &[])).await;
        let answer = loop {
            waiter.cancel().await;
            let wait = Duration::from_millis(100);
            if let Some(frame) = crate::harness::time::within(wait, waiter.wire.frame()).await {
                break frame;
            }
        };
        assert_eq!(answer.shown(), "E(ERROR 57014)");
        assert_eq!(waiter.answer().await, ["Z(I)"]);
        holder.query("commit").await;
        let answer = waiter.ask(Batch::new().statement("select 2", &[])).await;
        assert_eq!(answer, ["1", "2", "D(2)", "C(SELECT 1)", "Z(I)"]);
    });
}

/// With one server the victim's next user is always on the server that a late cancel would hit.
#[test]
fn a_cancel_never_hits_another_client() {
    run(async {
        let rig = rig().await;
        let (mut canceller, mut victim) = (rig.client().await, rig.client().await);
        for round in 0..200 {
            canceller.send(Batch::new().query("select pg_sleep(0.002)")).await;
            victim.send(Batch::new().query("select pg_sleep(0.002), 'unharmed'")).await;
            let (address, pid) = (canceller.address.clone(), canceller.pid);
            let secret = canceller.secret.clone();
            tokio::join!(cancel(&address, pid, &secret), async {
                let answer = canceller.answer().await;
                assert_eq!(answer.last().map(String::as_str), Some("Z(I)"), "round {round}");
                let answer = victim.answer().await;
                let row = "D(,unharmed)".to_owned();
                assert!(answer.contains(&row), "round {round}: {answer:?}");
            });
        }
    });
}

#[test]
fn cancels_work_when_every_server_is_busy() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(3).host("max_connections", 3)).await;
        let mut clients = Vec::new();
        for count in 1..=3 {
            let mut client = rig.client().await;
            client.send(Batch::new().query("select pg_sleep(30)")).await;
            rig.postgres.wait_for_servers(ASLEEP, count).await;
            clients.push(client);
        }
        for client in &mut clients {
            client.cancel().await;
            assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
        }
    });
}

#[test]
fn cancels_of_strangers_do_not_keep_anybody_from_logging_in() {
    run(async {
        let rig = rig().await;
        let storm = async {
            for number in 0..500 {
                cancel(rig.address(), number, &number.to_be_bytes()).await;
            }
        };
        let logins = async {
            for _ in 0..20 {
                assert_eq!(rig.client().await.value("select 1").await, "1");
            }
        };
        tokio::join!(storm, logins);
    });
}

/// Postgres has the request, but has not closed its connection: nobody knows whom it may hit yet.
#[test]
fn a_server_that_a_slow_cancel_may_still_hit_goes_to_nobody_else() {
    run(async {
        let postgres = Postgres::start().await;
        // The first connection is the server, the second the cancel request, whose end does not come.
        let mut connections = 0;
        let plan = move || {
            connections += 1;
            let stall_after = (connections == 2).then_some(0);
            Plan { back: Way { stall_after, ..Way::default() }, ..Plan::default() }
        };
        let link = Cutter::start(&postgres.address(), plan).await;
        let wait = Duration::from_millis(500);
        let settings = Settings::new().pool_size(1).set("cancel_wait_timeout", wait);
        let proxy = Proxy::start(&settings, &link.address).await;
        let mut client = Client::connect(&proxy.address).await;
        let first = client.value("select pg_backend_pid()").await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        postgres.wait_for_servers(ASLEEP, 1).await;
        let watch = Watch::start();
        let mut next = Client::connect(&proxy.address).await;
        let secret = client.secret.clone();
        let ((), next_pid) = tokio::join!(cancel(&proxy.address, client.pid, &secret), async {
            assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
            next.value("select pg_backend_pid()").await
        });
        assert_ne!(next_pid, first, "it was lent on");
        assert!(watch.elapsed() >= wait, "after {:?}", watch.elapsed());
        postgres.wait_for_servers(&format!("pid = {first}"), 0).await;
        proxy.process().logs("cancel request could not be delivered").await;
    });
}
