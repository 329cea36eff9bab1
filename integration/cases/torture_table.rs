//! The torture table: what poolers were seen to get wrong, a row each. `OK` in it means what a direct
//! connection shows, so where there is one to ask, it is asked.

use std::time::Duration;

use crate::harness::Address;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::{
    Batch, Frame, GSSENC_REQUEST, SSL_REQUEST, startup_message, terminated,
};
use crate::harness::login::{Login, PROTOCOL_3_0, PROTOCOL_3_2};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, eventually, run};
use crate::harness::wire::{Client, Wire};

const PROTOCOL_3_5: u32 = 0x0003_0005;

async fn rig(servers: u32) -> Rig {
    Rig::start(Settings::new().pool_size(servers)).await
}

/// A client of the proxy, with a connection to Postgres itself that must be answered the same.
struct Both {
    direct: Client,
    through: Client,
}

impl Both {
    async fn connect(rig: &Rig) -> Self {
        let direct: &Address = &rig.postgres.address();
        Self { direct: Client::connect(direct).await, through: rig.client().await }
    }

    /// The answer up to `ReadyForQuery`, in short form, and the same from both.
    async fn ask(&mut self, batch: Batch) -> Vec<String> {
        self.send(batch).await;
        self.answer().await
    }

    async fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(Batch::new().query(sql)).await
    }

    async fn send(&mut self, batch: Batch) {
        self.direct.send(batch.clone()).await;
        self.through.send(batch).await;
    }

    async fn answer(&mut self) -> Vec<String> {
        let expected = self.direct.wire.until_ready().await;
        let got = self.through.wire.until_ready().await;
        assert_eq!(texts(&got), texts(&expected), "the texts of errors");
        let (got, expected): (Vec<_>, Vec<_>) =
            (got.iter().map(Frame::shown).collect(), expected.iter().map(Frame::shown).collect());
        assert_eq!(got, expected);
        got
    }
}

fn texts(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.tag == b'E').map(Frame::message).collect()
}

/// Parse, Bind and Execute by a name, without a Sync.
fn named(batch: Batch, name: &str, sql: &str) -> Batch {
    batch.parse(name, sql).bind(name, &[]).execute()
}

async fn unnamed_statements_stay_their_owners(servers: u32) {
    let rig = rig(servers).await;
    let (mut a, mut b) = (Both::connect(&rig).await, Both::connect(&rig).await);
    a.ask(Batch::new().parse("", "select 42").sync()).await;
    b.ask(Batch::new().parse("", "select 43").sync()).await;
    let run = || Batch::new().bind("", &[]).execute().sync();
    assert_eq!(a.ask(run()).await, ["2", "D(42)", "C(SELECT 1)", "Z(I)"]);
    assert_eq!(b.ask(run()).await, ["2", "D(43)", "C(SELECT 1)", "Z(I)"]);
}

#[test]
fn row_01_an_unnamed_statement_outlives_a_sync_and_stays_its_owners() {
    run(unnamed_statements_stay_their_owners(2));
}

#[test]
fn row_01_an_unnamed_statement_stays_its_owners_on_one_server() {
    run(unnamed_statements_stay_their_owners(1));
}

#[test]
fn row_02_a_name_that_is_taken_is_refused() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        client.ask(Batch::new().parse("n1", "select 1").sync()).await;
        let answer = client.ask(Batch::new().parse("n1", "select 2").sync()).await;
        assert_eq!(answer, ["E(ERROR 42P05)", "Z(I)"]);
        let answer = client.ask(Batch::new().bind("n1", &[]).execute().sync()).await;
        assert_eq!(answer, ["2", "D(1)", "C(SELECT 1)", "Z(I)"]);
    });
}

/// A pipeline whose first statement fails, and so skips the second.
fn failing_pipeline() -> Batch {
    let first = Batch::new().parse("fails", "select 1/(n - 1) from generate_series(1, 1) n");
    named(first.bind("fails", &[]).execute(), "skipped", "select 'skipped'").sync()
}

#[test]
fn row_03_a_failed_statement_in_a_pipeline_skips_the_next_and_nothing_hangs() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        let unnamed = named(Batch::new(), "", "select 1/(n - 1) from generate_series(1, 1) n");
        let answer = client.ask(named(unnamed, "", "select 2").sync()).await;
        assert_eq!(answer, ["1", "2", "E(ERROR 22012)", "Z(I)"]);
        client.query("select 3").await;
        assert_eq!(rig.client().await.value("select 4").await, "4");
        client.ask(failing_pipeline()).await;
        client.query("select 5").await;
    });
}

async fn a_skipped_statement_can_be_prepared_by_another(servers: u32) {
    let rig = rig(servers).await;
    let (mut first, mut second) = (Both::connect(&rig).await, Both::connect(&rig).await);
    first.ask(failing_pipeline()).await;
    for name in ["skipped", "other"] {
        let answer = second.ask(named(Batch::new(), name, "select 'skipped'").sync()).await;
        assert_eq!(answer, ["1", "2", "D(skipped)", "C(SELECT 1)", "Z(I)"]);
    }
}

#[test]
fn row_04_a_skipped_statement_can_be_prepared_by_another() {
    run(a_skipped_statement_can_be_prepared_by_another(2));
}

#[test]
fn row_04_a_skipped_statement_can_be_prepared_by_another_on_one_server() {
    run(a_skipped_statement_can_be_prepared_by_another(1));
}

#[test]
fn row_05_a_skipped_name_is_not_there() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        client.ask(failing_pipeline()).await;
        let answer = client.ask(Batch::new().bind("skipped", &[]).execute().sync()).await;
        assert_eq!(answer, ["E(ERROR 26000)", "Z(I)"]);
    });
}

#[test]
fn row_06_five_pipelined_statements_get_five_answers() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        let mut batch = Batch::new();
        for number in 0..5 {
            batch = batch.statement("select $1::int * 10", &[&number.to_string()]);
        }
        client.send(batch).await;
        for number in 0..5 {
            let row = format!("D({})", number * 10);
            assert_eq!(client.answer().await, ["1", "2", &row, "C(SELECT 1)", "Z(I)"]);
        }
    });
}

#[test]
fn row_07_a_flush_without_a_sync_is_answered() {
    run(async {
        let rig = rig(1).await;
        let mut client = rig.client().await;
        client.send(Batch::new().parse("", "select 5").bind("", &[]).execute().flush()).await;
        for expected in ["1", "2", "D(5)", "C(SELECT 1)"] {
            assert_eq!(client.wire.frame().await.shown(), expected);
        }
        assert_eq!(client.ask(Batch::new().sync()).await, ["Z(I)"]);
    });
}

#[test]
fn row_08_a_function_call_outside_a_transaction_is_answered() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        let oid = client.direct.value("select 'int4pl(int,int)'::regprocedure::oid::int").await;
        let oid = oid.parse().expect("an oid is a number");
        let answer = client.ask(Batch::new().call_function(oid, &["40", "2"])).await;
        assert_eq!(answer, ["V(2 bytes)", "Z(I)"]);
        let answer = client.ask(Batch::new().call_function(oid, &["40", "x"])).await;
        assert_eq!(answer, ["E(ERROR 22P02)", "Z(I)"]);
        client.query("select 1").await;
    });
}

#[test]
fn row_09_a_closed_statement_is_gone() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        client.ask(named(Batch::new(), "name", "select 1").sync()).await;
        assert_eq!(client.ask(Batch::new().close_statement("name").sync()).await, ["3", "Z(I)"]);
        // Not FATAL: the session goes on.
        let answer = client.ask(Batch::new().bind("name", &[]).execute().sync()).await;
        assert_eq!(answer, ["E(ERROR 26000)", "Z(I)"]);
        client.query("select 1").await;
    });
}

#[test]
fn row_10_a_search_path_set_by_one_client_meets_nobody_else() {
    run(async {
        let rig = rig(1).await;
        let (mut a, mut b) = (Both::connect(&rig).await, Both::connect(&rig).await);
        a.query("set search_path = foo").await;
        b.query("show search_path").await;
    });
}

#[test]
fn row_10_a_search_path_is_found_again_by_who_has_set_it() {
    run(async {
        let rig = rig(1).await;
        let (mut a, mut b) = (Both::connect(&rig).await, Both::connect(&rig).await);
        a.query("set search_path = foo").await;
        b.query("show search_path").await;
        a.query("show search_path").await;
    });
}

#[test]
fn row_11_a_time_zone_set_by_one_client_stays_its_own() {
    run(async {
        let rig = rig(1).await;
        let (mut a, mut b) = (Both::connect(&rig).await, Both::connect(&rig).await);
        let answer = a.query("set timezone = 'Asia/Tokyo'").await;
        assert_eq!(answer, ["C(SET)", "S(TimeZone=Asia/Tokyo)", "Z(I)"]);
        for _ in 0..2 {
            b.query("show timezone").await;
            a.query("show timezone").await;
        }
    });
}

async fn notified_from_outside(settings: Settings) {
    let rig = Rig::start(settings).await;
    let mut listener = rig.client().await;
    assert_eq!(listener.query("listen news").await, ["C(LISTEN)", "Z(I)"]);
    rig.postgres.sql("notify news, 'hello'").await;
    assert_eq!(listener.wire.frame().await.shown(), "A(news,hello)");
    assert_eq!(listener.value("select 1").await, "1");
}

#[test]
fn row_12_a_notification_reaches_an_idle_listener_in_transaction_mode() {
    run(notified_from_outside(Settings::new()));
}

#[test]
fn row_12_a_listener_keeps_no_server_in_transaction_mode() {
    run(async {
        let rig = rig(1).await;
        let (mut a, mut b) = (rig.client().await, rig.client().await);
        for listener in [&mut a, &mut b] {
            assert_eq!(listener.query("listen news").await, ["C(LISTEN)", "Z(I)"]);
        }
        rig.postgres.sql("notify news, 'hello'").await;
        for listener in [&mut a, &mut b] {
            assert_eq!(listener.wire.frame().await.shown(), "A(news,hello)");
        }
    });
}

#[test]
fn row_13_a_notification_reaches_an_idle_listener_in_session_mode() {
    run(notified_from_outside(Settings::new().pool_mode("session")));
}

#[test]
fn row_14_protocol_3_2_gets_a_long_key_and_no_negotiation() {
    run(async {
        let rig = Rig::start_default().await;
        let mut client = Login::to(rig.address()).protocol(PROTOCOL_3_2).connect().await;
        assert!((5..=256).contains(&client.secret.len()), "{} bytes", client.secret.len());
        assert!(client.greeting.iter().all(|frame| frame.tag != b'v'), "{:?}", client.greeting);
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn row_15_unknown_extensions_are_listed_and_a_newer_protocol_is_negotiated_down() {
    run(async {
        let rig = Rig::start_default().await;
        let cases = [
            (PROTOCOL_3_5, None, PROTOCOL_3_2),
            (PROTOCOL_3_5, Some("_pq_.foo"), PROTOCOL_3_2),
            (PROTOCOL_3_2, Some("_pq_.foo"), PROTOCOL_3_2),
            (PROTOCOL_3_0, Some("_pq_.foo"), PROTOCOL_3_0),
        ];
        for (asked, extension, granted) in cases {
            let mut login = Login::to(rig.address()).protocol(asked);
            let mut expected = granted.to_be_bytes().to_vec();
            expected.extend(u32::from(extension.is_some()).to_be_bytes());
            if let Some(name) = extension {
                login = login.with(name, "1");
                expected.extend(terminated(&[name]));
            }
            let mut client = login.connect().await;
            let what = format!("asked for {asked:#x} with {extension:?}");
            assert_eq!(char::from(client.greeting[0].tag), 'v', "{what}");
            assert_eq!(client.greeting[0].body, expected, "{what}");
            assert_eq!(client.value("select 1").await, "1");
        }
    });
}

#[test]
fn row_16_requests_for_encryption_are_declined_and_the_login_goes_on() {
    run(async {
        let rig = Rig::start_default().await;
        let orders: [&[u32]; 4] = [
            &[SSL_REQUEST],
            &[GSSENC_REQUEST],
            &[GSSENC_REQUEST, SSL_REQUEST],
            &[SSL_REQUEST, GSSENC_REQUEST],
        ];
        for requests in orders {
            let mut wire = Wire::connect(rig.address()).await;
            for &request in requests {
                wire.send(&startup_message(request, &[])).await;
                assert_eq!(char::from(wire.byte().await), 'N', "to {requests:?}");
            }
            let login = Login::to(rig.address()).attempt_over(wire).await;
            let mut client = login.unwrap_or_else(|refused| panic!("{requests:?}: {refused:?}"));
            assert_eq!(client.value("select 1").await, "1");
        }
    });
}

#[test]
fn row_17_protocol_3_0_gets_a_key_of_eight_bytes_and_no_negotiation() {
    run(async {
        let rig = Rig::start_default().await;
        let client = Login::to(rig.address()).protocol(PROTOCOL_3_0).connect().await;
        assert_eq!(client.secret.len(), 4);
        assert!(client.greeting.iter().all(|frame| frame.tag != b'v'), "{:?}", client.greeting);
    });
}

#[test]
fn row_18_a_client_that_waits_in_vain_for_a_server_keeps_its_session() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(3))).await;
        let mut holders: Vec<Client> = Vec::new();
        for _ in 0..3 {
            let mut holder = rig.client().await;
            assert_eq!(holder.query("begin").await, ["C(BEGIN)", "Z(T)"]);
            holders.push(holder);
        }
        let mut fourth = rig.client().await;
        let mut console = Console::open(&rig).await;
        console.order("SET query_wait_timeout = '500ms'").await;
        let watch = Watch::start();
        let answer = fourth.query("select 1").await;
        let answer: Vec<&String> = answer.iter().filter(|shown| !shown.starts_with('N')).collect();
        assert_eq!(answer, ["E(ERROR 57014)", "Z(I)"]);
        assert!(watch.elapsed() >= Duration::from_millis(450), "waited {:?}", watch.elapsed());
        assert_eq!(holders[0].query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(fourth.value("select 4").await, "4");
    });
}

#[test]
fn row_19_a_cancel_ends_the_running_query() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.send(Batch::new().query("select pg_sleep(30)")).await;
        rig.postgres.wait_for_servers("wait_event = 'PgSleep'", 1).await;
        client.cancel().await;
        assert_eq!(client.answer().await, ["T(pg_sleep)", "E(ERROR 57014)", "Z(I)"]);
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn row_20_a_cancel_with_an_idle_clients_key_hits_nobody() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let (mut idle, mut busy) = (rig.client().await, rig.client().await);
        assert_eq!(idle.value("select 1").await, "1");
        busy.send(Batch::new().query("select pg_sleep(0.3), 'unharmed'")).await;
        rig.postgres.wait_for_servers("query like '%unharmed%' and state = 'active'", 1).await;
        idle.cancel().await;
        let answer = busy.answer().await;
        assert_eq!(answer, ["T(pg_sleep,?column?)", "D(,unharmed)", "C(SELECT 1)", "Z(I)"]);
    });
}

#[test]
fn row_21_to_deallocate_what_is_unknown_is_an_error() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        assert_eq!(client.query("deallocate unknown").await, ["E(ERROR 26000)", "Z(I)"]);
        let answer = client.ask(Batch::new().statement("deallocate unknown", &[])).await;
        assert_eq!(answer, ["1", "2", "E(ERROR 26000)", "Z(I)"]);
        assert_eq!(client.query("deallocate all").await, ["C(DEALLOCATE ALL)", "Z(I)"]);
    });
}

#[test]
fn row_22_copy_to_stdout_is_relayed() {
    run(async {
        let rig = rig(1).await;
        let mut client = Both::connect(&rig).await;
        let answer = client.query("copy (select generate_series(1, 3)) to stdout").await;
        assert_eq!(answer, ["H", "d(1\n)", "d(2\n)", "d(3\n)", "c", "C(COPY 3)", "Z(I)"]);
    });
}

#[test]
fn row_23_an_idle_server_of_another_user_makes_room() {
    run(async {
        let rig = Rig::start(Settings::new().set("max_db_connections", 1)).await;
        let mut first = rig.client().await;
        assert_eq!(first.value("select current_user").await, "app");
        rig.postgres.sql("grant connect on database app to other").await;
        let mut second = Login::to(rig.address()).user("other", "other-secret").connect().await;
        assert_eq!(second.value("select current_user").await, "other");
        assert_eq!(rig.postgres.servers("datname = 'app'").await, 1);
        assert_eq!(first.value("select current_user").await, "app");
        eventually("one server is left", async || {
            (rig.postgres.servers("datname = 'app'").await == 1).then_some(())
        })
        .await;
    });
}

async fn console() -> (Rig, Client) {
    let rig = Rig::start(Settings::new().set("admin_users", "app")).await;
    let console = Login::to(rig.address()).database("pgweir").connect().await;
    (rig, console)
}

#[test]
fn row_24_the_console_speaks_the_extended_protocol() {
    run(async {
        let (_rig, mut console) = console().await;
        let frames = console.ask_frames(Batch::new().statement("show version", &[])).await;
        let tags: Vec<char> = frames.iter().map(|frame| char::from(frame.tag)).collect();
        assert_eq!(tags, ['1', '2', 'D', 'C', 'Z']);
    });
}

#[test]
fn row_25_the_console_shows_totals() {
    run(async {
        let (_rig, mut console) = console().await;
        let frames = console.ask_frames(Batch::new().query("SHOW STATS_TOTALS")).await;
        let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
        assert!(tags.starts_with("TD") && tags.ends_with("CZ"), "{tags}");
    });
}
