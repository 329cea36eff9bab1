//! The status page, and what it shows: for people who want to know at one look how the proxy does, and
//! why clients wait.
//!
//! [`document`] is everything at one moment, made when somebody asks; [`history`] is kept meanwhile, a
//! point every few seconds; [`page`] shows both. All of it runs on the main thread, and nothing here can
//! change anything.

mod document;
mod history;
pub mod page;
mod parts;
mod people;
mod rates;
mod reason;

use self::document::Document;
use self::history::History;
use crate::base::shared::Shared;
use crate::control::roster::Roster;
use crate::pool::process::ProcessView;
use crate::pool::registry::Registry;
use std::sync::Arc;
use std::time::Instant;

/// Of both documents. It changes when something is taken away or means something else; what is added
/// does not change it.
const FORMAT: u32 = 1;

/// What the page shows.
pub struct Status {
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    history: Shared<History>,
}

impl Status {
    pub fn new(registry: Arc<Registry>, roster: Arc<Roster>) -> Self {
        Self { registry, roster, history: Shared::new(History::new()) }
    }

    /// Makes a point of the history, when it is time to. To be called often.
    pub fn tick(&self, now: Instant) {
        if self.history.with(|history| history.is_due(now)) {
            let snapshot = self.registry.snapshot(now);
            let refused = refused(&self.process());
            self.history.with(|history| history.keep(now, &snapshot, refused));
        }
    }

    /// Everything at this moment, as JSON.
    pub fn document(&self, now: Instant, is_stopping: bool) -> String {
        let snapshot = self.registry.snapshot(now);
        let process = self.process();
        let (lately, last) = self
            .history
            .with(|history| (history.lately(now, &snapshot, refused(&process)), history.last()));
        let people = people::look(&self.registry, &self.roster, &snapshot, now);
        let seen = document::Seen { now, is_stopping, process, lately, last, people };
        json(&Document::new(&self.registry, snapshot, seen))
    }

    fn process(&self) -> ProcessView {
        self.registry.process(self.roster.is_suspended())
    }

    /// The last quarter of an hour, as JSON.
    pub fn history(&self) -> String {
        self.history.with(|history| json(&history.document()))
    }
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("names are text, and numbers are finite")
}

/// Requests that got an error of the proxy's own, since the start.
fn refused(process: &ProcessView) -> u64 {
    process.ends.refusals.iter().sum()
}

#[cfg(test)]
mod tests {
    use crate::base::ids::PoolId;
    use crate::config::PoolMode;
    use crate::pool::snapshot::PoolView;
    use crate::scheduler::{Condition, Counts, Rides, Strain};
    use crate::stats::pool::{PoolTimes, PoolTotals};
    use std::time::{Duration, Instant};

    /// Some moment, the same in a test.
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    pub(super) fn epoch() -> Instant {
        use std::sync::OnceLock;
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        *EPOCH.get_or_init(Instant::now)
    }

    /// One that nobody uses.
    pub(super) fn pool(database: &str) -> PoolView {
        PoolView {
            id: PoolId(0),
            database: database.to_owned(),
            user: "web".to_owned(),
            host: "main".to_owned(),
            mode: PoolMode::Transaction,
            size: 20,
            reserve: 0,
            clients: 0,
            counts: Counts::default(),
            longest_wait: Duration::ZERO,
            condition: Condition::new(epoch()),
            strain: Strain::default(),
            rides: Rides::default(),
            to_be_checked: 0,
            failure: None,
            totals: PoolTotals::default(),
            times: PoolTimes::default(),
        }
    }
}
