//! What goes into a [`Scheduler`](super::Scheduler) and what comes out of it.

use super::look::{Condition, State};
use super::shared::Berth;
use crate::base::ids::{ClassId, ClientId, PoolId, WorkerId};
use crate::config::overload::Shed;
use crate::stats::pool::CLOSE_REASONS;
use std::time::{Duration, Instant};

/// What is scheduled. In tests all of it is numbers.
pub trait Site {
    /// A server that nobody uses.
    type Conn;
    /// Why connecting failed.
    type Error: Clone;
    /// How to reach a waiter.
    type Handle;
    /// What a cancel request needs to know of a server: its backend key.
    type Key: Clone;
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostLimits {
    /// How long a host may fail before those who can only wait for it are refused.
    pub down_hold: Duration,
    /// The longest wait between two attempts to reach a host, or to log a pool in.
    pub login_retry: Duration,
    /// Over all pools. `None`: unlimited.
    pub max_connections: Option<u32>,
    /// Requests that wait at once, over all pools; 0: unlimited.
    pub max_queued: u32,
    pub shed: Shed,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolLimits {
    /// A server idle for longer is checked before it is lent. `None`: never.
    pub check_delay: Option<Duration>,
    /// Over all pools of the database; 0: unlimited. It belongs to the database, not to the pool:
    /// the value set last, through any of its pools, holds for all of them.
    pub database_max: u32,
    pub idle_timeout: Option<Duration>,
    pub lifetime: Option<Duration>,
    /// Kept open in a pool that was ever used.
    pub min: u32,
    /// So many more once somebody has waited for `reserve_timeout`.
    pub reserve: u32,
    pub reserve_timeout: Option<Duration>,
    /// Lend the longest idle server first, not the most recently used one.
    pub round_robin: bool,
    /// How servers are shared. `None`: not at all.
    pub share: Option<ShareLimits>,
    pub size: u32,
    /// Over all pools of the user; 0: unlimited. It belongs to the user, as `database_max` does to
    /// the database.
    pub user_max: u32,
}

/// How far clients may go in sharing a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ShareLimits {
    /// Nobody gets aboard behind so much that, with its own, more than this is expected to be worked on.
    pub ahead: Duration,
    /// The most that are aboard at once, the head included. One is the same as no sharing.
    pub depth: u32,
}

/// A request of a single statement that can share a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ride {
    /// How long the statement is expected to take.
    pub expected: Duration,
    /// Names the client's settings: to change those of a server takes time.
    pub settings: u64,
}

#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Over whose pools `database_max` is counted.
    pub database: String,
    pub limits: PoolLimits,
    /// Over whose pools `user_max` is counted.
    pub user: String,
}

/// One use of a slot, from connecting until it is vacant again. The slot's next use is another
/// `SlotRef`, so one that is out of date is recognised.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SlotRef {
    pub pool: PoolId,
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A client's place among the others: its class, its address, and where it waits. Made by
/// [`Scheduler::join`](super::Scheduler::join), for one pool.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Member {
    pub class: ClassId,
    pub(super) line: u32,
    pub(super) source: u32,
}

/// A server on loan.
#[derive(Debug)]
#[must_use = "a lease that is dropped leaks its slot: give it back or discard the slot"]
pub struct Lease<C> {
    pub slot: SlotRef,
    pub conn: C,
}

/// One client asks to wait for a server.
#[derive(Debug)]
pub struct Request<H> {
    /// To the front of the queue: the server it was lent turned out to be dead. Since when it waits:
    /// what it has waited before counts.
    pub again: Option<Instant>,
    pub client: ClientId,
    /// `None`: waits for ever.
    pub deadline: Option<Instant>,
    pub handle: H,
    pub member: Member,
    /// `None`: it needs a server for itself.
    pub ride: Option<Ride>,
    pub worker: WorkerId,
}

/// A place in a queue. It means nothing once its waiter was served, refused or has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Something the caller has to do. See [`Scheduler::next_action`](super::Scheduler::next_action).
pub enum Action<S: Site> {
    /// Somebody has come behind those who are aboard a shared server already: its driver
    /// [takes them up](super::Scheduler::take_up).
    Board {
        client: ClientId,
        slot: SlotRef,
        waited: Duration,
    },
    /// A pool does better or worse than before: to be told.
    Changed {
        pool: PoolId,
        before: State,
        condition: Condition,
    },
    /// Ask the server whether it still works, then `tidied` or `discard`. Bound the time: a waiter
    /// counts on this server, and no other is opened for it meanwhile.
    Check {
        lease: Lease<S::Conn>,
    },
    /// The slot is vacant already: close before the next `Connect`, which may be for this slot.
    Close {
        conn: S::Conn,
        pool: PoolId,
        why: CloseReason,
    },
    /// Open a connection, then `connected` or `connect_failed` (or `discard`, if nobody is to be
    /// blamed).
    Connect {
        slot: SlotRef,
    },
    /// A server to be shared, for a driver that answers with what becomes of it: `pass_on` when the head
    /// is answered, `missed`, `stalled`. This client is the head.
    Drive {
        to: S::Handle,
        client: ClientId,
        lease: Lease<S::Conn>,
        waited: Duration,
    },
    /// The last server is closed that somebody waits to be gone: all of a paused pool, or all that were
    /// retired. Whoever waits for that looks again.
    Gone {
        pool: PoolId,
    },
    Grant {
        to: S::Handle,
        lease: Lease<S::Conn>,
        waited: Duration,
    },
    /// The shared server that this one was to get aboard is gone, and nothing was done for it: it may wait
    /// [`again`](Request::again).
    Miss {
        to: S::Handle,
    },
    Refuse {
        to: S::Handle,
        refusal: Refusal<S::Error>,
    },
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CloseReason {
    /// The caller found it dead while it was idle.
    Dead,
    /// Another pool needed its place under a shared cap.
    Evicted,
    IdleTimeout,
    Lifetime,
    /// An operator has paused its pool.
    Paused,
    /// An operator wants another in its place, it leads to where the pool was before, or a cancel request
    /// may still hit it.
    Retired,
    /// A limit was lowered below what is open.
    Shrunk,
    /// The process ends.
    Shutdown,
}

impl CloseReason {
    pub const ALL: [Self; CLOSE_REASONS] = [
        Self::Dead,
        Self::Evicted,
        Self::IdleTimeout,
        Self::Lifetime,
        Self::Paused,
        Self::Retired,
        Self::Shrunk,
        Self::Shutdown,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Evicted => "evicted",
            Self::IdleTimeout => "idle_timeout",
            Self::Lifetime => "lifetime",
            Self::Paused => "paused",
            Self::Retired => "retired",
            Self::Shrunk => "shrunk",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why a waiter does not get a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal<E> {
    /// The server has an answer, and it will be the same next time.
    LoginFailed { error: E },
    /// So many wait already.
    QueueFull { scope: Scope, limit: u32 },
    /// It came too soon after the others.
    RateLimited { scope: Scope, retry_after: Duration },
    /// No new server for longer than the hold, and the pool has none left.
    ServerDown { error: E, since: Instant },
    /// It would have been served too late, or was about to be.
    Shed { why: Shedding, limit: Duration, patience: Option<Duration>, waiting: u32 },
    /// As it was at the deadline, this waiter included.
    WaitTimeout { waited: Duration, counts: Counts, cause: WaitCause },
}

/// What a limit is counted over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The clients of one address within a class.
    Address,
    Class,
    Host,
}

/// How a request came to be refused for overload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shedding {
    /// Refused on arrival: it would have waited so long.
    Predicted(Duration),
    /// Refused on arrival, because nearly all are, and it would have waited so long.
    Throttled(Duration),
    /// It has waited so long.
    Waited(Duration),
}

/// A cap that several pools share, and that is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedFull {
    pub cap: SharedCap,
    pub limit: u32,
}

/// Whose pools share a cap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SharedCap {
    Database,
    User,
    Host,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WaitCause {
    /// Its class, or its address within it, holds as many servers as it may.
    InFlight { scope: Scope, limit: u32 },
    /// Its class, or its address within it, has begun as many transactions as it may.
    Rate { scope: Scope },
    /// Its class, or its address within it, has used as much server time as it may.
    ServerTime { scope: Scope },
    /// An operator has paused its pool.
    Paused,
    /// All servers of its pool are in use, and it may have no more.
    PoolFull,
    /// A cap that its pool shares with others is full.
    SharedFull(SharedFull),
    /// A server is being opened, or checked.
    Opening,
    /// The host cannot be reached, or does not let the pool in.
    ServerDown,
}

impl WaitCause {
    /// What [`label`](Self::label) answers with.
    pub const LABELS: [&str; 11] = [
        "address_in_flight",
        "address_rate",
        "address_server_time",
        "class_in_flight",
        "class_rate",
        "class_server_time",
        "opening",
        "paused",
        "pool_full",
        "server_down",
        "shared_full",
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InFlight { scope: Scope::Address, .. } => "address_in_flight",
            Self::InFlight { .. } => "class_in_flight",
            Self::Rate { scope: Scope::Address } => "address_rate",
            Self::Rate { .. } => "class_rate",
            Self::ServerTime { scope: Scope::Address } => "address_server_time",
            Self::ServerTime { .. } => "class_server_time",
            Self::PoolFull => "pool_full",
            Self::SharedFull(_) => "shared_full",
            Self::Opening => "opening",
            Self::Paused => "paused",
            Self::ServerDown => "server_down",
        }
    }
}

/// Why nobody else can come into a class.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassFull {
    pub scope: Scope,
    pub limit: u32,
}

/// Why a server could not be opened.
#[derive(Clone, Debug)]
pub struct ConnectFailure<E> {
    /// Trying again cannot help until somebody changes something. Means nothing for a host.
    pub definitive: bool,
    pub error: E,
    pub scope: FailureScope,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureScope {
    /// Any pool would have failed: unreachable, starting up, shutting down.
    Host,
    /// The host answered, and said no to this database and user.
    Pool,
}

/// What a cancel request found.
pub enum Cancel<S: Site> {
    Nothing,
    /// The client waited and no longer does: tell it.
    Queued(S::Handle),
    /// The client is aboard this server. For its driver: a cancel request hits whoever is at the head, see
    /// [`cancel_head`](super::Scheduler::cancel_head).
    Riding {
        slot: SlotRef,
        berth: Berth,
    },
    /// Send a cancel request to the server with this key, then `cancel_done(slot)`, however it
    /// went.
    Running {
        slot: SlotRef,
        key: S::Key,
    },
}

/// How many slots are in each state, and how many clients wait.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub being_canceled: u32,
    pub checking: u32,
    pub connecting: u32,
    pub idle: u32,
    pub leased: u32,
    pub tidying: u32,
    pub waiting: u32,
}

impl Counts {
    /// Adds those of others.
    pub fn add(&mut self, other: &Self) {
        self.being_canceled += other.being_canceled;
        self.checking += other.checking;
        self.connecting += other.connecting;
        self.idle += other.idle;
        self.leased += other.leased;
        self.tidying += other.tidying;
        self.waiting += other.waiting;
    }

    /// The slots that count against the caps.
    pub fn open(&self) -> u32 {
        self.connecting + self.live()
    }

    /// The servers there are, whatever they are doing.
    pub fn live(&self) -> u32 {
        self.being_canceled + self.checking + self.idle + self.leased + self.tidying
    }
}

/// Who has a server, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    pub client: ClientId,
    pub since: Instant,
    pub slot: SlotRef,
    /// It closes as soon as it comes back.
    pub is_retired: bool,
}

/// Whether new servers can be had.
#[derive(Clone, Debug)]
pub enum Health<E> {
    Failing {
        definitive: bool,
        error: E,
        retry_at: Instant,
        since: Instant,
    },
    /// As far as is known.
    Working,
}
