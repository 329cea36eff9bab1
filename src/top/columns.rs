//! A console's result set as a list: the columns that are known, under titles for people, and whatever
//! else it has behind them.

use super::listing::{Bar, Cell, Field, Listing, Tone, Value};
use super::model::{millis, seconds};
use super::rates::Growth;
use super::table::{Column, Row, Table};
use super::words;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// An address, and its port in another column.
    Address(&'static str),
    /// In use, and the limit in another column; 0 is none.
    Capped(&'static str),
    Count,
    /// The same, and worth a look if it is not 0.
    Alarm,
    Micros,
    Millis,
    /// What a total grows by in a second.
    PerSecond,
    /// The same, and worth a look if it is not 0.
    AlarmPerSecond,
    Percent,
    Seconds,
    /// Whole seconds, and the microseconds beyond them in another column.
    SecondsAnd(&'static str),
    Text,
}

/// A column that is known, its title, and how important it is: see [`Field`].
pub(super) struct Pick(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) Kind,
    pub(super) u8,
);

/// The rank of columns that nobody picked.
const UNKNOWN: u8 = 9;

/// `keys`: how many of the picks tell rows apart. The rows are those that `wanted` says.
pub(super) fn list(
    table: &Table,
    growth: Option<&Growth<'_>>,
    picks: &[Pick],
    keys: usize,
    wanted: impl Fn(Row<'_>) -> bool,
) -> Listing {
    let known = picks.iter().filter(|Pick(column, ..)| table.has(column));
    let known: Vec<&Pick> = known.collect();
    let partners = picks.iter().filter_map(|Pick(.., kind, _)| kind.partner());
    let taken: BTreeSet<&str> =
        picks.iter().map(|Pick(column, ..)| *column).chain(partners).collect();
    let rest = table.columns().iter().filter(|column| !taken.contains(column.name.as_str()));
    let rest: Vec<(&Column, Kind)> = rest.map(|column| (column, kind_of(column))).collect();
    let mut fields = Vec::with_capacity(known.len() + rest.len());
    fields.extend(known.iter().map(|Pick(_, title, kind, rank)| kind.field(title, *rank)));
    fields.extend(rest.iter().map(|(column, kind)| kind.field(&title_of(&column.name), UNKNOWN)));
    let rows = table.rows().filter(|row| wanted(*row)).map(|row| {
        let known = known.iter().map(|Pick(column, _, kind, _)| kind.cell(row, column, growth));
        let rest = rest.iter().map(|(column, kind)| kind.cell(row, &column.name, growth));
        known.chain(rest).collect()
    });
    let keys = picks[..keys].iter().filter(|Pick(column, ..)| table.has(column)).count();
    Listing { rows: rows.collect(), fields, keys, ..Listing::default() }
}

/// By the endings that names of columns have here.
fn kind_of(column: &Column) -> Kind {
    let name = column.name.as_str();
    match name.rsplit_once('_').map_or(name, |(_, ending)| ending) {
        _ if !column.is_number => Kind::Text,
        "us" => Kind::Micros,
        "ms" => Kind::Millis,
        "seconds" => Kind::Seconds,
        "percent" => Kind::Percent,
        _ => Kind::Count,
    }
}

fn title_of(name: &str) -> String {
    let endings = ["_us", "_ms", "_percent"];
    let bare = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    words::safe(&bare.replace('_', " "))
}

impl Kind {
    /// The other column that belongs to it.
    fn partner(self) -> Option<&'static str> {
        match self {
            Self::Address(other) | Self::Capped(other) | Self::SecondsAnd(other) => Some(other),
            _ => None,
        }
    }

    fn field(self, title: &str, rank: u8) -> Field {
        match self {
            Self::Text | Self::Address(_) | Self::Capped(_) => Field::text(title, rank),
            _ => Field::number(title, rank),
        }
    }

    fn cell(self, row: Row<'_>, column: &str, growth: Option<&Growth<'_>>) -> Cell {
        let Some(text) = row.get(column) else { return Cell::default() };
        let time = |of: fn(f64) -> Option<Duration>| Cell::time(row.number(column).and_then(of));
        let per_second = || growth.and_then(|growth| growth.per_second(row, column));
        match self {
            Self::Address(port) => match row.get(port) {
                Some(port) if port != "0" && text.contains(':') => {
                    Cell::text(&format!("[{text}]:{port}"))
                }
                Some(port) if port != "0" => Cell::text(&format!("{text}:{port}")),
                _ => Cell::text(text),
            },
            Self::Capped(cap) => {
                let cap = Some(row.count(cap)).filter(|cap| *cap > 0);
                Value::Bar(Bar { used: row.count(column), idle: 0, cap }).into()
            }
            Self::Count => Cell::number(row.number(column)),
            Self::Alarm => Cell::number(row.number(column)).toned_if_any(Tone::Warn),
            Self::Micros => time(|micros| seconds(micros / 1e6)),
            Self::Millis => time(millis),
            Self::PerSecond => Cell::number(per_second()),
            Self::AlarmPerSecond => Cell::number(per_second()).toned_if_any(Tone::Bad),
            Self::Percent => row
                .number(column)
                .map_or_else(Cell::default, |percent| Value::Percent(percent).into()),
            Self::Seconds => time(seconds),
            Self::SecondsAnd(micros) => {
                let more = Duration::from_micros(row.count(micros));
                let whole = row.number(column).and_then(seconds);
                Cell::time(whole.map(|whole| whole.saturating_add(more)))
            }
            Self::Text => Cell::text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Kind, Pick, list};
    use crate::top::listing::Listing;
    use crate::top::table::tests::table;

    fn shown(listing: &Listing) -> Vec<String> {
        let titles = listing.fields.iter().map(|field| field.title.as_str());
        let mut lines = vec![titles.collect::<Vec<_>>().join("|")];
        lines.extend(
            listing
                .rows
                .iter()
                .map(|row| row.iter().map(Cell::shown).collect::<Vec<_>>().join("|")),
        );
        lines
    }

    #[test]
    fn what_is_known_comes_first_and_what_is_not_is_shown_as_well() {
        let picks = [
            Pick("ptr", "id", Kind::Text, 0),
            Pick("addr", "address", Kind::Address("port"), 1),
            Pick("absent", "absent", Kind::Text, 1),
            Pick("wait", "waits", Kind::SecondsAnd("wait_us"), 1),
            Pick("held", "held", Kind::Capped("max"), 1),
        ];
        let table = table(
            "wait# wait_us# addr port# news_ms# ptr held# max# free_text
             1 500000 10.0.0.1 77 1500 a 3 8 it_is
             0 0 ::1 78 - b 3 0 -
             0 20 unix 0 0 c - 0 x",
        );
        let listing = list(&table, None, &picks, 2, |row| row.text("ptr") != "c");
        assert_eq!(
            shown(&listing),
            [
                "id|address|waits|held|news|free text",
                "a|10.0.0.1:77|1.5s|3/8|1.5s|it is",
                "b|[::1]:78|0|3||"
            ]
        );
        assert_eq!(listing.keys, 2);
    }
    #[test]
    fn a_wait_may_be_as_long_as_numbers_go() {
        let picks = [Pick("wait", "waits", Kind::SecondsAnd("wait_us"), 1)];
        let table = table("wait# wait_us# \n 18446744073709549568 18446744073709551615");
        assert_eq!(list(&table, None, &picks, 1, |_| true).rows.len(), 1);
    }
}
