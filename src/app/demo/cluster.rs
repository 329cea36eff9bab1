//! A throw-away Postgres: found, initialised, started on a free port, stopped when dropped.

use super::child::{Running, StopWith, run_well};
use super::directory::{Directory, Log};
use super::interrupt::Interrupt;
use super::{DemoError, doing};
use rustix::process::Signal;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// User, password and database alike.
pub(super) const APP: &str = "app";
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";
const START_PATIENCE: Duration = Duration::from_mins(1);
const START_ATTEMPTS: u32 = 3;
/// Fast shutdown, then immediate.
const STOP_WITH: StopWith =
    &[(Signal::INT, Duration::from_secs(10)), (Signal::QUIT, Duration::from_secs(3))];

/// An installation of Postgres.
pub(super) struct Programs {
    directory: PathBuf,
    version: String,
}

pub(super) struct Cluster {
    running: Running,
    log: Log,
    programs: Programs,
    socket_directory: PathBuf,
    port: u16,
}

impl Programs {
    /// `PGWEIR_PG_BIN`, or the first of `PATH`, or the newest that Debian's packages put in place.
    pub(super) fn find() -> Result<Self, DemoError> {
        let directory = if let Some(given) = env::var_os("PGWEIR_PG_BIN") {
            let directory = PathBuf::from(given);
            if let Some(program) = missing_program(&directory) {
                return Err(DemoError::NotAPostgres { directory, program });
            }
            directory
        } else {
            let path = env::var_os("PATH").unwrap_or_default();
            let debian = newest_first(version_directories(Path::new(DEBIAN_VERSIONS)));
            env::split_paths(&path)
                .chain(debian)
                .find(|directory| missing_program(directory).is_none())
                .ok_or(DemoError::NoPostgres)?
        };
        let output = Command::new(directory.join("postgres"))
            .arg("--version")
            .output()
            .map_err(doing(format!("run {}", directory.join("postgres").display())))?;
        let version = version_in(&String::from_utf8_lossy(&output.stdout)).to_owned();
        Ok(Self { directory, version })
    }

    /// A client program: the server's own, or else from `PATH`.
    pub(super) fn client(&self, name: &str) -> Command {
        let own = self.directory.join(name);
        Command::new(if own.is_file() { own } else { PathBuf::from(name) })
    }
}

impl Cluster {
    pub(super) fn start(
        directory: &Directory,
        interrupt: &Rc<Interrupt>,
    ) -> Result<Self, DemoError> {
        let programs = Programs::find()?;
        let data = directory.for_postgres("data")?;
        let socket_directory = directory.for_postgres("socket")?;
        let mut initdb = directory.as_postgres(&programs.directory.join("initdb"));
        initdb.arg("--pgdata").arg(&data);
        initdb.args(["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync"]).stdin(Stdio::null());
        run_well("initdb", &mut initdb, &directory.log("initdb")?, interrupt)?;

        let log = directory.log("postgres")?;
        let mut attempt = 1;
        let (port, running) = loop {
            let port = free_port()?;
            let mut postgres = directory.as_postgres(&programs.directory.join("postgres"));
            postgres.arg("-D").arg(&data).arg("-k").arg(&socket_directory);
            postgres.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            // Nothing here outlives the demo, so nothing needs to reach a disk.
            postgres.args(["-c", "fsync=off", "-c", "password_encryption=scram-sha-256"]);
            // Its own group: Ctrl-C at the terminal is for us, who stop the proxy first.
            postgres.stdin(Stdio::null()).process_group(0);
            log.takes_from(&mut postgres)?;
            let mut running = Running::start("Postgres", &mut postgres, STOP_WITH, interrupt)?;
            match running.wait_until(|| is_ready(&data), START_PATIENCE, &log) {
                Ok(()) => break (port, running),
                Err(error) if error.is_port_taken() && attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        let cluster = Self { running, log, programs, socket_directory, port };
        let mut psql = cluster.superuser_psql("postgres");
        psql.arg("-c").arg(format!("CREATE ROLE {APP} LOGIN PASSWORD '{APP}'"));
        psql.arg("-c").arg(format!("CREATE DATABASE {APP} OWNER {APP}"));
        run_well("psql", &mut psql, &directory.log("create")?, interrupt)?;
        Ok(cluster)
    }

    /// A quiet psql straight to Postgres.
    pub(super) fn superuser_psql(&self, database: &str) -> Command {
        let mut psql = self.client("psql");
        psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        psql.arg(&self.socket_directory).args(["-p", &self.port.to_string(), "-d", database]);
        psql
    }

    pub(super) fn client(&self, name: &str) -> Command {
        let mut command = self.programs.client(name);
        // The demo decides where to connect, not the shell it was started from.
        for (variable, _) in env::vars_os() {
            if variable.to_str().is_some_and(|variable| variable.starts_with("PG")) {
                command.env_remove(variable);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        self.running.still_runs(&self.log)
    }

    pub(super) fn version(&self) -> &str {
        &self.programs.version
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn dsn(&self) -> String {
        dsn(self.port)
    }
}

/// How the application connects to `port` of this machine.
pub(super) fn dsn(port: u16) -> String {
    format!("postgresql://{APP}:{APP}@127.0.0.1:{port}/{APP}")
}

pub(super) fn free_port() -> Result<u16, DemoError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    Ok(bound.map_err(doing("find a free port on 127.0.0.1"))?.port())
}

/// Postgres writes its state in the eighth line of this file, for `pg_ctl`.
fn is_ready(data: &Path) -> bool {
    let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}

fn missing_program(directory: &Path) -> Option<&'static str> {
    ["initdb", "postgres"].into_iter().find(|program| !directory.join(program).is_file())
}

fn version_directories(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// By major version, as a number: 9 comes after 15.
fn newest_first(mut directories: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    let major = |path: &PathBuf| path.file_name()?.to_str()?.split('.').next()?.parse::<u32>().ok();
    directories.sort_by_key(|path| std::cmp::Reverse(major(path)));
    directories.into_iter().map(|path| path.join("bin"))
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` is `15.18`.
fn version_in(text: &str) -> &str {
    text.split_whitespace().nth(2).unwrap_or("of an unknown version")
}

#[cfg(test)]
mod tests {
    use super::{newest_first, version_in};
    use std::path::PathBuf;

    #[test]
    fn the_newest_version_comes_first() {
        let given = ["/x/9.6", "/x/15", "/x/other", "/x/18"].map(PathBuf::from).to_vec();
        let found: Vec<_> = newest_first(given).map(|path| path.display().to_string()).collect();
        assert_eq!(found, ["/x/18/bin", "/x/15/bin", "/x/9.6/bin", "/x/other/bin"]);
    }

    #[test]
    fn a_version_is_the_third_word() {
        assert_eq!(version_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), "15.18");
        assert_eq!(version_in("postgres (PostgreSQL) 18beta1\n"), "18beta1");
        assert_eq!(version_in(""), "of an unknown version");
    }
}
