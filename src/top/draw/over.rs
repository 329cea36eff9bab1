//! What lies over a screen: help, and all of one row.

use super::{Paint, bold, quiet};
use crate::top::listing::{Cell, Field, Tone};
use crate::top::look::Look;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Modifier, Style};
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget;

const HELP: [(&str, &str); 14] = [
    ("1 … 6, Tab", "screens"),
    ("↑ ↓ PgUp PgDn Home End", "move; the cursor stays with its row"),
    ("Enter", "all that is known of the row"),
    ("← →", "sort by another column"),
    ("r", "the other way round"),
    ("/", "filter: rows that have every word"),
    ("Esc", "no filter; closes this"),
    ("p or Space", "pause"),
    ("+ -", "longer, shorter between two looks"),
    ("u", "look now"),
    ("Ctrl-L", "draw anew"),
    ("q or Ctrl-C", "quit"),
    ("", ""),
    ("████▒▒▒····", "servers in use, idle, and room for more"),
];

pub(super) fn help(area: Rect, buffer: &mut Buffer) {
    let key = |(key, does): (&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("{key:<24}"), bold()), Span::raw(does)])
    };
    window("Keys", HELP.into_iter().map(key).collect(), area, buffer);
}

pub(super) fn detail(look: &Look, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let Some(row) = look.order.get(look.cursor()).and_then(|row| look.listing.rows.get(*row))
    else {
        return window("Detail", vec![Line::raw("It is gone.")], area, buffer);
    };
    let fields = look.listing.fields.iter().zip(row);
    let fields: Vec<_> = fields.filter(|(_, cell)| !cell.shown().is_empty()).collect();
    let widest = fields.iter().map(|(field, _)| field.title.chars().count()).max().unwrap_or(0);
    let line = |(field, cell): &(&Field, &Cell)| {
        let title = format!("{:<widest$}  ", field.title);
        let tone = if cell.tone == Tone::Quiet { Tone::Plain } else { cell.tone };
        Line::from(vec![Span::styled(title, quiet()), Span::styled(cell.shown(), paint.tone(tone))])
    };
    window("Detail", fields.iter().map(line).collect(), area, buffer);
}

/// In the middle, as large as it needs to be; in two columns if it is too high for one.
fn window(title: &str, lines: Vec<Line<'_>>, area: Rect, buffer: &mut Buffer) {
    let to_u16 = |size: usize| u16::try_from(size).unwrap_or(u16::MAX);
    let wide = to_u16(lines.iter().map(Line::width).max().unwrap_or(0)).max(20);
    let room = area.height.saturating_sub(2).max(1);
    let columns = to_u16(lines.len().div_ceil(usize::from(room))).max(1);
    let high = to_u16(lines.len().div_ceil(usize::from(columns))).min(room);
    let column = wide.min(area.width.saturating_sub(4) / columns);
    let width = column.saturating_add(2).saturating_mul(columns).saturating_add(2).min(area.width);
    let outer = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height.saturating_sub(high + 2)) / 2,
        width,
        height: (high + 2).min(area.height),
    };
    clear(outer, buffer);
    frame(title, outer, buffer);
    for (place, line) in lines.into_iter().enumerate() {
        let place = to_u16(place);
        let (column_at, row) = (place / high.max(1), place % high.max(1));
        let x = column_at.saturating_mul(column + 2).saturating_add(outer.x + 2);
        let right = (outer.x + outer.width).saturating_sub(2);
        if x < right {
            let width = column.min(right - x);
            line.render(Rect { x, y: outer.y + 1 + row, width, height: 1 }, buffer);
        }
    }
}

fn clear(area: Rect, buffer: &mut Buffer) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buffer.cell_mut((x, y)) {
                cell.reset();
            }
        }
    }
}

fn frame(title: &str, area: Rect, buffer: &mut Buffer) {
    let inner = usize::from(area.width.saturating_sub(2));
    let bar = "─".repeat(inner);
    let side = Style::new();
    buffer.set_string(area.x, area.y, format!("┌{bar}┐"), side);
    buffer.set_string(area.x, area.bottom() - 1, format!("└{bar}┘"), side);
    for y in area.y + 1..area.bottom() - 1 {
        buffer.set_string(area.x, y, "│", side);
        buffer.set_string(area.right() - 1, y, "│", side);
    }
    let style = Style::new().add_modifier(Modifier::BOLD);
    buffer.set_string(area.x + 2, area.y, format!(" {title} "), style);
}
