//! What operators do while clients listen: PAUSE, RECONNECT, KILL, DISABLE, a reload, a shutdown, a takeover.

use std::time::Duration;

use rustix::process::Signal;

use super::takeover::end_of;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, throughout};
use crate::harness::wire::Client;

/// How those find the listener connection who look at Postgres.
const LISTENER: &str = "application_name = 'pgweir listener'";

const WARNING: &str = "N(notifications may have been lost)";

async fn rig() -> Rig {
    Rig::start(with_console(Settings::new().pool_size(2))).await
}

async fn listener_of(rig: &Rig, channel: &str) -> Client {
    let mut client = rig.client().await;
    let answer = client.query(&format!("listen {channel}")).await;
    assert_eq!(answer, ["C(LISTEN)", "Z(I)"]);
    client
}

/// The next message, which nobody has asked for.
async fn next(client: &mut Client) -> String {
    client.wire.frame().await.shown()
}

/// The guarantee: once it was warned, it misses nothing.
async fn is_warned_and_hears(rig: &Rig, client: &mut Client, payload: &str) {
    assert_eq!(next(client).await, WARNING);
    rig.postgres.sql(&format!("notify news, '{payload}'")).await;
    assert_eq!(next(client).await, format!("A(news,{payload})"));
}

/// This is how Postgres is restarted, and replaced by a newer one.
#[test]
fn a_pause_closes_the_connection_and_a_resume_opens_it_again() {
    run(async {
        let mut rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut console = Console::open(&rig).await;
        for payload in ["1", "2"] {
            console.order("PAUSE app").await;
            rig.postgres.wait_for_servers("datname = 'app'", 0).await;
            rig.postgres.sql("notify news, 'unheard'").await;
            rig.postgres.shut_down();
            rig.postgres.resume().await;
            let short = Duration::from_millis(300);
            let is_closed = async || rig.postgres.servers(LISTENER).await == 0;
            throughout(short, "nothing is opened while it is paused", is_closed).await;
            console.order("RESUME app").await;
            is_warned_and_hears(&rig, &mut client, payload).await;
        }
        // Nothing was lost: it was said what would happen.
        assert!(!rig.proxy.process().log().contains("listener connection lost"));
    });
}

#[test]
fn a_pause_waits_for_transactions_that_listen() {
    run(async {
        let rig = rig().await;
        let mut other = listener_of(&rig, "news").await;
        let mut client = rig.client().await;
        client.query("begin").await;
        let mut console = Console::open(&rig).await;
        console.begin("PAUSE").await;
        let mut watcher = Console::open(&rig).await;
        eventually("it pauses", async || {
            let pools = watcher.rows("SHOW DATABASES").await;
            pools.iter().any(|row| row["paused"] == "1").then_some(())
        })
        .await;
        // While a transaction is open all works as ever.
        assert_eq!(client.query("listen news").await, ["C(LISTEN)", "Z(T)"]);
        client.query("notify news, 'own'").await;
        assert_eq!(client.query("commit").await, ["C(COMMIT)", "A(news,own)", "Z(I)"]);
        console.answered().await;
        assert_eq!(next(&mut other).await, "A(news,own)");
        rig.postgres.wait_for_servers("datname = 'app'", 0).await;
        watcher.order("RESUME").await;
        is_warned_and_hears(&rig, &mut client, "again").await;
        assert_eq!([next(&mut other).await, next(&mut other).await], [WARNING, "A(news,again)"]);
    });
}

#[test]
fn a_reconnect_replaces_the_connection() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut console = Console::open(&rig).await;
        let pid = format!("select pid from pg_stat_activity where {LISTENER}");
        let before = rig.postgres.value(&pid).await;
        console.order("RECONNECT app").await;
        console.order("WAIT_CLOSE app").await;
        is_warned_and_hears(&rig, &mut client, "new").await;
        assert_ne!(rig.postgres.value(&pid).await, before);
    });
}

#[test]
fn a_kill_leaves_no_connection() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut console = Console::open(&rig).await;
        console.order("KILL app").await;
        assert_eq!(client.wire.until_closed().await.last().expect("a reason").tag, b'E');
        rig.postgres.wait_for_servers(LISTENER, 0).await;
        console.order("RESUME app").await;
        let mut client = listener_of(&rig, "news").await;
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut client).await, "A(news,hello)");
    });
}

#[test]
fn who_listens_to_a_disabled_database_goes_on() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut console = Console::open(&rig).await;
        console.order("DISABLE app").await;
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut client).await, "A(news,hello)");
        assert_eq!(client.query("listen more").await, ["C(LISTEN)", "Z(I)"]);
    });
}

#[test]
fn who_is_suspended_hears_it_afterwards() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut console = Console::open(&rig).await;
        console.order("SUSPEND").await;
        rig.postgres.sql("notify news, 'meanwhile'").await;
        console.order("RESUME").await;
        assert_eq!(next(&mut client).await, "A(news,meanwhile)");
    });
}

#[test]
fn a_database_that_is_configured_no_more_is_listened_to_no_more() {
    run(async {
        let rig = rig().await;
        let mut console = Console::open(&rig).await;
        let second = Login::to(rig.address()).database("second");
        let mut gone = second.connect().await;
        gone.query("listen news").await;
        let mut stays = listener_of(&rig, "news").await;
        assert_eq!(rig.postgres.servers(LISTENER).await, 2);
        let text = rig.proxy.written();
        let (before, after) = text.split_once("[databases.second]").expect("it is there");
        let rest = after.split_once("\n[").map_or("", |(_, rest)| rest);
        rig.proxy.rewrite(&format!("{before}\n[{rest}"));
        console.order("RELOAD").await;
        let last = gone.wire.until_closed().await;
        assert_eq!(last.last().expect("it is told").shown(), "E(FATAL 57P01)");
        rig.postgres.wait_for_servers(LISTENER, 1).await;
        rig.postgres.sql("notify news, 'on'").await;
        assert_eq!(next(&mut stays).await, "A(news,on)");
    });
}

#[test]
fn a_shutdown_ends_who_listens_and_the_connection() {
    run(async {
        let mut rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        rig.proxy.process().signal(Signal::INT);
        let last = client.wire.until_closed().await;
        assert_eq!(last.first().expect("a reason").shown(), "E(FATAL 57P01)");
        assert!(eventually("the proxy has ended", async || rig.proxy.ended()).await.success());
        rig.postgres.wait_for_servers(LISTENER, 0).await;
    });
}

/// Nothing that is sent after the warning is lost, in whichever process.
#[test]
fn what_a_client_listens_to_moves_with_it() {
    run(async {
        let mut rig = rig().await;
        let mut clients = [listener_of(&rig, "news").await, listener_of(&rig, "news").await];
        clients[1].query("listen \"Own one\"").await;
        for payload in ["1", "2"] {
            let old = rig.proxy.replace();
            for client in &mut clients {
                assert_eq!(next(client).await, WARNING);
            }
            rig.postgres.sql(&format!("notify news, '{payload}'")).await;
            rig.postgres.sql(&format!("notify \"Own one\", '{payload}'")).await;
            for client in &mut clients {
                assert_eq!(next(client).await, format!("A(news,{payload})"));
            }
            assert_eq!(next(&mut clients[1]).await, format!("A(Own one,{payload})"));
            end_of(old).await;
            assert_eq!(rig.postgres.servers(LISTENER).await, 1);
        }
        // It can stop what it began in another process.
        clients[0].query("unlisten news").await;
        let answer = clients[0].ask(Batch::new().query("notify news, 'more'")).await;
        assert_eq!(answer, ["C(NOTIFY)", "Z(I)"]);
    });
}
