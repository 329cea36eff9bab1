//! A client's place in the queue.

use super::mailbox::{Mailbox, Outcome, Ridden};
use super::{Lease, Pool, Refusal};
use crate::base::ids::ClientId;
use crate::net::worker::Worker;
use crate::scheduler::{Member, Request, Ride, Ticket, WaitCause};
use crate::session::fare::Stays;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What a wait has come to. It is over, but for a [part](Ridden::Part) of an answer.
#[derive(Debug)]
pub enum Waited {
    /// By the client itself, through a cancel request.
    Canceled,
    Granted {
        lease: Lease,
        waited: Duration,
    },
    /// Its pool is another one now: it is to ask there.
    Moved,
    Refused(Refusal),
    Ridden(Ridden),
}

/// A place in the queue. Dropped, it is left; a server that was granted meanwhile goes back.
pub struct Waiting {
    pool: Arc<Pool>,
    worker: Rc<Worker>,
    mailbox: Arc<Mailbox>,
    ticket: Ticket,
    client: ClientId,
    member: Member,
    since: Instant,
    deadline: Option<Instant>,
    ride: Option<Ride>,
    is_over: bool,
}

impl Pool {
    /// Queues for a server; with `ride`, for a place on one that others share: the request is in the mailbox.
    ///
    /// # Errors
    ///
    /// When it is known now that none can be had.
    pub fn wait(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        (client, member): (ClientId, Member),
        mailbox: &Arc<Mailbox>,
        deadline: Option<Instant>,
        ride: Option<Ride>,
    ) -> Result<Waiting, Refusal> {
        let handle = Arc::clone(mailbox);
        let request =
            Request { client, member, worker: worker.id, deadline, handle, again: None, ride };
        let ticket = self.enqueue(worker, request)?;
        Ok(Waiting {
            pool: Arc::clone(self),
            worker: Rc::clone(worker),
            mailbox: Arc::clone(mailbox),
            ticket,
            client,
            member,
            since: worker.now(),
            deadline,
            ride,
            is_over: false,
        })
    }

    fn enqueue(
        self: &Arc<Self>,
        worker: &Rc<Worker>,
        request: Request<Arc<Mailbox>>,
    ) -> Result<Ticket, Refusal> {
        let (ticket, action) = self.host.scheduler.with(|scheduler| {
            let ticket = scheduler.enqueue(worker.now(), request);
            (ticket, scheduler.next_action())
        });
        self.host.act(worker, action);
        ticket.map_err(|(_, refusal)| refusal)
    }
}

impl Waiting {
    /// Waits for what comes of it. A server that died while it was idle is replaced from the front of
    /// the queue; and to there goes back who could not get aboard of one.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Waited> {
        loop {
            let waited = match ready!(self.mailbox.poll(cx)) {
                Outcome::Granted { lease, waited, is_shared } => {
                    match self.pool.check_arrival(&self.worker, lease) {
                        Some(lease) if is_shared => {
                            let head = Some((Arc::clone(&self.mailbox), waited));
                            self.pool.drive(&self.worker, lease, self.client, head);
                            continue;
                        }
                        Some(lease) => Some(Waited::Granted { lease, waited }),
                        None => self.ask_again(),
                    }
                }
                Outcome::Missed => {
                    let stays = &self.pool.stats.of(self.worker.id).stays;
                    stays[Stays::Missed as usize].add(1);
                    self.ride = None;
                    // It was granted a place in time: that it has none now is another's doing.
                    let patience = self.deadline.map(|it| it.saturating_duration_since(self.since));
                    self.deadline = patience.map(|patience| self.worker.now() + patience);
                    self.ask_again()
                }
                Outcome::Canceled => Some(Waited::Canceled),
                Outcome::Moved => Some(Waited::Moved),
                Outcome::Refused(refusal) => Some(Waited::Refused(refusal)),
                Outcome::Ridden(ridden) => Some(Waited::Ridden(ridden)),
            };
            if let Some(waited) = waited {
                self.is_over = !matches!(waited, Waited::Ridden(Ridden::Part(_)));
                return Poll::Ready(waited);
            }
        }
    }

    /// From the front of the queue. `Some`: that is refused.
    fn ask_again(&mut self) -> Option<Waited> {
        let request = Request {
            client: self.client,
            member: self.member,
            worker: self.worker.id,
            deadline: self.deadline,
            handle: Arc::clone(&self.mailbox),
            again: Some(self.since),
            ride: self.ride,
        };
        let asked = self.pool.enqueue(&self.worker, request);
        asked.map(|ticket| self.ticket = ticket).map_err(Waited::Refused).err()
    }

    /// Whether a driver has its request.
    #[inline]
    pub fn is_aboard(&self) -> bool {
        self.ride.is_some() && self.mailbox.is_aboard()
    }

    /// What it waits for. `None`: it has ended just now.
    pub fn cause(&self) -> Option<WaitCause> {
        let now = self.worker.now();
        self.pool.host.scheduler.with(|scheduler| scheduler.why_waits(now, self.ticket))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (now, is_dismissed) = (self.worker.now(), self.mailbox.is_dismissed());
        let (left, action) = self.pool.host.scheduler.with(|scheduler| {
            let left = if is_dismissed {
                scheduler.dismiss(now, self.ticket)
            } else {
                scheduler.leave(now, self.ticket)
            };
            (left, scheduler.next_action())
        });
        self.pool.host.act(&self.worker, action);
        if left.is_none()
            && let Some(Outcome::Granted { lease, is_shared, .. }) = self.mailbox.close()
        {
            if is_shared {
                // Others may be aboard already.
                self.pool.drive(&self.worker, lease, self.client, None);
            } else {
                self.pool.give_back(&self.worker, lease);
            }
        }
    }
}
