//! The console, as tools and drivers use it.

mod columns;

use std::process::Command;

use rand::Rng;
use tokio_postgres::{Config, NoTls};

use self::columns::{COLUMNS, OWN, TYPES};
use crate::harness::Address;
use crate::harness::frames::{Batch, Frame, shown};
use crate::harness::login::{Login, PROTOCOL_3_2};
use crate::harness::process::run_to_end;
use crate::harness::proxy::Rig;
use crate::harness::random::Seed;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};
use crate::harness::wire::{Client, Wire, cancel};

fn settings() -> Settings {
    Settings::new()
        .set("auth_type", "scram-sha-256")
        .set("admin_users", "root")
        .set("stats_users", "monitor")
        .user("root", "root-secret")
        .user("monitor", "monitor-secret")
}

fn login(rig: &Rig, user: &str) -> Login {
    Login::to(rig.address()).user(user, &format!("{user}-secret")).database("pgweir")
}

async fn console(rig: &Rig) -> Client {
    login(rig, "root").connect().await
}

/// The rows of an answer, by the value of the first column.
pub(super) async fn row(console: &mut Client, command: &str, first: &str) -> Vec<Option<String>> {
    let frames = console.ask_frames(Batch::new().query(command)).await;
    let text = |value: Option<Vec<u8>>| value.map(|it| String::from_utf8(it).expect("text"));
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    let mut rows = rows.map(|row| row.columns().into_iter().map(text).collect::<Vec<_>>());
    let found = rows.find(|row| row[0].as_deref() == Some(first));
    found.unwrap_or_else(|| panic!("{command}: no {first}: {:?}", shown(&frames)))
}

#[test]
fn every_show_has_pgbouncers_columns_in_both_protocols() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = console(&rig).await;
        for (what, columns) in COLUMNS {
            let own = OWN.iter().find(|(of, _)| of == what).map_or("", |(_, own)| own);
            let expected: Vec<_> = columns
                .split_whitespace()
                .chain(own.split_whitespace())
                .map(|column| {
                    let (name, kind) = column.split_once(':').expect("name:type");
                    let found = TYPES.iter().find(|(name, ..)| *name == kind);
                    let (_, oid, length) = found.expect("a known type");
                    (name.to_owned(), *oid, *length)
                })
                .collect();
            let command = format!("SHOW {what}");
            let simple = console.ask_frames(Batch::new().query(&command)).await;
            assert_eq!(simple[0].described(), expected, "{command}");
            let mut rows = simple.iter().filter(|frame| frame.tag == b'D');
            assert!(rows.all(|row| row.columns().len() == expected.len()), "{command}");
            let last: Vec<_> = shown(&simple).into_iter().rev().take(2).collect();
            assert_eq!(last, ["Z(I)", "C(SHOW)"], "{command}");
            let batch = Batch::new().parse("", &command).describe_statement("").sync();
            let described = console.ask_frames(batch).await;
            let tags: Vec<_> = described.iter().map(|frame| char::from(frame.tag)).collect();
            assert_eq!(tags, ['1', 't', 'T', 'Z'], "{command}");
            assert_eq!(described[2].described(), expected, "{command}");
        }
    });
}

#[test]
fn it_shows_what_clients_do() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut busy = rig.client().await;
        let _idle = rig.client().await;
        busy.query("begin").await;
        let mut console = console(&rig).await;
        let pool = row(&mut console, "SHOW POOLS", "app").await;
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(pool[1..4], [text("app"), text("2"), text("0")]);
        assert_eq!(pool[6], text("1"), "one server is active");
        assert_eq!(pool[15], text("transaction"));
        busy.query("commit").await;
        let totals = row(&mut console, "SHOW STATS_TOTALS", "app").await;
        assert_eq!(totals[3], text("2"), "queries");
        assert_eq!(totals[12], text("2"), "logins");
        let database = row(&mut console, "SHOW DATABASES", "app").await;
        assert_eq!((&database[12], &database[14]), (&text("1"), &text("2")));
        let user = row(&mut console, "SHOW USERS", "app").await;
        assert_eq!((&user[5], &user[7]), (&text("1"), &text("2")));
        assert_eq!(row(&mut console, "SHOW LISTS", "used_clients").await[1], text("3"));
        let own = row(&mut console, "SHOW POOLS", "pgbouncer").await;
        assert_eq!((&own[2], &own[15]), (&text("1"), &text("statement")));
        let option = row(&mut console, "SHOW CONFIG", "default_pool_size").await;
        assert_eq!(option[1..], [text("5"), text("20"), text("yes")]);
        let option = row(&mut console, "SHOW CONFIG", "query_wait_timeout").await;
        assert_eq!(option[1], text("10"), "seconds, as in PgBouncer");
    });
}

#[test]
fn the_welcome_is_pgbouncers() {
    run(async {
        let rig = Rig::start(settings()).await;
        for database in ["pgweir", "pgbouncer"] {
            let console = login(&rig, "root").database(database).with("extra_float_digits", "2");
            let console = console.connect().await;
            let names = console.greeting.iter().filter(|frame| frame.tag == b'S');
            let names: Vec<_> = names.map(Frame::shown).collect();
            let expected = [
                "S(server_version=1.25.2/pgweir)",
                "S(client_encoding=UTF8)",
                "S(server_encoding=UTF8)",
                "S(DateStyle=ISO)",
                "S(TimeZone=GMT)",
                "S(standard_conforming_strings=on)",
                "S(is_superuser=on)",
            ];
            assert_eq!(names, expected);
            assert_eq!(console.secret.len(), 4);
            // Nobody's query: nothing comes of it.
            cancel(rig.address(), console.pid, &console.secret).await;
        }
        let console = login(&rig, "root").protocol(PROTOCOL_3_2).connect().await;
        assert_eq!(console.secret.len(), 32);
    });
}

#[test]
fn only_those_who_may_come_in() {
    run(async {
        let rig = Rig::start(settings()).await;
        let error = login(&rig, "app").error().await;
        assert_eq!(
            (error.shown().as_str(), error.message().as_str()),
            ("E(FATAL 28000)", "not allowed")
        );
        let error = login(&rig, "root").user("root", "wrong").error().await;
        assert_eq!(error.shown(), "E(FATAL 28P01)");
        let mut monitor = login(&rig, "monitor").connect().await;
        assert_eq!(monitor.parameters["is_superuser"], "off");
        let ours = ["CLASSES", "ERRORS", "HISTOGRAMS", "HOLDERS", "OVERLOAD", "WAITS", "HELP"];
        let ours = ours.into_iter().chain(["PREPARED_STATEMENTS"]);
        let all = COLUMNS.iter().map(|(what, _)| *what).chain(ours);
        for what in all.filter(|what| *what != "FDS") {
            let answer = monitor.query(&format!("SHOW {what}")).await;
            assert!(answer.contains(&"C(SHOW)".to_owned()), "{what}: {answer:?}");
        }
        for command in [
            "DISABLE app",
            "ENABLE app",
            "KILL app",
            "KILL_CLIENT 1",
            "KILL_SERVER 1",
            "PAUSE",
            "RECONNECT",
            "RELOAD",
            "RESUME",
            "SET CLASS batch weight = 2",
            "SET default_pool_size = 3",
            "SHOW FDS",
            "SHUTDOWN",
            "SHUTDOWN WAIT_FOR_CLIENTS",
            "SUSPEND",
            "WAIT_CLOSE app",
        ] {
            let error = monitor.error(command).await;
            assert_eq!(error.shown(), "E(ERROR 42501)", "{command}");
            assert_eq!(error.message(), "admin access needed", "{command}");
        }
    });
}

#[test]
fn who_only_looks_keeps_no_admin_out() {
    run(async {
        let settings = Settings::new().set("admin_users", "app").set("stats_users", "other");
        let rig = Rig::start(settings).await;
        let console = |user| Login::to(rig.address()).user(user, "").database("pgweir");
        let mut sessions = Vec::new();
        for _ in 0..24 {
            sessions.push(console("other").connect().await);
        }
        assert_eq!(console("other").error().await.code(), "53300");
        for _ in 0..8 {
            sessions.push(console("app").connect().await);
        }
        assert_eq!(console("app").error().await.code(), "53300");
        // Who could end the process may as well tell it something.
        let own = Login::to(&rig.proxy.unix).user("pgweir", "").database("pgweir");
        assert_eq!(own.connect().await.query("RELOAD").await, ["C(RELOAD)", "Z(I)"]);
        drop(sessions.pop());
        eventually("there is room for one", async || console("app").attempt().await.ok()).await;
    });
}

#[test]
fn what_drivers_do_with_any_connection_is_answered() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = console(&rig).await;
        assert_eq!(console.query("-- a\nBEGIN").await, ["C(BEGIN)", "Z(T)"]);
        assert_eq!(console.error("SHOW nosuch").await.code(), "42601");
        assert_eq!(console.query("SET shed = off").await, ["C(SET shed=off)", "Z(T)"]);
        assert_eq!(console.query("ROLLBACK /* b */").await, ["C(ROLLBACK)", "Z(I)"]);
        let reset = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
        let tags = console.query(reset).await;
        let tags: Vec<_> = tags.iter().filter(|it| it.starts_with("C(")).collect();
        assert_eq!(tags, ["C(SELECT 1)", "C(CLOSE CURSOR ALL)", "C(UNLISTEN)", "C(RESET)"]);
        // A portal stays for as long as its transaction.
        assert_eq!(console.query("START TRANSACTION").await, ["C(START TRANSACTION)", "Z(T)"]);
        let batch = Batch::new().parse("s", "SHOW LISTS").bind_to("p", "s", &[]);
        console.ask(batch.sync()).await;
        let take = || Batch::new().execute_rows("p", 0).sync();
        let rows = console.ask(take()).await;
        assert!(rows.len() > 2 && rows.last().is_some_and(|it| it == "Z(T)"), "{rows:?}");
        assert_eq!(console.query("COMMIT").await, ["C(COMMIT)", "Z(I)"]);
        let gone = console.ask(take()).await;
        assert_eq!(gone, ["E(ERROR 34000)", "Z(I)"]);
        assert_eq!(console.query("DISCARD ALL").await, ["C(DISCARD ALL)", "Z(I)"]);
        let gone = console.ask(Batch::new().bind("s", &[]).sync()).await;
        assert_eq!(gone, ["E(ERROR 26000)", "Z(I)"]);
    });
}

#[test]
fn a_resume_of_all_says_what_is_paused_by_its_name() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = console(&rig).await;
        let error = console.error("RESUME").await;
        assert_eq!((error.code().as_str(), error.field(b'H')), ("55000", None));
        console.query("PAUSE app").await;
        let hint = console.error("RESUME").await.field(b'H').expect("a hint");
        assert_eq!(hint, "Paused by name: app. RESUME app");
        assert_eq!(console.query("RESUME app").await, ["C(RESUME)", "Z(I)"]);
    });
}

#[test]
fn the_proxys_own_user_needs_no_password_on_the_unix_socket() {
    run(async {
        let rig = Rig::start(settings()).await;
        let own = Login::to(&rig.proxy.unix).user("pgbouncer", "").database("pgbouncer");
        assert_eq!(own.connect().await.query("SHOW VERSION").await.len(), 4);
        let over_tcp = Login::to(rig.address()).user("pgbouncer", "").database("pgbouncer");
        assert_eq!(over_tcp.error().await.shown(), "E(FATAL 28P01)");
    });
}

#[test]
fn it_works_when_clients_have_used_up_their_places() {
    run(async {
        let rig = Rig::start(settings().set("max_client_conn", 1)).await;
        let _only = rig.client().await;
        assert_eq!(Login::to(rig.address()).error().await.shown(), "E(FATAL 53300)");
        assert_eq!(console(&rig).await.query("SHOW STATE").await.len(), 6);
    });
}

#[test]
fn unknown_commands_and_drivers_settings_get_pgbouncers_answers() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = console(&rig).await;
        for command in ["SHOW nosuch", "foo", "select 1 + 1", "show pools; show stats"] {
            let error = console.error(command).await;
            assert_eq!(error.message(), format!("invalid command '{command}', use SHOW HELP;"));
            assert_eq!(error.severity(), "ERROR");
        }
        assert_eq!(console.error("SET nosuch = 1").await.message(), "SET failed");
        let set = console.query("SET datestyle = ISO").await;
        assert_eq!(set, ["N(SET ignored)", "C(SET)", "Z(I)"]);
        assert_eq!(console.query("SHOW HELP").await, ["N(Console usage)", "C(SHOW)", "Z(I)"]);
        assert_eq!(console.query(" ; ").await, ["I", "Z(I)"]);
        let encoding = console.query("SHOW client_encoding;").await;
        assert_eq!(encoding, ["T(client_encoding)", "D(UTF-8)", "C(SHOW)", "Z(I)"]);
    });
}

#[test]
fn portals_are_read_in_parts_and_errors_skip_to_the_sync() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = console(&rig).await;
        let state = ["1", "2", "D(active,yes)", "s", "D(paused,no)", "D(suspended,no)", "C(SHOW)"];
        let batch = Batch::new().parse("state", "SHOW STATE").bind_to("p", "state", &[]);
        let batch = batch.execute_rows("p", 1).execute_rows("p", 0).flush();
        console.send(batch).await;
        assert_eq!(shown(&console.wire.until(b'C').await), state);
        // The portal ends with the Sync, the statement does not.
        let batch = Batch::new().sync().execute_rows("p", 0).parse("", "SHOW STATE").sync();
        assert_eq!(console.ask(batch).await, ["Z(I)"]);
        assert_eq!(console.answer().await, ["E(ERROR 34000)", "Z(I)"]);
        let batch = Batch::new().bind("state", &[]).close_statement("state").sync();
        assert_eq!(console.ask(batch).await, ["2", "3", "Z(I)"]);
        let batch = Batch::new().statement("foo", &[]);
        assert_eq!(console.ask(batch).await, ["E(ERROR 42601)", "Z(I)"]);
        let batch = Batch::new().statement("SHOW STATE", &["1"]);
        assert_eq!(console.ask(batch).await, ["1", "E(ERROR 08P01)", "Z(I)"]);
    });
}

/// Whoever may only look could have made the proxy hold hundreds of lists of all clients.
#[test]
fn what_waits_in_portals_is_bounded() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut console = login(&rig, "monitor").connect().await;
        console.query("BEGIN").await;
        let mut waiting = 0;
        let refused = loop {
            let name = format!("p{waiting}");
            let batch = Batch::new().parse("", "SHOW CONFIG").bind_to(&name, "", &[]);
            let answer = console.ask(batch.execute_rows(&name, 1).sync()).await;
            if !answer.contains(&"s".to_owned()) {
                break answer;
            }
            waiting += 1;
            assert!(waiting < 200, "all of them wait");
        };
        assert!(waiting > 1, "{refused:?}");
        assert_eq!(refused[2], "E(ERROR 08P01)", "{refused:?}");
        // What waits is taken, and makes room; what does not wait needs none.
        let all = console.ask(Batch::new().execute_rows("p0", 0).sync()).await;
        assert_eq!(all[all.len() - 2], "C(SHOW)");
        let again = Batch::new().statement("SHOW CONFIG", &[]);
        assert!(console.ask(again).await.contains(&"C(SHOW)".to_owned()));
    });
}

#[test]
fn a_driver_reads_binary_results() {
    run(async {
        let rig = Rig::start(settings()).await;
        rig.client().await.query("select 1").await;
        let Address::Tcp(address) = rig.address() else { panic!("by TCP here") };
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port());
        config.user("root").password("root-secret").dbname("pgweir");
        let (client, connection) = config.connect(NoTls).await.expect("the login succeeds");
        tokio::spawn(connection);
        let rows = client.query("SHOW POOLS", &[]).await.expect("an answer");
        let pool = rows.iter().find(|row| row.get::<_, &str>("database") == "app");
        let pool = pool.expect("the pool is there");
        assert_eq!(pool.get::<_, i32>("sv_idle"), 1);
        assert_eq!(pool.get::<_, Option<&str>>("load_balance_hosts"), None);
        assert_eq!(client.query("SHOW STATS", &[]).await.expect("an answer").len(), 3);
    });
}

#[test]
fn psql_works() {
    run(async {
        let rig = Rig::start(settings()).await;
        let Address::Tcp(address) = rig.address() else { panic!("by TCP here") };
        let mut psql = Command::new("psql");
        psql.arg(format!("postgresql://root:root-secret@{address}/pgbouncer"));
        psql.args(["-X", "-A", "-t", "-c", "SHOW VERSION", "-c", "show pools;"]);
        let said = tokio::task::spawn_blocking(move || run_to_end(&mut psql)).await;
        let said = said.expect("psql ends well");
        assert!(said.starts_with("PgBouncer 1.25.2 (pgweir "), "{said}");
        assert!(said.contains("pgbouncer|pgbouncer|1|0"), "{said}");
    });
}

#[test]
fn garbage_ends_its_own_session_only() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut watcher = console(&rig).await;
        let long = [&b"Q"[..], &(1_u32 << 20).to_be_bytes()].concat();
        let short = [&b"Q"[..], &3_u32.to_be_bytes()].concat();
        let unknown = Batch::new().raw(b'?', b"x").0;
        let copy_fails = Batch::new().copy_fail("no").raw(b'F', b"").0;
        for bytes in [long, short, unknown, copy_fails] {
            let mut victim = console(&rig).await;
            victim.wire.send(&bytes).await;
            assert_eq!(shown(&victim.wire.until_closed().await), ["E(FATAL 08P01)"]);
        }
        // What is cut, or makes no sense in itself, is an error; the session stays.
        let mut victim = console(&rig).await;
        for tag in *b"PBDEC" {
            let answer = victim.ask(Batch::new().raw(tag, &[0xff; 3]).sync()).await;
            assert_eq!(answer, ["E(ERROR 08P01)", "Z(I)"], "{}", char::from(tag));
        }
        let mut half = Wire::connect(rig.address()).await;
        half.send(b"\0\0\0").await;
        drop(half);
        assert_eq!(watcher.query("SHOW STATE").await.len(), 6);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

/// Commands made of pieces of commands, from somebody who may only look and somebody who may do
/// everything: of all that they could mean, nothing here changes anything.
#[test]
fn no_text_changes_what_it_should_not() {
    const PIECES: &[&str] = &[
        "SHOW", "PAUSE", "KILL", "SET", "CLASS", "TO", "=", ",", ";", "'", "\"", "''", "app",
        "STATE", "é", "\u{1}", " ", "RESUME", "DISABLE", "1",
    ];
    run(async {
        let rig = Rig::start(settings()).await;
        let mut random = Seed::of_run().actor(0);
        let mut monitor = login(&rig, "monitor").connect().await;
        let mut root = console(&rig).await;
        for _ in 0..2_000 {
            let count = random.random_range(1..12);
            let text: String =
                (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
            let answer = monitor.query(&text).await;
            assert_eq!(answer.last().map(String::as_str), Some("Z(I)"), "{text}");
            let changes = ["C(PAUSE)", "C(KILL)", "C(DISABLE)", "C(RESUME)"];
            assert!(!answer.iter().any(|it| changes.contains(&it.as_str())), "{text}: {answer:?}");
            // Within quotes it is a name, and there is no such database.
            let quoted = format!("PAUSE '{}'", text.replace('\'', "''").replace('\u{0}', ""));
            if quoted != "PAUSE 'app'" {
                assert_eq!(root.error(&quoted).await.code(), "3D000", "{quoted}");
            }
        }
        let state = ["D(active,yes)", "D(paused,no)", "D(suspended,no)"];
        assert_eq!(root.query("SHOW STATE").await[1..4], state);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

/// It asks for much and reads nothing: the proxy keeps one answer.
#[test]
fn a_console_that_does_not_read_costs_bounded_memory() {
    run(async {
        let rig = Rig::start(settings()).await;
        let mut greedy = console(&rig).await;
        let before = rig.proxy.process().memory_high_water();
        let flood = (0..1_000).fold(Batch::new(), |batch, _| batch.query("SHOW CONFIG"));
        for _ in 0..20 {
            // It stops taking at some point.
            let sent = greedy.wire.try_send(&flood.0);
            if crate::harness::time::within(std::time::Duration::from_millis(200), sent)
                .await
                .is_none()
            {
                break;
            }
        }
        let grown = rig.proxy.process().memory_high_water() - before;
        assert!(grown < 8 << 20, "grew by {grown} bytes");
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}
