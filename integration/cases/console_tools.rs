//! The console, as the tools use it that know PgBouncer's.

use std::collections::BTreeMap;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::Address;
use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::process::{Process, run_to_end};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

fn is_number(value: &str) -> bool {
    value.parse::<u64>().is_ok()
}

/// What `pgbouncer_exporter`, Datadog's agent and Telegraf rely on, as their sources have it.
#[test]
fn exporters_find_what_they_ask_for() {
    run(async {
        let rig = Rig::start(with_console(Settings::new())).await;
        let mut client = rig.client().await;
        client.query("begin").await;
        let mut console = Console::open(&rig).await;
        let version = console.rows("SHOW VERSION").await;
        assert_eq!((version.len(), version[0].len()), (1, 1));
        assert!(version[0]["version"].starts_with("PgBouncer 1.25.2"));
        let lists = console.rows("SHOW LISTS").await;
        assert!(lists.iter().all(|row| row.len() == 2 && is_number(&row["items"])), "{lists:?}");
        let config = console.rows("SHOW CONFIG").await;
        for key in ["max_client_conn", "max_user_connections"] {
            let row = config.iter().find(|row| row["key"] == key).expect("it is an option");
            assert!(row.len() == 4 && is_number(&row["value"]), "{row:?}");
        }
        for (what, texts) in [
            ("STATS", &["database"][..]),
            ("STATS_TOTALS", &["database"]),
            ("POOLS", &["database", "user", "pool_mode", "load_balance_hosts"]),
        ] {
            let rows = console.rows(&format!("SHOW {what}")).await;
            let is_text = |column: &str| texts.contains(&column);
            let number = |(column, value): (&String, &String)| is_text(column) || is_number(value);
            assert!(rows.len() > 1 && rows.iter().all(|row| row.iter().all(number)), "{rows:?}");
        }
        for what in ["CLIENTS", "SERVERS"] {
            let rows = console.rows(&format!("SHOW {what}")).await;
            for row in rows.iter().filter(|row| row["database"] != "pgbouncer") {
                assert_eq!((row["user"].as_str(), row["state"].as_str()), ("app", "active"));
                // The form that is parsed once the time zone is cut off.
                let (time, zone) = row["connect_time"].rsplit_once(' ').expect("a zone");
                assert_eq!((time.len(), zone), (19, "UTC"), "{row:?}");
            }
        }
        let databases: Vec<BTreeMap<_, _>> = console.rows("SHOW DATABASES").await;
        for column in ["pool_size", "reserve_pool_size", "max_connections", "current_connections"] {
            assert!(databases.iter().all(|row| is_number(&row[column])), "{databases:?}");
        }
    });
}

/// What psql 15 asks when a key is pressed, and for its backslash commands.
#[test]
fn what_psql_asks_of_a_catalog_is_an_error_and_no_more() {
    const QUERIES: &[&str] = &[
        "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE \
         pg_catalog.lower(name) LIKE 'po%' LIMIT 1000",
        "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE c.relkind IN \
         ('r', 'p') AND substring(pg_catalog.quote_ident(c.relname),1,0)='' LIMIT 1000",
        "SELECT current_schema(), session_user",
    ];
    run(async {
        let rig = Rig::start(with_console(Settings::new())).await;
        let mut console = Login::to(rig.address()).database("pgweir").connect().await;
        for query in QUERIES {
            let error = console.error(query).await;
            assert_eq!(error.shown(), "E(ERROR 42601)", "{query}");
            let answer = console.ask(Batch::new().statement(query, &[])).await;
            assert_eq!(answer, ["E(ERROR 42601)", "Z(I)"], "{query}");
        }
        assert_eq!(console.query("SHOW STATE").await.len(), 6);
        let mut psql = psql(&rig);
        psql.args(["-c", "\\d", "-c", "\\l", "-c", "\\conninfo", "-c", "show state"]);
        let said = tokio::task::spawn_blocking(move || run_to_end(&mut psql)).await;
        assert!(said.expect("psql ends well").contains("active|yes"));
    });
}

#[test]
fn psql_watches() {
    run(async {
        let rig = Rig::start(with_console(Settings::new())).await;
        let script = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(script.path(), "show state \\watch 0.02\n").expect("it is written");
        let mut watch = psql(&rig);
        watch.arg("-f").arg(script.path());
        let watching = Process::start("psql", &mut watch, Signal::INT);
        eventually("it has looked five times", async || {
            (watching.log().matches("active|yes").count() >= 5).then_some(())
        })
        .await;
    });
}

fn psql(rig: &Rig) -> Command {
    let Address::Tcp(address) = rig.address() else { panic!("by TCP here") };
    let mut psql = Command::new("psql");
    psql.arg(format!("postgresql://app:app-secret@{address}/pgbouncer")).args(["-X", "-A", "-t"]);
    psql
}
