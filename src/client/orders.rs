//! What a client is told from outside, and when it obeys.

use super::Client;
use crate::control::roster::Order;
use crate::end::{End, EndReason};

/// What is left to do after an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Obeyed {
    /// What it did before.
    GoesOn,
    /// Nothing: what is sent to it is not read.
    Rests,
}

impl Client {
    /// Obeys what cannot wait. `Err`: the session ends.
    #[inline]
    pub(super) fn obey(&self) -> Result<Obeyed, End> {
        match self.here.order() {
            None | Some(Order::Leave(_)) => Ok(Obeyed::GoesOn),
            Some(Order::Halt) => Ok(Obeyed::Rests),
            Some(Order::Move) => match self.move_if_movable()? {
                // It goes on resting where it is, until it may do something to become movable.
                Obeyed::GoesOn if self.here.roster().is_suspended() => Ok(Obeyed::Rests),
                obeyed => Ok(obeyed),
            },
            Some(Order::Quit(reason)) => Err(self.dismissed(reason)),
        }
    }

    /// Obeys what cannot wait for the client to read what it was sent: it may never do so.
    pub(super) fn quit_if_told(&self) -> Result<(), End> {
        match self.here.order() {
            Some(Order::Quit(reason)) => Err(self.dismissed(reason)),
            _ => Ok(()),
        }
    }

    /// Ends the session if it was told to leave, and it is in the middle of nothing: what it has
    /// sent is done, and more has not come.
    #[inline]
    pub(super) fn leave_if_told(&self) -> Result<(), End> {
        match self.here.order() {
            Some(Order::Leave(reason)) if self.is_at_boundary() => Err(reason.into()),
            _ => Ok(()),
        }
    }

    /// Ends the session if it was told to leave while it waits for a server of a pool that is paused:
    /// nobody may be left to say `RESUME`, and nothing of what it asks for has begun.
    pub(super) fn leave_if_paused(&self) -> Result<(), End> {
        match self.here.order() {
            Some(Order::Leave(reason)) if self.pool.is_paused() => Err(self.dismissed(reason)),
            _ => Ok(()),
        }
    }

    /// Whoever waits for a server, and is told to end, has not lost its patience.
    #[cold]
    fn dismissed(&self, reason: EndReason) -> End {
        if let Some(mailbox) = &self.mailbox {
            mailbox.dismiss();
        }
        reason.into()
    }

    /// Whether nothing was asked for that is not done, and no transaction is open.
    fn is_at_boundary(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.conn.ledger.is_settled())
            && self.aborted.is_none()
            && self.begun.is_none()
            && !self.is_skipping
            && self.to_swallow == 0
            && self.up.unseen().is_empty()
            && self.is_quiet()
    }

    /// Whether nothing was read, from either side, that is still to go on.
    pub(super) fn is_flushed(&self) -> bool {
        !self.up.is_pending() && !self.down.is_pending() && self.down.unseen().is_empty()
    }

    /// Whether nothing is on its way, in either direction.
    pub(super) fn is_quiet(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.conn.ledger.is_quiet())
            && !self.up.is_pending()
            && !self.up.is_mid_message()
            && !self.down.is_pending()
            && self.down.unseen().is_empty()
            && !self.down.is_mid_message()
    }
}
