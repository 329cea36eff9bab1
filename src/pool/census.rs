//! Every server and every waiter of a pool, at one moment.

use super::Pool;
use crate::base::ids::ClientId;
use crate::net::stream::Ends;
use crate::scheduler::{SlotRef, SlotView, Ticket, WaitCause, WaiterView};
use crate::session::settings::Settings;
use std::sync::Arc;
use std::time::Instant;

/// Waiters that are asked about under one lock, at most: whoever wants a server waits meanwhile.
const ASKED_AT_ONCE: usize = 64;

/// What is known of a server, whoever has it.
#[derive(Clone, Debug)]
pub struct About {
    /// Its process id in Postgres. `None`: it is being opened.
    pub pid: Option<u32>,
    /// `None`: at a unix socket, or being opened.
    pub ends: Option<Arc<Ends>>,
    /// What clients have set on it, while nobody has it.
    pub applied: Option<Arc<Settings>>,
    /// How many statements it has.
    pub prepared: u32,
}

/// All servers and waiters of one pool.
#[derive(Clone, Debug)]
pub struct PoolCensus {
    pub servers: Vec<SlotView<About>>,
    /// In no order.
    pub waiters: Vec<WaiterView>,
    /// Who shares servers behind those that have them.
    pub followers: Vec<(ClientId, SlotRef)>,
}

impl Pool {
    pub fn census(&self, now: Instant) -> PoolCensus {
        self.host.scheduler.with(|scheduler| PoolCensus {
            servers: scheduler.servers(now, self.id, |key, server| About {
                pid: key.map(|key| key.pid),
                ends: key.and_then(|key| key.ends.clone()),
                applied: server.map(|server| Arc::clone(&server.applied)),
                prepared: key.map_or(0, |key| key.statements.get()),
            }),
            waiters: scheduler.waiters(self.id),
            followers: scheduler.followers(self.id).collect(),
        })
    }

    /// What each of these waits for. `None`: it does not wait any more.
    pub fn causes(&self, now: Instant, tickets: &[Ticket]) -> Vec<Option<WaitCause>> {
        let asked = tickets.chunks(ASKED_AT_ONCE).map(|tickets| {
            self.host.scheduler.with(|scheduler| {
                let cause = |ticket: &Ticket| scheduler.why_waits(now, *ticket);
                tickets.iter().map(cause).collect::<Vec<_>>()
            })
        });
        asked.flatten().collect()
    }
}
