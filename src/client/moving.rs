//! A client that moves from one process to the next, while it has no server.

use super::Client;
use super::login::{Admitted, Arrival, Frontend, Place};
use super::orders::Obeyed;
use crate::config::classes::Who;
use crate::control::roster::{Key, Presence};
use crate::control::takeover::{Moved, Parcel, listed, settings_of};
use crate::end::{End, EndReason, Phase};
use crate::net::stream::{Peer, Stream};
use crate::net::worker::Worker;
use crate::pool::welcome::APPLICATION_NAME;
use crate::session::settings::Settings;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of prepared statements that go with a client. One that has more stays until it leaves.
const STATEMENTS_MAX: usize = 2 << 20;

impl Client {
    /// Ends here if all there is of it can be put into a parcel.
    pub(super) fn move_if_movable(&self) -> Result<Obeyed, End> {
        let is_movable = self.lease.is_none()
            && self.aborted.is_none()
            && self.begun.is_none()
            && !self.has_news()
            && !self.is_leaving
            && !self.up.is_pending()
            && !self.up.is_mid_message()
            && !self.down.is_pending()
            && self.down.unseen().is_empty()
            && self.packed_statements().is_some();
        if is_movable { Err(EndReason::Moved.into()) } else { Ok(Obeyed::GoesOn) }
    }

    /// What it has prepared. `None`: more than can go with it.
    fn packed_statements(&self) -> Option<Vec<u8>> {
        self.statements.as_ref().map_or_else(|| Some(vec![]), |it| it.packed(STATEMENTS_MAX))
    }

    /// All there is of it. Its socket is open twice until `self` is gone.
    fn packed(&self) -> io::Result<Parcel> {
        let class = self
            .pool
            .host
            .scheduler
            .with(|scheduler| scheduler.class_name(self.member.class).to_owned());
        let prepared = self.packed_statements().unwrap_or_default();
        let moved = Moved {
            id: self.here.id.0,
            secret: self.here.secret(),
            database: self.pool.database.clone(),
            user: self.here.user.to_string(),
            class,
            address: match self.here.peer {
                Peer::Tcp(address) => Some(address),
                Peer::Unix => None,
            },
            settings: listed(&self.settings),
            initial: listed(&self.about.initial),
            age: self.worker.now().saturating_duration_since(self.here.connected_at),
            is_skipping: self.is_skipping,
            to_swallow: self.to_swallow,
            channels: self.channels(),
            prepared: prepared.len(),
        };
        let sent = [self.up.unseen(), &prepared].concat();
        Ok(Parcel { moved, sent, socket: self.stream.duplicate()? })
    }

    /// Hands itself over to the process that takes over.
    pub(super) fn move_on(self) {
        let sent = self.packed().map(|parcel| self.here.hand_over(parcel));
        if let Err(error) = sent {
            tracing::warn!(client = self.here.id.0, "cannot move: {error}");
        }
    }
}

impl Frontend {
    /// Goes on with a client that another process has served so far. `settings` are its own, shared
    /// with those that have the same.
    pub async fn resume(
        &self,
        worker: &Rc<Worker>,
        stream: Stream,
        (moved, mut sent): (&Moved, Vec<u8>),
        settings: Arc<Settings>,
    ) -> Arrival {
        let prepared = sent.split_off(sent.len().saturating_sub(moved.prepared));
        match self.admitted(worker, &stream, (moved, sent), settings) {
            Ok(admitted) => {
                let mut client = Self::client(worker, stream, admitted);
                client.is_skipping = moved.is_skipping;
                client.to_swallow = moved.to_swallow;
                if !moved.channels.is_empty() {
                    let channels = moved.channels.iter().map(|channel| channel.as_str().into());
                    client.about.inherited = Some(channels.collect());
                }
                if moved.initial != moved.settings {
                    client.about.initial = Arc::new(settings_of(&moved.initial));
                }
                if !prepared.is_empty() {
                    client.restore_statements(&prepared);
                }
                Arrival::Client(client)
            }
            // The configuration has no place for it any more.
            Err(reason) => {
                let label = reason.account().label;
                tracing::warn!(
                    user = moved.user,
                    reason = label,
                    "a client could not be taken over"
                );
                let is_gone =
                    matches!(reason, EndReason::DatabaseUnknown | EndReason::AccountRemoved);
                let told = if is_gone { EndReason::AccountRemoved } else { EndReason::Shutdown };
                let fields = End::from(told).fields(Phase::Closing);
                Self::tell(worker, stream, &fields).await;
                Arrival::Over
            }
        }
    }

    fn admitted(
        &self,
        worker: &Rc<Worker>,
        stream: &Stream,
        (moved, early): (&Moved, Vec<u8>),
        settings: Arc<Settings>,
    ) -> Result<Admitted, EndReason> {
        let (now, registry) = (worker.wake(), &self.registry);
        // It was let in before: whoever came to the new process first does not push it out.
        let pass = registry.count();
        if !registry.knows_user(&moved.user) {
            return Err(EndReason::AccountRemoved);
        }
        let account = registry.account(now, &moved.database, &moved.user);
        let account = account.map_err(|end| end.reason)?;
        let who = Who {
            database: &moved.database,
            user: &moved.user,
            application_name: settings.value(APPLICATION_NAME).unwrap_or_default(),
            address: moved.peer().ip(),
        };
        let (class, terms) = registry.class_again(now, &account, &who, &moved.class);
        let [by_database, by_user, in_pool] = account.count(&terms);
        let membership = terms.pool.join_again(now, class, who.address);
        let about = (moved.client(), moved.user.as_str());
        let ends = (moved.peer(), stream.near());
        let place = (&terms.pool, membership.member.class);
        let since = now.checked_sub(moved.age).unwrap_or(now);
        let presence = Presence::new(about, ends, place, &settings, since);
        let key = Key::of(&moved.secret).ok_or(EndReason::ProtocolViolation)?;
        let here = self.roster.enter(presence, key);
        let passes = [pass, by_database, by_user];
        let place = Place { account, terms, membership, in_pool };
        Ok(Admitted { here, place, settings, passes, early })
    }
}
