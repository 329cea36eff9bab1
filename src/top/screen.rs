//! The terminal: taken over, drawn on, and given back however this ends.

use super::TopError;
use super::draw::{Paint, draw};
use super::look::{Effect, Look, Lost};
use super::place::Place;
use super::sampler::{self, News, Wishes};
use crate::net::worker::read_clock;
use ratatui_core::layout::{Position, Rect};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::Show;
use ratatui_crossterm::crossterm::event::{self, Event as Input, KeyEvent, KeyEventKind};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, getpid, kill_process};
use std::io::{self, Stdout, stdout};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// How often the seconds until the next attempt are counted down.
const COUNTDOWN: Duration = Duration::from_millis(500);
/// How long a goodbye to the console may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// As after any panic.
const EXIT_PANIC: i32 = 101;

enum Event {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// The terminal is gone.
    NoInput,
    News(News),
}

/// How it ended: by a key, or by this signal.
pub(super) type Ended = Option<i32>;

/// Shows the console at `place` until somebody has seen enough.
pub(super) fn run(place: Place, interval: Duration, paint: Paint) -> Result<Ended, TopError> {
    let address = place.address();
    let mut look = Look::new(address.clone(), interval);
    let (wish, wishes) = watch::channel(look.wishes());
    let (sender, events) = mpsc::channel();
    let tell = sender.clone();
    // Nobody listens at the very end.
    sampler::start(place, wishes, move |news| drop(tell.send(Event::News(news))))
        .map_err(TopError::Thread)?;
    // What is wrong from the start is told as any program tells it.
    match events.recv() {
        Ok(Event::News(News::Sample(sample))) => look.take(*sample),
        Ok(Event::News(News::Trouble { trouble, .. })) => {
            return Err(TopError::Console { address, trouble });
        }
        Ok(Event::News(News::Signal(number))) => return Ok(Some(number)),
        _ => return Ok(None),
    }
    let mut screen = Screen::take().map_err(TopError::Terminal)?;
    read_input(sender).map_err(TopError::Thread)?;
    let ended = serve(&mut look, &mut screen, &wish, &events, paint);
    drop(screen);
    drop(wish);
    while let Ok(event) = events.recv_timeout(GOODBYE) {
        if matches!(event, Event::News(News::Closed)) {
            break;
        }
    }
    ended.map_err(TopError::Terminal)
}

fn serve(
    look: &mut Look,
    screen: &mut Screen,
    wish: &watch::Sender<Wishes>,
    events: &Receiver<Event>,
    paint: Paint,
) -> io::Result<Ended> {
    loop {
        screen.terminal.draw(|frame| draw(look, paint, read_clock(), frame.buffer_mut()))?;
        let first = if look.lost.is_some() {
            match events.recv_timeout(COUNTDOWN) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        } else {
            let Ok(event) = events.recv() else { return Ok(None) };
            event
        };
        // Whatever else has happened is drawn with it: keys that repeat are faster than a slow line.
        for event in std::iter::once(first).chain(events.try_iter()) {
            match event {
                Event::Key(key) => match look.press(key) {
                    Effect::None => {}
                    Effect::Ask => drop(wish.send(look.wishes())),
                    Effect::Repaint => screen.repaint()?,
                    Effect::Suspend => screen.suspend()?,
                    Effect::Quit => return Ok(None),
                },
                Event::Resized => screen.repaint()?,
                Event::NoInput | Event::News(News::Closed) => return Ok(None),
                Event::News(News::Signal(number)) => return Ok(Some(number)),
                Event::News(News::Sample(sample)) => look.take(*sample),
                Event::News(News::Trouble { trouble, retry_in }) => {
                    let again_at = read_clock() + retry_in;
                    look.lost = Some(Lost { why: trouble.to_string(), again_at });
                }
            }
        }
    }
}

/// Never joined: it waits for a key, and ends with the process.
fn read_input(sender: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = match event::read() {
                Ok(Input::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
                Ok(Input::Resize(..)) => Event::Resized,
                Ok(_) => continue,
                Err(_) => Event::NoInput,
            };
            let is_last = matches!(event, Event::NoInput);
            if sender.send(event).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

/// The terminal while it is ours.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn take() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
            // Whichever thread it was, the others would go on drawing.
            std::process::exit(EXIT_PANIC);
        }));
        let screen = Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))? };
        enter()?;
        Ok(screen)
    }

    /// Draws everything at the next draw. Not `clear`, which asks the terminal where its cursor is: the
    /// answer would come to the thread that reads keys.
    fn repaint(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Stops the process, as Ctrl-Z does where nobody reads single keys.
    fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_process(getpid(), Signal::TSTP)?;
        // Somebody has brought us back.
        enter()?;
        self.repaint()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// A terminal that is gone needs nothing.
fn restore() {
    drop(execute!(stdout(), LeaveAlternateScreen, Show));
    drop(disable_raw_mode());
}

#[cfg(test)]
mod tests {
    use super::Screen;
    use std::process::{Command, Stdio};

    /// Set in the terminal that this test runs itself in.
    const IN_A_TERMINAL: &str = "PGWEIR_TEST_IN_A_TERMINAL";

    #[test]
    fn a_panic_in_any_thread_gives_the_terminal_back() {
        if std::env::var_os(IN_A_TERMINAL).is_some() {
            let _screen = Screen::take().unwrap();
            let thread = std::thread::spawn(|| panic!("on purpose"));
            // Never: the process has ended.
            drop(thread.join());
            return;
        }
        let program = std::env::current_exe().unwrap();
        let line = format!(
            "stty -g; {IN_A_TERMINAL}=1 {} --exact --nocapture \
             top::screen::tests::a_panic_in_any_thread_gives_the_terminal_back; \
             echo \"ended with $?\"; stty -g",
            program.display()
        );
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--command", &line, "/dev/null"]).env("TERM", "xterm");
        let output = terminal.stdin(Stdio::null()).output().expect("script is there (bsdutils)");
        let shown = String::from_utf8_lossy(&output.stdout);
        let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in {shown}"));
        // Taken, given back, and only then told: or nobody would read it.
        let order = ["\x1b[?1049h", "\x1b[?1049l", "on purpose", "ended with 101"].map(at);
        assert!(order.is_sorted(), "{shown}");
        let settings: Vec<_> =
            [shown.lines().next(), shown.lines().last()].into_iter().flatten().collect();
        assert!(settings[0].contains(':') && settings[0] == settings[1], "{shown}");
    }
}
