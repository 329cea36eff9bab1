//! `SUSPEND`: everybody rests, wherever they are, until `RESUME`.

use super::roster::{Order, Roster};
use crate::end::EndReason;
use crate::net::worker::Worker;
use crate::pool::halts::Resumed;
use std::time::Duration;

/// How often it is looked whether all rest.
const LOOK: Duration = Duration::from_millis(50);

impl Roster {
    /// Has everybody rest, and those who come in later. `false`: they do already, or have been told
    /// something that weighs more.
    pub fn suspend(&self) -> bool {
        !self.is_closing() && self.set_suspended(true)
    }

    /// Lets everybody go on. `false`: nobody rested.
    pub fn unsuspend(&self) -> bool {
        self.set_suspended(false)
    }

    /// Says whether that is news.
    pub(super) fn set_suspended(&self, is_suspended: bool) -> bool {
        let is_news = self.suspended.send_replace(is_suspended) != is_suspended;
        if is_news {
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
    /// read for them. Answers how many.
    ///
    /// # Errors
    ///
    /// When they are told to go on meanwhile, or to do something else.
    pub async fn settle(&self, limit: Duration, worker: &Worker) -> Result<usize, Resumed> {
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
