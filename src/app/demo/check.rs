//! `--check`: what a newcomer would try, run through the proxy, one line for each.

use super::child::{run_to_end, run_well};
use super::cluster::{APP, Cluster};
use super::directory::Directory;
use super::interrupt::Interrupt;
use super::proxy::{POOL_SIZE, Proxy};
use super::{DemoError, doing};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

pub(super) struct Setting<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) proxy: &'a Proxy,
    pub(super) directory: &'a Directory,
    pub(super) interrupt: &'a Rc<Interrupt>,
    pub(super) exec: Option<&'a str>,
}

/// What is run through the proxy, and its arguments.
struct Step {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const QUERY: &str = "select 'answered by backend ' || pg_backend_pid() || \
                     ' of Postgres ' || current_setting('server_version')";

/// More clients than servers. Those that prepare have a thread each: while pgbench waits for an answer
/// to that, it does nothing for the thread's other clients, which may have the servers.
const STEPS: &[Step] = &[
    Step { name: "psql", program: "psql", arguments: &["-X", "-A", "-t", "-c", QUERY] },
    Step {
        name: "pgbench --initialize",
        program: "pgbench",
        arguments: &["--initialize", "--scale=4"],
    },
    Step {
        name: "pgbench -M simple",
        program: "pgbench",
        arguments: &["-M", "simple", "-c", "20", "-T", "2", "-n"],
    },
    Step {
        name: "pgbench -M extended",
        program: "pgbench",
        arguments: &["-M", "extended", "-c", "20", "-T", "2", "-n"],
    },
    Step {
        name: "pgbench -M prepared",
        program: "pgbench",
        arguments: &["-M", "prepared", "-c", "20", "-j", "20", "-T", "2", "-n"],
    },
    Step {
        name: "pgbench -C",
        program: "pgbench",
        arguments: &["-S", "-C", "-c", "4", "-T", "2", "-n"],
    },
];

/// Each answer's last line is shown.
const CONSOLE_COMMANDS: [&str; 2] = ["SHOW POOLS", "SHOW VERSION"];

const HTTP_PATHS: [&str; 2] = ["/readyz", "/metrics"];

/// How long an answer over HTTP may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs every step, also after one that failed: together they say more.
pub(super) fn run(setting: &Setting<'_>) -> Result<(), DemoError> {
    let mut failed = 0;
    let mut report = |name: &str, outcome: Result<String, DemoError>| match outcome {
        Ok(text) => {
            println!("{name:<22} ok      {text}");
            Ok(())
        }
        Err(DemoError::Interrupted) => Err(DemoError::Interrupted),
        Err(error) => {
            println!("{name:<22} FAILED  {error}");
            failed += 1;
            Ok(())
        }
    };
    for step in STEPS {
        report(step.name, run_step(setting, step))?;
    }
    report("psql, unix socket", over_unix_socket(setting))?;
    report("server connections", servers_are_capped(setting))?;
    for command in CONSOLE_COMMANDS {
        report(command, on_console(setting, command))?;
    }
    for path in HTTP_PATHS {
        report(&format!("GET {path}"), over_http(setting, path))?;
    }
    let mut steps = STEPS.len() + 2 + CONSOLE_COMMANDS.len() + HTTP_PATHS.len();
    if let Some(command) = setting.exec {
        steps += 1;
        let outcome = match exec(command, setting.proxy, setting.interrupt) {
            Ok(status) if status.success() => Ok(status.to_string()),
            Ok(status) => Err(DemoError::ExecFailed { status: status.to_string() }),
            Err(error) => Err(error),
        };
        report("--exec", outcome)?;
    }
    if failed == 0 {
        return Ok(());
    }
    println!("\nThe end of the proxy's log:\n{}\n", setting.proxy.log().text());
    Err(DemoError::ChecksFailed { failed, steps })
}

/// Runs a shell command that finds the proxy in its environment.
pub(super) fn exec(
    command: &str,
    proxy: &Proxy,
    interrupt: &Rc<Interrupt>,
) -> Result<ExitStatus, DemoError> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]);
    proxy.serves(&mut shell);
    run_to_end("sh", &mut shell, interrupt)
}

fn run_step(setting: &Setting<'_>, step: &Step) -> Result<String, DemoError> {
    let mut command = setting.cluster.client(step.program);
    setting.proxy.serves(&mut command);
    command.args(step.arguments);
    said_by(setting, step.program, &mut command)
}

fn over_unix_socket(setting: &Setting<'_>) -> Result<String, DemoError> {
    let mut psql = setting.cluster.client("psql");
    setting.proxy.serves(&mut psql);
    psql.env("PGHOST", setting.proxy.socket_directory());
    psql.args(["-X", "-A", "-t", "-c", QUERY]);
    said_by(setting, "psql", &mut psql)
}

fn on_console(setting: &Setting<'_>, command: &str) -> Result<String, DemoError> {
    let mut psql = setting.cluster.client("psql");
    psql.arg(setting.proxy.console_dsn()).args(["-X", "-A", "-t", "-c", command]);
    said_by(setting, "psql", &mut psql)
}

fn over_http(setting: &Setting<'_>, path: &str) -> Result<String, DemoError> {
    let address = setting.proxy.http_address();
    let answer = http_get(address, path).map_err(doing(format!("get {address}{path}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(DemoError::BadAnswer { address: format!("{address}{path}"), answer });
    }
    Ok(match body.lines().count() {
        1 => body.trim_end().to_owned(),
        lines => format!("{lines} lines"),
    })
}

fn http_get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks Postgres itself how many servers the clients above have come to.
fn servers_are_capped(setting: &Setting<'_>) -> Result<String, DemoError> {
    let mut psql = setting.cluster.superuser_psql("postgres");
    psql.arg("-c").arg(format!("select count(*) from pg_stat_activity where usename = '{APP}'"));
    let found = said_by(setting, "psql", &mut psql)?;
    if found.parse().is_ok_and(|count: u32| (1..=POOL_SIZE).contains(&count)) {
        return Ok(format!("{found}, where {POOL_SIZE} are allowed and 20 clients came"));
    }
    Err(DemoError::ServerCount { found, allowed: POOL_SIZE })
}

fn said_by(
    setting: &Setting<'_>,
    program: &'static str,
    command: &mut Command,
) -> Result<String, DemoError> {
    let log = setting.directory.log("step")?;
    run_well(program, command, &log, setting.interrupt)?;
    Ok(summary(&log.text()))
}

/// pgbench's figures in a line; of anything else the last line.
fn summary(text: &str) -> String {
    let after = |label: &str| text.lines().find_map(|line| line.strip_prefix(label));
    let first_word = |text: &str| text.split([' ', '/']).next().unwrap_or_default().to_owned();
    let transactions = after("number of transactions actually processed: ").map(first_word);
    let rate = after("tps = ").map(first_word);
    match (transactions, rate) {
        (Some(transactions), Some(rate)) => format!("{transactions} transactions, {rate} a second"),
        _ => text.lines().last().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn pgbench_is_summed_up_and_others_are_quoted() {
        let pgbench = "pgbench (15.18)\nnumber of transactions actually processed: 5521\n\
                       number of failed transactions: 0 (0.000%)\nlatency average = 1.4 ms\n\
                       initial connection time = 3.1 ms\n\
                       tps = 2760.5 (without initial connection time)";
        assert_eq!(summary(pgbench), "5521 transactions, 2760.5 a second");
        assert_eq!(summary("one\ntwo"), "two");
        assert_eq!(summary(""), "");
    }
}
