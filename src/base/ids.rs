//! Names for the things that are counted, so that they cannot be mixed up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By numbers that the proxy itself has counted up, or drawn: nobody can choose them so that they collide, and a
/// product tells them apart.
pub type Numbered<T, K = u64> = HashMap<K, T, BuildHasherDefault<Product>>;

/// See [`Numbered`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Product(u64);

impl Hasher for Product {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        // 2^64 by the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

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
