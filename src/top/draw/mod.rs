//! The screen as a picture: everything but the terminal.
//!
//! ```text
//!  pgweir 0.1.0 active at 127.0.0.1:6432                      12:03:41 UTC  every 1s
//!  1 Overview  2 Pools  3 Classes  4 Waits  5 Holders  6 Clients              ? help
//!  a line for what is wrong
//!  the list, or the overview
//!  keys, or the filter
//! ```

mod list;
mod over;
mod overview;

use super::listing::Tone;
use super::look::{Look, Over, Screen};
use super::model::Model;
use super::words;
use crate::base::calendar;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget;
use std::time::Instant;

/// Less than that holds nothing of use.
const WIDTH_MIN: u16 = 20;
const HEIGHT_MIN: u16 = 6;

/// How things are told apart: by colour only where there are colours, and never by colour alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) has_colours: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Quiet => quiet(),
            Tone::Plain => Style::new(),
            Tone::Warn => self.colour(Color::Yellow),
            Tone::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Draws all of it, and notes how much of the list there was room for.
pub(super) fn draw(look: &mut Look, paint: Paint, now: Instant, buffer: &mut Buffer) {
    let area = buffer.area;
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        Line::raw("too small").render(area, buffer);
        return;
    }
    let line = |y: u16| Rect { y, height: 1, ..area };
    header(look, line(0), buffer);
    tabs(look, line(1), buffer);
    message(look, paint, now, line(2), buffer);
    let body = Rect { y: 3, height: area.height - 4, ..area };
    let (page, titles) = match &look.model {
        None => (1, Vec::new()),
        Some(model) if look.screen == Screen::Overview => {
            overview::draw(look, model, paint, body, buffer)
        }
        Some(_) => list::draw(&list::Shown::of(look), paint, body, buffer),
    };
    (look.page, look.titles) = (page.max(1), titles);
    footer(look, line(area.height - 1), buffer);
    match look.over {
        Over::Help => over::help(body, buffer),
        Over::Detail => over::detail(look, paint, body, buffer),
        Over::Filter | Over::Nothing => {}
    }
}

/// Two texts at the ends of a line; the left one gives way.
fn ends(left: Line<'_>, right: Line<'_>, area: Rect, buffer: &mut Buffer) {
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let rest = area.width - width;
    left.render(Rect { width: rest.saturating_sub(1), ..area }, buffer);
    right.render(Rect { x: area.x + rest, width, ..area }, buffer);
}

fn header(look: &Look, area: Rect, buffer: &mut Buffer) {
    let version = look.model.as_ref().map_or_else(|| "pgweir top".to_owned(), Model::version);
    let state = look.model.as_ref().and_then(Model::state).unwrap_or_default();
    let left = Line::from(vec![
        Span::styled(version, bold()),
        Span::styled(format!(" {state}"), if state == "active" { Style::new() } else { bold() }),
        Span::raw(format!(" at {}", look.address)),
    ]);
    let pace = if look.is_paused {
        Span::styled(" PAUSED ", bold().add_modifier(Modifier::REVERSED))
    } else {
        Span::styled(format!("every {}", words::time(look.interval)), quiet())
    };
    let clock = look.model.as_ref().map(|model| calendar::utc(model.now.time));
    // Of `2026-01-02 03:04:05 UTC` the date is known.
    let clock = clock.unwrap_or_default();
    let clock = clock.split_once(' ').map_or(clock.as_str(), |(_, time)| time).to_owned();
    ends(left, Line::from(vec![Span::raw(clock), Span::raw("  "), pace]), area, buffer);
}

fn tabs(look: &Look, area: Rect, buffer: &mut Buffer) {
    let mut spans = Vec::new();
    for (place, screen) in Screen::ALL.into_iter().enumerate() {
        let is_open = screen == look.screen;
        let style = if is_open { bold().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {} {} ", place + 1, screen.title()), style));
    }
    ends(Line::from(spans), Line::styled("? help", quiet()), area, buffer);
}

fn message(look: &Look, paint: Paint, now: Instant, area: Rect, buffer: &mut Buffer) {
    let Some(lost) = &look.lost else {
        let rule = "─".repeat(usize::from(area.width));
        Line::styled(rule, quiet()).render(area, buffer);
        return;
    };
    let left = lost.again_at.saturating_duration_since(now).as_secs_f64().ceil();
    let when = if left > 0.0 { format!("again in {left:.0}s") } else { "trying again".to_owned() };
    let style = paint.tone(Tone::Bad).add_modifier(Modifier::REVERSED);
    buffer.set_style(area, style);
    ends(
        Line::styled(format!(" {}", words::safe(&lost.why)), style),
        Line::styled(format!("{when} "), style),
        area,
        buffer,
    );
}

fn footer(look: &Look, area: Rect, buffer: &mut Buffer) {
    if look.over == Over::Filter {
        let line = Line::from(vec![
            Span::styled("filter: ", bold()),
            Span::raw(look.filter().to_owned()),
            Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
            Span::styled("   Enter keeps it, Esc takes it away", quiet()),
        ]);
        line.render(area, buffer);
        return;
    }
    let filter = look.filter();
    let left = if filter.is_empty() {
        Line::styled(hints(area.width.saturating_sub(COUNT)), quiet())
    } else {
        Line::from(vec![
            Span::styled(format!("filter: {}", words::safe(filter)), bold()),
            Span::styled("   Esc takes it away", quiet()),
        ])
    };
    let (shown, all) = (look.order.len(), look.listing.rows.len());
    let count = match look.screen {
        Screen::Overview => String::new(),
        _ if shown == all => format!("{all} rows"),
        _ => format!("{shown} of {all} rows"),
    };
    ends(left, Line::styled(count, quiet()), area, buffer);
}

/// What the number of rows takes, at the right.
const COUNT: u16 = 20;

/// As many keys as fit, the most useful first.
fn hints(width: u16) -> String {
    const KEYS: [&str; 7] =
        ["q quit", "/ filter", "Enter detail", "← → sort", "p pause", "r reverse", "+ - pace"];
    let mut hints = String::new();
    for key in KEYS {
        let gap = if hints.is_empty() { "" } else { "   " };
        if hints.chars().count() + gap.len() + key.chars().count() > usize::from(width) {
            break;
        }
        hints.push_str(gap);
        hints.push_str(key);
    }
    hints
}
