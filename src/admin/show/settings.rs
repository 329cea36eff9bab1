//! `SHOW SETTINGS`: what `SHOW CONFIG` cannot say in PgBouncer's columns.

use crate::admin::table::{Row, text};
use crate::config::{Config, Setting};
use crate::wire::rows::Column;

pub(super) const COLUMNS: &[Column] = &[
    text("name"),
    text("value"),
    text("default"),
    text("source"),
    text("section"),
    text("is_live"),
    text("description"),
    text("pending"),
];

/// In the order of the documentation.
pub(super) fn rows(config: &Config) -> Vec<Row> {
    let row = |setting: Setting<'_>| {
        vec![
            setting.name.into(),
            setting.value.to_owned().into(),
            setting.default.into(),
            setting.origin.label().into(),
            setting.section.into(),
            if setting.is_live { "yes" } else { "no" }.into(),
            setting.doc.into(),
            setting.pending.map(str::to_owned).into(),
        ]
    };
    config.settings().map(row).collect()
}
