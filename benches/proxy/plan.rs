//! How much is measured: what the command line says, turned into numbers.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::rows;

/// Compares pgweir with PgBouncer and with a bare relay, in CPU time from /proc.
#[derive(Parser)]
#[command(name = "cargo bench --bench proxy --")]
pub(crate) struct Arguments {
    /// The rows to measure (all of them if none is named)
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(rows::names()))]
    pub(crate) rows: Vec<String>,
    /// Shorter and fewer runs: shows that it works, and little more
    #[arg(long)]
    quick: bool,
    /// Rounds per row, each with one run per contestant
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: Option<u16>,
    /// Put the table into this file too, between its markers
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Fail if a bar is missed, or could not be measured
    #[arg(long)]
    pub(crate) enforce: bool,
    /// Cargo passes this to every bench, and not to a test
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// Be the bare relay
    #[arg(long, hide = true, num_args = 2, value_names = ["PORT", "UPSTREAM"])]
    pub(crate) relay: Option<Vec<u16>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u16,
    /// One `pgbench` run.
    pub(crate) run: Duration,
    /// Before the first round, thrown away: pools open, caches fill.
    pub(crate) warm_up: Duration,
    pub(crate) logins_trust: u32,
    /// Fewer: the client's own PBKDF2 takes a millisecond or two each.
    pub(crate) logins_scram: u32,
    pub(crate) idle_clients: u32,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let second = Duration::from_secs(1);
        let (rounds, run, logins_trust, logins_scram) =
            if arguments.quick { (3, second, 500, 200) } else { (5, 4 * second, 3000, 1000) };
        Self {
            rounds: arguments.runs.unwrap_or(rounds),
            run,
            warm_up: second,
            logins_trust,
            logins_scram,
            idle_clients: 5000,
        }
    }
}
