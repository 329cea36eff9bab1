//! More clients than servers: who gets an answer in time, and at what price. What is measured exactly,
//! and beside PgBouncer, is in `benches/proxy/overload`; here is what holds on any machine.

use std::ops::Range;
use std::time::Duration;

use crate::harness::crowd::{Crowd, Tally, unleash};
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run;

const POOL_SIZE: u32 = 4;
const SHORT: &str = "select pg_sleep(0.01)";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What a pool does for as many clients as it has servers, in answers a second.
async fn capacity(rig: &Rig, transaction: &'static str) -> f64 {
    let crowd = Crowd::new(&Login::to(rig.address()), POOL_SIZE.into(), transaction, ms(1250));
    // The pool opens its servers before it is at its best.
    unleash(&[crowd]).await[0].rate(&(ms(250)..ms(1250)))
}

/// Whether there is a whole half second in `span` with this many answers a second.
fn reaches(tallies: &[Tally], wanted: f64, span: &Range<Duration>) -> bool {
    let mut from = span.start;
    while from + ms(500) <= span.end {
        let window = from..from + ms(500);
        if tallies.iter().map(|tally| tally.rate(&window)).sum::<f64>() >= wanted {
            return true;
        }
        from += ms(50);
    }
    false
}

#[test]
fn who_can_be_served_in_time_is_neither_refused_nor_given_up() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        // A quarter of what they have patience for, so that a hiccup of the machine is no matter.
        let crowd = Crowd::new(&Login::to(rig.address()), 50, SHORT, ms(3000));
        let tallies = unleash(&[crowd]).await;
        let [Tally { refused, given_up, .. }] = tallies[..] else { panic!("one crowd") };
        assert_eq!((refused, given_up), (0, 0), "nobody had to give up, so nothing is shed");
        let goodput = tallies[0].rate(&(ms(500)..ms(3000)));
        assert!(goodput > 0.75 * possible, "{goodput}/s of {possible}/s");
    });
}

#[test]
fn a_surge_is_over_when_it_is_over() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(POOL_SIZE)).await;
        let possible = capacity(&rig, SHORT).await;
        let login = Login::to(rig.address());
        let base = Crowd::new(&login, 30, SHORT, ms(6000));
        let surge = Crowd::new(&login, 270, SHORT, ms(6000)).active(ms(1000)..ms(3000));
        let tallies = unleash(&[base, surge]).await;
        // The last of the surge may wait for half a second longer.
        let after = ms(3000)..ms(6000);
        assert!(reaches(&tallies, 0.75 * possible, &after), "never again {possible}/s");
    });
}
