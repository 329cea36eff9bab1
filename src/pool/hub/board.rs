//! Who listens to what, and what the listener connection must be told: a value.
//!
//! ```text
//!   subscribe, unsubscribe, ask                  next_batch            is_done
//!   -----------------------------> changed, asked ------------> under way ------------> told
//! ```
//!
//! One batch is under way at a time. Whoever [asks](Board::ask) is told when a batch that began after that
//! is done: by then the connection listens to whatever was subscribed to before, and every notification
//! that was sent before has been delivered.
//!
//! # Invariants
//!
//! - A subscriber gets each notification of its channels once, in the order of the connection's.
//! - Everybody who asks is told, and once.
//! - Whoever may have missed something is told when its channel is listened to again, not before: who looks
//!   then for itself what has happened misses nothing.

use crate::session::settings::quoted_name;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

/// Channels that one batch changes at most. Each is a statement.
const BATCH_MAX: usize = 500;

/// The name of a channel, as Postgres has it: cut, and in lower case unless it was quoted.
pub type Channel = Arc<str>;

/// Somebody who gets notifications.
pub(super) trait Subscriber: Clone {
    /// No other's.
    fn key(&self) -> usize;
}

type Subscribers<S> = BTreeMap<usize, S>;

/// See the module. `S` gets notifications; `A` is told answers.
#[derive(Debug)]
pub(super) struct Board<S, A> {
    channels: HashMap<Channel, Entry<S>>,
    /// Where `is_wanted` and `is_heard` may differ.
    changed: BTreeSet<Channel>,
    asked: Vec<A>,
    /// Who may have missed something, and is to be told.
    bereft: Subscribers<S>,
    under_way: Option<UnderWay<S, A>>,
}

#[derive(Debug)]
struct Entry<S> {
    /// Shared with whoever delivers at the moment.
    subscribers: Arc<Subscribers<S>>,
    /// The connection listens to it.
    is_heard: bool,
}

#[derive(Debug)]
struct UnderWay<S, A> {
    /// Each channel, and whether it is heard afterwards.
    changes: Vec<(Channel, bool)>,
    asked: Vec<A>,
    bereft: Subscribers<S>,
}

/// Who is to be told when a batch is done.
#[derive(Debug)]
pub(super) struct Done<S, A> {
    /// Who had asked.
    pub(super) asked: Vec<A>,
    /// Who may have missed something before.
    pub(super) bereft: Vec<S>,
}

impl<S, A> Default for Board<S, A> {
    fn default() -> Self {
        Self {
            channels: HashMap::new(),
            changed: BTreeSet::new(),
            asked: Vec::new(),
            bereft: BTreeMap::new(),
            under_way: None,
        }
    }
}

impl<S: Subscriber, A> Board<S, A> {
    /// Somebody wants what is sent to a channel. Twice is once.
    pub(super) fn subscribe(&mut self, channel: &Channel, subscriber: &S) {
        let entry = self
            .channels
            .entry(Arc::clone(channel))
            .or_insert_with(|| Entry { subscribers: Arc::default(), is_heard: false });
        if entry.subscribers.contains_key(&subscriber.key()) {
            return;
        }
        Arc::make_mut(&mut entry.subscribers).insert(subscriber.key(), subscriber.clone());
        if entry.subscribers.len() == 1 {
            self.changed.insert(Arc::clone(channel));
        }
    }

    /// Somebody may have missed something. It is told with who asks next.
    pub(super) fn bereave(&mut self, subscriber: &S) {
        self.bereft.insert(subscriber.key(), subscriber.clone());
    }

    pub(super) fn unsubscribe(&mut self, channel: &Channel, subscriber: &S) {
        let Some(entry) = self.channels.get_mut(channel) else { return };
        if entry.subscribers.contains_key(&subscriber.key()) {
            Arc::make_mut(&mut entry.subscribers).remove(&subscriber.key());
        }
        if entry.subscribers.is_empty() {
            self.changed.insert(Arc::clone(channel));
        }
    }

    /// Somebody wants to be told when all that was done so far has come to pass.
    pub(super) fn ask(&mut self, who: A) {
        self.asked.push(who);
    }

    /// Whether nobody wants anything, and nobody waits for anything.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
            && self.under_way.is_none()
            && self.channels.values().all(|entry| entry.subscribers.is_empty())
    }

    /// Who gets what is sent to a channel.
    pub(super) fn subscribers(&self, channel: &str) -> Arc<Subscribers<S>> {
        let entry = self.channels.get(channel);
        entry.map_or_else(Arc::default, |entry| Arc::clone(&entry.subscribers))
    }

    /// What the connection is to run next. `None`: nothing, or the last batch is not done.
    pub(super) fn next_batch(&mut self) -> Option<String> {
        if self.under_way.is_some() {
            return None;
        }
        let (mut sql, mut changes) = (String::new(), Vec::new());
        while changes.len() < BATCH_MAX
            && let Some(channel) = self.changed.pop_first()
        {
            let Some(entry) = self.channels.get(&channel) else { continue };
            let is_wanted = !entry.subscribers.is_empty();
            if is_wanted == entry.is_heard {
                self.forget_if_unused(&channel);
                continue;
            }
            let word = if is_wanted { "LISTEN" } else { "UNLISTEN" };
            write!(sql, "{word} {};", quoted_name(&channel)).expect("a String takes everything");
            changes.push((channel, is_wanted));
        }
        // Who asked waits until all was changed.
        let (mut asked, mut bereft) = (Vec::new(), BTreeMap::new());
        if self.changed.is_empty() {
            std::mem::swap(&mut asked, &mut self.asked);
            std::mem::swap(&mut bereft, &mut self.bereft);
        }
        if changes.is_empty() && asked.is_empty() && bereft.is_empty() {
            return None;
        }
        self.under_way = Some(UnderWay { changes, asked, bereft });
        Some(sql)
    }

    /// The batch was run.
    pub(super) fn is_done(&mut self) -> Done<S, A> {
        let Some(UnderWay { changes, asked, bereft }) = self.under_way.take() else {
            return Done { asked: Vec::new(), bereft: Vec::new() };
        };
        for (channel, is_heard) in changes {
            let Some(entry) = self.channels.get_mut(&channel) else { continue };
            entry.is_heard = is_heard;
            if is_heard == entry.subscribers.is_empty() {
                // It is wanted, or not any more, since the batch began.
                self.changed.insert(channel);
            } else {
                self.forget_if_unused(&channel);
            }
        }
        Done { asked, bereft: bereft.into_values().collect() }
    }

    /// The connection is gone, or could not be had. All that is wanted is to be listened to again. Answers
    /// who had asked, and gets no other answer.
    pub(super) fn is_lost(&mut self) -> Vec<A> {
        let mut asked = Vec::new();
        if let Some(under_way) = self.under_way.take() {
            asked = under_way.asked;
            self.bereft.extend(under_way.bereft);
        }
        asked.append(&mut self.asked);
        self.channels.retain(|_, entry| !entry.subscribers.is_empty());
        for entry in self.channels.values_mut() {
            if std::mem::take(&mut entry.is_heard) {
                let subscribers = entry.subscribers.iter();
                self.bereft.extend(subscribers.map(|(key, it)| (*key, it.clone())));
            }
        }
        self.changed = self.channels.keys().cloned().collect();
        asked
    }

    fn forget_if_unused(&mut self, channel: &Channel) {
        let is_unused = |entry: &Entry<S>| entry.subscribers.is_empty() && !entry.is_heard;
        if self.channels.get(channel).is_some_and(is_unused) {
            self.channels.remove(channel);
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
