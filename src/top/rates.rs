//! Rates: by how much totals grew between two samples.

use super::sample::{Sample, Show};
use super::table::{Row, Table};
use std::collections::BTreeMap;
use std::time::Duration;

/// Two samples of one table, and the time between them.
pub(super) struct Growth<'a> {
    keys: &'static [&'static str],
    before: BTreeMap<Vec<&'a str>, Row<'a>>,
    seconds: f64,
}

impl<'a> Growth<'a> {
    /// `keys` tell rows apart. Without a sample before, or one of the same connection, nothing grew.
    pub(super) fn new(
        show: Show,
        keys: &'static [&'static str],
        before: Option<&'a Sample>,
        now: &Sample,
    ) -> Self {
        let before = before.filter(|before| before.connection == now.connection);
        let elapsed = before.map(|before| now.at.saturating_duration_since(before.at));
        let rows = before.and_then(|before| before.table(show)).into_iter().flat_map(Table::rows);
        Self {
            keys,
            before: rows.map(|row| (key(row, keys), row)).collect(),
            seconds: elapsed.as_ref().map_or(0.0, Duration::as_secs_f64),
        }
    }

    /// By how much a total of this row grew. `None`: it was not there before, or has begun anew.
    pub(super) fn grown(&self, now: Row<'_>, column: &str) -> Option<f64> {
        let before = self.before.get(&key(now, self.keys))?.number(column)?;
        let grown = now.number(column)? - before;
        (grown >= 0.0).then_some(grown)
    }

    pub(super) fn per_second(&self, now: Row<'_>, column: &str) -> Option<f64> {
        let grown = self.grown(now, column)?;
        (self.seconds > 0.0).then(|| grown / self.seconds)
    }
}

fn key<'a>(row: Row<'a>, keys: &[&str]) -> Vec<&'a str> {
    keys.iter().map(|column| row.text(column)).collect()
}

/// What one or more databases do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) transactions: Option<f64>,
    pub(super) queries: Option<f64>,
    /// In bytes a second, from clients and to them.
    pub(super) received: Option<f64>,
    pub(super) sent: Option<f64>,
    pub(super) logins: Option<f64>,
    /// How long one took, on the average.
    pub(super) transaction: Option<Duration>,
    pub(super) query: Option<Duration>,
    /// How long one waited for a server.
    pub(super) wait: Option<Duration>,
}

/// What the rates of several rows are added up in.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(BTreeMap<&'static str, f64>);

impl Sums {
    const COLUMNS: [&'static str; 9] = [
        "total_xact_count",
        "total_query_count",
        "total_server_assignment_count",
        "total_received",
        "total_sent",
        "total_client_login_count",
        "total_xact_time",
        "total_query_time",
        "total_wait_time",
    ];

    pub(super) fn add(&mut self, growth: &Growth<'_>, row: Row<'_>) {
        for column in Self::COLUMNS {
            if let Some(rate) = growth.per_second(row, column) {
                *self.0.entry(column).or_default() += rate;
            }
        }
    }

    pub(super) fn rates(&self) -> Rates {
        let rate = |column: &str| self.0.get(column).copied();
        // Microseconds each second, by how many each second.
        let mean = |time: &str, count: Option<f64>| {
            let count = count.filter(|count| *count > 0.0)?;
            Duration::try_from_secs_f64(rate(time)? / count / 1e6).ok()
        };
        let (transactions, queries) = (rate("total_xact_count"), rate("total_query_count"));
        // Older PgBouncers do not count how often a server was given.
        let waits = rate("total_server_assignment_count").or(transactions);
        Rates {
            transactions,
            queries,
            received: rate("total_received"),
            sent: rate("total_sent"),
            logins: rate("total_client_login_count"),
            transaction: mean("total_xact_time", transactions),
            query: mean("total_query_time", queries),
            wait: mean("total_wait_time", waits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Growth, Rates, Sums};
    use crate::net::worker::read_clock;
    use crate::top::sample::{Sample, Show};
    use crate::top::table::tests::table;
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant, SystemTime};

    fn stats(at: Instant, connection: u32, rows: &str) -> Sample {
        let head = "database total_xact_count# total_query_count# total_wait_time#\n";
        let tables = BTreeMap::from([(Show::Stats, table(&format!("{head}{rows}")))]);
        let (time, refused) = (SystemTime::UNIX_EPOCH, BTreeMap::new());
        Sample { at, time, connection, tables, refused }
    }

    fn rates(before: &Sample, now: &Sample) -> Rates {
        let growth = Growth::new(Show::Stats, &["database"], Some(before), now);
        let mut sums = Sums::default();
        now.table(Show::Stats).expect("is there").rows().for_each(|row| sums.add(&growth, row));
        sums.rates()
    }

    #[test]
    fn a_rate_is_what_was_added_by_the_time_it_took() {
        let start = read_clock();
        let before = stats(start, 1, "a 100 1000 0\n b 5 5 0");
        let now = stats(start + Duration::from_secs(2), 1, "b 9 5 8000\n a 300 2000 2000");
        let rates = rates(&before, &now);
        assert_eq!((rates.transactions, rates.queries), (Some(102.0), Some(500.0)));
        assert_eq!(rates.wait, Some(Duration::from_nanos(49_020)));
        assert_eq!((rates.received, rates.query), (None, None));
    }

    #[test]
    fn totals_that_begin_anew_make_no_rate() {
        let start = read_clock();
        let later = start + Duration::from_secs(1);
        let before = stats(start, 1, "a 100 1000 0\n b 5 5 0");
        let rates_of_b = rates(&before, &stats(later, 1, "a 1 1 0\n b 9 5 0\n new 7 7 0"));
        assert_eq!(rates_of_b.transactions, Some(4.0));
        assert_eq!(rates(&before, &stats(later, 2, "a 200 2000 0")), Rates::default());
        assert_eq!(rates(&before, &stats(start, 1, "a 200 2000 0")), Rates::default());
    }
}
