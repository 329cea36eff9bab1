//! The proxy under demonstration: its configuration, and the program started as a user would.

use super::DemoError;
use super::child::{Running, StopWith};
use super::cluster::{self, APP, Cluster};
use super::directory::{Directory, Log};
use super::interrupt::Interrupt;
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

pub(super) const CONFIG_FILE: &str = "proxy.toml";
pub(super) const POOL_MODE: &str = "transaction";
/// The console's user and password, and its database.
const ADMIN: &str = "admin";
const CONSOLE: &str = "pgweir";
/// Small, so that a few dozen clients show what a pool does.
pub(super) const POOL_SIZE: u32 = 10;
const START_PATIENCE: Duration = Duration::from_secs(20);
const START_ATTEMPTS: u32 = 3;
/// A little longer than the proxy gives its busy servers.
const STOP_WITH: StopWith = &[(Signal::TERM, Duration::from_secs(6))];

pub(super) struct Proxy {
    running: Running,
    log: Log,
    port: u16,
    http_port: u16,
    socket_directory: PathBuf,
}

impl Proxy {
    pub(super) fn start(
        program: &Path,
        directory: &Directory,
        cluster: &Cluster,
        interrupt: &Rc<Interrupt>,
        log_to_terminal: bool,
    ) -> Result<Self, DemoError> {
        let log = directory.log("pgweir")?;
        let mut attempt = 1;
        loop {
            let port = cluster::free_port()?;
            let http_port = cluster::free_port()?;
            let config = config([port, http_port], directory.path(), cluster.port());
            let file = directory.write(CONFIG_FILE, &config)?;
            let mut command = Command::new(program);
            command.args(["run", "-c"]).arg(file);
            // Its own group, so that Ctrl-C reaches it only through us.
            command.stdin(Stdio::null()).process_group(0);
            if !log_to_terminal {
                log.takes_from(&mut command)?;
            }
            let mut running = Running::start("pgweir", &mut command, STOP_WITH, interrupt)?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listens = || TcpStream::connect(address).is_ok();
            match running.wait_until(listens, START_PATIENCE, &log) {
                Ok(()) => {
                    let socket_directory = directory.path().to_owned();
                    return Ok(Self { running, log, port, http_port, socket_directory });
                }
                Err(error) if error.is_port_taken() && attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        self.running.still_runs(&self.log)
    }

    pub(super) fn dsn(&self) -> String {
        cluster::dsn(self.port)
    }

    /// The console, for its administrator.
    pub(super) fn console_dsn(&self) -> String {
        format!("postgresql://{ADMIN}:{ADMIN}@127.0.0.1:{}/{CONSOLE}", self.port)
    }

    pub(super) fn http_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.http_port))
    }

    /// Tells `command` to connect here as the application, over TCP.
    pub(super) fn serves(&self, command: &mut Command) {
        command
            .env("DATABASE_URL", self.dsn())
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", APP)
            .env("PGPASSWORD", APP)
            .env("PGDATABASE", APP);
    }

    pub(super) fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }
}

fn config([port, http_port]: [u16; 2], socket_directory: &Path, postgres_port: u16) -> String {
    format!(
        r#"# Written by `pgweir demo`.

[proxy]
listen_addr = "127.0.0.1"
listen_port = {port}
unix_socket_dir = "{sockets}"
http_addr = "127.0.0.1:{http_port}"
admin_users = ["{ADMIN}"]
auth_type = "scram-sha-256"
pool_mode = "{POOL_MODE}"
default_pool_size = {POOL_SIZE}

[hosts.main]
host = "127.0.0.1"
port = {postgres_port}

[databases.{APP}]
host = "main"

[users.{APP}]
password = "{APP}"

[users.{ADMIN}]
password = "{ADMIN}"
"#,
        sockets = toml_text(&socket_directory.display().to_string()),
    )
}

/// What stands between the quotes of a TOML string.
fn toml_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::config;
    use std::path::Path;

    #[test]
    fn the_configuration_is_toml_whatever_the_directory_is_called() {
        let text = config([6432, 9432], Path::new(r#"/tmp/a "b" \c"#), 5432);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["proxy"]["unix_socket_dir"].as_str(), Some(r#"/tmp/a "b" \c"#));
        assert_eq!(table["hosts"]["main"]["port"].as_integer(), Some(5432));
    }
}
