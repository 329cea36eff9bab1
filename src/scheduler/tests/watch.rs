//! What a scheduler wants done, seen by the model, and what is checked after every step.

use super::broken::Broken;
use super::world::{Event, Numbers, World};
use crate::base::ids::{ClientId, PoolId};
use crate::scheduler::Action;
use crate::scheduler::Counts;
use crate::scheduler::Health;
use crate::scheduler::RefusedFor;
use crate::scheduler::turn::PassedOver;
use std::collections::BTreeSet;
use std::time::Instant;

impl World {
    pub(super) fn settle(&mut self, ticked: bool) {
        self.obey(ticked);
        self.break_what_is_kept();
        self.check_gone();
        self.model.kept = self.model.pool_ids().map(|pool| self.scheduler.kept(pool)).collect();
        self.check(ticked);
        (self.model.is_told, self.model.newcomer) = (false, None);
        self.model.reversed.clear();
        self.note_reversed();
    }

    pub(super) fn obey(&mut self, ticked: bool) {
        self.note_reversed();
        self.note_kept();
        while let Some(action) = self.scheduler.next_action() {
            let event = self.act(action, ticked);
            self.events.extend(event);
        }
    }

    /// What a request that is served at once brings about: others are served before it, and places
    /// move after it.
    pub(super) fn obey_around(&mut self, lends: impl FnOnce(&mut Self)) {
        self.note_reversed();
        let actions: Vec<_> = std::iter::from_fn(|| self.scheduler.next_action()).collect();
        let is_before = |action: &Action<Numbers>| {
            let is_lent = matches!(action, Action::Grant { .. } | Action::Drive { .. });
            is_lent || matches!(action, Action::Board { .. } | Action::Check { .. })
        };
        let (before, after): (Vec<_>, Vec<_>) = actions.into_iter().partition(is_before);
        for action in before {
            let event = self.act(action, false);
            self.events.extend(event);
        }
        lends(self);
        for action in after {
            let event = self.act(action, false);
            self.events.extend(event);
        }
    }

    /// What is kept after a step may have been kept while others were served in it.
    fn note_kept(&mut self) {
        self.model.kept.resize(self.model.pools.len(), 0);
        for (kept, pool) in self.model.kept.iter_mut().zip(self.scheduler.slots.pools()) {
            *kept = self.scheduler.kept(pool).max(*kept);
        }
    }

    /// Lines in which the newest is first, before a step or after it.
    fn note_reversed(&mut self) {
        for line in 0..self.scheduler.queue.lines() {
            let of = self.scheduler.queue.line(line);
            if of.flow.is_reversed() {
                self.model.reversed.insert((of.pool, of.class));
            }
        }
    }

    fn act(&mut self, action: Action<Numbers>, ticked: bool) -> Option<Event> {
        let now = self.now;
        Some(match action {
            Action::Changed { before, condition, .. } => {
                assert_ne!(before, condition.state);
                return None;
            }
            Action::Board { client, slot, waited } => {
                let newcomer = self.scheduler.take_up(slot).expect("somebody got aboard");
                assert_eq!((newcomer.client, newcomer.waited), (client, waited));
                assert_eq!((newcomer.to, waited), (client, now - self.since(client)));
                self.check_need(slot.pool);
                self.model.on_board(now, client, slot);
                Event::Boarded(client, self.model.server(slot).conn)
            }
            Action::Check { lease } => {
                self.model.on_check(now, lease.slot);
                let conn = lease.conn;
                self.checks.push(lease);
                Event::Checking(conn)
            }
            Action::Close { conn, pool, why } => {
                self.model.on_close(now, pool, conn, why);
                Event::Closed(pool, conn, why)
            }
            Action::Connect { slot } => {
                for health in [self.scheduler.health(), self.scheduler.login_health(slot.pool)] {
                    let is_early =
                        matches!(health, Health::Failing { retry_at, .. } if retry_at > now);
                    assert!(!is_early, "tried again too early");
                }
                // While the host is in trouble whole lines are refused, one by one.
                let is_host_well = matches!(self.scheduler.health(), Health::Working);
                let is_well = |pool: PoolId| {
                    is_host_well && matches!(self.scheduler.login_health(pool), Health::Working)
                };
                self.model.on_connect(now, slot, ticked, is_well);
                self.connecting.push(slot);
                Event::Connecting(slot.pool)
            }
            Action::Drive { to, client, lease, waited } => {
                assert_eq!((to, waited), (client, now - self.since(to)));
                self.check_need(lease.slot.pool);
                self.model.on_drive(now, to, lease.slot, lease.conn);
                let conn = lease.conn;
                self.drives.push(lease);
                Event::Driven(to, conn)
            }
            Action::Gone { pool } => {
                let is_out = self.model.is_paused(pool) && self.model.open_of(pool) == 0;
                assert!(is_out || self.model.retired(pool) == 0, "not gone");
                self.gone_of.insert(pool);
                return None;
            }
            Action::Grant { to, lease, waited } => {
                assert_eq!(waited, now - self.since(to));
                self.model.on_grant(now, to, lease.slot, lease.conn);
                let conn = lease.conn;
                self.leases.push((to, lease));
                Event::Granted(to, conn)
            }
            Action::Miss { to } => panic!("{to:?} was taken up at once"),
            Action::Refuse { to, refusal } => {
                self.model.on_refuse(now, to, &refusal);
                Event::Refused(to, refusal)
            }
        })
    }

    fn since(&self, client: ClientId) -> Instant {
        let mut waiters = self.model.lines.iter().flatten();
        waiters.find(|waiter| waiter.client == client).expect("it waits").since
    }

    fn check(&self, ticked: bool) {
        let mut all = Counts::default();
        for pool in self.model.pool_ids() {
            let counts = self.scheduler.counts(pool);
            assert_eq!(counts, self.model.counts(pool), "{pool:?}");
            all.waiting += counts.waiting;
            let leases = self.leases.iter().map(|(_, lease)| lease).chain(&self.drives);
            let held =
                leases.filter(|lease| lease.slot.pool == pool && self.deserted != Some(lease.slot));
            assert_eq!(self.scheduler.holders(pool).count(), held.count());
            self.check_rides(pool);
            let failing = |health| {
                matches!(health, Health::Failing { since, .. }
                if self.now - since >= self.model.host.down_hold)
            };
            let is_down = failing(self.scheduler.health());
            if ticked && is_down && self.model.live(pool) == 0 && !self.model.is_paused(pool) {
                assert_eq!(self.model.waiting(pool), 0, "waits for a host that is down");
            }
        }
        self.check_classes();
        self.check_peopled();
        self.check_contention();
        let host = self.scheduler.host_counts();
        assert_eq!(host.open() as usize, self.model.servers.len());
        assert_eq!(host.waiting, all.waiting);
        let may_try = |pool: PoolId| {
            let healths = [self.scheduler.health(), self.scheduler.login_health(pool)];
            let is_probing = !matches!(healths[1], Health::Working)
                && self.scheduler.counts(pool).connecting > 0;
            !is_probing
                && healths.iter().all(|health| match health {
                    // What time brings about is due at the next tick.
                    Health::Failing { retry_at, .. } => ticked && *retry_at <= self.now,
                    Health::Working => true,
                })
        };
        self.model.check(self.now, ticked, may_try);
    }

    /// Whoever waits for servers to be gone is told when they are.
    fn check_gone(&mut self) {
        for (pool, (was_out, was_new)) in self.model.pool_ids().zip(std::mem::take(&mut self.left))
        {
            let is_out = self.model.is_paused(pool) && self.model.open_of(pool) == 0;
            let is_new = self.model.retired(pool) == 0;
            let is_news = (is_out && !was_out) || (is_new && !was_new);
            assert!(!is_news || self.gone_of.contains(&pool), "nobody is told that they are gone");
            assert_eq!(self.scheduler.is_out(pool), self.model.open_of(pool) == 0);
            assert_eq!(self.scheduler.retired(pool) as usize, self.model.retired(pool));
        }
        self.gone_of.clear();
        self.note_left();
    }

    /// Which pools have no server left, or none that is retired.
    pub(super) fn note_left(&mut self) {
        let left = |pool| (self.model.open_of(pool) == 0, self.model.retired(pool) == 0);
        self.left = self.model.pool_ids().map(left).collect();
    }

    /// What a scheduler that is broken on purpose forgets between two steps.
    fn break_what_is_kept(&mut self) {
        if self.is_broken(Broken::FloorForgotten) {
            for pool in self.model.pool_ids() {
                self.scheduler.of_mut(pool).passed_over = PassedOver::default();
            }
        }
        if self.is_broken(Broken::KeptForEver) {
            for line in 0..self.scheduler.queue.lines() {
                self.scheduler.queue.line_mut(line).flow.absence.keep_for_ever();
            }
        }
    }

    /// Lines with clients in them, waiting or not.
    fn check_peopled(&self) {
        for pool in self.model.pool_ids() {
            let chairs = self.chairs.values().filter(|chair| chair.pool == pool);
            let classes: BTreeSet<_> = chairs.map(|chair| chair.seat.class).collect();
            assert_eq!(self.scheduler.queue.peopled(pool) as usize, classes.len(), "{pool:?}");
        }
    }

    fn check_classes(&self) {
        let accounts = &self.model.accounts;
        for (class, (account, tally)) in
            self.scheduler.classes().zip(accounts.classes.iter().zip(&accounts.tallies))
        {
            let of = self.scheduler.classes.of(class);
            let has = (of.usage.clients, of.usage.in_flight(), of.usage.queued);
            assert_eq!(has, (account.clients, account.in_flight(), account.queued), "{class:?}");
            assert_eq!(of.counters.service.sum(), account.used, "{class:?} is charged for others");
            let refused: u64 =
                RefusedFor::ALL.iter().map(|reason| of.counters.refused_for(*reason)).sum();
            let counted = [of.counters.granted, of.counters.queued, refused, of.counters.abandoned];
            assert_eq!(counted, [tally.granted, tally.queued, tally.refused, tally.abandoned]);
        }
    }
}
