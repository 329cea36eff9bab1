//! Quotas of a class whose clients share servers: each of them is met as exactly as without.
//!
//! The class `batch` has the quota; the class `rest` keeps the servers busy, so that there is something to
//! share. All use one pool.

use std::time::Duration;

use super::{Shared, lock_out, number, settings, shared as shared_of};
use crate::harness::console::with_console;
use crate::harness::crowd::{Crowd, Tally, unleash};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::ports::Port;
use crate::harness::pulse::measure;
use crate::harness::settings::Settings;
use crate::harness::wire::Client;

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The classes `batch` and `rest`, with these limits, in a pool of this size.
pub(super) fn classes(pool_size: u32, batch: &str, rest: &str) -> Settings {
    with_console(settings().pool_size(pool_size))
        .set("multiplex_functions", ["pg_sleep"])
        .database("app", "server_user", "app")
        .class("batch", &format!("match = {{ user = 'other' }}\n{batch}"))
        .class("rest", &format!("match = {{ user = 'app' }}\n{rest}"))
}

impl Shared {
    fn login_of(&self, class: &str) -> Login {
        let user = if class == "batch" { "other" } else { "app" };
        self.login().user(user, "")
    }

    pub(super) async fn clients_of(&self, class: &str, count: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.login_of(class).connect().await);
        }
        clients
    }

    /// Clients of a class who have all the time in the world.
    pub(super) fn crowd(
        &self,
        class: &str,
        clients: u64,
        text: &'static str,
        until: Duration,
    ) -> Crowd {
        Crowd::new(&self.login_of(class), clients, text, until).patience(Duration::from_mins(1))
    }

    pub(super) async fn server_seconds(&mut self, class: &str) -> f64 {
        let seconds = self.console.text(class, "server_seconds").await;
        seconds.expect("it is used").parse().expect("seconds")
    }

    /// Most of what `batch` was granted it had on servers that others shared, whoever had what did not share.
    pub(super) async fn assert_batch_shared(&mut self) {
        let batch = self.console.number("batch", "granted").await;
        let rest = self.console.number("rest", "granted").await;
        let alone = (batch + rest).saturating_sub(self.shared().await);
        assert!(alone * 2 < batch, "{alone} of {batch} and {rest} had a server for themselves");
    }
}

/// Those who wait are granted what the bucket has, all at once; not one more gets aboard.
#[test]
fn a_rate_is_kept_to_the_transaction() {
    measure(async || {
        let limits = "transactions_per_second = 0.001\nburst = 5";
        let mut shared = Shared::start(classes(1, limits, "")).await;
        let mut rest = shared.clients(2).await;
        let mut batch = shared.clients_of("batch", 7).await;
        // Kinds are the pool's: who has learned it is no matter.
        shared.learn(&mut rest[0], || number(0)).await;
        let before = shared.shared().await;
        shared.hold().await;
        for (n, client) in batch.iter_mut().enumerate() {
            shared.queue(client, number(n)).await;
        }
        for (n, client) in rest.iter_mut().enumerate() {
            shared.queue(client, number(n)).await;
        }
        shared.let_go().await;
        super::all_have_their_own(&mut rest).await;
        super::all_have_their_own(&mut batch[..5]).await;
        shared.console.wait_for("batch", "in_flight", 0).await;
        assert_eq!(shared.console.number("batch", "granted").await, 5);
        assert_eq!(shared.console.number("batch", "queued").await, 2);
        assert_eq!(shared.shared().await - before, 7);
    });
}

#[test]
fn who_exceeds_a_rate_is_refused_after_so_many_that_shared() {
    measure(async || {
        let limits = "transactions_per_second = 0.001\nburst = 5\non_excess = 'reject'";
        let mut shared = Shared::start(classes(1, limits, "")).await;
        let mut rest = shared.clients(1).await;
        let mut batch = shared.clients_of("batch", 5).await;
        shared.learn(&mut rest[0], || number(0)).await;
        super::share(&mut shared, &mut batch, number).await;
        for client in &mut batch {
            let error = client.error("select 1").await;
            assert_eq!(error.shown(), "E(ERROR 57014)");
            assert_eq!(error.field(b'R').as_deref(), Some("pooler_rate_limit"));
        }
        assert_eq!(shared.console.number("batch", "granted").await, 5);
        assert_eq!(shared.console.number("batch", "refused_rate").await, 5);
    });
}

/// What a class of 50 transactions a second, and 100 at once, gets in three seconds beside a crowd.
async fn under_quota(on_excess: &str) -> (Shared, Tally) {
    let limits = format!("transactions_per_second = 50\nburst = 100\non_excess = '{on_excess}'");
    let mut shared = Shared::start(classes(2, &limits, "")).await;
    let crowds = [
        shared.crowd("batch", 20, "select pg_sleep(0.001) as batch", ms(3000)),
        shared.crowd("rest", 10, "select pg_sleep(0.005) as rest", ms(3000)),
    ];
    let tally = unleash(&crowds).await.swap_remove(0);
    let answered = tally.rate(&(ms(0)..ms(3000))) * 3.0;
    // As without sharing: see `overload`.
    assert!((245.0..=255.0).contains(&answered), "{answered} transactions, not 250");
    assert_eq!(tally.given_up, 0, "everybody keeps their session");
    shared.assert_batch_shared().await;
    (shared, tally)
}

#[test]
fn a_rate_delays_those_who_share() {
    measure(async || {
        let (mut shared, tally) = Box::pin(under_quota("delay")).await;
        assert_eq!(tally.refused, 0);
        assert!(shared.console.number("batch", "delayed_rate").await > 0);
    });
}

#[test]
fn a_rate_refuses_those_who_share() {
    measure(async || {
        let (mut shared, tally) = Box::pin(under_quota("reject")).await;
        let refused = shared.console.number("batch", "refused_rate").await;
        assert!(refused > 0);
        assert_eq!(refused, tally.refused as u64);
    });
}

/// Those of the other class get aboard in their place, though it is not their turn.
#[test]
fn a_class_at_max_in_flight_is_passed_over_by_those_who_share() {
    measure(async || {
        let limits = "max_in_flight = 2\npriority = 'critical'";
        let mut shared = Shared::start(classes(1, limits, "")).await;
        let mut clients = shared.clients_of("batch", 4).await;
        clients.append(&mut shared.clients(2).await);
        let lock = lock_out(&mut shared, &mut clients).await;
        assert_eq!(shared.number("cl_riding").await, 4, "two of each");
        assert_eq!(shared.console.number("batch", "in_flight").await, 2);
        assert_eq!(shared.console.number("batch", "queued").await, 2);
        assert_eq!(shared.console.number("rest", "queued").await, 0);
        lock.batch_execute("commit").await.expect("it is over");
        clients[0].answer().await;
        super::all_have_their_own(&mut clients[1..]).await;
        shared.console.wait_for("batch", "in_flight", 0).await;
    });
}

/// On one server, where three may be at once: how many were aboard is counted for each that boards.
async fn never_more_than_three(limits: &str) {
    let http = Port::take();
    let settings = classes(1, limits, "").set("http_addr", http.address().as_str());
    let mut shared = Shared::start(settings).await;
    let crowd = shared.crowd("batch", 20, "select pg_sleep(0.002) as batch", ms(1500));
    let tally = unleash(&[crowd]).await.swap_remove(0);
    let most = shared_of(&http).await;
    assert_eq!(most.depth, 3, "{most:?}");
    assert!(most.statements * 2 > tally.answers.len(), "{most:?} of {}", tally.answers.len());
    shared.console.wait_for("batch", "in_flight", 0).await;
}

#[test]
fn a_class_never_has_more_aboard_than_max_in_flight() {
    measure(async || Box::pin(never_more_than_three("max_in_flight = 3")).await);
}

#[test]
fn an_address_never_has_more_aboard_than_its_max_in_flight() {
    measure(async || Box::pin(never_more_than_three("per_address = { max_in_flight = 3 }")).await);
}

/// Behind a head that takes a third of a second, and that another class pays for.
#[test]
fn who_is_behind_a_slow_head_does_not_pay_for_it() {
    measure(async || {
        let limits = "server_seconds_per_second = 1";
        let mut shared = Shared::start(classes(1, limits, "")).await;
        let slow = || Batch::new().query("select pg_sleep(0.3), 'mine' as slow");
        let mut rest = shared.clients(2).await;
        let mut batch = shared.clients_of("batch", 4).await;
        shared.learn(&mut rest[0], slow).await;
        shared.learn(&mut rest[1], || number(0)).await;
        let rest_before = shared.server_seconds("rest").await;
        let before = shared.shared().await;
        shared.hold().await;
        shared.queue(&mut rest[0], slow()).await;
        for (n, client) in batch.iter_mut().enumerate() {
            shared.queue(client, number(n)).await;
        }
        shared.let_go().await;
        super::all_have_their_own(&mut batch).await;
        rest[0].answer().await;
        shared.console.wait_for("batch", "in_flight", 0).await;
        assert_eq!(shared.shared().await - before, 5);
        // With three tenths of the head's for each of the four they would be in debt.
        let paid = shared.server_seconds("batch").await;
        assert!(paid < 0.3, "{paid} s for four short statements");
        let head = shared.server_seconds("rest").await - rest_before;
        assert!(head >= 0.3, "{head} s");
        super::share(&mut shared, &mut batch, number).await;
        assert_eq!(shared.console.number("batch", "delayed_server_time").await, 0);
    });
}

/// Each class pays for its own sleeps, whoever it is behind.
#[test]
fn server_time_is_whose_statement_it_is() {
    measure(async || {
        let mut shared = Shared::start(classes(2, "", "")).await;
        let crowds = [
            shared.crowd("batch", 10, "select pg_sleep(0.005) as batch", ms(3000)),
            shared.crowd("rest", 10, "select pg_sleep(0.05) as rest", ms(3000)),
        ];
        unleash(&crowds).await;
        shared.assert_batch_shared().await;
        for (class, sleep) in [("batch", 0.005), ("rest", 0.05)] {
            let granted = shared.console.number(class, "granted").await;
            let slept = f64::from(u32::try_from(granted).expect("a test is short")) * sleep;
            let paid = shared.server_seconds(class).await;
            // Seen 1.11 and 1.01 times as much; with all that they waited aboard it would be 20 for the first.
            let times = paid / slept;
            assert!((0.8..3.0).contains(&times), "{class} paid {paid} s for {slept} s");
        }
    });
}

#[test]
fn server_time_is_rationed_for_those_who_share() {
    measure(async || {
        let limits = "server_seconds_per_second = 0.5";
        let mut shared = Shared::start(classes(2, limits, "")).await;
        let crowds = [
            shared.crowd("batch", 10, "select pg_sleep(0.01) as batch", ms(4000)),
            shared.crowd("rest", 10, "select pg_sleep(0.005) as rest", ms(4000)),
        ];
        let tallies = unleash(&crowds).await;
        shared.assert_batch_shared().await;
        let paid = shared.server_seconds("batch").await;
        let slept = tallies[0].rate(&(ms(0)..ms(4000))) * 4.0 * 0.01;
        // Half a second at once and two more; and in debt for as many as are aboard. Seen 2.64.
        assert!((2.0..3.2).contains(&paid), "{paid} s, not 2.5");
        assert!(slept < 1.2 * paid, "{slept} s of sleep cost {paid} s");
    });
}
