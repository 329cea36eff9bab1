//! The proxies that are compared, each started with the same settings on a port of its own.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Connection, Login};
use crate::interrupt;
use crate::postgres::{DATABASE, PASSWORD, SCRAM_USER, TRUSTED_USER};
use crate::process::{Process, command, free_port};
use crate::stage::Stage;

/// The same for every proxy, or they are not comparable.
const POOL_SIZE: u32 = 20;
/// Above what any row connects.
const CLIENTS_MAX: u32 = 6000;
const START_LIMIT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    PgBouncer,
    Pgweir,
    Relay,
}

/// What the proxy keeps of a user's password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The password: whoever does not cache its keys pays for PBKDF2 at each login.
    Plain,
    /// The keys, as Postgres stores them.
    ScramSecret,
}

/// A proxy in one of the ways it is run here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) proxy: Proxy,
    pub(crate) workers: u16,
    pub(crate) stored: Stored,
}

impl Contestant {
    pub(crate) const fn new(proxy: Proxy) -> Self {
        Self { proxy, workers: 1, stored: Stored::Plain }
    }

    pub(crate) const fn workers(self, workers: u16) -> Self {
        Self { workers, ..self }
    }

    pub(crate) const fn stored(self, stored: Stored) -> Self {
        Self { stored, ..self }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.proxy {
            Proxy::PgBouncer => "PgBouncer",
            Proxy::Pgweir => "pgweir",
            Proxy::Relay => "bare relay",
        })?;
        if self.workers > 1 {
            write!(out, ", {} workers", self.workers)?;
        }
        match self.stored {
            Stored::Plain => Ok(()),
            Stored::ScramSecret => out.write_str(", secret stored"),
        }
    }
}

/// How clients prove who they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    ScramSha256,
    Trust,
}

impl Auth {
    fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "scram-sha-256",
            Self::Trust => "trust",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::ScramSha256 => SCRAM_USER,
            Self::Trust => TRUSTED_USER,
        }
    }
}

/// A contestant that answers queries.
pub(crate) struct Running {
    process: Process,
    port: u16,
    auth: Auth,
}

impl Running {
    pub(crate) fn start(stage: &Stage, contestant: Contestant, auth: Auth) -> Result<Self> {
        let port = free_port()?;
        let password = match contestant.stored {
            Stored::Plain => PASSWORD,
            Stored::ScramSecret => stage.scram_secret(),
        };
        let settings = Settings { port, auth, password, workers: contestant.workers };
        let (name, command) = match contestant.proxy {
            Proxy::PgBouncer => ("pgbouncer", pgbouncer(stage, &settings)?),
            Proxy::Pgweir => ("pgweir", pgweir(stage, &settings)?),
            Proxy::Relay => ("relay", relay(stage, port)),
        };
        let process = Process::spawn(command, name, stage.directory())?;
        let mut running = Self { process, port, auth };
        running.wait()?;
        Ok(running)
    }

    /// As the user that fits the way it authenticates.
    pub(crate) fn login(&self) -> Login {
        Login { port: self.port, user: self.auth.user(), password: PASSWORD, database: DATABASE }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// An error, with its last words, if it is no longer there.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.must_run()?;
            let answer = Connection::open(self.login()).and_then(|mut connection| {
                connection.query("select 1")?;
                connection.close()
            });
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > START_LIMIT => {
                    return Err(format!("no answer within {START_LIMIT:?}: {error}").into());
                }
                Err(_) => interrupt::pause()?,
            }
        }
    }
}

/// What differs from one start to the next.
struct Settings<'a> {
    port: u16,
    auth: Auth,
    password: &'a str,
    workers: u16,
}

fn pgbouncer(stage: &Stage, settings: &Settings<'_>) -> Result<Command> {
    let Settings { port, auth, password, .. } = *settings;
    let users = format!("\"{TRUSTED_USER}\" \"{password}\"\n\"{SCRAM_USER}\" \"{password}\"\n");
    let users = write(stage, &format!("pgbouncer-{port}.users"), &users)?;
    let text = format!(
        "[databases]
{DATABASE} = host=127.0.0.1 port={postgres}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth}
auth_file = {users}
pool_mode = transaction
default_pool_size = {POOL_SIZE}
max_client_conn = {CLIENTS_MAX}
log_connections = 0
log_disconnections = 0
log_stats = 0
",
        postgres = stage.postgres_port(),
        auth = auth.name(),
        users = users.display(),
    );
    let mut command = command(&stage.programs.pgbouncer);
    command.arg("-q").arg(write(stage, &format!("pgbouncer-{port}.ini"), &text)?);
    // It refuses to run as root.
    if let Some(account) = stage.account {
        account.apply(&mut command);
    }
    Ok(command)
}

fn pgweir(stage: &Stage, settings: &Settings<'_>) -> Result<Command> {
    let Settings { port, auth, password, workers } = *settings;
    let text = format!(
        r#"[proxy]
listen_addr = "127.0.0.1"
listen_port = {port}
http_addr = ""
log_connections = false
log_disconnections = false
auth_type = "{auth}"
pool_mode = "transaction"
default_pool_size = {POOL_SIZE}
max_client_conn = {CLIENTS_MAX}
workers = {workers}

[hosts.main]
host = "127.0.0.1"
port = {postgres}

[databases.{DATABASE}]
host = "main"

[users.{TRUSTED_USER}]
password = "{password}"

[users.{SCRAM_USER}]
password = "{password}"
"#,
        postgres = stage.postgres_port(),
        auth = auth.name(),
    );
    let mut command = command(&stage.programs.pgweir);
    command.args(["run", "-c"]).arg(write(stage, &format!("pgweir-{port}.toml"), &text)?);
    Ok(command)
}

fn relay(stage: &Stage, port: u16) -> Command {
    let mut command = command(&stage.programs.relay);
    command.arg("--relay").arg(port.to_string()).arg(stage.postgres_port().to_string());
    command
}

fn write(stage: &Stage, name: &str, text: &str) -> Result<PathBuf> {
    let path = stage.directory().join(name);
    fs::write(&path, text)?;
    Ok(path)
}
