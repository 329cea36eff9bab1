//! Where and when the figures were taken: without it they mean nothing.

use std::fs;
use std::thread;

use crate::process::command;
use crate::programs::{Programs, version};

pub(crate) struct Machine {
    pub(crate) facts: Vec<String>,
    /// Processes that wanted a CPU just before the bench began, by the kernel's one-minute average.
    pub(crate) load: f64,
}

impl Machine {
    pub(crate) fn look(programs: &Programs) -> Self {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let facts = vec![
            today(),
            format!("{cores} cores ({})", processor()),
            format!("Linux {}", line("/proc/sys/kernel/osrelease")),
            version(&programs.postgres),
            version(&programs.pgbouncer),
        ];
        let load = line("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok());
        Self { facts, load: load.unwrap_or(0.0) }
    }
}

fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(": ")?.1.to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn today() -> String {
    let output = command("date").args(["-u", "+%Y-%m-%d"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "undated".to_owned())
}
