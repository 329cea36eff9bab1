//! The pages of a [script](super::Script): what each answer makes of them.

use super::{Change, Entry, Pages, UnderWay};
use crate::session::inquiry::Inquiry;
use crate::session::settings::Settings;
use crate::session::text::Text;
use crate::sql::hidden::Hidden;
use crate::sql::statement::{Kind, identifier, plain_value, variable};
use std::sync::Arc;

/// What is remembered of one transaction.
const LOG_MAX: usize = 1_000;

/// Statements that only the server knows, and whose texts do something to the session.
const PREPARED_MAX: usize = 256;

/// Portals of one transaction that may do something to the session: drivers have one, or one for each cursor.
const PORTALS_MAX: usize = 256;

/// Names of settings that only the client knows. More, and nobody can ask for all of them.
const NAMES_MAX: usize = 64;

impl Pages {
    /// Something has run of which nobody knows what it was: perhaps any statement that was there.
    pub(super) fn is_unsure(&mut self) {
        self.asks.settings = true;
        for known in [&self.unnamed, &self.by_sql, &self.bound] {
            let known = Hidden { names: known.names.clone(), ..Hidden::default() };
            self.asks.add(known);
        }
        has_few_names(&mut self.asks);
    }

    pub(super) fn sent(&mut self, text: &Arc<Text>) {
        self.asks.add(text.hidden.clone());
        if text.executes {
            self.asks.add(self.by_sql.clone());
        }
        has_few_names(&mut self.asks);
        if text.prepares {
            self.prepared_by_sql(text);
        }
        self.has_set |= text.sets;
        self.is_loading |= text.loads;
        if text.is_followed() {
            self.under_way.push_back(UnderWay { text: Arc::clone(text), done: 0 });
        }
    }

    pub(super) fn prepared_by_sql(&mut self, text: &Text) {
        self.by_sql.add(text.hidden.clone());
        has_few_names(&mut self.by_sql);
    }

    pub(super) fn parse_sent(&mut self, name: &[u8], text: Option<Arc<Text>>) {
        if name.is_empty() {
            if let Some(text) = &text {
                self.unnamed.add(text.hidden.clone());
                has_few_names(&mut self.unnamed);
            }
        } else if let Some(before) = self.statements.get_mut(name) {
            // If it is there still, this `Parse` fails. Its tag will tell what it is.
            let mut hidden = before.hidden.clone();
            hidden.add(text.map(|text| text.hidden.clone()).unwrap_or_default());
            *before = Arc::new(Text { hidden, ..Text::default() });
            return;
        } else if text.is_some() && self.statements.len() >= PREPARED_MAX {
            // Nobody knows any more what an `Execute` runs.
            self.unnamed.add(text.map(|text| text.hidden.clone()).unwrap_or_default());
            self.asks.add(self.unnamed.clone());
            return;
        }
        if let Some(text) = text.as_ref().filter(|_| !name.is_empty()) {
            self.prepared_by_sql(text);
        }
        match text {
            Some(text) => drop(self.statements.insert(name.into(), text)),
            None => drop(self.statements.remove(name)),
        }
    }

    /// Whichever unnamed statement was there before may be there still.
    pub(super) fn parse_skipped(&mut self) {
        let text = Text { hidden: self.unnamed.clone(), ..Text::default() };
        self.statements.insert(Box::default(), Arc::new(text));
    }

    pub(super) fn bound(&mut self, portal: &[u8], text: Option<Arc<Text>>) {
        let Some(text) = text else {
            self.portals.remove(portal);
            return;
        };
        // Should it not be known what has run, it may have been this.
        self.bound.add(Hidden { names: text.hidden.names.clone(), ..Hidden::default() });
        has_few_names(&mut self.bound);
        if self.portals.len() < PORTALS_MAX || self.portals.contains_key(portal) {
            self.portals.insert(portal.into(), text);
        } else {
            // An `Execute` of it is not followed: what its tag does not tell, and whether it loads something,
            // is to be asked for anyway.
            self.asks.add(text.hidden.clone());
            self.is_loading |= text.loads;
            has_few_names(&mut self.asks);
        }
    }

    pub(super) fn completed(&mut self, tag: &[u8], is_followed: bool) {
        let mut step: Box<[u8]> = Box::default();
        if is_followed {
            let under_way = self.under_way.front_mut();
            let text = under_way.map(|under_way| {
                under_way.done += 1;
                (Arc::clone(&under_way.text), under_way.done - 1)
            });
            match text.as_ref().map(|(text, at)| (text.steps.get(*at), text.is_cut)) {
                Some((Some(found), _)) => step.clone_from(found),
                // Nobody has read what it was, so nobody knows its name.
                Some((None, true)) => self.asks.others |= tag == b"SET",
                _ => self.is_unsure(),
            }
        }
        let kind = Kind::of(&step);
        if !kind.fits(tag) {
            self.is_unsure();
            return;
        }
        match tag {
            b"COMMIT" | b"PREPARE TRANSACTION" => self.commit(),
            b"LOAD" => self.asks.loads = true,
            b"ROLLBACK" if !matches!(kind, Kind::RollbackTo(_)) => self.log.clear(),
            _ => self.did(kind),
        }
    }

    /// A statement of this kind was done.
    pub(super) fn did(&mut self, kind: Kind<'_>) {
        let entry = match kind {
            Kind::DiscardAll => Some(Entry::Change(Change::DiscardAll)),
            Kind::Listen(name) => identifier(name).map(|name| Entry::Change(Change::Listen(name))),
            Kind::Release(name) => return self.released(name, false),
            Kind::Reset(name) => variable(name).map(|name| {
                self.knows(&name);
                self.resets.push(name.clone());
                Entry::Change(Change::Reset(name))
            }),
            Kind::ResetAll => {
                self.resets_all = true;
                Some(Entry::Change(Change::ResetAll))
            }
            Kind::RollbackTo(name) => return self.released(name, true),
            Kind::Savepoint(name) => identifier(name).map(Entry::Savepoint),
            Kind::Set { name, value } => variable(name).and_then(|name| {
                self.knows(&name);
                let value = plain_value(value)?.to_owned();
                Some(Entry::Change(Change::Set { name, value }))
            }),
            Kind::Unlisten(name) => {
                identifier(name).map(|name| Entry::Change(Change::Unlisten(name)))
            }
            Kind::UnlistenAll => Some(Entry::Change(Change::UnlistenAll)),
            _ => return,
        };
        match entry {
            Some(entry) if self.log.len() < LOG_MAX => self.log.push(entry),
            _ => self.is_unsure(),
        }
    }

    /// A setting that Postgres does not list has to be asked for by its name, should it be asked for.
    pub(super) fn knows(&mut self, name: &str) {
        if name.contains('.') && !self.asks.names.iter().any(|known| &**known == name) {
            self.asks.names.push(name.into());
            has_few_names(&mut self.asks);
        }
    }

    /// A savepoint is no more; or what was done since is undone.
    pub(super) fn released(&mut self, name: &[u8], is_undone: bool) {
        let Some(name) = identifier(name) else { return self.is_unsure() };
        let is_it = |entry: &Entry| matches!(entry, Entry::Savepoint(found) if *found == name);
        let Some(at) = self.log.iter().rposition(is_it) else { return self.is_unsure() };
        if is_undone {
            self.log.truncate(at + 1);
        } else {
            let mut place = 0;
            self.log.retain(|entry| {
                place += 1;
                place <= at || matches!(entry, Entry::Change(_))
            });
        }
    }

    pub(super) fn take_resets(&mut self, initial: &Settings, base: &Settings) -> Settings {
        let mut known = initial.clone();
        known.fill_from(base);
        let mut settings = Settings::default();
        if std::mem::take(&mut self.resets_all) {
            settings.clone_from(&known);
            // A role is not reset with all others.
            settings.drop_identity();
        }
        for name in self.resets.drain(..) {
            settings.take_from(&known, &name);
        }
        settings
    }

    pub(super) fn commit(&mut self) {
        let changes = self.log.drain(..).filter_map(|entry| match entry {
            Entry::Change(change) => Some(change),
            Entry::Savepoint(_) => None,
        });
        self.committed.extend(changes);
    }

    pub(super) fn ready(&mut self, is_idle: bool) {
        if is_idle {
            if self.has_failed {
                self.log.clear();
            } else {
                self.commit();
            }
            self.portals.clear();
            self.resets.clear();
            self.resets_all = false;
            self.has_set = false;
        }
        self.has_failed = false;
    }

    pub(super) fn lease_ended(&mut self) {
        self.under_way.clear();
        self.portals.clear();
        self.log.clear();
        self.committed.clear();
        self.has_failed = false;
        self.has_set = false;
        self.is_loading = false;
        self.asks = Hidden::default();
        self.by_sql = Hidden::default();
        self.bound = Hidden::default();
        // Whatever else has a name was on the one server.
        self.statements.retain(|name, _| name.is_empty());
        self.inquiry = Inquiry::default();
    }
}

/// Beyond so many, nobody knows them.
fn has_few_names(hidden: &mut Hidden) {
    if hidden.names.len() > NAMES_MAX {
        hidden.names.truncate(NAMES_MAX);
        hidden.others = true;
    }
}
