//! What an operator sees of servers that are shared: in the console, and as metrics.

use super::known::ask_all;
use super::prepared::{forgetful, share_bound};
use super::{LOCKED, Shared, all_have_their_own, number, settings, stuck};
use crate::cases::http::metric;
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

/// A value of the pool's, with these labels besides.
async fn of_pool(http: &Port, name: &str, labels: &str) -> u64 {
    let name = format!("pgweir_pool_{name}{{database=\"app\",user=\"app\"{labels}}}");
    let value = metric(http, &name).await;
    format!("{value}").parse().expect("a count")
}

async fn depths(http: &Port) -> Vec<u64> {
    let mut depths = Vec::new();
    for depth in 2..=5 {
        let labels = format!(",depth=\"{depth}\"");
        depths.push(of_pool(http, "shared_depth_total", &labels).await);
    }
    depths
}

/// How many are aboard each server, as the console says.
async fn riders(shared: &mut Shared) -> Vec<String> {
    let rows = shared.console.rows("SHOW SERVERS").await;
    rows.into_iter().map(|mut row| row.remove("riders").expect("a column")).collect()
}

#[test]
fn who_is_aboard_is_shown_while_they_are() {
    run(async {
        let http = Port::take();
        let settings = settings().set("http_addr", http.address().as_str());
        let mut shared = Shared::start(settings).await;
        let mut clients = shared.clients(4).await;
        let lock = stuck(&mut shared, &mut clients).await;
        assert_eq!(riders(&mut shared).await, ["4"]);
        assert_eq!(shared.number("sv_shared").await, 1);
        assert_eq!(shared.number("cl_riding").await, 4);
        assert_eq!(of_pool(&http, "servers_shared", "").await, 1);
        assert_eq!(of_pool(&http, "clients_sharing", "").await, 4);
        assert_eq!(depths(&http).await, [1, 1, 1, 0]);
        shared.is_stalled().await;
        assert_eq!(of_pool(&http, "sharing_stalls_total", "").await, 1);
        assert_eq!(of_pool(&http, "shared_statements_total", "").await, 0);
        lock.batch_execute("commit").await.expect("it is over");
        clients[0].answer().await;
        all_have_their_own(&mut clients[1..]).await;
        eventually("nobody is aboard", async || (riders(&mut shared).await == ["0"]).then_some(()))
            .await;
        assert_eq!(shared.number("sv_shared").await, 0);
        assert_eq!(shared.number("cl_riding").await, 0);
        assert_eq!(shared.number("shared_count").await, 4);
        assert_eq!(of_pool(&http, "servers_shared", "").await, 0);
        assert_eq!(of_pool(&http, "clients_sharing", "").await, 0);
        assert_eq!(of_pool(&http, "shared_statements_total", "").await, 4);
        assert_eq!(of_pool(&http, "sharing_stalls_total", "").await, 1);
    });
}

const REASONS: [&str; 12] = [
    "barred", "function", "kind", "locks", "missed", "request", "session", "several", "slow",
    "unclear", "unknown", "writes",
];

/// How many had to wait for a server of their own for this reason.
pub(super) async fn refused_for(http: &Port, reason: &str) -> u64 {
    of_pool(http, "sharing_refusals_total", &format!(",reason=\"{reason}\"")).await
}

/// Those of which there were more than none, and how many.
async fn refusals(http: &Port) -> Vec<(&'static str, u64)> {
    let mut refusals = Vec::new();
    for reason in REASONS {
        let count = refused_for(http, reason).await;
        refusals.extend((count > 0).then_some((reason, count)));
    }
    refusals
}

/// What was counted for one request that had to wait.
async fn refused(
    (shared, http): (&mut Shared, &Port),
    client: &mut Client,
    batch: Batch,
) -> Vec<(&'static str, u64)> {
    shared.hold().await;
    // Whoever holds it up may have had to wait itself, for a server that was on its way back.
    let before = refusals(http).await;
    shared.queue(client, batch).await;
    shared.let_go().await;
    client.answer().await;
    let count_before = |reason| before.iter().find(|it| it.0 == reason).map_or(0, |it| it.1);
    let after = refusals(http).await.into_iter();
    let more = after.map(|(reason, count)| (reason, count - count_before(reason)));
    more.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn who_has_to_wait_for_a_server_of_its_own_is_counted_by_the_reason() {
    run(async {
        let http = Port::take();
        let settings = settings().set("http_addr", http.address().as_str());
        let settings = settings.set("multiplex_except", ["ledger"]);
        let mut shared = Shared::start(settings).await;
        shared.rig.postgres.sql("grant all on t to public").await;
        let mut clients = shared.clients(4).await;
        let long = format!("select '{}'", "x".repeat(9_000));
        let two_rows = Batch::new().parse("", "select 1").bind("", &[]).execute_rows("", 2).sync();
        for (text, reason) in [
            ("select 1 as ledger", "barred"),
            ("select pg_sleep(0)", "function"),
            ("select (1::bigint).pg_sleep", "function"),
            ("lock table t", "kind"),
            ("select n from t for update", "locks"),
            (&long, "request"),
            ("select 1; select 2", "several"),
            ("select 'a\\'", "unclear"),
            ("select 'never seen before'", "unknown"),
            ("with x as (delete from t where false returning n) select n from x", "writes"),
        ] {
            let batch = Batch::new().query(text);
            let more = refused((&mut shared, &http), &mut clients[0], batch).await;
            assert_eq!(more, [(reason, 1)], "{text}");
        }
        let more = refused((&mut shared, &http), &mut clients[0], two_rows).await;
        assert_eq!(more, [("request", 1)]);
        clients[1].query("listen c").await;
        let more = refused((&mut shared, &http), &mut clients[1], number(0)).await;
        assert_eq!(more, [("session", 1)]);
        let wide = || Batch::new().query("select repeat('x', 300000)");
        shared.learn(&mut clients[0], wide).await;
        assert_eq!(ask_all(&mut shared, &mut clients[2..], wide).await, 2);
        let more = refused((&mut shared, &http), &mut clients[0], wide()).await;
        assert_eq!(more, [("slow", 1)]);
        // And nobody is counted who shares.
        shared.learn(&mut clients[0], || Batch::new().query(LOCKED)).await;
        shared.becomes("sv_idle", 1).await;
        let before = refusals(&http).await;
        let known = || Batch::new().query(LOCKED);
        assert_eq!(ask_all(&mut shared, &mut clients[2..], known).await, 2);
        assert_eq!(refusals(&http).await, before);
    });
}

/// Whether they share, and whether they send it while they wait or before.
#[test]
fn what_clients_send_is_counted_once() {
    run(async {
        let http = Port::take();
        let settings = settings().set("http_addr", http.address().as_str());
        let mut shared = Shared::start(settings).await;
        let mut clients = shared.clients(3).await;
        shared.learn(&mut clients[0], || number(0)).await;
        let sent = [3, 30].map(|n| Batch::new().query(&format!("select {n}, '{}'", "x".repeat(n))));
        let own = [Batch::new().query("begin"), Batch::new().query("commit")];
        let count = |batches: &[Batch]| batches.iter().map(|it| it.0.len() as u64).sum::<u64>();
        for sharing in [3, 0] {
            let clients = &mut clients[..sharing.max(1)];
            let (received, before) =
                (of_pool(&http, "received_bytes_total", "").await, shared.shared().await);
            shared.hold().await;
            for client in &mut *clients {
                shared.queue(client, sent[0].clone()).await;
                // It is read while the other waits.
                client.send(sent[1].clone()).await;
            }
            let expected = count(&own[..1]) + clients.len() as u64 * count(&sent);
            eventually("all is read", async || {
                let now = of_pool(&http, "received_bytes_total", "").await;
                (now - received == expected).then_some(())
            })
            .await;
            shared.let_go().await;
            for client in &mut *clients {
                client.answer().await;
                client.answer().await;
            }
            assert!(shared.shared().await - before >= sharing as u64);
            let now = of_pool(&http, "received_bytes_total", "").await;
            assert_eq!(now - received, expected + count(&own[1..]));
        }
    });
}

#[test]
fn who_is_sent_back_to_the_queue_is_counted_as_missed() {
    run(async {
        let http = Port::take();
        let text = |n: usize| format!("select *, $1::int as n{n} from t where n = $1");
        let settings = settings().set("http_addr", http.address().as_str());
        let (mut shared, mut clients) = Box::pin(forgetful(settings, 3, text)).await;
        assert_eq!(refused_for(&http, "missed").await, 0);
        share_bound(&mut shared, &mut clients, "alter table t add x int").await;
        for client in &mut clients {
            assert_eq!(client.answer().await, ["E(ERROR 0A000)", "Z(I)"]);
        }
        // The last one was prepared there: Postgres itself found that.
        let missed = refused_for(&http, "missed").await;
        assert!((2..=3).contains(&missed), "{missed}");
    });
}
