//! A head that takes its time, where there are other servers: those behind it go on elsewhere.

use std::time::Duration;

use super::{Shared, all_have_their_own, leave_unread, lock_out, nap, number, settings, share};
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, run, within};
use crate::harness::wire::Client;

/// Two servers, of which somebody has one.
async fn start() -> (Shared, Client) {
    Box::pin(start_with(settings())).await
}

async fn start_with(settings: Settings) -> (Shared, Client) {
    let settings = settings.pool_size(2).set("multiplex_functions", ["pg_sleep"]);
    let shared = Shared::start(settings).await;
    let mut other = shared.rig.client().await;
    assert_eq!(other.query("begin").await, ["C(BEGIN)", "Z(T)"]);
    (shared, other)
}

#[test]
fn who_is_behind_one_that_is_stuck_goes_on_elsewhere() {
    run(async {
        let (mut shared, mut other) = Box::pin(start()).await;
        let mut clients = shared.clients(5).await;
        let lock = lock_out(&mut shared, &mut clients).await;
        // All but the head; one of them wants it no more, and one is gone.
        shared.becomes("cl_waiting", 4).await;
        clients[4].cancel().await;
        assert_eq!(clients[4].answer().await, ["E(ERROR 57014)", "Z(I)"]);
        drop(clients.remove(3));
        shared.becomes("cl_waiting", 2).await;
        assert_eq!(other.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        all_have_their_own(&mut clients[1..3]).await;
        lock.batch_execute("commit").await.expect("it is over");
        assert_eq!(clients[0].answer().await[1], "D(9)");
        // What they had asked is answered, too, by and by, and concerns nobody.
        shared.becomes("sv_idle", 2).await;
        assert_eq!(other.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        shared.learn(&mut clients[0], || number(0)).await;
        share(&mut shared, &mut clients[..2], number).await;
    });
}

/// Whoever leaves its place has waited long by then, and may wait again as long as anybody.
#[test]
fn who_goes_on_elsewhere_has_as_much_time_as_whoever_comes() {
    run(async {
        let limit = Duration::from_secs(3);
        let (mut shared, mut other) =
            Box::pin(start_with(settings().set("query_wait_timeout", limit))).await;
        let mut clients = shared.clients(2).await;
        // It stalls when whoever is behind it should have been served.
        shared.learn(&mut clients[0], || nap(0.35)).await;
        shared.learn(&mut clients[1], || number(0)).await;
        shared.hold().await;
        shared.queue(&mut clients[0], nap(60.0)).await;
        let asked = Watch::start();
        shared.queue(&mut clients[1], number(0)).await;
        shared.let_go().await;
        shared.becomes("cl_riding", 2).await;
        shared.becomes("cl_waiting", 1).await;
        assert!(asked.elapsed() > limit);
        // Whoever is overdue is told so by the next tick.
        let told = within(Duration::from_millis(500), clients[1].wire.try_frame()).await;
        assert!(told.is_none(), "{told:?}");
        assert_eq!(other.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        all_have_their_own(&mut clients[1..]).await;
    });
}

#[test]
fn who_is_behind_one_that_does_not_read_goes_on_elsewhere() {
    run(async {
        let (mut shared, mut other) = Box::pin(start()).await;
        let mut clients = shared.clients(3).await;
        leave_unread(&mut shared, &mut clients).await;
        shared.becomes("cl_waiting", 2).await;
        assert_eq!(other.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        all_have_their_own(&mut clients[1..]).await;
        let rows = clients[0].wire.until_ready().await;
        assert_eq!(rows.iter().filter(|frame| frame.tag == b'D').count(), 100_000);
        shared.becomes("sv_idle", 2).await;
    });
}

/// What they have left is answered one by one, and then the server is anybody's.
#[test]
fn what_those_leave_who_go_on_may_take_its_time() {
    run(async {
        let (mut shared, mut other) = Box::pin(start()).await;
        let mut clients = shared.clients(4).await;
        let (head, others) = clients.split_first_mut().expect("four");
        shared.learn(head, || nap(0.0)).await;
        shared.hold().await;
        shared.queue(head, nap(0.9)).await;
        for other in &mut *others {
            shared.queue(other, nap(0.3)).await;
        }
        shared.let_go().await;
        // Two of them were behind it.
        shared.becomes("cl_waiting", 3).await;
        assert_eq!(other.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        for client in &mut clients {
            assert!(client.answer().await.contains(&"D(,mine)".to_owned()));
        }
        shared.becomes("sv_idle", 2).await;
    });
}

/// The server is lost in the middle of what nobody waits for: nobody notices.
#[test]
fn a_server_that_answers_those_who_have_left_may_be_lost() {
    run(async {
        let (mut shared, mut other) = Box::pin(start()).await;
        let mut clients = shared.clients(3).await;
        let lock = lock_out(&mut shared, &mut clients).await;
        shared.becomes("cl_waiting", 2).await;
        assert_eq!(other.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        all_have_their_own(&mut clients[1..]).await;
        let query = "select pg_terminate_backend(pid) from pg_stat_activity \
            where wait_event_type = 'Lock'";
        lock.batch_execute(query).await.expect("it is over");
        let told = clients[0].answer().await;
        assert!(["E(ERROR 57P01)", "E(ERROR 08006)"].contains(&told[0].as_str()), "{told:?}");
        lock.batch_execute("commit").await.expect("it is over");
        for client in &mut clients {
            assert_eq!(client.value("select 'well'").await, "well");
        }
        shared.becomes("cl_waiting", 0).await;
    });
}
