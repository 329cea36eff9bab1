//! Drivers and frameworks with nothing switched off, in transaction mode: they prepare statements by
//! name, open cursors, listen, and do so on six connections at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    LIMIT, environment, install, java, node_modules, output_of, pgbench, python_script, script,
};
use crate::harness::postgres::binary;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::run_within;

/// Fewer than there are connections: none that prepares keeps its server.
const SERVERS: u32 = 2;
pub(super) const CONNECTIONS: i32 = 6;

pub(super) fn settings() -> Settings {
    Settings::new().pool_size(SERVERS).set("auth_type", "scram-sha-256")
}

/// With servers for each by itself, and with servers that are shared.
fn check(command: impl Fn() -> Command) {
    // What has to be installed is, before anything runs.
    let commands = [("off", command()), ("auto", command())];
    for (multiplex, mut command) in commands {
        run_within(LIMIT, async {
            let rig = Rig::start(settings().set("multiplex", multiplex)).await;
            environment(&mut command, rig.address());
            let said = output_of(command).await;
            assert!(
                said.ends_with("done\n"),
                "with multiplex = {multiplex}, it ended early: {said}"
            );
            rig.postgres.wait_for_servers("state <> 'idle'", 0).await;
        });
    }
}

#[test]
fn psycopg_works_as_it_comes() {
    check(|| python_script("python/psycopg_defaults.py"));
}

#[test]
fn asyncpg_works_as_it_comes() {
    check(|| python_script("python/asyncpg_defaults.py"));
}

#[test]
fn a_django_application_works_as_it_comes() {
    check(|| python_script("python/django_app.py"));
}

#[test]
fn a_sqlalchemy_application_works_as_it_comes() {
    check(|| python_script("python/sqlalchemy_app.py"));
}

#[test]
fn node_postgres_works_as_it_comes() {
    check(|| {
        let mut command = Command::new("node");
        command.arg(script("node/defaults.js")).env("NODE_PATH", node_modules());
        command
    });
}

#[test]
fn jdbc_works_as_it_comes() {
    check(|| java("java/Defaults.java"));
}

/// Built like any program that uses it, in a package of its own.
fn sqlx() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sqlx-driver");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(script("sqlx/Cargo.toml")).arg("--target-dir").arg(&target);
    install("sqlx (crates.io)", &mut cargo);
    target.join("debug/sqlx-defaults")
}

#[test]
fn sqlx_works_as_it_comes() {
    check(|| Command::new(sqlx()));
}

#[test]
fn pgbench_prepares_with_fewer_servers_than_clients() {
    for multiplex in ["off", "auto"] {
        run_within(LIMIT, async {
            let rig = Rig::start(settings().set("multiplex", multiplex)).await;
            let mut initialise = Command::new(binary("pgbench"));
            initialise.args(["--initialize", "--quiet"]);
            environment(&mut initialise, rig.address());
            output_of(initialise).await;
            for script in ["tpcb-like", "simple-update", "select-only"] {
                let builtin = format!("--builtin={script}");
                // A thread for each: it prepares with a call that blocks all clients of its thread, those
                // in a transaction included.
                pgbench(&rig, 20, &["--protocol=prepared", "--jobs=20", &builtin]).await;
            }
        });
    }
}
