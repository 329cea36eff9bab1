//! `SHOW PREPARED_STATEMENTS`: what clients have prepared, and how often servers had to read it.

use crate::admin::Console;
use crate::admin::table::{Row, int4, int8, text};
use crate::session::statements::View;
use crate::wire::rows::Column;

pub(super) const COLUMNS: &[Column] = &[
    int8("id"),
    text("database"),
    text("user"),
    int8("uses"),
    int8("parses"),
    int4("servers"),
    int8("names"),
    int8("bytes"),
    text("text"),
];

/// As many as somebody reads.
const ROWS_MAX: usize = 200;

/// Bytes of a text that are shown.
const TEXT_MAX: usize = 200;

/// What servers read most often first.
pub(super) fn rows(console: &Console) -> Vec<Row> {
    console.registry.statements.most_read(ROWS_MAX).iter().map(row).collect()
}

fn row(view: &View) -> Row {
    let statement = &view.statement;
    let shown = &statement.text()[..statement.text().len().min(TEXT_MAX)];
    vec![
        statement.id.into(),
        statement.pool.0.to_string().into(),
        statement.pool.1.to_string().into(),
        view.uses.into(),
        view.parses.into(),
        view.servers.into(),
        (view.names as u64).into(),
        (view.bytes as u64).into(),
        String::from_utf8_lossy(shown).into_owned().into(),
    ]
}
