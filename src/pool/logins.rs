//! Logins wait for their turn here: what [`Logins`] decides, as something to await.

use crate::base::shared::Shared;
use crate::config::overload::LoginGate;
use crate::end::EndReason;
use crate::net::worker::read_clock;
use crate::scheduler::logins::{Entry, LoginPlace, LoginTicket, Logins, LoginsView};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot::{self, Receiver, Sender};

/// Lets logins begin, one after the other if there are many.
pub struct Door(Shared<Logins<Sender<Turn>>>);

/// A login that may go on. Dropped, it makes room for the next.
pub struct Turn {
    door: Arc<Door>,
    place: LoginPlace,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = read_clock();
        self.door.decide(|logins| logins.leave(now, self.place));
    }
}

/// A place in line. Dropped, it is left; a turn that came meanwhile goes back by itself.
struct InLine {
    door: Arc<Door>,
    ticket: LoginTicket,
    told: Receiver<Turn>,
}

impl Drop for InLine {
    fn drop(&mut self) {
        let now = read_clock();
        self.door.decide(|logins| {
            logins.abandon(now, self.ticket);
        });
    }
}

impl Door {
    pub fn new(now: Instant, limits: LoginGate) -> Arc<Self> {
        Arc::new(Self(Shared::new(Logins::new(now, limits))))
    }

    /// Waits for the turn of a login from `address`; mostly it is at once.
    ///
    /// # Errors
    ///
    /// When it would take too long.
    pub async fn enter(
        self: &Arc<Self>,
        now: Instant,
        address: Option<IpAddr>,
    ) -> Result<Turn, EndReason> {
        let mut told = None;
        let entry = self.decide(|logins| {
            logins.enter(now, address, || {
                let (sender, receiver) = oneshot::channel();
                told = Some(receiver);
                sender
            })
        });
        match (entry, told) {
            (Entry::Begins(place), _) => Ok(Turn { door: Arc::clone(self), place }),
            (Entry::Waits(ticket), Some(told)) => {
                let mut in_line = InLine { door: Arc::clone(self), ticket, told };
                (&mut in_line.told).await.map_err(|_| EndReason::LoginRate)
            }
            _ => Err(EndReason::LoginRate),
        }
    }

    /// Tells those who wait what time has brought about. Called several times a second.
    pub fn tick(self: &Arc<Self>, now: Instant) {
        self.decide(|logins| logins.tick(now));
    }

    /// Whether somebody waits for whom time decides.
    pub fn is_pacing(&self) -> bool {
        self.0.with(|logins| logins.is_pacing())
    }

    /// Goes on with other limits, at once and for those who wait already.
    pub fn set_limits(self: &Arc<Self>, now: Instant, limits: LoginGate) {
        self.decide(|logins| logins.set_limits(now, limits));
    }

    pub fn view(&self) -> LoginsView {
        self.0.with(|logins| logins.view())
    }

    /// Does something, and tells those who waited what came of it.
    fn decide<R>(self: &Arc<Self>, decision: impl FnOnce(&mut Logins<Sender<Turn>>) -> R) -> R {
        let (result, mut outcome) = self.0.with(|logins| (decision(logins), logins.next_outcome()));
        while let Some((sender, place)) = outcome {
            if let Some(place) = place {
                // Whoever has gone meanwhile gives its turn back as it is dropped.
                drop(sender.send(Turn { door: Arc::clone(self), place }));
            }
            outcome = self.0.with(Logins::next_outcome);
        }
        result
    }
}
