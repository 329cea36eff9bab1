//! What is going on, on stderr: one line that overwrites itself on a terminal, a line a row elsewhere.

use std::io::{IsTerminal, stderr};

pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: stderr().is_terminal() }
    }

    /// The next thing that happens; too frequent for a log.
    pub(crate) fn step(&self, row: &str, step: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{row}: {step}");
        }
    }

    /// Something to keep.
    pub(crate) fn line(&self, text: &str) {
        let overwrite = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{overwrite}{text}");
    }
}
