//! Drives a shared server: sends what comes aboard, shares out what comes back.

mod ending;
mod fitting;
mod lull;
mod watch;

use self::fitting::fit;
use self::lull::Lull;
use super::riders::{Came, Lost, ROOM, Rider, Riders, ends};
use super::{Bell, FirstHead};
use crate::base::ids::ClientId;
use crate::net::deadline::Deadline;
use crate::net::flow::Flow;
use crate::net::stream::Link;
use crate::net::worker::Worker;
use crate::pool::mailbox::{Delivered, Mailbox, Outcome, Ridden};
use crate::pool::{Lease, Pool, Postgres};
use crate::scheduler::{Action, Berth, Newcomer, Next, Scheduler, SlotRef};
use crate::server::Server;
use crate::session::statements::{Moment, To};
use crate::session::traces::Trace;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// So much of an answer that is not whole goes to its client.
const PART: usize = 16 << 10;

/// So much of an answer is kept that may turn out to be of no use, because a cancel request for another may hit
/// it; and as much again once the request is over: what comes then was made behind it, as sockets hold no more.
const DOUBTFUL: usize = 1 << 20;

/// Why a drive is over.
enum Over {
    /// Nobody is aboard any more.
    Empty,
    Lost(Lost),
}

impl From<Lost> for Over {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

type Newcomers = VecDeque<Newcomer<Arc<Mailbox>>>;

pub(super) struct Driver {
    pool: Arc<Pool>,
    worker: Rc<Worker>,
    slot: SlotRef,
    /// `None` once it is given back or lost.
    server: Option<Box<Server>>,
    bell: Arc<Bell>,
    riders: Riders,
    /// From the server.
    inflow: Flow,
    came: Came,
    /// Since when the head is at the head.
    since: Instant,
    is_stalled: bool,
    /// The head's client does not take its answer.
    is_blocked: bool,
    /// A cancel request is under way, which may hit whoever is sent now.
    is_canceling: bool,
    /// Nobody is aboard any more since then, and those who have left are still to be answered.
    tidying_since: Option<Instant>,
    deadline: Deadline,
    lull: Lull,
}

impl Driver {
    pub(super) fn new(pool: &Arc<Pool>, worker: &Rc<Worker>, lease: Lease) -> Self {
        let Lease { slot, conn } = lease;
        worker.courtesy.drive_begins();
        Self {
            bell: pool.share.bell(slot),
            pool: Arc::clone(pool),
            worker: Rc::clone(worker),
            slot,
            server: Some(conn),
            riders: Riders::with_room(),
            inflow: Flow::default(),
            came: Came::with_room(),
            since: worker.now(),
            is_stalled: false,
            is_blocked: false,
            is_canceling: false,
            tidying_since: None,
            deadline: Deadline::default(),
            lull: Lull::default(),
        }
    }

    pub(super) async fn drive(mut self, client: ClientId, head: FirstHead) {
        let over = match self.begin(client, head) {
            Ok(()) => std::future::poll_fn(|cx| self.poll(cx)).await,
            Err(over) => over,
        };
        self.worker.wake();
        self.wake_for_all();
        match over {
            Over::Empty => self.give_back(),
            Over::Lost(lost) => self.lose(lost),
        }
    }

    /// Puts the first head on, and takes up who has come since.
    fn begin(&mut self, client: ClientId, head: FirstHead) -> Result<(), Over> {
        let server = self.server.as_mut().expect("it has just come");
        if !server.adopt(&self.worker).is_ok_and(|unasked| !unasked || server.read_unasked()) {
            if let Some((mailbox, _)) = head {
                drop(mailbox.deliver(Outcome::Missed));
            }
            return Err(Lost::because("it was lost while idle").into());
        }
        let fare = head.and_then(|(mailbox, waited)| {
            let mut fare = mailbox.get_aboard()?;
            (fare.waited, fare.aboard) = (waited, Some(self.since));
            Some((mailbox, fare))
        });
        let newcomers = match fare {
            Some((mailbox, fare)) => {
                let head = (client, Berth::default());
                self.put_on(Rider::new(head, mailbox, fare))?
            }
            None => self.miss(client)?,
        };
        self.put_all_on(newcomers)?;
        self.take_up()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.worker.wake();
        let over = self.go_on(cx);
        over.map_or_else(Poll::Ready, |()| Poll::Pending)
    }

    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let news = self.bell.hear(cx.waker());
        if news.is_cancel_over {
            self.is_canceling = false;
        }
        // Who is to be cancelled may have got aboard a moment ago.
        if news.is_boarded || !news.canceled.is_empty() {
            self.take_up()?;
        }
        for berth in news.canceled {
            let rider = self.riders.iter_mut().find(|rider| rider.berth == berth);
            if let Some(rider) = rider {
                rider.is_to_be_canceled = true;
            }
        }
        loop {
            self.cancel_head();
            self.write(cx);
            if self.is_blocked {
                self.give_part(cx);
            }
            if self.is_blocked || !self.read(cx)? {
                break;
            }
            self.share_out(cx)?;
        }
        // What is there already is read first: the time that it had to wait is nobody's.
        if self.rest(cx) { Ok(()) } else { self.watch(cx) }
    }

    /// Takes up those who got aboard.
    fn take_up(&mut self) -> Result<(), Over> {
        let newcomers = self.pool.host.scheduler.with(|scheduler| newcomers(scheduler, self.slot));
        self.put_all_on(newcomers)
    }

    /// Puts them on, and those who get aboard in the place of who cannot be. Nobody is behind a head that has
    /// stalled.
    fn put_all_on(&mut self, mut newcomers: Newcomers) -> Result<(), Over> {
        while let Some(Newcomer { client, berth, to, waited }) = newcomers.pop_front() {
            newcomers.append(&mut match to.get_aboard() {
                Some(mut fare) if !self.is_stalled => {
                    (fare.waited, fare.aboard) = (waited, Some(self.worker.now()));
                    self.put_on(Rider::new((client, berth), to, fare))?
                }
                Some(_) => {
                    let others = self.miss(client);
                    drop(to.deliver(Outcome::Missed));
                    others?
                }
                None => self.miss(client)?,
            });
        }
        Ok(())
    }

    /// Sends a request, if the server can do with it. Answers with who came in its place if not.
    fn put_on(&mut self, mut rider: Rider) -> Result<Newcomers, Over> {
        let server = &mut **self.server.as_mut().expect("it is driven");
        let (now, pool) = (self.worker.now(), &self.pool);
        rider.begins = self.riders.out.end();
        let is_fit = fit(server, &mut rider, self.riders.out.bytes(), pool);
        let to = To {
            prepared: &mut server.prepared,
            ledger: &mut server.ledger,
            out: self.riders.out.bytes(),
            pool: (&pool.database, &pool.user),
            moment: Moment { at: now, epoch: pool.host.schema_epoch() },
        };
        let is_sent = is_fit && rider.fare.send(to);
        if rider.fare.ahead().is_some() {
            let cells = pool.stats.of(self.worker.id);
            cells.parses_added.add(1);
            cells.statements_evicted.add(u64::from(server.prepared.take_evicted()));
        }
        if !is_sent {
            // It may be aboard of another as soon as it knows.
            let others = self.miss(rider.client);
            drop(rider.mailbox.deliver(rider.missed()));
            return others;
        }
        if self.riders.is_empty() {
            self.since = now;
        }
        rider.is_exposed = self.is_canceling;
        self.riders.push(rider);
        Ok(Newcomers::new())
    }

    /// Somebody who was granted a place is not on.
    fn miss(&mut self, client: ClientId) -> Result<Newcomers, Over> {
        let now = self.worker.now();
        let (next, newcomers, action) = self.pool.host.scheduler.with(|scheduler| {
            let next = scheduler.missed(now, self.slot, client);
            let newcomers = newcomers(scheduler, self.slot);
            (next, newcomers, next_but_boarding(scheduler, self.slot))
        });
        self.pool.host.act(&self.worker, action);
        if next == Next::Empty {
            self.nobody_is_aboard()?;
        }
        Ok(newcomers)
    }

    /// It is over when those are answered, too, who have left.
    fn nobody_is_aboard(&mut self) -> Result<(), Over> {
        if self.riders.is_empty() {
            return Err(Over::Empty);
        }
        if self.tidying_since.is_some() {
            return Ok(());
        }
        let (now, slot) = (self.worker.now(), self.slot);
        self.tidying_since = Some(now);
        let action = self.pool.host.scheduler.with(|scheduler| {
            scheduler.tidy_behind(now, slot);
            scheduler.next_action()
        });
        self.pool.host.act(&self.worker, action);
        Ok(())
    }

    /// Sends what there is. That the server takes no more shows when it is read: it may have said why.
    fn write(&mut self, cx: &mut Context<'_>) {
        let server = self.server.as_mut().expect("it is driven");
        let out = &mut self.riders.out;
        while !out.rest().is_empty() {
            match server.stream().poll_write(cx, out.rest()) {
                Poll::Pending | Poll::Ready(Err(_) | Ok(0)) => return,
                Poll::Ready(Ok(n)) => out.wrote(n),
            }
        }
    }

    /// Reads the server. Answers whether there is something new.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        let server = self.server.as_mut().expect("it is driven");
        match self.inflow.poll_fill(server.stream(), &self.worker, cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(n @ 1..)) => {
                self.pool.stats.of(self.worker.id).sent.add(n as u64);
                self.lull.read(self.worker.now());
                Ok(true)
            }
            Poll::Ready(Ok(0) | Err(_)) => Err(Lost::because("it closed the connection").into()),
        }
    }

    /// Gives each rider its part of what came.
    fn share_out(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let server = &mut **self.server.as_mut().expect("it is driven");
        let of = (&mut server.ledger, &mut server.prepared);
        let shared = self.riders.share_out(self.inflow.unseen(), of, &mut self.came);
        self.inflow.swallow(self.came.len);
        self.inflow.tidy(&self.worker);
        if std::mem::take(&mut self.came.is_plan_changed) {
            self.pool.host.schema_changed();
        }
        if std::mem::take(&mut self.came.is_notified) {
            server.traces.add(Trace::Listen);
        }
        for (name, value) in self.came.reported.drain(..) {
            // The server's own configuration has changed: those who come next have it set anew.
            if let Some(applied) = server.applied.shown(&name, &value) {
                server.applied = Arc::new(applied);
            }
        }
        if self.lull.came_late() && !self.came.answered.is_empty() {
            self.blame();
        }
        let passed = if self.came.answered.is_empty() { Ok(()) } else { self.pass_on() };
        shared?;
        passed?;
        self.give_part(cx);
        Ok(())
    }

    /// Hands the answers over.
    fn answer(&mut self) {
        let now = self.worker.now();
        let mut answered = std::mem::take(&mut self.came.answered);
        self.lull.answered(answered.len());
        for (at, rider) in ends(self.since, now, &answered).zip(&answered) {
            let took = rider.of_request(at.saturating_duration_since(self.since));
            self.since = at;
            let took = (!rider.has_failed && !self.lull.came_late()).then_some(took);
            self.pool.share.profiles.learn_shared(rider.fare.profile, took, rider.answer());
        }
        for rider in answered.drain(..) {
            // Who is gone may have been told why, and not have heard it so far.
            if rider.is_gone {
                continue;
            }
            let missed = rider.is_hit.then(|| rider.missed());
            let answered = || Outcome::Ridden(Ridden::Answered(rider.fare));
            drop(rider.mailbox.deliver(missed.unwrap_or_else(answered)));
        }
        self.came.answered = answered;
        (self.is_stalled, self.is_blocked) = (false, false);
    }

    /// Heads are answered: others are at the head, and others again get aboard. Before anybody is told: who
    /// has an answer may be back at once, and must not be aboard still.
    fn pass_on(&mut self) -> Result<(), Over> {
        let now = self.worker.now();
        let answered = &self.came.answered;
        if answered.iter().all(|rider| rider.has_left) {
            self.answer();
            return self.nobody_is_aboard();
        }
        let (next, newcomers, action) = self.pool.host.scheduler.with(|scheduler| {
            let ends = ends(self.since, now, answered).zip(answered);
            let ends = ends.filter(|(_, rider)| !rider.has_left).map(|(at, _)| at);
            let next = scheduler.pass_on(now, self.slot, ends);
            let newcomers = newcomers(scheduler, self.slot);
            (next, newcomers, next_but_boarding(scheduler, self.slot))
        });
        self.answer();
        self.pool.host.act(&self.worker, action);
        self.put_all_on(newcomers)?;
        if next == Next::Empty { self.nobody_is_aboard() } else { Ok(()) }
    }

    /// Gives the head what has come of a long answer.
    fn give_part(&mut self, cx: &Context<'_>) {
        self.is_blocked = false;
        let to_come = self.riders.to_come();
        let Some(head) = self.riders.head() else { return };
        if head.is_gone {
            head.fare.answer.clear();
            return;
        }
        let kept_max = if self.is_canceling { DOUBTFUL } else { 2 * DOUBTFUL };
        if head.is_exposed && head.fare.answer.len() >= kept_max {
            (head.is_exposed, self.is_blocked) = (self.is_canceling, self.is_canceling);
        }
        if head.fare.answer.len() >= PART && !head.is_exposed {
            let len = head.fare.answer.len();
            match head.mailbox.deliver_part(&mut head.fare.answer, to_come, cx.waker()) {
                Delivered::ToClient => head.fare.told += len,
                Delivered::Full => self.is_blocked = true,
                Delivered::Nowhere => {
                    (head.is_gone, head.is_to_be_canceled) = (true, true);
                    head.fare.answer.clear();
                }
            }
        }
        if self.is_blocked && !self.is_stalled {
            self.stall();
        }
    }
}

fn newcomers(scheduler: &mut Scheduler<Postgres>, slot: SlotRef) -> Newcomers {
    let mut newcomers = Newcomers::new();
    while let Some(newcomer) = scheduler.take_up(slot) {
        if newcomers.is_empty() {
            newcomers.reserve(ROOM);
        }
        newcomers.push_back(newcomer);
    }
    newcomers
}

/// What is to be done next. That somebody got aboard here is no news.
fn next_but_boarding(
    scheduler: &mut Scheduler<Postgres>,
    own: SlotRef,
) -> Option<Action<Postgres>> {
    loop {
        match scheduler.next_action() {
            Some(Action::Board { slot, .. }) if slot == own => {}
            action => return action,
        }
    }
}
