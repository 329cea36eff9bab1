//! A list, in the width there is.

use super::{Paint, bold, quiet};
use crate::top::listing::{Bar, Cell, Listing, Sort, Tone, Value};
use crate::top::look::Look;
use crate::top::words;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Modifier, Style};
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget;

const GAP: u16 = 2;
/// What a bar takes, beside its number.
const BAR_MIN: u16 = 6;
const BAR_MAX: u16 = 24;
/// What it gets beyond the least before texts get what they lack.
const BAR_FAIR: u16 = 8;
/// What a text gets at least, if it is that long: one that matters most, and any other.
const TEXT_LEAST: u16 = 24;
const OTHER_LEAST: u16 = 16;

/// A list and how it is looked at.
pub(super) struct Shown<'a> {
    pub(super) listing: &'a Listing,
    pub(super) order: &'a [usize],
    pub(super) sort: &'a Sort,
    /// `None`: there is no cursor.
    pub(super) cursor: Option<usize>,
    pub(super) has_filter: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn of(look: &'a Look) -> Self {
        Self {
            listing: &look.listing,
            order: &look.order,
            sort: look.sort(),
            cursor: Some(look.cursor()),
            has_filter: !look.filter().is_empty(),
        }
    }
}

/// A field that there is room for, and how wide it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Column {
    field: usize,
    width: u16,
    /// Of a bar's width, what its number takes; 0 if it is no bar.
    number: u16,
    is_right: bool,
}

/// Draws it; answers how many rows there was room for, and the titles that show.
pub(super) fn draw(
    shown: &Shown<'_>,
    paint: Paint,
    area: Rect,
    buffer: &mut Buffer,
) -> (usize, Vec<String>) {
    let Shown { listing, order, .. } = shown;
    let mut rest = area;
    let next = |rest: &mut Rect| {
        let line = Rect { height: rest.height.min(1), ..*rest };
        (rest.y, rest.height) = (rest.y + line.height, rest.height - line.height);
        line
    };
    let width = usize::from(area.width);
    if !listing.note.is_empty() {
        for line in words::wrap(&listing.note, width, "") {
            Line::styled(line, quiet()).render(next(&mut rest), buffer);
        }
    }
    if order.is_empty() {
        let text = match listing.rows.len() {
            0 => listing.empty.as_str(),
            _ if shown.has_filter => "No row has what the filter wants.",
            _ => "",
        };
        for line in words::wrap(text, width, "") {
            Line::styled(line, quiet()).render(next(&mut rest), buffer);
        }
        return (1, Vec::new());
    }
    let columns = fit(shown, area.width);
    let head = next(&mut rest);
    draw_titles(shown, &columns, head, buffer);
    let page = usize::from(rest.height);
    // The cursor is in the middle, but at the ends.
    let last_top = order.len().saturating_sub(page);
    let top = shown.cursor.unwrap_or(0).saturating_sub(page / 2).min(last_top);
    for (place, row) in order.iter().enumerate().skip(top).take(page) {
        let line = next(&mut rest);
        draw_row(&listing.rows[*row], &columns, paint, line, buffer);
        if shown.cursor == Some(place) {
            buffer.set_style(line, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
    let titles = columns.iter().map(|column| listing.fields[column.field].title.clone());
    (page, titles.collect())
}

/// The most important fields that fit, in their order. What is left goes to texts that were cut, and then
/// to bars.
fn fit(shown: &Shown<'_>, width: u16) -> Vec<Column> {
    let listing = shown.listing;
    let wishes: Vec<Wish> = (0..listing.fields.len()).map(|field| wish(shown, field)).collect();
    let mut by_rank: Vec<usize> = (0..wishes.len()).filter(|field| wishes[*field].is_any).collect();
    by_rank.sort_by_key(|field| listing.fields[*field].rank);
    let mut free = width;
    let mut chosen = Vec::new();
    for field in by_rank {
        let gap = if chosen.is_empty() { 0 } else { GAP };
        let least = wishes[field].least.saturating_add(gap);
        if least > free {
            // Whatever has the same rank stays away, too, or columns would come and go with their values.
            break;
        }
        free -= least;
        chosen.push(field);
    }
    chosen.sort_unstable();
    let column = |field: &usize| {
        let Wish { least, number, is_right, .. } = wishes[*field];
        Column { field: *field, width: least, number, is_right }
    };
    let mut columns: Vec<Column> = chosen.iter().map(column).collect();
    // First bars that show something, then whole texts, then more of the bars.
    for (are_bars, most) in [(true, BAR_FAIR), (false, u16::MAX), (true, u16::MAX)] {
        for column in columns.iter_mut().filter(|column| (column.number > 0) == are_bars) {
            let wish = &wishes[column.field];
            let most = wish.most.min(wish.least.saturating_add(most));
            let more = most.saturating_sub(column.width).min(free);
            free -= more;
            column.width += more;
        }
    }
    columns
}

struct Wish {
    least: u16,
    most: u16,
    number: u16,
    is_right: bool,
    /// Some row has a value.
    is_any: bool,
}

fn wish(shown: &Shown<'_>, field: usize) -> Wish {
    let title = title(shown, field);
    let title = width_of(&title);
    let about = &shown.listing.fields[field];
    let (mut widest, mut has_bar, mut is_right) = (0, false, about.is_right);
    let mut is_any = about.rank < 6;
    for row in &shown.listing.rows {
        let Some(cell) = row.get(field) else { continue };
        widest = widest.max(width_of(&cell.shown()));
        // Where nothing has a limit there are no bars, only numbers.
        has_bar |= matches!(cell.value, Value::Bar(Bar { cap: Some(_), .. }));
        is_right |= matches!(cell.value, Value::Bar(_));
        is_any |= !matches!(&cell.value, Value::Missing)
            && !matches!(&cell.value, Value::Text(text) if text.is_empty());
    }
    if has_bar {
        let number = widest.saturating_add(1);
        let least = number.saturating_add(BAR_MIN).max(title);
        let most = number.saturating_add(BAR_MAX).max(least);
        return Wish { least, most, number, is_right: false, is_any };
    }
    // What is at the right leaves room for the arrow of its title.
    let all = widest.saturating_add(u16::from(is_right)).max(title);
    let least = if about.rank < 2 || is_right { TEXT_LEAST } else { OTHER_LEAST };
    Wish { least: all.min(least).max(title), most: all, number: 0, is_right, is_any }
}

fn width_of(text: &str) -> u16 {
    u16::try_from(Line::raw(text).width()).unwrap_or(u16::MAX)
}

/// With an arrow if the list is sorted by it; there is always room for one.
fn title(shown: &Shown<'_>, field: usize) -> String {
    let title = &shown.listing.fields[field].title;
    match (shown.cursor, shown.sort) {
        (None, _) => format!("{title} "),
        (_, Sort { by, descending: true }) if by == title => format!("{title}▼"),
        (_, Sort { by, .. }) if by == title => format!("{title}▲"),
        _ => format!("{title} "),
    }
}

fn draw_titles(shown: &Shown<'_>, columns: &[Column], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for column in columns {
        let field = &shown.listing.fields[column.field];
        let place = Rect { x, width: column.width, ..area };
        let is_sorted = shown.cursor.is_some() && field.title == shown.sort.by;
        let style = if is_sorted { bold().add_modifier(Modifier::UNDERLINED) } else { bold() };
        let line = Line::styled(title(shown, column.field), style);
        let line = if column.is_right { line.right_aligned() } else { line };
        line.render(place, buffer);
        x = x.saturating_add(column.width).saturating_add(GAP);
    }
}

fn draw_row(row: &[Cell], columns: &[Column], paint: Paint, area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for column in columns {
        let place = Rect { x, width: column.width, ..area };
        x = x.saturating_add(column.width).saturating_add(GAP);
        let Some(cell) = row.get(column.field) else { continue };
        if let Value::Bar(bar) = cell.value
            && column.number > 0
        {
            draw_bar(bar, cell.tone, column.number, paint, place, buffer);
            continue;
        }
        let text = cut(&cell.shown(), column.width);
        let line = Line::styled(text, paint.tone(cell.tone));
        // Numbers stand under their title, not under its arrow.
        let is_right = column.is_right;
        let place = Rect { width: place.width.saturating_sub(u16::from(is_right)), ..place };
        if is_right { line.right_aligned() } else { line }.render(place, buffer);
    }
}

/// With a mark where something is missing.
pub(super) fn cut(text: &str, width: u16) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    // Letter by letter as a reader counts them: some are two wide, and many take no place.
    let (mut kept, mut taken) = (String::new(), 1_u16);
    for letter in Span::raw(text).styled_graphemes(Style::new()) {
        taken = taken.saturating_add(width_of(letter.symbol));
        if taken > width {
            break;
        }
        kept.push_str(letter.symbol);
    }
    kept + "…"
}

/// `█████▒▒▒···· 12/20`: used, idle and free. Readable without any colour.
pub(super) fn draw_bar(
    bar: Bar,
    tone: Tone,
    number: u16,
    paint: Paint,
    area: Rect,
    buffer: &mut Buffer,
) {
    let width = area.width.saturating_sub(number);
    let text = Line::styled(bar.shown(), paint.tone(tone));
    text.right_aligned().render(Rect { x: area.x + width, width: number, ..area }, buffer);
    if bar.cap.is_none() {
        // Nothing can be full.
        return;
    }
    let (used, idle) = bar.split(width);
    for place in 0..width {
        let (symbol, style) = match place {
            at if at < used => ("█", paint.tone(tone)),
            at if at < used + idle => ("▒", Style::new()),
            _ => ("·", quiet()),
        };
        buffer.set_string(area.x + place, area.y, symbol, style);
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_is_cut_has_a_mark_and_fits() {
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("abcde", 4), "abc…");
        assert_eq!(cut("漢字漢字", 4), "漢…");
        // Letters without a width, so many that counting all of them for each would never end.
        let marks = "\u{301}".repeat(200_000);
        assert_eq!(cut(&format!("a{marks}bcde"), 4), format!("a{marks}bc…"));
    }
}
