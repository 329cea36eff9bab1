//! Where a waiting client finds its server; or the answer, if it shared one.

use super::{Lease, Refusal};
use crate::base::shared::Shared;
use crate::end::{EndReason, ErrorFields};
use crate::session::fare::Fare;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So much of an answer waits for a client that does not read; the server that it shares waits, too, then.
const PART_MAX: usize = 64 << 10;

/// What comes for a client that waits.
#[derive(Debug)]
pub enum Outcome {
    /// Cancelled by the client itself, through a cancel request.
    Canceled,
    Granted {
        lease: Lease,
        waited: Duration,
        /// Others get aboard of it: it is to be driven.
        is_shared: bool,
    },
    /// It did not get aboard after all: it is to ask again.
    Missed,
    /// Its pool is another one now: it is to ask there.
    Moved,
    Refused(Refusal),
    Ridden(Ridden),
}

/// What becomes of a request on a server that its client shares.
#[derive(Debug)]
pub enum Ridden {
    Answered(Box<Fare>),
    /// It took too long: the session ends.
    Ended(EndReason),
    /// The server was lost.
    Lost {
        fare: Box<Fare>,
        last_words: Option<Box<ErrorFields>>,
        /// Half a message has gone to the client, and the rest will not come.
        is_cut: bool,
    },
    /// So much of its answer has come. More will.
    Part(Part),
}

/// Some of an answer.
#[derive(Debug)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// It ends with a message of which so much is still to come.
    pub to_come: usize,
}

/// What became of a part of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivered {
    /// As much waits for the client as may.
    Full,
    /// The client is gone.
    Nowhere,
    ToClient,
}

/// Made when a client waits for the first time, and kept for its next waits.
#[derive(Debug, Default)]
pub struct Mailbox(Shared<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// The request of the client that waits, if it could share a server.
    fare: Option<Box<Fare>>,
    /// A driver has it.
    is_aboard: bool,
    /// The client was told to end its session.
    is_dismissed: bool,
    /// The driver waits for the client to read.
    driver: Option<Waker>,
}

#[derive(Debug, Default)]
enum State {
    /// The client is gone: whatever comes must go back.
    Closed,
    #[default]
    Empty,
    Full(Outcome),
    Waiting(Waker),
}

impl State {
    /// What is in there stays; whoever waits is to be woken.
    fn fill(&mut self, outcome: Outcome) -> Result<Option<Waker>, Outcome> {
        match std::mem::take(self) {
            Self::Closed => {
                *self = Self::Closed;
                Err(outcome)
            }
            Self::Waiting(waker) => {
                *self = Self::Full(outcome);
                Ok(Some(waker))
            }
            Self::Full(Outcome::Ridden(Ridden::Part(part))) => {
                *self = Self::Full(behind(part, outcome));
                Ok(None)
            }
            Self::Empty | Self::Full(_) => {
                *self = Self::Full(outcome);
                Ok(None)
            }
        }
    }
}

/// What has come behind a part of an answer that the client has not taken.
fn behind(Part { mut bytes, .. }: Part, outcome: Outcome) -> Outcome {
    let Outcome::Ridden(mut ridden) = outcome else { return outcome };
    match &mut ridden {
        Ridden::Answered(fare) | Ridden::Lost { fare, .. } => {
            bytes.append(&mut fare.answer);
            fare.answer = bytes;
        }
        Ridden::Part(more) => {
            bytes.append(&mut more.bytes);
            more.bytes = bytes;
        }
        // It ends where what the client has taken ends.
        Ridden::Ended(_) => {}
    }
    Outcome::Ridden(ridden)
}

impl Mailbox {
    /// Puts the outcome in and wakes the client. `Err`: nobody is there any more.
    ///
    /// # Errors
    ///
    /// Returns the outcome; a lease in it must be given back.
    pub fn deliver(&self, outcome: Outcome) -> Result<(), Outcome> {
        let waker = self.0.with(|inner| inner.state.fill(outcome))?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts so much of the answer in as has come, unless that is too much: then `driver` is woken when there
    /// is room. `to_come`: of its last message.
    pub fn deliver_part(&self, answer: &mut Vec<u8>, to_come: usize, driver: &Waker) -> Delivered {
        let (delivered, waker) = self.0.with(|inner| match &inner.state {
            State::Closed => (Delivered::Nowhere, None),
            State::Full(Outcome::Ridden(Ridden::Part(before)))
                if before.bytes.len() >= PART_MAX =>
            {
                inner.driver = Some(driver.clone());
                (Delivered::Full, None)
            }
            State::Empty | State::Full(_) | State::Waiting(_) => {
                let part = Part { bytes: std::mem::take(answer), to_come };
                let filled = inner.state.fill(Outcome::Ridden(Ridden::Part(part)));
                (Delivered::ToClient, filled.ok().flatten())
            }
        });
        if let Some(waker) = waker {
            waker.wake();
        }
        delivered
    }

    /// Waits for the outcome.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let (outcome, driver) = self.0.with(|inner| {
            if let State::Full(outcome) = std::mem::take(&mut inner.state) {
                return (Poll::Ready(outcome), inner.driver.take());
            }
            inner.state = State::Waiting(cx.waker().clone());
            (Poll::Pending, None)
        });
        if let Some(driver) = driver {
            driver.wake();
        }
        outcome
    }

    /// The request with which the client waits could share a server.
    pub fn offer(&self, fare: Box<Fare>) {
        self.0.with(|inner| (inner.fare, inner.is_aboard) = (Some(fare), false));
    }

    /// What the client uses for its next request.
    pub fn keep(&self, fare: Box<Fare>) {
        self.0.with(|inner| (inner.fare, inner.is_aboard) = (Some(fare), false));
    }

    /// The client's for its next request: nobody else has it.
    pub fn fare(&self) -> Option<Box<Fare>> {
        self.0.with(|inner| {
            inner.is_aboard = false;
            inner.fare.take()
        })
    }

    /// A driver takes the client's request. `None`: it is gone, or wants something else.
    pub fn get_aboard(&self) -> Option<Box<Fare>> {
        self.0.with(|inner| {
            let is_gone = matches!(inner.state, State::Closed);
            let fare = if is_gone { None } else { inner.fare.take() };
            inner.is_aboard |= fare.is_some();
            fare
        })
    }

    /// Whether a driver has the client's request.
    pub fn is_aboard(&self) -> bool {
        self.0.with(|inner| inner.is_aboard)
    }

    /// Whether [`dismiss`](Self::dismiss) was said.
    pub fn is_dismissed(&self) -> bool {
        self.0.with(|inner| inner.is_dismissed)
    }

    /// The client ends its session because it was told to, not because it has waited for long enough.
    pub fn dismiss(&self) {
        self.0.with(|inner| inner.is_dismissed = true);
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.0.with(|inner| matches!(inner.state, State::Closed))
    }

    /// The client is gone. What has arrived already must be given back.
    pub fn close(&self) -> Option<Outcome> {
        let (before, driver) = self.0.with(|inner| {
            (std::mem::replace(&mut inner.state, State::Closed), inner.driver.take())
        });
        if let Some(driver) = driver {
            driver.wake();
        }
        match before {
            State::Full(outcome) => Some(outcome),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Delivered, Fare, Mailbox, Outcome, PART_MAX, Ridden};
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

    #[test]
    fn an_answer_stays_in_order_and_waits_for_room() {
        let (mailbox, waker) = (Mailbox::default(), Waker::noop());
        let cx = &Context::from_waker(waker);
        let deliver_part =
            |bytes: &[u8], to_come| mailbox.deliver_part(&mut bytes.to_vec(), to_come, waker);
        let deliver = |bytes: &[u8]| deliver_part(bytes, 0);
        assert_eq!(deliver_part(b"ab", 7), Delivered::ToClient);
        assert_eq!(deliver_part(b"c", 6), Delivered::ToClient);
        let Poll::Ready(Outcome::Ridden(Ridden::Part(part))) = mailbox.poll(cx) else {
            panic!("a part")
        };
        assert_eq!((&*part.bytes, part.to_come), (&b"abc"[..], 6));
        assert_eq!(deliver(&vec![b'd'; PART_MAX]), Delivered::ToClient);
        assert_eq!(deliver(b"e"), Delivered::Full);
        let mut fare = Box::<Fare>::default();
        fare.answer = b"e".to_vec();
        mailbox.deliver(Outcome::Ridden(Ridden::Answered(fare))).unwrap();
        let Poll::Ready(Outcome::Ridden(Ridden::Answered(fare))) = mailbox.poll(cx) else {
            panic!("the rest")
        };
        assert_eq!((fare.answer.len(), fare.answer.last()), (PART_MAX + 1, Some(&b'e')));
        mailbox.close();
        assert_eq!(deliver(b"f"), Delivered::Nowhere);
    }

    #[test]
    fn a_request_gets_aboard_once_and_not_without_its_client() {
        let mailbox = Mailbox::default();
        mailbox.offer(Box::default());
        assert!(!mailbox.is_aboard());
        assert!(mailbox.get_aboard().is_some() && mailbox.get_aboard().is_none());
        mailbox.offer(Box::default());
        mailbox.close();
        assert!(mailbox.get_aboard().is_none());
    }
}
