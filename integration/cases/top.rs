//! `pgweir top`, in a terminal and without one.

use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::Address;
use crate::harness::console::with_console;
use crate::harness::frames::Batch;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::terminal::Terminal;
use crate::harness::time::run;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pgweir");

async fn rig() -> Rig {
    Rig::start(with_console(Settings::new().pool_size(1))).await
}

fn dsn(rig: &Rig) -> String {
    let Address::Tcp(address) = rig.address() else { panic!("the proxy is reached over TCP") };
    // A name that both consoles have.
    format!("postgresql://app@{address}/pgbouncer")
}

/// `top` in a terminal, between two notes of how the terminal is set.
fn start(rig: &Rig, directory: &TempDir) -> Terminal {
    let line = format!(
        "stty -g > before; sh -c 'echo $$ > pid; exec {PROGRAM} top --interval 0.2 {}'; \
         echo ended with $?; stty -g > after; echo bye; cat",
        dsn(rig)
    );
    Terminal::run(&line, directory.path())
}

/// A terminal that was given back is as it was.
async fn is_given_back(terminal: &Terminal, directory: &TempDir, status: u8) {
    terminal.shows(&format!("ended with {status}")).await;
    terminal.shows("bye").await;
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("noted");
    assert_eq!(read("before"), read("after"));
    assert!(terminal.is_given_back());
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory is made")
}

#[test]
fn keys_do_what_they_say_and_the_terminal_is_given_back() {
    run(async {
        let rig = rig().await;
        let (mut holder, mut waiter) = (rig.client().await, rig.client().await);
        holder.query("begin").await;
        waiter.send(Batch::new().query("select 1")).await;
        let directory = directory();
        let mut top = start(&rig, &directory);
        top.shows("app/app: busy").await;
        top.shows("1 client waits").await;
        assert!(!top.is_given_back());
        top.press("4");
        top.shows("waits▼").await;
        top.shows("pool_full").await;
        top.press("5");
        top.shows("held▼").await;
        top.shows("idle_in_transaction").await;
        top.press("1");
        holder.query("commit").await;
        waiter.answer().await;
        top.shows("The pool is well").await;
        top.press("2");
        top.shows("pool▲").await;
        top.press("/nothing");
        top.shows("No row has what the filter wants.").await;
        top.press("\x1b");
        top.shows("1 rows").await;
        top.press("\r");
        top.shows("Detail").await;
        top.press("q");
        top.shows_no("Detail").await;
        // Drawn anew: after other programs wrote over it, and after it was stopped. Here nobody stops it,
        // as the shell has no jobs.
        for key in ["\x0c", "\x1a"] {
            top.press(key);
            top.press("1");
            top.shows("Transactions").await;
            top.press("2");
            top.shows("pool▲").await;
        }
        top.press("p");
        top.shows("PAUSED").await;
        top.press("p?");
        top.shows("Ctrl-C").await;
        top.press("q");
        top.shows_no("Ctrl-C").await;
        top.press("q");
        is_given_back(&top, &directory, 0).await;
    });
}

#[test]
fn a_signal_and_control_c_give_the_terminal_back() {
    run(async {
        let rig = rig().await;
        for (by_signal, status) in [(true, 128 + 15), (false, 0)] {
            let directory = directory();
            let mut top = start(&rig, &directory);
            top.shows("? help").await;
            if by_signal {
                let pid = std::fs::read_to_string(directory.path().join("pid")).expect("noted");
                let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a pid");
                kill_process(pid, Signal::TERM).expect("it runs");
            } else {
                top.press("\x03");
            }
            is_given_back(&top, &directory, status).await;
        }
    });
}

#[test]
fn a_proxy_that_goes_away_is_waited_for() {
    run(async {
        let mut rig = rig().await;
        let directory = directory();
        let mut top = start(&rig, &directory);
        top.shows("? help").await;
        rig.proxy.restart_after(async || top.shows("again in").await).await;
        // The screen stayed, and goes on by itself.
        top.shows_no("again in").await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        top.press("2");
        top.shows("app/app").await;
        top.press("q");
        is_given_back(&top, &directory, 0).await;
    });
}

fn once(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("top").args(["--interval", "0.2"]).args(arguments);
    command.output().expect("the program runs")
}

#[test]
fn a_script_reads_it_as_json_or_text() {
    run(async {
        let rig = rig().await;
        let mut client = rig.client().await;
        client.query("select 1").await;
        let output = once(&["--format", "json", &dsn(&rig)]);
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("is JSON");
        let pools = json["tables"]["pools"].as_array().expect("a list");
        let pool = pools.iter().find(|pool| pool["database"] == "app").expect("the pool is there");
        assert_eq!(pool["sv_idle"], 1);
        assert_eq!(json["summary"]["servers_max"], 1);
        assert_eq!(json["missing"], serde_json::json!([]));
        assert_eq!(json["rates"]["app"]["queries_per_second"], 0.0);
        // Nobody sees colours or a screen where there is no terminal.
        let output = once(&[&dsn(&rig)]);
        let text = String::from_utf8(output.stdout).expect("is UTF-8");
        assert!(text.contains("\nPools\n  pool") && text.contains("\n  app/app  "), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    });
}

#[test]
fn what_cannot_be_looked_at_is_told_with_what_to_do() {
    run(async {
        let rig = rig().await;
        let told = |dsn: &str| {
            let output = once(&["--once", dsn]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            String::from_utf8(output.stderr).expect("is UTF-8")
        };
        let no_console = told(&dsn(&rig).replace("/pgbouncer", "/app"));
        assert!(no_console.contains("this is no console"), "{no_console}");
        let not_allowed = told(&dsn(&rig).replace("app@", "other@"));
        assert!(not_allowed.contains("refused: "), "{not_allowed}");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let nobody = listener.local_addr().expect("is bound").port();
        drop(listener);
        let unreachable = told(&format!("host=127.0.0.1 port={nobody} user=app"));
        assert!(unreachable.contains("cannot connect"), "{unreachable}");
    });
}
