//! Another process takes over while clients share a server.

use super::{Shared, all_have_their_own, number, settings, stuck};
use crate::cases::takeover::end_of;
use crate::harness::frames::Batch;
use crate::harness::time::{eventually, run};

#[test]
fn those_aboard_are_answered_and_move_then() {
    run(async {
        let mut shared = Shared::start(settings()).await;
        let mut clients = shared.clients(5).await;
        for client in &mut clients {
            let prepare = Batch::new().parse("own", "select $1::int, 'mine'").sync();
            assert_eq!(client.ask(prepare).await, ["1", "Z(I)"]);
        }
        let lock = stuck(&mut shared, &mut clients).await;
        shared.is_stalled().await;
        let mut late = shared.rig.client().await;
        shared.queue(&mut late, number(7)).await;
        let old = shared.rig.proxy.replace();
        eventually("it is in the middle", async || {
            old.log().contains("handing over").then_some(())
        })
        .await;
        // Whoever waits moves with its request.
        lock.batch_execute("commit").await.expect("it is over");
        assert_eq!(clients[0].answer().await[1], "D(9)");
        all_have_their_own(&mut clients[1..]).await;
        assert!(late.answer().await.contains(&"D(7,mine)".to_owned()));
        end_of(old).await;
        for (n, client) in clients.iter_mut().enumerate() {
            let bound = Batch::new().bind("own", &[&n.to_string()]).execute().sync();
            let answer = client.ask(bound).await;
            assert_eq!(answer, ["2", &format!("D({n},mine)"), "C(SELECT 1)", "Z(I)"]);
        }
    });
}
