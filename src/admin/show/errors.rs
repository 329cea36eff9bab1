//! `SHOW ERRORS`: what went wrong since the start, by reason.

use crate::admin::Console;
use crate::admin::table::{Row, int8, text};
use crate::base::calendar::utc;
use crate::end::EndReason;
use crate::wire::rows::Column;
use std::time::Instant;

pub(super) const COLUMNS: &[Column] = &[
    text("reason"),
    text("sqlstate"),
    text("blame"),
    int8("count"),
    text("last_seen"),
    int8("refusals"),
    int8("closes"),
    int8("failed_logins"),
    text("message"),
];

/// How clients leave when nothing is wrong.
const NO_ERRORS: [EndReason; 2] = [EndReason::ClientTerminated, EndReason::Moved];

/// What was seen most often first.
pub(super) fn rows(console: &Console, now: Instant) -> Vec<Row> {
    let ends = console.registry.ends();
    let seen = console.see_ends(now, &ends);
    let mut reasons: Vec<(EndReason, u64)> = EndReason::ALL
        .into_iter()
        .filter(|reason| !NO_ERRORS.contains(reason))
        .map(|reason| (reason, ends.of(reason)))
        .filter(|(_, count)| *count > 0)
        .collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let row = |(reason, count): (EndReason, u64)| {
        let account = reason.account();
        let at = reason as usize;
        vec![
            account.label.into(),
            account.sqlstate.into(),
            account.blame.label().into(),
            count.into(),
            seen[at].map(|seen| utc(console.registry.calendar(seen))).into(),
            ends.refusals[at].into(),
            ends.closes[at].into(),
            ends.failed_logins[at].into(),
            account.message.into(),
        ]
    };
    reasons.into_iter().map(row).collect()
}
