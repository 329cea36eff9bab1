//! A reload changes how many may share a server, and whether any may.

use super::known::ask_all;
use super::seen::refused_for;
use super::{Shared, all_have_their_own, lock_out_of, number, settings, stuck};
use crate::harness::frames::Batch;
use crate::harness::ports::Port;
use crate::harness::time::run;
use crate::harness::wire::Client;

/// All ask, and the first waits for a lock. Answers with how many are aboard then, and how many wait; and
/// then everybody has an answer. `kind`: another each time, as one that has stalled has to prove itself.
async fn aboard(shared: &mut Shared, clients: &mut [Client], kind: u32) -> (u64, u64) {
    let text = format!("select count(*) as c{kind} from t");
    let lock = lock_out_of(shared, clients, &text).await;
    let found = (shared.number("cl_riding").await, shared.number("cl_waiting").await);
    lock.batch_execute("commit").await.expect("it is over");
    assert_eq!(clients[0].answer().await[1], "D(9)");
    all_have_their_own(&mut clients[1..]).await;
    found
}

#[test]
fn no_more_than_multiplex_depth_are_on_one_server() {
    run(async {
        let http = Port::take();
        let with = |depth: u32| {
            settings().set("multiplex_depth", depth).set("http_addr", http.address().as_str())
        };
        let mut shared = Shared::start(with(3)).await;
        let mut clients = shared.clients(9).await;
        for depth in [3, 5] {
            shared.reload(&with(depth)).await;
            let found = aboard(&mut shared, &mut clients, depth).await;
            assert_eq!(found, (depth.into(), (9 - depth).into()));
            // Nor were there more when the others got their turn.
            assert_eq!(super::shared(&http).await.depth, depth as usize);
        }
        shared.reload(&with(2)).await;
        assert_eq!(aboard(&mut shared, &mut clients, 2).await, (2, 7));
        shared.reload(&with(1)).await;
        assert_eq!(ask_all(&mut shared, &mut clients, || number(0)).await, 0);
        shared.reload(&with(4)).await;
        assert_eq!(aboard(&mut shared, &mut clients, 4).await, (4, 5));
    });
}

#[test]
fn those_aboard_are_answered_when_it_is_turned_off_and_nobody_gets_aboard() {
    run(async {
        let http = Port::take();
        let with = |multiplex: &str| {
            settings().set("multiplex", multiplex).set("http_addr", http.address().as_str())
        };
        let mut shared = Shared::start(with("auto")).await;
        let (mut clients, mut late) = (shared.clients(4).await, shared.clients(5).await);
        let lock = stuck(&mut shared, &mut clients).await;
        shared.is_stalled().await;
        let before = shared.shared().await;
        // Some have offered to share by then, and some have not.
        for (n, client) in late.iter_mut().enumerate() {
            if n == 3 {
                shared.reload(&with("off")).await;
            }
            shared.queue(client, number(n)).await;
        }
        assert_eq!((shared.number("cl_riding").await, shared.number("cl_waiting").await), (4, 5));
        lock.batch_execute("commit").await.expect("it is over");
        assert_eq!(clients[0].answer().await[1], "D(9)");
        all_have_their_own(&mut clients[1..]).await;
        all_have_their_own(&mut late).await;
        assert_eq!(shared.shared().await - before, 4);
        assert_eq!(ask_all(&mut shared, &mut late, || number(0)).await, 0);
        // Nor is anybody asked how long a statement takes.
        let before = refused_for(&http, "unknown").await;
        let unknown = || Batch::new().query("select 'never seen' as before");
        assert_eq!(ask_all(&mut shared, &mut late, unknown).await, 0);
        assert_eq!(refused_for(&http, "unknown").await, before);
        shared.reload(&with("auto")).await;
        assert_eq!(ask_all(&mut shared, &mut late, || number(0)).await, 5);
    });
}
