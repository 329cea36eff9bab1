//! How hard it is on a pool, and who has how much of it: for whoever asks why clients wait.

use super::Scheduler;
use super::class::{Class, Usage};
use super::terms::Site;
use crate::base::ids::{ClassId, PoolId};
use std::time::{Duration, Instant};

/// Who had less server time than this lately has no share.
const NOTHING: f64 = 1e-3;

/// How hard it is on a pool.
#[derive(Clone, Debug, Default)]
pub struct Strain {
    /// The shortest of its classes; of those that are being shed, if there are any.
    pub limit: Option<WaitLimit>,
    /// Requests in the last minute, for whatever reason.
    pub refused: u32,
    /// Requests in the last minute whose clients left the queue.
    pub abandoned: u32,
}

/// How long a request may wait before it is refused for overload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WaitLimit {
    pub longest: Duration,
    /// After which clients were seen to give up, if the limit follows from that.
    pub patience: Option<Duration>,
}

/// Parts of the server time that pools gave lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// What the class had, of all that the pools it uses gave.
    pub had: f64,
    /// What it would have had by its weight: of the time that classes of its priority had, beside
    /// those of them that asked.
    pub fair: f64,
}

/// How near its limits a class is, beyond what is counted in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// Transactions that may begin at once. `None`: any number.
    pub transactions: Option<f64>,
    /// Seconds of server time that are left; less than none when it is in debt.
    pub server_time: Option<f64>,
    /// Client addresses in it.
    pub addresses: u32,
    /// The most that any one of them has.
    pub clients: u32,
    pub in_flight: u32,
    pub queued: u32,
}

impl<S: Site> Scheduler<S> {
    /// How hard it is on a pool just now.
    pub fn strain(&self, now: Instant, pool: PoolId) -> Strain {
        let (of, moment) = (self.of(pool), self.moment(now));
        Strain {
            limit: self.wait_limit(pool),
            refused: of.refused.sum(moment),
            abandoned: of.abandoned.sum(moment),
        }
    }

    fn wait_limit(&self, pool: PoolId) -> Option<WaitLimit> {
        let is_shedding = |line: &u32| self.queue.line(*line).flow.shed_at.is_some();
        let lines = self.queue.lines_of(pool).iter();
        let shedding = lines.clone().filter(|line| is_shedding(line));
        let shortest = shedding.filter_map(|line| self.limit_of(*line)).min_by_key(|it| it.longest);
        shortest
            .or_else(|| lines.filter_map(|line| self.limit_of(*line)).min_by_key(|it| it.longest))
    }

    /// What a class had of the pools that it uses. `None`: nobody had anything of them lately.
    pub(super) fn shares(&self, class: ClassId) -> Option<Shares> {
        let of = self.classes.of(class);
        let lately = |line: u32| self.queue.line(line).flow.lately.seconds();
        let (mut had, mut fair, mut all) = (0.0, 0.0, 0.0);
        for &own in &of.lines {
            let lines = self.queue.lines_of(self.queue.line(own).pool);
            all += lines.iter().map(|line| lately(*line)).sum::<f64>();
            had += lately(own);
            if self.asks(own) {
                let peers = lines.iter().filter(|line| {
                    let peer = self.classes.of(self.queue.line(**line).class);
                    peer.limits.priority == of.limits.priority
                });
                let asking = peers.clone().filter(|line| self.asks(**line));
                let weights = asking.map(|line| self.classes.of(self.queue.line(*line).class));
                let weights: f64 = weights.map(Class::weight).sum();
                fair += peers.map(|line| lately(*line)).sum::<f64>() * of.weight() / weights;
            }
        }
        (all > NOTHING).then(|| Shares { had: had / all, fair: fair / all })
    }

    /// Whether a line has asked for servers lately.
    fn asks(&self, line: u32) -> bool {
        self.queue.line(line).flow.lately.seconds() > NOTHING || self.queue.length(line) > 0
    }

    pub(super) fn room(&self, now: Instant, class: ClassId) -> Room {
        let of = self.classes.of(class);
        let usage = &of.usage;
        let burst = of.limits.quota.rate.map_or(0, |rate| rate.burst);
        let mut room = Room {
            transactions: usage.transactions_left(now).map(|left| left.min(f64::from(burst))),
            server_time: usage.server_time_left(self.moment(now)),
            ..Room::default()
        };
        let of_one = |usage: &Usage| (usage.clients, usage.in_flight(), usage.queued);
        for (clients, in_flight, queued) in self.classes.sources_of(class).map(of_one) {
            room.addresses += u32::from(clients > 0);
            room.clients = room.clients.max(clients);
            room.in_flight = room.in_flight.max(in_flight);
            room.queued = room.queued.max(queued);
        }
        room
    }
}
