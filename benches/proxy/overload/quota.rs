//! A rate that a class may not exceed, and that it gets in full.

use std::time::Duration;

use super::crowd::{Crowd, Work};
use super::line::{Bar, Line, Unit};
use super::load::Load;
use super::tally::{Ending, Log};
use super::{Bench, FOREVER, pool_of};
use crate::Result;
use crate::postgres::APP_USER;
use crate::settings::Setup;

const LENGTH: Duration = Duration::from_secs(10);
/// What 50 a second and 100 at once come to in that time.
const ALLOWED: f64 = 600.0;

const DELAY: &str = r#"
[[classes]]
name = "app"
match = { user = "app" }
transactions_per_second = 50
burst = 100
on_excess = "delay"
"#;

const REJECT: &str = r#"
[[classes]]
name = "app"
match = { user = "app" }
transactions_per_second = 50
burst = 100
on_excess = "reject"
"#;

/// Whoever is over the rate waits.
pub(super) fn delayed(bench: &Bench<'_>) -> Result<Vec<Line>> {
    measure(bench, DELAY)
}

/// Whoever is over the rate is told so.
pub(super) fn rejected(bench: &Bench<'_>) -> Result<Vec<Line>> {
    measure(bench, REJECT)
}

fn measure(bench: &Bench<'_>, own: &'static str) -> Result<Vec<Line>> {
    let crowds = [Crowd {
        user: APP_USER,
        clients: 20,
        work: Work::Steady(Duration::from_millis(1)),
        patience: FOREVER,
        active: (Duration::ZERO, FOREVER),
    }];
    let load = Load { crowds: &crowds, length: LENGTH, freeze: None };
    let setup = Setup { own, ..pool_of(4) };
    let logs = bench.both(&setup, |running| Ok(Log::merged(load.run(running.port())?)))?;
    let within = Duration::ZERO..LENGTH;
    let count = |ending| logs.map(|log| log.count(ending, &within) as f64);
    Ok(vec![
        Line::new("transactions in 10 s", Unit::Count, count(Ending::Answered))
            .possible(ALLOWED)
            .bar(Some(Bar::within(0.02, ALLOWED))),
        Line::new("refused at once", Unit::Count, count(Ending::Refused)),
        Line::new("reconnects", Unit::Count, logs.map(|log| log.reconnects.len() as f64)),
    ])
}
