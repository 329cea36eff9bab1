//! What every pool and host is doing, at one moment: what console and metrics show.

use super::registry::Registry;
use super::{Host, Pool};
use crate::base::ids::PoolId;
use crate::config::PoolMode;
use crate::config::classes::ClassLimits;
use crate::scheduler::logins::LoginsView;
use crate::scheduler::{ClassView, Condition, Counts, Health, Rides, Strain};
use crate::stats::pool::{PoolTimes, PoolTotals};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name of those that are too many to have each a line of their own.
pub const LATER: &str = "(others)";

/// All pools by database and user, and all hosts by name.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub pools: Vec<PoolView>,
    pub hosts: Vec<HostView>,
    /// Connections of clients, those that log in included.
    pub clients: u32,
    /// Sessions of the console.
    pub consoles: u32,
    pub logins: LoginsView,
}

#[derive(Clone, Debug)]
pub struct PoolView {
    /// Within its host: the order in which pools came to be.
    pub id: PoolId,
    pub database: String,
    pub user: String,
    pub host: String,
    pub mode: PoolMode,
    pub size: u32,
    pub reserve: u32,
    /// Who is in.
    pub clients: u32,
    pub counts: Counts,
    pub rides: Rides,
    /// Of the idle servers, those that will be checked before they are lent.
    pub to_be_checked: u32,
    pub longest_wait: Duration,
    pub condition: Condition,
    pub strain: Strain,
    /// Why the host, or this pool's login to it, fails. `None`: as far as is known, it does not.
    pub failure: Option<String>,
    pub totals: PoolTotals,
    pub times: PoolTimes,
}

#[derive(Clone, Debug)]
pub struct HostView {
    pub name: String,
    pub max_connections: Option<u32>,
    pub counts: Counts,
    /// Why it cannot be reached. `None`: as far as is known, it can.
    pub failure: Option<String>,
}

/// A class on one host: what its clients have and wait for there.
#[derive(Clone, Debug)]
pub struct ClassOfHost {
    pub host: String,
    pub class: ClassView,
}

impl PoolView {
    /// Adds what another has and did; the names and what is no number stay.
    pub fn add(&mut self, other: &Self) {
        self.size += other.size;
        self.reserve += other.reserve;
        self.clients += other.clients;
        self.counts.add(&other.counts);
        self.rides.add(&other.rides);
        self.to_be_checked += other.to_be_checked;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.totals += other.totals;
        self.times.add(&other.times);
    }

    /// Clients that have a server, or ask for none.
    pub fn active_clients(&self) -> u32 {
        self.clients.saturating_sub(self.counts.waiting)
    }
}

impl Registry {
    /// Looks at everything. Each pool's numbers are of one moment; the pools come one after the other,
    /// so that nobody waits for a lock longer than for one of them.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut pools: Vec<_> = self.pools().iter().map(|pool| pool.view(now)).collect();
        for pool in self.leaving() {
            let view = pool.view(now);
            let key = (&view.database, &view.user);
            match pools.iter_mut().find(|other| (&other.database, &other.user) == key) {
                // The same pool on another host. Clients that have not asked for anything since are
                // on their way there; what is left of its servers shows at its own host.
                Some(other) => other.clients += view.clients,
                None => pools.push(view),
            }
        }
        pools.sort_unstable_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        Snapshot {
            pools,
            hosts: self.hosts().map(|host| host.view()).collect(),
            clients: self.clients(),
            consoles: self.consoles(),
            logins: self.door.view(),
        }
    }

    /// The classes that were used so far, by host, and in the order that they came to be. Each one's
    /// numbers are of one moment. Apart from the rest: their histograms are large, and few ask.
    pub fn classes(&self, now: Instant) -> Vec<ClassOfHost> {
        self.classes_up_to(now, usize::MAX)
    }

    /// The same, with no more than `most` of each host; those that came later are added up, as one more
    /// by the name of [`LATER`].
    pub fn classes_up_to(&self, now: Instant, most: usize) -> Vec<ClassOfHost> {
        let mut all: Vec<ClassOfHost> = Vec::new();
        for host in self.hosts() {
            let before = all.len();
            for class in host.scheduler.with(|scheduler| scheduler.classes()) {
                let class = host.scheduler.with(|scheduler| {
                    scheduler.is_class_used(class).then(|| scheduler.class(now, class))
                });
                let Some(mut class) = class else { continue };
                match (all.len() - before).cmp(&most) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        LATER.clone_into(&mut class.name);
                        class.limits = ClassLimits::default();
                    }
                    Ordering::Greater => {
                        all.last_mut().expect("as many as may be").class.add(&class);
                        continue;
                    }
                }
                all.push(ClassOfHost { host: host.name.clone(), class });
            }
        }
        all
    }
}

impl Pool {
    fn view(self: &Arc<Self>, now: Instant) -> PoolView {
        let setup = self.setup();
        let ((counts, rides), longest_wait, condition, strain, failing, to_be_checked) =
            self.host.scheduler.with(|scheduler| {
                let longest_wait = scheduler.longest_wait(now, self.id);
                let strain = scheduler.strain(now, self.id);
                let failing = error_of(scheduler.health())
                    .or_else(|| error_of(scheduler.login_health(self.id)));
                let (counts, condition) = (scheduler.counts(self.id), scheduler.condition(self.id));
                let to_be_checked = scheduler.to_be_checked(now, self.id);
                let counts = (counts, scheduler.rides(self.id));
                (counts, longest_wait, condition, strain, failing, to_be_checked)
            });
        PoolView {
            id: self.id,
            database: self.database.clone(),
            user: self.user.clone(),
            host: self.host.name.clone(),
            mode: setup.settings.pool_mode,
            size: setup.settings.pool_size,
            reserve: setup.settings.reserve_pool_size,
            clients: self.clients.used(),
            counts,
            rides,
            to_be_checked,
            longest_wait,
            condition,
            strain,
            failure: failing.map(|error| error.message.clone()),
            totals: self.stats.totals(),
            times: self.stats.times(),
        }
    }
}

impl Host {
    fn view(&self) -> HostView {
        let (counts, health) =
            self.scheduler.with(|scheduler| (scheduler.host_counts(), scheduler.health()));
        let failure = error_of(health).map(|error| error.message.clone());
        HostView {
            name: self.name.clone(),
            max_connections: self.setup().max_connections,
            counts,
            failure,
        }
    }
}

fn error_of<E>(health: Health<E>) -> Option<E> {
    match health {
        Health::Failing { error, .. } => Some(error),
        Health::Working => None,
    }
}
