//! What a command answers: columns, described once, and rows.

use crate::wire::rows::{Cell, Column, Type};

pub(super) type Row = Vec<Cell>;

pub(super) const fn bytea(name: &'static str) -> Column {
    Column { name, kind: Type::Bytea }
}

pub(super) const fn text(name: &'static str) -> Column {
    Column { name, kind: Type::Text }
}

pub(super) const fn int4(name: &'static str) -> Column {
    Column { name, kind: Type::Int4 }
}

pub(super) const fn int8(name: &'static str) -> Column {
    Column { name, kind: Type::Int8 }
}

pub(super) const fn numeric(name: &'static str) -> Column {
    Column { name, kind: Type::Numeric }
}
