//! More clients than the pool can serve within their patience.

use std::ops::Range;
use std::time::Duration;

use super::crowd::{Crowd, Work};
use super::line::{Bar, Line, Pair, Unit};
use super::load::{Freeze, Load};
use super::tally::{Ending, Log};
use super::{Bench, FOREVER, pool_of};
use crate::Result;
use crate::contestants::Running;
use crate::postgres::APP_USER;
use crate::rows::SHARING;

const POOL_SIZE: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(500);
const SHORT: Work = Work::Steady(Duration::from_millis(10));
const LONG: Duration = Duration::from_millis(200);
const MIX: Work = Work::Mixed(Duration::from_millis(1), LONG);
/// The part of what is possible that is as good as all of it.
const FULL: f64 = 0.95;
/// The part of PgBouncer's reconnects that pgweir may cause.
const RECONNECTS: f64 = 0.05;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As many impatient clients as that, all the time.
pub(super) fn steady(bench: &Bench<'_>, clients: u32) -> Result<Vec<Line>> {
    let within = counted(bench);
    let possible = capacity(bench, SHORT)?.per_second(Ending::Answered, &within);
    let logs = flooded(bench, &[crowd(clients, SHORT)], within.end)?;
    let goodput = logs.map(|log| log.per_second(Ending::Answered, &within));
    let goodput = Line::new("answers in time", Unit::PerSecond, goodput).possible(possible);
    if clients <= POOL_SIZE {
        // Nobody has to wait: what the rest is compared with.
        return Ok(vec![goodput]);
    }
    let mut lines = vec![goodput.bar(Some(Bar::at_least(FULL * possible)))];
    lines.extend(price(&logs, &within, clients));
    Ok(lines)
}

/// Transactions that differ two hundredfold. Answers are no measure of the work done for them, so
/// what counts is how many servers worked for an answer that came in time.
pub(super) fn mixed(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let within = counted(bench);
    let possible = capacity(bench, MIX)?.servers(&within);
    let logs = flooded(bench, &[crowd(300, MIX)], within.end)?;
    let goodput = logs.map(|log| log.servers(&within));
    let mut lines = vec![
        Line::new("servers that worked for answers in time", Unit::Servers, goodput)
            .possible(possible)
            .bar(Some(Bar::at_least(FULL * possible))),
        Line::new(
            "answers in time",
            Unit::PerSecond,
            logs.map(|log| log.per_second(Ending::Answered, &within)),
        ),
    ];
    lines.extend(price(&logs, &within, 300));
    Ok(lines)
}

/// Short reads, which share servers if they may, beside a few that take long. Without limit of patience: who
/// shares a server is to wait no longer than who does not.
pub(super) fn sprinkled(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let within = counted(bench);
    let crowds = [Crowd { patience: FOREVER, ..crowd(64, Work::Reads(LONG)) }];
    let load = Load { crowds: &crowds, length: within.end, freeze: None };
    let measure = |running: &Running| Ok(Log::merged(load.run(running.port())?));
    let off = bench.both(&pool_of(POOL_SIZE), measure)?;
    let on = Pair { pgweir: bench.one(SHARING, &pool_of(POOL_SIZE), measure)?, pgbouncer: None };
    let figures = [("p50 of the reads", 50), ("p99 of the reads", 99)];
    let lines = figures.into_iter().zip(["p50, sharing", "p99, sharing"]).flat_map(
        |((figure, percent), sharing)| {
            let of = |log: &Log| log.short_ms(percent, &within);
            let bar = off.map(of).pgweir.map(|off| Bar::at_most(1.1 * off));
            [
                Line::new(figure, Unit::Milliseconds, off.map(of)),
                Line::new(sharing, Unit::Milliseconds, on.map(of)).bar(bar),
            ]
        },
    );
    let per_second = |log: &Log| log.per_second(Ending::Answered, &within);
    Ok(lines
        .chain([
            Line::new("answers", Unit::PerSecond, off.map(per_second)),
            Line::new("answers, sharing", Unit::PerSecond, on.map(per_second)),
        ])
        .collect())
}

/// Ten times as many clients, for five seconds.
pub(super) fn step(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let (up, down, end) = (secs(3), secs(8), secs(13));
    let possible = capacity(bench, SHORT)?.per_second(Ending::Answered, &counted(bench));
    let surge = Crowd { active: (up, down), ..crowd(270, SHORT) };
    let logs = flooded(bench, &[crowd(30, SHORT), surge], end)?;
    // As everywhere, the first seconds are for noticing.
    let high = up + secs(2)..down;
    let goodput = logs.map(|log| log.per_second(Ending::Answered, &high));
    Ok(vec![
        Line::new("answers in time while it is high", Unit::PerSecond, goodput)
            .possible(possible)
            .bar(Some(Bar::at_least(FULL * possible))),
        recovery("from the step down until full", &logs, &(down..end), FULL * possible, 1.0),
        reconnects(&logs, 300),
    ])
}

/// Postgres answers nobody for three seconds.
pub(super) fn freeze(bench: &Bench<'_>) -> Result<Vec<Line>> {
    let (from, until, end) = (secs(4), secs(7), secs(12));
    let possible = capacity(bench, SHORT)?.per_second(Ending::Answered, &counted(bench));
    let crowds = [crowd(300, SHORT)];
    let freeze = Freeze { postgres: bench.stage.postgres(), from, until };
    let load = Load { crowds: &crowds, length: end, freeze: Some(freeze) };
    let logs =
        bench.both(&pool_of(POOL_SIZE), |running| Ok(Log::merged(load.run(running.port())?)))?;
    Ok(vec![
        recovery("from the thaw until full", &logs, &(until..end), FULL * possible, 2.0),
        reconnects(&logs, 300),
    ])
}

fn crowd(clients: u32, work: Work) -> Crowd {
    let active = (Duration::ZERO, FOREVER);
    Crowd { user: APP_USER, clients, work, patience: PATIENCE, active }
}

/// From the third second on.
fn counted(bench: &Bench<'_>) -> Range<Duration> {
    secs(3)..secs(if bench.is_quick() { 6 } else { 11 })
}

/// What Postgres does for as many clients as the pool has servers.
fn capacity(bench: &Bench<'_>, work: Work) -> Result<Log> {
    let crowds = [crowd(POOL_SIZE, work)];
    let load = Load { crowds: &crowds, length: counted(bench).end, freeze: None };
    Ok(Log::merged(bench.direct(&load)?))
}

fn flooded(bench: &Bench<'_>, crowds: &[Crowd], length: Duration) -> Result<Pair<Log>> {
    let load = Load { crowds, length, freeze: None };
    bench.both(&pool_of(POOL_SIZE), |running| Ok(Log::merged(load.run(running.port())?)))
}

/// What the clients pay for it.
fn price(logs: &Pair<Log>, within: &Range<Duration>, clients: u32) -> [Line; 3] {
    [
        Line::new("p99 of the answered", Unit::Milliseconds, logs.map(|log| log.p99_ms(within)))
            .bar(Some(Bar::at_most(500.0))),
        reconnects(logs, clients),
        Line::new(
            "refused at once",
            Unit::PerSecond,
            logs.map(|log| log.per_second(Ending::Refused, within)),
        ),
    ]
}

/// In the whole run, the first seconds as well. Where PgBouncer causes none, one of a hundred
/// clients may still have met a hiccup of the machine.
fn reconnects(logs: &Pair<Log>, clients: u32) -> Line {
    let count = logs.map(|log| log.reconnects.len() as f64);
    let bar = count
        .pgbouncer
        .map(|theirs| Bar::at_most((theirs * RECONNECTS).max(f64::from(clients) / 100.0).floor()));
    Line::new("reconnects, whole run", Unit::Count, count).bar(bar)
}

fn recovery(
    what: &'static str,
    logs: &Pair<Log>,
    span: &Range<Duration>,
    wanted: f64,
    at_most: f64,
) -> Line {
    Line::new(what, Unit::Seconds, logs.map(|log| log.recovery(span, wanted)))
        .possible(0.0)
        .bar(Some(Bar::at_most(at_most)))
}
