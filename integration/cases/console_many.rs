//! The console of a proxy with many clients.

use std::time::Duration;

use crate::harness::console::{Console, with_console};
use crate::harness::process::raise_descriptors;
use crate::harness::process::show;
use crate::harness::proxy::Rig;
use crate::harness::pulse::measure_with;
use crate::harness::settings::Settings;
use crate::harness::time::{Watch, run_threaded};
use crate::harness::wire::Client;

const CLIENTS: usize = 5_000;

/// How long each of its queries takes, until the watcher is told to stop.
fn watch(mut client: Client) -> impl AsyncFnOnce() -> Vec<Duration> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(async move {
        let mut took = Vec::new();
        while !*stopped.borrow() {
            let watch = Watch::start();
            assert_eq!(client.value("select 1").await, "1");
            took.push(watch.elapsed());
        }
        took
    });
    async move || {
        stop.send_replace(true);
        watching.await.expect("it is served")
    }
}

/// All of them are served by one worker, and so is the console.
async fn lists_beside_queries() {
    raise_descriptors();
    let settings = Settings::new().set("workers", 1).set("max_client_conn", 6_000);
    let rig = Rig::start(with_console(settings)).await;
    let mut idle = Vec::new();
    while idle.len() < CLIENTS {
        idle.push(rig.client().await);
    }
    let mut console = Console::open(&rig).await;
    let mut best = (Duration::MAX, Duration::MAX);
    // The best of a few: the machine may have been busy with something else.
    for _ in 0..5 {
        let end = watch(rig.client().await);
        let watch = Watch::start();
        assert!(console.rows("SHOW CLIENTS").await.len() > CLIENTS);
        let took = watch.elapsed();
        let worst = end().await.into_iter().max().expect("it asked");
        if worst < best.1 {
            best = (took, worst);
        }
    }
    let (took, worst) = best;
    show(&format!("SHOW CLIENTS with {CLIENTS}: {took:?}; a query beside it: {worst:?} at most"));
    // Without optimisation, on a machine with others; measured: 0.27 s and 34 ms.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(worst < Duration::from_millis(300), "{worst:?}");
}

#[test]
fn a_list_of_thousands_holds_up_nobodys_query() {
    measure_with(|| run_threaded(Duration::from_mins(3), lists_beside_queries()));
}
