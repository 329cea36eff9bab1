//! `SHOW CONFIG`.

use crate::admin::table::{Row, text};
use crate::config::Config;
use crate::wire::rows::Column;

pub(super) const COLUMNS: &[Column] =
    &[text("key"), text("value"), text("default"), text("changeable")];

pub(super) fn rows(config: &Config) -> Vec<Row> {
    let mut settings: Vec<_> = config.settings().collect();
    settings.sort_unstable_by_key(|setting| setting.name);
    let row = |setting: crate::config::Setting<'_>| {
        vec![
            setting.name.into(),
            setting.value.to_owned().into(),
            setting.default.into(),
            if setting.is_live { "yes" } else { "no" }.into(),
        ]
    };
    settings.into_iter().map(row).collect()
}
