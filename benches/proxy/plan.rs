//! How much is measured: what the command line says, turned into numbers.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::overload;
use crate::rows::{self, Work};

/// Compares pgweir with PgBouncer and with a bare relay, in CPU time from /proc.
#[derive(Parser)]
#[command(name = "cargo bench --bench proxy --", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) other: Option<Other>,
    /// The rows to measure (all of them if none is named)
    #[arg(value_name = "ROW", value_parser = PossibleValuesParser::new(rows::names()))]
    pub(crate) rows: Vec<String>,
    #[command(flatten)]
    pub(crate) how: How,
    /// Rounds per row, each with one run per contestant
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: Option<u16>,
    /// Cargo passes this to every bench, and not to a test
    #[arg(long, hide = true, global = true)]
    pub(crate) bench: bool,
    /// Be the bare relay
    #[arg(long, hide = true, num_args = 2, value_names = ["PORT", "UPSTREAM"])]
    pub(crate) relay: Option<Vec<u16>>,
}

#[derive(Subcommand)]
pub(crate) enum Other {
    /// What becomes of the clients when there are too many: overload, fairness and quotas
    Overload(OverloadArguments),
}

#[derive(Args)]
pub(crate) struct OverloadArguments {
    /// What to measure (all of it if nothing is named)
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(overload::names()))]
    pub(crate) names: Vec<String>,
    /// Let clients of pgweir share servers, those who sleep as well
    #[arg(long, conflicts_with = "write")]
    pub(crate) sharing: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Args)]
pub(crate) struct How {
    /// Shorter and fewer runs: shows that it works, and little more
    #[arg(long)]
    pub(crate) quick: bool,
    /// Put the table into this file too, between its markers
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Fail if a bar is missed, or could not be measured
    #[arg(long)]
    pub(crate) enforce: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) is_quick: bool,
    rounds: u16,
    /// One `pgbench` run. Short runs and many rounds: the machine's mood lasts seconds.
    pub(crate) run: Duration,
    /// Before the first round, thrown away: pools open, caches fill.
    pub(crate) warm_up: Duration,
    /// In one turn.
    pub(crate) logins_trust: u32,
    /// Fewer: the client's own PBKDF2 takes a millisecond or two each.
    pub(crate) logins_scram: u32,
    pub(crate) idle_clients: u32,
}

impl Plan {
    pub(crate) fn new(is_quick: bool, rounds: Option<u16>) -> Self {
        let (usual, seconds) = if is_quick { (3, 1) } else { (11, 2) };
        Self {
            is_quick,
            rounds: rounds.unwrap_or(usual),
            run: Duration::from_secs(seconds),
            warm_up: Duration::from_secs(1),
            logins_trust: 500,
            logins_scram: 150,
            idle_clients: 5000,
        }
    }

    /// More turns for what is short and varies, few for memory, which hardly does.
    pub(crate) fn rounds(&self, work: Work) -> u16 {
        match work {
            Work::IdleClients | Work::Scrapes { .. } => self.rounds.min(3),
            Work::Logins => 3 * self.rounds,
            Work::Queries { .. } => self.rounds,
        }
    }

    /// For those who read the table.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} rounds of {} s runs ({} rounds of logins, {} of memory)",
            self.rounds,
            self.run.as_secs(),
            self.rounds(Work::Logins),
            self.rounds(Work::IdleClients)
        )
    }
}
