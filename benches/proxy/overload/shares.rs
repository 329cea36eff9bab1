//! Two users who share one pool: what one of them gets, whatever the other does.

use std::ops::Range;
use std::time::Duration;

use super::crowd::{Crowd, Work};
use super::line::{Bar, Line, Unit};
use super::load::Load;
use super::tally::{Ending, Log};
use super::{Bench, FOREVER, pool_of};
use crate::Result;
use crate::contestants::Running;
use crate::postgres::{APP_USER, LOUD_USER};
use crate::settings::Setup;

/// Not counted: the pool fills, and who was first loses the advantage.
const WARM_UP: Duration = Duration::from_secs(1);

const WEIGHTS: &str = r#"
[[classes]]
name = "app"
match = { user = "app" }
weight = 3

[[classes]]
name = "loud"
match = { user = "loud" }
weight = 1
"#;

fn patient(user: &'static str, clients: u32, work: Work) -> Crowd {
    Crowd { user, clients, work, patience: FOREVER, active: (Duration::ZERO, FOREVER) }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A few quick clients, and three hundred slow ones beside them.
pub(super) fn neighbour(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let within = counted(bench);
    let app = patient(APP_USER, 4, Work::Steady(ms(2)));
    let loud = patient(LOUD_USER, 300, Work::Steady(ms(50)));
    let logs = bench.both(&pool_of(10), |running| beside(running, app, loud, &within))?;
    let answers = |log: &Log| log.per_second(Ending::Answered, &within);
    let p99 = |log: &Log| log.p99_ms(&within);
    Ok(vec![
        Line::new("app's p99 alone", Unit::Milliseconds, logs.map(|both| p99(&both.alone))),
        Line::new("app's p99", Unit::Milliseconds, logs.map(|both| p99(&both.together))),
        Line::new(
            "app's p99, of its p99 alone",
            Unit::Times,
            logs.map(|both| p99(&both.together) / p99(&both.alone)),
        )
        .possible(1.0)
        .bar(Some(Bar::at_most(3.0))),
        Line::new(
            "app's answers, of those alone",
            Unit::Percent,
            logs.map(|both| 100.0 * answers(&both.together) / answers(&both.alone)),
        )
        .possible(100.0)
        .bar(Some(Bar::at_least(80.0))),
        Line::new("loud's answers", Unit::PerSecond, logs.map(|both| answers(&both.other)))
            .possible(10.0 / 0.05),
    ])
}

/// Others get their half, however long one keeps servers without using them.
pub(super) fn hog(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let within = counted(bench);
    let app = patient(APP_USER, 20, Work::Steady(ms(5)));
    let hog = patient(LOUD_USER, 20, Work::Idle(ms(100)));
    let logs = bench.both(&pool_of(4), |running| beside(running, app, hog, &within))?;
    let answers = |log: &Log| log.per_second(Ending::Answered, &within);
    Ok(vec![
        Line::new("app's answers", Unit::PerSecond, logs.map(|both| answers(&both.together))),
        Line::new(
            "of its fair share: half of alone",
            Unit::Percent,
            logs.map(|both| 200.0 * answers(&both.together) / answers(&both.alone)),
        )
        .possible(100.0)
        .bar(Some(Bar::at_least(90.0))),
    ])
}

/// Server time, not transactions: those of one user take four times as long.
pub(super) fn weights(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let within = counted(bench);
    let crowds =
        [patient(APP_USER, 20, Work::Steady(ms(10))), patient(LOUD_USER, 20, Work::Steady(ms(40)))];
    let load = Load { crowds: &crowds, length: within.end, freeze: None };
    let setup = Setup { own: WEIGHTS, ..pool_of(4) };
    let logs = bench.both(&setup, |running| load.run(running.port()))?;
    let ratio = logs.map(|logs| logs[0].servers(&within) / logs[1].servers(&within));
    Ok(vec![
        Line::new("server time of app and loud", Unit::Ratio, ratio)
            .possible(3.0)
            .bar(Some(Bar::within(0.05, 3.0))),
    ])
}

struct Beside {
    alone: Log,
    together: Log,
    other: Log,
}

/// One crowd by itself, then with another beside it.
fn beside(running: &Running, one: Crowd, other: Crowd, within: &Range<Duration>) -> Result<Beside> {
    let run = |crowds: &[Crowd]| {
        let load = Load { crowds, length: within.end, freeze: None };
        load.run(running.port()).map(Vec::into_iter)
    };
    let (mut first, mut second) = (run(&[one])?, run(&[one, other])?);
    let mut next = || second.next().ok_or("a log for each crowd");
    Ok(Beside {
        alone: first.next().ok_or("a log for each crowd")?,
        together: next()?,
        other: next()?,
    })
}

fn counted(bench: &Bench<'_>) -> Range<Duration> {
    WARM_UP..Duration::from_secs(if bench.is_quick() { 5 } else { 11 })
}
