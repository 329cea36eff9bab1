//! Whose turn it is, where servers are shared: weights, priorities, and who is refused.

use super::quotas::{classes, ms};
use super::{LOCKED, Shared, settings};
use crate::harness::crowd::{Crowd, server_time, unleash, unleash_while};
use crate::harness::frames::Batch;
use crate::harness::pulse::measure;
use crate::harness::time::eventually;

const CLASSES: [&str; 2] = ["batch", "rest"];

#[test]
fn those_who_share_have_server_time_by_weight() {
    measure(async || {
        let mut shared = Shared::start(classes(2, "weight = 3", "weight = 1")).await;
        let crowds = [
            shared.crowd("batch", 20, "select pg_sleep(0.01) as batch", ms(5000)),
            shared.crowd("rest", 20, "select pg_sleep(0.04) as rest", ms(5000)),
        ];
        let [heavy, light] = server_time(&mut shared.console, &crowds, CLASSES, ms(4800)).await;
        // Seen 3.0, on a busy machine.
        assert!((2.0..4.5).contains(&(heavy / light)), "{heavy} to {light}, not 3 to 1");
        shared.assert_batch_shared().await;
    });
}

/// So few that all of them are aboard at once, and nobody is in line mostly.
#[test]
fn those_who_are_all_aboard_have_server_time_alike() {
    measure(async || {
        let settings = classes(2, "weight = 1", "weight = 1");
        let settings = settings.set("multiplex_max_service_time", ms(50));
        let mut shared = Shared::start(settings).await;
        let crowds = [
            shared.crowd("batch", 10, "select pg_sleep(0.002) as batch", ms(4000)),
            shared.crowd("rest", 10, "select pg_sleep(0.008) as rest", ms(4000)),
        ];
        let [short, long] = server_time(&mut shared.console, &crowds, CLASSES, ms(3800)).await;
        // Seen 0.99, on a busy machine; and 0.35 where nobody held back.
        assert!((0.7..1.4).contains(&(short / long)), "{short} to {long}, not 1 to 1");
        shared.assert_batch_shared().await;
    });
}

/// What the clients see, whatever the proxy counts.
#[test]
fn those_who_share_have_answers_by_weight() {
    measure(async || {
        let mut shared = Shared::start(classes(2, "weight = 3", "weight = 1")).await;
        let crowds = [
            shared.crowd("batch", 20, "select pg_sleep(0.01) as batch", ms(4000)),
            shared.crowd("rest", 20, "select pg_sleep(0.04) as rest", ms(4000)),
        ];
        let tallies = unleash(&crowds).await;
        let counted = ms(1000)..ms(4000);
        let [heavy, light] = [(0, 0.01), (1, 0.04)]
            .map(|(crowd, slept): (usize, f64)| tallies[crowd].rate(&counted) * slept);
        // Seen 2.8, on a busy machine.
        assert!((2.0..4.5).contains(&(heavy / light)), "{heavy} to {light}, not 3 to 1");
        shared.assert_batch_shared().await;
    });
}

/// One server, which works off what is asked in the order in which it was sent.
#[test]
fn who_is_critical_gets_aboard_before_those_who_wait() {
    measure(async || {
        let settings = classes(1, "priority = 'critical'", "priority = 'sheddable'");
        let mut shared = Shared::start(settings.set("multiplex_depth", 3)).await;
        let when = || Batch::new().query("select clock_timestamp()");
        let mut rest = shared.clients(8).await;
        let mut critical = shared.clients_of("batch", 2).await;
        shared.learn(&mut rest[0], || Batch::new().query(LOCKED)).await;
        shared.learn(&mut rest[0], when).await;
        // Nor is it that they have had less.
        for _ in 0..5 {
            critical[0].value("select pg_sleep(0.1)").await;
        }
        let before = shared.shared().await;
        let locker = shared.rig.postgres.connect("app").await.expect("Postgres answers");
        locker.batch_execute("begin; lock table t").await.expect("a lock");
        shared.hold().await;
        shared.queue(&mut rest[0], Batch::new().query(LOCKED)).await;
        for client in &mut rest[1..] {
            shared.queue(client, when()).await;
        }
        shared.let_go().await;
        eventually("three are aboard", async || {
            (shared.number("cl_riding").await == 3).then_some(())
        })
        .await;
        for client in &mut critical {
            shared.queue(client, when()).await;
        }
        locker.batch_execute("commit").await.expect("it is over");
        rest[0].answer().await;
        let mut order = Vec::new();
        for (class, clients) in [("rest", &mut rest[1..]), ("critical", &mut critical[..])] {
            for client in clients {
                let answer = client.answer().await;
                order.push((answer[1].clone(), class));
            }
        }
        order.sort();
        let order: Vec<_> = order.into_iter().map(|(_, class)| class).collect();
        let wanted = [["rest"; 2].as_slice(), &["critical"; 2], &["rest"; 5]].concat();
        assert_eq!(order, wanted);
        // The last may be alone.
        assert!(shared.shared().await - before >= 9);
    });
}

/// Three times as many as can be served in time.
#[test]
fn an_overload_of_those_who_share_is_shed() {
    measure(async || {
        let settings = settings()
            .pool_size(4)
            .set("max_client_conn", 1_000)
            .set("multiplex_functions", ["pg_sleep"]);
        let mut shared = Shared::start(settings).await;
        let login = shared.login();
        let text = "select pg_sleep(0.01)";
        let alone = Crowd::new(&login, 4, text, ms(1250));
        let possible = unleash(&[alone]).await[0].rate(&(ms(250)..ms(1250)));
        let before = shared.shared().await;
        let crowd = Crowd::new(&login, 300, text, ms(5000));
        let mut probe = login.connect().await;
        let mut told = Vec::new();
        let tally = unleash_while(&[crowd], async || {
            told = eventually("somebody is refused", async || {
                let frames = probe.ask_frames(Batch::new().query(text)).await;
                let errors: Vec<_> = frames.into_iter().filter(|it| it.tag == b'E').collect();
                (!errors.is_empty()).then_some(errors)
            })
            .await;
        })
        .await
        .swap_remove(0);
        assert_eq!(told[0].shown(), "E(ERROR 57014)");
        assert_eq!(told[0].field(b'R').as_deref(), Some("pooler_shed"));
        assert!(told[0].field(b'D').is_some_and(|detail| !detail.is_empty()));
        let counted = ms(2000)..ms(5000);
        let (goodput, slow) = (tally.rate(&counted), tally.percentile(99, &counted));
        let count = shared.shared().await - before;
        let (refused, given_up) = (tally.refused, tally.given_up);
        let seen = format!(
            "{goodput}/s of {possible}/s, {slow:?} for 99 %, {refused} refused, \
             {given_up} gave up, {count} shared of {}",
            tally.answers.len()
        );
        // These are the bounds of `overload`, for as many without sharing.
        assert!(goodput > 0.75 * possible, "{seen}");
        assert!(slow < ms(470), "{seen}");
        // Seen 175 of 7,300, and on a busy machine 314 of 5,900.
        assert!(given_up * 5 < refused, "{seen}");
        assert!(count * 2 > tally.answers.len() as u64, "{seen}");
        let of_class = shared.console.number("app/app", "refused").await;
        assert!(of_class >= refused as u64, "{seen}");
    });
}
