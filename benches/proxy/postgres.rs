//! A throw-away Postgres: made, filled, used, gone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use postgres_protocol::password::scram_sha_256;
use rustix::process::Signal;

use crate::Result;
use crate::client::{Connection, Login};
use crate::interrupt;
use crate::process::{Account, Process, command, free_port};
use crate::programs::Programs;

pub(crate) const DATABASE: &str = "bench";
/// Postgres trusts this one.
pub(crate) const TRUSTED_USER: &str = "bench";
/// Postgres asks this one for SCRAM.
pub(crate) const SCRAM_USER: &str = "bench_scram";
/// Two tenants, in front of a proxy that has one pool for both.
pub(crate) const APP_USER: &str = "app";
pub(crate) const LOUD_USER: &str = "loud";
pub(crate) const PASSWORD: &str = "a bench has no secrets";

/// 100,000 rows an unit: big enough that every `-S` is an index lookup, small enough to stay cached.
const PGBENCH_SCALE: &str = "10";
const START_LIMIT: Duration = Duration::from_mins(1);
const FILL_LIMIT: Duration = Duration::from_mins(5);

/// Quiet and in memory: the bench measures proxies, and nothing here needs to survive.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = '256MB'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
jit = off
max_wal_size = '4GB'
checkpoint_timeout = '1h'
log_min_messages = fatal
";

pub(crate) struct Postgres {
    process: Process,
    pub(crate) port: u16,
    /// For proxies that store it too: only with the very same salt may they pass a client's key on.
    pub(crate) scram_secret: String,
}

impl Postgres {
    /// Makes a cluster under `directory`, which `account` may enter, starts and fills it.
    pub(crate) fn start(
        programs: &Programs,
        account: Option<Account>,
        directory: &Path,
    ) -> Result<Self> {
        let home = directory.join("postgres");
        fs::create_dir(&home)?;
        if let Some(account) = account {
            account.own(&home)?;
        }
        let data = home.join("data");
        initialise(programs, account, &home, &data)?;
        let port = free_port()?;
        configure(&data, &home, port)?;
        let mut server = command(&programs.postgres);
        server.arg("-D").arg(&data);
        if let Some(account) = account {
            account.apply(&mut server);
        }
        // SIGINT is Postgres' fast shutdown: it ends its backends and its shared memory itself.
        let process = Process::spawn(server, "postgres", &home)?.stopped_by(Signal::INT);
        let scram_secret = scram_sha_256(PASSWORD.as_bytes());
        let mut postgres = Self { process, port, scram_secret };
        postgres.wait()?;
        postgres.fill(programs, directory)?;
        Ok(postgres)
    }

    pub(crate) fn login(&self) -> Login<'static> {
        login_as_owner(self.port, "postgres")
    }

    /// Stops all its processes, until what this gives is dropped: connections stay, and nobody
    /// answers.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        self.process.signal_family(Signal::STOP);
        Frozen { process: &self.process }
    }

    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.process.must_run()?;
            match Connection::open(self.login()) {
                Ok(connection) => return connection.close(),
                Err(error) if started.elapsed() > START_LIMIT => {
                    return Err(format!("Postgres does not answer: {error}").into());
                }
                Err(_) => interrupt::pause()?,
            }
        }
    }

    fn fill(&mut self, programs: &Programs, directory: &Path) -> Result<()> {
        let mut connection = Connection::open(self.login())?;
        connection.query(&format!("create database {DATABASE}"))?;
        let secret = &self.scram_secret;
        connection.query(&format!("create role {SCRAM_USER} login password '{secret}'"))?;
        for user in [APP_USER, LOUD_USER] {
            connection.query(&format!("create role {user} login"))?;
        }
        connection.close()?;

        let mut pgbench = command(&programs.pgbench);
        pgbench.args(["-i", "-q", "-s", PGBENCH_SCALE, "-h", "127.0.0.1", "-U", TRUSTED_USER]);
        pgbench.args(["-p", &self.port.to_string(), DATABASE]);
        Process::spawn(pgbench, "pgbench-init", directory)?.finish(FILL_LIMIT)?;

        let mut connection = Connection::open(login_as_owner(self.port, DATABASE))?;
        for sql in [
            // External storage: no decompression, which would hide the proxy's share.
            "create table big (value text)",
            "alter table big alter value set storage external",
            "insert into big select repeat('x', 100000)",
            "create table many (value text)",
            "insert into many select repeat('x', 100) from generate_series(1, 1000)",
            "vacuum analyze",
            "checkpoint",
        ] {
            connection.query(sql)?;
        }
        connection.close()
    }
}

pub(crate) struct Frozen<'a> {
    process: &'a Process,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.process.signal_family(Signal::CONT);
    }
}

fn login_as_owner(port: u16, database: &'static str) -> Login<'static> {
    Login { port, user: TRUSTED_USER, password: PASSWORD, database }
}

fn initialise(
    programs: &Programs,
    account: Option<Account>,
    home: &Path,
    data: &Path,
) -> Result<()> {
    let mut initdb = command(&programs.initdb);
    initdb.arg("-D").arg(data);
    initdb.args(["-U", TRUSTED_USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    if let Some(account) = account {
        account.apply(&mut initdb);
    }
    Process::spawn(initdb, "initdb", home)?.finish(START_LIMIT)?;
    Ok(())
}

fn configure(data: &Path, home: &Path, port: u16) -> Result<()> {
    let place = data.join("postgresql.conf");
    let defaults = fs::read_to_string(&place)?;
    let place_and_port = format!("port = {port}\nunix_socket_directories = '{}'\n", home.display());
    fs::write(place, [&defaults, SETTINGS, &place_and_port].concat())?;
    let rules = format!(
        "host all {SCRAM_USER} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    );
    Ok(fs::write(data.join("pg_hba.conf"), rules)?)
}
