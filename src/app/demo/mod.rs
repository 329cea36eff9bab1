//! `pgweir demo`: a throw-away Postgres and this proxy in front of it, to look at or to check.
//!
//! It is an ordinary parent of ordinary programs: Postgres' own, and the proxy as a user would
//! start it. Everything lives in one temporary directory. Whatever ends the demo (Ctrl-C, a signal,
//! an error), the values here are dropped in an order that stops the proxy, then Postgres, and then
//! removes the directory. Only SIGKILL leaves something behind.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "talking to the person at the terminal is its purpose"
)]

mod check;
mod child;
mod cluster;
mod directory;
mod interrupt;
mod proxy;

use cluster::Cluster;
use directory::Directory;
use interrupt::Interrupt;
use proxy::Proxy;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// How often children and signals are looked at.
const POLL: Duration = Duration::from_millis(20);

pub struct Options {
    /// Run psql, pgbench and `exec` through the proxy, say what came of it, and end.
    pub check: bool,
    /// A shell command to run with `DATABASE_URL` and libpq's `PG…` variables set; then end.
    pub exec: Option<String>,
    /// The proxy's program.
    pub program: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "no Postgres server found in PATH or /usr/lib/postgresql/*/bin. Install one (Debian and \
         Ubuntu: `apt install postgresql`; Fedora: `dnf install postgresql-server \
         postgresql-contrib`; macOS: `brew install postgresql`), or set PGWEIR_PG_BIN to the \
         directory that holds `initdb` and `postgres`"
    )]
    NoPostgres,
    #[error("PGWEIR_PG_BIN is {}, where there is no `{program}`", directory.display())]
    NotAPostgres { directory: PathBuf, program: &'static str },
    #[error(
        "Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as. \
         Run the demo as an ordinary user"
    )]
    NoUserForPostgres,
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{name} ended ({status}). The end of what it said:\n{log}")]
    Ended { name: &'static str, status: String, log: String },
    #[error("{name} was not ready after {} s. The end of what it said:\n{log}", after.as_secs())]
    NotReady { name: &'static str, after: Duration, log: String },
    #[error("{address} answered: {answer}")]
    BadAnswer { address: String, answer: String },
    #[error("{found} of them, where 1 to {allowed} are right")]
    ServerCount { found: String, allowed: u32 },
    #[error("{failed} of {steps} checks failed")]
    ChecksFailed { failed: usize, steps: usize },
    #[error("`--exec` command ended ({status})")]
    ExecFailed { status: String },
    #[error("interrupted")]
    Interrupted,
}

/// Where things can be reached.
struct Addresses {
    app: String,
    console: String,
    http: String,
    /// Postgres itself, to compare with.
    direct: String,
}

/// Runs until it is told to stop; with `check` or `exec`, until that is done.
pub fn run(options: &Options) -> Result<(), DemoError> {
    let interrupt = Rc::new(Interrupt::listen().map_err(doing("wait for signals"))?);
    let directory = Directory::create()?;
    // Declared in this order so that they are dropped in the other one: proxy, Postgres, files.
    let mut cluster = Cluster::start(&directory, &interrupt)?;
    let log_to_terminal = !options.check && options.exec.is_none();
    let mut proxy =
        Proxy::start(&options.program, &directory, &cluster, &interrupt, log_to_terminal)?;
    let addresses = Addresses {
        app: proxy.dsn(),
        console: proxy.console_dsn(),
        http: format!("http://{}/metrics", proxy.http_address()),
        direct: cluster.dsn(),
    };
    if options.check {
        println!("Postgres {} behind pgweir at {}\n", cluster.version(), addresses.app);
        return check::run(&check::Setting {
            cluster: &cluster,
            proxy: &proxy,
            directory: &directory,
            interrupt: &interrupt,
            exec: options.exec.as_deref(),
        });
    }
    if let Some(command) = &options.exec {
        let status = check::exec(command, &proxy, &interrupt)?;
        return if status.success() {
            Ok(())
        } else {
            Err(DemoError::ExecFailed { status: status.to_string() })
        };
    }
    introduce(&cluster, &directory, &addresses);
    while !interrupt.came_within(POLL * 10) {
        cluster.still_runs()?;
        proxy.still_runs()?;
    }
    println!("\nStopping.");
    Ok(())
}

fn introduce(cluster: &Cluster, directory: &Directory, addresses: &Addresses) {
    println!(
        "Postgres {} is running, and pgweir in front of it: at most {} server connections,\n\
         {} mode. All files are in {}.\n",
        cluster.version(),
        proxy::POOL_SIZE,
        proxy::POOL_MODE,
        directory.path().display()
    );
    println!("  through pgweir   {}", addresses.app);
    println!("  past it          {}", addresses.direct);
    println!("  console          {}", addresses.console);
    println!("  HTTP             {}", addresses.http);
    println!("  configuration    {}", directory.path().join(proxy::CONFIG_FILE).display());
    println!(
        "\nTry, in another terminal:\n\n\
         \x20 psql {app}\n\
         \x20 pgbench --initialize {app}\n\
         \x20 pgbench --client 100 --time 5 {app}\n\
         \x20 psql {console} -c 'show pools'\n\n\
         Ctrl-C stops it all and removes the files.\n",
        app = addresses.app,
        console = addresses.console
    );
}

impl DemoError {
    /// A port that was free when it was looked for may be taken a moment later.
    fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { log, .. } if log.contains("in use"))
    }
}

/// Says what could not be done, for `map_err`.
fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.into();
    |source| DemoError::Io { what, source }
}
