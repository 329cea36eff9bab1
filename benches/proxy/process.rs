//! Children: started with a clean environment, watched, and never left behind.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, kill_process, setrlimit};

use crate::Result;
use crate::interrupt;

/// How long a child may take to obey its stop signal before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A child that ends with its value.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    stop_signal: Signal,
}

impl Process {
    /// Starts `command` in a process group of its own, with its output in a file of `directory`.
    pub(crate) fn spawn(mut command: Command, name: &str, directory: &Path) -> Result<Self> {
        let output = tempfile::Builder::new().prefix(name).suffix(".log").tempfile_in(directory)?;
        let (output, log) = output.keep()?;
        command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = command.spawn().map_err(|error| {
            format!("cannot start {}: {error}", command.get_program().display())
        })?;
        Ok(Self { child, name: name.to_owned(), log, stop_signal: Signal::KILL })
    }

    /// The signal that ends it; SIGKILL unless said otherwise, for most keep nothing worth saving.
    pub(crate) fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Signals it first, then its children: one that it starts in between is not missed when it is
    /// stopped, and starts none while it is.
    pub(crate) fn signal_family(&self, signal: Signal) {
        let own = self.id();
        let send = |id: i32| Pid::from_raw(id).map(|id| kill_process(id, signal));
        kill_process(Pid::from_child(&self.child), signal).ok();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        // One that has just ended needs no signal.
        for id in children.unwrap_or_default().split_whitespace().flat_map(str::parse) {
            send(id).and_then(std::result::Result::ok);
        }
    }

    /// An error, with the child's last words, if it is no longer there.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("{} exited ({status}): {}", self.name, self.last_words()).into())
            }
        }
    }

    /// Waits for a child that ends by itself, and hands over what it printed.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<String> {
        let started = Instant::now();
        let Some(status) = self.wait(started + limit)? else {
            return Err(format!("{} did not end within {limit:?}", self.name).into());
        };
        if !status.success() {
            return Err(format!("{} failed ({status}): {}", self.name, self.last_words()).into());
        }
        Ok(fs::read_to_string(&self.log)?)
    }

    fn wait(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            interrupt::pause()?;
        }
    }

    /// The last lines it printed, in one line.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.as_slice() {
            [] => "it printed nothing".to_owned(),
            lines => lines[lines.len().saturating_sub(3)..].join(" | "),
        }
    }
}

impl Drop for Process {
    /// Also runs while unwinding from Ctrl-C, so it must not look at the interrupt flag.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        kill_process(Pid::from_child(&self.child), self.stop_signal).ok();
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A command without the caller's libpq settings, which would lead it astray.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG") && !text.starts_with("PGWEIR") {
            command.env_remove(&name);
        }
    }
    command
}

/// Who runs what refuses to run as root.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `postgres`, else `nobody`, when this program runs as root; otherwise nobody else is needed.
    pub(crate) fn unprivileged() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&accounts, name))
            .map(Some)
            .ok_or_else(|| {
                "running as root, and there is no user postgres or nobody to run Postgres as".into()
            })
    }

    fn parse(accounts: &str, name: &str) -> Option<Self> {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [user, _, uid, gid, ..] = fields.as_slice() else { return None };
            (*user == name).then_some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    }

    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(crate) fn own(self, path: &Path) -> Result<()> {
        Ok(std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))?)
    }
}

/// A loopback port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Lets this program and its children open `wanted` files, or says what is in the way.
pub(crate) fn raise_open_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if maximum < wanted {
        return Err(format!(
            "the hard limit of open files is {maximum}, {wanted} are needed: raise it (ulimit -Hn)"
        )
        .into());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    Ok(())
}
