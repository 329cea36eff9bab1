//! What the client's texts have done to its session: remembered for its next server, or asked for.

use super::Client;
use crate::config::{PoolMode, SessionState};
use crate::pool::Terms;
use crate::server::Server;
use crate::session::inquiry::{Found, SETTINGS_MAX};
use crate::session::ledger::{Origin, Request, Status};
use crate::session::script::Change;
use crate::session::settings::Settings;
use crate::session::text::Text;
use crate::session::traces::{DISCARD_SEQUENCES, Trace};
use crate::wire::encode;
use std::sync::Arc;

/// What goes to Postgres in place of a text that is refused: it fails by itself, with its place in the
/// pipeline and in the transaction.
pub(super) const REFUSAL: &str = "DO $pgweir$BEGIN RAISE EXCEPTION USING ERRCODE='0A000',\
    MESSAGE='temporary tables, cursors WITH HOLD, advisory locks of the session and LOAD are refused \
    here: another transaction may get another server',\
    HINT='Use ON COMMIT DROP or pg_advisory_xact_lock(), or set session_state or pool_mode for this \
    database.';END$pgweir$";

impl Client {
    /// Remembers what was committed, once the server is ready.
    #[inline]
    pub(super) fn take_changes(&mut self, status: Status) {
        if self.script.is_blank() {
            return;
        }
        if status == Status::Open
            && let Some(lease) = &self.lease
            && let Some(again) =
                self.script.take_resets(&self.about.initial, lease.conn.base.settings())
        {
            self.set_again(&again);
        }
        let changes = self.script.take_committed();
        if self.listening.is_some() && (status == Status::Idle || !changes.is_empty()) {
            self.listen_as_committed(&changes, status == Status::Idle);
        }
        if !changes.is_empty() {
            if gives_up_listening(&changes) {
                self.pins.listens_no_more();
            }
            self.remember(&changes);
        }
    }

    /// In its transaction the client has reset what it came with, or what every server begins with: for it,
    /// that is no change.
    #[cold]
    fn set_again(&mut self, settings: &Settings) {
        let change = Settings::default().change_to(settings, &Settings::default());
        if let Some(sql) = change {
            self.tell_again(|name| settings.value(name).is_some());
            // It may be rolled back alone.
            self.script.is_unsure();
            self.server().ledger.sent(Request::Query, Origin::Proxy);
            self.up.slip_in(|out| encode::query(out, &sql));
            self.preparing += 1;
        }
    }

    #[cold]
    fn remember(&mut self, changes: &[Change]) {
        if changes.iter().all(Change::is_of_listening) {
            return;
        }
        let resets_all = changes.iter().any(|change| matches!(change, Change::ResetAll));
        let sets = |change: &Change| matches!(change, Change::Set { .. } | Change::Reset(_));
        if resets_all && changes.iter().any(sets) {
            // What was reported came before, or behind: nobody knows.
            return self.script.is_unsure();
        }
        let mut settings = Settings::clone(&self.settings);
        let server = self.server();
        let base = server.base.settings().clone();
        let mut applied = Settings::clone(&server.applied);
        let mut resets = false;
        for (at, change) in changes.iter().enumerate() {
            match change {
                Change::DiscardAll => {
                    settings = Settings::clone(&self.about.initial);
                    applied = Settings::default();
                    for (name, _) in base.iter() {
                        applied.lacks(name);
                    }
                    resets = true;
                }
                Change::ResetAll => {
                    settings.reset_all();
                    settings.fill_from(&self.about.initial);
                    applied.reset_all();
                    applied.lacks_all(&base);
                    resets = true;
                }
                // What was reported last came of what is behind it.
                Change::Reset(name) if is_set_again(name, &changes[at + 1..]) => {}
                Change::Reset(name) => {
                    settings.take_from(&self.about.initial, name);
                    applied.remove(name);
                    if base.value(name).is_some() {
                        applied.lacks(name);
                    }
                    resets = true;
                }
                // The server has said so itself, behind all of them.
                Change::Set { name, .. } if self.pool.catalog.is_reported(name) => {
                    settings.take_from(&self.settings, name);
                    applied.take_from(&self.settings, name);
                }
                Change::Set { name, value } => {
                    settings.write(name, value);
                    applied.write(name, value);
                }
                Change::Listen(_) | Change::Unlisten(_) | Change::UnlistenAll => {}
            }
        }
        if settings.len() > SETTINGS_MAX {
            self.pins.keeps_settings();
        }
        self.now_has(settings, applied, resets);
        if resets {
            self.tell_again(|name| {
                changes.iter().enumerate().any(|(at, change)| {
                    let is_reset = match change {
                        Change::DiscardAll | Change::ResetAll => true,
                        Change::Reset(reset) => reset.eq_ignore_ascii_case(name),
                        _ => false,
                    };
                    is_reset && !is_set_again(name, &changes[at + 1..])
                })
            });
        }
    }

    /// The client has reset some of what it came with, or of what every server begins with. It was told what
    /// the login had, and is told now what it will find.
    #[cold]
    fn tell_again(&mut self, is_reset: impl Fn(&str) -> bool) {
        let Self { lease, about, pool, down, .. } = self;
        let server = &lease.as_ref().expect("a session is followed during a lease").conn;
        let known = [&*about.initial, server.base.settings()];
        let names = known.iter().flat_map(|settings| settings.iter().map(|(name, _)| name));
        let told = names
            .filter(|name| is_reset(name))
            .filter_map(|name| pool.catalog.told(&about.initial, name));
        for (name, value) in told {
            down.slip_in(|out| encode::parameter_status(out, &name, &value));
        }
    }

    /// The client has these settings, and its server those.
    fn now_has(&mut self, settings: Settings, applied: Settings, resets: bool) {
        let settings = Arc::new(settings);
        let applied = if *settings == applied { Arc::clone(&settings) } else { Arc::new(applied) };
        self.here.set_settings(&settings);
        self.settings = settings;
        let server = self.server();
        server.traces.add_if(resets && server.base.is_hidden(), Trace::Setting);
        server.has(applied);
    }

    /// Whether texts are refused for what they would leave on their server.
    #[inline]
    pub(super) fn refuses(terms: &Terms) -> bool {
        terms.sessions.state == SessionState::Refuse && terms.pool_mode != PoolMode::Session
    }

    /// Whether this one is.
    #[inline]
    pub(super) fn is_refused(terms: &Terms, text: Option<&Text>) -> bool {
        text.is_some_and(Text::keeps) && Self::refuses(terms)
    }

    /// A text asks what sequences gave this session last. Whether it may go on; or something must be
    /// answered first.
    ///
    /// In an open transaction it asks after what it was given there. From one transaction to the next,
    /// it has to keep its server: what gives something is in no text. And what others were given there
    /// it must not see.
    #[cold]
    pub(super) fn may_read_sequences(&mut self) -> bool {
        let is_kept = self.pin().is_some();
        let (state, mode) = (self.terms.sessions.state, self.terms.pool_mode);
        let Self { lease, pins, up, here, .. } = self;
        let server = &mut lease.as_mut().expect("a session is followed during a lease").conn;
        let is_open = server.ledger.status() == Status::Open;
        if is_open || state == SessionState::Ignore || mode == PoolMode::Session {
            return true;
        }
        pins.reads_sequences();
        let is_first = !is_kept && server.ledger.is_empty() && !server.ledger.is_open();
        let is_others = server.last_client.take().is_some_and(|last| last != here.id);
        if is_first && is_others {
            server.ledger.sent(Request::Query, Origin::Proxy);
            up.slip_in(|out| encode::query(out, DISCARD_SEQUENCES));
            self.preparing += 1;
        }
        !(is_first && is_others)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.lease.as_mut().expect("a session is followed during a lease").conn
    }

    /// Asks the server what the client has left there, if its texts did not tell. Nothing of the client's
    /// goes before it has answered.
    pub(super) fn inquire(&mut self) -> bool {
        if self.terms.sessions.state == SessionState::Ignore {
            self.script.ignores_what_stays();
        }
        if self.script.asks().is_none() {
            return false;
        }
        let Self { script, settings, about, lease, up, .. } = self;
        let server = &mut lease.as_mut().expect("a session is followed during a lease").conn;
        let known = [&**settings, &about.initial, &server.applied, server.base.settings()];
        let names = known.iter().flat_map(|settings| settings.iter().map(|(name, _)| name));
        let sql = script.inquire(names.filter(|name| name.contains('.')));
        server.ledger.sent(Request::Query, Origin::Proxy);
        up.slip_in(|out| encode::query(out, &sql));
        self.preparing += 1;
        true
    }

    /// The client keeps a server that has not its settings any more: a `RESET` went to what the server had
    /// at first, and not to what the client came with.
    pub(super) fn restore(&mut self) {
        let settings = Arc::clone(&self.settings);
        let server = self.server();
        if let Some(sql) = server.take_on(&settings) {
            server.ledger.sent(Request::Query, Origin::Proxy);
            self.up.slip_in(|out| encode::query(out, &sql));
            self.preparing += 1;
        }
    }

    /// The server has answered.
    pub(super) fn answered(&mut self) {
        let Some(Found { settings, kept, asked }) = self.script.answered() else { return };
        self.pins.found(kept, &asked);
        self.about.listens_itself |= kept.listens;
        if let Some(shown) = settings {
            let (mut settings, mut applied) = shown.split_from(self.server().base.settings());
            let own = self.pool.catalog.base_value("session_authorization");
            if settings.value("session_authorization") == own.as_deref() {
                settings.remove("session_authorization");
                applied.remove("session_authorization");
            }
            settings.fill_from(&self.about.initial);
            self.now_has(settings, applied, true);
        }
    }
}

/// Whether nothing is listened to after these.
fn gives_up_listening(changes: &[Change]) -> bool {
    let last = changes.iter().rfind(|change| change.is_of_listening());
    matches!(last, Some(Change::UnlistenAll))
}

/// Whether one of these sets it.
fn is_set_again(name: &str, changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|change| matches!(change, Change::Set { name: other, .. } if other.eq_ignore_ascii_case(name)))
}
