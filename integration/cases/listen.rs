//! LISTEN while clients share servers: what a client hears, when, and what it costs others.

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::Client;

/// How those find the listener connection who look at Postgres.
const LISTENER: &str = "application_name = 'pgweir listener'";

async fn rig() -> Rig {
    Rig::start(Settings::new().pool_size(1)).await
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

/// The next notification, whatever comes before it.
async fn next_notification(client: &mut Client) -> String {
    client.wire.until(b'A').await.last().expect("it ends with one").shown()
}

/// Torture: `LISTEN` in transaction mode, `NOTIFY` from outside while idle.
#[test]
fn an_idle_listener_is_notified_at_once_and_keeps_no_server() {
    run(async {
        let rig = rig().await;
        let mut listener = listener_of(&rig, "news").await;
        // The only server is free.
        assert_eq!(rig.client().await.value("select 'free'").await, "free");
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut listener).await, "A(news,hello)");
        assert_eq!(listener.value("select 1").await, "1");
        rig.postgres.sql("select pg_notify('news', 'again')").await;
        assert_eq!(next(&mut listener).await, "A(news,again)");
    });
}

/// Torture: the same in session mode, where nobody is in between.
#[test]
fn a_listener_in_session_mode_has_its_own_server() {
    run(async {
        let rig = Rig::start(Settings::new().pool_mode("session")).await;
        let mut listener = listener_of(&rig, "news").await;
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut listener).await, "A(news,hello)");
        rig.postgres.wait_for_servers(LISTENER, 0).await;
        assert_eq!(listener.query("unlisten news").await, ["C(UNLISTEN)", "Z(I)"]);
    });
}

#[test]
fn what_is_rolled_back_is_not_listened_to() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.query("begin; listen lost").await;
        client.query("rollback").await;
        assert_eq!(client.query("begin; listen failed; select 1/0").await.last().unwrap(), "Z(E)");
        client.query("commit").await;
        client.query("begin; savepoint a; listen undone; rollback to a; listen kept; commit").await;
        for channel in ["lost", "failed", "undone", "kept"] {
            rig.postgres.sql(&format!("notify {channel}")).await;
        }
        assert_eq!(next(&mut client).await, "A(kept)");
        assert_eq!(client.query("select 1").await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
    });
}

/// As Postgres does it: what is sent before the `LISTEN` commits is not for the client.
#[test]
fn what_was_sent_before_the_commit_is_not_heard() {
    run(async {
        let rig = rig().await;
        // Somebody else listens already, so the connection hears it.
        let mut other = listener_of(&rig, "news").await;
        let mut client = rig.client().await;
        for round in 0..20 {
            rig.postgres.sql("notify news, 'before'").await;
            client.query("begin; listen news").await;
            rig.postgres.sql("notify news, 'within'").await;
            client.query("commit").await;
            rig.postgres.sql("notify news, 'after'").await;
            assert_eq!(next(&mut client).await, "A(news,after)", "round {round}");
            assert_eq!(client.query("unlisten *").await, ["C(UNLISTEN)", "Z(I)"]);
            for heard in ["before", "within", "after"] {
                assert_eq!(next(&mut other).await, format!("A(news,{heard})"));
            }
        }
    });
}

#[test]
fn unlisten_and_discard_all_end_it() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "a").await;
        client.query("listen b; listen \"C d\"").await;
        for (sql, gone) in [("unlisten a", "a"), ("unlisten *", "b"), ("discard all", "e")] {
            client.query(sql).await;
            rig.postgres.sql(&format!("notify {gone}")).await;
            client.query("listen e").await;
            rig.postgres.sql("notify e, 'still'").await;
            assert_eq!(next(&mut client).await, "A(e,still)", "{sql}");
        }
        client.query("unlisten *").await;
        rig.postgres.wait_for_servers(LISTENER, 0).await;
    });
}

#[test]
fn nothing_comes_within_a_transaction_and_all_of_it_at_its_end() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        client.query("begin").await;
        rig.postgres.sql("notify news, '1'").await;
        rig.postgres.sql("notify news, '2'").await;
        assert_eq!(client.query("select 1").await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(T)"]);
        let answer = client.query("commit").await;
        assert_eq!(answer, ["C(COMMIT)", "A(news,1)", "A(news,2)", "Z(I)"]);
        client.query("begin").await;
        rig.postgres.sql("notify news, '3'").await;
        client.query("select 1/0").await;
        let answer = client.query("rollback").await;
        assert_eq!(answer, ["C(ROLLBACK)", "A(news,3)", "Z(I)"]);
    });
}

/// Clients that look for notifications by asking something find them: they come before the answer's end.
#[test]
fn what_was_sent_before_a_query_comes_with_its_answer() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        for number in 0..50 {
            let answer = client.query(&format!("notify news, '{number}'")).await;
            assert_eq!(answer, ["C(NOTIFY)", &format!("A(news,{number})"), "Z(I)"]);
        }
        let frames = client.ask_frames(Batch::new().query("select pg_notify('news', 'own')")).await;
        let own = frames.iter().find(|frame| frame.tag == b'A').expect("one's own comes, too");
        assert_eq!(own.body[..4], client.pid.to_be_bytes(), "as from the client itself");
    });
}

#[test]
fn the_extended_protocol_listens_as_well() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        let answer = client.ask(Batch::new().statement("listen news", &[])).await;
        assert_eq!(answer, ["1", "2", "C(LISTEN)", "Z(I)"]);
        // Prepared, and executed twice.
        client.ask(Batch::new().parse("ear", "listen more").sync()).await;
        client.ask(Batch::new().bind("ear", &[]).execute().sync()).await;
        client.ask(Batch::new().close_statement("ear").sync()).await;
        rig.postgres.sql("notify news").await;
        assert_eq!(next(&mut client).await, "A(news)");
        rig.postgres.sql("notify more").await;
        assert_eq!(next(&mut client).await, "A(more)");
        assert_eq!(rig.client().await.value("select 'free'").await, "free");
    });
}

#[test]
fn order_and_payload_are_kept_under_load_for_many_clients() {
    const CLIENTS: usize = 40;
    const SENT: usize = 2_000;
    run(async {
        let rig = Rig::start(Settings::new().pool_size(3)).await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let mut client = listener_of(&rig, "every").await;
            if number % 2 == 0 {
                client.query("listen even").await;
            }
            clients.push(client);
        }
        let sending = "select pg_notify(case n % 2 when 0 then 'even' else 'every' end, \
                       n || repeat('é', n % 100)) from generate_series(0, 199) g, \
                       lateral (select g + $1 * 200 as n) x";
        for batch in 0..SENT / 200 {
            rig.postgres.sql(&sending.replace("$1", &batch.to_string())).await;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            if number % 3 == 0 {
                // A busy one gets them between its answers.
                client.send(Batch::new().query("select 1")).await;
            }
            for n in (0..SENT).filter(|n| n % 2 == 1 || number % 2 == 0) {
                let channel = if n % 2 == 0 { "even" } else { "every" };
                let expected = format!("A({channel},{n}{})", "é".repeat(n % 100));
                assert_eq!(next_notification(client).await, expected, "client {number}");
            }
        }
        assert_eq!(rig.postgres.servers(LISTENER).await, 1);
    });
}

/// As many as an application has processes: one connection, and what is sent once comes to each.
#[test]
fn a_thousand_clients_listen_to_a_channel() {
    const CLIENTS: usize = 1_000;
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2).set("max_client_conn", 2_000)).await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(listener_of(&rig, "news").await);
        }
        for payload in ["1", "2", "3"] {
            rig.postgres.sql(&format!("notify news, '{payload}'")).await;
        }
        for client in &mut clients {
            for payload in ["1", "2", "3"] {
                assert_eq!(next(client).await, format!("A(news,{payload})"));
            }
        }
        assert_eq!(rig.postgres.servers("datname = 'app'").await, 3, "two of the pool, and it");
        drop(clients);
        rig.postgres.wait_for_servers(LISTENER, 0).await;
    });
}

#[test]
fn a_client_that_does_not_read_is_ended_and_delays_nobody() {
    run(async {
        let rig = Rig::start(Settings::new().set("notification_buffer", "64kB")).await;
        let mut slow = listener_of(&rig, "news").await;
        slow.query("begin").await;
        let mut quick = listener_of(&rig, "news").await;
        // Each may have a kilobyte.
        for number in 0..100 {
            rig.postgres
                .sql(&format!("select pg_notify('news', '{number}' || repeat('x', 1000))"))
                .await;
            let heard = next(&mut quick).await;
            assert!(heard.starts_with(&format!("A(news,{number}x")), "{heard}");
        }
        slow.send(Batch::new().query("commit")).await;
        let last = slow.wire.until_closed().await;
        let error = last.iter().find(|frame| frame.tag == b'E').expect("it is told why");
        assert_eq!((error.severity(), error.code()), ("FATAL".to_owned(), "53400".to_owned()));
        rig.postgres.sql("notify news, 'on'").await;
        assert_eq!(next(&mut quick).await, "A(news,on)");
    });
}

#[test]
fn a_lost_connection_is_opened_again_and_listeners_are_warned() {
    run(async {
        let rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let mut leaver = listener_of(&rig, "other").await;
        leaver.query("unlisten *").await;
        let kill =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where {LISTENER}");
        for round in 0..3 {
            rig.postgres.sql(&kill).await;
            assert_eq!(next(&mut client).await, "N(notifications may have been lost)");
            // It listens again before anything else that is asked of it is done.
            assert_eq!(client.query("listen more").await, ["C(LISTEN)", "Z(I)"]);
            rig.postgres.sql(&format!("notify news, '{round}'")).await;
            assert_eq!(next(&mut client).await, format!("A(news,{round})"));
        }
        assert_eq!(leaver.query("select 1").await.len(), 4, "who does not listen is not warned");
    });
}

/// Where there is no place for the listener connection, clients that listen keep their servers.
#[test]
fn without_a_place_for_it_a_listener_keeps_its_server() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1).host("max_connections", 1)).await;
        let mut client = listener_of(&rig, "news").await;
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut client).await, "A(news,hello)");
        rig.postgres.wait_for_servers(LISTENER, 0).await;
        assert_eq!(client.query("notify news, 'own'").await, ["C(NOTIFY)", "A(news,own)", "Z(I)"]);
        // The server is free when it listens no more.
        client.query("discard all").await;
        assert_eq!(rig.client().await.value("select 'free'").await, "free");
    });
}

#[test]
fn with_listen_pin_a_listener_keeps_its_server() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(2).set("listen", "pin")).await;
        let mut client = listener_of(&rig, "news").await;
        rig.postgres.sql("notify news, 'hello'").await;
        assert_eq!(next(&mut client).await, "A(news,hello)");
        rig.postgres.wait_for_servers(LISTENER, 0).await;
        rig.proxy.process().logs("client keeps its server").await;
    });
}

/// What a client has listened to meets nobody else on its server.
#[test]
fn a_server_listens_for_nobody_when_it_is_lent_again() {
    run(async {
        let rig = rig().await;
        let _listener = listener_of(&rig, "news").await;
        let mut other = rig.client().await;
        assert_eq!(other.value("select count(*) from pg_listening_channels()").await, "0");
        assert_eq!(other.query("notify news").await, ["C(NOTIFY)", "Z(I)"]);
    });
}

#[test]
fn the_console_shows_the_connection_that_listens() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let mut console = Console::open(&rig).await;
        let _listener = listener_of(&rig, "news").await;
        let servers = console.rows("SHOW SERVERS").await;
        let listening: Vec<_> = servers.iter().filter(|row| row["state"] == "listening").collect();
        let sql = format!("select pid from pg_stat_activity where {LISTENER}");
        let pid = rig.postgres.value(&sql).await;
        assert_eq!(listening.len(), 1);
        assert_eq!(listening[0]["remote_pid"], pid);
        assert_eq!(
            console.rows("SHOW SOCKETS").await.len(),
            console.rows("SHOW CLIENTS").await.len() + servers.len()
        );
    });
}

/// The listener connection is opened and closed with those who listen.
#[test]
fn the_connection_is_there_while_somebody_listens() {
    run(async {
        let rig = rig().await;
        assert_eq!(rig.postgres.servers(LISTENER).await, 0);
        for _ in 0..5 {
            let client = listener_of(&rig, "news").await;
            assert_eq!(rig.postgres.servers(LISTENER).await, 1);
            drop(client);
            rig.postgres.wait_for_servers(LISTENER, 0).await;
        }
    });
}

/// Direct and through the proxy, the same comes.
#[test]
fn scripts_are_answered_as_without_a_proxy() {
    run(async {
        let rig = rig().await;
        let direct = direct(&rig.postgres).await;
        let mut clients = [direct, rig.client().await];
        for sql in [
            "listen a; notify a, '1'; unlisten a",
            "begin; listen a; notify a, '2'; commit",
            "notify a, '3'; notify a, '3'; notify b",
            "begin; unlisten a; notify a, '4'; rollback; notify a, '5'",
            "begin; notify a, '6'; unlisten a; commit",
            "listen \"A b\"; notify \"A b\", 'quoted'",
            "listen LOUD; notify loud",
            "begin; savepoint s; listen c; rollback to s; notify c; commit",
            "discard all",
            "notify loud",
            "listen a",
            "notify a, ''",
            "notify a; select 1/0",
            "select pg_notify('a', 'x'), pg_notify('a', 'x'), pg_notify('a', 'y')",
            "listen",
            "listen 1",
        ] {
            let mut answers = Vec::new();
            for client in &mut clients {
                answers.push(client.query(sql).await);
            }
            assert_eq!(answers[1], answers[0], "{sql}");
        }
    });
}

/// In a database of its own: notifications go to those of the same one.
async fn direct(postgres: &Postgres) -> Client {
    Login::to(&postgres.address()).database("second").connect().await
}

#[test]
fn a_listener_moves_to_the_next_process() {
    run(async {
        let mut rig = rig().await;
        let mut client = listener_of(&rig, "news").await;
        let old = rig.proxy.replace();
        assert_eq!(next(&mut client).await, "N(notifications may have been lost)");
        eventually("the new process listens", async || {
            (rig.postgres.servers(LISTENER).await == 1).then_some(())
        })
        .await;
        assert_eq!(client.query("select 1").await.len(), 4);
        rig.postgres.sql("notify news, 'moved'").await;
        assert_eq!(next(&mut client).await, "A(news,moved)");
        drop(old);
    });
}
