//! The proxies' settings: the same for each, in the words of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::contestants::Auth;
use crate::postgres::{APP_USER, DATABASE, LOUD_USER, SCRAM_USER, TRUSTED_USER};
use crate::process::command;
use crate::stage::Stage;

/// Above what any row connects, and room for those who reconnect before they are missed.
const CLIENTS_MAX: u32 = 6000;

/// As it is shipped, but for that it is on.
const SHARING: &str = r#"multiplex = "auto""#;

/// What depends on what is measured. The same for every proxy, or they are not comparable.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) auth: Auth,
    pub(crate) pool_size: u32,
    /// All users are one to Postgres, and share one pool.
    pub(crate) is_shared: bool,
    /// So many more databases, which are all the same one to Postgres: each is a pool.
    pub(crate) more_pools: u16,
    /// What a pgweir is told whose clients share servers.
    pub(crate) sharing: &'static str,
    /// More sections for pgweir's file: what PgBouncer has nothing like.
    pub(crate) own: &'static str,
}

impl Setup {
    /// For measuring costs: a pool that nobody has to wait for.
    pub(crate) fn of_costs(auth: Auth) -> Self {
        Self { auth, pool_size: 20, is_shared: false, more_pools: 0, sharing: SHARING, own: "" }
    }
}

/// What one start needs to know.
pub(crate) struct Settings<'a> {
    pub(crate) port: u16,
    pub(crate) http: Option<u16>,
    pub(crate) setup: &'a Setup,
    pub(crate) password: &'a str,
    pub(crate) workers: u16,
    pub(crate) is_sharing: bool,
}

impl Settings<'_> {
    pub(crate) fn pgbouncer(&self, stage: &Stage) -> Result<Command> {
        let (port, password, setup) = (self.port, self.password, self.setup);
        let users = [TRUSTED_USER, SCRAM_USER, APP_USER, LOUD_USER];
        let users = users.map(|user| format!("\"{user}\" \"{password}\"\n")).concat();
        let users = write(stage, &format!("pgbouncer-{port}.users"), &users)?;
        let text = format!(
            "[databases]
{DATABASE} = host=127.0.0.1 port={postgres}{server_user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth}
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = {CLIENTS_MAX}
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
log_stats = 0
",
            postgres = stage.postgres_port(),
            server_user =
                if setup.is_shared { format!(" user={TRUSTED_USER}") } else { String::new() },
            auth = setup.auth.name(),
            users = users.display(),
            pool_size = setup.pool_size,
        );
        let mut command = command(&stage.programs.pgbouncer);
        command.arg("-q").arg(write(stage, &format!("pgbouncer-{port}.ini"), &text)?);
        // It refuses to run as root.
        if let Some(account) = stage.account {
            account.apply(&mut command);
        }
        Ok(command)
    }

    pub(crate) fn pgweir(&self, stage: &Stage, program: &Path) -> Result<Command> {
        let (port, password, setup) = (self.port, self.password, self.setup);
        let users = [TRUSTED_USER, SCRAM_USER, APP_USER, LOUD_USER];
        let users = users.map(|user| format!("\n[users.{user}]\npassword = \"{password}\"\n"));
        let more = (0..setup.more_pools).map(|pool| {
            let name = pool_name(pool);
            format!("\n[databases.{name}]\nhost = \"main\"\ndbname = \"{DATABASE}\"\n")
        });
        let text = format!(
            r#"[proxy]
listen_addr = "127.0.0.1"
listen_port = {port}
http_addr = "{http}"
log_connections = false
log_disconnections = false
log_pooler_errors = false
auth_type = "{auth}"
pool_mode = "transaction"
default_pool_size = {pool_size}
max_client_conn = {CLIENTS_MAX}
workers = {workers}
{sharing}

[hosts.main]
host = "127.0.0.1"
port = {postgres}

[databases.{DATABASE}]
host = "main"
server_user = "{server_user}"
{users}{more}{own}"#,
            auth = setup.auth.name(),
            pool_size = setup.pool_size,
            workers = self.workers,
            sharing = if self.is_sharing { setup.sharing } else { "" },
            postgres = stage.postgres_port(),
            server_user = if setup.is_shared { TRUSTED_USER } else { "" },
            http = self.http.map_or_else(String::new, |port| format!("127.0.0.1:{port}")),
            users = users.concat(),
            more = more.collect::<String>(),
            own = setup.own,
        );
        let mut command = command(program);
        command.args(["run", "-c"]).arg(write(stage, &format!("pgweir-{port}.toml"), &text)?);
        Ok(command)
    }

    pub(crate) fn relay(&self, stage: &Stage) -> Command {
        let mut command = command(&stage.programs.relay);
        command
            .arg("--relay")
            .args([self.port, stage.postgres_port()].map(|port| port.to_string()));
        command
    }
}

/// One of those that `more_pools` makes.
pub(crate) fn pool_name(pool: u16) -> String {
    format!("{DATABASE}{pool}")
}

fn write(stage: &Stage, name: &str, text: &str) -> Result<PathBuf> {
    let path = stage.directory().join(name);
    fs::write(&path, text)?;
    Ok(path)
}
