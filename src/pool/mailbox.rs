//! Where a waiting client finds its server.

use super::{Lease, Refusal};
use crate::base::shared::Shared;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How a wait ended.
#[derive(Debug)]
pub enum Outcome {
    /// Cancelled by the client itself, through a cancel request.
    Canceled,
    Granted {
        lease: Lease,
        waited: Duration,
    },
    /// Its pool is another one now: it is to ask there.
    Moved,
    Refused(Refusal),
}

/// Made when a client waits for the first time, and kept for its next waits.
#[derive(Debug, Default)]
pub struct Mailbox(Shared<State>);

#[derive(Debug, Default)]
enum State {
    /// The client is gone: whatever comes must go back.
    Closed,
    #[default]
    Empty,
    Full(Outcome),
    Waiting(Waker),
}

impl Mailbox {
    /// Puts the outcome in and wakes the client. `Err`: nobody is there any more.
    ///
    /// # Errors
    ///
    /// Returns the outcome; a lease in it must be given back.
    pub fn deliver(&self, outcome: Outcome) -> Result<(), Outcome> {
        let waker = self.0.with(|state| match std::mem::take(state) {
            State::Closed => {
                *state = State::Closed;
                Err(outcome)
            }
            State::Waiting(waker) => {
                *state = State::Full(outcome);
                Ok(Some(waker))
            }
            State::Empty | State::Full(_) => {
                *state = State::Full(outcome);
                Ok(None)
            }
        })?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Waits for the outcome.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        self.0.with(|state| {
            if let State::Full(outcome) = std::mem::take(state) {
                return Poll::Ready(outcome);
            }
            *state = State::Waiting(cx.waker().clone());
            Poll::Pending
        })
    }

    /// The client is gone. What has arrived already must be given back.
    pub fn close(&self) -> Option<Outcome> {
        match self.0.with(|state| std::mem::replace(state, State::Closed)) {
            State::Full(outcome) => Some(outcome),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mailbox, Outcome};
    use std::task::{Context, Poll, Waker};

    #[test]
    fn an_outcome_is_delivered_once() {
        let mailbox = Mailbox::default();
        let cx = &Context::from_waker(Waker::noop());
        assert!(mailbox.poll(cx).is_pending());
        mailbox.deliver(Outcome::Canceled).unwrap();
        assert!(matches!(mailbox.poll(cx), Poll::Ready(Outcome::Canceled)));
        assert!(mailbox.poll(cx).is_pending());
    }

    /// Whatever the order of leaving and delivering, the outcome comes back to one of the two.
    #[test]
    fn nothing_is_lost_when_the_client_leaves() {
        let early = Mailbox::default();
        assert!(early.close().is_none());
        assert!(early.deliver(Outcome::Canceled).is_err());

        let late = Mailbox::default();
        late.deliver(Outcome::Canceled).unwrap();
        assert!(matches!(late.close(), Some(Outcome::Canceled)));
    }
}
