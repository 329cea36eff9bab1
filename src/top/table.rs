//! A result set of a console, read by the names of its columns: what a console does not have is missing,
//! and nothing else breaks.

use crate::base::legible::safe_and_short;
use crate::wire::frame::split_text;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Rows that are kept of one result set. More clients than that nobody reads.
const ROWS_MAX: usize = 50_000;

/// What a result set may take, and then it has no more rows.
const BYTES_MAX: usize = 128 << 20;

/// Columns, and what is kept of a name or a value: several times what any console has.
const COLUMNS_MAX: usize = 200;
const LETTERS_MAX: usize = 1_000;

/// The types of Postgres whose values are numbers: `int8`, `int2`, `int4`, `float4`, `float8`, `numeric`.
const NUMBERS: [u32; 6] = [20, 21, 23, 700, 701, 1700];

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is_number: bool,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Table {
    columns: Vec<Column>,
    places: BTreeMap<String, usize>,
    rows: Vec<Vec<Option<String>>>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    table: &'a Table,
    cells: &'a [Option<String>],
}

impl Table {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place));
        Self { places: places.collect(), columns, rows: Vec::new(), bytes: 0 }
    }

    /// Reads a `RowDescription`.
    pub(super) fn described(body: &[u8]) -> Option<Self> {
        /// What follows a name: table, column, type, length, modifier and format.
        const REST: usize = 18;
        let (_, mut rest) = body.split_first_chunk::<2>()?;
        let mut columns = Vec::new();
        while !rest.is_empty() && columns.len() < COLUMNS_MAX {
            let (name, about) = split_text(rest)?;
            let oid = u32::from_be_bytes(*about.get(6..)?.first_chunk::<4>()?);
            let name = safe_and_short(&read(name), LETTERS_MAX);
            columns.push(Column { name, is_number: NUMBERS.contains(&oid) });
            rest = about.get(REST..)?;
        }
        Some(Self::new(columns))
    }

    /// Reads a `DataRow`, all of texts.
    pub(super) fn read_row(&mut self, body: &[u8]) -> Option<()> {
        let (_, mut rest) = body.split_first_chunk::<2>()?;
        let mut cells = Vec::with_capacity(self.columns.len());
        while let Some((length, after)) = rest.split_first_chunk::<4>()
            && cells.len() < self.columns.len()
        {
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                cells.push(None);
                rest = after;
                continue;
            };
            let (value, after) = after.split_at_checked(length)?;
            let text = read(value);
            let end = text.char_indices().nth(LETTERS_MAX).map(|(end, _)| end);
            cells.push(Some(
                end.map_or_else(|| text.to_string(), |end| format!("{}…", &text[..end])),
            ));
            rest = after;
        }
        self.push(cells);
        Some(())
    }

    pub(super) fn push(&mut self, cells: Vec<Option<String>>) {
        let bytes =
            cells.iter().flatten().map(String::len).sum::<usize>() + size_of_val(&cells[..]);
        if self.rows.len() < ROWS_MAX && self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.rows.push(cells);
        }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.places.contains_key(column)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }

    /// The first row that has `value` in `column`.
    pub(super) fn find(&self, column: &str, value: &str) -> Option<Row<'_>> {
        self.rows().find(|row| row.get(column) == Some(value))
    }
}

/// As much of a text as is looked at, and the letter that it is cut at.
fn read(text: &[u8]) -> Cow<'_, str> {
    const LETTER_BYTES_MAX: usize = 4;
    String::from_utf8_lossy(&text[..text.len().min((LETTERS_MAX + 1) * LETTER_BYTES_MAX)])
}

impl<'a> Row<'a> {
    /// `None`: there is no such column, or it is null.
    pub(super) fn get(self, column: &str) -> Option<&'a str> {
        self.cells.get(*self.table.places.get(column)?)?.as_deref()
    }

    pub(super) fn text(self, column: &str) -> &'a str {
        self.get(column).unwrap_or_default()
    }

    pub(super) fn number(self, column: &str) -> Option<f64> {
        self.get(column)?.parse().ok()
    }

    pub(super) fn count(self, column: &str) -> u64 {
        self.get(column).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// All of these, added up.
    pub(super) fn sum(self, columns: &[&str]) -> u64 {
        columns.iter().map(|column| self.count(column)).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Column, Table};
    use crate::wire::rows::{self, Cell, Formats, Type};

    /// A table as a picture: names, then rows, apart by blanks; `-` is null, `_` a blank. A name that
    /// ends with `#` is a column of numbers.
    pub(in crate::top) fn table(picture: &str) -> Table {
        let mut lines = picture.lines().map(str::trim).filter(|line| !line.is_empty());
        let column = |name: &str| Column {
            name: name.trim_end_matches('#').to_owned(),
            is_number: name.ends_with('#'),
        };
        let names = lines.next().expect("a head").split_whitespace();
        let mut table = Table::new(names.map(column).collect());
        for line in lines {
            let cell = |text: &str| (text != "-").then(|| text.replace('_', " "));
            table.push(line.split_whitespace().map(cell).collect());
        }
        table
    }

    const COLUMNS: &[rows::Column] = &[
        rows::Column { name: "name", kind: Type::Text },
        rows::Column { name: "total", kind: Type::Numeric },
    ];

    fn body(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut message = Vec::new();
        write(&mut message);
        message.split_off(5)
    }

    #[test]
    fn what_the_console_writes_is_read_by_name() {
        let head = body(|out| rows::row_description(out, COLUMNS, &Formats::Text));
        let mut read = Table::described(&head).expect("well formed");
        for cells in [[Cell::from("a"), Cell::Number(-7)], [Cell::from("b"), Cell::Null]] {
            let row = body(|out| rows::data_row(out, COLUMNS, &cells, &Formats::Text));
            read.read_row(&row).expect("well formed");
        }
        assert_eq!(read, table("name total# \n a -7 \n b -"));
        let row = read.find("name", "a").expect("is there");
        assert_eq!(
            (row.number("total"), row.number("more"), row.count("total")),
            (Some(-7.0), None, 0)
        );
        assert_eq!(read.find("name", "b").expect("is there").get("total"), None);
    }

    #[test]
    fn what_is_too_long_is_cut_and_columns_have_an_end() {
        let long = "é".repeat(super::LETTERS_MAX + 1);
        let mut head = vec![0, 0];
        for place in 0..300 {
            head.extend(format!("{place}\x1b{long}\0").as_bytes());
            head.extend([0; 18]);
        }
        let mut read = Table::described(&head).expect("well formed");
        assert_eq!(read.columns().len(), super::COLUMNS_MAX);
        let name = read.columns()[7].name.clone();
        assert!(name.starts_with("7\u{fffd}é") && name.ends_with("é…"), "{name}");
        let length = u32::try_from(long.len()).expect("it is short").to_be_bytes();
        let row = [&[0, 0], &[&length[..], long.as_bytes()].concat().repeat(300)[..]].concat();
        read.read_row(&row).expect("well formed");
        let row = read.rows().next().expect("is there");
        assert_eq!(row.text(&name).chars().count(), super::LETTERS_MAX + 1);
        assert_eq!(row.cells.len(), super::COLUMNS_MAX);
    }

    #[test]
    fn what_is_cut_off_or_makes_no_sense_is_no_table() {
        let head = body(|out| rows::row_description(out, COLUMNS, &Formats::Text));
        let row = body(|out| {
            rows::data_row(out, COLUMNS, &[Cell::from("a"), Cell::from("b")], &Formats::Text);
        });
        for end in (0..head.len()).filter(|end| *end != 2 && *end != 2 + 5 + 18) {
            assert_eq!(Table::described(&head[..end]), None, "{end}");
        }
        let mut read = Table::described(&head).expect("well formed");
        assert_eq!(read.read_row(&row[..row.len() - 1]), None);
        assert_eq!(read.read_row(&[0, 1, 0x7f, 0xff, 0xff, 0xff, b'x']), None);
        // Fewer values than columns: the rest is missing.
        read.read_row(&[0, 1, 0, 0, 0, 1, b'x']).expect("is taken");
        assert_eq!(read.find("name", "x").expect("is there").get("total"), None);
    }
}
