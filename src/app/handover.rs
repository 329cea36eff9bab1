//! Handing over to the process that takes over, without a client noticing.
//!
//! [`crate::control::takeover`] has the messages and their order, [`super::takeover`] the other side.

use super::accept::Accepting;
use super::others::{Others, send};
use super::takeover::{ANSWER_MAX, tell_of_rest};
use super::worker::{Seat, Shared};
use super::{TICK, settle};
use crate::client::login::{Frontend, Heritage};
use crate::control::shutdown::{How, Patience, see_out};
use crate::control::stops::{Stops, stopped_otherwise};
use crate::control::suspend::Other;
use crate::control::takeover::{Bequest, CancelRequest, FORM, Offer, ToNew, ToOld, listed};
use crate::net::passing::{Passage, Passed};
use crate::net::stream::Stream;
use crate::net::worker::{Worker, within};
use crate::pool::welcome::APPLICATION_NAME;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;

/// How long the new process may take from the offer until it could accept.
const READY_MAX: Duration = Duration::from_mins(1);

/// The process that runs, when another takes over.
pub(super) struct Handover<'a> {
    pub(super) main: &'a Rc<Worker>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) accepting: &'a watch::Sender<Accepting>,
    pub(super) is_activated: bool,
    /// Where clients go that the other one did not get.
    pub(super) seats: &'a Arc<[Seat]>,
}

/// How a handover ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Handed {
    /// Nothing is left here.
    Over,
    /// The other one failed: this one goes on.
    Back,
}

impl Handover<'_> {
    /// Offers everything, and waits until the other one is ready to serve: then there is a pipe to say that
    /// it is not to be after all. `None`: it is not.
    pub(super) async fn offer(
        &self,
        passage: &Passage,
        sockets: &[OwnedFd],
    ) -> io::Result<Option<PipeWriter>> {
        let hello = within(Some(ANSWER_MAX), passage.receive::<ToOld>()).await;
        let Ok(Some(Passed { head: ToOld::Hello { form, version, pid }, .. })) =
            hello.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if form != FORM {
            let why = format!("it speaks form {FORM}, this is form {form} ({version})");
            passage.send(&ToNew::Refused { why }, &[], &[]).await?;
            return Ok(None);
        }
        tracing::info!(pid, version, "another process wants to take over");
        let frontend = &self.shared.frontend;
        let Heritage { salt_key, next_client } = frontend.heritage();
        let is_activated = self.is_activated;
        let client_keys = frontend.registry.learned_keys();
        let stops = Stops::of(&frontend.registry, &frontend.roster);
        let before = frontend.registry.loaded();
        let set = before.overlay.listed();
        let offer = Offer { is_activated, next_client, salt_key, client_keys, stops, set };
        let (told, fate) = io::pipe()?;
        let files: Vec<_> = sockets.iter().map(AsFd::as_fd).chain([told.as_fd()]).collect();
        send(passage, &ToNew::Offer(offer), &[], &files).await?;
        let ready = within(Some(READY_MAX), passage.receive::<ToOld>()).await;
        if !matches!(ready, Ok(Ok(Some(Passed { head: ToOld::Ready, .. })))) {
            return Ok(None);
        }
        let now = frontend.registry.loaded();
        if (now.hash, &now.overlay) != (before.hash, &before.overlay) {
            let why = "its configuration has changed meanwhile: try again".to_owned();
            passage.send(&ToNew::Refused { why }, &[], &[]).await?;
            return Ok(None);
        }
        Ok(Some(fate))
    }

    /// Has everybody move, and stays until the last one has gone.
    pub(super) async fn hand_over(&self, passage: Passage, fate: PipeWriter) -> Handed {
        let Self { main, shared, accepting, .. } = *self;
        let roster = &shared.frontend.roster;
        let registry = &shared.frontend.registry;
        tracing::info!(clients = registry.clients(), "handing over");
        accepting.send_replace(Accepting::Paused);
        roster.give_way();
        let mut others = Others::new(main.wake(), passage, fate);
        let (say, mut news) = unbounded_channel();
        tell_of_rest(main, shared, (Other::Next, say.clone(), ToNew::Rests));
        let mut stops = Stops::of(registry, roster);
        if send(&others.passage, &ToNew::Go(stops.clone()), &[], &[]).await.is_err() {
            return self.take_back(others).await;
        }
        let moves_until = main.wake() + registry.config().process.takeover_timeout;
        let mut look = tokio::time::interval(TICK / 10);
        while self.is_anybody_left() || others.are_on_their_way() {
            tokio::select! {
                biased;
                request = others.requests.recv() => match request {
                    Some(ToOld::Here) => self.move_all(&mut others),
                    Some(ToOld::Taken) => others.is_taken(),
                    Some(ToOld::Cancel(request)) => self.cancel(request),
                    Some(ToOld::Stopped(told)) => {
                        told.follow(main, registry, roster);
                        stops = told;
                    }
                    Some(ToOld::End { at_once }) => {
                        let how = if at_once { How::Now } else { How::WaitForServers };
                        self.see_out(&mut others, how).await;
                        break;
                    }
                    Some(ToOld::Rests(number)) => roster.rests_elsewhere(Other::Next, number),
                    Some(ToOld::Hello { .. } | ToOld::Ready) | None => {
                        return self.take_back(others).await;
                    }
                },
                Some(parcel) = others.parcels.recv() => {
                    if others.send(main.wake(), parcel).await.is_err() {
                        return self.take_back(others).await;
                    }
                }
                is = stopped_otherwise(&stops, registry, roster) => {
                    let was = std::mem::replace(&mut stops, is.clone());
                    // Said below, in order with the rest.
                    drop(say.send(ToNew::Stopped { was, is }));
                }
                Some(message) = news.recv() => {
                    if send(&others.passage, &message, &[], &[]).await.is_err() {
                        return self.take_back(others).await;
                    }
                }
                _ = look.tick() => {
                    if !self.look(&mut others).await {
                        return self.take_back(others).await;
                    }
                    if main.now() >= moves_until {
                        self.see_out(&mut others, How::WaitForServers).await;
                        break;
                    }
                }
                how = shared.shutdown.asked(None) => {
                    self.see_out(&mut others, how).await;
                    break;
                }
            }
        }
        self.finish(others).await;
        Handed::Over
    }

    /// Sees to what is to be done now and then. `false`: the other one is late, or does not take what it is given.
    async fn look(&self, others: &mut Others) -> bool {
        let now = self.main.wake();
        // The clients have gone there, and so do the servers.
        if others.are_late(now) || !self.bequeath(others).await {
            return false;
        }
        if others.way.is_none() && others.tell.is_due(now) {
            self.tell_who_is_left();
        }
        true
    }

    /// What keeps this process, for whoever wonders why it does not end.
    fn tell_who_is_left(&self) {
        let clients = self.shared.frontend.roster.clients();
        let Some(first) = clients.iter().min_by_key(|client| client.requested_at()) else { return };
        let (settings, pool) = (first.settings(), first.pool());
        let why = if first.replication().is_some() {
            "it replicates"
        } else if first.keeps_idle() {
            "it keeps its server"
        } else if first.idle_in_transaction_since().is_some() {
            "it is idle in a transaction"
        } else {
            "it is busy"
        };
        tracing::info!(
            left = clients.len(),
            client = first.id.0,
            database = pool.database,
            user = first.user,
            application_name = settings.value(APPLICATION_NAME).unwrap_or_default(),
            why,
            "waiting for clients that cannot move so far, such as this one"
        );
    }

    /// Says that nobody is left.
    async fn finish(&self, mut others: Others) {
        // Who moved when the last ones were told to leave.
        while let Ok(parcel) = others.parcels.try_recv() {
            if others.send(self.main.wake(), parcel).await.is_err() {
                break;
            }
        }
        // What the last ones had.
        settle(self.main, &self.shared.frontend).await;
        self.bequeath(&others).await;
        // Fails when the other one has gone by now: it needs no word then.
        drop(send(&others.passage, &ToNew::Done, &[], &[]).await);
    }

    /// Does what a cancel request asks for that came to the other one.
    fn cancel(&self, CancelRequest { pid, secret }: CancelRequest) {
        let (main, frontend) = (Rc::clone(self.main), Arc::clone(&self.shared.frontend));
        tokio::task::spawn_local(async move {
            frontend.cancel(&main, pid, &secret).await;
        });
    }

    /// Whether there are clients here, or somebody may become one: those who log in, and those who are
    /// still in the process before this one. Sessions of the console do not count.
    fn is_anybody_left(&self) -> bool {
        let frontend = &self.shared.frontend;
        let registry = &frontend.registry;
        let connections: u32 = registry.workers().map(|worker| worker.connections()).sum();
        registry.clients() > 0 || connections > registry.consoles() || frontend.roster.has_before()
    }

    /// The other one waits for them: whoever has no server goes there now.
    fn move_all(&self, others: &mut Others) {
        if let Some(way) = others.way.take() {
            // First: those who wait leave the queue, and have not lost patience.
            self.set_draining(true);
            self.shared.frontend.roster.move_all(way);
        }
    }

    /// Gives what nobody uses here to the other process. `false`: it does not take it.
    async fn bequeath(&self, others: &Others) -> bool {
        if others.way.is_some() {
            return true;
        }
        for host in self.shared.frontend.registry.hosts() {
            for (pool, mut server) in host.take_idle_servers(self.main) {
                let now = self.main.now();
                let bequest = Bequest {
                    host: host.name.clone(),
                    lineage: pool.setup().lineage(),
                    database: pool.database.clone(),
                    is_unix: matches!(server.stream(), Stream::Unix(_)),
                    pid: server.key.pid,
                    secret: server.key.secret.to_vec(),
                    applied: listed(&server.applied),
                    has_statements: !server.prepared.is_empty(),
                    params: pool.catalog.base().unwrap_or_default(),
                    age: now.saturating_duration_since(server.connected_at),
                };
                let Ok(socket) = server.stream().duplicate() else { continue };
                let bequest = ToNew::Server(bequest);
                if let Err(error) = send(&others.passage, &bequest, &[], &[socket.as_fd()]).await {
                    tracing::warn!("a server could not be handed over: {error}");
                    return false;
                }
            }
        }
        true
    }

    /// Sees out who is left, here and before. Those who are on their way get there: they are told there.
    async fn see_out(&self, others: &mut Others, how: How) {
        let Frontend { registry, roster, .. } = &*self.shared.frontend;
        let shutdown = &self.shared.shutdown;
        roster.end_before(how == How::Now);
        let patience = Patience::of(&registry.config().process);
        let clock = || self.main.wake();
        let mut ending = pin!(see_out(roster, shutdown, how, patience, clock));
        loop {
            tokio::select! {
                biased;
                _ = &mut ending => return,
                Some(request) = others.requests.recv() => match request {
                    ToOld::Taken => others.is_taken(),
                    ToOld::Cancel(request) => self.cancel(request),
                    ToOld::End { at_once: true } => shutdown.ask(How::Now),
                    _ => {}
                },
                Some(parcel) = others.parcels.recv() => {
                    // Fails when the other one has gone, and with it whoever was to be told there.
                    drop(others.send(self.main.wake(), parcel).await);
                }
            }
        }
    }

    /// Goes on, with those whom the other one has not taken.
    async fn take_back(&self, others: Others) -> Handed {
        let returning = others.give_up().await;
        tracing::error!(
            clients = returning.unsent.len(),
            "the process that took over has gone, or takes nobody: this one goes on"
        );
        self.set_draining(false);
        self.shared.frontend.roster.stay_all();
        self.accepting.send_replace(Accepting::Yes);
        // Some may still be obeying: their parcels come until there is another way to go.
        tokio::task::spawn_local(returning.bring_back(Arc::clone(self.seats)));
        Handed::Back
    }

    fn set_draining(&self, is_draining: bool) {
        let hosts = self.shared.frontend.registry.hosts();
        hosts.for_each(|host| host.set_draining(self.main, is_draining));
    }
}
