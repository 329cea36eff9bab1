//! What is to be seen of prepared statements, and how many clients share them.

use crate::harness::console::{Console, with_console};
use crate::harness::frames::Batch;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run};

const CLIENTS: usize = 200;

#[test]
fn two_hundred_clients_share_what_they_prepare() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(2))).await;
        let mut console = Console::open(&rig).await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let mut client = rig.client().await;
            for name in ["a", "b", "c"] {
                let text = format!("select '{name}', $1::int");
                let batch = Batch::new().parse(&format!("{name}{number}"), &text).sync();
                assert_eq!(client.ask(batch).await, ["1", "Z(I)"]);
            }
            clients.push(client);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let batch = Batch::new().bind(&format!("b{number}"), &["7"]).execute().sync();
            assert_eq!(client.ask(batch).await, ["2", "D(b,7)", "C(SELECT 1)", "Z(I)"]);
        }
        let rows = console.rows("SHOW PREPARED_STATEMENTS").await;
        assert_eq!(rows.len(), 3, "{rows:#?}");
        for row in &rows {
            let number = |column: &str| row[column].parse::<usize>().expect("a number");
            assert_eq!((row["database"].as_str(), row["user"].as_str()), ("app", "app"));
            assert_eq!(number("names"), CLIENTS, "{row:#?}");
            assert!((1..=2).contains(&number("servers")) && number("parses") < CLIENTS, "{row:#?}");
            let is_used = row["text"].starts_with("select 'b'");
            assert!(is_used == (number("uses") >= CLIENTS / 2), "{row:#?}");
        }
        let row = console.row("SHOW STATS", "app").await.expect("the database");
        let number = |column: &str| row[column].parse::<usize>().expect("a number");
        assert_eq!(number("total_client_parse_count"), 3 * CLIENTS);
        assert!((3..CLIENTS).contains(&number("total_server_parse_count")), "{row:#?}");
        drop(clients);
        eventually("nobody has them but servers", async || {
            let rows = console.rows("SHOW PREPARED_STATEMENTS").await;
            rows.iter().all(|row| row["names"] == "0").then_some(())
        })
        .await;
    });
}

#[test]
fn a_server_on_loan_shows_what_it_has() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let (mut console, mut client) = (Console::open(&rig).await, rig.client().await);
        let batch = Batch::new().parse("a", "select 1").parse("b", "select 2").sync();
        assert_eq!(client.ask(batch).await, ["1", "1", "Z(I)"]);
        for (begins, state) in [(false, "idle"), (true, "active")] {
            if begins {
                assert_eq!(client.query("begin").await, ["C(BEGIN)", "Z(T)"]);
            }
            // The answer comes a moment before the server goes back.
            let server = eventually("the state of the server", async || {
                let server = console.rows("SHOW SERVERS").await.swap_remove(0);
                (server["state"] == state).then_some(server)
            });
            assert_eq!(server.await["prepared_statements"], "2", "while it is {state}");
        }
    });
}
