//! What somebody looks at, and what keys do about it.

use super::listing::{Listing, Sort};
use super::lists;
use super::model::Model;
use super::sample::{Sample, Show};
use super::sampler::Wishes;
use super::words;
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Screen {
    Overview,
    Pools,
    Classes,
    Waits,
    Holders,
    Clients,
}

impl Screen {
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Pools, Self::Classes, Self::Waits, Self::Holders, Self::Clients];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Pools => "Pools",
            Self::Classes => "Classes",
            Self::Waits => "Waits",
            Self::Holders => "Holders",
            Self::Clients => "Clients",
        }
    }

    const fn also(self) -> &'static [Show] {
        match self {
            Self::Overview | Self::Pools | Self::Classes => &[],
            Self::Waits => &Show::WAITS,
            Self::Holders => &Show::HOLDERS,
            Self::Clients => &Show::CLIENTS,
        }
    }

    pub(super) fn listing(self, model: &Model) -> Listing {
        match self {
            Self::Overview => lists::busiest(model),
            Self::Pools => lists::pools(model),
            Self::Classes => lists::classes(model),
            Self::Waits => lists::waits(model),
            Self::Holders => lists::holders(model),
            Self::Clients => lists::clients(model),
        }
    }
}

/// Times between two samples that keys choose from.
const INTERVALS: [Duration; 7] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// Points that charts have, at most: as many as a wide terminal shows.
const HISTORY_MAX: usize = 240;

/// How one screen's list is looked at.
#[derive(Clone, Debug, Default)]
struct View {
    /// `None`: as the list suggests.
    sort: Option<Sort>,
    filter: String,
    cursor: usize,
    /// The row under the cursor, once it was moved: it follows this row.
    followed: Option<Vec<String>>,
}

/// What lies over the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Over {
    Nothing,
    Help,
    Detail,
    /// The filter is being typed.
    Filter,
}

/// What a key asks for beyond a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    None,
    /// Other things are wished of the console.
    Ask,
    /// The terminal may have been written to by others.
    Repaint,
    /// Back to the shell, for a while.
    Suspend,
    Quit,
}

/// What is wrong with the connection, and when it is tried again.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    pub(super) again_at: Instant,
}

pub(super) struct Look {
    pub(super) address: String,
    pub(super) screen: Screen,
    pub(super) over: Over,
    pub(super) is_paused: bool,
    pub(super) interval: Duration,
    pub(super) model: Option<Model>,
    pub(super) lost: Option<Lost>,
    /// Transactions and queries a second, and clients that waited: the newest last.
    pub(super) history: VecDeque<[Option<f64>; 3]>,
    pub(super) listing: Listing,
    /// The rows of it that are shown, in order.
    pub(super) order: Vec<usize>,
    /// How many rows of a list fit, and which titles, when it was last drawn.
    pub(super) page: usize,
    pub(super) titles: Vec<String>,
    views: [View; Screen::ALL.len()],
}

impl Look {
    pub(super) fn new(address: String, interval: Duration) -> Self {
        Self {
            address,
            screen: Screen::Overview,
            over: Over::Nothing,
            is_paused: false,
            interval,
            model: None,
            lost: None,
            history: VecDeque::new(),
            listing: Listing::default(),
            order: Vec::new(),
            page: 1,
            titles: Vec::new(),
            views: Default::default(),
        }
    }

    pub(super) fn wishes(&self) -> Wishes {
        Wishes { also: self.screen.also(), interval: (!self.is_paused).then_some(self.interval) }
    }

    pub(super) fn take(&mut self, sample: Sample) {
        let before = self.model.take().map(|model| model.now);
        let model = Model::new(before, sample);
        let summary = &model.summary;
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        let waiting = words::precise(summary.waiting);
        self.history.push_back([summary.rates.transactions, summary.rates.queries, Some(waiting)]);
        self.model = Some(model);
        self.lost = None;
        self.arrange();
    }

    fn view(&self) -> &View {
        &self.views[self.screen as usize]
    }

    fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.screen as usize]
    }

    pub(super) fn filter(&self) -> &str {
        &self.view().filter
    }

    pub(super) fn cursor(&self) -> usize {
        self.view().cursor
    }

    pub(super) fn sort(&self) -> &Sort {
        self.view().sort.as_ref().unwrap_or(&self.listing.sort)
    }

    /// After anything that the list is made of has changed.
    fn arrange(&mut self) {
        let Some(model) = &self.model else { return };
        self.listing = self.screen.listing(model);
        self.order = self.listing.arrange(self.sort(), self.filter());
        let identity = |row: &usize| self.listing.identity(*row);
        let followed = self.view().followed.as_ref();
        let place = followed.and_then(|followed| {
            self.order.iter().position(|row| identity(row).as_ref() == Some(followed))
        });
        let last = self.order.len().saturating_sub(1);
        let cursor = place.unwrap_or(self.view().cursor).min(last);
        self.view_mut().cursor = cursor;
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::ALT) {
            // An Esc that another key follows at once looks like this.
            self.press(KeyEvent::from(KeyCode::Esc));
            return self.press(KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key });
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => Effect::Quit,
            KeyCode::Char('l') if is_control => Effect::Repaint,
            KeyCode::Char('z') if is_control => Effect::Suspend,
            _ if is_control => Effect::None,
            code if self.over == Over::Filter => {
                self.type_filter(code);
                Effect::None
            }
            // Whatever key it is, it closes what lies above.
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?' | 'h')
                if self.over != Over::Nothing =>
            {
                self.over = Over::Nothing;
                Effect::None
            }
            code => self.command(code),
        }
    }

    fn command(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Char('/') => self.over = Over::Filter,
            KeyCode::Enter if !self.order.is_empty() => self.over = Over::Detail,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char(digit @ '1'..='6') => {
                let place = usize::from(digit as u8 - b'1');
                return self.open(Screen::ALL[place]);
            }
            KeyCode::Tab => return self.open_beside(1),
            KeyCode::BackTab => return self.open_beside(Screen::ALL.len() - 1),
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                return Effect::Ask;
            }
            KeyCode::Char('u') | KeyCode::F(5) => return Effect::Ask,
            KeyCode::Char('+' | '=') => return self.wait_between(longer(self.interval)),
            KeyCode::Char('-') => return self.wait_between(shorter(self.interval)),
            KeyCode::Left | KeyCode::Char('<') => self.sort_beside(false),
            KeyCode::Right | KeyCode::Char('>') => self.sort_beside(true),
            KeyCode::Char('r') => {
                let Sort { by, descending } = self.sort().clone();
                self.sort_by(Sort { by, descending: !descending });
            }
            code => self.walk(code),
        }
        Effect::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        let mut filter = self.filter().to_owned();
        match code {
            KeyCode::Enter => self.over = Over::Nothing,
            KeyCode::Esc => {
                self.over = Over::Nothing;
                filter.clear();
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(letter) => filter.push(letter),
            _ => {}
        }
        self.set_filter(filter);
    }

    fn set_filter(&mut self, filter: String) {
        self.view_mut().filter = filter;
        self.arrange();
    }

    fn open(&mut self, screen: Screen) -> Effect {
        self.screen = screen;
        self.over = Over::Nothing;
        self.arrange();
        Effect::Ask
    }

    fn open_beside(&mut self, steps: usize) -> Effect {
        self.open(Screen::ALL[(self.screen as usize + steps) % Screen::ALL.len()])
    }

    fn wait_between(&mut self, interval: Option<Duration>) -> Effect {
        self.interval = interval.unwrap_or(self.interval);
        Effect::Ask
    }

    /// By the title beside the one it is sorted by, among those that can be seen.
    fn sort_beside(&mut self, to_right: bool) {
        let count = self.titles.len();
        let now = self.titles.iter().position(|title| *title == self.sort().by);
        let place = match now {
            _ if count == 0 => return,
            None if to_right => 0,
            None => count - 1,
            Some(place) if to_right => (place + 1) % count,
            Some(place) => (place + count - 1) % count,
        };
        let by = self.titles[place].clone();
        // Numbers are looked at for the largest, names from the first.
        let field = self.listing.fields.iter().find(|field| field.title == by);
        let descending = field.is_some_and(|field| field.is_right);
        self.sort_by(Sort { by, descending });
    }

    fn sort_by(&mut self, sort: Sort) {
        self.view_mut().sort = Some(sort);
        self.arrange();
    }

    fn walk(&mut self, code: KeyCode) {
        let last = self.order.len().saturating_sub(1);
        let cursor = self.cursor();
        let cursor = match code {
            KeyCode::Up | KeyCode::Char('k') => cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => cursor + 1,
            KeyCode::PageUp => cursor.saturating_sub(self.page),
            KeyCode::PageDown => cursor + self.page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        let cursor = cursor.min(last);
        let row = self.order.get(cursor).copied();
        let followed = row.and_then(|row| self.listing.identity(row));
        let view = self.view_mut();
        view.cursor = cursor;
        // At the top one looks at whatever is there.
        view.followed = followed.filter(|_| cursor > 0);
    }
}

fn longer(than: Duration) -> Option<Duration> {
    INTERVALS.into_iter().find(|interval| *interval > than)
}

fn shorter(than: Duration) -> Option<Duration> {
    INTERVALS.into_iter().rev().find(|interval| *interval < than)
}
