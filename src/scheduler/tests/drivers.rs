//! Random traffic with shared servers: the same days, with clients that ride and drivers around them.

use super::broken::Broken;
use super::simulation::{Day, simulate_sharing};
use super::{Random, ms, seeds};
use crate::base::ids::{ClientId, PoolId, WorkerId};
use crate::scheduler::{Ride, ShareLimits};
use std::time::Duration;

const SEEDS: u64 = 100;

#[test]
fn random_rides_keep_every_invariant() {
    let fails = |seed: &u64| std::panic::catch_unwind(|| simulate_sharing(*seed, None)).is_err();
    let failed: Vec<u64> = seeds(SEEDS).filter(fails).collect();
    assert!(failed.is_empty(), "seeds {failed:?}");
}

pub(super) fn random_share(random: &mut Random) -> Option<ShareLimits> {
    let (depth, ahead) = (1 + random.below(5), ms(1 + u64::from(random.below(20))));
    (random.below(5) > 0).then_some(ShareLimits { ahead, depth })
}

impl Day {
    /// Before a client asks: what for.
    pub(super) fn choose_ride(&mut self, client: ClientId) {
        self.world.rides.remove(&client);
        if self.random.below(8) > 0 {
            let expected = Duration::from_micros((50 + self.random.below(2_000)).into());
            let settings = u64::from(self.random.below(6) == 0);
            self.world.rides.insert(client, Ride { expected, settings });
        }
    }

    /// Many come for one pool, within a moment.
    pub(super) fn rush(&mut self) {
        self.world.events.clear();
        self.world.pass(Duration::from_micros(self.random.below(200).into()));
        match self.random.below(8) {
            0..=3 => self.drive(),
            4 => self.finish(),
            5 if !self.world.connecting.is_empty() => self.answer_connect(),
            _ => {
                let pool = PoolId(self.random.below(2));
                (0..=self.random.below(4)).for_each(|_| self.arrive_in(pool));
            }
        }
    }

    /// What happens to a shared server.
    pub(super) fn drive(&mut self) {
        let Some(at) = self.random.index(self.world.drives.len()) else { return };
        let slot = self.world.drives[at].slot;
        match self.random.below(40) {
            0 => {
                drop(self.world.drives.swap_remove(at));
                self.world.discard(slot);
            }
            1 => self.world.find_shared_dead(at),
            2..=3 => self.world.stall(at),
            4..=5 => self.world.cancel_head(at),
            6..=8 => {
                let aboard = self.world.model.aboard(slot);
                let which = self.random.index(aboard.len()).expect("its head");
                self.world.miss(at, aboard[which]);
            }
            _ => {
                let home = WorkerId(u16::try_from(self.random.below(3)).expect("small"));
                let aboard = self.world.model.aboard(slot).len();
                let more = self.random.index(aboard).expect("its head");
                let count = if self.random.below(2) == 0 { 1 } else { 1 + more };
                let home = (self.random.below(8) > 0).then_some(home);
                self.world.answered_at_once(at, u32::try_from(count).expect("few"), home);
            }
        }
    }

    pub(super) fn is_aboard(&self, client: ClientId) -> bool {
        let drives = self.world.drives.iter();
        drives.into_iter().any(|lease| self.world.model.aboard(lease.slot).contains(&client))
    }
}

/// Of those that are broken: what only shared servers show.
#[test]
fn whatever_is_broken_about_sharing_is_caught() {
    for broken in Broken::OF_SHARING {
        let fails = |seed: &u64| {
            std::panic::catch_unwind(|| simulate_sharing(*seed, Some(broken))).is_err()
        };
        assert!((1..=40).any(|seed| fails(&seed)), "{broken:?}: nobody noticed");
    }
}
