//! The file with the process' id: for scripts, and so that one configuration is not run twice.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    #[error("pidfile {}: process {pid} runs already: stop it, or take over with --takeover", path.display())]
    Running { path: PathBuf, pid: u32 },
    #[error("cannot write pidfile {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The file, removed when this is dropped if it is still ours.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file. What a process has left behind that has gone is replaced; so is that of the
    /// process that this one takes over from.
    pub(super) fn write(path: &Path, takes_over: bool) -> Result<Self, PidFileError> {
        if !takes_over && let Some(pid) = pid_in(path).filter(|pid| is_running(*pid)) {
            return Err(PidFileError::Running { path: path.to_owned(), pid });
        }
        let failed = |error| PidFileError::Io { path: path.to_owned(), error };
        // Renamed into its place: nobody reads half of it.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        std::fs::write(&new, format!("{}\n", std::process::id())).map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if pid_in(&self.0) == Some(std::process::id()) {
            // Gone already is as good.
            let _gone = std::fs::remove_file(&self.0);
        }
    }
}

fn pid_in(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_running(pid: u32) -> bool {
    // A process of its own that the file was left to by chance is not another proxy.
    pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::{PidFile, PidFileError};

    #[test]
    fn a_file_of_a_process_that_runs_is_respected_unless_it_hands_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        // The first process of all runs.
        std::fs::write(&path, "1\n").unwrap();
        let refused = PidFile::write(&path, false).err().unwrap();
        assert!(matches!(refused, PidFileError::Running { pid: 1, .. }), "{refused}");
        let file = PidFile::write(&path, true).unwrap();
        let own = std::fs::read_to_string(&path).unwrap();
        assert_eq!(own.trim(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_left_of_a_process_that_has_gone_is_replaced_and_anothers_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        // No process has this id: the kernel's largest is 2^22.
        std::fs::write(&path, "999999999\n").unwrap();
        let file = PidFile::write(&path, false).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n", "it is another's by now");
    }
}
