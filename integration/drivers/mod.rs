//! Drivers as people use them, each with its own pool, through the proxy. Python's and Node's are
//! installed on demand below the target directory; without their registries these tests fail.

mod defaults;
mod page;
mod programs;
mod rust;
mod timeline;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Address;
use crate::harness::postgres::checksum;
use crate::harness::process::run_to_end;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run_within;
use programs::pgbench;

/// An installation may have to be made first.
const LIMIT: std::time::Duration = std::time::Duration::from_mins(5);

/// How many servers a pool has here. Scripts use twice as many connections where nothing is pinned,
/// and fewer where every connection may keep a server.
const POOL_SIZE: u32 = 6;

async fn rig() -> Rig {
    let settings = Settings::new().pool_size(POOL_SIZE).set("auth_type", "scram-sha-256");
    Rig::start(settings.set("admin_users", "app")).await
}

/// Runs a program off the test's thread, because the harness' tasks go on meanwhile.
async fn output_of(mut command: Command) -> String {
    let task = tokio::task::spawn_blocking(move || run_to_end(&mut command));
    task.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

/// Tells a program where to connect, in the way that all of them know.
fn environment(command: &mut Command, address: &Address) {
    let Address::Tcp(address) = address else { panic!("drivers connect by TCP here") };
    command.env("PGHOST", address.ip().to_string()).env("PGPORT", address.port().to_string());
    command.env("PGUSER", "app").env("PGPASSWORD", "app-secret").env("PGDATABASE", "app");
    command.env("PROXY_POOL_SIZE", POOL_SIZE.to_string());
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/drivers").join(name)
}

/// A directory below the target directory that `make` fills once, whoever comes first.
fn installed(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = root.join(name);
    let lock = File::create(root.join(format!("{name}.lock"))).expect("a lock file is made");
    lock.lock().expect("a file can be locked");
    let done = directory.join("complete");
    if !done.exists() {
        make(&directory);
        std::fs::write(done, "").expect("the mark is written");
    }
    directory
}

fn install(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {command:?}: {error}"));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{what} cannot be installed; this test needs it and its registry: {command:?}\n{complained}"
    );
}

const PYTHON: &[&str] =
    &["psycopg[binary,pool]>=3.2", "asyncpg>=0.30", "django>=5", "sqlalchemy[asyncio]>=2"];
const NODE: &[&str] = &["pg@8", "pg-cursor@2", "pg-copy-streams@6"];

/// The name of an installation, which is another one when its packages are others.
fn name_of(what: &str, packages: &[&str]) -> String {
    format!("{what}-{:x}", checksum(&packages.concat()))
}

fn python() -> PathBuf {
    let directory = installed(&name_of("python", PYTHON), |directory| {
        let mut venv = Command::new("python3");
        install(
            "a Python environment (Debian: python3-venv)",
            venv.args(["-m", "venv"]).arg(directory),
        );
        let mut pip = Command::new(directory.join("bin/pip"));
        install("Python drivers (PyPI)", pip.args(["install", "--quiet"]).args(PYTHON));
    });
    directory.join("bin/python")
}

fn node_modules() -> PathBuf {
    installed(&name_of("node", NODE), |directory| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(directory);
        install("node-postgres (npm; Debian: nodejs npm)", npm.args(NODE));
    })
    .join("node_modules")
}

fn check_script(command: impl FnOnce() -> Command) {
    run_within(LIMIT, async {
        let rig = rig().await;
        let mut command = command();
        environment(&mut command, rig.address());
        let said = output_of(command).await;
        assert!(said.ends_with("done\n"), "the script ended early: {said}");
        rig.postgres.wait_for_servers("state <> 'idle'", 0).await;
        assert!(rig.postgres.servers("true").await <= POOL_SIZE as usize);
    });
}

fn python_script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(script(name));
    command
}

/// A program with JDBC.
fn java(name: &str) -> Command {
    let driver = "/usr/share/java/postgresql.jar";
    assert!(Path::new(driver).exists(), "no {driver} (Debian: libpostgresql-jdbc-java)");
    let mut command = Command::new("java");
    // Compiled as it starts; and small, because many tests run at once.
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-cp", driver]).arg(script(name));
    command
}

#[test]
fn jdbc_works_with_the_console() {
    check_script(|| java("java/Console.java"));
}

#[test]
fn psycopg_works_with_its_pool() {
    check_script(|| python_script("python/psycopg_pool_workload.py"));
}

#[test]
fn asyncpg_works_with_its_pool() {
    check_script(|| python_script("python/asyncpg_pool_workload.py"));
}

#[test]
fn psycopg_and_asyncpg_work_with_the_console() {
    check_script(|| python_script("python/console.py"));
}

#[test]
fn node_postgres_works_with_its_pool() {
    check_script(|| {
        let mut command = Command::new("node");
        command.arg(script("node/pool_workload.js")).env("NODE_PATH", node_modules());
        command
    });
}
