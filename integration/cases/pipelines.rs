//! Transactions that a client sends at once, without waiting for answers: each is charged, queued and refused as
//! one that was sent alone; and who is alone keeps its server from the first to the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::pulse::measure;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, eventually, run};
use crate::harness::wire::Client;

/// Clients that say they are `batch` are a class of their own, with these limits.
async fn rig_with(settings: Settings, limits: &str) -> Rig {
    let class = format!("match = {{ application_name = 'batch' }}\n{limits}");
    Rig::start(with_console(settings).class("batch", &class)).await
}

fn of_class(rig: &Rig, class: &str) -> Login {
    Login::to(rig.address()).with("application_name", class)
}

async fn batch(rig: &Rig) -> Client {
    of_class(rig, "batch").connect().await
}

/// So many that none comes back within a test.
fn at_most(transactions: u32) -> String {
    format!("transactions_per_second = 0.001\nburst = {transactions}\non_excess = 'reject'")
}

const REFUSED: [&str; 2] = ["E(ERROR 57014)", "Z(I)"];

#[test]
fn each_transaction_of_one_write_counts_and_is_refused_by_itself() {
    run(async {
        let rig = rig_with(Settings::new(), &at_most(1)).await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).await;
        let sql = |number: u32| format!("select {number}");
        let all = (0..500).fold(Batch::new(), |batch, number| match number % 2 {
            0 => batch.query(&sql(number)),
            _ => batch.statement(&sql(number), &[]),
        });
        client.send(all).await;
        assert_eq!(client.answer().await[1], "D(0)");
        for number in 1..500 {
            assert_eq!(client.answer().await, REFUSED, "{number}");
        }
        assert_eq!(console.number("batch", "granted").await, 1);
        assert_eq!(console.number("batch", "refused_rate").await, 499);
        assert_eq!(client.ask(Batch::new().sync()).await, ["Z(I)"]);
    });
}

#[test]
fn a_quota_that_is_set_later_holds_for_a_pipeline_that_never_ends() {
    run(async {
        let rig = rig_with(Settings::new(), "").await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).await;
        // While one is answered, another is under way.
        let sql = "select pg_sleep(0.1)";
        client.send(Batch::new().query(sql).query(sql)).await;
        let limits = "transactions_per_second = 0.001, burst = 1, on_excess = 'reject'";
        console.order(&format!("SET CLASS batch {limits}")).await;
        let mut answered = 0;
        eventually("it is refused", async || {
            client.send(Batch::new().query(sql)).await;
            let is_refused = client.answer().await == REFUSED;
            answered += u32::from(!is_refused);
            is_refused.then_some(())
        })
        .await;
        assert!(answered <= 4, "{answered}");
    });
}

#[test]
fn a_rate_delays_each_transaction_of_one_write() {
    run(async {
        let rig = rig_with(Settings::new(), "transactions_per_second = 50\nburst = 10").await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).await;
        let timing = Timing::start();
        client.send((0..60).fold(Batch::new(), |batch, _| batch.statement("select 1", &[]))).await;
        for _ in 0..60 {
            assert_eq!(client.answer().await[2], "D(1)");
        }
        // The first ten at once, fifty more in a second.
        timing.is_within(Duration::from_millis(980)..Duration::from_secs(3));
        assert_eq!(console.number("batch", "granted").await, 60);
    });
}

#[test]
fn server_time_is_rationed_within_one_write() {
    run(async {
        let rig = rig_with(Settings::new(), "server_seconds_per_second = 0.5").await;
        let mut client = batch(&rig).await;
        let timing = Timing::start();
        let sql = "select pg_sleep(0.15)";
        client.send((0..10).fold(Batch::new(), |batch, _| batch.query(sql))).await;
        for _ in 0..10 {
            client.answer().await;
        }
        // What is left and what each second brings: half a second. The last begins when that is more than the
        // nine before it took, which is after 1.7 s.
        timing.is_within(Duration::from_millis(1_800)..Duration::from_millis(4_500));
    });
}

/// However it ends, and whatever is sent behind the end.
#[test]
fn a_transaction_of_several_requests_counts_once() {
    run(async {
        let prepared = Batch::new().parse("end it", "rollback").sync();
        let bound = |batch: Batch| batch.bind("end it", &[]).execute().sync();
        let ends: [fn(Batch) -> Batch; 4] = [
            |batch| batch.query("commit"),
            |batch| batch.query("/* no more */ Rollback"),
            |batch| batch.statement("end", &[]),
            |batch| batch.query("select 1; abort"),
        ];
        let count = u32::try_from(ends.len() + 1).expect("few");
        let rig = rig_with(Settings::new(), &at_most(count + 1)).await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).await;
        client.ask(prepared).await;
        let begun =
            |batch: Batch| batch.query("begin").query("select 1").statement("select 2", &[]);
        let all = ends.iter().fold(bound(begun(Batch::new())), |batch, end| end(begun(batch)));
        client.send(all.query("select 3").statement("select 4", &[])).await;
        for number in 0..4 * count {
            let answer = client.answer().await;
            let status = if number % 4 == 3 { "Z(I)" } else { "Z(T)" };
            assert_eq!(answer.last().expect("an answer"), status, "{number}: {answer:?}");
            assert!(!answer.iter().any(|frame| frame.starts_with("E(")), "{number}: {answer:?}");
        }
        for _ in 0..2 {
            assert_eq!(client.answer().await, REFUSED);
        }
        // To prepare took one.
        assert_eq!(console.number("batch", "granted").await, u64::from(count) + 1);
    });
}

#[test]
fn who_is_alone_keeps_its_server_for_all_of_one_write() {
    run(async {
        let rig = rig_with(Settings::new().pool_size(1), "max_in_flight = 1").await;
        let mut console = Console::open(&rig).await;
        let mut client = batch(&rig).await;
        let first = Batch::new().query("select pg_sleep(0.1)");
        let all = (0..200).fold(first, |batch, _| batch.statement("select 1", &[]));
        client.send(all).await;
        for _ in 0..201 {
            assert_eq!(client.answer().await.last().expect("an answer"), "Z(I)");
        }
        assert_eq!(console.number("batch", "granted").await, 1);
    });
}

/// A client that always has so many of these under way. Answers with how many were answered so far.
async fn flood(login: Login, sql: &'static str, under_way: u32) -> Arc<AtomicU64> {
    let mut client = login.connect().await;
    let answered = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&answered);
    client.send((0..under_way).fold(Batch::new(), |batch, _| batch.query(sql))).await;
    tokio::spawn(async move {
        loop {
            client.answer().await;
            count.fetch_add(1, Ordering::Relaxed);
            client.send(Batch::new().query(sql)).await;
        }
    });
    answered
}

#[test]
fn a_pipeline_gives_way_to_who_has_a_server_reserved() {
    run(async {
        let critical =
            "match = { application_name = 'critical' }\npriority = 'critical'\nreserved = 1";
        let settings = Settings::new().pool_size(1).class("critical", critical);
        let rig = rig_with(settings, "priority = 'sheddable'").await;
        let answered = flood(of_class(&rig, "batch"), "select pg_sleep(0.01)", 20).await;
        let mut client = of_class(&rig, "critical").connect().await;
        for _ in 0..3 {
            let before = answered.load(Ordering::Relaxed);
            eventually("it goes on", async || {
                (answered.load(Ordering::Relaxed) > before + 20).then_some(())
            })
            .await;
            let before = answered.load(Ordering::Relaxed);
            assert_eq!(client.value("select 'served'").await, "served");
            let meanwhile = answered.load(Ordering::Relaxed) - before;
            // Those that were sent before; the others wait behind it.
            assert!(meanwhile <= 25, "{meanwhile}");
        }
    });
}

#[test]
fn two_that_pipeline_have_the_same_server_time() {
    measure(async || {
        let other = "match = { application_name = 'other' }";
        let settings = Settings::new().pool_size(1).class("other", other);
        let rig = rig_with(settings, "").await;
        let mut console = Console::open(&rig).await;
        flood(of_class(&rig, "batch"), "select pg_sleep(0.005)", 20).await;
        flood(of_class(&rig, "other"), "select pg_sleep(0.02)", 20).await;
        let mut seconds = async || {
            let mut of = [0.0, 0.0];
            for (class, seconds) in ["batch", "other"].into_iter().zip(&mut of) {
                let told = console.text(class, "server_seconds").await.expect("a class");
                *seconds = told.parse::<f64>().expect("seconds");
            }
            of
        };
        // One was alone for a while.
        let before = eventually("both are served", async || {
            let of = seconds().await;
            (of[1] > 0.2).then_some(of)
        })
        .await;
        let had = eventually("they have had four seconds", async || {
            let of = seconds().await;
            let had = [of[0] - before[0], of[1] - before[1]];
            (had[0] + had[1] > 4.0).then_some(had)
        })
        .await;
        let ratio = had[0] / had[1];
        assert!((0.8..=1.25).contains(&ratio), "{had:?}");
    });
}

/// What belongs to a copy goes with it.
#[test]
fn copies_and_what_is_behind_them_are_done_in_order() {
    run(async {
        let rig = rig_with(Settings::new().pool_size(1), &at_most(8)).await;
        let mut console = Console::open(&rig).await;
        rig.client().await.query("create table t (n int)").await;
        let mut client = batch(&rig).await;
        let copy = "copy t from stdin";
        let count = "select count(*) from t";
        let data = |batch: Batch| batch.copy_data(b"1\n").copy_data(b"2\n");
        let all = data(Batch::new().query(copy)).copy_done().query(count);
        let all = data(all.parse("", copy).bind("", &[]).execute()).copy_done().sync().query(count);
        let all = data(all.query(copy)).copy_fail("no").query(count);
        let all = data(all.query("copy nowhere from stdin")).copy_done().statement(count, &[]);
        client.send(all.query(count)).await;
        assert_eq!(client.answer().await.last().expect("an answer"), "Z(I)");
        assert_eq!(client.answer().await[1], "D(2)");
        assert_eq!(client.answer().await.last().expect("an answer"), "Z(I)");
        assert_eq!(client.answer().await[1], "D(4)");
        let failed = client.answer().await;
        assert_eq!(failed[failed.len() - 2..], ["E(ERROR 57014)", "Z(I)"]);
        assert_eq!(client.answer().await[1], "D(4)");
        assert_eq!(client.answer().await, ["E(ERROR 42P01)", "Z(I)"]);
        assert_eq!(client.answer().await[2], "D(4)");
        assert_eq!(client.answer().await, REFUSED);
        assert_eq!(console.number("batch", "granted").await, 8);
    });
}

/// As before: they wait once, and are counted once.
#[test]
fn who_keeps_its_server_keeps_it_for_all_of_one_write() {
    run(async {
        for (mode, first) in [("transaction", "prepare p as select 1"), ("session", "select 1")] {
            let rig = rig_with(Settings::new().pool_mode(mode), &at_most(1)).await;
            let mut client = batch(&rig).await;
            let all = (0..20).fold(Batch::new().query(first), |batch, _| batch.query("select 1"));
            client.send(all).await;
            for number in 0..21 {
                let answer = client.answer().await;
                assert_ne!(answer, REFUSED, "{mode}: {number}");
            }
        }
    });
}

/// Postgres does what it has read before the goodbye, though nobody takes the answers.
#[test]
fn what_is_sent_before_a_goodbye_is_done_one_by_one_as_well() {
    run(async {
        let rig = rig_with(Settings::new().pool_size(1), &at_most(100)).await;
        let mut console = Console::open(&rig).await;
        rig.client().await.query("create table numbers (n int)").await;
        let mut holder = rig.client().await;
        holder.query("begin; select 1").await;
        let mut leaver = batch(&rig).await;
        let insert = "insert into numbers select 1 from pg_sleep(0.01)";
        let all = (0..20).fold(Batch::new(), |batch, _| batch.query(insert));
        leaver.send(all.terminate()).await;
        console.wait_for("batch", "queued", 1).await;
        drop(leaver);
        holder.query("commit").await;
        eventually("every row is there", async || {
            (rig.postgres.value("select count(*) from numbers").await == "20").then_some(())
        })
        .await;
    });
}
