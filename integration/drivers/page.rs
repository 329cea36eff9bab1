//! The status page in a browser. Chromium is Debian's, what drives it npm's.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{LIMIT, install, installed, script};
use crate::cases::status::{Trouble, settings};
use crate::harness::ports::Port;
use crate::harness::proxy::Rig;
use crate::harness::time::run_within;

fn playwright() -> PathBuf {
    installed("browser-drivers", |directory| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(directory);
        install("playwright-core (npm; Debian: nodejs npm)", npm.arg("playwright-core@1"));
    })
    .join("node_modules")
}

/// `PGWEIR_SHOTS` names a directory for pictures of it.
#[test]
fn the_page_shows_why_clients_wait() {
    run_within(LIMIT, async {
        let modules = playwright();
        let port = Port::take();
        let rig = Rig::start(settings(&port)).await;
        let _trouble = Trouble::make(&rig, &port).await;
        let expected = serde_json::json!({
            "headline": "wait",
            "texts": Trouble::texts(),
            "hostile": Trouble::hostile(),
        });
        let mut command = Command::new("node");
        command.arg(script("browser/page.js")).env("NODE_PATH", modules);
        command.env("PAGE", format!("http://127.0.0.1:{}/", port.number));
        command.env("EXPECTED", expected.to_string());
        if let Some(shots) = std::env::var_os("PGWEIR_SHOTS") {
            command.env("SHOTS", shots);
        }
        let pid = rig.proxy.process().pid();
        let said = tokio::task::spawn_blocking(move || watch(command, pid));
        let said = said.await.expect("it is watched to its end");
        assert!(said.ends_with("done\n"), "the browser found: {said}");
    });
}

/// Runs it; the proxy is stopped when it asks for that.
fn watch(mut command: Command, proxy: u32) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("node is installed");
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("it says text");
        if line == "stop" {
            let pid = rustix::process::Pid::from_raw(i32::try_from(proxy).expect("a pid"));
            rustix::process::kill_process(pid.expect("a pid"), Signal::STOP).expect("it runs");
        }
        said += &line;
        said.push('\n');
    }
    child.wait().expect("it ends");
    said
}
