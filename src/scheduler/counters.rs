//! What happened to the requests of a class.

use super::terms::{Refusal, Shedding};
use crate::stats::durations::Durations;
use std::time::Duration;

/// Why requests are refused, as they are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusedFor {
    /// A login: there are as many clients as may be, in the class or from one address.
    ClientLimit,
    LoginFailed,
    QueueFull,
    Rate,
    ServerDown,
    /// It would have been served too late.
    ShedOnArrival,
    /// It had waited too long.
    ShedInQueue,
    /// Nearly all of its class are refused.
    Throttled,
    WaitTimeout,
}

impl RefusedFor {
    pub const ALL: [Self; 9] = [
        Self::ClientLimit,
        Self::LoginFailed,
        Self::QueueFull,
        Self::Rate,
        Self::ServerDown,
        Self::ShedOnArrival,
        Self::ShedInQueue,
        Self::Throttled,
        Self::WaitTimeout,
    ];

    /// The label in metrics and on the console.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientLimit => "client_limit",
            Self::LoginFailed => "login_failed",
            Self::QueueFull => "queue_full",
            Self::Rate => "rate",
            Self::ServerDown => "server_down",
            Self::ShedOnArrival => "shed_on_arrival",
            Self::ShedInQueue => "shed_in_queue",
            Self::Throttled => "throttled",
            Self::WaitTimeout => "wait_timeout",
        }
    }

    fn of<E>(refusal: &Refusal<E>) -> Self {
        match refusal {
            Refusal::LoginFailed { .. } => Self::LoginFailed,
            Refusal::QueueFull { .. } => Self::QueueFull,
            Refusal::RateLimited { .. } => Self::Rate,
            Refusal::ServerDown { .. } => Self::ServerDown,
            Refusal::Shed { why: Shedding::Predicted(_), .. } => Self::ShedOnArrival,
            Refusal::Shed { why: Shedding::Throttled(_), .. } => Self::Throttled,
            Refusal::Shed { why: Shedding::Waited(_), .. } => Self::ShedInQueue,
            Refusal::WaitTimeout { .. } => Self::WaitTimeout,
        }
    }
}

/// Which part of a quota keeps requests back, its class' or its address', as they are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DelayedFor {
    InFlight,
    Rate,
    ServerTime,
}

impl DelayedFor {
    pub const ALL: [Self; 3] = [Self::InFlight, Self::Rate, Self::ServerTime];

    /// The label in metrics and on the console.
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Rate => "rate",
            Self::ServerTime => "server_time",
        }
    }
}

/// What happened to the requests of one class. All of it only grows, but for a grant that is taken back
/// because its server was dead.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClassCounters {
    /// Left before they were served.
    pub abandoned: u64,
    /// Of the queued, those that a quota kept back.
    delayed: [u64; DelayedFor::ALL.len()],
    pub granted: u64,
    pub queued: u64,
    refused: [u64; RefusedFor::ALL.len()],
    /// How long servers were held: its sum is the server time.
    pub service: Durations,
    /// How long those who were served had waited, zero included.
    pub waits: Durations,
}

impl ClassCounters {
    /// Whether anything has happened.
    pub fn is_used(&self) -> bool {
        self.granted + self.queued + self.refused_in_all() > 0
    }

    /// Kept back by whatever part of a quota.
    pub fn delayed(&self) -> u64 {
        self.delayed.iter().sum()
    }

    pub fn delayed_for(&self, limit: DelayedFor) -> u64 {
        self.delayed[limit as usize]
    }

    /// Refused for whatever reason.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Adds what happened to others.
    pub fn add(&mut self, other: &Self) {
        self.abandoned += other.abandoned;
        for (delayed, more) in self.delayed.iter_mut().zip(other.delayed) {
            *delayed += more;
        }
        self.granted += other.granted;
        self.queued += other.queued;
        for (refused, more) in self.refused.iter_mut().zip(other.refused) {
            *refused += more;
        }
        self.service.add(&other.service);
        self.waits.add(&other.waits);
    }

    pub fn refused_for(&self, reason: RefusedFor) -> u64 {
        self.refused[reason as usize]
    }

    pub(super) fn refused_client(&mut self) {
        self.refused[RefusedFor::ClientLimit as usize] += 1;
    }

    pub(super) fn refused<E>(&mut self, refusal: &Refusal<E>) {
        self.refused[RefusedFor::of(refusal) as usize] += 1;
    }

    #[inline]
    pub(super) fn granted(&mut self, waited: Duration) {
        self.granted += 1;
        self.waits.record(waited);
    }

    pub(super) fn queued(&mut self, delayed: Option<DelayedFor>) {
        self.queued += 1;
        if let Some(limit) = delayed {
            self.delayed[limit as usize] += 1;
        }
    }
}
