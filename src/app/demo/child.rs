//! Programs that the demo runs: started, watched, and stopped by their process id.

use super::directory::Log;
use super::interrupt::Interrupt;
use super::{DemoError, POLL, doing};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

/// Signals to stop a program with, each with how long it is given; SIGKILL follows.
pub(super) type StopWith = &'static [(Signal, Duration)];

/// A running program. Dropped, it is stopped.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    stop_with: StopWith,
    interrupt: Rc<Interrupt>,
}

impl Running {
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        stop_with: StopWith,
        interrupt: &Rc<Interrupt>,
    ) -> Result<Self, DemoError> {
        let what = format!("run {}", command.get_program().display());
        let child = command.spawn().map_err(doing(what))?;
        Ok(Self { name, child, stop_with, interrupt: Rc::clone(interrupt) })
    }

    /// Waits until `ready`. An end before that, or none of both in time, is an error.
    pub(super) fn wait_until(
        &mut self,
        ready: impl Fn() -> bool,
        patience: Duration,
        log: &Log,
    ) -> Result<(), DemoError> {
        let mut waited = Duration::ZERO;
        while !ready() {
            self.still_runs(log)?;
            if waited >= patience {
                return Err(DemoError::NotReady {
                    name: self.name,
                    after: patience,
                    log: log.text(),
                });
            }
            if self.interrupt.came_within(POLL) {
                return Err(DemoError::Interrupted);
            }
            waited += POLL;
        }
        Ok(())
    }

    pub(super) fn still_runs(&mut self, log: &Log) -> Result<(), DemoError> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(DemoError::Ended {
                name: self.name,
                status: status.to_string(),
                log: log.text(),
            }),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        self.child.try_wait().map_err(doing(format!("wait for {}", self.name)))
    }

    /// Whether it ended within `patience`. A signal to us meanwhile means: do not wait.
    fn ends_within(&mut self, patience: Duration) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => return true,
                Ok(None) if waited < patience => waited += POLL,
                Ok(None) | Err(_) => return false,
            }
            if self.interrupt.came_within(POLL) {
                return false;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ends_within(Duration::ZERO) {
            return;
        }
        for (signal, patience) in self.stop_with {
            // It fails only if the child is gone, which the next line finds out.
            kill_process(Pid::from_child(&self.child), *signal).ok();
            if self.ends_within(*patience) {
                return;
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs `command` to its end; a signal to us ends it early.
pub(super) fn run_to_end(
    name: &'static str,
    command: &mut Command,
    interrupt: &Rc<Interrupt>,
) -> Result<ExitStatus, DemoError> {
    const STOP_WITH: StopWith = &[(Signal::TERM, Duration::from_secs(2))];
    let mut running = Running::start(name, command, STOP_WITH, interrupt)?;
    loop {
        if let Some(status) = running.ended()? {
            return Ok(status);
        }
        if interrupt.came_within(POLL) {
            return Err(DemoError::Interrupted);
        }
    }
}

/// Runs `command` to its end with its output in `log`; another exit code than 0 is an error.
pub(super) fn run_well(
    name: &'static str,
    command: &mut Command,
    log: &Log,
    interrupt: &Rc<Interrupt>,
) -> Result<(), DemoError> {
    log.takes_from(command)?;
    let status = run_to_end(name, command, interrupt)?;
    if status.success() {
        return Ok(());
    }
    Err(DemoError::Ended { name, status: status.to_string(), log: log.text() })
}
