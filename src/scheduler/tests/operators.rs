//! What operators do to a [`World`].

use super::broken::Broken;
use super::model::Server;
use super::world::World;
use super::{A, COMMON, host, ms, sized, spec};
use crate::base::ids::{ClientId, PoolId};
use crate::config::overload::Shed;
use crate::scheduler::HostLimits;
use crate::scheduler::PoolLimits;
use crate::scheduler::PoolSpec;

impl World {
    /// An operator ends one that waits.
    pub(super) fn dismiss(&mut self, client: u64) {
        let client = ClientId(client);
        assert_eq!(self.scheduler.dismiss(self.now, self.tickets[&client]), Some(client));
        self.model.dismiss(client);
        self.settle(false);
    }

    pub(super) fn set_limits(&mut self, pool: PoolId, mut limits: PoolLimits) {
        let PoolSpec { database, user, .. } = self.model.spec(pool).clone();
        for other in &mut self.model.pools {
            if other.database == database {
                other.limits.database_max = limits.database_max;
            }
            if other.user == user {
                other.limits.user_max = limits.user_max;
            }
        }
        self.model.pools[pool.0 as usize].limits = limits.clone();
        limits.size += u32::from(self.is_broken(Broken::PoolOneOver));
        if let Some(share) = &mut limits.share {
            share.depth += u32::from(self.is_broken(Broken::DepthOneOver));
        }
        self.scheduler.set_limits(self.now, pool, limits);
        self.settle(false);
    }

    pub(super) fn pause(&mut self, pool: PoolId) {
        self.model.paused[pool.0 as usize] = true;
        self.scheduler.set_paused(self.now, pool, true);
        self.settle(false);
    }

    pub(super) fn resume(&mut self, pool: PoolId) {
        if std::mem::take(&mut self.model.paused[pool.0 as usize]) {
            self.model.resumed_at[pool.0 as usize] = Some(self.now);
        }
        self.scheduler.set_paused(self.now, pool, false);
        self.settle(false);
    }

    pub(super) fn retire(&mut self, pool: PoolId) {
        let of_pool = |server: &&mut Server| server.slot.pool == pool;
        let servers = self.model.servers.iter_mut();
        servers.filter(of_pool).for_each(|server| server.is_retired = true);
        self.note_left();
        self.scheduler.retire(self.now, pool);
        self.settle(false);
    }

    pub(super) fn redirect(&mut self, pool: PoolId) {
        let of_pool = |server: &&mut Server| server.slot.pool == pool;
        let servers = self.model.servers.iter_mut();
        servers.filter(of_pool).for_each(|server| server.is_retired = true);
        self.note_left();
        self.scheduler.redirect(self.now, pool);
        self.settle(false);
    }

    /// A cancel request for this client's server is on its way and is waited for no longer.
    pub(super) fn cancel_lost_of(&mut self, client: u64) {
        let pool = self.chairs[&ClientId(client)].pool;
        self.cancel(pool, client).expect("it has a server");
        let slot = self.cancels.pop().expect("the request for it");
        let server = self.model.server(slot);
        (server.cancels, server.is_retired) = (server.cancels - 1, true);
        self.note_left();
        self.scheduler.cancel_lost(self.now, slot);
        self.settle(false);
    }

    /// Answers with those who were sent away.
    pub(super) fn send_away(&mut self, pool: PoolId) -> Vec<ClientId> {
        let sent = self.scheduler.send_away(self.now, pool);
        for client in &sent {
            self.model.unqueue(*client);
            self.tickets.remove(client);
        }
        self.settle(false);
        sent
    }

    pub(super) fn set_host_limits(&mut self, mut limits: HostLimits) {
        self.model.host = limits;
        if self.is_broken(Broken::HostOneOver) {
            limits.max_connections = limits.max_connections.map(|most| most + 1);
        }
        self.scheduler.set_host_limits(self.now, limits);
        self.settle(false);
    }
}

/// The same time in line, and the same end of it, but for the reason.
#[test]
fn who_is_ended_by_an_operator_has_shown_no_patience() {
    for is_operator in [true, false] {
        let limits = HostLimits { shed: Shed::Auto, ..host(None) };
        let mut world = World::new(limits, &[spec("a", "x", sized(1))], 1);
        (1..=6).for_each(|client| world.ask(A, client));
        world.connect_all();
        world.run(ms(400));
        (2..=6).for_each(
            |client| if is_operator { world.dismiss(client) } else { world.leave(client) },
        );
        world.run(ms(100));
        let patience = world.scheduler.class(world.now, COMMON).patience;
        assert_eq!(patience.is_none(), is_operator, "{patience:?}");
    }
}
