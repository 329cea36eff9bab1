//! How long a notification takes to a client that is idle, beside one on a connection of its own.
//!
//! `PGWEIR_NOTIFICATIONS` says how many are sent to each.

use std::time::Duration;

use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::process::show;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, run_within};
use crate::harness::wire::Client;

const NOTIFICATIONS: usize = 300;

/// For what the proxy adds in the middle, which is far less than this where nothing else runs.
const SLACK: Duration = Duration::from_millis(50);

fn notifications() -> usize {
    let wanted = std::env::var("PGWEIR_NOTIFICATIONS").ok();
    wanted.map_or(NOTIFICATIONS, |text| text.parse().expect("a number"))
}

/// From before it is sent until it is there.
async fn time_of_one(notifier: &mut Client, listener: &mut Client, channel: &str) -> Duration {
    let watch = Watch::start();
    notifier.send(Batch::new().query(&format!("notify {channel}, 'now'"))).await;
    assert_eq!(listener.wire.frame().await.shown(), format!("A({channel},now)"));
    let took = watch.elapsed();
    assert_eq!(notifier.answer().await, ["C(NOTIFY)", "Z(I)"]);
    took
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

#[test]
fn a_notification_takes_hardly_longer_than_without_a_proxy() {
    run_within(Duration::from_mins(2), async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let direct = Login::to(&rig.postgres.address());
        let mut notifier = direct.connect().await;
        let mut listeners = [(direct.connect().await, "near"), (rig.client().await, "far")];
        for (listener, channel) in &mut listeners {
            let answer = listener.query(&format!("listen {channel}")).await;
            assert_eq!(answer, ["C(LISTEN)", "Z(I)"]);
        }
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..notifications() {
            // By turns: what disturbs the machine disturbs both.
            for ((listener, channel), times) in listeners.iter_mut().zip(&mut times) {
                times.push(time_of_one(&mut notifier, listener, channel).await);
            }
        }
        for (times, which) in times.iter_mut().zip(["direct", "through the proxy"]) {
            let [middle, slow] = [50, 99].map(|percent| percentile(times, percent));
            show(&format!("{which}: p50 {middle:?}, p99 {slow:?}"));
        }
        let [direct, through] = times.each_mut().map(|times| percentile(times, 50));
        assert!(through <= direct + SLACK, "{through:?} instead of {direct:?}");
    });
}
