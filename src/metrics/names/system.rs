//! What runs: its build, its process as the system sees it, its configuration.

use super::Values::{Gauge, Seconds};
use super::{Metric, Subject, flag, metric, number, unix_time};
use crate::pool::process::ConfigView;
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{Duration, SystemTime};

/// The program.
pub(in crate::metrics) struct Build;

impl Subject for Build {
    const LABELS: &'static [&'static str] = &["version", "rustc", "features"];
    const METRICS: &'static [Metric<Self>] =
        &[metric("pgweir_build_info", "What runs. Always 1.", Gauge(|_| 1.0))];

    fn labels(&self) -> Vec<&str> {
        vec![env!("CARGO_PKG_VERSION"), env!("PGWEIR_RUSTC"), env!("PGWEIR_FEATURES")]
    }
}

/// The process, as Linux sees it. What cannot be read is not a number.
#[derive(Clone, Copy, Debug)]
pub(in crate::metrics) struct System {
    began: SystemTime,
    cpu: Duration,
    resident_bytes: Option<u64>,
    open_files: Option<u64>,
    files_max: Option<u64>,
}

impl System {
    pub(in crate::metrics) fn look(began: SystemTime) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let resident_pages = fs::read_to_string("/proc/self/statm").ok();
        let resident_pages = resident_pages
            .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        Self {
            began,
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: resident_pages.map(|pages| pages * page_size() as u64),
            open_files: open_files(),
            files_max: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Linux tells since 6.2 without a list of thousands.
fn open_files() -> Option<u64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        // Less the one that the list itself is read through.
        0 => Some(fs::read_dir(directory).ok()?.count() as u64 - 1),
        count => Some(count),
    }
}

fn known(of: Option<u64>) -> f64 {
    of.map_or(f64::NAN, number)
}

/// The names are those that Prometheus' own libraries use.
impl Subject for System {
    const LABELS: &'static [&'static str] = &[];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            Gauge(|system| unix_time(system.began)),
        ),
        metric("process_cpu_seconds", "CPU time used, by all threads.", Seconds(|it| it.cpu)),
        metric(
            "process_resident_memory_bytes",
            "Memory in use. Buffers are a part of it: pgweir_worker_buffer_bytes.",
            Gauge(|system| known(system.resident_bytes)),
        ),
        metric("process_open_fds", "File descriptors in use.", Gauge(|it| known(it.open_files))),
        metric(
            "process_max_fds",
            "File descriptors that may be in use. Each client and each server takes one.",
            Gauge(|system| system.files_max.map_or(f64::INFINITY, number)),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![]
    }
}

impl Subject for ConfigView {
    const LABELS: &'static [&'static str] = &["hash"];
    const METRICS: &'static [Metric<Self>] = &[metric(
        "pgweir_config_info",
        "The configuration in force. The hash is the same where all but passwords is the same. Always \
         1.",
        Gauge(|_| 1.0),
    )];

    fn labels(&self) -> Vec<&str> {
        vec![&self.hash]
    }
}

/// The same configuration, without its name.
pub(in crate::metrics) struct LastLoad(pub(in crate::metrics) ConfigView);

impl Subject for LastLoad {
    const LABELS: &'static [&'static str] = &[];
    const METRICS: &'static [Metric<Self>] = &[
        metric(
            "pgweir_config_last_reload_successful",
            "Whether the configuration that was read last is in force: 0 if it was refused, and the one \
             before holds.",
            Gauge(|last| flag(last.0.is_last_load_ok)),
        ),
        metric(
            "pgweir_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in seconds since 1970.",
            Gauge(|last| unix_time(last.0.loaded_at)),
        ),
    ];

    fn labels(&self) -> Vec<&str> {
        vec![]
    }
}

#[cfg(test)]
mod tests {
    use super::System;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn the_process_is_seen() {
        let files: Vec<_> = (0..10).map(|_| File::open("/dev/null").unwrap()).collect();
        let system = System::look(SystemTime::now());
        assert!(system.open_files.unwrap() >= files.len() as u64);
        assert!(system.open_files.unwrap() <= system.files_max.unwrap_or(u64::MAX));
        assert!(system.resident_bytes.unwrap() > 1 << 20);
        assert!(!system.cpu.is_zero());
    }
}
