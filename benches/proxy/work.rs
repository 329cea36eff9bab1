//! One measurement: makes a contestant work, and says what each piece of work cost it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Connection, Login};
use crate::contestants::{Auth, Running};
use crate::interrupt;
use crate::postgres::PASSWORD;
use crate::process::{Process, command};
use crate::rows::{Row, Script, Work};
use crate::scrape::Answer;
use crate::settings::pool_name;
use crate::stage::Stage;
use crate::stats::percentile_ms;
use crate::usage::{CpuTime, Spent, Ticks, resident_bytes};

/// What `pgbench` may take beyond its time: connecting, and the answers under way at the end.
const OVERTIME: Duration = Duration::from_secs(20);
/// Clients that connect, query and stay before memory is first looked at, so that the pool, the
/// buffers and the tables that every process has once are not counted for the clients.
const FIRST_CLIENTS: u32 = 200;
/// A proxy may tidy up a little after its clients went quiet.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);
const SETTLE_STEP: Duration = Duration::from_millis(200);

/// In each measurement of scrapes.
const SCRAPES: usize = 10;

pub(crate) struct Sample {
    /// Per transaction, login or client, in the row's unit.
    pub(crate) cost: f64,
    /// How a CPU cost divides.
    pub(crate) ticks: Option<Ticks>,
    /// Transactions or logins a second, where it says something about the proxy.
    pub(crate) rate: Option<f64>,
    /// What somebody else noticed of it.
    pub(crate) beside: Option<Beside>,
}

/// How long queries take, one after the other, at the 99th percentile in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    pub(crate) without: f64,
    /// While what is measured is done again and again.
    pub(crate) with: f64,
}

impl Sample {
    fn of_cpu(spent: &Spent, pieces: f64, rate: Option<f64>) -> Self {
        let cost = spent.nanoseconds as f64 / 1000.0 / pieces;
        Self { cost, ticks: Some(spent.ticks), rate, beside: None }
    }
}

/// Does what the first measured run would otherwise be first to do.
pub(crate) fn warm_up(stage: &Stage, row: &Row, running: &Running) -> Result<()> {
    match row.work {
        Work::IdleClients | Work::Scrapes { .. } => Ok(()),
        Work::Logins => log_in_and_out(running, 50),
        Work::Queries { script, protocol, clients } => {
            let protocol = running.protocol(protocol);
            let load = Load { script, protocol, clients, time: stage.plan.warm_up };
            pgbench(stage, running, &load).map(drop)
        }
    }
}

pub(crate) fn measure(stage: &Stage, row: &Row, running: &Running) -> Result<Sample> {
    match row.work {
        Work::IdleClients => idle_clients(running, stage.plan.idle_clients),
        Work::Scrapes { what, clients, pools } => {
            scrapes(running, what, (clients, pools), stage.plan.run)
        }
        Work::Logins => {
            let count = match row.auth {
                Auth::ScramSha256 => stage.plan.logins_scram,
                Auth::Trust => stage.plan.logins_trust,
            };
            logins(running, row.auth, count)
        }
        Work::Queries { script, protocol, clients } => {
            let protocol = running.protocol(protocol);
            let load = Load { script, protocol, clients, time: stage.plan.run };
            let before = CpuTime::read(running.id())?;
            let report = pgbench(stage, running, &load)?;
            let spent = before.until(&CpuTime::read(running.id())?);
            Ok(Sample::of_cpu(&spent, report.transactions, Some(report.per_second)))
        }
    }
}

struct Load {
    script: Script,
    protocol: &'static str,
    clients: u16,
    time: Duration,
}

struct Report {
    transactions: f64,
    per_second: f64,
}

fn pgbench(stage: &Stage, running: &Running, load: &Load) -> Result<Report> {
    let login = running.login();
    let mut pgbench = command(&stage.programs.pgbench);
    pgbench.env("PGPASSWORD", PASSWORD).args(["-n", "-j", "1", "-h", "127.0.0.1"]);
    pgbench.args(["-M", load.protocol, "-c", &load.clients.to_string()]);
    pgbench.args(["-T", &load.time.as_secs().to_string()]);
    match load.script {
        Script::SelectOnly => {
            pgbench.arg("-S");
        }
        Script::TpcB => {}
        Script::Sql(sql) => {
            let file = stage.directory().join("script.sql");
            fs::write(&file, sql)?;
            pgbench.arg("-f").arg(file);
        }
    }
    pgbench.args(["-p", &login.port.to_string(), "-U", login.user, login.database]);
    let output =
        Process::spawn(pgbench, "pgbench", stage.directory())?.finish(load.time + OVERTIME)?;
    parse_report(&output)
        .ok_or_else(|| format!("pgbench did not say how many transactions it ran: {output}").into())
}

/// Failed transactions end a client, and `pgbench` then fails as a whole, so these all succeeded.
fn parse_report(output: &str) -> Option<Report> {
    let after = |label| output.lines().find_map(|line: &str| line.strip_prefix(label));
    let first_number = |text: &str| text.split([' ', '/']).next()?.parse::<f64>().ok();
    let transactions =
        after("number of transactions actually processed: ").and_then(first_number)?;
    let per_second = after("tps = ").and_then(first_number)?;
    (transactions > 0.0).then_some(Report { transactions, per_second })
}

fn logins(running: &Running, auth: Auth, count: u32) -> Result<Sample> {
    let before = CpuTime::read(running.id())?;
    let started = Instant::now();
    log_in_and_out(running, count)?;
    let seconds = started.elapsed().as_secs_f64();
    let spent = before.until(&CpuTime::read(running.id())?);
    // With SCRAM the time is the client's own, spent on PBKDF2.
    let rate = (auth == Auth::Trust).then(|| f64::from(count) / seconds);
    Ok(Sample::of_cpu(&spent, f64::from(count), rate))
}

fn log_in_and_out(running: &Running, count: u32) -> Result<()> {
    for _ in 0..count {
        interrupt::check()?;
        let mut connection = Connection::open(running.login())?;
        connection.query("select 1")?;
        connection.close()?;
    }
    Ok(())
}

fn idle_clients(running: &Running, count: u32) -> Result<Sample> {
    let join = || -> Result<_> {
        interrupt::check()?;
        let mut connection = Connection::open(running.login())?;
        connection.query("select 1")?;
        Ok(connection.into_stream())
    };
    let first = (0..FIRST_CLIENTS).map(|_| join()).collect::<Result<Vec<_>>>()?;
    let before = settled_memory(running.id())?;
    let clients = (0..count).map(|_| join()).collect::<Result<Vec<_>>>()?;
    let after = settled_memory(running.id())?;
    drop((first, clients));
    let cost = (after as f64 - before as f64) / f64::from(count);
    Ok(Sample { cost, ticks: None, rate: None, beside: None })
}

/// The slowest of some scrapes, and what a client notices of them.
fn scrapes(
    running: &Running,
    what: Answer,
    (clients, pools): (u32, u16),
    time: Duration,
) -> Result<Sample> {
    let names: Vec<_> = (0..pools).map(pool_name).collect();
    let join = |database| -> Result<_> {
        interrupt::check()?;
        let mut connection = Connection::open(Login { database, ..running.login() })?;
        connection.query("select 1")?;
        Ok(connection.into_stream())
    };
    let all = names.iter().cycle().take(clients as usize);
    let clients = all.map(|database| join(database)).collect::<Result<Vec<_>>>()?;
    let times = (0..SCRAPES).map(|_| running.scraper()?.ask(what));
    let slowest = times.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default();
    let beside = Some(queries_beside(running, what, time)?);
    drop(clients);
    Ok(Sample { cost: slowest.as_secs_f64() * 1e3, ticks: None, rate: None, beside })
}

/// One client's queries, for so long without scrapes, but for the one a second, and for so long with one
/// after the other.
fn queries_beside(running: &Running, what: Answer, time: Duration) -> Result<Beside> {
    let mut connection = Connection::open(running.login())?;
    let scraper = running.scraper()?;
    let without = slow_query(&mut connection, time)?;
    let is_over = AtomicBool::new(false);
    let with = thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                scraper.ask(what).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
        let with = slow_query(&mut connection, time);
        is_over.store(true, Ordering::Relaxed);
        scraping.join().map_err(|_| "the scraper panicked")??;
        with
    })?;
    connection.close()?;
    Ok(Beside { without, with })
}

/// How long one of a hundred takes, or longer.
fn slow_query(connection: &mut Connection, time: Duration) -> Result<f64> {
    interrupt::check()?;
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let asked = Instant::now();
        connection.query("select 1")?;
        took.push(asked.elapsed());
    }
    Ok(percentile_ms(99, took))
}

/// Resident memory once two looks in a row agree, or after a while in any case.
fn settled_memory(process: u32) -> Result<u64> {
    let started = Instant::now();
    let mut last = resident_bytes(process)?;
    loop {
        thread::sleep(SETTLE_STEP);
        interrupt::check()?;
        let now = resident_bytes(process)?;
        if now == last || started.elapsed() > SETTLE_LIMIT {
            return Ok(now);
        }
        last = now;
    }
}
