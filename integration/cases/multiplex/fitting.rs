//! Clients with settings of their own that share a server: it gets them in turn.

use super::{Shared, number, settings};
use crate::harness::frames::Batch;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// What is set, and what is seen then: of the application, whether it is in Tokyo, the user, and a table.
const OWN: [(&str, [&str; 4]); 7] = [
    ("", ["", "no", "app", "1"]),
    ("set application_name = 'red'", ["red", "no", "app", "1"]),
    ("set search_path = side", ["", "no", "app", "2"]),
    ("set timezone = 'Asia/Tokyo'", ["", "yes", "app", "1"]),
    ("set role other", ["", "no", "other", "1"]),
    ("set application_name = 'blue'; set datestyle = german", ["blue", "no", "app", "1"]),
    ("set application_name = 'red'", ["red", "no", "app", "1"]),
];

const SEEN: &str = "select current_setting('application_name'), \
                    case current_setting('TimeZone') when 'Asia/Tokyo' then 'yes' else 'no' end, \
                    current_user::text, n from own";

async fn with_own(settings: Settings) -> (Shared, Vec<Client>) {
    let shared = Shared::start(settings).await;
    let sql = "create table own as select 1 as n; create schema side; \
               create table side.own as select 2 as n; grant usage on schema side to public; \
               grant select on own, side.own to public; grant other to app";
    shared.rig.postgres.sql(sql).await;
    let mut clients = shared.clients(OWN.len()).await;
    for (client, (set, _)) in clients.iter_mut().zip(OWN) {
        if !set.is_empty() {
            client.query(set).await;
        }
    }
    (shared, clients)
}

#[test]
fn each_is_answered_under_its_own_settings() {
    run(async {
        let (mut shared, mut clients) = Box::pin(with_own(settings())).await;
        for client in &mut clients {
            let prepare = Batch::new().parse("own", SEEN).sync();
            assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
        }
        let forms: [fn() -> Batch; 3] = [
            || Batch::new().query(SEEN),
            || Batch::new().statement(SEEN, &[]),
            || Batch::new().bind("own", &[]).execute().sync(),
        ];
        let begins = [&["T(current_setting,case,current_user,n)"][..], &["1", "2"], &["2"]];
        for (form, begins) in forms.into_iter().zip(begins) {
            shared.learn(&mut clients[0], form).await;
            // The second time, the server has what the last one has set.
            for _ in 0..2 {
                let before = shared.shared().await;
                shared.hold().await;
                for client in &mut clients {
                    shared.queue(client, form()).await;
                }
                shared.let_go().await;
                for (client, (_, seen)) in clients.iter_mut().zip(OWN) {
                    let row = format!("D({})", seen.join(","));
                    // Above all, nobody is told of parameters.
                    let wanted = [begins, &[&row, "C(SELECT 1)", "Z(I)"]].concat();
                    assert_eq!(client.answer().await, wanted);
                }
                assert_eq!(shared.shared().await - before, clients.len() as u64);
            }
        }
    });
}

#[test]
fn what_cannot_be_set_any_more_concerns_its_client_only() {
    run(async {
        for gone in [0, 2] {
            let mut shared = Shared::start(settings()).await;
            shared.rig.postgres.sql("create role gone; grant gone to app").await;
            let mut clients = shared.clients(5).await;
            shared.learn(&mut clients[0], || number(0)).await;
            clients[gone].query("set role gone").await;
            clients[1].query("set application_name = 'one'").await;
            clients[3].query("set application_name = 'three'").await;
            shared.hold().await;
            for (n, client) in clients.iter_mut().enumerate() {
                shared.queue(client, number(n)).await;
            }
            shared.rig.postgres.sql("drop role gone").await;
            shared.let_go().await;
            let mut refused = clients.remove(gone);
            let last = refused.wire.until_closed().await;
            assert_eq!(last.last().expect("it is told").shown(), "E(FATAL 22023)", "{gone}");
            for (n, client) in (0..5).filter(|n| *n != gone).zip(&mut clients) {
                let answer = client.answer().await;
                assert!(answer.contains(&format!("D({n},mine)")), "{gone}, {n}: {answer:?}");
            }
        }
    });
}

/// What a text nobody can read has set before any client: a `RESET` would go past it.
#[test]
fn what_is_below_is_there_again_for_the_next() {
    run(async {
        let begin = "do $$ begin perform set_config('app.' || 'x', 'all', false); end $$";
        let mut shared = Shared::start(settings().database("app", "connect_query", begin)).await;
        let mut clients = shared.clients(4).await;
        let ask = || Batch::new().query("select current_setting('app.x'), 'mine'");
        clients[0].query("set app.x = 'own'").await;
        clients[2].query("set app.x = 'other'").await;
        shared.learn(&mut clients[1], ask).await;
        shared.hold().await;
        for client in &mut clients {
            shared.queue(client, ask()).await;
        }
        shared.let_go().await;
        for (client, wanted) in clients.iter_mut().zip(["own", "all", "other", "all"]) {
            let answer = client.answer().await;
            assert!(answer.contains(&format!("D({wanted},mine)")), "{wanted}: {answer:?}");
        }
    });
}
