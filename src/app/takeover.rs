//! Taking over from a process that runs, and handing over to the next: without a client noticing.
//!
//! [`crate::control::takeover`] has the messages and their order.

use super::accept::Accepting;
use super::worker::{Seat, Shared};
use super::{TICK, settle};
use crate::client::login::Heritage;
use crate::config::Config;
use crate::control::shutdown::{How, Patience, see_out};
use crate::control::takeover::{
    Bequest, CancelRequest, FORM, Offer, Parcel, ToNew, ToOld, listed, settings_of,
};
use crate::net::listen::Inherited;
use crate::net::passing::{Passage, Passed};
use crate::net::stream::{Detached, Stream};
use crate::net::worker::{Worker, read_clock, within};
use crate::pool::heirlooms::Heirloom;
use crate::pool::registry::Registry;
use crate::server::{BackendKey, Place};
use crate::session::settings::Settings;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

/// How long either side waits for an answer that takes no work.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long the new process may take from the offer until it accepts.
const READY_MAX: Duration = Duration::from_mins(1);

/// How long the new process may take to read what it is sent. It has nothing else to do.
const READ_MAX: Duration = Duration::from_secs(10);

/// How long servers that nobody waits for may take to find their pools. There may be none for them.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Why a process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error("cannot take over at {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the process that runs does not hand over: {0}")]
    Refused(String),
    #[error("cannot take over: `takeover_socket` is turned off")]
    Off,
}

/// The process that runs, seen by the one that takes over.
pub(super) struct Predecessor {
    passage: Rc<Passage>,
    pub(super) offer: Offer,
}

impl Predecessor {
    /// Asks the process that runs to hand over. `None`: there is none.
    pub(super) async fn ask(config: &Config) -> Result<Option<(Self, Inherited)>, TakeoverError> {
        let path = config.process.takeover_socket.as_ref().ok_or(TakeoverError::Off)?;
        let failed = |error| TakeoverError::Io { path: path.clone(), error };
        let socket = match UnixStream::connect(path).await {
            Ok(socket) => socket,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let passage = Passage::new(socket);
        check_peer(&passage).map_err(failed)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = ToOld::Hello { form: FORM, version, pid: std::process::id() };
        passage.send(&hello, &[], &[]).await.map_err(failed)?;
        let answer = within(Some(ANSWER_MAX), passage.receive::<ToNew>()).await;
        let answer = answer.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        match answer.map_err(failed)? {
            Some(Passed { head: ToNew::Offer(offer), files, .. }) => {
                let passage = Rc::new(passage);
                let mut inherited = Inherited::new(files);
                inherited.is_activated = offer.is_activated;
                Ok(Some((Self { passage, offer }, inherited)))
            }
            Some(Passed { head: ToNew::Refused { why }, .. }) => Err(TakeoverError::Refused(why)),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Says that the clients may come, and takes them in until the last one has.
    pub(super) async fn take_over(self, main: Rc<Worker>, shared: Arc<Shared>, seats: Arc<[Seat]>) {
        let (sender, mut to_say) = unbounded_channel();
        let roster = &shared.frontend.roster;
        roster.ask_before(Some(sender));
        let registry = &shared.frontend.registry;
        registry.hosts().for_each(|host| host.heirlooms.open());
        let passage = Rc::clone(&self.passage);
        let asking = tokio::task::spawn_local(async move {
            let mut sent = passage.send(&ToOld::Ready, &[], &[]).await;
            while let (Ok(()), Some(message)) = (&sent, to_say.recv().await) {
                sent = passage.send(&message, &[], &[]).await;
            }
        });
        let mut known = HashSet::new();
        let mut moved = 0_usize;
        loop {
            match self.passage.receive::<ToNew>().await {
                Ok(Some(Passed { head: ToNew::Client(client), body, files })) => {
                    let settings = shared_settings(&mut known, client.settings());
                    let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else {
                        // The kernel drops what there are no descriptors for.
                        tracing::warn!(client = client.id, "a client came without its socket");
                        continue;
                    };
                    let parcel = Parcel { moved: client, sent: body, socket };
                    moved += usize::from(settle_in(&seats, parcel, settings));
                }
                Ok(Some(Passed { head: ToNew::Server(bequest), files, .. })) => {
                    let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else { continue };
                    inherit(&main, registry, bequest, socket);
                }
                Ok(Some(Passed { head: ToNew::Done, .. })) => break,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    tracing::warn!("the process before has gone in the middle of handing over");
                    break;
                }
            }
        }
        roster.ask_before(None);
        asking.abort();
        let settled_by = main.wake() + SETTLE_MAX;
        loop {
            let are_left: Vec<_> = registry.hosts().map(|host| host.take_in(&main)).collect();
            if !are_left.contains(&true) || main.wake() >= settled_by {
                break;
            }
            tokio::time::sleep(TICK / 10).await;
        }
        registry.hosts().for_each(|host| host.heirlooms.close());
        registry.halts.look_again();
        tracing::info!(clients = moved, "took over");
    }
}

/// The same settings are kept once.
fn shared_settings(known: &mut HashSet<Arc<Settings>>, settings: Settings) -> Arc<Settings> {
    if let Some(same) = known.get(&settings) {
        return Arc::clone(same);
    }
    let settings = Arc::new(settings);
    known.insert(Arc::clone(&settings));
    settings
}

fn settle_in(seats: &[Seat], parcel: Parcel, settings: Arc<Settings>) -> bool {
    let Parcel { moved, sent, socket } = parcel;
    match (
        Detached::inherited(socket, moved.address.is_none()),
        seats.iter().min_by_key(|seat| seat.load()),
    ) {
        (Ok(socket), Some(seat)) => {
            seat.take_moved(socket, moved, sent, settings);
            true
        }
        (socket, _) => {
            tracing::warn!("a client could not be taken over: {:?}", socket.err());
            false
        }
    }
}

/// A server that has come: some pool will want it, or nobody.
fn inherit(main: &Rc<Worker>, registry: &Registry, bequest: Bequest, socket: OwnedFd) {
    let Some(host) = registry.hosts().find(|host| host.name == bequest.host) else { return };
    let Bequest { lineage, is_unix, pid, secret, applied, params, age, .. } = bequest;
    let Ok(socket) = Detached::inherited(socket, is_unix) else { return };
    let now = read_clock();
    // Whoever takes it leads there, or its lineage would be another.
    let (address, sockets) = (host.setup().address.clone(), registry.config().sockets);
    let place = Arc::new(Place { address, sockets });
    host.heirlooms.add(Heirloom {
        lineage,
        socket,
        key: BackendKey { pid, secret: secret.into(), place, ends: None },
        applied: settings_of(&applied),
        params,
        connected_at: now.checked_sub(age).unwrap_or(now),
    });
    host.take_in(main);
}

/// Whoever has our sockets and our clients' secrets is of our own user, or root.
pub(super) fn check_peer(passage: &Passage) -> io::Result<()> {
    let (peer, own) = (passage.peer_uid()?, rustix::process::geteuid().as_raw());
    if peer == own || peer == 0 {
        return Ok(());
    }
    let why = format!("it is of the user with the id {peer}, this process of {own}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

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
    /// Offers everything, and waits until the other one is ready to serve. `false`: it is not.
    pub(super) async fn offer(&self, passage: &Passage, sockets: &[OwnedFd]) -> io::Result<bool> {
        let hello = within(Some(ANSWER_MAX), passage.receive::<ToOld>()).await;
        let Ok(Some(Passed { head: ToOld::Hello { form, version, pid }, .. })) =
            hello.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if form != FORM {
            let why = format!("it speaks form {FORM}, this is form {form} ({version})");
            passage.send(&ToNew::Refused { why }, &[], &[]).await?;
            return Ok(false);
        }
        tracing::info!(pid, version, "another process wants to take over");
        let frontend = &self.shared.frontend;
        let Heritage { salt_key, next_client } = frontend.heritage();
        let is_activated = self.is_activated;
        let client_keys = frontend.registry.learned_keys();
        let halts = frontend.registry.halts.said();
        let offer = Offer { is_activated, next_client, salt_key, client_keys, halts };
        let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        send(passage, &ToNew::Offer(offer), &[], &files).await?;
        let ready = within(Some(READY_MAX), passage.receive::<ToOld>()).await;
        Ok(matches!(ready, Ok(Ok(Some(Passed { head: ToOld::Ready, .. })))))
    }

    /// Has everybody move, and stays until the last one has gone.
    pub(super) async fn hand_over(&self, passage: Passage) -> Handed {
        let Self { main, shared, accepting, .. } = *self;
        let roster = &shared.frontend.roster;
        let registry = &shared.frontend.registry;
        tracing::info!(clients = registry.clients(), "handing over");
        accepting.send_replace(Accepting::Paused);
        let (removal, mut parcels) = unbounded_channel();
        roster.move_all(removal);
        self.set_draining(true);
        let passage = Rc::new(passage);
        let mut requests = requests(&passage);
        let process = &registry.config().process;
        let moves_until = main.wake() + process.takeover_timeout;
        let mut look = tokio::time::interval(TICK / 10);
        while self.is_anybody_left() || !parcels.is_empty() {
            tokio::select! {
                biased;
                Some(parcel) = parcels.recv() => {
                    if let Err(parcel) = pass_on(&passage, parcel).await {
                        return self.take_back(parcels, Some(parcel));
                    }
                }
                request = requests.recv() => match request {
                    Some(ToOld::Cancel(CancelRequest { pid, secret })) => {
                        let (main, frontend) = (Rc::clone(main), Arc::clone(&shared.frontend));
                        tokio::task::spawn_local(async move {
                            frontend.cancel(&main, pid, &secret).await;
                        });
                    }
                    Some(ToOld::End { at_once }) => {
                        self.see_out(if at_once { How::Now } else { How::WaitForServers }).await;
                        break;
                    }
                    Some(ToOld::Hello { .. } | ToOld::Ready) | None => {
                        return self.take_back(parcels, None);
                    }
                },
                _ = look.tick() => {
                    // The clients have gone there, and so do the servers.
                    self.bequeath(&passage).await;
                    if main.wake() >= moves_until {
                        break;
                    }
                }
                how = shared.shutdown.asked(None) => {
                    self.see_out(how).await;
                    break;
                }
            }
        }
        if registry.clients() > 0 {
            self.see_out(How::WaitForServers).await;
        }
        // Who moved while the others were told to leave.
        while let Ok(parcel) = parcels.try_recv() {
            if pass_on(&passage, parcel).await.is_err() {
                break;
            }
        }
        // Those who are left in the process before end with this one, which nobody can reach then.
        roster.end_before(false);
        // What the last ones had.
        settle(main, &shared.frontend).await;
        self.bequeath(&passage).await;
        // Fails when the other one has gone by now: it needs no word then.
        drop(send(&passage, &ToNew::Done, &[], &[]).await);
        Handed::Over
    }

    /// Whether there are clients here, or somebody may become one: those who log in, and those who are
    /// still in the process before this one. Sessions of the console do not count.
    fn is_anybody_left(&self) -> bool {
        let frontend = &self.shared.frontend;
        let registry = &frontend.registry;
        let connections: u32 = registry.workers().map(|worker| worker.connections()).sum();
        registry.clients() > 0 || connections > registry.consoles() || frontend.roster.has_before()
    }

    /// Gives what nobody uses here to the other process.
    async fn bequeath(&self, passage: &Passage) {
        for host in self.shared.frontend.registry.hosts() {
            for (pool, mut server) in host.take_idle_servers(self.main) {
                let now = self.main.now();
                let bequest = Bequest {
                    host: host.name.clone(),
                    lineage: pool.setup().lineage(),
                    is_unix: matches!(server.stream(), Stream::Unix(_)),
                    pid: server.key.pid,
                    secret: server.key.secret.to_vec(),
                    applied: listed(&server.applied),
                    params: pool.catalog.base().unwrap_or_default(),
                    age: now.saturating_duration_since(server.connected_at),
                };
                let Ok(socket) = server.stream().duplicate() else { continue };
                let bequest = ToNew::Server(bequest);
                if let Err(error) = send(passage, &bequest, &[], &[socket.as_fd()]).await {
                    tracing::debug!("a server could not be handed over: {error}");
                }
            }
        }
    }

    async fn see_out(&self, how: How) {
        let frontend = &self.shared.frontend;
        let config = frontend.registry.config();
        let patience = Patience::of(&config.process);
        let clock = || self.main.wake();
        see_out(&frontend.roster, &self.shared.shutdown, how, patience, clock).await;
    }

    /// Goes on, with those whom the other one has not got.
    fn take_back(&self, parcels: UnboundedReceiver<Parcel>, unsent: Option<Parcel>) -> Handed {
        tracing::error!("the process that took over has gone: this one goes on");
        self.set_draining(false);
        self.shared.frontend.roster.resume_all();
        self.accepting.send_replace(Accepting::Yes);
        // Some may still be obeying: their parcels come until there is another way to go.
        tokio::task::spawn_local(bring_back(parcels, unsent, Arc::clone(self.seats)));
        Handed::Back
    }

    fn set_draining(&self, is_draining: bool) {
        let hosts = self.shared.frontend.registry.hosts();
        hosts.for_each(|host| host.set_draining(self.main, is_draining));
    }
}

/// Serves those here who were to move.
async fn bring_back(
    mut parcels: UnboundedReceiver<Parcel>,
    mut unsent: Option<Parcel>,
    seats: Arc<[Seat]>,
) {
    while let Some(parcel) = match unsent.take() {
        Some(parcel) => Some(parcel),
        None => parcels.recv().await,
    } {
        let settings = Arc::new(parcel.moved.settings());
        settle_in(&seats, parcel, settings);
    }
}

/// Gives the parcel back if the other process does not take it.
async fn pass_on(passage: &Passage, parcel: Parcel) -> Result<(), Parcel> {
    let Parcel { moved, sent, socket } = parcel;
    let client = ToNew::Client(moved);
    let is_sent = send(passage, &client, &sent, &[socket.as_fd()]).await;
    match (is_sent, client) {
        (Err(error), ToNew::Client(moved)) => {
            tracing::warn!(client = moved.id, "a client could not be handed over: {error}");
            Err(Parcel { moved, sent, socket })
        }
        _ => Ok(()),
    }
}

/// Sends, but does not wait for ever for the other process to read.
async fn send(
    passage: &Passage,
    message: &ToNew,
    body: &[u8],
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let sent = within(Some(READ_MAX), passage.send(message, body, files)).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What the other one asks for. It ends when that one does.
fn requests(passage: &Rc<Passage>) -> UnboundedReceiver<ToOld> {
    let (sender, receiver) = unbounded_channel();
    let passage = Rc::clone(passage);
    tokio::task::spawn_local(async move {
        while let Ok(Some(Passed { head: request, .. })) = passage.receive().await {
            if sender.send(request).is_err() {
                break;
            }
        }
    });
    receiver
}
