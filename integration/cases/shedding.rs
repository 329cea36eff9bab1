//! Who is refused, and who is served, while there is more than can be served in time.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::console::{Console, with_console};
use crate::harness::crowd::{Crowd, unleash};
use crate::harness::frames::Batch;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::pulse::measure;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, eventually, run};
use crate::harness::wire::Client;

const POOL_SIZE: u32 = 4;
const SHORT: &str = "select pg_sleep(0.01)";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Half of the servers are enough for the critical, the other half for the normal; the rest want fifty times
/// what is left.
#[test]
fn the_sheddable_are_refused_first_and_the_critical_last() {
    measure(async || {
        let class =
            |name: &str| format!("match = {{ application_name = '{name}' }}\npriority = '{name}'");
        let names = ["critical", "normal", "sheddable"];
        let settings = names.iter().fold(Settings::new().pool_size(POOL_SIZE), |settings, name| {
            settings.class(name, &class(name))
        });
        let rig = Rig::start(settings).await;
        let crowd = |name: &str, clients| {
            Crowd::new(
                &Login::to(rig.address()).with("application_name", name),
                clients,
                SHORT,
                ms(5000),
            )
        };
        let crowds = [crowd("critical", 2), crowd("normal", 20), crowd("sheddable", 200)];
        let tallies = unleash(&crowds).await;
        let refused = [0, 1, 2].map(|class: usize| tallies[class].refused);
        let gone = [0, 1, 2].map(|class: usize| tallies[class].given_up);
        let counted = ms(2000)..ms(5000);
        let rates = [0, 1, 2].map(|class: usize| tallies[class].rate(&counted));
        let seen = format!("refused {refused:?}, gave up {gone:?}, answers {rates:?}");
        assert!(refused[2] > 100, "nothing was shed: {seen}");
        assert_eq!(refused[0], 0, "{seen}");
        assert!(refused[1] * 20 <= refused[2], "{seen}");
        // What is left to them beside the normal ones is at least their floor.
        assert!(rates[2] > 0.0 && rates[0] > rates[2], "{seen}");
    });
}

/// Of two of one class, the second asks a moment after the first.
async fn second_is_first(pair: &mut [Client; 2]) -> Option<bool> {
    let [older, newer] = pair;
    older.send(Batch::new().query("select 1")).await;
    sleep(ms(2)).await;
    newer.send(Batch::new().query("select 1")).await;
    let watch = Watch::start();
    let at = async |client: &mut Client| {
        let answer = client.answer().await;
        let is_served = answer.iter().any(|frame| frame == "D(1)");
        is_served.then(|| watch.elapsed())
    };
    let (older, newer) = tokio::join!(at(older), at(newer));
    // Whoever was refused waited for nothing, or for too long.
    match (older, newer) {
        (Some(older), Some(newer)) if older > ms(2) && newer > ms(2) => Some(newer < older),
        (None, Some(_)) => Some(true),
        _ => None,
    }
}

/// So many pairs are enough to tell.
const PAIRS: u32 = 12;

/// Those who came first have waited for so long that they are about to leave; so would all after them.
#[test]
fn the_newest_are_served_first_while_it_sheds() {
    measure(async || {
        let rig = Rig::start(with_console(Settings::new().pool_size(POOL_SIZE))).await;
        let mut console = Console::open(&rig).await;
        let crowd = [Crowd::new(&Login::to(rig.address()), 300, SHORT, ms(50_000))];
        let mut pair = [rig.client().await, rig.client().await];
        let mut counts = [0, 0];
        let compared = async {
            console.wait_for("app/app", "shedding", 1).await;
            while counts[0] + counts[1] < PAIRS {
                if let Some(is_reversed) = second_is_first(&mut pair).await {
                    counts[usize::from(is_reversed)] += 1;
                }
            }
        };
        tokio::select! {
            () = compared => {}
            _ = unleash(&crowd) => {}
        }
        let [in_order, reversed] = counts;
        assert_eq!(in_order + reversed, PAIRS, "{counts:?}: they are hardly ever both in line");
        assert!(reversed > 2 * in_order, "{reversed} times the newer, {in_order} times the older");
    });
}

/// They are answered in a fraction of the time that they may wait.
#[test]
fn many_who_come_at_once_are_all_served() {
    run(async {
        let settings = Settings::new().pool_size(POOL_SIZE).overload("shed", "5s");
        let rig = Rig::start(settings).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(rig.client().await);
        }
        for client in &mut clients {
            client.send(Batch::new().query("select 1 from pg_sleep(0.01)")).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
        }
    });
}

/// Four are killed while they wait, which is no reason to send away those who are patient.
#[test]
fn who_is_killed_while_it_waits_has_shown_no_patience() {
    run(async {
        let rig = Rig::start(with_console(Settings::new().pool_size(1))).await;
        let mut console = Console::open(&rig).await;
        let mut holder = rig.client().await;
        holder.query("begin").await;
        let mut killed = Vec::new();
        for _ in 0..4 {
            let mut client = rig.client().await;
            client.send(Batch::new().query("select 1")).await;
            killed.push(client);
        }
        // Less than 50 ms would say nothing, whoever left.
        eventually("they have waited for a while", async || {
            let row = console.row("SHOW OVERLOAD", "app").await?;
            (row["waiting"] == "4" && row["maxwait_us"].parse::<u64>().ok()? > 300_000)
                .then_some(())
        })
        .await;
        for client in &killed {
            console.order(&format!("KILL_CLIENT {}", client.pid)).await;
        }
        console.wait_for("app/app", "abandoned", 4).await;
        let mut patient = Vec::new();
        for _ in 0..4 {
            let mut client = rig.client().await;
            client.send(Batch::new().query("select 1")).await;
            patient.push(client);
        }
        eventually("the others wait for as long", async || {
            let row = console.row("SHOW OVERLOAD", "app").await?;
            (row["waiting"] == "4" && row["maxwait_us"].parse::<u64>().ok()? > 600_000)
                .then_some(())
        })
        .await;
        let row = console.row("SHOW CLASSES", "app/app").await.expect("it is there");
        assert_eq!((row["patience_ms"].as_str(), row["refused"].as_str()), ("", "0"));
        holder.query("commit").await;
        for mut client in patient {
            assert_eq!(client.answer().await, ["T(?column?)", "D(1)", "C(SELECT 1)", "Z(I)"]);
        }
    });
}
