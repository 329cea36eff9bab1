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
pub(super) struct PidFile {
    path: PathBuf,
    /// Written first, and renamed into its place: nobody reads half of it.
    new: PathBuf,
}

impl PidFile {
    /// Writes what is to be [`put`](Self::put) in its place. What a process has left behind that has gone
    /// may be replaced; so may that of the process that this one takes over from.
    pub(super) fn prepare(path: &Path, takes_over: bool) -> Result<Self, PidFileError> {
        if !takes_over && let Some(pid) = pid_in(path).filter(|pid| is_running(*pid)) {
            return Err(PidFileError::Running { path: path.to_owned(), pid });
        }
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let file = Self { path: path.to_owned(), new: new.into() };
        file.write().map_err(|error| file.failed(error))?;
        Ok(file)
    }

    /// Puts the file in its place.
    pub(super) fn put(&self) -> Result<(), PidFileError> {
        std::fs::rename(&self.new, &self.path).map_err(|error| self.failed(error))
    }

    /// The same again, when another process has put its own there and has gone.
    pub(super) fn put_back(&self) -> Result<(), PidFileError> {
        if pid_in(&self.path) == Some(std::process::id()) {
            return Ok(());
        }
        self.write().map_err(|error| self.failed(error))?;
        self.put()
    }

    fn write(&self) -> io::Result<()> {
        std::fs::write(&self.new, format!("{}\n", std::process::id()))
    }

    fn failed(&self, error: io::Error) -> PidFileError {
        PidFileError::Io { path: self.path.clone(), error }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        for path in [&self.path, &self.new] {
            if pid_in(path) == Some(std::process::id()) {
                // Gone already is as good.
                let _gone = std::fs::remove_file(path);
            }
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
        let refused = PidFile::prepare(&path, false).err().unwrap();
        assert!(matches!(refused, PidFileError::Running { pid: 1, .. }), "{refused}");
        let read = || std::fs::read_to_string(&path).unwrap();
        let file = PidFile::prepare(&path, true).unwrap();
        assert_eq!(read(), "1\n", "it is not taken over so far");
        let own = format!("{}\n", std::process::id());
        file.put().unwrap();
        assert_eq!(read(), own);
        // Another has taken over, and has gone.
        std::fs::write(&path, "999999999\n").unwrap();
        file.put_back().unwrap();
        file.put_back().unwrap();
        assert_eq!(read(), own);
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_left_of_a_process_that_has_gone_is_replaced_and_anothers_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        // No process has this id: the kernel's largest is 2^22.
        std::fs::write(&path, "999999999\n").unwrap();
        let file = PidFile::prepare(&path, false).unwrap();
        file.put().unwrap();
        std::fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n", "it is another's by now");
    }
}
