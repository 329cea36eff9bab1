//! What a class may have at once and in a second, and that it stops nobody else.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, eventually, run};
use crate::harness::wire::Client;

/// Clients that say they are `batch` are a class of their own, with these limits.
async fn rig_with(limits: &str) -> Rig {
    let class = format!("match = {{ application_name = 'batch' }}\n{limits}");
    Rig::start(with_console(Settings::new()).class("batch", &class)).await
}

fn batch(rig: &Rig) -> Login {
    Login::to(rig.address()).with("application_name", "batch")
}

/// How many run this at the same moment.
const COUNT: &str = "select /* batch */ count(*) from pg_stat_activity, pg_sleep(0.005) \
                     where state = 'active' and query like 'select /* batch */%'";

/// The most that ran at once, as seen from within, while twenty clients ask for more.
async fn most_at_once(login: &Login) -> u32 {
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let login = login.clone();
        tasks.spawn(async move {
            let mut client = login.connect().await;
            let mut most = 0;
            for _ in 0..10 {
                most = most.max(client.value(COUNT).await.parse().expect("a count"));
            }
            most
        });
    }
    tasks.join_all().await.into_iter().max().unwrap_or_default()
}

#[test]
fn a_class_never_has_more_servers_than_max_in_flight() {
    run(async {
        let rig = rig_with("max_in_flight = 2").await;
        assert_eq!(most_at_once(&batch(&rig)).await, 2);
        let mut console = Console::open(&rig).await;
        assert_eq!(console.number("batch", "max_in_flight").await, 2);
        assert_eq!(console.number("batch", "granted").await, 200);
        assert!(console.number("batch", "delayed").await > 100);
        console.wait_for("batch", "in_flight", 0).await;
    });
}

#[test]
fn an_address_never_has_more_servers_than_its_max_in_flight() {
    run(async {
        let rig = rig_with("per_address = { max_in_flight = 1 }").await;
        assert_eq!(most_at_once(&batch(&rig)).await, 1);
        let socket = Login::to(&rig.proxy.unix).with("application_name", "batch");
        let (one, other) = (batch(&rig), socket);
        let (mut one, mut other) = (one.connect().await, other.connect().await);
        one.query("begin").await;
        assert_eq!(other.value("select 'of another address'").await, "of another address");
    });
}

#[test]
fn a_class_at_its_quota_waits_beside_idle_servers_and_stops_nobody() {
    run(async {
        let rig = rig_with("max_in_flight = 1").await;
        let mut console = Console::open(&rig).await;
        let (mut holder, mut waiter) = (batch(&rig).connect().await, batch(&rig).connect().await);
        let mut others = [rig.client().await, rig.client().await];
        for other in &mut others {
            other.query("begin").await;
        }
        for other in &mut others {
            other.query("commit").await;
        }
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 'at last'")).await;
        console.wait_for("batch", "queued", 1).await;
        for other in &mut others {
            assert_eq!(other.value("select 1").await, "1");
        }
        assert_eq!(console.number("batch", "queued").await, 1, "it waits, though servers are idle");
        assert_eq!(console.number("app/app", "queued").await, 0);
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[1], "D(at last)");
    });
}

#[test]
fn a_line_that_is_full_refuses_the_next_and_its_session_goes_on() {
    run(async {
        let rig = rig_with("max_in_flight = 1\nmax_queued = 1").await;
        let mut console = Console::open(&rig).await;
        let login = batch(&rig);
        let (mut holder, mut waiter) = (login.connect().await, login.connect().await);
        let mut refused = login.connect().await;
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 'waited'")).await;
        console.wait_for("batch", "queued", 1).await;
        let error = refused.error("select 1").await;
        assert_eq!(error.shown(), "E(ERROR 57014)");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_full"));
        let detail = error.field(b'D').unwrap_or_default();
        assert_eq!(detail, "as many requests of its class wait as may: 1 (max_queued)");
        assert!(error.field(b'H').is_some());
        assert_eq!(console.number("batch", "refused").await, 1);
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[1], "D(waited)");
        assert_eq!(refused.value("select 2").await, "2");
    });
}

#[test]
fn a_host_has_so_many_that_wait() {
    run(async {
        let settings = with_console(Settings::new().pool_size(1)).overload("max_queued", 1);
        let rig = Rig::start(settings).await;
        let mut console = Console::open(&rig).await;
        let mut holder = rig.client().await;
        let (mut waiter, mut refused) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 'waited'")).await;
        console.wait_for("app/app", "queued", 1).await;
        let error = refused.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_full"));
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[1], "D(waited)");
    });
}

async fn transact(client: &mut Client, count: u32) {
    for _ in 0..count {
        assert_eq!(client.value("select 1").await, "1");
    }
}

#[test]
fn a_rate_delays_what_exceeds_it() {
    run(async {
        let rig = rig_with("transactions_per_second = 50\nburst = 10").await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).connect().await;
        let timing = Timing::start();
        transact(&mut client, 60).await;
        // The first ten at once, fifty more in a second.
        timing.is_within(Duration::from_millis(980)..Duration::from_secs(3));
        let delayed = console.number("batch", "delayed").await;
        assert!(delayed >= 30, "{delayed}");
        assert_eq!(console.number("batch", "refused").await, 0);
        let mut unlimited = rig.client().await;
        let timing = Timing::start();
        transact(&mut unlimited, 60).await;
        timing.is_below(Duration::from_millis(980));
    });
}

/// The first login of a pool asks a server what to tell the client: on nobody's account.
#[test]
fn a_login_costs_its_class_no_transaction() {
    run(async {
        let limits = "transactions_per_second = 0.001\nburst = 1\non_excess = 'reject'";
        let rig = rig_with(limits).await;
        let mut client = batch(&rig).connect().await;
        assert_eq!(client.query("select 1").await.len(), 4);
        assert_eq!(client.error("select 1").await.shown(), "E(ERROR 57014)");
    });
}

#[test]
fn a_rate_may_refuse_what_exceeds_it() {
    run(async {
        let limits = "transactions_per_second = 1\nburst = 3\non_excess = 'reject'";
        let rig = rig_with(limits).await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).connect().await;
        transact(&mut client, 3).await;
        let error = client.error("select 1").await;
        assert_eq!(error.shown(), "E(ERROR 57014)");
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_rate_limit"));
        let detail = error.field(b'D').unwrap_or_default();
        let told = detail.split(' ').find_map(|word| word.parse::<u64>().ok());
        assert!(told.is_some_and(|millis| millis <= 1_000), "{detail}");
        assert!(error.field(b'H').is_some());
        assert_eq!(console.number("batch", "refused").await, 1);
        let timing = Timing::start();
        eventually("it is let in again", async || {
            (client.query("select 1").await.len() == 4).then_some(())
        })
        .await;
        timing.is_below(Duration::from_secs(3));
    });
}

#[test]
fn server_time_is_rationed() {
    run(async {
        let rig = rig_with("server_seconds_per_second = 0.5").await;
        let mut client = batch(&rig).connect().await;
        let timing = Timing::start();
        for _ in 0..10 {
            client.query("select pg_sleep(0.15)").await;
        }
        // What is left and what each second brings: half a second. The last begins when that is more than the
        // nine before it took, which is after 1.7 s.
        timing.is_within(Duration::from_millis(1_800)..Duration::from_millis(4_500));
    });
}

/// Another address is not concerned, in each of these.
fn elsewhere(rig: &Rig) -> Login {
    Login::to(&rig.proxy.unix).with("application_name", "batch")
}

#[test]
fn an_address_has_so_many_that_wait() {
    run(async {
        let rig = rig_with("max_in_flight = 1\nper_address = { max_queued = 1 }").await;
        let mut console = Console::open(&rig).await;
        let login = batch(&rig);
        let (mut holder, mut waiter) = (login.connect().await, login.connect().await);
        let (mut refused, mut other) = (login.connect().await, elsewhere(&rig).connect().await);
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 'waited'")).await;
        console.wait_for("batch", "queued", 1).await;
        let error = refused.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_full"));
        other.send(Batch::new().query("select 'let in'")).await;
        console.wait_for("batch", "queued", 2).await;
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[1], "D(waited)");
        assert_eq!(other.answer().await[1], "D(let in)");
    });
}

#[test]
fn an_address_has_a_rate_of_its_own() {
    run(async {
        let rate = "transactions_per_second = 0.01, burst = 3, on_excess = 'reject'";
        let rig = rig_with(&format!("per_address = {{ {rate} }}")).await;
        let (mut one, mut two) = (batch(&rig).connect().await, batch(&rig).connect().await);
        transact(&mut one, 2).await;
        transact(&mut two, 1).await;
        let error = two.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_rate_limit"));
        transact(&mut elsewhere(&rig).connect().await, 3).await;
        // Whoever connects anew is of the same address still.
        drop((one, two));
        let error = batch(&rig).connect().await.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_rate_limit"));
    });
}

#[test]
fn server_time_is_rationed_for_an_address() {
    run(async {
        let rig = rig_with("per_address = { server_seconds_per_second = 0.1 }").await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).connect().await;
        // Six times what it may save.
        client.query("select pg_sleep(0.6)").await;
        client.send(Batch::new().query("select 'in the end'")).await;
        console.wait_for("batch", "queued", 1).await;
        transact(&mut elsewhere(&rig).connect().await, 5).await;
        assert_eq!(console.number("batch", "queued").await, 1, "it pays for five seconds");
        // It may have been told why it waits before.
        let answer = client.answer().await;
        assert!(answer.contains(&"D(in the end)".to_owned()), "{answer:?}");
    });
}
