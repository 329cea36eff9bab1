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
pub(crate) enum Contestant {
    PgBouncer,
    Pgweir { workers: u16 },
    Relay,
}

impl Contestant {
    /// For file names: no spaces.
    fn slug(self) -> &'static str {
        match self {
            Self::PgBouncer => "pgbouncer",
            Self::Pgweir { .. } => "pgweir",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PgBouncer => out.pad("PgBouncer"),
            Self::Pgweir { workers: 1 } => out.pad("pgweir"),
            Self::Pgweir { workers } => out.pad(&format!("pgweir, {workers} workers")),
            Self::Relay => out.pad("bare relay"),
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
        let name = format!("{}-{port}", contestant.slug());
        let command = match contestant {
            Contestant::PgBouncer => pgbouncer(stage, &name, port, auth)?,
            Contestant::Pgweir { workers } => pgweir(stage, &name, port, auth, workers)?,
            Contestant::Relay => relay(stage, port),
        };
        let process = Process::spawn(command, &name, stage.directory())?;
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

    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.process.must_run()?;
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

fn pgbouncer(stage: &Stage, name: &str, port: u16, auth: Auth) -> Result<Command> {
    let users = format!("\"{TRUSTED_USER}\" \"{PASSWORD}\"\n\"{SCRAM_USER}\" \"{PASSWORD}\"\n");
    let users = write(stage, &format!("{name}.users"), &users)?;
    let settings = format!(
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
    let settings = write(stage, &format!("{name}.ini"), &settings)?;
    let mut command = command(&stage.programs.pgbouncer);
    command.arg("-q").arg(settings);
    // It refuses to run as root.
    if let Some(account) = stage.account {
        account.apply(&mut command);
    }
    Ok(command)
}

fn pgweir(stage: &Stage, name: &str, port: u16, auth: Auth, workers: u16) -> Result<Command> {
    let settings = format!(
        r#"[proxy]
listen_addr = "127.0.0.1"
listen_port = {port}
http_addr = ""
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
password = "{PASSWORD}"

[users.{SCRAM_USER}]
password = "{PASSWORD}"
"#,
        postgres = stage.postgres_port(),
        auth = auth.name(),
    );
    let settings = write(stage, &format!("{name}.toml"), &settings)?;
    let mut command = command(&stage.programs.pgweir);
    command.arg("run").arg("-c").arg(settings);
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
