//! The first screen: what is wrong, how much is going on, and the pools with most of it.

use super::list::{self, Shown, draw_bar};
use super::{Paint, bold, quiet};
use crate::top::listing::{Bar, Tone};
use crate::top::lists;
use crate::top::look::Look;
use crate::top::model::{Health, Model, Pool, Summary};
use crate::top::words;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget;
use std::cmp::Reverse;

/// Pools whose trouble is told in words; of the others there is a number.
const TROUBLES_MAX: usize = 2;
const LABEL: u16 = 14;
const VALUE: u16 = 10;

/// Draws it; answers as [`list::draw`].
pub(super) fn draw(
    look: &Look,
    model: &Model,
    paint: Paint,
    area: Rect,
    buffer: &mut Buffer,
) -> (usize, Vec<String>) {
    let mut rest = area;
    let mut next = || {
        let line = Rect { height: rest.height.min(1), ..rest };
        (rest.y, rest.height) = (rest.y + line.height, rest.height - line.height);
        line
    };
    for line in troubles(&model.pools, paint, area.width) {
        line.render(next(), buffer);
    }
    next();
    let summary = &model.summary;
    servers(summary, paint, next(), buffer);
    for (place, (label, value, about)) in figures(summary).into_iter().enumerate() {
        let chart = (place < 3).then(|| look.history.iter().map(move |point| point[place]));
        let line = next();
        figure([label, &value, &about], line, buffer);
        if let Some(chart) = chart {
            let width = line.width.saturating_sub(CHART_AT).min(60);
            let place = Rect { x: line.x + CHART_AT.min(line.width), width, ..line };
            Line::styled(spark(chart, usize::from(width)), quiet()).render(place, buffer);
        }
    }
    next();
    // Databases get what they need, and at most a third; the rest is the pools'.
    let databases = lists::databases(model);
    let wanted = u16::try_from(databases.rows.len()).unwrap_or(u16::MAX).saturating_add(2);
    let below = if rest.height >= 12 { wanted.min(rest.height / 3) } else { 0 };
    let pools = Rect { height: rest.height - below, ..rest };
    let drawn = list::draw(&Shown::of(look), paint, pools, buffer);
    if below > 2 {
        let place = Rect { y: pools.y + pools.height + 1, height: below - 1, ..rest };
        let order: Vec<usize> = (0..databases.rows.len()).collect();
        let sort = &databases.sort;
        let shown =
            Shown { listing: &databases, order: &order, sort, cursor: None, has_filter: false };
        list::draw(&shown, paint, place, buffer);
    }
    drawn
}

fn troubles(pools: &[Pool], paint: Paint, width: u16) -> Vec<Line<'static>> {
    let mut troubled: Vec<_> =
        pools.iter().filter_map(|pool| Some((pool, pool.trouble()?))).collect();
    troubled.sort_by_key(|(pool, _)| Reverse((pool.health, pool.longest_wait)));
    let well = pools.len() - troubled.len();
    let mut lines = Vec::new();
    let wrap = |text: &str, indent: &str| words::wrap(text, usize::from(width), indent);
    for (pool, (head, about)) in troubled.iter().take(TROUBLES_MAX) {
        let tone = if pool.health == Health::Bad { Tone::Bad } else { Tone::Warn };
        let head = wrap(head, "  ").into_iter();
        lines.extend(head.map(|line| Line::styled(line, paint.tone(tone))));
        if let Some(about) = about {
            lines.extend(wrap(&format!("  {about}"), "  ").into_iter().map(Line::raw));
        }
    }
    let more = troubled.len().saturating_sub(TROUBLES_MAX);
    match (pools.len(), troubled.len(), well) {
        (0, ..) => {
            let text = "No pools so far: no client has asked for a database.";
            lines.push(Line::styled(text, quiet()));
        }
        (1, 0, _) => lines.push(Line::raw("The pool is well: whoever asks is served at once.")),
        (all, 0, _) => {
            let text = format!("All {all} pools are well: whoever asks is served at once.");
            lines.push(Line::raw(text));
        }
        (.., 0) if more == 0 => {}
        (.., 1) if more == 0 => lines.push(Line::styled("The other pool is well.", quiet())),
        (.., well) if more == 0 => {
            lines.push(Line::styled(format!("The other {well} pools are well."), quiet()));
        }
        _ => {
            let text = format!("{more} more in trouble, {well} well: press 2 for all pools.");
            lines.push(Line::raw(text));
        }
    }
    lines
}

fn servers(summary: &Summary, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let Summary { used, idle, other, size, .. } = *summary;
    let opening = if other > 0 { format!(", {other} opening") } else { String::new() };
    let about = format!("in use, {idle} idle{opening}");
    let bar = Bar { used, idle, cap: size };
    figure(["Servers", &bar.shown(), &about], area, buffer);
    let width = area.width.saturating_sub(CHART_AT).min(60);
    let place = Rect { x: area.x + CHART_AT.min(area.width), width, ..area };
    draw_bar(Bar { cap: size, ..bar }, Tone::Plain, 0, paint, place, buffer);
}

/// Label, value, and what else there is to say.
fn figures(summary: &Summary) -> [(&'static str, String, String); 6] {
    let Summary { rates, .. } = summary;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), words::number);
    let per_second = |value: Option<f64>| format!("{}/s", rate(value));
    let takes = |time: Option<std::time::Duration>| {
        time.map_or_else(String::new, |time| format!("{} each", words::time(time)))
    };
    let bytes = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words::bytes);
    let waits = match summary.waiting {
        0 => takes(rates.wait).replace("each", "on average"),
        _ => format!("the longest for {}", words::time(summary.longest_wait)),
    };
    [
        ("Transactions", per_second(rates.transactions), takes(rates.transaction)),
        ("Queries", per_second(rates.queries), takes(rates.query)),
        ("Waiting", words::number(words::precise(summary.waiting)), waits),
        (
            "Clients",
            words::number(words::precise(summary.clients)),
            format!("{} logins/s", rate(rates.logins)),
        ),
        ("Refused", per_second(summary.refused), String::new()),
        (
            "Traffic",
            format!("{}/s", bytes(rates.received)),
            format!("in, {}/s out", bytes(rates.sent)),
        ),
    ]
}

/// Where charts begin.
const CHART_AT: u16 = LABEL + VALUE + 2 + 28;

fn figure([label, value, about]: [&str; 3], area: Rect, buffer: &mut Buffer) {
    let line = Line::from(vec![
        Span::styled(format!("{label:<width$}", width = usize::from(LABEL)), quiet()),
        Span::styled(format!("{value:>width$}", width = usize::from(VALUE)), bold()),
        Span::raw(format!("  {about}")),
    ]);
    line.render(Rect { width: area.width, ..area }, buffer);
}

/// The newest `width` of them as a chart of one line, the newest at the right. What is missing leaves a
/// gap.
fn spark(
    points: impl DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator,
    width: usize,
) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points: Vec<Option<f64>> = points.rev().take(width).collect();
    let most = points.iter().flatten().copied().fold(0.0, f64::max);
    let symbol = |point: &Option<f64>| match point {
        None => ' ',
        Some(value) if *value <= 0.0 || most <= 0.0 => STEPS[0],
        Some(value) => {
            let part = value / most;
            let reached =
                STEPS.iter().zip(1_u32..).take_while(|(_, n)| f64::from(*n) <= part * 8.0);
            reached.last().map_or(STEPS[0], |(symbol, _)| *symbol)
        }
    };
    let pad = width - points.len();
    std::iter::repeat_n(' ', pad).chain(points.iter().rev().map(symbol)).collect()
}
