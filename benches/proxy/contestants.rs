//! The proxies that are compared, each started with the same settings on a port of its own.

use std::fmt;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{Connection, Login};
use crate::interrupt;
use crate::postgres::{DATABASE, PASSWORD, SCRAM_USER, TRUSTED_USER};
use crate::process::{Process, free_port};
use crate::scrape::Scraper;
use crate::settings::{Settings, Setup};
use crate::stage::Stage;

const START_LIMIT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    PgBouncer,
    Pgweir,
    /// Another build of it, from before a change: the one that `PGWEIR_BEFORE` names.
    PgweirBefore,
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
    /// Its metrics are read every second.
    pub(crate) is_scraped: bool,
    /// Clients ask it in the simple protocol, whatever the others are asked in.
    pub(crate) is_asked_simply: bool,
    /// Its clients share servers.
    pub(crate) is_sharing: bool,
}

impl Contestant {
    pub(crate) const fn new(proxy: Proxy) -> Self {
        Self {
            proxy,
            workers: 1,
            stored: Stored::Plain,
            is_scraped: false,
            is_asked_simply: false,
            is_sharing: false,
        }
    }

    pub(crate) const fn workers(self, workers: u16) -> Self {
        Self { workers, ..self }
    }

    pub(crate) const fn scraped(self) -> Self {
        Self { is_scraped: true, ..self }
    }

    pub(crate) const fn asked_simply(self) -> Self {
        Self { is_asked_simply: true, ..self }
    }

    pub(crate) const fn sharing(self) -> Self {
        Self { is_sharing: true, ..self }
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
            Proxy::PgweirBefore => "pgweir before",
            Proxy::Relay => "bare relay",
        })?;
        if self.workers > 1 {
            write!(out, ", {} workers", self.workers)?;
        }
        if self.is_scraped {
            out.write_str(", scraped")?;
        }
        if self.is_sharing {
            out.write_str(", sharing")?;
        }
        if self.is_asked_simply {
            out.write_str(", simple")?;
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
    pub(crate) fn name(self) -> &'static str {
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
    /// First to be dropped: it would miss its proxy.
    scraper: Option<Scraper>,
    process: Process,
    port: u16,
    auth: Auth,
    is_asked_simply: bool,
}

impl Running {
    pub(crate) fn start(stage: &Stage, contestant: Contestant, setup: &Setup) -> Result<Self> {
        let port = free_port()?;
        let password = match contestant.stored {
            Stored::Plain => PASSWORD,
            Stored::ScramSecret => stage.scram_secret(),
        };
        let http = if contestant.is_scraped { Some(free_port()?) } else { None };
        let Contestant { workers, is_sharing, .. } = contestant;
        let settings = Settings { port, http, setup, password, workers, is_sharing };
        let (name, command) = match contestant.proxy {
            Proxy::PgBouncer => ("pgbouncer", settings.pgbouncer(stage)?),
            Proxy::Pgweir => ("pgweir", settings.pgweir(stage, &stage.programs.pgweir)?),
            Proxy::PgweirBefore => {
                let program = stage.programs.pgweir_before.as_ref();
                let program = program.ok_or("PGWEIR_BEFORE does not name its program")?;
                ("pgweir", settings.pgweir(stage, program)?)
            }
            Proxy::Relay => ("relay", settings.relay(stage)),
        };
        let process = Process::spawn(command, name, stage.directory())?;
        let (auth, is_asked_simply) = (setup.auth, contestant.is_asked_simply);
        let mut running = Self { scraper: None, process, port, auth, is_asked_simply };
        running.wait()?;
        running.scraper = http.map(Scraper::start).transpose()?;
        Ok(running)
    }

    /// As the user that fits the way it authenticates.
    pub(crate) fn login(&self) -> Login<'static> {
        Login { port: self.port, user: self.auth.user(), password: PASSWORD, database: DATABASE }
    }

    /// What it is asked in, where others are asked in this.
    pub(crate) fn protocol(&self, of_row: &'static str) -> &'static str {
        if self.is_asked_simply { "simple" } else { of_row }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn scraper(&self) -> Result<&Scraper> {
        Ok(self.scraper.as_ref().ok_or("it is not scraped")?)
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
