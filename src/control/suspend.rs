//! `SUSPEND`: everybody rests, wherever they are, until `RESUME`.

use super::roster::{Order, Roster};
use crate::end::EndReason;
use crate::net::worker::Worker;
use crate::pool::halts::Resumed;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// A process at the other end of a takeover.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Other {
    Before,
    Next,
}

/// For which `SUSPEND` each of the others has said that all rest there; none is 0. `None`: there is no such
/// process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Elsewhere([Option<u64>; 2]);

/// How often it is looked whether all rest.
const LOOK: Duration = Duration::from_millis(50);

impl Roster {
    /// Has everybody rest, and those who come in later. `false`: they do already, or have been told
    /// something that weighs more.
    pub fn suspend(&self) -> bool {
        if self.is_closing() || self.is_suspended() {
            return false;
        }
        self.suspension.fetch_add(1, Ordering::Relaxed);
        self.set_suspended(true)
    }

    /// Lets everybody go on. `false`: nobody rested.
    pub fn unsuspend(&self) -> bool {
        self.set_suspended(false)
    }

    /// By which `SUSPEND` everybody rests. `None`: nobody has to.
    pub(super) fn suspension(&self) -> Option<u64> {
        self.is_suspended().then(|| self.suspension.load(Ordering::Relaxed))
    }

    /// Does as another process was told.
    pub(super) fn follow(&self, suspension: Option<u64>) {
        if let Some(number) = suspension {
            self.suspension.store(number, Ordering::Relaxed);
        }
        self.set_suspended(suspension.is_some());
    }

    /// Says whether that is news.
    fn set_suspended(&self, is_suspended: bool) -> bool {
        let is_news = self.suspended.send_replace(is_suspended) != is_suspended;
        if is_news {
            self.elsewhere.with(|elsewhere| elsewhere.0 = elsewhere.0.map(|it| it.map(|_| 0)));
            for client in self.clients() {
                if is_suspended {
                    client.call(Order::Halt);
                } else {
                    client.take_back(Order::Halt);
                }
            }
        }
        is_news
    }

    pub fn is_suspended(&self) -> bool {
        *self.suspended.borrow()
    }

    /// Waits until nobody who comes in has to rest.
    pub async fn unsuspended(&self) {
        if !self.is_suspended() {
            return;
        }
        let mut suspended = self.suspended.subscribe();
        // Fails only when the roster is gone, and nobody waits then.
        let _gone = suspended.wait_for(|is_suspended| !is_suspended).await.is_err();
    }

    /// Waits until all rest, and ends those who do not within `limit`, because they do not take what was
    /// read for them; and until other processes have said that they have done the same. Answers how many
    /// were ended here.
    ///
    /// # Errors
    ///
    /// When they are told to go on meanwhile, or to do something else.
    pub async fn settle(&self, limit: Duration, worker: &Worker) -> Result<usize, Resumed> {
        let ended = self.settle_here(limit, worker).await?;
        self.settled_elsewhere(None, worker).await?;
        Ok(ended)
    }

    /// Tells another process each time that there is nobody to wait for any more, here and beyond. Until
    /// nobody listens.
    pub async fn tell_of_rest<M>(
        &self,
        (other, said, message): (Other, UnboundedSender<M>, fn(u64) -> M),
        limit: impl Fn() -> Duration,
        worker: &Worker,
    ) {
        let mut suspended = self.suspended.subscribe();
        suspended.mark_changed();
        loop {
            tokio::select! {
                // Its sender is there as long as the roster.
                _ = suspended.changed() => {}
                () = said.closed() => return,
            }
            suspended.mark_unchanged();
            let Some(number) = self.suspension() else { continue };
            let rest = async {
                self.settle_here(limit(), worker).await?;
                self.settled_elsewhere(Some(other), worker).await
            };
            if rest.await.is_ok() {
                // Fails when nobody listens any more.
                drop(said.send(message(number)));
            }
        }
    }

    /// There is another process with clients, or it has gone.
    pub(super) fn set_other(&self, other: Other, is_there: bool) {
        self.elsewhere.with(|elsewhere| elsewhere.0[other as usize] = is_there.then_some(0));
    }

    /// Another process has nobody to wait for, for the `SUSPEND` with this number.
    pub fn rests_elsewhere(&self, other: Other, number: u64) {
        self.elsewhere.with(|elsewhere| {
            if let Some(rests) = &mut elsewhere.0[other as usize] {
                *rests = number;
            }
        });
    }

    /// Waits until all other processes have said so.
    async fn settled_elsewhere(&self, but: Option<Other>, worker: &Worker) -> Result<(), Resumed> {
        loop {
            let number = self.suspension().ok_or(Resumed)?;
            let others = self.elsewhere.with(|elsewhere| elsewhere.0);
            let mut others = others.into_iter().enumerate();
            if others.all(|(other, rests)| {
                but.is_some_and(|but| but as usize == other)
                    || rests.is_none_or(|rests| rests == number)
            }) {
                return Ok(());
            }
            worker.rest(LOOK).await;
        }
    }

    async fn settle_here(&self, limit: Duration, worker: &Worker) -> Result<usize, Resumed> {
        let until = worker.now() + limit;
        loop {
            let mut busy = self.clients();
            busy.retain(|client| !client.is_halted() && !client.is_leaving());
            if !self.is_suspended() {
                return Err(Resumed);
            }
            if busy.is_empty() || worker.now() >= until {
                for client in &busy {
                    client.call(Order::Quit(EndReason::WriteTimeout));
                }
                return Ok(busy.len());
            }
            worker.rest(LOOK).await;
        }
    }
}
