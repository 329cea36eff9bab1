//! Schedulers that are broken on purpose: the model must catch each of them, or it shows nothing. Nearly all in
//! random traffic; what rarely matters there, in a pool that is never free.
//!
//! To the model, a scheduler that was told something else, or was not told, is one that has it wrong.

use super::crowd::crowd;
use super::keeping::keep_in_vain;
use super::simulation::simulate;
use crate::config::classes::{ClassLimits, Priority, Quota};

/// Most are caught by the first; what needs a rare coincidence takes some.
const SEEDS: u64 = 40;

/// What it does wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Broken {
    /// `leave` does nothing: who gave up is served.
    AbandonedStay,
    AddressesUnlimited,
    /// A server is lent while a cancel request may still hit it.
    CancelsForgotten,
    /// To give a server other settings is taken for no work.
    ChangesForgotten,
    ClientsOneOver,
    /// One more is aboard than may be.
    DepthOneOver,
    /// Who needs a server for itself rides as well.
    EverybodyRides,
    /// Of several that are answered at once, the first is charged for all.
    FirstPaysForAll,
    /// Lower priorities are passed over for ever.
    FloorForgotten,
    /// The head is charged for time in which the server worked for those behind it.
    HeadPaysForAll,
    HostOneOver,
    /// An idle server is not seen while others share one.
    IdleUnseen,
    /// What is kept for a class is kept until it comes back.
    KeptForEver,
    /// Who comes stands in front of all others.
    LastComeFirst,
    /// Who was not put on the server is aboard for ever.
    MissedStay,
    NoPriorities,
    NothingReserved,
    /// Who needs a server for itself is overtaken by those who can ride.
    Overtaken,
    /// A server that has just been opened is taken for an old one.
    PlacesRestless,
    PoolOneOver,
    QueuedOneOver,
    RateDoubled,
    /// A server that comes back is never lent again.
    ReturnedLost,
    ServerTimeUnlimited,
    ServersOneOver,
    /// Nobody may wait for as long as is configured.
    ShedTooSoon,
    /// Others get aboard behind a head that takes for ever.
    StallsIgnored,
    /// Nor is one that was cleaned.
    TidiedLost,
    /// Time passes and nobody is told.
    TimeForgotten,
    /// `part` does nothing: who vanished is counted for ever.
    VanishedStay,
    /// Who waits is taken for refused.
    WaitersThrottled,
    WeightsForgotten,
    /// Others get aboard however long it takes.
    WorkAheadIgnored,
    /// The highest priority is taken for the lowest, and the other way round.
    WrongShedFirst,
}

impl Broken {
    const ALL: [Self; 22] = [
        Self::AbandonedStay,
        Self::AddressesUnlimited,
        Self::CancelsForgotten,
        Self::ClientsOneOver,
        Self::FloorForgotten,
        Self::HostOneOver,
        Self::KeptForEver,
        Self::LastComeFirst,
        Self::NoPriorities,
        Self::NothingReserved,
        Self::PlacesRestless,
        Self::PoolOneOver,
        Self::QueuedOneOver,
        Self::RateDoubled,
        Self::ReturnedLost,
        Self::ServerTimeUnlimited,
        Self::ServersOneOver,
        Self::TidiedLost,
        Self::TimeForgotten,
        Self::VanishedStay,
        Self::WeightsForgotten,
        Self::WrongShedFirst,
    ];

    /// What can only be seen where far more is asked for than there is.
    pub(super) const OF_SHEDDING: [Self; 2] = [Self::ShedTooSoon, Self::WaitersThrottled];

    /// What can only be seen where servers are shared.
    pub(super) const OF_SHARING: [Self; 10] = [
        Self::ChangesForgotten,
        Self::DepthOneOver,
        Self::EverybodyRides,
        Self::FirstPaysForAll,
        Self::HeadPaysForAll,
        Self::IdleUnseen,
        Self::MissedStay,
        Self::Overtaken,
        Self::StallsIgnored,
        Self::WorkAheadIgnored,
    ];

    /// What the scheduler takes these limits for.
    pub(super) fn class(self, limits: &mut ClassLimits) {
        match self {
            Self::AddressesUnlimited => limits.per_address = Quota::default(),
            Self::NoPriorities => limits.priority = Priority::Normal,
            Self::NothingReserved => limits.reserved = 0,
            Self::WeightsForgotten => limits.weight = 1,
            Self::WrongShedFirst => {
                limits.priority = match limits.priority {
                    Priority::Critical => Priority::Sheddable,
                    Priority::Normal => Priority::Normal,
                    Priority::Sheddable => Priority::Critical,
                }
            }
            _ => self.quota(&mut limits.quota),
        }
    }

    fn quota(self, quota: &mut Quota) {
        let one_over = |limit: &mut u32| *limit += u32::from(*limit > 0);
        match self {
            Self::ClientsOneOver => one_over(&mut quota.max_clients),
            Self::QueuedOneOver => one_over(&mut quota.max_queued),
            Self::ServersOneOver => one_over(&mut quota.max_in_flight),
            Self::RateDoubled => {
                if let Some(rate) = &mut quota.rate {
                    rate.per_second *= 2.0;
                }
            }
            Self::ServerTimeUnlimited => quota.server_time = None,
            _ => {}
        }
    }
}

#[test]
fn whatever_is_broken_is_caught() {
    for broken in Broken::ALL {
        let fails = |seed: &u64| {
            std::panic::catch_unwind(|| {
                keep_in_vain(Some(broken));
                crowd(*seed, Some(broken));
                simulate(*seed, Some(broken));
            })
            .is_err()
        };
        assert!((1..=SEEDS).any(|seed| fails(&seed)), "{broken:?}: nobody noticed");
    }
}
