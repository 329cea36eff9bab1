//! What is known to be short, and has a server for itself all the same: by its mode, or by its size.

use super::known::ask_all;
use super::prepared::{forgetful, share_bound};
use super::seen::refused_for;
use super::{Shared, number, settings};
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// Below and above what may share.
const SHORT: usize = 7_000;
const LONG: usize = 9_000;

fn with_http(http: &Port) -> Settings {
    settings().set("http_addr", http.address().as_str())
}

fn unnamed() -> Batch {
    Batch::new().statement("select $1::int, 'mine'", &["7"])
}

#[test]
fn nobody_shares_where_servers_are_reset_always() {
    run(async {
        let http = Port::take();
        let mut shared = Shared::start(with_http(&http)).await;
        let mut clients = shared.clients(3).await;
        shared.learn(&mut clients[0], || number(0)).await;
        for (is_reset, sharing) in [(false, 3), (true, 0), (false, 3)] {
            shared.reload(&with_http(&http).set("server_reset_query_always", is_reset)).await;
            let before = refused_for(&http, "session").await;
            assert_eq!(ask_all(&mut shared, &mut clients, || number(0)).await, sharing);
            // Whoever holds the others back may have had to wait as well.
            assert_eq!(refused_for(&http, "session").await >= before + 3, is_reset);
        }
    });
}

/// Whoever has a server keeps it, so that the others have it when that one leaves.
#[test]
fn nobody_shares_in_session_mode() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(3).await;
        shared.learn(&mut clients[0], || number(0)).await;
        assert_eq!(ask_all(&mut shared, &mut clients, || number(0)).await, 3);
        // Not that servers are reset between clients keeps them from it.
        let session = settings().pool_mode("session").set("server_reset_query", "");
        shared.reload(&session).await;
        shared.hold().await;
        for (n, client) in clients.iter_mut().enumerate() {
            shared.queue(client, number(n)).await;
        }
        shared.let_go().await;
        let next = shared.rig.client().await;
        drop(std::mem::replace(&mut shared.holder, next));
        for (n, mut client) in clients.into_iter().enumerate() {
            let answer = client.answer().await;
            assert!(answer.contains(&format!("D({n},mine)")), "{answer:?}");
        }
        assert_eq!(shared.shared().await, 3);
    });
}

/// A client that prepares anything keeps its server then.
#[test]
fn simple_queries_only_share_where_nothing_is_prepared() {
    run(async {
        let http = Port::take();
        let mut shared = Shared::start(with_http(&http)).await;
        let mut clients = shared.clients(3).await;
        shared.learn(&mut clients[0], || number(0)).await;
        shared.learn(&mut clients[0], unnamed).await;
        assert_eq!(ask_all(&mut shared, &mut clients, unnamed).await, 3);
        shared.reload(&with_http(&http).set("max_prepared_statements", 0)).await;
        assert_eq!(ask_all(&mut shared, &mut clients, || number(0)).await, 3);
        let before = refused_for(&http, "session").await;
        assert_eq!(ask_all(&mut shared, &mut clients, unnamed).await, 0);
        assert_eq!(refused_for(&http, "session").await, before + 3);
    });
}

/// Each has the texts and values of one kind, which is known to be short.
#[test]
fn a_long_request_has_a_server_for_itself() {
    run(async {
        let http = Port::take();
        let mut shared = Shared::start(with_http(&http)).await;
        let mut clients = shared.clients(3).await;
        for client in &mut clients {
            let prepare = Batch::new().parse("own", "select length($1::text)").sync();
            assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
        }
        let x = |n| "x".repeat(n);
        let forms: [&dyn Fn(usize) -> Batch; 4] = [
            &|n| Batch::new().query(&format!("select '{}'", x(n))),
            &|n| Batch::new().statement(&format!("select '{}'", x(n)), &[]),
            // Neither of its messages is too long by itself.
            &|n| Batch::new().statement(&format!("select $1, '{}'", x(n / 2)), &[&x(n / 2)]),
            &|n| Batch::new().bind("own", &[&x(n)]).execute().sync(),
        ];
        for (form, batch) in forms.into_iter().enumerate() {
            shared.learn(&mut clients[0], || batch(SHORT)).await;
            for (len, sharing) in [(SHORT, 3), (LONG, 0)] {
                let before = refused_for(&http, "request").await;
                let count = ask_all(&mut shared, &mut clients, || batch(len)).await;
                assert_eq!(count, sharing, "{form} with {len}");
                assert_eq!(refused_for(&http, "request").await - before, 3 - sharing, "{form}");
            }
        }
    });
}

/// The server has the statement of the last one only.
#[test]
fn a_long_statement_is_prepared_on_a_server_of_its_clients_own() {
    run(async {
        for (len, sharing) in [(SHORT, 3..=3), (LONG, 0..=1)] {
            let text = |n: usize| format!("select $1::int as n{n}, '{}'", "x".repeat(len));
            let (mut shared, mut clients) = Box::pin(forgetful(settings(), 3, text)).await;
            let before = shared.shared().await;
            share_bound(&mut shared, &mut clients, "").await;
            for client in &mut clients {
                let answer = client.answer().await;
                assert_eq!(answer[1], format!("D(7,<{len} bytes>)"));
            }
            let count = shared.shared().await - before;
            assert!(sharing.contains(&count), "{count} with {len}");
        }
    });
}

#[test]
fn who_has_long_settings_has_a_server_for_itself() {
    run(async {
        let http = Port::take();
        let mut shared = Shared::start(with_http(&http)).await;
        let mut clients = shared.clients(3).await;
        let ask = || Batch::new().query("select length(current_setting('app.x', true)), 'mine'");
        shared.learn(&mut clients[0], ask).await;
        for (len, sharing) in [(SHORT, 3), (LONG, 2)] {
            set(&mut clients[1], len).await;
            let before = (shared.shared().await, refused_for(&http, "missed").await);
            shared.hold().await;
            for client in &mut clients {
                shared.queue(client, ask()).await;
            }
            shared.let_go().await;
            for (n, client) in clients.iter_mut().enumerate() {
                let answer = client.answer().await;
                let row = answer.iter().find(|frame| frame.starts_with("D("));
                let is_set = row.is_some_and(|row| *row == format!("D({len},mine)"));
                assert_eq!(is_set, n == 1, "{n}: {answer:?}");
            }
            assert_eq!(shared.shared().await - before.0, sharing, "{len}");
            assert_eq!(refused_for(&http, "missed").await - before.1, 3 - sharing, "{len}");
        }
    });
}

/// In this encoding half a letter is a backslash: who takes it for one takes all behind it for text. That the
/// client has another encoding when it executes the statement changes nothing about what it says.
#[test]
fn what_was_prepared_in_an_encoding_that_hides_quotes_has_a_server_for_itself() {
    run(async {
        let http = Port::take();
        let mut shared = Shared::start(with_http(&http)).await;
        let mut clients = shared.clients(3).await;
        let text =
            b"own\0select e'\x95\x5c', set_config($$search_path$$, $$side$$, true) --'\0\0\0";
        let sjis = || Batch::new().query("set client_encoding to 'SJIS'");
        let prepare = |batch: Batch| batch.raw(b'P', text).sync();
        let bound = || Batch::new().bind("own", &[]).execute().sync();
        let [known, coming, other] = &mut clients[..] else { panic!("three") };
        known.ask(sjis()).await;
        assert_eq!(known.ask(prepare(Batch::new())).await, ["1", "Z(I)"]);
        // The encoding is not known yet when this is read.
        coming.send(prepare(sjis())).await;
        coming.answer().await;
        assert_eq!(coming.answer().await, ["1", "Z(I)"]);
        shared.learn(other, || number(2)).await;
        for client in [known, coming] {
            client.query("set client_encoding to 'UTF8'").await;
            let before = refused_for(&http, "unclear").await;
            shared.learn(client, bound).await;
            shared.hold().await;
            shared.queue(client, bound()).await;
            shared.queue(other, number(2)).await;
            shared.let_go().await;
            assert_eq!(client.answer().await[1..], ["D(表,side)", "C(SELECT 1)", "Z(I)"]);
            assert!(other.answer().await.contains(&"D(2,mine)".to_owned()));
            assert_eq!(refused_for(&http, "unclear").await - before, 6);
        }
    });
}

async fn set(client: &mut Client, len: usize) {
    let sql = format!("set app.x = '{}'", "x".repeat(len));
    assert_eq!(client.query(&sql).await.last().map(String::as_str), Some("Z(I)"));
}
