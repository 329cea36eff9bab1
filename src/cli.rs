//! Flags and sub-commands: what was asked for, as a value. Doing it is `main`'s.

use crate::config::report::Format;
use crate::top;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Read the configuration and say what is wrong with it.
    Check { config: PathBuf, strict: bool, format: Format },
    /// Run beside a Postgres of its own; with `check`, try it out and end.
    Demo { check: bool, exec: Option<String> },
    /// Be the proxy; with `takeover`, in the place of the one that runs.
    Run { config: PathBuf, takeover: bool },
    /// Look at a console.
    Top(top::Options),
}

/// Where the configuration is looked for when none is named.
pub const CONFIG_PATHS: [&str; 2] = ["proxy.toml", "/etc/pgweir/proxy.toml"];

/// There is no configuration file.
const EXIT_NO_CONFIG: i32 = 1;
/// `EX_USAGE` of sysexits.h: 1 and 2 are `check`'s.
const EXIT_USAGE: i32 = 64;

/// Reads the command line. Ends the process for `--help`, `--version` and what cannot be read.
pub fn parse() -> Command {
    match parse_from(std::env::args_os(), &|path| path.exists()) {
        Ok(command) => command,
        Err(error) => {
            // Nothing is left to do when even this cannot be printed.
            drop(error.print());
            std::process::exit(exit_code(&error))
        }
    }
}

fn exit_code(error: &clap::Error) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::Io => EXIT_NO_CONFIG,
        _ => EXIT_USAGE,
    }
}

fn parse_from(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Command, clap::Error> {
    let arguments = Arguments::try_parse_from(args)?;
    let command = match (arguments.command, arguments.file) {
        (Some(command), _) => command,
        (None, Some(file)) => Asked::Run { config: Some(file), takeover: false },
        (None, None) => Asked::Run { config: None, takeover: false },
    };
    Ok(match command {
        Asked::Check { config, strict, format } => {
            let format = match format {
                OutputFormat::Json => Format::Json,
                OutputFormat::Text => Format::Text,
            };
            Command::Check { config: find_config(config, exists)?, strict, format }
        }
        Asked::Demo { check, exec } => Command::Demo { check, exec },
        Asked::Run { config, takeover } => {
            Command::Run { config: find_config(config, exists)?, takeover }
        }
        Asked::Top { dsn, once, format, interval } => {
            let format = format.map(|format| match format {
                OutputFormat::Json => top::Format::Json,
                OutputFormat::Text => top::Format::Text,
            });
            let once = format.or_else(|| once.then_some(top::Format::Text));
            Command::Top(top::Options { dsn, interval, once })
        }
    })
}

fn find_config(
    named: Option<PathBuf>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, clap::Error> {
    let no_file = |message| Err(clap::Error::raw(ErrorKind::Io, message));
    if let Some(path) = named {
        if exists(&path) {
            return Ok(path);
        }
        return no_file(format!("there is no file `{}`; see `pgweir --help`\n", path.display()));
    }
    let found = CONFIG_PATHS.into_iter().map(PathBuf::from).find(|path| exists(path));
    let [here, system] = CONFIG_PATHS;
    found.map_or_else(
        || {
            no_file(format!(
                "no configuration: neither `{here}` nor `{system}` exists; \
                 name one with `-c FILE`\n"
            ))
        },
        Ok,
    )
}

const EXAMPLES: &str = "\
Examples:
  pgweir run -c proxy.toml            run the proxy
  pgweir run --takeover               run it in the place of the one that runs; no client notices
  pgweir check -c proxy.toml          what is wrong with the configuration, by line
  pgweir check --strict --format json for CI
  pgweir demo                         try it, with a throw-away Postgres
  pgweir top                          what the proxy on this machine does, live

Without -c the configuration is ./proxy.toml, else /etc/pgweir/proxy.toml.
Every option: docs/config.md. Console: psql -h 127.0.0.1 -p 6432 -U USER pgweir (see admin_users)

Exit codes: 0 all is well; 1 an error; 2 warnings only, under `check --strict`;
64 a command line that cannot be read.";

/// A connection proxy for PostgreSQL: many clients, few servers, and a fair queue between them.
#[derive(Debug, Parser)]
#[command(
    name = "pgweir",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    override_usage = "pgweir run [-c FILE] [--takeover]\n       pgweir FILE\n       \
                      pgweir check [-c FILE] [--strict] [--format text|json]\n       \
                      pgweir demo [--check] [--exec COMMAND]\n       \
                      pgweir top [DSN] [--interval SECONDS] [--once] [--format text|json]"
)]
struct Arguments {
    /// Run with this configuration: the same as `run -c FILE`, and how PgBouncer is started
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Asked>,
}

#[derive(Debug, Subcommand)]
enum Asked {
    /// Run the proxy
    Run {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Take over from the proxy that runs: its sockets, and its clients without their noticing.
        /// If none runs, just start
        #[arg(long)]
        takeover: bool,
    },
    /// Read the configuration and report everything that is wrong, without starting
    #[command(after_help = "Exit codes: 0 it can be used; 1 it cannot; 2 it has warnings, \
                            under --strict.")]
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// End with 2 if there are warnings
        #[arg(long)]
        strict: bool,
        /// How to write the report
        #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
        format: OutputFormat,
    },
    /// Run with a throw-away Postgres until Ctrl-C, and leave nothing behind
    Demo {
        /// Send queries through it, print what came back, and end
        #[arg(long)]
        check: bool,
        /// Run a shell command with `DATABASE_URL`, `PGHOST`, `PGPORT` and so on set, and end
        #[arg(long, value_name = "COMMAND")]
        exec: Option<String>,
    },
    /// Look at a running proxy in the terminal, by its console; PgBouncer's does as well
    #[command(after_help = TOP_HELP)]
    Top {
        /// The console: `postgresql://admin@127.0.0.1:6432/pgweir`, or `host=127.0.0.1 user=admin`
        #[arg(value_name = "DSN")]
        dsn: Option<String>,
        /// Time between two looks
        #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        interval: Duration,
        /// Look twice, one interval apart, write it as text and end
        #[arg(long)]
        once: bool,
        /// How to write it; with this, once
        #[arg(long, value_enum)]
        format: Option<OutputFormat>,
    },
}

const TOP_HELP: &str = "\
What the DSN does not say, PGHOST, PGPORT, PGUSER, PGPASSWORD, PGPASSFILE and ~/.pgpass do. Else it is the
unix socket in /tmp or /var/run/postgresql, or localhost, port 6432; the database pgweir; the user who runs
this, or pgweir if the socket is that user's own. For PgBouncer name the database: pgbouncer.

Keys: ? shows them. NO_COLOR is respected. Without a terminal it is written once, as with --once.";

/// Less would be load, more would be no look.
const INTERVAL_SECONDS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| INTERVAL_SECONDS.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "seconds, from 0.1 to 3600".to_owned())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Command, EXIT_NO_CONFIG, EXIT_USAGE, exit_code, parse_from};
    use crate::config::report::Format;
    use clap::CommandFactory;
    use std::path::{Path, PathBuf};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        parse_from(line.split(' '), &|_| true)
    }

    fn run(path: &str) -> Command {
        Command::Run { config: PathBuf::from(path), takeover: false }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(parse("pgweir run -c a.toml").expect("valid"), run("a.toml"));
        assert_eq!(parse("pgweir run --config a.toml").expect("valid"), run("a.toml"));
        assert_eq!(parse("pgweir a.toml").expect("valid"), run("a.toml"));
        assert_eq!(
            parse("pgweir run --takeover -c a.toml").expect("valid"),
            Command::Run { config: "a.toml".into(), takeover: true }
        );
        assert_eq!(parse("pgweir run").expect("valid"), run("proxy.toml"));
        assert_eq!(
            parse("pgweir check -c a --strict --format json").expect("valid"),
            Command::Check { config: "a".into(), strict: true, format: Format::Json }
        );
        assert_eq!(
            parse("pgweir check").expect("valid"),
            Command::Check { config: "proxy.toml".into(), strict: false, format: Format::Text }
        );
        assert_eq!(
            parse("pgweir demo").expect("valid"),
            Command::Demo { check: false, exec: None }
        );
        assert_eq!(
            parse("pgweir demo --check").expect("valid"),
            Command::Demo { check: true, exec: None }
        );
    }

    #[test]
    fn the_current_directory_comes_before_the_system() {
        let only_system = |path: &Path| path == Path::new("/etc/pgweir/proxy.toml");
        assert_eq!(
            parse_from(["pgweir", "run"], &only_system).expect("valid"),
            run("/etc/pgweir/proxy.toml")
        );
    }

    #[test]
    fn without_a_file_the_error_says_where_it_looked() {
        let error = parse_from(["pgweir", "run"], &|_| false).expect_err("no file");
        assert_eq!(exit_code(&error), EXIT_NO_CONFIG);
        let text = error.to_string();
        assert!(text.starts_with("error: no configuration"), "{text}");
        assert!(text.contains("proxy.toml") && text.contains("-c FILE"), "{text}");
        let error = parse_from(["pgweir", "chekc"], &|_| false).expect_err("no file");
        assert!(error.to_string().contains("`chekc`"), "{error}");
    }

    #[test]
    fn wrong_usage_is_told_apart_from_check_results() {
        for line in ["pgweir run --nope", "pgweir check --format xml", "pgweir"] {
            assert_eq!(exit_code(&parse(line).expect_err("wrong")), EXIT_USAGE, "{line}");
        }
        let help = parse("pgweir").expect_err("nothing to do").to_string();
        assert!(help.starts_with("A connection proxy") && help.contains("Examples:"), "{help}");
        assert_eq!(exit_code(&parse("pgweir --version").expect_err("ends")), 0);
        let help = parse("pgweir --help").expect_err("ends");
        assert_eq!(exit_code(&help), 0);
        for word in ["Examples:", "docs/config.md", "Exit codes:", "/etc/pgweir/proxy.toml"] {
            assert!(help.to_string().contains(word), "{word} in {help}");
        }
    }
}
