//! Taking over from a process that runs, without a client noticing.
//!
//! [`crate::control::takeover`] has the messages and their order, [`super::handover`] the other side.

use super::TICK;
use super::worker::{Seat, Shared};
use crate::client::login::Frontend;
use crate::config::Config;
use crate::control::stops::{Stops, stopped_otherwise};
use crate::control::suspend::Other;
use crate::control::takeover::{Bequest, FORM, Offer, Parcel, ToNew, ToOld, settings_of};
use crate::net::listen::Inherited;
use crate::net::passing::{Passage, Passed};
use crate::net::stream::Detached;
use crate::net::worker::{Worker, read_clock, within};
use crate::pool::heirlooms::Heirloom;
use crate::pool::registry::Registry;
use crate::server::{BackendKey, Place};
use crate::session::settings::Settings;
use crate::session::statements::Count;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// How long either side waits for an answer that takes no work.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);

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
    #[error("the process that runs goes on: it did not wait until this one was ready")]
    Late,
}

/// The process that runs, seen by the one that takes over.
pub(super) struct Predecessor {
    passage: Rc<Passage>,
    pub(super) offer: Offer,
    pub(super) fate: Fate,
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
            Some(Passed { head: ToNew::Offer(offer), mut files, .. }) => {
                let passage = Rc::new(passage);
                let pipe = files.pop().ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from);
                let fate = Fate::told_by(pipe.map_err(failed)?).map_err(failed)?;
                let mut inherited = Inherited::new(files);
                inherited.is_activated = offer.is_activated;
                Ok(Some((Self { passage, offer, fate }, inherited)))
            }
            Some(Passed { head: ToNew::Refused { why }, .. }) => Err(TakeoverError::Refused(why)),
            _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Says that this process could accept, and waits until it is to.
    /// Answers with what is stopped there.
    pub(super) async fn begin(&self) -> Result<Stops, TakeoverError> {
        let asked = async {
            self.passage.send(&ToOld::Ready, &[], &[]).await?;
            self.passage.receive::<ToNew>().await
        };
        match within(Some(ANSWER_MAX), asked).await {
            Ok(Ok(Some(Passed { head: ToNew::Go(stops), .. }))) => Ok(stops),
            Ok(Ok(Some(Passed { head: ToNew::Refused { why }, .. }))) => {
                Err(TakeoverError::Refused(why))
            }
            _ => Err(TakeoverError::Late),
        }
    }

    /// Takes the clients in until the last one has come. It is known when this returns that they come.
    pub(super) fn take_over(self, main: Rc<Worker>, shared: Arc<Shared>, seats: Arc<[Seat]>) {
        let (sender, to_say) = unbounded_channel();
        // Its receiver is below.
        drop(sender.send(ToOld::Here));
        shared.frontend.roster.ask_before(Some(sender.clone()));
        tell_of_rest(&main, &shared, (Other::Before, sender, ToOld::Rests));
        shared.frontend.registry.hosts().for_each(|host| host.heirlooms.open());
        let (arrivals, arrived) = unbounded_channel();
        let reception = Reception {
            main: Rc::clone(&main),
            shared: Arc::clone(&shared),
            passage: Rc::clone(&self.passage),
            fate: self.fate.clone(),
            seats,
        };
        let settling = tokio::task::spawn_local(reception.settle(arrived, to_say));
        tokio::task::spawn_local(async move {
            self.receive(&main, &shared, arrivals).await;
            let moved = settling.await.unwrap_or(0);
            finish(&main, &shared).await;
            tracing::info!(clients = moved, "took over");
        });
    }

    /// Receives until nothing more can come.
    async fn receive(self, main: &Rc<Worker>, shared: &Shared, arrivals: UnboundedSender<Arrived>) {
        let mut known = HashSet::new();
        loop {
            match self.passage.receive::<ToNew>().await {
                Ok(Some(Passed { head: ToNew::Client(client), body, files })) => {
                    let settings = shared_settings(&mut known, client.settings());
                    let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else {
                        // The kernel drops what there are no descriptors for.
                        tracing::warn!(client = client.id, "a client came without its socket");
                        drop(arrivals.send(Arrived::Nobody));
                        continue;
                    };
                    let parcel = Parcel { moved: client, sent: body, socket };
                    // Its receiver ends when this is dropped.
                    drop(arrivals.send(Arrived::Client(parcel, settings)));
                }
                Ok(Some(Passed { head: ToNew::Server(bequest), files, .. })) => {
                    let Ok([socket]) = <[OwnedFd; 1]>::try_from(files) else { continue };
                    inherit(main, &shared.frontend.registry, bequest, socket);
                }
                Ok(Some(Passed { head: ToNew::Stopped { was, is }, .. })) => {
                    drop(arrivals.send(Arrived::Stopped { was, is }));
                }
                Ok(Some(Passed { head: ToNew::Rests(number), .. })) => {
                    shared.frontend.roster.rests_elsewhere(Other::Before, number);
                }
                Ok(Some(Passed { head: ToNew::Done, .. })) => break,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    tracing::warn!("the process before has gone in the middle of handing over");
                    break;
                }
            }
        }
    }
}

/// Nobody is left in the process before, and nothing more comes from there.
async fn finish(main: &Rc<Worker>, shared: &Shared) {
    let registry = &shared.frontend.registry;
    shared.frontend.roster.ask_before(None);
    let settled_by = main.wake() + SETTLE_MAX;
    loop {
        let are_left: Vec<_> = registry.hosts().map(|host| host.take_in(main)).collect();
        if !are_left.contains(&true) || main.wake() >= settled_by {
            break;
        }
        tokio::time::sleep(TICK / 10).await;
    }
    registry.hosts().for_each(|host| host.heirlooms.close());
    registry.halts.look_again();
}

/// What has come, in order.
enum Arrived {
    Client(Parcel, Arc<Settings>),
    /// A client was sent, but what came of it was none.
    Nobody,
    /// See [`ToNew::Stopped`].
    Stopped {
        was: Stops,
        is: Stops,
    },
}

/// Whoever receives those who come, and says so.
struct Reception {
    main: Rc<Worker>,
    shared: Arc<Shared>,
    passage: Rc<Passage>,
    fate: Fate,
    seats: Arc<[Seat]>,
}

impl Reception {
    /// Answers with how many have come when nobody comes any more. All that is said is said here: one
    /// message at a time.
    async fn settle(
        self,
        mut arrived: UnboundedReceiver<Arrived>,
        mut to_say: UnboundedReceiver<ToOld>,
    ) -> usize {
        let mut moved = 0;
        let Frontend { registry, roster, .. } = &*self.shared.frontend;
        let mut stops = Stops::of(registry, roster);
        loop {
            tokio::select! {
                biased;
                arrival = arrived.recv() => match arrival {
                    None => return moved,
                    Some(Arrived::Client(parcel, settings)) => {
                        if self.takes_one().await {
                            moved += usize::from(settle_in(&self.seats, parcel, settings));
                        }
                    }
                    Some(Arrived::Nobody) => drop(self.takes_one().await),
                    Some(Arrived::Stopped { was, is }) => {
                        if Stops::of(registry, roster) == was {
                            is.follow(&self.main, registry, roster);
                            stops = is;
                        }
                    }
                },
                Some(message) = to_say.recv() => self.say(message).await,
                is = stopped_otherwise(&stops, registry, roster) => {
                    stops = is.clone();
                    self.say(ToOld::Stopped(is)).await;
                }
            }
        }
    }

    /// Says that somebody is taken. `false`: the process before goes on, with that client as well.
    async fn takes_one(&self) -> bool {
        // Said before it is served, or it might be served in two places.
        let is_said = self.passage.send(&ToOld::Taken, &[], &[]).await.is_ok();
        is_said || !self.fate.goes_on().await
    }

    async fn say(&self, message: ToOld) {
        // Fails when that process has gone, which shows elsewhere.
        drop(self.passage.send(&message, &[], &[]).await);
    }
}

/// What becomes of the process before: whether it goes on after all, or is gone.
#[derive(Clone)]
pub(super) struct Fate(watch::Receiver<Option<bool>>);

impl Fate {
    fn told_by(pipe: OwnedFd) -> io::Result<Self> {
        let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let (sender, told) = watch::channel(None);
        tokio::task::spawn_local(async move {
            let goes_on = matches!(pipe.read(&mut [0]).await, Ok(1));
            sender.send_replace(Some(goes_on));
        });
        Ok(Self(told))
    }

    /// Waits until it is known.
    async fn goes_on(&self) -> bool {
        let mut told = self.0.clone();
        let told = told.wait_for(Option::is_some).await;
        told.is_ok_and(|goes_on| *goes_on == Some(true))
    }

    /// Waits until it goes on: for ever, if it is gone.
    pub(super) async fn until_it_goes_on(&self) {
        if !self.goes_on().await {
            std::future::pending::<()>().await;
        }
    }
}

/// Says when all rest here, while there is somebody to say it to.
pub(super) fn tell_of_rest<M: 'static>(
    main: &Rc<Worker>,
    shared: &Arc<Shared>,
    to: (Other, UnboundedSender<M>, fn(u64) -> M),
) {
    let (main, frontend) = (Rc::clone(main), Arc::clone(&shared.frontend));
    tokio::task::spawn_local(async move {
        let limit = || frontend.registry.config().process.suspend_timeout;
        frontend.roster.tell_of_rest(to, limit, &main).await;
    });
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

pub(super) fn settle_in(seats: &[Seat], parcel: Parcel, settings: Arc<Settings>) -> bool {
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
    let Bequest {
        lineage,
        database,
        is_unix,
        pid,
        secret,
        applied,
        has_statements,
        params,
        age,
        ..
    } = bequest;
    let Ok(socket) = Detached::inherited(socket, is_unix) else { return };
    let now = read_clock();
    // Whoever takes it leads there, or its lineage would be another.
    let (address, sockets) = (host.setup().address.clone(), registry.config().sockets);
    let place = Arc::new(Place { address, sockets });
    host.heirlooms.add(Heirloom {
        lineage,
        database,
        socket,
        key: BackendKey {
            pid,
            secret: secret.into(),
            place,
            ends: None,
            statements: Count::default(),
        },
        applied: settings_of(&applied),
        has_statements,
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
