//! What sequences gave a session stays on its server, and those who share it there neither give nor ask.

use super::{Shared, all_have_their_own, number, settings};
use crate::harness::time::run;

/// What a drive leaves is found by who got it, as if nobody had been there meanwhile; and never by others.
#[test]
fn what_a_sequence_gave_before_a_drive_is_found_by_who_got_it_alone() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let create = "create sequence s; grant usage on sequence s to public";
        shared.rig.postgres.sql(create).await;
        let mut clients = shared.clients(4).await;
        shared.learn(&mut clients[0], || number(0)).await;
        let mut other = shared.rig.client().await;
        for asks_itself in [true, false] {
            // The last one before the drive is who was given something.
            let before = shared.shared().await;
            shared.hold().await;
            for (n, client) in clients.iter_mut().enumerate() {
                shared.queue(client, number(n)).await;
            }
            let given = shared.holder.value("select nextval('s')").await;
            shared.let_go().await;
            all_have_their_own(&mut clients).await;
            assert_eq!(shared.shared().await - before, 4);
            let asks = if asks_itself { &mut shared.holder } else { &mut other };
            let last =
                if asks_itself { format!("D({given})") } else { "E(ERROR 55000)".to_owned() };
            assert_eq!(asks.query("select lastval()").await[1], last);
            asks.query("discard all").await;
        }
    });
}
