//! A child process that a test owns: its log is kept and shown when the test fails, and it ends with
//! the test, also when the test panics or is killed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, kill_process, setrlimit};

use super::time::{Deadline, eventually};

/// Lines of a log that are kept and shown.
const LOG_LINES_MAX: usize = 400;

pub(crate) struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    end: Signal,
}

/// As whom a process runs: Postgres and PgBouncer refuse to be root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    Ourselves,
    Unprivileged,
}

/// The name of the user that owns Postgres' files when the tests run as root.
pub(crate) fn unprivileged_user() -> Option<&'static str> {
    if !geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    Some(if users.lines().any(|line| line.starts_with("postgres:")) {
        "postgres"
    } else {
        "nobody"
    })
}

/// A command that the kernel ends when the thread that started it does.
pub(crate) fn command(program: &str, run_as: RunAs) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=QUIT");
    if let (RunAs::Unprivileged, Some(user)) = (run_as, unprivileged_user()) {
        command.args([&format!("--reuid={user}"), &format!("--regid={}", group_of(user))]);
        command.arg("--init-groups");
    }
    command.arg("--").arg(program);
    command
}

fn group_of(user: &str) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = users.lines().find(|line| line.starts_with(&format!("{user}:")));
    entry.and_then(|line| line.split(':').nth(3)).unwrap_or("65534").to_owned()
}

/// Makes a directory or a file belong to the user that runs Postgres.
pub(crate) fn give_away(path: &std::path::Path) {
    let Some(user) = unprivileged_user() else { return };
    let owner = format!("{user}:{}", group_of(user));
    run_to_end(Command::new("chown").arg("-R").arg(owner).arg(path));
}

/// Runs a helper command, and shows what it said when it fails.
pub(crate) fn run_to_end(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{complained}", output.status);
    said
}

impl Process {
    /// Starts `command`; `end` is the signal that ends it.
    pub(crate) fn start(name: &str, command: &mut Command, end: Signal) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let output = child.stdout.take().expect("stdout was asked to be a pipe");
        let errors = child.stderr.take().expect("stderr was asked to be a pipe");
        follow(output, Arc::clone(&log));
        follow(errors, Arc::clone(&log));
        Self { name: name.to_owned(), child, log, end }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until these words are in the log: they come by a pipe, after what clients are told.
    pub(crate) async fn logs(&self, words: &str) {
        eventually(&format!("the log has {words:?}"), async || {
            self.log().contains(words).then_some(())
        })
        .await;
    }

    pub(crate) fn log(&self) -> String {
        let lines = self.log.lock().expect("no reader of the log panics");
        lines.join("\n")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Sends `signal` to the process and all its children.
    pub(crate) fn signal_family(&self, signal: Signal) {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        self.signal(signal);
        for child in children.split_whitespace() {
            send(child.parse().expect("the kernel lists pids"), signal);
        }
    }

    /// Ends the process with `signal` and waits for it.
    #[expect(clippy::disallowed_methods, reason = "a short poll in a test, outside any runtime")]
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.signal(signal);
        let deadline = Deadline::after(Duration::from_secs(10));
        while !deadline.passed() {
            if let Some(status) = self.ended() {
                return status;
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.signal_family(Signal::KILL);
        self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(9))
    }

    /// The largest resident size the process ever had, in bytes.
    pub(crate) fn memory_high_water(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux has VmHWM");
        let kilobytes = line.split_whitespace().nth(1).expect("VmHWM has a value");
        kilobytes.parse::<u64>().expect("VmHWM is a number") * 1024
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid is positive");
    // The process may have ended by itself: then there is nothing to tell it.
    kill_process(pid, signal).ok();
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut lines = log.lock().expect("no reader of the log panics");
            if lines.len() == LOG_LINES_MAX {
                lines.remove(0);
            }
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process takes no other signal.
        self.signal_family(Signal::CONT);
        let status = self.stop(self.end);
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n    ");
            show(&format!("--- end of the log of {} ({status}):\n    {tail}", self.name));
        }
    }
}

/// Lets this test have as many connections as the system does.
pub(crate) fn raise_descriptors() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("it may");
}

#[expect(clippy::print_stderr, reason = "the test's output is where a failure is looked into")]
pub(crate) fn show(text: &str) {
    eprintln!("{text}");
}
