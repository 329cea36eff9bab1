//! What those do who have the servers of a pool: for whoever asks why there is none.

use super::census::Census;
use super::roster::{Presence, Roster};
use crate::pool::Pool;
use crate::pool::welcome::APPLICATION_NAME;
use crate::session::settings::Settings;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name of a client in what is told of it, cut to this many characters.
const NAME_CHARS_MAX: usize = 63;

/// The servers of a pool that are out, by what their clients do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Holders {
    /// Something runs, or is about to.
    pub active: u32,
    pub idle_in_transaction: u32,
    /// Kept by clients that ask for nothing and have no transaction open: in session mode, or because
    /// of what they prepared or listen to.
    pub kept_idle: u32,
    /// Of those in a transaction.
    pub longest_idle: Option<LongestIdle>,
}

/// Who has been idle in a transaction for longest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LongestIdle {
    pub idle_for: Duration,
    pub application_name: String,
}

/// What somebody does with a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HolderState {
    Active,
    IdleInTransaction { since: Instant },
    KeptIdle,
}

impl HolderState {
    /// `None`: one that is not known, because it logs in just now.
    pub fn of(presence: Option<&Presence>) -> Self {
        let Some(presence) = presence else { return Self::Active };
        match presence.idle_in_transaction_since() {
            Some(since) => Self::IdleInTransaction { since },
            None if presence.keeps_idle() => Self::KeptIdle,
            None => Self::Active,
        }
    }

    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::IdleInTransaction { .. } => "idle_in_transaction",
            Self::KeptIdle => "kept_idle",
        }
    }
}

impl Roster {
    /// Looks at those who have a server of `pool`. That takes a moment under the lock of its host.
    pub fn holders(&self, pool: &Pool, now: Instant) -> Holders {
        let mut tally = Tally::default();
        for holder in pool.holders() {
            tally.add(self.client(holder).as_deref());
        }
        tally.end(now)
    }
}

impl Census {
    /// The same of every pool that has any, by database and user.
    pub fn holders(&self, now: Instant) -> BTreeMap<(String, String), Holders> {
        let mut tallies = BTreeMap::<_, Tally>::new();
        for of in self.holdings() {
            let tally = tallies.entry((&of.pool.database, &of.pool.user)).or_default();
            tally.add(of.holder.map(AsRef::as_ref));
        }
        let named = |((database, user), tally): ((&String, &String), Tally)| {
            ((database.clone(), user.clone()), tally.end(now))
        };
        tallies.into_iter().map(named).collect()
    }
}

/// Holders, counted one by one.
#[derive(Default)]
struct Tally {
    holders: Holders,
    /// The one who has been idle in a transaction for longest: since when, and what it says that it is.
    first: Option<(Instant, Arc<Settings>)>,
}

impl Tally {
    fn add(&mut self, client: Option<&Presence>) {
        let state = HolderState::of(client);
        self.holders.count(state);
        if let HolderState::IdleInTransaction { since } = state
            && self.first.as_ref().is_none_or(|(first, _)| since < *first)
        {
            self.first = client.map(|client| (since, client.settings()));
        }
    }

    fn end(self, now: Instant) -> Holders {
        let longest_idle = self.first.map(|(since, settings)| LongestIdle {
            idle_for: now.saturating_duration_since(since),
            application_name: short_name(&settings),
        });
        Holders { longest_idle, ..self.holders }
    }
}

/// What the client says that it is, cut to what fits a line.
pub fn short_name(settings: &Settings) -> String {
    let name = settings.value(APPLICATION_NAME).unwrap_or_default();
    name.chars().take(NAME_CHARS_MAX).collect()
}

impl Holders {
    pub(super) fn count(&mut self, state: HolderState) {
        *match state {
            HolderState::Active => &mut self.active,
            HolderState::IdleInTransaction { .. } => &mut self.idle_in_transaction,
            HolderState::KeptIdle => &mut self.kept_idle,
        } += 1;
    }

    pub fn all(&self) -> u32 {
        self.active + self.idle_in_transaction + self.kept_idle
    }
}

/// As in "14 active, 6 idle in transaction (the longest for 47 s)", and the name of the application.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} active", self.active)?;
        if let Some(LongestIdle { idle_for, application_name }) = &self.longest_idle {
            let longest = if self.idle_in_transaction == 1 { "" } else { "the longest " };
            write!(f, ", {} idle in transaction ({longest}for ", self.idle_in_transaction)?;
            match idle_for.as_secs() {
                0 => write!(f, "{} ms", idle_for.as_millis())?,
                seconds => write!(f, "{seconds} s")?,
            }
            if !application_name.is_empty() {
                write!(f, ", application_name {application_name}")?;
            }
            f.write_str(")")?;
        }
        if self.kept_idle > 0 {
            write!(f, ", {} kept idle", self.kept_idle)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Holders, LongestIdle};
    use std::time::Duration;

    #[test]
    fn only_what_there_is_is_told() {
        let mut holders = Holders { active: 14, ..Holders::default() };
        assert_eq!(holders.to_string(), "14 active");
        let mut idle = |count: u32, millis, application_name: &str| {
            let idle_for = Duration::from_millis(millis);
            let application_name = application_name.to_owned();
            holders.idle_in_transaction = count;
            holders.longest_idle = Some(LongestIdle { idle_for, application_name });
            holders.to_string()
        };
        assert_eq!(idle(1, 470, ""), "14 active, 1 idle in transaction (for 470 ms)");
        let long =
            "14 active, 6 idle in transaction (the longest for 47 s, application_name billing)";
        assert_eq!(idle(6, 47_900, "billing"), long);
        holders.kept_idle = 2;
        assert_eq!(holders.to_string(), format!("{long}, 2 kept idle"));
    }
}
