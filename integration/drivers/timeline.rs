//! When pgbench's clients waited, by its own log, beside what the proxies said meanwhile.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What the clocks of pgbench and of the proxies have in common: the time since midnight, UTC.
const DAY: u64 = 24 * 60 * 60;

/// How long before the slowest transaction began the proxies' logs are shown from.
const LEAD: Duration = Duration::from_millis(100);

/// A transaction of pgbench's.
#[derive(Clone, Copy)]
pub(super) struct Transaction {
    client: u32,
    began: Duration,
    ended: Duration,
}

impl Transaction {
    pub(super) fn took(&self) -> Duration {
        self.ended.saturating_sub(self.began)
    }

    /// A line of `pgbench --log`: client, number, microseconds, script, when it ended.
    fn parsed(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(|word| word.parse::<u64>().ok());
        let client = words.next()??;
        let (took, seconds, micros) = (words.nth(1)??, words.nth(1)??, words.next()??);
        let ended = Duration::from_secs(seconds % DAY) + Duration::from_micros(micros);
        let began = ended.checked_sub(Duration::from_micros(took))?;
        Some(Self { client: u32::try_from(client).ok()?, began, ended })
    }
}

/// Everything that a load did, in the order in which it ended.
pub(super) struct Timeline {
    transactions: Vec<Transaction>,
    /// What the proxies said, and when.
    said: Vec<(Duration, String)>,
}

impl Timeline {
    pub(super) fn read(directory: &Path, logs: &[String]) -> Self {
        let mut transactions = Vec::new();
        for entry in std::fs::read_dir(directory).expect("the directory is there").flatten() {
            let text = std::fs::read_to_string(entry.path()).expect("a log is text");
            transactions.extend(text.lines().filter_map(Transaction::parsed));
        }
        assert!(!transactions.is_empty(), "pgbench has written what it did");
        transactions.sort_unstable_by_key(|transaction| transaction.ended);
        let lines = logs.iter().enumerate().flat_map(|(process, log)| {
            let line = move |line: &str| Some((time_of(line)?, format!("{process}: {line}")));
            log.lines().filter_map(line)
        });
        let mut said: Vec<_> = lines.collect();
        said.sort();
        Self { transactions, said }
    }

    pub(super) fn slowest(&self) -> Transaction {
        let slowest = self.transactions.iter().max_by_key(|transaction| transaction.took());
        *slowest.expect("there is one")
    }

    /// What happened while the slowest transaction waited: whether it was the only one, or everybody.
    pub(super) fn account(&self) -> String {
        let slowest = self.slowest();
        let mut account = format!(
            "client {} waited {:?}, from {} to {}\n",
            slowest.client,
            slowest.took(),
            clock(slowest.began),
            clock(slowest.ended)
        );
        let slow = |it: &&Transaction| it.took() >= slowest.took() / 2;
        let slow: Vec<_> = self.transactions.iter().filter(slow).collect();
        let meanwhile = |at: Duration| slowest.began <= at && at <= slowest.ended;
        let ends = self.transactions.iter().map(|it| it.ended).filter(|at| meanwhile(*at));
        let ends: Vec<_> = std::iter::once(slowest.began).chain(ends).collect();
        let gap =
            ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
        let count = ends.len() - 1;
        writeln!(account, "{} took half as long or longer:", slow.len()).expect("a string");
        for it in slow.iter().take(8) {
            writeln!(account, "  client {}: {} {:?}", it.client, clock(it.began), it.took())
                .expect("a string");
        }
        writeln!(account, "{count} ended meanwhile, {gap:?} apart at most").expect("a string");
        let near = |at: Duration| slowest.began <= at + LEAD && at <= slowest.ended;
        for (_, line) in self.said.iter().filter(|(at, _)| near(*at)) {
            writeln!(account, "  {line}").expect("a string");
        }
        account
    }
}

/// When a proxy said something: `2026-01-31T23:59:59.123456Z  INFO ...`.
fn time_of(line: &str) -> Option<Duration> {
    let (clock, _) = line.split_once('T')?.1.split_once('Z')?;
    let mut parts = clock.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>(), parts.next()?.parse::<u64>());
    let seconds = parts.next()?.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok())?;
    Some(Duration::from_secs(hours.ok()? * 3600 + minutes.ok()? * 60) + seconds)
}

fn clock(at: Duration) -> String {
    let (seconds, micros) = (at.as_secs(), at.subsec_micros());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
}
