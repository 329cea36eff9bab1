//! Where the programs are that the bench starts, and what to install when they are not there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::command;

pub(crate) struct Programs {
    pub(crate) initdb: PathBuf,
    pub(crate) pgbench: PathBuf,
    pub(crate) pgbouncer: PathBuf,
    pub(crate) pgweir: PathBuf,
    /// A build from before a change, to compare with.
    pub(crate) pgweir_before: Option<PathBuf>,
    pub(crate) postgres: PathBuf,
    /// This program: the relay is a second process of it.
    pub(crate) relay: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Result<Self> {
        let postgres = postgres_directory()?;
        Ok(Self {
            initdb: postgres.join("initdb"),
            pgbench: postgres.join("pgbench"),
            pgbouncer: pgbouncer()?,
            pgweir: env::var_os("PGWEIR_BIN")
                .map_or_else(|| env!("CARGO_BIN_EXE_pgweir").into(), PathBuf::from),
            pgweir_before: env::var_os("PGWEIR_BEFORE").map(PathBuf::from),
            postgres: postgres.join("postgres"),
            relay: env::current_exe()?,
        })
    }
}

/// One directory that has all three: Debian keeps `initdb` out of `PATH` and wraps `pgbench`.
fn postgres_directory() -> Result<PathBuf> {
    let places = match env::var_os("PGWEIR_PG_BIN") {
        Some(place) => vec![PathBuf::from(place)],
        None => search_path().into_iter().chain(debian_directories()).collect(),
    };
    places
        .into_iter()
        .find(|place| ["initdb", "pgbench", "postgres"].iter().all(|name| is_file(place, name)))
        .ok_or_else(|| {
            "no directory has initdb, pgbench and postgres (looked in PGWEIR_PG_BIN if set, else in \
             PATH and /usr/lib/postgresql/*/bin): install Debian's package `postgresql`"
                .into()
        })
}

/// Debian's directories of server programs, newest version first.
fn debian_directories() -> Vec<PathBuf> {
    let mut versions: Vec<u32> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.iter().map(|version| format!("/usr/lib/postgresql/{version}/bin").into()).collect()
}

fn pgbouncer() -> Result<PathBuf> {
    if let Some(path) = env::var_os("PGBOUNCER").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("PGBOUNCER={} is not a file", path.display()).into())
        };
    }
    search_path()
        .into_iter()
        .chain([PathBuf::from("/usr/sbin")])
        .find(|place| is_file(place, "pgbouncer"))
        .map(|place| place.join("pgbouncer"))
        .ok_or_else(|| {
            "no pgbouncer in PATH or /usr/sbin: install Debian's package `pgbouncer`, or set \
             PGBOUNCER=/path/to/pgbouncer"
                .into()
        })
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn is_file(place: &Path, name: &str) -> bool {
    place.join(name).is_file()
}

/// The first line of `program --version`.
pub(crate) fn version(program: &Path) -> String {
    command(program)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned()))
        .unwrap_or_else(|| "unknown version".to_owned())
}
