//! Names for the things that are counted, so that they cannot be mixed up.

/// A client, for as long as the process lives. Never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(pub u64);

/// A worker: one thread with a runtime of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The main thread. It has a runtime too: it accepts, and opens connections nobody waits for.
    pub const MAIN: Self = Self(0);
}

/// A pool within its host's scheduler.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PoolId(pub u32);

/// A class of clients within its host's scheduler.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClassId(pub u32);
