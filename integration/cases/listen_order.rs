//! Where in the stream a client hears what it listens to: just where it would on a connection of its own.

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// A client of the proxy, and one without it: in a database of its own, as notifications go to all of one.
async fn both(rig: &Rig) -> [Client; 2] {
    let direct = Login::to(&rig.postgres.address()).database("second").connect().await;
    [direct, rig.client().await]
}

/// Sends the same to both in one write, and compares the answers one by one.
async fn compare(clients: &mut [Client; 2], statements: &[&str], extended: bool) {
    let mut answers = Vec::new();
    for client in clients {
        let mut batch = Batch::new();
        for sql in statements {
            batch = if extended { batch.statement(sql, &[]) } else { batch.query(sql) };
        }
        client.send(batch).await;
        let mut of_one = Vec::new();
        for _ in statements {
            of_one.push(client.answer().await);
        }
        answers.push(of_one);
    }
    assert_eq!(answers[1], answers[0], "{statements:?}");
}

const PIPELINES: [&[&str]; 10] = [
    &["unlisten *", "listen last", "notify last, 'x'"],
    &["notify last, '1'", "select 1", "notify last, '2'", "select 2"],
    &["begin", "notify last, '3'", "commit", "select 3"],
    &["unlisten last", "notify last, '4'", "listen last", "notify last, '5'"],
    &["begin", "unlisten last", "listen last", "commit", "notify last, '6'"],
    &["begin", "listen more", "notify more, '7'", "commit", "notify more, '8'"],
    &["begin", "listen lost", "rollback", "notify lost", "notify last, '9'"],
    &["select 1/0", "listen again", "notify again, '10'", "unlisten again", "notify again"],
    &["begin", "listen again", "select 1/0", "commit", "notify again", "notify last, '11'"],
    &["discard all", "notify last", "listen last", "notify last, '12'"],
];

#[test]
fn what_is_pipelined_is_heard_where_it_is_without_a_proxy() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut clients = both(&rig).await;
        for _ in 0..20 {
            for pipeline in PIPELINES {
                compare(&mut clients, pipeline, false).await;
                compare(&mut clients, pipeline, true).await;
            }
        }
    });
}

/// Drivers leave out what they have sent themselves, by this number: what another has sent on the same
/// server just before must not look like it.
#[test]
fn what_another_has_sent_does_not_look_like_ones_own() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let mut client = rig.client().await;
        client.query("listen news").await;
        let mut other = rig.client().await;
        for round in 0..300 {
            other.query("notify news").await;
            let frames = client.ask_frames(Batch::new().query("select 1")).await;
            let heard: Vec<_> = frames.iter().filter(|frame| frame.tag == b'A').collect();
            assert_eq!(heard.len(), 1, "round {round}");
            assert_ne!(heard[0].body[..4], client.pid.to_be_bytes(), "round {round}");
            // And one's own still does.
            let frames = client.ask_frames(Batch::new().query("notify news")).await;
            let own = frames.iter().find(|frame| frame.tag == b'A').expect("one's own comes");
            assert_eq!(own.body[..4], client.pid.to_be_bytes(), "round {round}");
        }
    });
}
