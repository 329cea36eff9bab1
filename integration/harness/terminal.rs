//! A terminal with a program in it: keys go in, and what it shows can be read.
//!
//! The terminal is `script`'s, of util-linux, because making one takes `unsafe`. What the program writes
//! is followed as far as such a screen needs: where the cursor goes, and what is written there.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::time::eventually;

const WIDTH: usize = 100;
const HEIGHT: usize = 30;

pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    picture: Arc<Mutex<Picture>>,
}

/// What a terminal shows, as far as it matters.
struct Picture {
    cells: Vec<Vec<char>>,
    cursor: (usize, usize),
    is_cursor_hidden: bool,
    is_alternate: bool,
    /// Bytes of a sequence or a letter whose end is still to come.
    rest: Vec<u8>,
}

impl Terminal {
    /// Runs a shell's command line.
    pub(crate) fn run(line: &str, directory: &Path) -> Self {
        let line = format!("stty cols {WIDTH} rows {HEIGHT}; {line}");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--", "script", "--quiet", "--command"]);
        command.arg(line).arg("/dev/null").current_dir(directory).env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("script is there (util-linux, Debian: bsdutils)");
        let keys = child.stdin.take().expect("stdin was asked to be a pipe");
        let mut output = child.stdout.take().expect("stdout was asked to be a pipe");
        let picture = Arc::new(Mutex::new(Picture::new()));
        let drawn = Arc::clone(&picture);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                drawn.lock().expect("no reader panics").follow(&bytes[..n]);
            }
        });
        Self { child, keys, picture }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    pub(crate) fn text(&self) -> String {
        let picture = self.picture.lock().expect("no reader panics");
        let lines = picture.cells.iter().map(|line| line.iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Waits until the screen shows `text`.
    pub(crate) async fn shows(&self, text: &str) {
        let shown = async || self.text().contains(text).then_some(());
        eventually(&format!("the terminal shows {text}"), shown).await;
    }

    /// Waits until it does not any more.
    pub(crate) async fn shows_no(&self, text: &str) {
        let gone = async || (!self.text().contains(text)).then_some(());
        eventually(&format!("the terminal shows no {text}"), gone).await;
    }

    /// Whether a shell would find it as it was: its own screen, and a cursor.
    pub(crate) fn is_given_back(&self) -> bool {
        let picture = self.picture.lock().expect("no reader panics");
        !picture.is_alternate && !picture.is_cursor_hidden
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            super::process::show(&format!("--- the terminal:\n{}", self.text()));
        }
    }
}

impl Picture {
    fn new() -> Self {
        Self {
            cells: vec![vec![' '; WIDTH]; HEIGHT],
            cursor: (0, 0),
            is_cursor_hidden: false,
            is_alternate: false,
            rest: Vec::new(),
        }
    }

    fn follow(&mut self, bytes: &[u8]) {
        let mut bytes = [std::mem::take(&mut self.rest), bytes.to_vec()].concat();
        while !bytes.is_empty() {
            let Some(taken) = self.take(&bytes) else {
                self.rest = bytes;
                return;
            };
            bytes.drain(..taken);
        }
    }

    /// Takes one letter or one sequence; `None`: its end is not here.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [b'\x1b', b'[', rest @ ..] => {
                let end = rest.iter().position(|byte| (b'@'..=b'~').contains(byte))?;
                let parameters = str::from_utf8(&rest[..end]).expect("parameters are ASCII");
                self.obey(parameters, rest[end]);
                Some(end + 3)
            }
            [b'\x1b'] => None,
            [b'\x1b', ..] => Some(2),
            [b'\r', ..] => {
                self.cursor.1 = 0;
                Some(1)
            }
            [b'\n', ..] => {
                self.cursor.0 = (self.cursor.0 + 1).min(HEIGHT - 1);
                Some(1)
            }
            [byte, ..] if *byte < b' ' => Some(1),
            bytes => {
                let length = match bytes[0] {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                let letter = str::from_utf8(bytes.get(..length)?).expect("programs write UTF-8");
                let (line, place) = self.cursor;
                if place < WIDTH {
                    self.cells[line][place] = letter.chars().next().expect("a letter");
                }
                self.cursor.1 += 1;
                Some(length)
            }
        }
    }

    fn obey(&mut self, parameters: &str, what: u8) {
        match (parameters, what) {
            (place, b'H') => {
                let mut numbers = place.split(';').map(|number| number.parse().unwrap_or(1));
                let mut next = |most: usize| numbers.next().unwrap_or(1_usize).clamp(1, most) - 1;
                self.cursor = (next(HEIGHT), next(WIDTH));
            }
            ("2", b'J') => self.cells = vec![vec![' '; WIDTH]; HEIGHT],
            ("?25", b'h') => self.is_cursor_hidden = false,
            ("?25", b'l') => self.is_cursor_hidden = true,
            ("?1049", b'h') => {
                self.is_alternate = true;
                self.cells = vec![vec![' '; WIDTH]; HEIGHT];
            }
            ("?1049", b'l') => {
                self.is_alternate = false;
                self.cells = vec![vec![' '; WIDTH]; HEIGHT];
                self.cursor = (0, 0);
            }
            _ => {}
        }
    }
}
