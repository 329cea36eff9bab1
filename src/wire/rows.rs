//! Result sets that the proxy makes itself.

use crate::wire::encode::{message, text};
use crate::wire::tags::from_server;
use std::borrow::Cow;

/// The types that such a result has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    /// Only ever null.
    Bytea,
    Int4,
    Int8,
    Numeric,
    Text,
}

impl Type {
    pub const fn oid(self) -> u32 {
        match self {
            Self::Bytea => 17,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
            Self::Text => 25,
        }
    }

    /// The size that `RowDescription` says; -1 where it varies.
    const fn len(self) -> i16 {
        match self {
            Self::Int4 => 4,
            Self::Int8 => 8,
            Self::Bytea | Self::Numeric | Self::Text => -1,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Type,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cell {
    Null,
    /// In a column of any type but text.
    Number(i64),
    /// In a column of texts.
    Text(Cow<'static, str>),
}

impl From<&'static str> for Cell {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// How a client wants the columns of a result.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Formats {
    /// All as text.
    #[default]
    Text,
    /// All binary.
    Binary,
    /// Whether it is binary, for each.
    Each(Box<[bool]>),
}

impl Formats {
    pub fn is_binary(&self, column: usize) -> bool {
        match self {
            Self::Text => false,
            Self::Binary => true,
            Self::Each(binary) => binary.get(column).copied().unwrap_or_default(),
        }
    }
}

pub fn row_description(out: &mut Vec<u8>, columns: &[Column], formats: &Formats) {
    message(out, from_server::ROW_DESCRIPTION, |out| {
        out.extend(count(columns.len()).to_be_bytes());
        for (place, column) in columns.iter().enumerate() {
            text(out, column.name);
            // Of no table.
            out.extend([0; 6]);
            out.extend(column.kind.oid().to_be_bytes());
            out.extend(column.kind.len().to_be_bytes());
            // No modifier of the type.
            out.extend((-1_i32).to_be_bytes());
            out.extend(u16::from(formats.is_binary(place)).to_be_bytes());
        }
    });
}

/// Writes one row. `cells` fit the columns: a row with too few is filled up with nulls.
pub fn data_row(out: &mut Vec<u8>, columns: &[Column], cells: &[Cell], formats: &Formats) {
    message(out, from_server::DATA_ROW, |out| {
        out.extend(count(columns.len()).to_be_bytes());
        for (place, column) in columns.iter().enumerate() {
            match cells.get(place).unwrap_or(&Cell::Null) {
                Cell::Null => out.extend((-1_i32).to_be_bytes()),
                Cell::Text(value) => value_bytes(out, value.as_bytes()),
                Cell::Number(number) if formats.is_binary(place) => {
                    binary_number(out, column.kind, *number);
                }
                Cell::Number(number) => value_bytes(out, number.to_string().as_bytes()),
            }
        }
    });
}

pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, from_server::COMMAND_COMPLETE, |out| text(out, tag));
}

fn count(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn value_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

fn binary_number(out: &mut Vec<u8>, kind: Type, number: i64) {
    match kind {
        Type::Int4 => {
            // What does not fit is as large, or as small, as can be.
            let most = if number < 0 { i32::MIN } else { i32::MAX };
            value_bytes(out, &i32::try_from(number).unwrap_or(most).to_be_bytes());
        }
        Type::Int8 => value_bytes(out, &number.to_be_bytes()),
        Type::Numeric => value_bytes(out, &binary_numeric(number)),
        Type::Bytea | Type::Text => value_bytes(out, number.to_string().as_bytes()),
    }
}

/// As `numeric_send` writes it: digits to the base of 10,000, the weight of the first, the sign, and
/// how many decimal places are shown.
fn binary_numeric(number: i64) -> Vec<u8> {
    const BASE: u64 = 10_000;
    const NEGATIVE: u16 = 0x4000;
    let mut rest = number.unsigned_abs();
    let mut digits: Vec<u16> = Vec::new();
    while rest > 0 {
        digits.push(u16::try_from(rest % BASE).unwrap_or_default());
        rest /= BASE;
    }
    let weight = count(digits.len()).saturating_sub(1);
    let sign = if number < 0 { NEGATIVE } else { 0 };
    let head = [count(digits.len()), weight, sign, 0];
    head.into_iter().chain(digits.into_iter().rev()).flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, Formats, Type, binary_numeric, data_row, row_description};

    const COLUMNS: &[Column] = &[
        Column { name: "name", kind: Type::Text },
        Column { name: "size", kind: Type::Int4 },
        Column { name: "total", kind: Type::Int8 },
    ];

    #[test]
    fn columns_are_described_as_postgres_does() {
        let mut out = Vec::new();
        row_description(&mut out, &COLUMNS[1..2], &Formats::Binary);
        let expected = b"T\0\0\0\x1d\0\x01size\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
        assert_eq!(out, expected);
    }

    #[test]
    fn values_come_in_the_format_asked_for() {
        let cells = [Cell::from("x"), Cell::from(7_u32), Cell::Null];
        let mut out = Vec::new();
        data_row(&mut out, COLUMNS, &cells, &Formats::Text);
        assert_eq!(out, b"D\0\0\0\x14\0\x03\0\0\0\x01x\0\0\0\x017\xff\xff\xff\xff");
        out.clear();
        let formats = Formats::Each([false, true, true].into());
        data_row(&mut out, COLUMNS, &cells, &formats);
        assert_eq!(out, b"D\0\0\0\x17\0\x03\0\0\0\x01x\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff");
    }

    /// Written down from `numeric_send` of Postgres 15.
    #[test]
    fn a_binary_numeric_is_what_postgres_sends() {
        assert_eq!(binary_numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(binary_numeric(-1), [0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1]);
        let digits = [0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(binary_numeric(100_000_002), digits);
    }
}
