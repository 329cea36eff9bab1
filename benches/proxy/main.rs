//! Measures pgweir against PgBouncer and against a bare relay, in one run on one machine.
//!
//! `./dev bench`, or `cargo bench --bench proxy -- --help`; `docs/performance.md` has the method.
//! From the outside in: `contest` has the rounds, `work` a single measurement, `contestants` the
//! proxies, `rows` what is compared and the bars, `report` and `table` what is said about it.
//! `overload` is the other half: not what a query costs, but who gets an answer when all cannot.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that people watch")]
#![expect(clippy::disallowed_methods, reason = "it has no worker to block and no clock but time")]
#![expect(clippy::cast_precision_loss, reason = "sums of a few seconds, shown with three digits")]

mod client;
mod contest;
mod contestants;
mod grid;
mod interrupt;
mod machine;
mod overload;
mod plan;
mod postgres;
mod process;
mod programs;
mod progress;
mod relay;
mod report;
mod rows;
mod scrape;
mod settings;
mod stage;
mod stats;
mod table;
mod usage;
mod work;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::machine::Machine;
use crate::plan::{Arguments, How, Other, OverloadArguments, Plan};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::report::Report;
use crate::stage::Stage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// More than this before the bench began, and it competes with something for the CPU.
const LOAD_QUIET_MAX: f64 = 0.5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.relay {
        Some(ports) => relay::run(ports[0], ports[1]).map(|()| true),
        None => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False if a bar was missed that had to be met.
fn run(arguments: &Arguments) -> Result<bool> {
    if !arguments.bench {
        println!("a bench, not a test: run it with `cargo bench --bench proxy`");
        return Ok(true);
    }
    match &arguments.other {
        None => costs(arguments),
        Some(Other::Overload(overload)) => {
            let OverloadArguments { names, how, .. } = overload;
            let (stage, machine, progress) = prepare(Plan::new(how.quick, None), names, how)?;
            overload::run(&stage, &machine, &progress, overload)
        }
    }
}

fn costs(arguments: &Arguments) -> Result<bool> {
    let (how, rows) = (&arguments.how, &arguments.rows);
    let (stage, machine, progress) = prepare(Plan::new(how.quick, arguments.runs), rows, how)?;
    let mut outcomes = Vec::new();
    for row in rows::select(rows) {
        let outcome = contest::run(&stage, row, &progress)?;
        progress.line(&table::summary(&outcome));
        outcomes.push(outcome);
    }
    let report = Report::new(&outcomes, &machine, &stage.plan);
    report.print();
    if let Some(document) = &how.write {
        report.write(document)?;
    }
    Ok(!how.enforce || report.all_bars_met())
}

/// What every measurement needs, whatever it measures.
fn prepare(plan: Plan, chosen: &[String], how: &How) -> Result<(Stage, Machine, Progress)> {
    if how.write.is_some() && !chosen.is_empty() {
        return Err(
            "--write takes all of it: a table is from one run, or it compares nothing".into()
        );
    }
    interrupt::listen()?;
    let (progress, programs) = (Progress::new(), Programs::find()?);
    let machine = Machine::look(&programs);
    if machine.load > LOAD_QUIET_MAX {
        progress.line(&format!(
            "the load is {:.2}: something else is running, expect wide ranges",
            machine.load
        ));
    }
    progress.line("starting and filling a throw-away Postgres");
    Ok((Stage::set(programs, plan)?, machine, progress))
}
