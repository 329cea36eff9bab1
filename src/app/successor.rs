//! Starting the program anew, to take over from this process.

use std::ffi::OsString;
use std::io;
use std::process::{Child, Command};
use std::thread;

/// The command line of a process that takes over from this one. Made at the start: the program may be
/// another file by the time it is needed, which is the purpose.
#[derive(Clone, Debug)]
pub struct Successor(Vec<OsString>);

impl Successor {
    pub fn new(command_line: Vec<OsString>) -> Self {
        Self(command_line)
    }

    /// Starts it. Whether it takes over shows when it asks to.
    pub(super) fn start(&self) {
        match self.spawn() {
            Ok(child) => {
                tracing::info!(pid = child.id(), "the next process starts");
                // So that nothing is left of one that fails.
                thread::spawn(move || watch(child));
            }
            Err(error) => tracing::error!("the next process cannot be started: {error}"),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let (program, arguments) =
            self.0.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Command::new(program).args(arguments).spawn()
    }
}

fn watch(mut child: Child) {
    match child.wait() {
        Ok(status) if !status.success() => {
            tracing::error!("the next process has failed ({status}): this one goes on");
        }
        Ok(_) | Err(_) => {}
    }
}
