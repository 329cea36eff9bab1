//! The program: reads what was asked for, does it, and answers with an exit code.

#![forbid(unsafe_code)]

use pgweir::app::demo::{self, DemoError};
use pgweir::app::successor::Successor;
use pgweir::app::{self, Start, log};
use pgweir::cli::{self, Command};
use pgweir::config::overlay::Overlay;
use pgweir::config::report::{self, Format};
use pgweir::config::{Loaded, Source};
use pgweir::top;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse() {
        Command::Check { config, strict, format } => check(&config, strict, format),
        Command::Demo { check, exec } => demo(check, exec),
        Command::Run { config, takeover } => run(&config, takeover),
        Command::Top(options) => top(&options),
    }
}

#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
fn check(config: &Path, strict: bool, format: Format) -> ExitCode {
    let report = report::check(config);
    print!("{}", report.render(format));
    ExitCode::from(report.exit_code(strict))
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn run(path: &Path, takeover: bool) -> ExitCode {
    let loaded = Source::read(path).and_then(|mut source| {
        source.set_log_filter(log::given());
        let loaded = source.resolve(&Overlay::default())?;
        Ok((source, loaded))
    });
    let (source, Loaded { config, warnings }) = match loaded {
        Ok(loaded) => loaded,
        Err(findings) => {
            for finding in findings {
                eprintln!("{finding}");
            }
            return ExitCode::FAILURE;
        }
    };
    let levels = log::start(&config.process);
    for finding in warnings {
        tracing::warn!("{finding}");
    }
    let successor = successor(path);
    match app::run(Start { source, config, takes_over: takeover, levels, successor }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// This program, with the same configuration, in this process' place.
fn successor(path: &Path) -> Successor {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pgweir"));
    let (run, config, takeover) = ("run".into(), "-c".into(), "--takeover".into());
    Successor::new(vec![program.into(), run, config, path.into(), takeover])
}

#[expect(clippy::print_stderr, reason = "the demo talks to the person at the terminal")]
fn demo(check: bool, exec: Option<String>) -> ExitCode {
    let demonstrated = std::env::current_exe()
        .map_err(|source| DemoError::Io { what: "find this program".to_owned(), source })
        .and_then(|program| demo::run(&demo::Options { check, exec, program }));
    match demonstrated {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgweir demo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "there is no log")]
fn top(options: &top::Options) -> ExitCode {
    top::run(options).unwrap_or_else(|error| {
        eprintln!("pgweir top: {error}");
        ExitCode::FAILURE
    })
}
