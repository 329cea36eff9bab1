//! The demo's temporary directory, and who owns what in it.
//!
//! The directory is ours; Postgres' parts of it belong to whom Postgres runs as, because it refuses
//! to run as root.

use super::{DemoError, doing};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much of a log an error shows.
const LOG_TAIL_BYTES: i64 = 3000;

/// Removed with everything in it when dropped.
pub(super) struct Directory {
    path: PathBuf,
    postgres_user: Option<UserAndGroup>,
}

#[derive(Clone, Copy)]
struct UserAndGroup {
    user: u32,
    group: u32,
}

impl Directory {
    pub(super) fn create() -> Result<Self, DemoError> {
        let root = rustix::process::geteuid().is_root();
        let postgres_user = if root {
            let found = ["postgres", "nobody"].into_iter().find_map(look_up);
            Some(found.ok_or(DemoError::NoUserForPostgres)?)
        } else {
            None
        };
        let path = std::env::temp_dir().join(format!("pgweir-demo-{:08x}", rand::random::<u32>()));
        // Postgres' user must get through to its own parts, and see nothing else.
        let mode = if root { 0o711 } else { 0o700 };
        make(&path, mode)?;
        Ok(Self { path, postgres_user })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory for Postgres, which nobody else may read.
    pub(super) fn for_postgres(&self, name: &str) -> Result<PathBuf, DemoError> {
        let path = self.path.join(name);
        make(&path, 0o700)?;
        if let Some(UserAndGroup { user, group }) = self.postgres_user {
            let what = format!("give {} to the user that Postgres runs as", path.display());
            chown(&path, Some(user), Some(group)).map_err(doing(what))?;
        }
        Ok(path)
    }

    /// `program`, to be run as the user that Postgres runs as.
    pub(super) fn as_postgres(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // The current directory may be closed to that user.
        command.current_dir("/");
        if let Some(UserAndGroup { user, group }) = self.postgres_user {
            command.gid(group).uid(user);
        }
        command
    }

    /// A file that only we may read: it may hold passwords.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, DemoError> {
        let path = self.path.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(doing(format!("write {}", path.display())))?;
        Ok(path)
    }

    /// A file for what a program says.
    pub(super) fn log(&self, name: &str) -> Result<Log, DemoError> {
        let path = self.path.join(format!("{name}.log"));
        let file = File::create(&path).map_err(doing(format!("write {}", path.display())))?;
        Ok(Log { path, file })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Sends both outputs of `command` here.
    pub(super) fn takes_from(&self, command: &mut Command) -> Result<(), DemoError> {
        let clone = || self.file.try_clone().map_err(doing("share a log file"));
        command.stdout(clone()?).stderr(clone()?);
        Ok(())
    }

    /// What was said, the last of it if it is long.
    pub(super) fn text(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.path)?;
            if file.metadata()?.len() > LOG_TAIL_BYTES.unsigned_abs() {
                file.seek(SeekFrom::End(-LOG_TAIL_BYTES))?;
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            Ok(if text.is_empty() { "(nothing)".to_owned() } else { text })
        };
        read().unwrap_or_else(|error| format!("(cannot read {}: {error})", self.path.display()))
    }
}

fn make(path: &Path, mode: u32) -> Result<(), DemoError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(doing(format!("create {}; TMPDIR may name another place", path.display())))
}

/// Asks `id`, which knows users that are not in /etc/passwd as well.
fn look_up(name: &str) -> Option<UserAndGroup> {
    let ask = |flag| {
        let output = Command::new("id").args([flag, name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    Some(UserAndGroup { user: ask("-u")?, group: ask("-g")? })
}
