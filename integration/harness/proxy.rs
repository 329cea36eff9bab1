//! The proxy under test, with a Postgres behind it. `PGWEIR_TEST_TARGET=pgbouncer` or `direct` puts
//! PgBouncer or nothing in its place: to see that a test is right before blaming the proxy.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use tempfile::TempDir;

use super::Address;
use super::ports::Port;
use super::postgres::{Postgres, binary};
use super::process::{Process, RunAs, command, give_away};
use super::settings::{Places, Settings};
use super::time::eventually;
use super::wire::{Client, Wire};

/// A proxy and its Postgres.
pub(crate) struct Rig {
    pub(crate) proxy: Proxy,
    pub(crate) postgres: Postgres,
}

impl Rig {
    pub(crate) async fn start(settings: Settings) -> Self {
        let postgres = Postgres::start().await;
        let proxy = Proxy::start(&settings, &postgres.address()).await;
        Self { proxy, postgres }
    }

    /// With every setting as most tests want it.
    pub(crate) async fn start_default() -> Self {
        Self::start(Settings::new()).await
    }

    /// Writes another configuration, for the proxy to read.
    pub(crate) fn configure(&self, settings: &Settings) {
        self.proxy.configure(settings, &self.postgres.address());
    }

    /// A client of the proxy, as `app` in the database `app`.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.proxy.address).await
    }

    pub(crate) fn address(&self) -> &Address {
        &self.proxy.address
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Direct,
    PgBouncer,
    Pgweir,
}

impl Target {
    pub(crate) fn of_run() -> Self {
        match std::env::var("PGWEIR_TEST_TARGET").as_deref() {
            Ok("direct") => Self::Direct,
            Ok("pgbouncer") => Self::PgBouncer,
            Ok("pgweir") | Err(_) => Self::Pgweir,
            Ok(other) => panic!("PGWEIR_TEST_TARGET={other}: pgweir, pgbouncer or direct"),
        }
    }
}

pub(crate) struct Proxy {
    /// Where it listens on TCP.
    pub(crate) address: Address,
    /// Where it listens on a unix socket.
    pub(crate) unix: Address,
    process: Option<Process>,
    _port: Port,
    directory: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of the Postgres at `postgres`, and waits until it listens.
    pub(crate) async fn start(settings: &Settings, postgres: &Address) -> Self {
        let mut proxy = Self::launch(settings, postgres);
        eventually("the proxy listens", async || {
            proxy.check_alive();
            Wire::try_connect(&proxy.address).await.ok().map(|_| ())
        })
        .await;
        proxy
    }

    fn launch(settings: &Settings, postgres: &Address) -> Self {
        let Address::Tcp(postgres) = postgres else { panic!("proxies reach Postgres over TCP") };
        let port = Port::take();
        let directory = tempfile::Builder::new()
            .prefix("pgweir-it-")
            .tempdir()
            .expect("a temporary directory is made");
        let places =
            Places { listen_port: port.number, directory: directory.path(), postgres: *postgres };
        let process = match Target::of_run() {
            Target::Direct => None,
            Target::PgBouncer => Some(launch_pgbouncer(settings, &places)),
            Target::Pgweir => Some(launch_pgweir(settings, &places)),
        };
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number));
        let address = Address::Tcp(if process.is_some() { own } else { *postgres });
        let unix = Address::Unix(socket_in(directory.path(), port.number));
        Self { address, unix, process, _port: port, directory }
    }

    /// Starts another process with the same configuration, which takes over from this one. Answers
    /// with the one before.
    pub(crate) fn replace(&mut self) -> Process {
        let next = start_pgweir(&self.directory.path().join("proxy.toml"), &["--takeover"], &[]);
        self.process.replace(next).expect("there is a proxy")
    }

    /// Puts a process back that another should have replaced. Answers with the other.
    pub(crate) fn put_back(&mut self, process: Process) -> Process {
        self.process.replace(process).expect("there is a proxy")
    }

    /// Writes another configuration, with a Postgres that may be another one, too.
    pub(crate) fn configure(&self, settings: &Settings, postgres: &Address) {
        let Address::Tcp(postgres) = postgres else { panic!("proxies reach Postgres over TCP") };
        let (Address::Tcp(own), directory) = (&self.address, self.directory.path()) else {
            panic!("it listens on TCP")
        };
        self.rewrite(&settings.toml(&Places {
            listen_port: own.port(),
            directory,
            postgres: *postgres,
        }));
    }

    /// The configuration as it was written.
    pub(crate) fn written(&self) -> String {
        let file = self.directory.path().join("proxy.toml");
        std::fs::read_to_string(file).expect("the configuration can be read")
    }

    /// Stops, and starts again with the same configuration and on the same port when `meanwhile` is done.
    pub(crate) async fn restart_after(&mut self, meanwhile: impl AsyncFnOnce()) {
        self.process = None;
        meanwhile().await;
        self.start_anew(&[]).await;
    }

    /// Stops, and starts again with these variables in its environment.
    pub(crate) async fn restart_with(&mut self, variables: &[(&str, &str)]) {
        self.process = None;
        self.start_anew(variables).await;
    }

    async fn start_anew(&mut self, variables: &[(&str, &str)]) {
        let file = self.directory.path().join("proxy.toml");
        self.process = Some(start_pgweir(&file, &[], variables));
        eventually("the proxy listens", async || {
            self.check_alive();
            Wire::try_connect(&self.address).await.ok().map(|_| ())
        })
        .await;
    }

    /// Writes the configuration anew.
    pub(crate) fn rewrite(&self, text: &str) {
        let (file, new) =
            (self.directory.path().join("proxy.toml"), self.directory.path().join("new"));
        // At once: nobody reads half of it.
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, file))
            .expect("it is written");
    }

    fn check_alive(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Some(status) = process.ended() {
            panic!("the proxy ended with {status}:\n{}", process.log());
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.ended()
    }

    /// Where it listens on TCP if it listens on `::1`.
    pub(crate) fn over_ipv6(&self) -> Address {
        let Address::Tcp(address) = self.address else { panic!("it listens on TCP") };
        Address::Tcp(SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())))
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("there is a proxy")
    }
}

/// The path of the socket that Postgres and its proxies make in a directory.
fn socket_in(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

fn launch_pgweir(settings: &Settings, places: &Places<'_>) -> Process {
    let file = places.directory.join("proxy.toml");
    std::fs::write(&file, settings.toml(places)).expect("the configuration is written");
    start_pgweir(&file, &[], &[])
}

fn start_pgweir(file: &Path, options: &[&str], variables: &[(&str, &str)]) -> Process {
    let mut command = command(env!("CARGO_BIN_EXE_pgweir"), RunAs::Ourselves);
    command.arg("run").arg("-c").arg(file).args(options);
    command.env("RUST_BACKTRACE", "1").envs(variables.iter().copied());
    // At once: a test that ends may leave transactions open.
    Process::start("pgweir", &mut command, Signal::QUIT)
}

fn launch_pgbouncer(settings: &Settings, places: &Places<'_>) -> Process {
    let file = places.directory.join("pgbouncer.ini");
    let (text, users) = settings.ini(places);
    std::fs::write(&file, text).expect("the configuration is written");
    std::fs::write(places.directory.join("users.txt"), users).expect("the users are written");
    give_away(places.directory);
    let mut command = command(&binary("pgbouncer"), RunAs::Unprivileged);
    Process::start("pgbouncer", command.arg(&file), Signal::TERM)
}
