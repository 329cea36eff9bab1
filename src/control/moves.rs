//! Everybody's way to the process that takes over, and to the one that was here before.

use super::roster::{Order, Roster};
use super::suspend::Other;
use super::takeover::{CancelRequest, Parcel, ToOld};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::UnboundedSender;

impl Roster {
    /// Has everybody move, through `removal`.
    pub fn move_all(&self, removal: UnboundedSender<Parcel>) {
        self.removal.with(|known| *known = Some(removal));
        self.call_all(Order::Move);
    }

    /// Another process takes over: what holds is for that to say.
    pub fn give_way(&self) {
        self.set_other(Other::Next, true);
        self.gives_way.store(true, Ordering::Relaxed);
    }

    pub fn is_giving_way(&self) -> bool {
        self.gives_way.load(Ordering::Relaxed)
    }

    /// Nobody is to move any more. Those who rested before go on resting.
    pub fn stay_all(&self) {
        self.gives_way.store(false, Ordering::Relaxed);
        self.set_other(Other::Next, false);
        self.expect(None);
        for client in self.clients() {
            client.take_back(Order::Move);
            if self.is_suspended() {
                client.call(Order::Halt);
            }
        }
    }

    /// There is a process that was here before, or with `None` not any more.
    pub fn ask_before(&self, before: Option<UnboundedSender<ToOld>>) {
        self.set_other(Other::Before, before.is_some());
        self.before.with(|known| *known = before);
    }

    /// Passes a cancel request on to the process before. `false`: there is none.
    pub fn cancel_before(&self, pid: u32, secret: &[u8]) -> bool {
        self.before.with(|before| {
            before.as_ref().is_some_and(|before| {
                let request = CancelRequest { pid, secret: secret.to_vec() };
                before.send(ToOld::Cancel(request)).is_ok()
            })
        })
    }

    /// Whether there is a process whose clients may still come.
    pub fn has_before(&self) -> bool {
        self.before.with(|before| before.is_some())
    }

    /// Has the process before end as this one does, if there is one: it is not to go on instead.
    pub fn end_before(&self, at_once: bool) {
        self.before.with(|before| {
            if let Some(before) = before {
                // Fails when it has gone by itself.
                drop(before.send(ToOld::End { at_once }));
            }
        });
    }
}
