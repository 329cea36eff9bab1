//! A Postgres of the test's own: a copy of a prepared data directory, on a free port and a unix
//! socket, that ends with the test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::Address;
use super::ports::Port;
use super::process::{Process, RunAs, command, give_away, run_to_end};
use super::time::eventually;

/// What every test finds in its Postgres. A change makes a new template.
const TEMPLATE_SQL: &str = "\
create role app login password 'app-secret';
create role other login password 'other-secret';
create database app;
create database second;
grant pg_signal_backend to app;
alter database app owner to app;
";

const SETTINGS: &str = "\
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 100
autovacuum = off
max_wal_senders = 0
wal_level = minimal
log_min_messages = log
jit = off
";

pub(crate) struct Postgres {
    process: Option<Process>,
    port: Port,
    directory: TempDir,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts with more lines in `postgresql.conf`.
    pub(crate) async fn start_with(settings: &str) -> Self {
        let template = template();
        let directory = tempfile::Builder::new()
            .prefix("pgweir-it-")
            .tempdir()
            .expect("a temporary directory is made");
        let data = directory.path().join("data");
        run_to_end(Command::new("cp").arg("-a").arg(&template).arg(&data));
        let port = Port::take();
        let own = format!(
            "{SETTINGS}listen_addresses = '127.0.0.1'\nport = {}\n\
             unix_socket_directories = '{}'\n{settings}\n",
            port.number,
            directory.path().display(),
        );
        std::fs::write(data.join("postgresql.auto.conf"), own).expect("the settings are written");
        give_away(directory.path());
        let mut postgres = Self { process: None, port, directory };
        postgres.resume().await;
        postgres
    }

    /// Starts it again after `stop`, on the same port, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        self.launch();
        eventually("Postgres answers", async || {
            self.check_alive();
            self.connect("postgres").await.ok().map(|_| ())
        })
        .await;
    }

    /// Starts it without waiting.
    pub(crate) fn launch(&mut self) {
        let postgres = binary("postgres");
        let mut command = command(&postgres, RunAs::Unprivileged);
        command.arg("-D").arg(self.data());
        self.process = Some(Process::start("postgres", &mut command, Signal::QUIT));
    }

    fn check_alive(&mut self) {
        let process = self.process.as_mut().expect("Postgres was launched");
        if let Some(status) = process.ended() {
            panic!("Postgres ended with {status}:\n{}", process.log());
        }
    }

    /// Ends it at once, as a crash would; connections break.
    pub(crate) fn crash(&mut self) {
        self.stop(Signal::QUIT);
    }

    /// Ends it in order (`pg_ctl stop -m fast`): sessions are told 57P01.
    pub(crate) fn shut_down(&mut self) {
        self.stop(Signal::INT);
    }

    fn stop(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            process.stop(signal);
        }
    }

    /// What it has logged lately.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().expect("Postgres runs").log()
    }

    /// Stops every process, so that connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().expect("Postgres runs").signal_family(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process.as_ref().expect("Postgres runs").signal_family(Signal::CONT);
    }

    /// Replaces `pg_hba.conf` and makes Postgres read it.
    pub(crate) async fn set_hba(&self, lines: &str) {
        let rules = format!("local all postgres trust\n{lines}\n");
        std::fs::write(self.data().join("pg_hba.conf"), rules).expect("pg_hba.conf is written");
        self.sql("select pg_reload_conf()").await;
        eventually("Postgres reads pg_hba.conf", async || {
            let wanted = lines.lines().filter(|line| !line.trim().is_empty()).count() + 1;
            let read = self.value("select count(*) from pg_hba_file_rules").await;
            let loaded = self
                .value("select pg_conf_load_time() > (pg_stat_file('pg_hba.conf')).modification - interval '1 second'")
                .await;
            (read == wanted.to_string() && loaded == "t").then_some(())
        })
        .await;
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number
    }

    pub(crate) fn address(&self) -> Address {
        Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number)))
    }

    /// A session as superuser, past any proxy.
    pub(crate) async fn connect(
        &self,
        database: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.directory.path()).port(self.port.number);
        config.user("postgres").dbname(database).application_name("test");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements as superuser in the database `app`.
    pub(crate) async fn sql(&self, sql: &str) {
        self.simple(sql).await;
    }

    /// The first column of the first row, as text; an empty string for no row and for NULL.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let answer = self.simple(sql).await;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0)).unwrap_or_default().to_owned()
    }

    async fn simple(&self, sql: &str) -> Vec<SimpleQueryMessage> {
        let client = self.connect("app").await.expect("the superuser can log in");
        client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// How many server connections there are, of anybody but the superuser, that match `filter`.
    pub(crate) async fn servers(&self, filter: &str) -> usize {
        let sql = format!(
            "select count(*) from pg_stat_activity \
             where backend_type = 'client backend' and usename <> 'postgres' and {filter}"
        );
        self.value(&sql).await.parse().expect("a count is a number")
    }

    /// Waits until exactly `count` servers match `filter`.
    pub(crate) async fn wait_for_servers(&self, filter: &str, count: usize) {
        eventually(&format!("{count} servers with {filter}"), async || {
            (self.servers(filter).await == count).then_some(())
        })
        .await;
    }
}

/// The path of one of Postgres' programs.
pub(crate) fn binary(name: &str) -> String {
    let mut places: Vec<PathBuf> =
        std::env::var_os("PGWEIR_PG_BIN").map(PathBuf::from).into_iter().collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    versions.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(versions);
    places.extend(std::env::split_paths(&path));
    let found = places.into_iter().map(|place| place.join(name)).find(|file| file.exists());
    let file = found.unwrap_or_else(|| {
        panic!("no `{name}`: install Debian's packages postgresql and postgresql-client, or set PGWEIR_PG_BIN")
    });
    file.to_string_lossy().into_owned()
}

/// The data directory that every Postgres starts as a copy of: made once, under a lock.
fn template() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(root).expect("the target directory can be written");
    let lock = File::create(root.join("template.lock")).expect("a lock file is made");
    lock.lock().expect("a file can be locked");
    let version = run_to_end(Command::new(binary("postgres")).arg("--version"));
    let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let made = root.join(format!("template-{version}-{:x}", checksum(TEMPLATE_SQL)));
    if !made.exists() {
        // Made elsewhere, because the user that runs Postgres may not reach the target directory.
        let scratch = tempfile::tempdir().expect("a temporary directory is made");
        give_away(scratch.path());
        let data = scratch.path().join("data");
        initialise(&data);
        let partial = made.with_extension("partial");
        run_to_end(Command::new("rm").arg("-rf").arg(&partial));
        run_to_end(Command::new("cp").arg("-a").arg(&data).arg(&partial));
        std::fs::rename(&partial, &made).expect("the template is put in its place");
    }
    made
}

fn initialise(data: &Path) {
    let mut initdb = command(&binary("initdb"), RunAs::Unprivileged);
    initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    run_to_end(initdb.arg("--wal-segsize=1").arg("-D").arg(data));
    let sql = data.join("template.sql");
    std::fs::write(&sql, TEMPLATE_SQL).expect("the template's SQL is written");
    give_away(&sql);
    let single = format!(
        "exec {} --single -F -D '{}' postgres < '{}'",
        binary("postgres"),
        data.display(),
        sql.display()
    );
    let mut shell = command("sh", RunAs::Unprivileged);
    run_to_end(shell.arg("-c").arg(single));
}

/// Tells one text from another.
pub(crate) fn checksum(text: &str) -> u32 {
    text.bytes().fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}
