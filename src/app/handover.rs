//! Handing over to the process that takes over, without a client noticing.
//!
//! [`crate::control::takeover`] has the messages and their order, [`super::takeover`] the other side.

use super::accept::Accepting;
use super::takeover::{ANSWER_MAX, settle_in};
use super::worker::{Seat, Shared};
use super::{TICK, settle};
use crate::client::login::Heritage;
use crate::control::shutdown::{How, Patience, see_out};
use crate::control::takeover::{Bequest, CancelRequest, FORM, Offer, Parcel, ToNew, ToOld, listed};
use crate::net::passing::{Passage, Passed};
use crate::net::stream::Stream;
use crate::net::worker::{Worker, within};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

/// How long the new process may take from the offer until it accepts.
const READY_MAX: Duration = Duration::from_mins(1);

/// How long the new process may take to read what it is sent. It has nothing else to do.
const READ_MAX: Duration = Duration::from_secs(10);

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
                    has_statements: !server.prepared.is_empty(),
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
