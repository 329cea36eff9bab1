//! What a client is told when there is too much to do: that it waits and for what, or that it will not
//! be served.

use std::time::Duration;

use crate::harness::console::{Console, with_console};
use crate::harness::frames::{Batch, Frame, shown};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

const SHORT: Duration = Duration::from_millis(300);

fn one_server() -> Settings {
    with_console(Settings::new().pool_size(1))
}

/// Two clients, of which the first holds the only server.
async fn holder_and_other(rig: &Rig) -> (Client, Client) {
    let (mut holder, other) = (rig.client().await, rig.client().await);
    holder.query("begin").await;
    (holder, other)
}

fn assert_shed(error: &Frame) {
    assert_eq!(error.shown(), "E(ERROR 57014)");
    assert_eq!(error.field(b'R').as_deref(), Some("pooler_shed"));
    let detail = error.field(b'D').unwrap_or_default();
    assert!(detail.contains("may wait at most 50 ms (shed)"), "{detail}");
    assert!(detail.ends_with("; 1 request waits"), "{detail}");
    let hint = error.field(b'H').unwrap_or_default();
    assert_eq!(hint, "Retry with backoff; the session stays usable.");
}

#[test]
fn a_request_that_waits_for_too_long_is_shed_and_the_session_goes_on() {
    run(async {
        let rig = Rig::start(one_server().overload("shed", "50ms")).await;
        let mut console = Console::open(&rig).await;
        let (mut holder, mut other) = holder_and_other(&rig).await;
        assert_shed(&other.error("select 1").await);
        assert_shed(&other.error("select 2").await);
        assert_eq!(console.number("app/app", "refused").await, 2);
        assert_eq!(console.number("app/app", "shedding").await, 1);
        holder.query("commit").await;
        assert_eq!(other.value("select 3").await, "3");
        console.wait_for("app/app", "shedding", 0).await;
    });
}

#[test]
fn of_a_pipeline_that_is_shed_each_sync_gets_one_error() {
    run(async {
        let rig = Rig::start(one_server().overload("shed", "50ms")).await;
        let (mut holder, mut other) = holder_and_other(&rig).await;
        let first = Batch::new().parse("", "create table never ()").bind("", &[]).execute();
        let first = first.parse("", "create table never2 ()").bind("", &[]).execute().sync();
        let second = first.statement("select 2", &[]).query("select 3");
        other.send(second).await;
        for _ in 0..3 {
            assert_eq!(other.answer().await, ["E(ERROR 57014)", "Z(I)"]);
        }
        holder.query("commit").await;
        let left = "select to_regclass('never') is null and to_regclass('never2') is null";
        assert_eq!(other.value(left).await, "t");
        let answer = other.ask(Batch::new().statement("select 4", &[])).await;
        assert_eq!(answer, ["1", "2", "D(4)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn nothing_is_shed_while_nobody_gives_up() {
    run(async {
        let rig = Rig::start(one_server()).await;
        let (mut holder, mut other) = holder_and_other(&rig).await;
        let mut more = [rig.client().await, rig.client().await, rig.client().await];
        for client in &mut more {
            client.send(Batch::new().query("select 'patient'")).await;
        }
        other.send(Batch::new().query("select 'patient'")).await;
        let mut console = Console::open(&rig).await;
        console.wait_for("app/app", "queued", 4).await;
        holder.query("select pg_sleep(1)").await;
        holder.query("commit").await;
        for client in more.iter_mut().chain([&mut other]) {
            assert_eq!(client.answer().await[1], "D(patient)");
        }
        assert_eq!(console.number("app/app", "refused").await, 0);
    });
}

#[test]
fn who_waits_is_told_for_what() {
    run(async {
        let settings = one_server().set("query_wait_notify", SHORT);
        let limits = "match = { application_name = 'batch' }\nmax_in_flight = 1";
        let rig = Rig::start(settings.class("batch", limits)).await;
        let (mut holder, mut waiter) = holder_and_other(&rig).await;
        waiter.send(Batch::new().query("select 'served'")).await;
        let notice = waiter.wire.frame().await;
        assert_eq!(
            notice.shown(),
            "N(No server connection available in postgres backend, client being queued)"
        );
        let detail = notice.field(b'D').unwrap_or_default();
        assert_eq!(detail, "It waits for a server: all of the pool are in use (pool_size).");
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[1], "D(served)", "and told once only");
        let login = crate::harness::login::Login::to(rig.address());
        let login = login.with("application_name", "batch");
        let (mut holder, mut waiter) = (login.connect().await, login.connect().await);
        holder.query("begin").await;
        waiter.send(Batch::new().statement("select 'served'", &[])).await;
        let notice = waiter.wire.frame().await;
        let detail = notice.field(b'D').unwrap_or_default();
        assert_eq!(
            detail,
            "It waits for another of its class, which holds 1 server (max_in_flight)."
        );
        holder.query("commit").await;
        assert_eq!(waiter.answer().await[2], "D(served)");
    });
}

#[test]
fn who_has_waited_too_long_is_told_what_the_servers_do() {
    run(async {
        let settings = with_console(Settings::new().pool_size(3)).set("listen", "pin");
        let rig = Rig::start(settings.set("query_wait_timeout", SHORT)).await;
        let login = crate::harness::login::Login::to(rig.address());
        let mut billing = login.with("application_name", "billing").connect().await;
        let (mut sleeper, mut listener) = (rig.client().await, rig.client().await);
        let mut waiter = rig.client().await;
        billing.query("begin").await;
        listener.query("listen news").await;
        sleeper.send(Batch::new().query("select pg_sleep(10)")).await;
        Console::open(&rig).await.wait_for("app/app", "in_flight", 3).await;
        let error = waiter.error("select 1").await;
        assert_eq!(error.field(b'R').as_deref(), Some("pooler_queue_timeout"));
        let detail = error.field(b'D').unwrap_or_default();
        let start = "3/3 servers busy: 1 active, 1 idle in transaction (for ";
        assert!(detail.contains(start), "{detail}");
        let end = ", application_name billing), 1 kept idle; 0 connecting, 1 client waiting";
        assert!(detail.ends_with(end), "{detail}");
    });
}

/// The only message before the connection closes.
async fn fatal(client: &mut Client) -> Frame {
    let mut frames = client.wire.until_closed().await;
    assert_eq!(shown(&frames), ["E(FATAL 08P01)"]);
    frames.remove(0)
}

#[test]
fn overload_may_be_told_as_pgbouncer_does() {
    run(async {
        let compatible = || one_server().overload("error_compat", "pgbouncer");
        for (settings, routine) in [
            (compatible().set("query_wait_timeout", SHORT), "pooler_queue_timeout"),
            (compatible().overload("shed", "50ms"), "pooler_shed"),
            (
                compatible().class(
                    "all",
                    "match = {}\ntransactions_per_second = 0.01\nburst = 1\non_excess = 'reject'",
                ),
                "pooler_rate_limit",
            ),
        ] {
            let rig = Rig::start(settings).await;
            let (mut holder, mut other) = holder_and_other(&rig).await;
            other.send(Batch::new().query("select 1")).await;
            let error = fatal(&mut other).await;
            assert_eq!(error.message(), "query_wait_timeout", "{routine}");
            assert_eq!(error.field(b'R').as_deref(), Some(routine));
            assert_eq!(error.field(b'D'), None);
            assert_eq!(holder.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        }
    });
}

#[test]
fn a_server_that_is_down_may_be_told_as_pgbouncer_does() {
    run(async {
        let settings = one_server().overload("error_compat", "pgbouncer");
        let mut rig = Rig::start(settings.set("server_down_hold", SHORT)).await;
        let mut client = rig.client().await;
        assert_eq!(client.value("select 1").await, "1");
        rig.postgres.crash();
        client.send(Batch::new().query("select 2")).await;
        let message = fatal(&mut client).await.message();
        assert!(message.starts_with("server login has been failing, cached error: "), "{message}");
        assert!(message.ends_with(" (server_login_retry)"), "{message}");
    });
}
